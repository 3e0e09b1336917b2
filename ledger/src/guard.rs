//! Stops appends to ledgers that can no longer be proven.
//!
//! A ledger that is behind its promises (a restore, a lost end) must take no records: they would stand where other
//! records were promised, and could never be sealed. Reads go on, and the next epoch can be opened.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use event_listener::Event;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;

use crate::halts::{Halt, Halts};
use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// A store that refuses appends to halted ledgers.
pub struct GuardedStore {
    inner: Arc<dyn EventStore>,
    /// Where the halts stand that all nodes have to know of; none where there is one node.
    shared: Option<Arc<dyn Halts>>,
    halted: RwLock<HashMap<LedgerId, Halted>>,
    /// A look has found halts.
    seen: Event,
}

/// Why a ledger takes no appends on this node.
struct Halted {
    reason: String,
    /// Whether it stands where all nodes look, and goes when it is not there any more.
    is_shared: bool,
}

impl GuardedStore {
    /// Around `inner`, with no ledger halted. With `shared`, other nodes append to the same ledgers.
    pub fn new(inner: Arc<dyn EventStore>, shared: Option<Arc<dyn Halts>>) -> Self {
        Self {
            inner,
            shared,
            halted: RwLock::default(),
            seen: Event::new(),
        }
    }

    /// Refuses appends of this node to a ledger until its next epoch is opened, or whoever halted it lets it go on. `reason`
    /// is for the operator's log. Returns whether it was not halted before; then the reason is the new one.
    pub fn halt(&self, ledger: LedgerId, reason: String) -> bool {
        match self.write().entry(ledger) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Halted {
                    reason,
                    is_shared: false,
                });
                true
            }
        }
    }

    /// The same for the appends of all nodes to the open epoch.
    ///
    /// # Errors
    /// The store's, where other nodes may not know of it. On this node it stands all the same; say it again.
    pub async fn halt_everywhere(&self, ledger: LedgerId, reason: String) -> Result<bool, StoreError> {
        let is_new = self.halt(ledger, reason.clone());
        if let Some(shared) = &self.shared {
            let head = self.inner.head(ledger).await?.ok_or(StoreError::NoSuchLedger)?;
            let epoch = head.epoch;
            shared
                .halt(&Halt {
                    ledger,
                    epoch,
                    reason,
                })
                .await?;
            if let Some(halted) = self.write().get_mut(&ledger) {
                halted.is_shared = true;
            }
        }
        Ok(is_new)
    }

    /// Takes appends again, on this node. Only for who halted it, and has seen that the reason is gone.
    pub fn release(&self, ledger: LedgerId) {
        self.write().remove(&ledger);
    }

    /// The same on all nodes; on the others once they have looked.
    ///
    /// # Errors
    /// The store's; then it stays halted.
    pub async fn release_everywhere(&self, ledger: LedgerId) -> Result<(), StoreError> {
        if let Some(shared) = &self.shared {
            shared.release(ledger).await?;
        }
        self.release(ledger);
        Ok(())
    }

    /// Looks what all nodes have to know, so that this one says why it refuses appends and that it is not well. Appends
    /// are refused by the store itself from the moment of the halt.
    ///
    /// # Errors
    /// The store's; then what was known stays.
    pub async fn look(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let found = shared.halted().await?;
        let is_any = !found.is_empty();
        let mut halted = self.write();
        halted.retain(|ledger, known| !known.is_shared || found.iter().any(|halt| halt.ledger == *ledger));
        for halt in found {
            halted.entry(halt.ledger).or_insert(Halted {
                reason: halt.reason,
                is_shared: true,
            });
        }
        drop(halted);
        if is_any {
            self.seen.notify(usize::MAX);
        }
        Ok(())
    }

    /// Whether a halt stands that all nodes know of, as of the last look.
    pub fn is_halted_everywhere(&self, ledger: LedgerId) -> bool {
        self.read().get(&ledger).is_some_and(|halted| halted.is_shared)
    }

    /// Resolves when a look finds that the ledger is halted for all nodes.
    pub async fn seen_halted_everywhere(&self, ledger: LedgerId) {
        loop {
            let seen = self.seen.listen();
            if self.is_halted_everywhere(ledger) {
                return;
            }
            seen.await;
        }
    }

    /// How many ledgers are halted.
    pub fn halted_count(&self) -> usize {
        self.read().len()
    }

    /// The halted ledgers, and why each is: for operators alone.
    pub fn halted_ledgers(&self) -> Vec<(LedgerId, String)> {
        let halted = self.read();
        let mut all: Vec<_> = halted
            .iter()
            .map(|(ledger, halted)| (*ledger, halted.reason.clone()))
            .collect();
        all.sort_by_key(|(ledger, _)| *ledger);
        all
    }

    fn halted(&self, ledger: LedgerId) -> Option<String> {
        self.read().get(&ledger).map(|halted| halted.reason.clone())
    }

    // The map is whole after each statement, so a panic of another holder changes nothing.

    fn read(&self) -> RwLockReadGuard<'_, HashMap<LedgerId, Halted>> {
        self.halted.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<LedgerId, Halted>> {
        self.halted.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventStore for GuardedStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        match self.halted(ledger) {
            // Retryable for the client: an operator opens a new epoch, and then it succeeds.
            Some(reason) => Err(StoreError::Unavailable { reason }),
            None => self.inner.append(ledger, request).await,
        }
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        let receipt = self.inner.open_epoch(ledger, opening).await?;
        self.release(ledger);
        Ok(receipt)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::{Author, FixedClock, appended, contract, ledger};

    #[tokio::test]
    async fn a_guarded_store_keeps_the_contract() {
        contract::run(|clock| async move {
            Arc::new(GuardedStore::new(Arc::new(MemoryStore::new(clock)), None)) as Arc<dyn EventStore>
        })
        .await;
    }

    #[tokio::test]
    async fn a_halted_ledger_takes_no_appends_until_its_next_epoch() {
        let store = GuardedStore::new(Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1)))), None);
        let a = Author::new(1);
        for n in [1, 2] {
            store
                .open_epoch(ledger(n), a.opening(ledger(n), 1, None))
                .await
                .unwrap();
        }
        assert!(store.halt(ledger(1), "behind".into()));
        assert!(!store.halt(ledger(1), "somebody else".into()));
        let one = || a.append(vec![a.event(a.stream(1), "{}")]);
        let refused = store.append(ledger(1), one()).await;
        assert_eq!(
            refused,
            Err(StoreError::Unavailable {
                reason: "behind".into()
            })
        );
        appended(store.append(ledger(2), one()).await);
        assert_eq!(store.halted_count(), 1);
        assert_eq!(store.halted_ledgers().len(), 1);
        let opening = a.opening(ledger(1), 2, Some(Position::new(1, 0)));
        store.open_epoch(ledger(1), opening).await.unwrap();
        assert_eq!(store.halted_count(), 0);
        appended(store.append(ledger(1), one()).await);
    }

    /// The table of halts of two nodes.
    #[derive(Default)]
    struct Table(RwLock<Vec<Halt>>);

    #[async_trait]
    impl Halts for Table {
        async fn halt(&self, halt: &Halt) -> Result<(), StoreError> {
            self.0.write().unwrap().push(halt.clone());
            Ok(())
        }

        async fn release(&self, ledger: LedgerId) -> Result<(), StoreError> {
            self.0.write().unwrap().retain(|halt| halt.ledger != ledger);
            Ok(())
        }

        async fn halted(&self) -> Result<Vec<Halt>, StoreError> {
            Ok(self.0.read().unwrap().clone())
        }
    }

    #[tokio::test]
    async fn a_node_learns_what_another_halted_and_that_it_goes_on() {
        let (store, table) = (
            Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1)))),
            Arc::new(Table::default()),
        );
        let node = || GuardedStore::new(store.clone(), Some(table.clone()));
        let (a, b) = (node(), node());
        let author = Author::new(1);
        a.open_epoch(ledger(1), author.opening(ledger(1), 1, None))
            .await
            .unwrap();
        assert_eq!(a.halt_everywhere(ledger(1), "behind".into()).await, Ok(true));
        assert_eq!(a.halt_everywhere(ledger(1), "again".into()).await, Ok(false));
        // What it halts for itself alone stays when the others go on.
        b.halt(ledger(2), "mine".into());
        b.look().await.unwrap();
        assert_eq!(b.halted_count(), 2);
        assert!(b.is_halted_everywhere(ledger(1)) && !b.is_halted_everywhere(ledger(2)));
        let one = || author.append(vec![author.event(author.stream(1), "{}")]);
        assert_eq!(
            b.append(ledger(1), one()).await,
            Err(StoreError::Unavailable {
                reason: "behind".into()
            })
        );
        // Another node than the one that halted it may find that the reason is gone.
        b.release_everywhere(ledger(1)).await.unwrap();
        a.look().await.unwrap();
        assert_eq!((a.halted_count(), b.halted_count()), (0, 1));
        appended(b.append(ledger(1), one()).await);
    }
}
