//! Backup and restore, on files or on a database.

use std::path::Path;

use ruche_domain::ports::Clock;
use ruche_ledger_postgres::PendingRestore;

use super::settings::fit_together;
use super::{AppError, SystemClock, files, postgres};
use crate::cli::Common;
use crate::restore::{self, BackupEnd};

/// Is told what is done, and how much of it of how much.
pub type Progress<'a> = &'a dyn Fn(&'static str, u64, u64);

/// Copies the ledgers to a file and reads every record of the copy. Servers that run go on. Gives how many records it has.
///
/// # Errors
/// See [`AppError`]. Then there is no copy.
pub async fn backup(common: &Common, target: &Path, progress: Progress<'_>) -> Result<u64, AppError> {
    fit_together(common)?;
    if target.exists() {
        let path = target.to_owned();
        return Err(AppError::BackupExists { path });
    }
    let checked = match &common.database_url {
        Some(url) => {
            let database = postgres::reached(common, url).await?;
            database.backup(target, progress).await?.records
        }
        None => {
            files::backup(common, target, &|done, total| {
                progress("checking the copy", done, total);
            })?
            .records
        }
    };
    Ok(checked)
}

/// Reads every record of a backup and puts it in the place of the store. The next start, which is due at once, opens the
/// new epochs. Returns where the store is that was there before.
///
/// # Errors
/// See [`AppError`]. Whatever is wrong with the backup leaves the present store in its place.
pub async fn put_backup_in_place(
    common: &Common,
    backup: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<Option<String>, AppError> {
    fit_together(common)?;
    let Some(url) = &common.database_url else {
        let aside = files::put_backup_in_place(common, backup, replace, &|done, total| {
            progress("checking the backup", done, total);
        })?;
        return Ok(aside.map(|folder| folder.display().to_string()));
    };
    let database = postgres::reached(common, url).await?;
    postgres::must_know_what_was_signed(common, url, &database).await?;
    let loaded = database.restore(backup, replace, SystemClock.now(), progress);
    let aside = loaded.await?.put_aside;
    Ok(aside.map(|schema| format!("schema {schema}")))
}

/// A restore that was decided, and whose ledgers are not all in their next epochs.
pub(super) enum Pending {
    /// In the data folder.
    Files(restore::Marker),
    /// In the database; other nodes that would finish it wait.
    Database(PendingRestore),
}

impl Pending {
    /// Where each ledger ends.
    pub(super) fn ends(&self) -> Vec<BackupEnd> {
        match self {
            Self::Files(marker) => marker.ledgers.clone(),
            Self::Database(pending) => {
                let ends = pending.ends.iter();
                ends.map(|&(ledger, restored_to)| BackupEnd { ledger, restored_to })
                    .collect()
            }
        }
    }

    /// Every ledger is in its next epoch.
    ///
    /// # Errors
    /// Then the next start finds nothing left to do, and says so again.
    pub(super) async fn finish(self, data_dir: &Path) -> Result<(), AppError> {
        match self {
            Self::Files(_) => Ok(restore::Marker::remove(data_dir)?),
            Self::Database(pending) => Ok(pending.finish().await?),
        }
    }
}
