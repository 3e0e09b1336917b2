//! The embedded engine with keys beside it: a ledger that is sealed, exported and verified without a server.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Position};
use ruche_ledger::epoch::{OpenError, Opener};
use ruche_ledger::seal::{SealError, Sealer};
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::ledger;
use ruche_ledger_bundle::{BundleWriter, Options, Report, Trust, verify_bundle};
use ruche_ledger_keys::{MasterSeedFile, OsRandom, SystemClock, TreeHeadFiles};
use ruche_ledger_sqlite::{DataLock, OpenError as LockError, SqliteOptions, SqliteStore, Synchronous};

/// How long a lock may be held through processes that other tests are starting: a child has a copy until its program
/// is loaded.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Ledger 1 of [`ruche_ledger::testing`] on the embedded engine.
pub struct Embedded {
    /// The records.
    pub store: Arc<SqliteStore>,
    /// Signs tree heads.
    pub sealer: Arc<Sealer>,
    opener: Opener,
}

impl Embedded {
    /// Opens the engine on `data`, with seed and tree heads in `keys`.
    ///
    /// # Errors
    /// As the engine and the keys.
    pub fn open(data: &Path, keys: &Path, synchronous: Synchronous) -> Result<Self, Box<dyn Error>> {
        let lock = Arc::new(lock(data)?);
        let options = SqliteOptions {
            synchronous,
            ..SqliteOptions::default()
        };
        let seed = Arc::new(MasterSeedFile::load_or_create(keys)?);
        let store = Arc::new(SqliteStore::open(lock, Arc::new(SystemClock), options)?);
        let sealer = Arc::new(Sealer {
            events: store.clone(),
            trees: store.clone(),
            heads: Arc::new(TreeHeadFiles::open(keys)?),
            keys: seed,
        });
        let opener = Opener {
            sealer: sealer.clone(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            deployment: "test.example".to_owned(),
        };
        Ok(Self {
            store,
            sealer,
            opener,
        })
    }

    /// Creates the ledger if it is not there, and seals what it holds as every start does.
    ///
    /// # Errors
    /// As creating and sealing.
    pub async fn start(&self) -> Result<(), OpenError> {
        if self.store.head(ledger(1)).await?.is_none() {
            self.opener.create(ledger(1)).await?;
        }
        self.seal().await?;
        Ok(())
    }

    /// Seals what the ledger holds.
    ///
    /// # Errors
    /// As the sealer.
    pub async fn seal(&self) -> Result<(), SealError> {
        self.sealer.seal(ledger(1)).await.map(drop)
    }

    /// Seals the ledger, exports it to `target`, and gives the independent verifier's report, which trusts the key of
    /// this deployment.
    ///
    /// # Errors
    /// When a step cannot be done. What is wrong with the ledger is in the report.
    pub async fn verify(&self, target: &Path) -> Result<Report, Box<dyn Error>> {
        verify(&*self.store, &self.sealer, ledger(1), target).await
    }
}

/// Seals a ledger that is in its first epoch, exports it to `target`, and gives the independent verifier's report, which
/// trusts the key of this deployment.
///
/// # Errors
/// When a step cannot be done. What is wrong with the ledger is in the report.
pub async fn verify(
    store: &dyn EventStore,
    sealer: &Sealer,
    ledger: LedgerId,
    target: &Path,
) -> Result<Report, Box<dyn Error>> {
    let head = sealer.seal(ledger).await?.ok_or("there is no ledger")?;
    let signer = sealer.keys.signer(&head.head().origin);
    let mut writer = BundleWriter::create(target, ledger)?;
    writer.begin_epoch(Epoch::FIRST, &head, signer.verifier())?;
    let mut from = Position::START;
    loop {
        let records = store.read_ledger(ledger, from, 1_000).await?;
        let Some(last) = records.last() else { break };
        from = last.position.next();
        for record in &records {
            writer.record(&record.leaf_bytes, &record.payload)?;
        }
    }
    writer.end_epoch()?;
    let folder = writer.finish()?;
    let trust = Trust::keys(vec![signer.verifier().clone()]);
    Ok(verify_bundle(&folder, &trust, &Options::default(), &mut |_| {})?)
}

fn lock(data: &Path) -> Result<DataLock, LockError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match DataLock::acquire(data, "test") {
            Err(LockError::Locked { .. }) if Instant::now() < deadline => thread::yield_now(),
            done => return done,
        }
    }
}
