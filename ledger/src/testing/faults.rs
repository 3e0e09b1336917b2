//! A store whose appends fail on order, in both ways: not persisted, and persisted although an error came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;

use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// What happens to the next append.
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

    /// The next append gets this fault; the one after it none.
    pub fn inject(&self, fault: Fault) {
        self.next.store(fault as u8, Ordering::SeqCst);
    }
}

#[async_trait]
impl EventStore for FaultStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let fault = Fault::ALL[usize::from(self.next.swap(0, Ordering::SeqCst))];
        match fault {
            Fault::None => self.inner.append(ledger, request).await,
            Fault::NotPersisted => Err(StoreError::Unavailable {
                reason: "injected".into(),
            }),
            Fault::UnknownNotPersisted => Ok(AppendOutcome::Unknown),
            Fault::UnknownButPersisted => {
                self.inner.append(ledger, request).await?;
                Ok(AppendOutcome::Unknown)
            }
        }
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
