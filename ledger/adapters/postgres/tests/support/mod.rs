//! What several tests need.

pub mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ruche_domain::numbers::Micros;
use ruche_domain::ports::Clock;
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};
use tokio::time::{Instant, interval, timeout};
use tokio_postgres::Client;

/// A wait in a test that takes longer has failed.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// A clock that goes on by one with each look at it, and panics when it is told to.
#[derive(Default)]
pub struct Counting {
    now: AtomicU64,
    panics: AtomicBool,
}

impl Counting {
    /// The next look is the last.
    pub fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

impl Clock for Counting {
    fn now(&self) -> Micros {
        assert!(
            !self.panics.swap(false, Ordering::SeqCst),
            "a clock that a test broke"
        );
        Micros(self.now.fetch_add(1, Ordering::SeqCst))
    }
}

/// A store with settings of a test's own.
pub async fn open_with(
    clock: Arc<dyn Clock>,
    url: &str,
    change: impl FnOnce(&mut PostgresOptions),
) -> Arc<PostgresStore> {
    let mut options = PostgresOptions::new(url);
    change(&mut options);
    Arc::new(PostgresStore::open(clock, options).await.unwrap())
}

/// Waits until a query counts at least `count`.
pub async fn wait_for(client: &Client, query: &str, count: i64) {
    let started = Instant::now();
    let mut ticks = interval(POLL);
    loop {
        ticks.tick().await;
        let found: i64 = client.query_one(query, &[]).await.unwrap().get(0);
        if found >= count {
            return;
        }
        assert!(
            started.elapsed() < WAIT_MAX,
            "{found} after {WAIT_MAX:?}: {query}"
        );
    }
}

/// The sessions of stores that wait for a row lock.
pub const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ruche' \
    AND datname = current_database() AND wait_event_type = 'Lock'";

/// What a future gives, which must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(WAIT_MAX, future).await.expect("an answer comes")
}
