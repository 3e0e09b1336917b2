//! What is done to the data folder as a whole: locking it, copying it, putting a backup in its place.

use std::path::{Path, PathBuf};

use ruche_domain::ports::Clock;

use super::sqlite::{self, Checked, LEDGER_FILE};
use super::{AppError, DataLock, MasterSeedFile, SystemClock};
use crate::cli::Common;
use crate::restore::{self, BackupEnd};

/// Takes the data folder for this process.
///
/// # Errors
/// Names the process that has it.
pub fn lock(common: &Common, what: &str) -> Result<DataLock, AppError> {
    Ok(DataLock::acquire(&common.data_dir, what)?)
}

/// Whether the master seed is in the keys folder.
pub fn has_seed(common: &Common) -> bool {
    MasterSeedFile::is_in(&common.keys_dir)
}

/// Copies the ledger of the data folder and reads every record of the copy. A server that runs there goes on. `progress`
/// is told records read and records in all.
///
/// # Errors
/// See [`AppError`]. Then there is no copy.
pub(super) fn backup(
    common: &Common,
    target: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Checked, AppError> {
    files_must_exist(common)?;
    no_restore_pending(common)?;
    Ok(sqlite::backup_folder(&common.data_dir, target, progress)?)
}

/// Reads every record of the data folder, its payloads and its tiles, also beside a running server.
///
/// # Errors
/// Names the first place that is not what it was.
pub fn check_records(common: &Common, progress: &dyn Fn(u64, u64)) -> Result<Checked, AppError> {
    Ok(sqlite::check_folder(&common.data_dir, progress)?)
}

/// Copies a backup into the data folder, reads every record of the copy, and puts it in the place of the store. The next
/// start, which is due at once, opens the new epochs. Returns where the store is that was there before.
///
/// # Errors
/// See [`AppError`]. Whatever is wrong with the backup or the copy leaves the present store in its place.
pub(super) fn put_backup_in_place(
    common: &Common,
    backup: &Path,
    replace: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<Option<PathBuf>, AppError> {
    let _lock = lock(common, "ruche restore")?;
    let store = ledger_file(common);
    if store.exists() && !replace {
        return Err(AppError::StoreThere { path: store });
    }
    let copy = restore::Copy::of(backup, &common.data_dir, SystemClock.now())?;
    let ends = match sqlite::check_backup(&copy.path(), progress) {
        Ok(ends) => ends,
        Err(error) => {
            copy.discard();
            return Err(error.into());
        }
    };
    let ends = ends
        .into_iter()
        .map(|(ledger, restored_to)| BackupEnd { ledger, restored_to });
    let marker = copy.decide(ends.collect())?;
    Ok(marker.put_in_place(&common.data_dir, &store)?)
}

/// Refuses where there is no embedded store, before anything is made.
///
/// # Errors
/// `NoStore`.
pub fn files_must_exist(common: &Common) -> Result<(), AppError> {
    let path = ledger_file(common);
    // A restore that was interrupted may stand between the old store and the new one.
    if path.exists() || restore::pending(&common.data_dir)?.is_some() {
        Ok(())
    } else {
        Err(AppError::NoStore { path })
    }
}

/// Refuses where a restore waits to be finished.
pub(super) fn no_restore_pending(common: &Common) -> Result<(), AppError> {
    match restore::pending(&common.data_dir)? {
        None => Ok(()),
        Some(_) => Err(AppError::RestorePending {
            data_dir: common.data_dir.clone(),
        }),
    }
}

/// The ledger's file.
pub fn ledger_file(common: &Common) -> PathBuf {
    common.data_dir.join(LEDGER_FILE)
}
