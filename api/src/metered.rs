//! A store of ledgers whose appends are counted and timed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use metrics::{counter, gauge, histogram};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

use crate::append_health::AppendHealth;
use crate::figures::Held;

/// Counts what goes into another store.
pub struct MeteredStore {
    inner: Arc<dyn EventStore>,
    health: Arc<AppendHealth>,
}

impl MeteredStore {
    /// Around `inner`; `health` is told what becomes of appends.
    pub fn new(inner: Arc<dyn EventStore>, health: Arc<AppendHealth>) -> Self {
        Self { inner, health }
    }
}

fn count(outcome: &Result<AppendOutcome, StoreError>, since: Instant) {
    let label = match outcome {
        Ok(AppendOutcome::Appended {
            receipts,
            duplicate: false,
        }) => {
            counter!("ruche_appended_events_total").increment(receipts.len() as u64);
            histogram!("ruche_append_duration_seconds").record(since.elapsed());
            "appended"
        }
        Ok(AppendOutcome::Appended { duplicate: true, .. }) => "duplicate",
        Ok(AppendOutcome::Conflict { .. }) => "conflict",
        Ok(AppendOutcome::KeyMismatch { .. }) => "key_mismatch",
        Ok(AppendOutcome::Unknown) => "unknown",
        Err(StoreError::Overloaded { .. }) => "overloaded",
        Err(_) => "failed",
    };
    counter!("ruche_appends_total", "outcome" => label).increment(1);
}

#[async_trait]
impl EventStore for MeteredStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let _waiting = Held::new(gauge!("ruche_appends_waiting"));
        let _unanswered = self.health.begin();
        let since = Instant::now();
        let outcome = self.inner.append(ledger, request).await;
        count(&outcome, since);
        self.health.note(&outcome);
        outcome
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
    use ruche_ledger::memory::MemoryStore;
    use ruche_ledger::testing::contract;

    use super::*;

    #[tokio::test]
    async fn a_metered_store_keeps_the_contract() {
        contract::run(|clock| async move {
            let test = Arc::new(crate::append_health::FolderTest::new(std::env::temp_dir()));
            let health = Arc::new(AppendHealth::new(test, Arc::default()));
            Arc::new(MeteredStore::new(Arc::new(MemoryStore::new(clock)), health)) as Arc<dyn EventStore>
        })
        .await;
    }
}
