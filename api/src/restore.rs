//! A restore, so that a crash at any line leaves the old store or is finished by the next start.
//!
//! 1. The backup is copied into the data folder under a name of its own, and every record of the copy is read. Whatever
//!    fails here leaves the present store in its place.
//! 2. The marker is made durable: from here on the restore is decided. It says which file becomes the store and where
//!    each ledger ends in it.
//! 3. The present store is put aside, file by file, and the copy gets its name.
//! 4. Every ledger goes on in its next epoch, which names what is lost ([`ruche_ledger::epoch`]).
//! 5. The marker is removed.
//!
//! While the marker stands, every start that may write does 3 to 5 before anything else, and a command that only reads
//! refuses. So no record is ever appended to an epoch whose end nobody knows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use serde::{Deserialize, Serialize};

/// File in the data folder that stands from the decision until every ledger is in its new epoch.
const MARKER_FILE: &str = "restore.json";
/// The file that the data lock is on: it belongs to the folder, not to the store.
const LOCK_FILE: &str = "lock";

/// Why a restore cannot be begun or finished.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file cannot be used.
    #[error("cannot {doing} {path}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The marker is no marker of this version.
    #[error(
        "{path} says that a restore was begun, but cannot be read: {reason}. Nothing is appended while it stands; \
         begin the restore anew with `ruche restore FILE --replace`",
        path = path.display()
    )]
    Marker {
        /// The marker.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A restore that was decided.
#[derive(Debug, Serialize, Deserialize)]
pub struct Marker {
    /// Name of the checked copy in the data folder, until it is the store.
    copy: String,
    /// Folder in the data folder for what was there before.
    aside: String,
    /// What the backup holds.
    pub ledgers: Vec<BackupEnd>,
}

/// Where a ledger ends in a backup.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BackupEnd {
    /// Which ledger.
    pub ledger: LedgerId,
    /// Its last record.
    pub restored_to: Position,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io { doing, path, source }
}

/// The restore that was decided and is not finished.
///
/// # Errors
/// See [`RestoreError`]: a marker that cannot be read is never taken for none.
pub fn pending(data_dir: &Path) -> Result<Option<Marker>, RestoreError> {
    let path = data_dir.join(MARKER_FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| RestoreError::Marker {
            path,
            reason: error.to_string(),
        })
}

/// A copy of a backup in the data folder that is not the store yet.
pub struct Copy {
    data_dir: PathBuf,
    name: String,
    at: Micros,
}

impl Copy {
    /// Copies a backup into the data folder, for its owner only, durably. The present store is not touched.
    ///
    /// # Errors
    /// `Io`. Then nothing is left of the copy.
    pub fn of(backup: &Path, data_dir: &Path, at: Micros) -> Result<Self, RestoreError> {
        let copy = Self {
            data_dir: data_dir.to_owned(),
            name: format!("restore-{}.db", at.0),
            at,
        };
        let written = copy.write(backup);
        if written.is_err() {
            copy.discard();
        }
        written.map(|()| copy)
    }

    fn write(&self, backup: &Path) -> Result<(), RestoreError> {
        let path = self.path();
        let mut from = File::open(backup).map_err(failed("read", backup))?;
        let mut to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))?;
        io::copy(&mut from, &mut to).map_err(failed("write", &path))?;
        to.sync_all().map_err(failed("flush", &path))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.data_dir.join(&self.name)
    }

    /// Removes the copy again.
    pub fn discard(&self) {
        let path = self.path();
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a copy of a backup was left behind");
        }
    }

    /// Makes the decision durable: from here on this copy becomes the store, whatever happens.
    ///
    /// # Errors
    /// `Io`. Then it can only be that the decision was made or that it was not.
    pub fn decide(self, ledgers: Vec<BackupEnd>) -> Result<Marker, RestoreError> {
        let marker = Marker {
            aside: format!("before-restore-{}", self.at.0),
            copy: self.name,
            ledgers,
        };
        let path = self.data_dir.join(MARKER_FILE);
        let temporary = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(&marker).map_err(io::Error::from);
        text.and_then(|text| {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()
        })
        .map_err(failed("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(failed("write", &path))?;
        sync(&self.data_dir)?;
        Ok(marker)
    }
}

impl Marker {
    /// Puts the present store aside and the copy in its place, unless that is done already. Returns the folder of what was
    /// there before, if anything was.
    ///
    /// # Errors
    /// `Io`. A later call goes on where this one stopped.
    pub fn put_in_place(&self, data_dir: &Path, store: &Path) -> Result<Option<PathBuf>, RestoreError> {
        let (copy, aside) = (data_dir.join(&self.copy), data_dir.join(&self.aside));
        if copy.exists() {
            self.put_aside(data_dir, &aside)?;
            // The store's name is free, and no log of the old store stands beside it: a crash between these lines
            // leaves the copy under its own name, and the next start comes here again.
            std::fs::rename(&copy, store).map_err(failed("rename", &copy))?;
            sync(data_dir)?;
        }
        Ok(aside.exists().then_some(aside))
    }

    /// Renames everything in the data folder but the lock, so that nothing is deleted before the operator says so.
    fn put_aside(&self, data_dir: &Path, aside: &Path) -> Result<(), RestoreError> {
        let keep = [LOCK_FILE, MARKER_FILE, &self.copy];
        for entry in std::fs::read_dir(data_dir).map_err(failed("read", data_dir))? {
            let entry = entry.map_err(failed("read", data_dir))?;
            let is_file = entry.file_type().map_err(failed("read", data_dir))?.is_file();
            if !is_file || keep.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            match std::fs::create_dir(aside) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("create", aside)(error));
                }
                _ => {}
            }
            std::fs::rename(entry.path(), aside.join(entry.file_name()))
                .map_err(failed("put aside", &entry.path()))?;
        }
        if aside.exists() {
            sync(aside)?;
        }
        sync(data_dir)
    }

    /// The restore is finished: every ledger is in its new epoch.
    ///
    /// # Errors
    /// `Io`. Then the next start finds nothing left to do and removes the marker.
    pub fn remove(data_dir: &Path) -> Result<(), RestoreError> {
        let path = data_dir.join(MARKER_FILE);
        std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        sync(data_dir)
    }
}

/// Makes the names in a folder durable.
fn sync(dir: &Path) -> Result<(), RestoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("make durable", dir))
}
