//! Stores that fail on order, in both ways: not persisted, and persisted although an error came back. [`FaultStore`]
//! fails writes of records, [`FaultTrees`] and [`FaultHeads`] any call that sealing makes.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::stream::StreamId;

use crate::hash::Hash;
use crate::right_edge::HashTile;
use crate::seal::{TreeHeadStore, TreeHeadStoreError, TreeStore};
use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use crate::tree_head::SignedTreeHead;

/// What happens to the next write: an append or the opening of an epoch, which has only errors for "unknown".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// It succeeds.
    None,
    /// An error, and nothing was stored.
    NotPersisted,
    /// "Unknown", and nothing was stored.
    UnknownNotPersisted,
    /// "Unknown", and it was stored.
    UnknownButPersisted,
}

fn injected() -> StoreError {
    StoreError::Unavailable {
        reason: "injected".into(),
    }
}

impl Fault {
    /// Every fault, the absence of one first.
    pub const ALL: [Self; 4] = [
        Self::None,
        Self::NotPersisted,
        Self::UnknownNotPersisted,
        Self::UnknownButPersisted,
    ];
}

/// Wraps a store and injects one fault at a time.
pub struct FaultStore {
    inner: Arc<dyn EventStore>,
    next: AtomicU8,
}

impl FaultStore {
    /// Around `inner`, without faults.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self {
            inner,
            next: AtomicU8::new(0),
        }
    }

    /// The next write gets this fault; the one after it none.
    pub fn inject(&self, fault: Fault) {
        self.next.store(fault as u8, Ordering::SeqCst);
    }

    fn take(&self) -> Fault {
        Fault::ALL[usize::from(self.next.swap(0, Ordering::SeqCst))]
    }
}

#[async_trait]
impl EventStore for FaultStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        match self.take() {
            Fault::None => self.inner.append(ledger, request).await,
            Fault::NotPersisted => Err(injected()),
            Fault::UnknownNotPersisted => Ok(AppendOutcome::Unknown),
            Fault::UnknownButPersisted => {
                self.inner.append(ledger, request).await?;
                Ok(AppendOutcome::Unknown)
            }
        }
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        match self.take() {
            Fault::None => self.inner.open_epoch(ledger, opening).await,
            Fault::NotPersisted | Fault::UnknownNotPersisted => Err(injected()),
            Fault::UnknownButPersisted => {
                self.inner.open_epoch(ledger, opening).await?;
                Err(injected())
            }
        }
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

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.read_ledger(ledger, from, limit).await
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

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.inner.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.inner.wait_for(ledger, position).await
    }
}

/// Counts the calls of sealing and lets one of them fail. Shared by [`FaultTrees`] and [`FaultHeads`].
#[derive(Default)]
pub struct Calls {
    made: AtomicU64,
    /// The call that fails, from 1; 0 for none.
    failing: AtomicU64,
    kept: AtomicBool,
}

impl Calls {
    /// Counts from 1 again; call number `at` fails. With `kept` it does its work before it says so, as in a crash behind
    /// it; without, as in a crash before it. 0 lets all succeed.
    pub fn fail(&self, at: u64, kept: bool) {
        self.made.store(0, Ordering::SeqCst);
        self.failing.store(at, Ordering::SeqCst);
        self.kept.store(kept, Ordering::SeqCst);
    }

    /// Calls since [`Calls::fail`].
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    async fn run<T, E>(&self, call: impl Future<Output = Result<T, E>>, error: E) -> Result<T, E> {
        let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.failing.load(Ordering::SeqCst) {
            return call.await;
        }
        if self.kept.load(Ordering::SeqCst) {
            call.await?;
        }
        Err(error)
    }
}

/// Wraps a tree store; a call fails when its number is up.
pub struct FaultTrees {
    /// What does the work.
    pub inner: Arc<dyn TreeStore>,
    /// Whose number is up.
    pub calls: Arc<Calls>,
}

#[async_trait]
impl TreeStore for FaultTrees {
    async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError> {
        let call = self.inner.leaf_hashes(ledger, epoch, from, limit);
        self.calls.run(call, injected()).await
    }

    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        let call = self.inner.hash_tile(ledger, epoch, level, index);
        self.calls.run(call, injected()).await
    }

    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError> {
        let call = self.inner.tree_head(ledger, epoch);
        self.calls.run(call, injected()).await
    }

    async fn put_tiles(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        tiles: Vec<HashTile>,
    ) -> Result<(), StoreError> {
        let call = self.inner.put_tiles(ledger, epoch, tiles);
        self.calls.run(call, injected()).await
    }

    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError> {
        let call = self.inner.put_tree_head(ledger, epoch, head);
        self.calls.run(call, injected()).await
    }
}

/// Wraps a tree head store; a call fails when its number is up. Remembers all that was ever promised.
pub struct FaultHeads {
    /// What does the work.
    pub inner: Arc<dyn TreeHeadStore>,
    /// Whose number is up.
    pub calls: Arc<Calls>,
    /// Every tree head that was stored, in order.
    pub promised: Mutex<Vec<SignedTreeHead>>,
}

#[async_trait]
impl TreeHeadStore for FaultHeads {
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        let error = TreeHeadStoreError::Unavailable("injected".to_owned());
        self.calls.run(self.inner.latest(origin), error).await
    }

    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        let error = TreeHeadStoreError::Unavailable("injected".to_owned());
        self.calls.run(self.inner.origins(), error).await
    }

    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError> {
        let error = TreeHeadStoreError::Unavailable("injected".to_owned());
        let call = async {
            self.inner.compare_and_swap(origin, expected, new).await?;
            let mut promised = self.promised.lock().expect("no holder panics");
            promised.push(new.clone());
            Ok(())
        };
        self.calls.run(call, error).await
    }
}
