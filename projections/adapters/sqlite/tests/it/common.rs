//! A data folder of its own for each test.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use ruche_projections::testing::world::{Engine, Models};
use ruche_projections_sqlite::SqliteReadStore;

pub struct Sqlite {
    pub models: SqliteReadStore,
    pub dir: tempfile::TempDir,
}

impl Sqlite {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let models = SqliteReadStore::open(dir.path()).expect("an empty folder");
        Self { models, dir }
    }
}

#[async_trait]
impl Engine for Sqlite {
    fn models(&self) -> Arc<dyn Models> {
        Arc::new(self.models.clone())
    }

    async fn tamper(&self, sql: &str) {
        let conn = rusqlite::Connection::open(self.models.path()).expect("the file is there");
        conn.execute(sql, []).expect("it can be changed");
    }
}

/// Empty read models.
pub fn fresh() -> BoxFuture<'static, Box<dyn Engine>> {
    Box::pin(async { Box::new(Sqlite::new()) as Box<dyn Engine> })
}

/// This engine can be tested anywhere.
pub fn skipped() -> bool {
    false
}
