//! PostgreSQL: the records, the read models and the leases in one database, what was promised in another one or, for a
//! node that is alone, in files of the keys folder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_ledger::seal::TreeHeadStore;
use ruche_ledger::store::EventStore;
use ruche_ledger_keys::TreeHeadFiles;
use ruche_ledger_postgres::{Database, NodeKind, NodeLock, OpenError, PostgresOptions, PostgresStore};
use ruche_projections_sqlite::{OnDifference, RebuildReport, SqliteReadStore};
use tokio::time::{Instant, sleep};

use super::AppError;
use super::engine::{Engine, Own};
use super::settings::enough_connections;
use crate::append_health::WriteTest;
use crate::cli::Common;
use crate::limits::{DATABASE_RETRY_FIRST, DATABASE_RETRY_LONGEST};

/// What only this engine does.
pub(super) struct Postgres {
    store: Arc<PostgresStore>,
    reads: SqliteReadStore,
    _lock: Option<NodeLock>,
}

/// Waits for the database, brings its schema up to date and opens it.
pub(super) async fn open(
    common: &Common,
    url: &str,
    writes: bool,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Engine, AppError> {
    let options = options(common, url);
    let database = Arc::new(Database::parse(&options)?);
    wait_for(&database, common.database_wait(), "the database").await?;
    enough_connections(common, &database.server().await?)?;
    let store = Arc::new(PostgresStore::open(clock.clone(), options).await?);
    let (heads, kind) = tree_heads(common).await?;
    let lock = match writes {
        true => Some(lock(&database, kind).await?),
        false => None,
    };
    let reads = SqliteReadStore::open(&common.data_dir)?;
    let node = event_id(&*clock, random).0;
    Ok(Engine {
        events: store.clone(),
        trees: store.clone(),
        heads,
        reads: Arc::new(reads.clone()),
        leases: Arc::new(database.leases(node)?),
        write_test: Arc::new(DatabaseTest(database)),
        own: Own::Postgres(Postgres {
            store,
            reads,
            _lock: lock,
        }),
    })
}

/// Connections to the ledgers' database that a node may have at once: those of the store, two of the leases, one of the
/// lock, and one to try whether it can be written.
pub(super) fn connections_of_a_node(common: &Common) -> u64 {
    options(common, "").connections_max() as u64 + 4
}

fn options(common: &Common, url: &str) -> PostgresOptions {
    PostgresOptions {
        readers: usize::from(common.database_readers),
        ..PostgresOptions::new(url)
    }
}

/// Keeps nodes that do not go together apart, for as long as this one lives.
async fn lock(database: &Database, kind: NodeKind) -> Result<NodeLock, AppError> {
    let taken = NodeLock::take(database.connect().await?, kind).await;
    let taken = taken.map_err(OpenError::database("lock the database"))?;
    taken.ok_or(AppError::NotAlone)
}

/// Where promises are kept: in the database that is named for it, else in files, and then no other node may be there.
async fn tree_heads(common: &Common) -> Result<(Arc<dyn TreeHeadStore>, NodeKind), AppError> {
    let Some(url) = &common.tree_heads_url else {
        return Ok((Arc::new(TreeHeadFiles::open(&common.keys_dir)?), NodeKind::Alone));
    };
    let database = Database::parse(&PostgresOptions::new(url))?;
    wait_for(&database, common.database_wait(), "the database of tree heads").await?;
    database.migrate_tree_heads().await?;
    Ok((Arc::new(database.tree_heads()?), NodeKind::OneOfMany))
}

/// Waits until a database can be reached, and says so. What waiting does not mend is told at once.
async fn wait_for(database: &Database, longest: Duration, what: &str) -> Result<(), AppError> {
    let begun = Instant::now();
    let mut pause = DATABASE_RETRY_FIRST;
    loop {
        let error = match database.connect().await {
            Ok(_client) => return Ok(()),
            Err(error) => error,
        };
        let left = longest.saturating_sub(begun.elapsed());
        if !error.may_pass() || left.is_zero() {
            return Err(error.into());
        }
        tracing::warn!(error = %crate::error::chain(&error), wait_s = left.as_secs(), "waiting for {what}");
        sleep(pause.min(left)).await;
        pause = DATABASE_RETRY_LONGEST.min(pause * 2);
    }
}

/// Tries a commit.
struct DatabaseTest(Arc<Database>);

#[async_trait]
impl WriteTest for DatabaseTest {
    async fn try_to_write(&self) -> io::Result<()> {
        let tried = self.0.try_to_write().await;
        tried.map_err(|error| io::Error::other(crate::error::chain(&error)))
    }
}

impl Postgres {
    pub(super) async fn rebuild(&self, events: Arc<dyn EventStore>) -> Result<RebuildReport, AppError> {
        Ok(self.reads.rebuild(events, OnDifference::Switch).await?)
    }

    pub(super) async fn close(self) -> Result<(), AppError> {
        Ok(self.store.close().await?)
    }
}
