//! A ledger in memory, an engine, and a runner between them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use ruche_domain::ids::LedgerId;
use ruche_ledger::store::EventStore;

use super::Feed;
use crate::rebuild::{OnDifference, Rebuild, RebuildProgress, RebuildReport};
use crate::runner::Runner;
use crate::store::ReadStore;

/// A store of read models that can make them anew.
pub trait Models: ReadStore + Rebuild {}

impl<T: ReadStore + Rebuild> Models for T {}

/// An engine with empty read models. They go when it is dropped.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The store.
    fn models(&self) -> Arc<dyn Models>;

    /// Changes rows of the current generation behind the back of the store. The statement is one that every engine runs.
    async fn tamper(&self, sql: &str);
}

/// Makes an engine with empty read models.
pub type Fresh = fn() -> BoxFuture<'static, Box<dyn Engine>>;

/// What a test needs.
pub struct World {
    /// The ledger.
    pub feed: Feed,
    /// The read models.
    pub models: Arc<dyn Models>,
    /// What they are kept in.
    pub engine: Box<dyn Engine>,
}

impl World {
    /// An empty ledger and empty read models.
    pub async fn new(fresh: Fresh) -> Self {
        Self::on(fresh().await)
    }

    /// An empty ledger and the read models of an engine.
    pub fn on(engine: Box<dyn Engine>) -> Self {
        Self {
            feed: Feed::default(),
            models: engine.models(),
            engine,
        }
    }

    /// The ledger as a store.
    pub fn feed_store(&self) -> Arc<dyn EventStore> {
        self.feed.store.clone()
    }

    /// The read models as queries take them.
    pub fn reads(&self) -> &dyn ReadStore {
        &*self.models
    }

    /// The read models as runners take them.
    pub fn read_store(&self) -> Arc<dyn ReadStore> {
        self.models.clone()
    }

    /// A runner of all projections.
    pub fn runner(&self) -> Runner {
        Runner::new(self.feed_store(), self.read_store())
    }

    /// A ledger with some sessions, all of them projected.
    ///
    /// # Panics
    /// If they cannot be; so below.
    pub async fn projected(&self, n: u128, sessions: u64) -> LedgerId {
        let ledger = self.feed.filled(n, sessions).await;
        self.runner().catch_up(ledger).await.expect("nothing fails here");
        ledger
    }

    /// Rebuilds, and keeps the current read models if the rebuilt ones differ.
    ///
    /// # Panics
    /// If it fails.
    pub async fn rebuilt(&self) -> RebuildReport {
        let rebuilt = self
            .models
            .rebuild(self.feed_store(), OnDifference::Keep, &RebuildProgress::default())
            .await;
        rebuilt.expect("it is rebuilt")
    }
}
