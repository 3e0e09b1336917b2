//! A writer that panics is followed by another one, which has read everything again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ruche_domain::limits::WRITER_RESTARTS_MAX;
use ruche_domain::numbers::Micros;
use ruche_domain::ports::Clock;
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, StoreError};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_sqlite::{DataLock, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use super::{Noon, at, folder, open, open_ledger};

/// A wait that takes longer has failed.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A clock that panics when it is told to.
#[derive(Default)]
struct Breaking(AtomicBool);

impl Clock for Breaking {
    fn now(&self) -> Micros {
        assert!(!self.0.swap(false, Ordering::SeqCst), "a clock that a test broke");
        Noon.now()
    }
}

struct World {
    clock: Arc<Breaking>,
    store: SqliteStore,
    author: Author,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let (dir, clock) = (folder(), Arc::new(Breaking::default()));
        let lock = Arc::new(DataLock::acquire(dir.path(), "test").unwrap());
        let store = SqliteStore::open(lock, clock.clone(), SqliteOptions::default()).unwrap();
        let author = open_ledger(&store, 1).await;
        Self {
            clock,
            store,
            author,
            dir,
        }
    }

    fn request(&self, key: u8) -> AppendRequest {
        let event = self.author.event(self.author.stream(1), "{}");
        self.author.append_keyed(key, 1, vec![event])
    }

    async fn append(&self, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let append = self.store.append(ledger(1), request);
        tokio::time::timeout(WAIT_MAX, append)
            .await
            .expect("an answer comes")
    }

    /// The writer panics with an append in hand.
    async fn break_writer(&self, request: AppendRequest) {
        self.clock.0.store(true, Ordering::SeqCst);
        assert_eq!(self.append(request).await, Ok(AppendOutcome::Unknown));
    }
}

#[tokio::test]
async fn a_writer_that_breaks_is_started_anew_and_forgets_nothing_that_was_stored() {
    let world = World::new().await;
    appended(world.append(world.request(1)).await);
    let lost = world.request(2);
    world.break_writer(lost.clone()).await;
    // Asking again with the key tells: it was not stored, and is now; what was stored before is known.
    appended(world.append(lost.clone()).await);
    let again = world.append(lost).await;
    assert!(
        matches!(again, Ok(AppendOutcome::Appended { duplicate: true, .. })),
        "{again:?}"
    );
    world.store.wait_for(ledger(1), at(2)).await.unwrap();
    let writers = world.store.writers();
    assert_eq!((writers.restarts(), writers.is_given_up()), (1, false));
    assert_eq!(check_ledger(&world.store, ledger(1)).await, 3);
    world.store.close().await.unwrap();
    assert_eq!(records_of_the_next_process(world).await, 3);
}

#[tokio::test]
async fn a_writer_that_breaks_again_and_again_is_given_up_and_says_so() {
    let world = World::new().await;
    let writers = world.store.writers();
    for key in 0..=WRITER_RESTARTS_MAX {
        assert!(!writers.is_given_up());
        world.break_writer(world.request(key as u8)).await;
    }
    let given_up = tokio::time::timeout(WAIT_MAX, writers.given_up()).await;
    given_up.expect("the writer is given up");
    let late = world.append(world.request(99)).await;
    assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
    assert_eq!(check_ledger(&world.store, ledger(1)).await, 1);
    let closed = world.store.close().await;
    assert!(
        matches!(closed, Err(StoreError::Unavailable { .. })),
        "{closed:?}"
    );
    assert_eq!(records_of_the_next_process(world).await, 1);
}

/// The file as the next process finds it.
async fn records_of_the_next_process(world: World) -> u64 {
    let World { store, dir, .. } = world;
    drop(store);
    check_ledger(&open(dir.path()), ledger(1)).await
}
