//! Online backup: a copy of the file as of one moment.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::check::{Checked, every_record};
use crate::{schema, store};

/// Copies the ledger of a data folder to `target`, which must not exist, from any process: readers take no lock that a
/// running server needs, so nothing has to be stopped. Every record of the copy is read; `progress` is told records read
/// and records in all. Blocks on the disk.
///
/// # Errors
/// `Unavailable` naming the step that failed, `Corrupt` if the copy contradicts itself. Then there is no copy.
pub fn backup_folder(
    data_dir: &Path,
    target: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Checked, StoreError> {
    backup(&data_dir.join(crate::LEDGER_FILE), target, progress)
}

/// Copies `source` to `target`, which must not exist. The copy gets its name only when it is whole and checked.
pub(crate) fn backup(
    source: &Path,
    target: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Checked, StoreError> {
    let failed = |step: &str, error: &dyn std::fmt::Display| StoreError::Unavailable {
        reason: format!("backup to {}: {step}: {error}", target.display()),
    };
    if target.exists() {
        return Err(failed("it is there already", &"choose another name"));
    }
    let partial = partial_name(target);
    let made = make(source, &partial, &failed, progress);
    if made.is_err() {
        // What is left of a failed copy has no name that anybody would take for a backup.
        remove(&partial);
        return made;
    }
    // A crash before this line leaves only the partial file, after it the whole backup.
    std::fs::rename(&partial, target).map_err(|e| failed("rename", &e))?;
    schema::sync_dir(target.parent().unwrap_or(Path::new("."))).map_err(|e| failed("flush", &e))?;
    made
}

fn make(
    source: &Path,
    partial: &Path,
    failed: &dyn Fn(&str, &dyn std::fmt::Display) -> StoreError,
    progress: &dyn Fn(u64, u64),
) -> Result<Checked, StoreError> {
    remove(partial);
    let from = schema::open_reader(source).map_err(|e| failed("open the ledger", &e))?;
    // All payloads are in it, so it is its owner's alone from the first byte on; SQLite fills the empty file.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(|e| failed("create", &e))?;
    let mut to = Connection::open(partial).map_err(|e| failed("create", &e))?;
    let step = Backup::new(&from, &mut to)
        // All pages in one step: one view of the file, while the writer goes on in its log.
        .and_then(|backup| backup.step(-1))
        .map_err(|e| failed("copy", &e))?;
    if step != StepResult::Done {
        return Err(failed("copy", &"the file is locked"));
    }
    to.close().map_err(|(_, e)| failed("close", &e))?;
    File::open(partial)
        .and_then(|file| file.sync_all())
        .map_err(|e| failed("flush", &e))?;
    verify(partial, failed, progress).map(|(checked, _)| checked)
}

/// Opens a copy that [`backup_folder`] made, checks every page and reads every record of it. Gives the last position of
/// each ledger. `progress` is told records read and records in all.
///
/// # Errors
/// `Unavailable` if it cannot be read, `Corrupt` if it contradicts itself.
pub fn check_backup(
    copy: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<(LedgerId, Position)>, StoreError> {
    let failed = |step: &str, error: &dyn std::fmt::Display| StoreError::Unavailable {
        reason: format!("backup {}: {step}: {error}", copy.display()),
    };
    verify(copy, &failed, progress).map(|(_, ends)| ends)
}

fn verify(
    copy: &Path,
    failed: &dyn Fn(&str, &dyn std::fmt::Display) -> StoreError,
    progress: &dyn Fn(u64, u64),
) -> Result<(Checked, Vec<(LedgerId, Position)>), StoreError> {
    // Immutable: a copy in WAL mode is read without making a log beside it.
    let uri = format!("file:{}?immutable=1", escaped(copy));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri, flags).map_err(|e| failed("open the copy", &e))?;
    let found: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| failed("check the copy", &e))?;
    if found != "ok" {
        return Err(StoreError::Corrupt {
            place: format!("backup {}", copy.display()),
            reason: found,
        });
    }
    let ends = store::check(&conn)?;
    Ok((every_record(&conn, progress)?, ends))
}

/// A path inside an SQLite URI.
fn escaped(path: &Path) -> String {
    path.to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23")
}

fn partial_name(target: &Path) -> PathBuf {
    let mut name: OsString = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn remove(partial: &Path) {
    if let Err(error) = std::fs::remove_file(partial)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %partial.display(), "a partial backup was left behind");
    }
}
