//! Databases and stores for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use deadpool_postgres::{Manager, Pool, Runtime};
use futures_util::future::BoxFuture;
use ruche_projections::testing::world::{Engine, Models};
use ruche_projections_postgres::{PostgresReadStore, migrate};
use tokio_postgres::{Client, NoTls};

/// URL of the server for tests; `None`, told plainly, where there is none.
///
/// # Panics
/// Under `CI=true`, where an absent server is a failure.
pub fn server() -> Option<String> {
    let url = std::env::var("RUCHE_TEST_POSTGRES").ok();
    if url.is_none() {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_ci, "RUCHE_TEST_POSTGRES is not set");
        eprintln!("skipped: RUCHE_TEST_POSTGRES is not set; `cargo xtask test` starts a server");
    }
    url
}

/// A session of the superuser.
pub async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes an empty database and returns its URL. It goes with the server.
pub async fn database(server: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ruche_read_{}_{count}", std::process::id());
    let client = session(server).await;
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    server.replace("/postgres", &format!("/{name}"))
}

/// Connections of a database.
pub fn pool(url: &str) -> Pool {
    pool_of(url, 12)
}

/// So many of them.
pub fn pool_of(url: &str, connections: usize) -> Pool {
    let manager = Manager::new(url.parse().unwrap(), NoTls);
    let pool = Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1);
    pool.build().unwrap()
}

/// The same database as another user.
pub fn with_user(url: &str, user: &str, password: &str) -> String {
    let (_, place) = url.split_once('@').unwrap();
    format!("postgresql://{user}:{password}@{place}")
}

/// A store of read models on a database, which is migrated first.
pub async fn open(url: &str) -> PostgresReadStore {
    migrate(&mut session(url).await).await.unwrap();
    PostgresReadStore::open(pool(url)).await.unwrap()
}

/// Whether there is no server to test with.
pub fn skipped() -> bool {
    server().is_none()
}

/// A database of its own.
#[derive(Clone)]
pub struct Postgres {
    pub url: String,
    pub models: PostgresReadStore,
}

impl Postgres {
    pub async fn new() -> Self {
        let server = server().expect("whoever asks for a database asked for the server first");
        let url = database(&server).await;
        let models = open(&url).await;
        Self { url, models }
    }
}

#[async_trait]
impl Engine for Postgres {
    fn models(&self) -> Arc<dyn Models> {
        Arc::new(self.models.clone())
    }

    async fn tamper(&self, sql: &str) {
        let generation = self.models.generation().await.unwrap();
        let set = format!("SET search_path = ruche_read_{generation}");
        let session = session(&self.url).await;
        session.batch_execute(&format!("{set}; {sql}")).await.unwrap();
    }
}

/// Empty read models.
pub fn fresh() -> BoxFuture<'static, Box<dyn Engine>> {
    Box::pin(async { Box::new(Postgres::new().await) as Box<dyn Engine> })
}
