//! Stops appends to ledgers that can no longer be proven.
//!
//! A ledger that is behind its promises (a restore, a lost end) must take no records: they would stand where other
//! records were promised, and could never be sealed. Reads go on, and the next epoch can be opened.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;

use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// A store that refuses appends to halted ledgers.
pub struct GuardedStore {
    inner: Arc<dyn EventStore>,
    halted: RwLock<HashMap<LedgerId, String>>,
}

impl GuardedStore {
    /// Around `inner`, with no ledger halted.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self {
            inner,
            halted: RwLock::default(),
        }
    }

    /// Refuses appends to a ledger until its next epoch is opened, or whoever halted it lets it go on. `reason` is for the
    /// operator's log. Returns whether it was not halted before; then the reason is the new one.
    pub fn halt(&self, ledger: LedgerId, reason: String) -> bool {
        let mut halted = self.halted.write().unwrap_or_else(PoisonError::into_inner);
        match halted.entry(ledger) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(reason);
                true
            }
        }
    }

    /// Takes appends again. Only for who halted it, and has seen that the reason is gone.
    pub fn release(&self, ledger: LedgerId) {
        self.halted
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&ledger);
    }

    /// How many ledgers are halted.
    pub fn halted_count(&self) -> usize {
        self.halted.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn halted(&self, ledger: LedgerId) -> Option<String> {
        self.halted
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&ledger)
            .cloned()
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
            Arc::new(GuardedStore::new(Arc::new(MemoryStore::new(clock)))) as Arc<dyn EventStore>
        })
        .await;
    }

    #[tokio::test]
    async fn a_halted_ledger_takes_no_appends_until_its_next_epoch() {
        let store = GuardedStore::new(Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1)))));
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
        let opening = a.opening(ledger(1), 2, Some(Position::new(1, 0)));
        store.open_epoch(ledger(1), opening).await.unwrap();
        assert_eq!(store.halted_count(), 0);
        appended(store.append(ledger(1), one()).await);
    }
}
