//! The PostgreSQL engine as its callers see it, on a database of its own for each test.
//!
//! `cargo xtask test` starts a private server and names it in `RUCHE_TEST_POSTGRES`. Without one these tests say that
//! they are skipped, and fail under `CI=true`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod backup;
mod contract;
mod conformance;
mod epochs;
mod faults;
mod flat;
mod guesses;
mod kept;
mod faults_standby;
mod faults_writer;
mod lent;
mod many;
mod durable;
mod nodes;
mod pgbouncer;
mod promises;
mod proxy;
mod roles;
mod server;
mod sessions;
mod support;
mod trees;
mod wakeups;
mod wedged;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ruche_domain::numbers::Micros;
use ruche_domain::ports::Clock;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, ledger};
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};
use tokio_postgres::{Client, NoTls};

/// A clock that need not move: recorded-at may stay the same.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Micros {
        Micros(1_700_000_000_000_000)
    }
}

/// URL of the server for tests; `None`, told plainly, where there is none.
///
/// # Panics
/// Under `CI=true`, where an absent server is a failure.
fn server() -> Option<String> {
    let url = std::env::var("RUCHE_TEST_POSTGRES").ok();
    if url.is_none() {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_ci, "RUCHE_TEST_POSTGRES is not set");
        eprintln!("skipped: RUCHE_TEST_POSTGRES is not set; `cargo xtask test` starts a server");
    }
    url
}

/// A session of the superuser.
async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes an empty database and returns its URL. It goes with the server.
async fn database(server: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ruche_{}_{count}", std::process::id());
    let client = session(server).await;
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    server.replace("/postgres", &format!("/{name}"))
}

async fn open(url: &str) -> Arc<PostgresStore> {
    let store = PostgresStore::open(Arc::new(Noon), PostgresOptions::new(url)).await;
    Arc::new(store.unwrap())
}

/// Opens the ledger with number `n`.
async fn open_ledger(store: &dyn EventStore, n: u128) -> Author {
    let author = Author::new(n as u64);
    store
        .open_epoch(ledger(n), author.opening(ledger(n), 1, None))
        .await
        .unwrap();
    author
}
