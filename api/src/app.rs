//! The composition root: the only file that names concrete adapters.
//!
//! # The life of a process
//!
//! 1. Take the data lock, or name who has it.
//! 2. Load the master seed, or make it where nothing was made with one yet. Open the ledger; a file that contradicts
//!    itself is refused here.
//! 3. Seal every epoch that a crash left unsealed, with the same steps as always. A ledger that is behind its last
//!    promise is named and stays unsealed: nothing is ever signed twice.
//! 4. Open the read models and the access keys.
//! 5. Serve, or do one command's work.
//! 6. Close: stop taking work, finish what is queued, seal, flush, release the lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use ruche_commands::{Commands, LedgerSecrets, SecretsOf};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::numbers::Position;
use ruche_domain::ports::{Clock, Random};
use ruche_ledger::epoch::{OpenError, Opener, RestoredLedger};
use ruche_ledger::guard::GuardedStore;
use ruche_ledger::note::VerifierKey;
use ruche_ledger::seal::{SealError, Sealer, TreeHeadStore, TreeHeadStoreError, TreeStore};
use ruche_ledger::store::{EpochInfo, EventStore, StoreError};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_bundle::{BundleWriter, WriteError};
use ruche_ledger_keys::{MasterSeedFile, OsRandom, SystemClock, TreeHeadFiles};
use ruche_ledger_sqlite::{self as sqlite, DataLock, SqliteOptions, SqliteStore};
use ruche_projections::runner::{RunError, Runner};
use ruche_projections::store::ReadStoreError;
use ruche_projections_sqlite::{OnDifference, RebuildError, RebuildReport, SqliteReadStore};

use crate::append_health::AppendHealth;
use crate::auth::{Access, Credential};
use crate::cli::Common;
use crate::metered::MeteredStore;
use crate::restore::{self, BackupEnd, RestoreError};
use crate::seal_loop::SealProgress;
use crate::services::{Services, Shutdown};

mod files;
pub mod promised;

pub use files::{backup, check_records, has_seed, ledger_file, lock, must_exist, put_backup_in_place};

use files::no_restore_pending;

/// The command line of `ruche-verify`, which `ruche verify` shares.
pub use ruche_ledger_bundle::cli as offline_verifier;

/// Why the application could not be put together, or could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder or the ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] ruche_ledger_sqlite::OpenError),
    /// The keys folder cannot be used.
    #[error(transparent)]
    Keys(#[from] ruche_ledger_keys::SeedFileError),
    /// There is a store or a tree head, and no master seed. A new one would sign for none of the ledgers.
    #[error(
        "ledgers were made with a master seed that is not in the keys folder {0}: name the right folder with --keys-dir, \
         or put master.seed back from where you keep it. If it is lost, nothing can be signed for these ledgers any \
         more; to read them all the same: \
         mkdir -p {0} && (umask 077; openssl rand -hex 32 > {0}/master.seed)",
        keys_dir.display()
    )]
    KeysMissing {
        /// Where it was looked for.
        keys_dir: PathBuf,
    },
    /// Another name of the deployment was given than its origins have.
    #[error(
        "this deployment is called {chosen}, and was called {given} now: the name is in the origin of every ledger and \
         is chosen once. Leave --deployment (RUCHE_DEPLOYMENT) out, or name the folders of the other deployment"
    )]
    Deployment {
        /// The name in the origins.
        chosen: String,
        /// The name that was given.
        given: String,
    },
    /// The folder of tree heads cannot be used.
    #[error(transparent)]
    TreeHeads(#[from] TreeHeadStoreError),
    /// The event catalogue of this build is broken.
    #[error(transparent)]
    Catalogue(#[from] ruche_commands_schema::SchemaBroken),
    /// The read models cannot be opened.
    #[error(transparent)]
    ReadModels(#[from] ruche_projections_sqlite::OpenError),
    /// The read models cannot be read.
    #[error(transparent)]
    ReadStore(#[from] ReadStoreError),
    /// Read models could not be brought up to date.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The read models cannot be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// A ledger cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An export cannot be written.
    #[error(transparent)]
    Export(#[from] WriteError),
    /// A backup goes to a new file.
    #[error("{} is there already; choose another name for the backup", path.display())]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// A restore cannot be begun or finished.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// There is a store where one would be restored.
    #[error("{} is there already; with --replace it is put aside", path.display())]
    StoreThere {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A command that only reads found a restore that was interrupted.
    #[error(
        "a restore of {} was interrupted: the next start of `ruche serve` finishes it, opening the next epoch of every \
         ledger; until then nothing is read here",
        data_dir.display()
    )]
    RestorePending {
        /// The data folder.
        data_dir: PathBuf,
    },
    /// There is nothing to read.
    #[error("no store here: {} is not there; name the data folder with --data-dir", path.display())]
    NoStore {
        /// The ledger's file.
        path: PathBuf,
    },
    /// There is nothing of this tenant here.
    #[error("this tenant has no ledger here; `ruche keys new` makes one")]
    NoLedger,
}

impl AppError {
    /// Whether another process has the data folder, as a running server does.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(ruche_ledger_sqlite::OpenError::Locked { .. }))
    }
}

/// The seed, which is in memory once, as the source of the pipeline's keyed hashes.
struct SeedSecrets(Arc<MasterSeedFile>);

impl SecretsOf for SeedSecrets {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        self.0.seed().secrets_of(ledger)
    }
}

/// Everything, put together on the embedded engine.
pub struct App {
    /// The records.
    pub events: Arc<dyn EventStore>,
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
    append_health: Arc<AppendHealth>,
    guarded: Arc<GuardedStore>,
    reads: SqliteReadStore,
    store: Arc<SqliteStore>,
}

impl App {
    /// Opens the embedded store. `what` names this process to others that want the data folder.
    ///
    /// # Errors
    /// See [`AppError`]. Nothing is left locked.
    pub async fn open(common: &Common, what: &str) -> Result<Self, AppError> {
        let lock = Arc::new(lock(common, what)?);
        let pending = restore::pending(&common.data_dir)?;
        if let Some(marker) = &pending {
            marker.put_in_place(&common.data_dir, &ledger_file(common))?;
        }
        let mut app = Self::put_together(common, lock, true).await?;
        if let Some(marker) = pending {
            app.finish_restore(&common.data_dir, &marker.ledgers).await?;
        }
        app.finish_sealing().await;
        app.renew_read_models().await?;
        Ok(app)
    }

    /// Opens a store that is there, to look at it: makes none, signs nothing, finishes no restore.
    ///
    /// # Errors
    /// See [`AppError`]; `NoStore` before anything is made.
    pub async fn open_to_read(common: &Common, what: &str) -> Result<Self, AppError> {
        must_exist(common)?;
        let lock = Arc::new(lock(common, what)?);
        no_restore_pending(common)?;
        Self::put_together(common, lock, false).await
    }

    async fn put_together(common: &Common, lock: Arc<DataLock>, writes: bool) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        // The seed is made before the store and before any tree head. Where these are and it is not, the keys folder is
        // a wrong one or lost its seed; with a new seed the verifier keys of every ledger would be false.
        let is_used = ledger_file(common).exists() || TreeHeadFiles::are_in(&common.keys_dir);
        if is_used && !has_seed(common) {
            return Err(AppError::KeysMissing {
                keys_dir: common.keys_dir.clone(),
            });
        }
        let seed = Arc::new(MasterSeedFile::load_or_create(&common.keys_dir)?);
        if seed.is_new() {
            tracing::warn!(path = %seed.path().display(), "a new master seed: keep a copy of this file somewhere safe");
        }
        let store = Arc::new(SqliteStore::open(lock, clock.clone(), SqliteOptions::default())?);
        let guarded = Arc::new(GuardedStore::new(store.clone()));
        let append_health = Arc::new(AppendHealth::new(common.data_dir.clone()));
        let events: Arc<dyn EventStore> = Arc::new(MeteredStore::new(guarded.clone(), append_health.clone()));
        let trees: Arc<dyn TreeStore> = store.clone();
        let heads: Arc<dyn TreeHeadStore> = Arc::new(TreeHeadFiles::open(&common.keys_dir)?);
        let deployment = promised::deployment(common.deployment.as_deref(), &*events, &*heads).await?;
        let sealer = Arc::new(Sealer {
            events: events.clone(),
            trees: trees.clone(),
            heads,
            keys: seed.clone(),
        });
        let opener = Opener {
            sealer: sealer.clone(),
            clock: clock.clone(),
            random: random.clone(),
            deployment,
        };
        let validator = Arc::new(CatalogueValidator::new()?);
        let secrets = Arc::new(SeedSecrets(seed));
        let commands = Commands::new(events.clone(), clock.clone(), random.clone(), secrets, validator);
        let commands = Arc::new(commands);
        let reads = SqliteReadStore::open(&common.data_dir)?;
        let runner = Arc::new(Runner::new(events.clone(), Arc::new(reads.clone())));
        let access = Arc::new(Access::open(events.clone(), clock.clone(), random.clone()).await?);
        Ok(Self {
            events,
            trees,
            sealer,
            opener,
            commands,
            runner,
            access,
            clock,
            random,
            sealing: Arc::default(),
            restored: Vec::new(),
            writes,
            append_health,
            guarded,
            reads,
            store,
        })
    }

    /// Opens the next epoch of every ledger of a restore, before anybody appends. One that cannot be opened takes no
    /// appends; the marker stays, and the next start tries again.
    async fn finish_restore(&mut self, data_dir: &Path, ledgers: &[BackupEnd]) -> Result<(), AppError> {
        for end in ledgers {
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
            self.restored.push((*end, opened));
        }
        if self.restored.iter().all(|(_, opened)| opened.is_ok()) {
            restore::Marker::remove(data_dir)?;
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
                let reason = crate::error::chain(&error);
                tracing::error!(%ledger, error = %reason, "the ledger is not sealed");
                if error.halts_appends() {
                    self.guarded.halt(ledger, reason);
                }
            }
        }
    }

    /// Rebuilds read models that another version of a projection made: after an upgrade nothing else could follow them.
    async fn renew_read_models(&self) -> Result<(), AppError> {
        for ledger in self.events.ledgers().await? {
            for projection in ruche_projections::projection::all() {
                let status = self.runner.store().status(ledger, projection.name()).await?;
                if status
                    .version
                    .is_some_and(|version| version != projection.version())
                {
                    tracing::info!(
                        projection = projection.name(),
                        "rebuilding read models of another version"
                    );
                    self.rebuild().await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes all read models anew from the ledgers and switches to them. Returns what differed from the old ones.
    ///
    /// # Errors
    /// See [`AppError`]. Then the old ones are as they were.
    pub async fn rebuild(&self) -> Result<RebuildReport, AppError> {
        Ok(self
            .reads
            .rebuild(self.events.clone(), OnDifference::Switch)
            .await?)
    }

    /// Brings the read models of a ledger up to its end, or to what is parked.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn catch_up(&self, ledger: LedgerId) -> Result<(), AppError> {
        Ok(self.runner.catch_up(ledger).await?)
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

    /// Writes a ledger to a directory, sealed up to now. Returns how many records it has. `progress` is told of each
    /// page: records written, records in all.
    ///
    /// # Errors
    /// See [`AppError`]. Then the directory is not there.
    pub async fn export(
        &self,
        ledger: LedgerId,
        target: &Path,
        progress: impl Fn(u64, u64),
    ) -> Result<u64, AppError> {
        // A ledger that cannot be sealed any more is exported under its last tree head: the verifier says the rest.
        let sealed = self.sealer.seal(ledger).await;
        let epochs = self.events.epochs(ledger).await?;
        if epochs.is_empty() {
            return Err(AppError::NoLedger);
        }
        let (mut written, total) = (0, epochs.iter().map(|e| e.size.0).sum());
        let mut writer = BundleWriter::create(target, ledger)?;
        for epoch in &epochs {
            let head = self.trees.tree_head(ledger, epoch.epoch).await?;
            let Some(head) = head else {
                return Err(sealed.err().map_or(AppError::NoLedger, AppError::Seal));
            };
            let key = self.verifier_key(epoch, &head)?;
            writer.begin_epoch(epoch.epoch, &head, &key)?;
            let mut next = Position {
                epoch: epoch.epoch,
                index: ruche_domain::numbers::LeafIndex(0),
            };
            while next.index.0 < head.head().size.0 {
                let records = self
                    .events
                    .read_ledger(ledger, next, ruche_domain::limits::READ_RECORDS_MAX)
                    .await?;
                let of_epoch = records.iter().take_while(|r| {
                    r.position.epoch == epoch.epoch && r.position.index.0 < head.head().size.0
                });
                let before = next;
                for record in of_epoch {
                    writer.record(&record.leaf_bytes, &record.payload)?;
                    next = record.position.next();
                    written += 1;
                }
                progress(written, total);
                if next == before {
                    break;
                }
            }
            writer.end_epoch()?;
        }
        writer.finish()?;
        Ok(written)
    }

    /// The key that verifies the tree heads of an epoch, `head` among them. A key of another seed is never handed out.
    ///
    /// # Errors
    /// `Seal(ForeignKey)` if the head is not signed by it.
    pub fn verifier_key(&self, epoch: &EpochInfo, head: &SignedTreeHead) -> Result<VerifierKey, AppError> {
        let key = self.sealer.keys.signer(&epoch.origin).verifier().clone();
        match head.verify(std::slice::from_ref(&key)) {
            Ok(_) => Ok(key),
            Err(source) => Err(SealError::ForeignKey {
                origin: epoch.origin.clone(),
                source,
            }
            .into()),
        }
    }

    /// Ledgers that were promised something and are not in the store: the last origin of each.
    ///
    /// # Errors
    /// If the tree heads or the store cannot be read.
    pub async fn lost_ledgers(&self) -> Result<Vec<String>, AppError> {
        promised::lost_ledgers(&*self.events, &*self.sealer.heads).await
    }

    /// What the network edge needs.
    pub fn services(
        &self,
        metrics: PrometheusHandle,
        operator: Option<Credential>,
        shutdown: Shutdown,
    ) -> Services {
        Services {
            events: self.events.clone(),
            guard: self.guarded.clone(),
            append_health: self.append_health.clone(),
            trees: self.trees.clone(),
            commands: self.commands.clone(),
            runner: self.runner.clone(),
            access: self.access.clone(),
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
            return Ok(self.store.close().await?);
        }
        for ledger in self.events.ledgers().await? {
            if let Err(error) = self.sealer.seal(ledger).await {
                tracing::warn!(%ledger, error = %crate::error::chain(&error), "closing without a last tree head");
            }
        }
        Ok(self.store.close().await?)
    }
}
