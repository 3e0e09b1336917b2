//! Processes that tend the ledger of the tests, and die when they are told to.

use std::sync::Mutex;

use async_trait::async_trait;
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_domain::numbers::StreamVersion;
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use ruche_ledger::testing::SeededRandom;
use ruche_projections::store::ReadStore;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinHandle;

use super::super::*;
use crate::project_loop;

/// When a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// It has decided what fires, and nothing is written.
    BeforeItAppends,
    /// It is written, and the node never hears of it.
    BeforeItIsTold,
}

/// The store as a node sees it that may die at its next append.
pub(super) struct Doomed {
    inner: Arc<dyn EventStore>,
    death: Mutex<Option<Death>>,
    is_dead: Notify,
    /// The next append waits until the other node's is here as well: both were decided on the same state.
    pub(super) meeting: Mutex<Option<Arc<Barrier>>>,
}

#[async_trait]
impl EventStore for Doomed {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let meeting = self.meeting.lock().expect("nobody panics with it").take();
        if let Some(meeting) = meeting {
            meeting.wait().await;
        }
        let death = self.death.lock().expect("nobody panics with it").take();
        match death {
            None => return self.inner.append(ledger, request).await,
            Some(Death::BeforeItAppends) => {}
            Some(Death::BeforeItIsTold) => drop(self.inner.append(ledger, request).await?),
        }
        self.is_dead.notify_one();
        std::future::pending().await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.inner.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.inner.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.inner.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.inner.ledgers().await
    }

    async fn read_ledger(&self, l: LedgerId, from: Position, most: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.read_ledger(l, from, most).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.read_stream(ledger, stream, from, limit).await
    }

    async fn stream_version(&self, l: LedgerId, s: StreamId) -> Result<Option<StreamVersion>, StoreError> {
        self.inner.stream_version(l, s).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.inner.wait_for(ledger, position).await
    }
}

/// A process that tends the ledger.
pub(super) struct Node {
    pub(super) timers: Timers,
    pub(super) store: Arc<Doomed>,
    following: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Node {
    pub(super) fn start(ledger: &TestLedger, reads: &Arc<dyn ReadStore>, number: u64) -> Self {
        let store = Arc::new(Doomed {
            inner: ledger.store.clone(),
            death: Mutex::new(None),
            is_dead: Notify::new(),
            meeting: Mutex::new(None),
        });
        let random = Arc::new(SeededRandom::new(number));
        let seed = ruche_ledger::keys::MasterSeed::from_slice(&[9; 32]).expect("32 bytes");
        let commands = Commands::new(
            store.clone(),
            ledger.clock.clone(),
            random.clone(),
            Arc::new(seed),
            Arc::new(NoObjection),
        );
        let runner = Arc::new(Runner::new(ledger.store.clone(), reads.clone()));
        let (stop, stopped) = watch::channel(false);
        let following = tokio::spawn(project_loop::run(runner.clone(), ledger.context.ledger, stopped));
        let clock = ledger.clock.clone();
        let timers = Timers {
            commands: Arc::new(commands),
            runner,
            clock,
            random,
        };
        Self {
            timers,
            store,
            following,
            _stop: stop,
        }
    }

    /// One look at what is due, as a node that has just started: nothing is left alone.
    pub(super) async fn look(&self, ledger: LedgerId) {
        self.timers
            .look(ledger, &mut HashMap::new())
            .await
            .expect("the read model can be asked");
    }

    /// Looks, and dies over it.
    pub(super) async fn dies(self, ledger: LedgerId, death: Death) {
        *self.store.death.lock().expect("nobody panics with it") = Some(death);
        tokio::select! {
            () = self.look(ledger) => panic!("nothing was due, so it did not get to die"),
            () = self.store.is_dead.notified() => {}
        }
        self.following.abort();
    }
}
