//! A backup in the place of the ledgers, so that a crash at any line leaves the old ones or the new ones whole.
//!
//! 1. The file is read and checked as a whole. Whatever is wrong with it leaves the database as it is.
//! 2. A transaction begins, and takes the lock of nodes: none is there, and none starts before it is over.
//! 3. In it, the present schema gets another name, a new one is made and filled, read models are removed
//!    (they are ahead of the ledgers now), and where each ledger ends is written down in `ruche.restore`. The bytes that are
//!    loaded are hashed once more: it is committed only if they are those that were checked.
//! 4. Whoever may write takes [`PendingRestore`], opens the next epoch of every ledger, and says that it is finished.

use std::path::Path;

use bytes::Bytes;
use futures_util::SinkExt;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use tokio_postgres::{Row, Transaction};

use crate::backup::{BackupError, Checked, SETTINGS, check_file, of_database, of_file};
use crate::backup_file::{Reader, Survey, TABLES, broken};
use crate::cache::number;
use crate::session::{Purpose, Session};
use crate::{Database, NodeLock, OpenError, schema};

/// "ruche" and "re" as one number: whoever finishes a restore is alone.
const KEY: i64 = 0x7275_6368_6572_6500;
/// Waiting for another node that finishes a restore: it opens an epoch for each ledger.
const FINISH_WAIT: &str = "SET statement_timeout = '30min'; SET lock_timeout = '30min'";
const ENDS: &str = "SELECT ledger, epoch, index FROM ruche.restore ORDER BY ledger";

/// A backup that was loaded and is the store now.
#[derive(Debug)]
pub struct Loaded {
    /// What was read of it.
    pub checked: Checked,
    /// The schema of the ledgers that were there before, if there were any.
    pub put_aside: Option<String>,
}

impl Database {
    /// Checks a backup and puts it in the place of the ledgers; those that are there get a schema of another name if
    /// `replace` says so. The next epochs are due at once ([`Database::take_restore`]). `progress` is told what is done,
    /// and how much of how much. Blocks on the disk.
    ///
    /// # Errors
    /// See [`BackupError`]. Then the database is as it was, unless the connection broke while it committed, or somebody ended
    /// the wait for the standby.
    pub async fn restore(
        &self,
        backup: &Path,
        replace: bool,
        now: Micros,
        progress: &dyn Fn(&'static str, u64, u64),
    ) -> Result<Loaded, BackupError> {
        let (survey, checked) = check_file(backup, &|done, total| {
            progress("checking the backup", done, total);
        })?;
        let mut session = self.session(Purpose::Owner, |_| ()).await?;
        schema::make_ledger_roles(&session).await?;
        let failed = || of_database("load the backup");
        let heard = session.heard();
        let tx = session.transaction().await.map_err(failed())?;
        let alone = NodeLock::alone_in(&tx).await;
        if !alone.map_err(of_database("lock the database"))? {
            return Err(BackupError::NodesThere);
        }
        let put_aside = put_aside(&tx, replace, now).await?;
        schema::make_ledger(&tx).await?;
        tx.batch_execute(SETTINGS).await.map_err(failed())?;
        load(&tx, backup, &survey, &|done, total| {
            progress("loading", done, total)
        })
        .await?;
        drop_read_models(&tx).await?;
        tx.batch_execute(
            "INSERT INTO ruche.restore SELECT ledger, epoch, size - 1 FROM ruche.head; \
             ANALYZE ruche.head, ruche.epoch, ruche.record, ruche.payload, ruche.stream_head, ruche.idempotency",
        )
        .await
        .map_err(failed())?;
        // A crash before this line leaves the old ledgers, after it the new ones, which wait for their epochs.
        heard.commit("commit what was loaded", tx.commit()).await?;
        Ok(Loaded { checked, put_aside })
    }

    /// Whether a restore waits for its epochs.
    ///
    /// # Errors
    /// `Database`.
    pub async fn restore_is_pending(&self) -> Result<bool, OpenError> {
        let session = self.session(Purpose::Append, |_| ()).await?;
        let rows = session.query_typed(ENDS, &[]).await;
        let rows = rows.map_err(OpenError::database("look for a restore"))?;
        Ok(!rows.is_empty())
    }

    /// Takes a restore that is not finished, for as long as it takes: others that would finish it wait meanwhile, and find
    /// that it is done.
    ///
    /// # Errors
    /// `Database`.
    pub async fn take_restore(&self) -> Result<Option<PendingRestore>, OpenError> {
        if !self.restore_is_pending().await? {
            return Ok(None);
        }
        let failed = || OpenError::database("take a restore");
        let session = self.session(Purpose::Append, |_| ()).await?;
        session.batch_execute(FINISH_WAIT).await.map_err(failed())?;
        let lock = format!("SELECT pg_advisory_lock({KEY})");
        session.batch_execute(&lock).await.map_err(failed())?;
        let rows = session.query_typed(ENDS, &[]).await.map_err(failed())?;
        let ends: Vec<_> = rows.iter().map(end_of).collect();
        Ok((!ends.is_empty()).then_some(PendingRestore { session, ends }))
    }
}

/// A restore whose ledgers are not all in their next epochs. Given up when it is dropped.
pub struct PendingRestore {
    session: Session,
    /// The last record of each ledger in the backup.
    pub ends: Vec<(LedgerId, Position)>,
}

impl PendingRestore {
    /// Every ledger is in its next epoch.
    ///
    /// # Errors
    /// `Database`. Then the next start finds nothing left to do, and says so again. `RestorePending` if it is not so: the
    /// database keeps what stands for a ledger until it is (`0008_what_keeps_nodes_out.sql`).
    pub async fn finish(self) -> Result<(), OpenError> {
        let done = self.session.batch_execute("DELETE FROM ruche.restore");
        self.session.heard().commit("finish a restore", done).await?;
        let left = self.session.query_typed(ENDS, &[]).await;
        match left.map_err(OpenError::database("look for a restore"))?.len() {
            0 => Ok(()),
            ledgers => Err(OpenError::RestorePending { ledgers }),
        }
    }
}

fn end_of(row: &Row) -> (LedgerId, Position) {
    let position = Position::new(number(row, 1) as u32, number(row, 2));
    (LedgerId(row.get(0)), position)
}

/// Gives the present schema another name. One without a ledger is removed: nothing is in it.
async fn put_aside(tx: &Transaction<'_>, replace: bool, now: Micros) -> Result<Option<String>, BackupError> {
    let failed = || of_database("put the present ledgers aside");
    let sql = "SELECT to_regnamespace('ruche') IS NOT NULL, to_regclass('ruche.epoch') IS NOT NULL";
    let there = tx.query_one(sql, &[]).await.map_err(failed())?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    if there.get(1) {
        // Nobody adds a ledger between this look and the commit.
        let sql = "LOCK TABLE ruche.epoch, ruche.head, ruche.record IN ACCESS EXCLUSIVE MODE";
        tx.batch_execute(sql).await.map_err(failed())?;
        let sql = "SELECT EXISTS (SELECT FROM ruche.epoch) OR EXISTS (SELECT FROM ruche.head) \
                   OR EXISTS (SELECT FROM ruche.record)";
        let has_ledgers: bool = tx.query_one(sql, &[]).await.map_err(failed())?.get(0);
        if !has_ledgers {
            let sql = "DROP SCHEMA ruche CASCADE";
            tx.batch_execute(sql).await.map_err(failed())?;
            return Ok(None);
        }
    }
    if !replace {
        return Err(BackupError::LedgersThere);
    }
    let name = format!("ruche_before_{}", now.0);
    let sql = format!("ALTER SCHEMA ruche RENAME TO {name}");
    tx.batch_execute(&sql).await.map_err(failed())?;
    Ok(Some(name))
}

async fn load(
    tx: &Transaction<'_>,
    backup: &Path,
    survey: &Survey,
    progress: &dyn Fn(u64, u64),
) -> Result<(), BackupError> {
    let (read, failed) = (of_file("read", backup), || of_database("load the backup"));
    let mut reader = Reader::open(backup).map_err(&read)?;
    for (place, table) in TABLES.iter().enumerate() {
        if !reader.begin(place).map_err(&read)? {
            break;
        }
        let sql = format!(
            "COPY ruche.{} ({}) FROM STDIN (FORMAT binary)",
            table.name, table.columns
        );
        let sink = tx.copy_in::<_, Bytes>(&sql).await.map_err(failed())?;
        let mut sink = std::pin::pin!(sink);
        while let Some(chunk) = reader.chunk().map_err(&read)? {
            sink.send(Bytes::from(chunk)).await.map_err(failed())?;
            progress(reader.read, survey.bytes);
        }
        sink.finish().await.map_err(failed())?;
    }
    if reader.finish().map_err(&read)? != survey.hash {
        return Err(read(broken("it changed while it was read")));
    }
    Ok(())
}

/// Removes the read models of the ledgers that were there. The next start makes them anew.
async fn drop_read_models(tx: &Transaction<'_>) -> Result<(), BackupError> {
    let failed = || of_database("remove the read models");
    let sql = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ '^ruche_read(_[0-9]+)?$'";
    for schema in tx.query(sql, &[]).await.map_err(failed())? {
        let sql = format!("DROP SCHEMA {} CASCADE", schema.get::<_, &str>(0));
        tx.batch_execute(&sql).await.map_err(failed())?;
    }
    Ok(())
}
