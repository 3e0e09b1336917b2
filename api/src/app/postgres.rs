//! PostgreSQL: the records, the read models and the leases in one database, what was promised in another one or, for a
//! node that is alone, in files of the keys folder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_ledger::seal::{LogKeys, TreeHeadStore};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_keys::{MasterSeedFile, TreeHeadFiles};
use ruche_ledger_postgres::{
    BackupError, Database, NodeKind, NodeLock, OpenError, PendingRestore, PostgresOptions, PostgresStore,
};
use ruche_projections_postgres::{OpenError as ModelsError, PostgresReadStore};
use tokio::time::{Instant, sleep};

use super::AppError;
use super::engine::{Engine, Held};
use super::settings::{enough_connections, fit_together};
use crate::append_health::WriteTest;
use crate::cli::Common;
use crate::limits::{DATABASE_RETRY_FIRST, DATABASE_RETRY_LONGEST};

/// Waits for the database, brings its schema up to date and opens it.
pub(super) async fn open(
    common: &Common,
    url: &str,
    writes: bool,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Engine, AppError> {
    let options = PostgresOptions {
        migrate: writes,
        ..options(common, url)
    };
    let database = Arc::new(Database::parse(&options)?);
    wait_for(&database, common.database_wait(), "the database").await?;
    let pooler = async || database.check_read_url().await;
    wait(common.database_wait(), "the database behind the read URL", pooler).await?;
    let of_heads = match &common.tree_heads_url {
        Some(url) => {
            let heads = Database::parse(&PostgresOptions::new(url))?;
            wait_for(&heads, common.database_wait(), "the database of tree heads").await?;
            Some(heads.server().await?)
        }
        None => None,
    };
    enough_connections(common, &database.server().await?, of_heads.as_ref())?;
    let store = Arc::new(PostgresStore::open(clock.clone(), options).await?);
    let (heads, kind) = tree_heads(common, writes).await?;
    agree_on_tree_heads(common, &database, writes).await?;
    let lock = match writes {
        true => Some(lock(&database, kind).await?),
        false => None,
    };
    let reads = Arc::new(read_models(common, &database, writes).await?);
    let node = event_id(&*clock, random).0;
    Ok(Engine {
        events: store.clone(),
        archives: store.clone(),
        trees: store.clone(),
        heads,
        reads: reads.clone(),
        snapshots: reads.clone(),
        rebuild: reads,
        leases: Arc::new(database.leases(node)),
        halts: Some(Arc::new(database.halts())),
        writers: store.writers(),
        write_test: Arc::new(DatabaseTest(database)),
        held: Held::Database(store, lock),
    })
}

/// The read models, brought up to date if they are not: a node that finds them so needs no right to change the schema.
async fn read_models(
    common: &Common,
    database: &Database,
    writes: bool,
) -> Result<PostgresReadStore, AppError> {
    let pool = database.pool(direct_connections_of_read_models(common))?;
    let reading = database.pool_through_read_url(usize::from(common.database_readers))?;
    let open = async || match reading.clone() {
        Some(reading) => PostgresReadStore::open_with_reading(pool.clone(), reading).await,
        None => PostgresReadStore::open(pool.clone()).await,
    };
    match open().await {
        Err(ModelsError::NotMigrated { .. }) if writes => {
            ruche_projections_postgres::migrate(&mut database.connect().await?).await?;
            Ok(open().await?)
        }
        opened => Ok(opened?),
    }
}

/// Connections to the server itself that the read models have: what reads is at the pooler if there is one.
fn direct_connections_of_read_models(common: &Common) -> usize {
    let connections = usize::from(common.database_readers);
    match common.database_read_url {
        Some(_) => PostgresReadStore::connections_that_write(connections),
        None => connections,
    }
}

/// Brings the ledgers and the read models of a database up to date.
async fn migrate_ledgers(database: &Database) -> Result<(), AppError> {
    database.migrate().await?;
    ruche_projections_postgres::migrate(&mut database.connect().await?).await?;
    Ok(())
}

/// Brings all databases that the settings name up to date, as whoever owns them. Gives what is there now.
///
/// # Errors
/// See [`AppError`]; a migration is applied whole or not at all.
pub async fn migrate(common: &Common) -> Result<Vec<String>, AppError> {
    fit_together(common)?;
    let Some(url) = &common.database_url else {
        return Err(AppError::Settings(
            "database.url (--database-url) is not set: the embedded store is brought up to date by every start".to_owned(),
        ));
    };
    let database = Database::parse(&PostgresOptions::new(url))?;
    wait_for(&database, common.database_wait(), "the database").await?;
    migrate_ledgers(&database).await?;
    let mut done = vec![database.server().await?.to_string()];
    if let Some(url) = &common.tree_heads_url {
        let heads = Database::parse(&PostgresOptions::new(url))?;
        wait_for(&heads, common.database_wait(), "the database of tree heads").await?;
        heads.migrate_tree_heads().await?;
        done.push(heads.server().await?.to_string());
    }
    Ok(done)
}

/// Copies what was promised from the files of the keys folder into the database of tree heads, when a deployment of one
/// node becomes one of many. Gives how many logs it has.
///
/// # Errors
/// `Settings` without a database of tree heads; `TreeHeads` if one of the files cannot be read, or the database has
/// promised otherwise already.
pub async fn copy_tree_heads(common: &Common) -> Result<usize, AppError> {
    fit_together(common)?;
    if common.tree_heads_url.is_none() {
        return Err(AppError::Settings(
            "database.tree_heads_url (--tree-heads-url) is not set: there is nowhere to copy to".to_owned(),
        ));
    }
    let files = TreeHeadFiles::open(&common.keys_dir)?;
    let (database, _kind) = tree_heads(common, true).await?;
    let origins = files.origins().await?;
    for origin in &origins {
        let Some(promise) = files.latest(origin).await? else {
            continue;
        };
        let there = database.latest(origin).await?;
        // The larger promise of one history counts, wherever it stands; that it is one history, the sealer proves.
        if there
            .as_ref()
            .is_none_or(|there| there.head().size < promise.head().size)
        {
            database
                .compare_and_swap(origin, there.as_ref(), &promise)
                .await?;
        }
    }
    Ok(origins.len())
}

/// Connections to the server of the ledgers' database that a node may have at once: those of the store and of the read
/// models, one each of the leases, of halts and of the lock, and one to try whether it can be written.
pub(super) fn connections_of_a_node(common: &Common) -> u64 {
    let of_models = direct_connections_of_read_models(common);
    (options(common, "").connections_max() + of_models) as u64 + 4
}

/// Connections of a node to the pooler: for the ledgers, and as many for the read models.
pub(super) fn pooled_connections_of_a_node(common: &Common) -> u64 {
    match common.database_read_url {
        Some(_) => 2 * u64::from(common.database_readers),
        None => 0,
    }
}

fn options(common: &Common, url: &str) -> PostgresOptions {
    PostgresOptions {
        read_url: common.database_read_url.clone(),
        readers: usize::from(common.database_readers),
        ..PostgresOptions::new(url)
    }
}

/// Before ledgers are put aside: refuses a seed that is not theirs, and tree heads that do not know what was signed for
/// them. With others, next epochs would be opened that were open before, and be signed a second time.
pub(super) async fn must_know_what_was_signed(
    common: &Common,
    url: &str,
    database: &Database,
) -> Result<(), AppError> {
    if !database.has_ledgers().await? {
        return Ok(());
    }
    // An older version may have made them, and they are looked at as this one has them.
    database.migrate().await?;
    // What was noted during a restore that is not finished may be what it did not go on for.
    if !database.restore_is_pending().await? {
        let seed = MasterSeedFile::load_or_create(&common.keys_dir)?;
        agree_on_seed(common, url, &seed, false).await?;
    }
    // Copies first: each was promised before it was written.
    let copies = database.tree_head_copies().await?;
    let (promises, _kind) = tree_heads(common, true).await?;
    for copy in copies {
        // One that cannot be read is rot, which may be why there is a restore.
        let Ok(copy) = SignedTreeHead::parse(&copy) else {
            continue;
        };
        let (origin, size) = (&copy.head().origin, copy.head().size);
        let promise = promises.latest(origin).await?;
        if promise.is_none_or(|promise| promise.head().size < size) {
            let origin = origin.clone();
            return Err(AppError::OtherTreeHeads { origin });
        }
    }
    agree_on_tree_heads(common, database, false).await
}

/// Refuses a seed that is not the deployment's. It is known by the label of a ledger that nobody has.
pub(super) async fn agree_on_seed(
    common: &Common,
    url: &str,
    seed: &MasterSeedFile,
    writes: bool,
) -> Result<(), AppError> {
    let database = Database::parse(&options(common, url))?;
    let label = seed.label(LedgerId::from_bytes([0; 16]));
    if database.agree_on_seed(&label, writes).await? {
        return Ok(());
    }
    Err(AppError::OtherSeed {
        keys_dir: common.keys_dir.clone(),
    })
}

/// Refuses tree heads that are not the deployment's. Called when their database is up to date.
async fn agree_on_tree_heads(common: &Common, database: &Database, writes: bool) -> Result<(), AppError> {
    let heads = match &common.tree_heads_url {
        Some(url) => Some(
            Database::parse(&PostgresOptions::new(url))?
                .tree_heads_id()
                .await?,
        ),
        None => None,
    };
    match database.agree_on_tree_heads(heads, writes).await? {
        true => Ok(()),
        false => Err(AppError::NotOurTreeHeads),
    }
}

/// Keeps nodes that do not go together apart, for as long as this one lives.
async fn lock(database: &Database, kind: NodeKind) -> Result<NodeLock, AppError> {
    NodeLock::take(database, kind).await?.ok_or(AppError::NotAlone)
}

/// Where promises are kept: in the database that is named for it, else in files, and then no other node may be there.
async fn tree_heads(common: &Common, writes: bool) -> Result<(Arc<dyn TreeHeadStore>, NodeKind), AppError> {
    let Some(url) = &common.tree_heads_url else {
        return Ok((Arc::new(TreeHeadFiles::open(&common.keys_dir)?), NodeKind::Alone));
    };
    let database = Database::parse(&PostgresOptions::new(url))?;
    wait_for(&database, common.database_wait(), "the database of tree heads").await?;
    match writes {
        true => database.migrate_tree_heads().await?,
        false => database.require_tree_heads().await?,
    }
    Ok((Arc::new(database.tree_heads()), NodeKind::OneOfMany))
}

/// The ledgers' database, once it can be reached.
pub(super) async fn reached(common: &Common, url: &str) -> Result<Database, AppError> {
    let database = Database::parse(&options(common, url))?;
    wait_for(&database, common.database_wait(), "the database").await?;
    Ok(database)
}

/// Refuses a read URL that leads to another database.
pub(super) async fn check_read_url(common: &Common, url: &str) -> Result<(), AppError> {
    Ok(Database::parse(&options(common, url))?.check_read_url().await?)
}

/// Takes a restore that is not finished. A node that comes while another one finishes it waits for that one.
pub(super) async fn take_restore(common: &Common, url: &str) -> Result<Option<PendingRestore>, AppError> {
    Ok(Database::parse(&options(common, url))?.take_restore().await?)
}

/// Refuses where a restore waits to be finished.
pub(super) async fn no_restore_pending(common: &Common, url: &str) -> Result<(), AppError> {
    match Database::parse(&options(common, url))?
        .restore_is_pending()
        .await?
    {
        false => Ok(()),
        true => Err(BackupError::Pending.into()),
    }
}

/// Waits until a database can be reached, and says so. What waiting does not mend is told at once.
async fn wait_for(database: &Database, longest: Duration, what: &str) -> Result<(), AppError> {
    wait(longest, what, async || database.connect().await.map(drop)).await
}

/// The same for whatever has to succeed.
async fn wait(
    longest: Duration,
    what: &str,
    reach: impl AsyncFn() -> Result<(), OpenError>,
) -> Result<(), AppError> {
    let begun = Instant::now();
    let mut pause = DATABASE_RETRY_FIRST;
    loop {
        let Err(error) = reach().await else {
            return Ok(());
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

/// Tries whether tables can grow, and then a commit.
struct DatabaseTest(Arc<Database>);

#[async_trait]
impl WriteTest for DatabaseTest {
    async fn try_to_write(&self) -> io::Result<()> {
        let tried = async {
            self.0.try_for_room().await?;
            self.0.try_to_write().await
        };
        tried
            .await
            .map_err(|error| io::Error::other(crate::error::chain(&error)))
    }
}
