//! A data folder, a ledger in memory, and a runner between them.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_ledger::store::EventStore;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Feed;
use ruche_projections_sqlite::SqliteReadStore;

pub struct World {
    pub dir: tempfile::TempDir,
    pub feed: Feed,
    pub models: SqliteReadStore,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let models = SqliteReadStore::open(dir.path()).expect("an empty folder");
        Self {
            dir,
            feed: Feed::default(),
            models,
        }
    }

    pub fn feed_store(&self) -> Arc<dyn EventStore> {
        self.feed.store.clone()
    }

    pub fn runner(&self) -> Runner {
        Runner::new(
            self.feed_store(),
            Arc::new(self.models.clone()) as Arc<dyn ReadStore>,
        )
    }

    /// A ledger with some sessions, all of them projected.
    pub async fn projected(&self, n: u128, sessions: u64) -> LedgerId {
        let ledger = self.feed.filled(n, sessions).await;
        self.runner().catch_up(ledger).await.expect("nothing fails here");
        ledger
    }
}
