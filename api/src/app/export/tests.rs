//! Payloads that leave the store while it is exported.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ruche_domain::ids::TenantId;
use ruche_domain::numbers::{Epoch, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::archive::{ArchiveStore, Detach};
use ruche_ledger::hash::Hash;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochOpening, EventStore, LedgerHead, Receipt, Record, StoreError,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::cli::Common;

/// A store of which payloads leave while it is read from the first record on.
struct Leaving {
    inner: Arc<dyn EventStore>,
    archives: Arc<dyn ArchiveStore>,
    /// Archives that are still made.
    left: AtomicU64,
    /// Times that it was read from the first record on.
    begun: AtomicU64,
}

/// The first `to` records of the archive `number`.
fn range(number: u64, to: u64) -> ArchivedRange {
    ArchivedRange {
        epoch: Epoch(1),
        from: LeafIndex(number * 512),
        to: LeafIndex(number * 512 + to),
        archive: format!("archive {number}"),
        digest: Hash([5; 32]),
    }
}

fn piece(range: ArchivedRange) -> Detach {
    let records = Vec::new();
    Detach { range, records }
}

#[async_trait]
impl EventStore for Leaving {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.inner.append(ledger, request).await
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
        if from == Position::START {
            let begun = self.begun.fetch_add(1, Ordering::SeqCst);
            if self.left.load(Ordering::SeqCst) > 0 {
                self.left.fetch_sub(1, Ordering::SeqCst);
                self.archives.detach(ledger, piece(range(begun, 512))).await?;
            }
        }
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

struct World {
    folder: TempDir,
    app: App,
    ledger: LedgerId,
    store: Arc<Leaving>,
}

impl World {
    /// A ledger of which `left` archives are made while it is exported.
    async fn new(left: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let common = Common {
            data_dir: folder.path().join("data"),
            keys_dir: folder.path().join("keys"),
            archive_dir: None,
            deployment: None,
            database_url: None,
            database_read_url: None,
            tree_heads_url: None,
            database_wait: 0,
            database_readers: 8,
            nodes: 1,
            config: None,
            json: true,
        };
        let mut app = App::open(&common, "a test").await.unwrap();
        let tenant = TenantId(Uuid::from_u128(1));
        app.ensure_ledger(tenant).await.unwrap();
        let store = Arc::new(Leaving {
            inner: app.stored.clone(),
            archives: app.engine.archives.clone(),
            left: AtomicU64::new(left),
            begun: AtomicU64::new(0),
        });
        app.stored = store.clone();
        Self {
            folder,
            app,
            ledger: LedgerId::main_of(tenant),
            store,
        }
    }

    /// Whether it was exported, and how often it was begun.
    async fn export(&self) -> (Result<u64, AppError>, u64) {
        let target = self.folder.path().join("export");
        let done = self.app.export(self.ledger, &target, |_, _| {}).await;
        assert_eq!(target.exists(), done.is_ok());
        (done, self.store.begun.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn an_export_begins_again_when_payloads_left_meanwhile() {
    let world = World::new(1).await;
    assert!(matches!(world.export().await, (Ok(_), 2)));
}

#[tokio::test]
async fn an_export_that_payloads_leave_each_time_is_refused() {
    let world = World::new(u64::MAX).await;
    let (done, begun) = world.export().await;
    assert!(matches!(done, Err(AppError::ArchiveRefused(_))), "{done:?}");
    assert_eq!(begun, EXPORT_TRIES_MAX as u64);
}

#[tokio::test]
async fn an_archive_that_was_told_of_before_may_go_on() {
    let world = World::new(1).await;
    let begun = piece(range(0, 256));
    world.store.archives.detach(world.ledger, begun).await.unwrap();
    assert!(matches!(world.export().await, (Ok(_), 1)));
}
