//! The engine for PostgreSQL when its database dies, is away or is slow. The servers are private ones that die for each test; on a machine
//! without PostgreSQL these tests say that they are skipped, and fail under `CI=true`.

pub mod deployment;
mod crash;
mod doctor;
mod failover;
mod fence;
mod halts;
mod lost_writes;
mod outage;
mod flood;
mod projections;
mod nothing_there;
mod pooler;
mod roles;
mod standby_gone;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_ledger::epoch::Opener;
use ruche_ledger::seal::Sealer;
use ruche_ledger::testing::ledger;
use ruche_ledger_bundle::Verdict;
use ruche_ledger_keys::{MasterSeedFile, OsRandom, SystemClock, TreeHeadFiles};
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};
use ruche_tests::embedded::verify;
use ruche_tests::ledger_load::Plan;
use xtask::postgres::{Cluster, Setup};

/// Callers of a load.
const CALLERS: u64 = 8;
/// Ledgers of a load; the first takes half of it.
const LEDGERS: u128 = 4;
/// An append of a load that is not known by then is a finding. A recovery takes seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// The store of one process, with what signs its ledgers.
pub struct Node {
    /// The records.
    pub store: Arc<PostgresStore>,
    opener: Opener,
}

impl Node {
    /// Opens the database with keys in `keys`.
    pub async fn open(options: PostgresOptions, keys: &Path) -> Self {
        let store = PostgresStore::open(Arc::new(SystemClock), options).await;
        let store = Arc::new(store.expect("the database opens"));
        let sealer = Arc::new(Sealer {
            events: store.clone(),
            trees: store.clone(),
            heads: Arc::new(TreeHeadFiles::open(keys).expect("a folder for tree heads")),
            keys: Arc::new(MasterSeedFile::load_or_create(keys).expect("a seed")),
        });
        let opener = Opener {
            sealer,
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            deployment: "test.example".to_owned(),
        };
        Self { store, opener }
    }

    /// Creates the ledgers of round `round`, each its own.
    pub async fn create_ledgers(&self, round: u64) -> Vec<LedgerId> {
        let ledgers: Vec<_> = (0..LEDGERS)
            .map(|n| ledger(u128::from(round) * LEDGERS + n + 1))
            .collect();
        for ledger in &ledgers {
            self.opener.create(*ledger).await.expect("a new ledger");
        }
        ledgers
    }

    /// Exports each ledger, and has it verified by the code that shares nothing with the engine.
    async fn verify(&self, ledgers: &[LedgerId]) {
        for ledger in ledgers {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let target = folder.path().join("export");
            let report = verify(&*self.store, &self.opener.sealer, *ledger, &target)
                .await
                .expect("an export that can be read");
            assert_eq!(report.verdict, Verdict::Verified, "{}", report.to_json());
        }
    }
}

fn plan(ledgers: &[LedgerId], seed: u64) -> Plan {
    Plan {
        ledgers: ledgers.to_vec(),
        callers: CALLERS,
        seed,
        patience: PATIENCE,
    }
}

/// The files of a private server.
pub fn cluster(setup: Setup) -> Option<Cluster> {
    available(Cluster::create(setup))
}

/// What was started; nothing, told plainly, where this machine does not have it.
///
/// # Panics
/// Under `CI=true`, where absence is a failure.
pub fn available<T>(started: Result<T, String>) -> Option<T> {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    match started {
        Ok(started) => Some(started),
        Err(problem) => {
            assert!(!is_ci, "{problem}");
            eprintln!("skipped: {problem}");
            None
        }
    }
}

/// A number from the environment, which `cargo xtask soak` sets.
pub fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}
