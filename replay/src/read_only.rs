//! A ledger that can be read and not written.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::LedgerError;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// Passes reads on, up to a position if one is given, and refuses writes: nothing that replays can change what it
/// judges.
pub struct ReadOnlyLedger {
    base: Arc<dyn EventStore>,
    until: Option<Position>,
}

impl ReadOnlyLedger {
    /// All that `base` holds.
    pub fn new(base: Arc<dyn EventStore>) -> Self {
        Self { base, until: None }
    }

    /// What `base` held when `until` was its last record.
    pub fn as_of(base: Arc<dyn EventStore>, until: Position) -> Self {
        Self {
            base,
            until: Some(until),
        }
    }

    fn refuse<T>() -> Result<T, StoreError> {
        Err(StoreError::Refused(LedgerError::Invalid(
            "a replay cannot append".into(),
        )))
    }

    fn visible(&self, mut records: Vec<Record>) -> Vec<Record> {
        if let Some(until) = self.until {
            records.retain(|record| record.position <= until);
        }
        records
    }
}

#[async_trait]
impl EventStore for ReadOnlyLedger {
    async fn append(&self, _: LedgerId, _: AppendRequest) -> Result<AppendOutcome, StoreError> {
        Self::refuse()
    }

    async fn open_epoch(&self, _: LedgerId, _: EpochOpening) -> Result<Receipt, StoreError> {
        Self::refuse()
    }

    /// The head of the base: it says where the live ledger is, not what is visible here.
    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.base.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.base.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.base.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.visible(self.base.read_ledger(ledger, from, limit).await?))
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.visible(self.base.read_stream(ledger, stream, from, limit).await?))
    }

    /// Version of the last visible event: a stream is read page by page, since only its records tell positions.
    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        if self.until.is_none() {
            return self.base.stream_version(ledger, stream).await;
        }
        let (mut version, mut from) = (None, StreamVersion::FIRST);
        loop {
            let page = self
                .read_stream(ledger, stream, from, ruche_domain::limits::READ_RECORDS_MAX)
                .await?;
            let Some(last) = page.last() else {
                return Ok(version);
            };
            version = Some(last.leaf.stream_version);
            from = last.leaf.stream_version.next();
        }
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.base.wait_for(ledger, position).await
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::memory::MemoryStore;
    use ruche_ledger::testing::{Author, FixedClock, appended, ledger};

    use super::*;

    async fn base() -> (Arc<MemoryStore>, Author) {
        let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1))));
        let author = Author::new(1);
        store
            .open_epoch(ledger(1), author.opening(ledger(1), 1, None))
            .await
            .unwrap();
        for n in 0..4 {
            let events = vec![author.event(author.stream(n % 2), "{}")];
            appended(store.append(ledger(1), author.append(events)).await);
        }
        (store, author)
    }

    #[tokio::test]
    async fn a_replay_reads_everything_and_writes_nothing() {
        let (store, a) = base().await;
        let replay = ReadOnlyLedger::new(store.clone());
        let before = store.read_ledger(ledger(1), Position::START, 10).await.unwrap();
        assert_eq!(
            replay.read_ledger(ledger(1), Position::START, 10).await.unwrap(),
            before
        );
        let refused = replay
            .append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]))
            .await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        let opening = a.opening(ledger(1), 2, Some(Position::new(1, 4)));
        assert!(matches!(
            replay.open_epoch(ledger(1), opening).await,
            Err(StoreError::Refused(_))
        ));
        assert_eq!(
            store.read_ledger(ledger(1), Position::START, 10).await.unwrap(),
            before
        );
    }

    #[tokio::test]
    async fn time_travel_ends_where_it_was_told() {
        let (store, a) = base().await;
        let replay = ReadOnlyLedger::as_of(store, Position::new(1, 2));
        assert_eq!(
            replay
                .read_ledger(ledger(1), Position::START, 10)
                .await
                .unwrap()
                .len(),
            3
        );
        assert_eq!(
            replay.stream_version(ledger(1), a.stream(0)).await,
            Ok(Some(StreamVersion(0)))
        );
        assert_eq!(
            replay.stream_version(ledger(1), a.stream(1)).await,
            Ok(Some(StreamVersion(0)))
        );
    }
}
