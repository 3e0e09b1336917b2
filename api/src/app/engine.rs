//! What an engine gives: the ports of everything that is stored, and what only it can do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ruche_ledger::archive::ArchiveStore;
use ruche_ledger::halts::Halts;
use ruche_ledger::lease::Leases;
use ruche_ledger::seal::{TreeHeadStore, TreeStore};
use ruche_ledger::store::EventStore;
use ruche_ledger::writer_life::WriterLife;
use ruche_ledger_postgres::{NodeLock, PostgresStore};
use ruche_ledger_sqlite::SqliteStore;
use ruche_projections::rebuild::Rebuild;
use ruche_projections::store::{ReadStore, Snapshots};

use super::AppError;
use crate::append_health::WriteTest;

/// An engine that is open.
pub(super) struct Engine {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// What is known of payloads that are in archives.
    pub archives: Arc<dyn ArchiveStore>,
    /// Tiles and copies of tree heads.
    pub trees: Arc<dyn TreeStore>,
    /// What was promised.
    pub heads: Arc<dyn TreeHeadStore>,
    /// The read models.
    pub reads: Arc<dyn ReadStore>,
    /// Holds a moment of the read models.
    pub snapshots: Arc<dyn Snapshots>,
    /// Makes the read models anew.
    pub rebuild: Arc<dyn Rebuild>,
    /// Who tends which ledger.
    pub leases: Arc<dyn Leases>,
    /// Halts that other nodes have to know of; none where there are no others.
    pub halts: Option<Arc<dyn Halts>>,
    /// How those fare that write the records.
    pub writers: Arc<WriterLife>,
    /// Whether the store can be written.
    pub write_test: Arc<dyn WriteTest>,
    /// What is held until the process ends.
    pub held: Held,
}

/// What an engine holds, and has to let go of in an orderly way.
pub(super) enum Held {
    /// The files of the data folder.
    Files(Arc<SqliteStore>),
    /// Connections to a database, and the lock on it of a process that writes.
    Database(Arc<PostgresStore>, Option<NodeLock>),
}

impl Engine {
    /// Whether other nodes may use the same store.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.held, Held::Database(..))
    }

    /// Resolves when this process may not go on with the store; with files never.
    pub(super) fn lost(&self) -> BoxFuture<'static, ()> {
        match &self.held {
            Held::Database(_, Some(lock)) => Box::pin(lock.lost()),
            _ => Box::pin(std::future::pending()),
        }
    }

    /// How often new ledgers are looked for: in files that costs nothing, a database is asked by every node.
    pub(super) fn ledgers_interval(&self) -> Duration {
        match self.held {
            Held::Files(_) => Duration::from_millis(250),
            Held::Database(..) => Duration::from_secs(1),
        }
    }

    /// Finishes what is queued. Everything that was answered is durable before.
    pub(super) async fn close(self) -> Result<(), AppError> {
        match self.held {
            Held::Files(store) => Ok(store.close().await?),
            Held::Database(store, _lock) => Ok(store.close().await?),
        }
    }
}
