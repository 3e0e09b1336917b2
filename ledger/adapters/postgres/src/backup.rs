//! Online backup: a file with everything of the ledgers as of one moment. Any number of nodes go on meanwhile.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use tokio_postgres::{Client, Error, IsolationLevel, Transaction};

use crate::backup_check::check;
use crate::backup_file::{Survey, TABLES, TABLES_ALWAYS, Writer, survey};
use crate::{Database, OpenError};

/// A table is copied in one statement, and a slow disk may keep the next one waiting.
pub(crate) const SETTINGS: &str = "SET LOCAL statement_timeout = '24h'; SET LOCAL lock_timeout = '30s'; \
                                   SET LOCAL idle_in_transaction_session_timeout = '1h'; SET LOCAL row_security = off";

/// What was read of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records, each with its leaf, its place in the chain and its payload.
    pub records: u64,
    /// Payload fragments that are neither there nor archived. Allowed: erasing removes them.
    pub payloads_missing: u64,
}

/// Why there is no backup, or why one is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be opened or refuses.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be used.
    #[error("cannot {doing} {path}", path = path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is no backup, or not what it was; or the database holds something that no ledger does.
    #[error("the backup {path} is not good: {reason}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The first place that is not what it should be.
        reason: String,
    },
    /// There are no ledgers in the database.
    #[error("no store here: the database has no schema `ruche`")]
    NoLedgers,
    /// There are ledgers where some would be restored.
    #[error("the database has ledgers already; with --replace they are put aside")]
    LedgersThere,
    /// Nodes are connected to the database.
    #[error("a node works on this database: stop every `ruche serve` first")]
    NodesThere,
    /// A restore that is not finished.
    #[error(
        "a restore of this database was interrupted: the next start of `ruche serve` finishes it, opening the next epoch \
         of every ledger; until then nothing is read here"
    )]
    Pending,
}

/// An error of a file: what the bytes say, or that they cannot be had.
pub(crate) fn of_file(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        match source.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Broken {
                path,
                reason: "it ends before its end".into(),
            },
            io::ErrorKind::InvalidData => BackupError::Broken {
                path,
                reason: source.to_string(),
            },
            _ => BackupError::File { doing, path, source },
        }
    }
}

pub(crate) fn of_database(doing: &'static str) -> impl Fn(Error) -> BackupError {
    move |source| BackupError::Open(OpenError::Database { doing, source })
}

impl Database {
    /// Copies all ledgers to `target`, which must not exist, as of one moment, and reads every record of the copy. The
    /// file is its owner's alone, and gets its name when it is whole, checked and flushed. `progress` is told what is
    /// done, and bytes or records of how many, about. Blocks on the disk.
    ///
    /// # Errors
    /// See [`BackupError`]. Then there is no copy.
    pub async fn backup(
        &self,
        target: &Path,
        progress: &dyn Fn(&'static str, u64, u64),
    ) -> Result<Checked, BackupError> {
        let partial = partial_name(target);
        remove(&partial);
        let made = self.make_backup(&partial, progress).await;
        let checked = match made {
            Ok(checked) => checked,
            Err(error) => {
                // What is left of a failed copy has no name that anybody would take for a backup.
                remove(&partial);
                return Err(error);
            }
        };
        // A crash before this line leaves only the partial file, after it the whole backup.
        std::fs::rename(&partial, target).map_err(of_file("rename", &partial))?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(of_file("flush", folder))?;
        Ok(checked)
    }

    async fn make_backup(
        &self,
        partial: &Path,
        progress: &dyn Fn(&'static str, u64, u64),
    ) -> Result<Checked, BackupError> {
        let mut client = self.connect().await?;
        self.copy_all(&mut client, partial, &|done, total| {
            progress("copying", done, total)
        })
        .await?;
        drop(client);
        check_file(partial, &|done, total| progress("checking the copy", done, total))
            .map(|(_, checked)| checked)
    }

    async fn copy_all(
        &self,
        client: &mut Client,
        partial: &Path,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), BackupError> {
        let failed = || of_database("copy the ledgers");
        let view = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(failed())?;
        view.batch_execute(SETTINGS).await.map_err(failed())?;
        let total = look(&view).await?;
        // The view may show commits that a standby does not have yet. A failover that took them back would let others
        // have their places: the copy counts once a commit that came after them is confirmed.
        self.try_to_write().await?;
        let written = of_file("write", partial);
        let mut writer = Writer::create(partial).map_err(&written)?;
        let tables = match has_archives(&view).await? {
            true => TABLES.len(),
            false => TABLES_ALWAYS,
        };
        for (number, table) in TABLES[..tables].iter().enumerate() {
            writer.begin(number).map_err(&written)?;
            let sql = format!(
                "COPY (SELECT {} FROM ruche.{} ORDER BY {}) TO STDOUT (FORMAT binary)",
                table.columns, table.name, table.order
            );
            let rows = view.copy_out(&sql).await.map_err(failed())?;
            let mut rows = std::pin::pin!(rows);
            while let Some(bytes) = rows.try_next().await.map_err(failed())? {
                writer.add(&bytes).map_err(&written)?;
                progress(writer.written.min(total), total);
            }
            writer.end().map_err(&written)?;
        }
        view.commit().await.map_err(failed())?;
        writer.finish().map_err(&written)
    }
}

/// Whether payloads are archived. A database of an older version has no table for that.
async fn has_archives(view: &Transaction<'_>) -> Result<bool, BackupError> {
    let failed = || of_database("look for archives");
    let sql = "SELECT to_regclass('ruche.archived_range') IS NOT NULL";
    if !view
        .query_one(sql, &[])
        .await
        .map_err(failed())?
        .get::<_, bool>(0)
    {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT FROM ruche.archived_range)";
    Ok(view.query_one(sql, &[]).await.map_err(failed())?.get(0))
}

/// Looks whether there is something to copy, from the view that is copied. Gives how many bytes that may be.
async fn look(view: &Transaction<'_>) -> Result<u64, BackupError> {
    let failed = || of_database("look at the ledgers");
    let sql = "SELECT to_regclass('ruche.head') IS NOT NULL, to_regclass('ruche.restore') IS NOT NULL";
    let there = view.query_one(sql, &[]).await.map_err(failed())?;
    if !there.get::<_, bool>(0) {
        return Err(BackupError::NoLedgers);
    }
    if there.get(1) {
        let sql = "SELECT EXISTS (SELECT FROM ruche.restore)";
        if view.query_one(sql, &[]).await.map_err(failed())?.get(0) {
            return Err(BackupError::Pending);
        }
    }
    let sizes = TABLES[..TABLES_ALWAYS]
        .iter()
        .map(|table| format!("pg_table_size('ruche.{}')", table.name));
    let sql = format!("SELECT {}", sizes.collect::<Vec<_>>().join(" + "));
    let bytes: i64 = view.query_one(&sql, &[]).await.map_err(failed())?.get(0);
    Ok(bytes.max(0).cast_unsigned())
}

/// Reads a backup as a whole and checks it. `progress` is told how much of it was read, of how much.
///
/// # Errors
/// `Broken` with the first place that is not good, or `File`.
pub(crate) fn check_file(path: &Path, progress: &dyn Fn(u64, u64)) -> Result<(Survey, Checked), BackupError> {
    let read = of_file("read", path);
    let total = std::fs::metadata(path).map_err(&read)?.len();
    let survey = survey(path, &|bytes| progress(bytes, total)).map_err(&read)?;
    let checked = check(path, &survey, &|records| progress(records, records)).map_err(&read)?;
    Ok((survey, checked))
}

fn partial_name(target: &Path) -> PathBuf {
    let mut name: OsString = target.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn remove(partial: &Path) {
    if let Err(error) = std::fs::remove_file(partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %partial.display(), "a partial backup was left behind");
    }
}
