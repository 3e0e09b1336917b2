//! A store that counts what is asked of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;

use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

/// Passes everything on and counts it. Others come in before each append, so that those who read at the same time meet; and
/// the store can be changed for another one, as a restore does.
pub struct Watched {
    inner: RwLock<Arc<dyn EventStore>>,
    appends: AtomicUsize,
    records_read: AtomicUsize,
}

impl Watched {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self {
            inner: RwLock::new(inner),
            appends: AtomicUsize::new(0),
            records_read: AtomicUsize::new(0),
        }
    }

    /// The store around which it is.
    pub fn inner(&self) -> Arc<dyn EventStore> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Is around another store from now on. Returns the one before.
    pub fn change(&self, store: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *inner, store)
    }

    /// Appends since it was asked last.
    pub fn appends(&self) -> usize {
        self.appends.swap(0, Ordering::SeqCst)
    }

    /// Records of streams that were read since it was asked last.
    pub fn records_read(&self) -> usize {
        self.records_read.swap(0, Ordering::SeqCst)
    }
}

/// Lets all others come first, once.
async fn after_others() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl EventStore for Watched {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        after_others().await;
        self.appends.fetch_add(1, Ordering::SeqCst);
        self.inner().append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.inner().open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.inner().head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.inner().epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.inner().ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner().read_ledger(ledger, from, limit).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let read = self.inner().read_stream(ledger, stream, from, limit).await?;
        self.records_read.fetch_add(read.len(), Ordering::SeqCst);
        Ok(read)
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.inner().stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.inner().wait_for(ledger, position).await
    }
}
