//! The composition root: this file and those below `app/` are the only ones that name concrete adapters.
//!
//! # The life of a process
//!
//! 1. Take the data lock, or name who has it; with a database, wait for it.
//! 2. Load the master seed, or make it where nothing was made with one yet. Open the ledger; a file that contradicts
//!    itself is refused here.
//! 3. Seal every epoch that a crash left unsealed, with the same steps as always. A ledger that is behind its last
//!    promise is named and stays unsealed: nothing is ever signed twice.
//! 4. Open the read models and the access keys.
//! 5. Serve, or do one command's work.
//! 6. Close: stop taking work, finish what is queued, seal, flush, release the lock.

use std::path::Path;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use ruche_commands::{Commands, LedgerSecrets, SecretsOf};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::ports::{Clock, Random};
use ruche_ledger::archive::ArchivesAtHand;
use ruche_ledger::epoch::{OpenError, Opener, RestoredLedger};
use ruche_ledger::guard::GuardedStore;
use ruche_ledger::seal::{SealError, Sealer, TreeHeadStoreError, TreeStore};
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger_keys::{MasterSeedFile, OsRandom, SystemClock, TreeHeadFiles};
use ruche_ledger_sqlite::{self as sqlite, DataLock};
use ruche_projections::rebuild::{OnDifference, RebuildProgress, RebuildReport};
use ruche_projections::runner::Runner;
use ruche_projections::store::{ReadStoreError, Snapshot};

use crate::append_health::AppendHealth;
use crate::archived::{ArchivedBundles, ArchivedStore};
use crate::auth::{Access, Credential, Passes};
use crate::cli::Common;
use crate::handed_out::HandedOut;
use crate::metered::MeteredStore;
use crate::passed_over::PassedOver;
use crate::publish::Publisher;
use crate::read_models;
use crate::ready_turns::ReadyTurns;
use crate::rebuilds::Rebuilds;
use crate::replays::Replays;
use crate::restore::{self, BackupEnd};
use crate::seal_loop::SealProgress;
use crate::services::{Services, Shutdown};
use crate::tending::Tending;
use crate::timer_loop::Timers;

mod archive;
mod backup;
mod bi;
mod embedded;
mod engine;
mod error;
mod export;
mod files;
mod postgres;
mod limit;
pub mod promised;
mod settings;

pub use archive::{ArchiveStep, Taken, open_archive};
pub use backup::{backup, put_backup_in_place};
pub use bi::{bi_grant, bi_logins, bi_revoke};
pub use error::AppError;
pub use files::{check_records, files_must_exist, has_seed, ledger_file, lock};
pub use postgres::{copy_tree_heads, migrate};
pub use settings::{SettingsFound, check_settings};

use archive::ArchiveDir;
use backup::Pending;
use engine::Engine;
pub use limit::{Stored, has_ledgers, random};

use files::no_restore_pending;

/// The command line of `ruche-verify`, which `ruche verify` shares.
pub use ruche_ledger_bundle::cli as offline_verifier;
pub use ruche_ledger_keys::ReviewerKeyFile;

/// The seed, which is in memory once, as the source of the pipeline's keyed hashes.
struct SeedSecrets(Arc<MasterSeedFile>);

impl SecretsOf for SeedSecrets {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        self.0.seed().secrets_of(ledger)
    }
}

/// Refuses where there is no store, in files or in a database, before anything is made.
///
/// # Errors
/// `NoStore` or `NoSchema`; others where a database cannot be asked.
pub async fn must_exist(common: &Common) -> Result<(), AppError> {
    match &common.database_url {
        Some(url) => Ok(postgres::reached(common, url).await?.must_have_schema().await?),
        None => files_must_exist(common),
    }
}

/// The master seed of the keys folder, made where nothing was made with one yet. Where something was and it is not
/// there, the folder is a wrong one or lost its seed: with a new seed the verifier keys of every ledger would be false.
fn master_seed(common: &Common, is_used: bool) -> Result<Arc<MasterSeedFile>, AppError> {
    if is_used && !has_seed(common) {
        return Err(AppError::KeysMissing {
            keys_dir: common.keys_dir.clone(),
        });
    }
    let seed = Arc::new(MasterSeedFile::load_or_create(&common.keys_dir)?);
    if seed.is_new() {
        tracing::warn!(path = %seed.path().display(), "a new master seed: keep a copy of this file somewhere safe");
    }
    Ok(seed)
}

/// Everything, put together on one of the engines.
pub struct App {
    /// The records, whole: what is in an archive is read from there, and is refused where the archive is not at hand.
    pub events: Arc<dyn EventStore>,
    /// The same records for who shows them: a payload whose archive is not at hand is told as archived.
    pub stored: Arc<dyn EventStore>,
    /// Tiles and tree heads.
    pub trees: Arc<dyn TreeStore>,
    /// Signs tree heads.
    pub sealer: Arc<Sealer>,
    /// Opens ledgers and epochs.
    pub opener: Opener,
    /// The write side.
    pub commands: Arc<Commands>,
    /// The read models, and what keeps them up to date.
    pub runner: Arc<Runner>,
    /// API keys.
    pub access: Arc<Access>,
    /// What browsers of people bring in place of them.
    passes: Passes,
    /// The clock of the process.
    pub clock: Arc<dyn Clock>,
    /// The random source of the process.
    pub random: Arc<dyn Random>,
    /// How far the sealing loops are.
    pub sealing: Arc<SealProgress>,
    /// Ledgers of a restore that this start finished, or why one could not be opened in its next epoch.
    pub restored: Vec<(BackupEnd, Result<RestoredLedger, String>)>,
    /// Whether this process signs tree heads and renews read models, or only looks.
    writes: bool,
    /// The records as they are stored, archives left aside.
    unfilled: Arc<dyn EventStore>,
    at_hand: Option<Arc<dyn ArchivesAtHand>>,
    append_health: Arc<AppendHealth>,
    guarded: Arc<GuardedStore>,
    engine: Engine,
}

impl App {
    /// Opens the store, and makes it if there is none. `what` names this process to others that want the data folder.
    ///
    /// # Errors
    /// See [`AppError`]. Nothing is left locked.
    pub async fn open(common: &Common, what: &str) -> Result<Self, AppError> {
        let app = Self::open_with_models_as_they_are(common, what).await?;
        app.renew_read_models().await?;
        Ok(app)
    }

    /// As [`App::open`], but read models of another version stay as they are: for who brings back what they are made of.
    ///
    /// # Errors
    /// See [`AppError`]. Nothing is left locked.
    pub async fn open_with_models_as_they_are(common: &Common, what: &str) -> Result<Self, AppError> {
        settings::fit_together(common)?;
        let pending;
        let (engine, seed) = match &common.database_url {
            Some(url) => {
                let opened = Self::on_postgres(common, url, true).await?;
                // No node that takes appends has come past this line since the backup was loaded.
                pending = postgres::take_restore(common, url).await?.map(Pending::Database);
                opened
            }
            None => {
                let lock = Arc::new(lock(common, what)?);
                let marker = restore::pending(&common.data_dir)?;
                if let Some(marker) = &marker {
                    marker.put_in_place(&common.data_dir, &ledger_file(common))?;
                }
                pending = marker.map(Pending::Files);
                Self::on_files(common, lock)?
            }
        };
        let mut app = Self::put_together(common, engine, seed, true).await?;
        if let Some(pending) = pending {
            app.finish_restore(&common.data_dir, pending).await?;
        }
        app.finish_sealing().await;
        Ok(app)
    }

    /// Opens a store that is there, to look at it: makes none, signs nothing, finishes no restore.
    ///
    /// # Errors
    /// See [`AppError`]; `NoStore` before anything is made.
    pub async fn open_to_read(common: &Common, what: &str) -> Result<Self, AppError> {
        settings::fit_together(common)?;
        let (engine, seed) = match &common.database_url {
            Some(url) => {
                let opened = Self::on_postgres(common, url, false).await?;
                postgres::no_restore_pending(common, url).await?;
                opened
            }
            None => {
                files_must_exist(common)?;
                let lock = Arc::new(lock(common, what)?);
                no_restore_pending(common)?;
                Self::on_files(common, lock)?
            }
        };
        Self::put_together(common, engine, seed, false).await
    }

    /// The embedded engine. The seed is made before the store and before any tree head.
    fn on_files(common: &Common, lock: Arc<DataLock>) -> Result<(Engine, Arc<MasterSeedFile>), AppError> {
        let is_used = ledger_file(common).exists() || TreeHeadFiles::are_in(&common.keys_dir);
        let seed = master_seed(common, is_used)?;
        Ok((embedded::open(common, lock, Arc::new(SystemClock))?, seed))
    }

    /// PostgreSQL. Every node is given the same seed; the first one may make it.
    async fn on_postgres(
        common: &Common,
        url: &str,
        writes: bool,
    ) -> Result<(Engine, Arc<MasterSeedFile>), AppError> {
        let engine = postgres::open(common, url, writes, Arc::new(SystemClock), &OsRandom).await?;
        let is_used = !engine.events.ledgers().await?.is_empty() || !engine.heads.origins().await?.is_empty();
        if !writes && !is_used && !has_seed(common) {
            // Whoever only reads makes no seed either.
            return Err(AppError::NoLedgers);
        }
        let seed = master_seed(common, is_used)?;
        postgres::agree_on_seed(common, url, &seed, writes).await?;
        Ok((engine, seed))
    }

    async fn put_together(
        common: &Common,
        engine: Engine,
        seed: Arc<MasterSeedFile>,
        writes: bool,
    ) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let guarded = Arc::new(GuardedStore::new(engine.events.clone(), engine.halts.clone()));
        let append_health = Arc::new(AppendHealth::new(
            engine.write_test.clone(),
            engine.writers.clone(),
        ));
        let unfilled: Arc<dyn EventStore> =
            Arc::new(MeteredStore::new(guarded.clone(), append_health.clone()));
        let at_hand = common.archive_dir.as_deref().map(ArchiveDir::at_hand);
        let bundles = at_hand.clone().map(ArchivedBundles::of);
        let stored = Arc::new(ArchivedStore::telling(unfilled.clone(), bundles.clone()));
        let events: Arc<dyn EventStore> = Arc::new(ArchivedStore::refusing(unfilled.clone(), bundles));
        let deployment = promised::deployment(common.deployment.as_deref(), &*events, &*engine.heads).await?;
        let sealer = Arc::new(Sealer {
            events: events.clone(),
            trees: engine.trees.clone(),
            heads: engine.heads.clone(),
            keys: seed.clone(),
        });
        let opener = Opener {
            sealer: sealer.clone(),
            clock: clock.clone(),
            random: random.clone(),
            deployment,
        };
        let validator = Arc::new(CatalogueValidator::new()?);
        let passes = Passes::new(*seed.seed().pass_key());
        let secrets = Arc::new(SeedSecrets(seed));
        let commands = Commands::new(events.clone(), clock.clone(), random.clone(), secrets, validator);
        let commands = commands.reading_back_from(stored.clone());
        let runner = Arc::new(Runner::new(events.clone(), engine.reads.clone()));
        let access = Arc::new(Access::open(events.clone(), clock.clone(), random.clone()).await?);
        Ok(Self {
            events,
            stored,
            unfilled,
            at_hand,
            trees: engine.trees.clone(),
            sealer,
            opener,
            commands: Arc::new(commands),
            runner,
            access,
            passes,
            clock,
            random,
            sealing: Arc::default(),
            restored: Vec::new(),
            writes,
            append_health,
            guarded,
            engine,
        })
    }

    /// Opens the next epoch of every ledger of a restore, before anybody appends. One that cannot be opened takes no
    /// appends; the marker stays, and the next start tries again.
    async fn finish_restore(&mut self, data_dir: &Path, pending: Pending) -> Result<(), AppError> {
        for end in pending.ends() {
            let opened = self.opener.open_restored(end.ledger, end.restored_to).await;
            let opened = opened.map_err(|error| crate::error::chain(&error));
            match &opened {
                Ok(opened) => {
                    tracing::warn!(ledger = %end.ledger, epoch = %opened.epoch, restored_to = %end.restored_to,
                        "restored: the ledger goes on in a new epoch");
                }
                Err(reason) => {
                    tracing::error!(ledger = %end.ledger, error = %reason, "the ledger of a restore is not opened");
                    let way_out = "mend that and start again: a start finishes the restore";
                    self.guarded.halt(
                        end.ledger,
                        format!("the next epoch after a restore cannot be opened: {reason}; {way_out}"),
                    );
                }
            }
            self.restored.push((end, opened));
        }
        if self.restored.iter().all(|(_, opened)| opened.is_ok()) {
            pending.finish(data_dir).await?;
        }
        Ok(())
    }

    /// Seals what a crash left unsealed. A ledger that may not go on (a restore) takes no appends until an operator opens
    /// its next epoch; it can still be read and exported.
    async fn finish_sealing(&self) {
        let ledgers = match self.events.ledgers().await {
            Ok(ledgers) => ledgers,
            Err(error) => return tracing::error!(%error, "the ledgers cannot be listed"),
        };
        match self.lost_ledgers().await {
            Ok(lost) => {
                for origin in lost {
                    tracing::error!(%origin, "a ledger is lost: {}", promised::LOST);
                }
            }
            Err(error) => tracing::error!(%error, "whether ledgers are lost cannot be seen"),
        }
        for ledger in ledgers {
            if let Err(error) = self.sealer.may_go_on(ledger).await {
                if matches!(error, SealError::TreeHeads(TreeHeadStoreError::Swapped)) {
                    // Another node has just sealed it, so it goes on.
                    continue;
                }
                let reason = crate::error::chain(&error);
                tracing::error!(%ledger, error = %reason, "the ledger is not sealed");
                if error.halts_appends()
                    && let Err(error) = self.guarded.halt_everywhere(ledger, reason).await
                {
                    tracing::error!(%ledger, %error, "other nodes are not told to take no appends");
                }
            }
        }
    }

    /// Rebuilds read models that another version of a projection made: after an upgrade nothing else could follow them.
    async fn renew_read_models(&self) -> Result<(), AppError> {
        for ledger in self.events.ledgers().await? {
            let found = read_models::to_renew(&self.runner, ledger, self.engine.is_shared()).await?;
            if let Some(projection) = found {
                tracing::info!(
                    projection,
                    "rebuilding read models: this one is of another version, or new"
                );
                self.rebuild(&RebuildProgress::default()).await?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes all read models anew from the ledgers and switches to them, and tells how far it is. Returns what differed from
    /// the old ones.
    ///
    /// # Errors
    /// See [`AppError`]; `Archived` before it begins, where payloads are in an archive that is not at hand. Then the old ones
    /// are as they were.
    pub async fn rebuild(&self, progress: &RebuildProgress) -> Result<RebuildReport, AppError> {
        self.archives_must_be_at_hand().await?;
        let rebuild = &self.engine.rebuild;
        let rebuilt = rebuild.rebuild(self.events.clone(), OnDifference::Switch, progress);
        Ok(rebuilt.await?)
    }

    /// Brings the read models of a ledger up to its end, or to what is parked.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn catch_up(&self, ledger: LedgerId) -> Result<(), AppError> {
        Ok(self.runner.catch_up(ledger).await?)
    }

    /// Holds this moment of the read models of a ledger.
    ///
    /// # Errors
    /// Those of the read models.
    pub async fn snapshot(&self, ledger: LedgerId) -> Result<Box<dyn Snapshot>, ReadStoreError> {
        self.engine.snapshots.snapshot(ledger).await
    }

    /// Makes the main ledger of a tenant if it has none. Returns whether it was made.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn ensure_ledger(&self, tenant: TenantId) -> Result<bool, AppError> {
        let ledger = LedgerId::main_of(tenant);
        if self.events.head(ledger).await?.is_some() {
            return Ok(false);
        }
        match self.opener.create(ledger).await {
            Ok(_) => {
                self.sealer.seal(ledger).await?;
                Ok(true)
            }
            // Somebody else made it in between: as good.
            Err(OpenError::Store(StoreError::EpochMoved)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Ledgers that were promised something and are not in the store: the last origin of each.
    ///
    /// # Errors
    /// If the tree heads or the store cannot be read.
    pub async fn lost_ledgers(&self) -> Result<Vec<String>, AppError> {
        promised::lost_ledgers(&*self.events, &*self.sealer.heads).await
    }

    /// The loops that tend the ledgers.
    pub fn tending(&self, publisher: Publisher) -> Tending {
        Tending {
            events: self.events.clone(),
            sealer: self.sealer.clone(),
            runner: self.runner.clone(),
            timers: Timers {
                commands: self.commands.clone(),
                runner: self.runner.clone(),
                clock: self.clock.clone(),
                random: self.random.clone(),
            },
            publisher,
            sealing: self.sealing.clone(),
            guard: self.guarded.clone(),
            leases: self.engine.leases.clone(),
            interval: self.engine.ledgers_interval(),
        }
    }

    /// Resolves when this process may not go on with the store: it was restored, or is somebody else's.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.engine.lost()
    }

    /// Resolves when a writer broke so often that it is not started any more.
    pub fn writer_given_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let writers = self.engine.writers.clone();
        async move { writers.given_up().await }
    }

    /// What the network edge needs.
    pub fn services(
        &self,
        metrics: PrometheusHandle,
        operator: Option<Credential>,
        shutdown: Shutdown,
    ) -> Services {
        let (events, runner, clock) = (self.events.clone(), self.runner.clone(), self.clock.clone());
        let ready_turns = ReadyTurns::new(events, runner, clock, shutdown.clone());
        Services {
            events: self.events.clone(),
            stored: self.stored.clone(),
            guard: self.guarded.clone(),
            append_health: self.append_health.clone(),
            trees: self.trees.clone(),
            sealer: self.sealer.clone(),
            commands: self.commands.clone(),
            runner: self.runner.clone(),
            ready_turns: Arc::new(ready_turns),
            passed_over: PassedOver::default(),
            handed_out: HandedOut::default(),
            replays: Replays::new(shutdown.clone()),
            rebuilds: Arc::new(Rebuilds::new(
                self.engine.rebuild.clone(),
                self.events.clone(),
                self.commands.clone(),
                self.clock.clone(),
                shutdown.clone(),
            )),
            access: self.access.clone(),
            passes: self.passes.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            sealing: self.sealing.clone(),
            metrics,
            operator,
            shutdown,
        }
    }

    /// Finishes what is queued and releases the data folder.
    ///
    /// # Errors
    /// When the last flush fails. Everything that was answered is durable all the same.
    pub async fn close(self) -> Result<(), AppError> {
        if !self.writes {
            return self.engine.close().await;
        }
        for ledger in self.events.ledgers().await? {
            if let Err(error) = self.sealer.seal(ledger).await {
                tracing::warn!(%ledger, error = %crate::error::chain(&error), "closing without a last tree head");
            }
        }
        self.engine.close().await
    }
}
