//! Writers that are flooded, held up, or die.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use ruche_domain::limits::{BATCH_EVENTS_MAX, WRITER_QUEUE_APPENDS_MAX, WRITER_RESTARTS_MAX};
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, ExpectedVersion, StoreError};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_postgres::PostgresStore;
use tokio_postgres::Client;

use super::support::{BLOCKED, Counting, open_with, soon, wait_for};
use super::{database, open_ledger, server, session};

/// One writer, a ledger, and a session that can hold its head.
struct Held {
    clock: Arc<Counting>,
    store: Arc<PostgresStore>,
    author: Author,
    holder: Client,
    watch: Client,
}

impl Held {
    async fn new(server: &str, writers: usize) -> Self {
        let url = database(server).await;
        let clock = Arc::new(Counting::default());
        let store = open_with(clock.clone(), &url, |options| options.writers = writers).await;
        let author = open_ledger(&*store, 1).await;
        Self {
            clock,
            store,
            author,
            holder: session(&url).await,
            watch: session(&url).await,
        }
    }

    /// Takes the lock of a ledger's head.
    async fn hold(&self, n: u128) {
        let sql = format!(
            "BEGIN; SELECT FROM ruche.head WHERE ledger = '{}' FOR UPDATE",
            ledger(n).0
        );
        self.holder.batch_execute(&sql).await.unwrap();
    }

    async fn let_go(&self) {
        self.holder.batch_execute("ROLLBACK").await.unwrap();
    }

    /// Waits until a writer has something in hand and waits for the lock with it.
    async fn wait_until_blocked(&self) {
        wait_for(&self.watch, BLOCKED, 1).await;
    }

    /// The writer of a ledger panics with an append of it in hand.
    async fn break_writer_of(&self, n: u128) {
        self.clock.panic_once();
        let broken = soon(self.store.append(ledger(n), self.one())).await;
        assert_eq!(broken, Ok(AppendOutcome::Unknown));
    }

    fn one(&self) -> AppendRequest {
        let event = self.author.event(self.author.stream(1), "{}");
        self.author.append(vec![event])
    }
}

type Answer<'a> = futures_util::future::BoxFuture<'a, Result<AppendOutcome, StoreError>>;

/// Puts an append into the queue. `None` if it was refused there, which must say when to come again.
fn push(store: &PostgresStore, n: u128, request: AppendRequest) -> Option<Answer<'_>> {
    let mut append = store.append(ledger(n), request);
    match append.poll_unpin(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => Some(append),
        Poll::Ready(Err(StoreError::Overloaded { retry_after_ms })) => {
            assert!(retry_after_ms > 0);
            None
        }
        Poll::Ready(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_loses_nothing_that_it_took() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    let other = open_ledger(&*held.store, 2).await;
    held.hold(1).await;
    let (mut taken, mut refused) = (Vec::new(), 0);
    // The writer may have taken one batch out of the queue and wait for the lock with it in hand.
    for _ in 0..=WRITER_QUEUE_APPENDS_MAX / 2 + BATCH_EVENTS_MAX {
        match push(&held.store, 1, held.one()) {
            Some(append) => taken.push(append),
            None => refused += 1,
        }
    }
    assert!(refused >= 1, "{} appends were taken", taken.len());
    // Half of the queue is left for others.
    let request = other.append(vec![other.event(other.stream(1), "{}")]);
    let neighbour = push(&held.store, 2, request).expect("there is room for another ledger");
    held.let_go().await;
    let count = taken.len() as u64;
    for append in taken {
        appended(soon(append).await);
    }
    appended(soon(neighbour).await);
    assert_eq!(check_ledger(&*held.store, ledger(1)).await, count + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_ledger_does_not_hold_up_another() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    let other = open_ledger(&*held.store, 2).await;
    held.hold(1).await;
    let first = push(&held.store, 1, held.one()).unwrap();
    held.wait_until_blocked().await;
    let flood: Vec<_> = (0..3_000)
        .map(|_| push(&held.store, 1, held.one()).unwrap())
        .collect();
    let request = other.append(vec![other.event(other.stream(1), "{}")]);
    let late = push(&held.store, 2, request).unwrap();
    held.let_go().await;
    appended(soon(first).await);
    let late = appended(soon(late).await);
    let mut before = 0;
    for append in flood {
        let receipts = appended(soon(append).await);
        before += usize::from(receipts[0].recorded_at < late[0].recorded_at);
    }
    // It came last, and was in the next batch all the same. The clock tells batches apart.
    assert!(before < BATCH_EVENTS_MAX, "{before} of the flood were first");
}

/// Somebody holds the head of one ledger and does not let go. Its appends fail in time, and others do not wait with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_ledger_does_not_hold_up_its_neighbours() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let store = open_with(Arc::new(Counting::default()), &url, |options| {
        options.writers = 1;
        options.answer_timeout = Duration::from_secs(3);
    })
    .await;
    let mut authors = Vec::new();
    for n in 1..=3 {
        authors.push(open_ledger(&*store, n).await);
    }
    let request = |n: u128| {
        let author = &authors[n as usize - 1];
        author.append(vec![author.event(author.stream(1), "{}")])
    };
    let (long, short, watch) = (session(&url).await, session(&url).await, session(&url).await);
    let hold = |n| {
        let id = ledger(n).0;
        format!("BEGIN; SELECT FROM ruche.head WHERE ledger = '{id}' FOR UPDATE")
    };
    long.batch_execute(&hold(1)).await.unwrap();
    let failed = soon(store.append(ledger(1), request(1))).await;
    assert!(
        matches!(failed, Err(StoreError::Unavailable { .. })),
        "{failed:?}"
    );
    // The next ones are decided together: they come while the writer waits for a third ledger.
    short.batch_execute(&hold(3)).await.unwrap();
    let third = push(&store, 3, request(3)).unwrap();
    wait_for(&watch, BLOCKED, 1).await;
    let mut held = push(&store, 1, request(1)).unwrap();
    let neighbour = push(&store, 2, request(2)).unwrap();
    short.batch_execute("ROLLBACK").await.unwrap();
    appended(soon(third).await);
    appended(soon(neighbour).await);
    let polled = held.poll_unpin(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "{polled:?}");
    long.batch_execute("ROLLBACK").await.unwrap();
    appended(soon(held).await);
}

/// All ledgers are held. Each is waited for, but their waits do not add up beyond the bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_takes_too_long_begins_nothing_more() {
    const LEDGERS: u128 = 12;
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let store = open_with(Arc::new(Counting::default()), &url, |options| {
        options.writers = 1;
        options.answer_timeout = Duration::from_millis(1_500);
    })
    .await;
    let mut authors = Vec::new();
    for n in 1..=LEDGERS {
        authors.push((n, open_ledger(&*store, n).await));
    }
    let holder = session(&url).await;
    holder
        .batch_execute("BEGIN; SELECT FROM ruche.head FOR UPDATE")
        .await
        .unwrap();
    let append = |(n, author): &(u128, Author)| {
        let event = author.event(author.stream(1), "{}");
        push(&store, *n, author.append(vec![event])).unwrap()
    };
    let appends: Vec<_> = authors.iter().map(append).collect();
    let (mut waited, mut not_begun) = (0, 0);
    for outcome in soon(join_all(appends)).await {
        let Err(StoreError::Unavailable { reason }) = outcome else {
            panic!("{outcome:?}")
        };
        *(if reason.contains("not begun") {
            &mut not_begun
        } else {
            &mut waited
        }) += 1;
    }
    assert!(
        waited > 0 && not_begun > 0,
        "{waited} waited, {not_begun} did not"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    appended(soon(append(&authors[0])).await);
    for (n, _) in &authors {
        let records = if *n == 1 { 2 } else { 1 };
        assert_eq!(check_ledger(&*store, ledger(*n)).await, records);
    }
}

/// All of them are decided in one round.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_of_one_caller_leaves_its_neighbours_alone() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    let (author, other) = (&held.author, open_ledger(&*held.store, 2).await);
    held.hold(1).await;
    let first = push(&held.store, 1, held.one()).unwrap();
    held.wait_until_blocked().await;
    let event = |author: &Author| vec![author.event(author.stream(1), "{}")];
    let never = ExpectedVersion::Exact(StreamVersion(99));
    let requests = [
        (1, author.append_expecting(never, event(author))),
        (1, author.append_keyed(1, 1, event(author))),
        // The same key with another request.
        (1, author.append_keyed(1, 2, event(author))),
        (2, other.append_expecting(never, event(&other))),
        (2, other.append(event(&other))),
        (1, author.append(event(author))),
    ];
    let answers: Vec<_> = requests
        .into_iter()
        .map(|(n, request)| push(&held.store, n, request).unwrap())
        .collect();
    held.let_go().await;
    let first = appended(soon(first).await);
    let answers = soon(join_all(answers)).await;
    let mut receipts = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        match (n, answer) {
            (0 | 3, Ok(AppendOutcome::Conflict { .. })) | (2, Ok(AppendOutcome::KeyMismatch { .. })) => {}
            (1 | 4 | 5, answer) => receipts.extend(appended(answer)),
            (n, answer) => panic!("{n}: {answer:?}"),
        }
    }
    assert_eq!(first[0].position, Position::new(1, 1));
    let positions: Vec<_> = receipts.iter().map(|receipt| receipt.position.index.0).collect();
    assert_eq!(positions, [2, 1, 3]);
    // The clock is looked at once for each ledger of a round.
    assert_eq!(receipts[0].recorded_at, receipts[2].recorded_at);
    assert_eq!(check_ledger(&*held.store, ledger(1)).await, 4);
    assert_eq!(check_ledger(&*held.store, ledger(2)).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_taken_and_takes_no_more() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    held.hold(1).await;
    let first = push(&held.store, 1, held.one()).unwrap();
    held.wait_until_blocked().await;
    let taken: Vec<_> = (0..2_500)
        .map(|_| push(&held.store, 1, held.one()).unwrap())
        .collect();
    let close = {
        let store = Arc::clone(&held.store);
        tokio::spawn(async move { store.close().await })
    };
    held.let_go().await;
    appended(soon(first).await);
    for append in taken {
        appended(soon(append).await);
    }
    soon(close).await.unwrap().unwrap();
    let late = held.store.append(ledger(1), held.one()).await;
    assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_breaks_leaves_nobody_waiting_and_is_started_anew() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    held.hold(1).await;
    let first = push(&held.store, 1, held.one()).unwrap();
    held.wait_until_blocked().await;
    let queued: Vec<_> = (0..BATCH_EVENTS_MAX + 500)
        .map(|_| push(&held.store, 1, held.one()).unwrap())
        .collect();
    held.clock.panic_once();
    held.let_go().await;
    appended(soon(first).await);
    let (mut in_hand, mut written) = (0, 0);
    for append in queued {
        match soon(append).await {
            Ok(AppendOutcome::Unknown) => in_hand += 1,
            Ok(AppendOutcome::Appended { .. }) => written += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((in_hand, written), (BATCH_EVENTS_MAX, 500));
    appended(soon(held.store.append(ledger(1), held.one())).await);
    let writers = held.store.writers();
    assert_eq!((writers.restarts(), writers.is_given_up()), (1, false));
    // The opening, the first one, those of the next writer, and the late one: of what was in hand nothing was written.
    assert_eq!(check_ledger(&*held.store, ledger(1)).await, 503);
    held.store.close().await.unwrap();
}

/// What an empty cache does not mend is not tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_breaks_again_and_again_is_given_up_and_says_so() {
    let Some(server) = server() else { return };
    let held = Held::new(&server, 1).await;
    let writers = held.store.writers();
    for broken in 0..WRITER_RESTARTS_MAX {
        assert_eq!(
            (writers.restarts(), writers.is_given_up()),
            (broken as u64, false)
        );
        held.break_writer_of(1).await;
        appended(soon(held.store.append(ledger(1), held.one())).await);
    }
    held.break_writer_of(1).await;
    soon(writers.given_up()).await;
    let late = soon(held.store.append(ledger(1), held.one())).await;
    assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
    // What was there can be read, and closing tells of the death.
    let records = WRITER_RESTARTS_MAX as u64 + 1;
    assert_eq!(check_ledger(&*held.store, ledger(1)).await, records);
    let closed = held.store.close().await;
    assert!(
        matches!(closed, Err(StoreError::Unavailable { .. })),
        "{closed:?}"
    );
}

/// Whichever of the two writers is the dead one.
#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_all_writers_although_one_is_dead() {
    let Some(server) = server() else { return };
    for (dies, lives) in [(1, 2), (2, 1)] {
        let held = Held::new(&server, 2).await;
        open_ledger(&*held.store, 2).await;
        // Two writers that have nothing to do take turns: each gets a ledger.
        for n in [1, 2] {
            appended(soon(held.store.append(ledger(n), held.one())).await);
        }
        for _again in 0..=WRITER_RESTARTS_MAX {
            held.break_writer_of(dies).await;
        }
        soon(held.store.writers().given_up()).await;
        held.hold(lives).await;
        let pending = push(&held.store, lives, held.one()).unwrap();
        held.wait_until_blocked().await;
        let close = {
            let store = Arc::clone(&held.store);
            tokio::spawn(async move { store.close().await })
        };
        // Enough for a task that does not wait to come to its end.
        for _ in 0..20 {
            held.watch.batch_execute("SELECT 1").await.unwrap();
        }
        assert!(!close.is_finished(), "a writer is at work yet");
        held.let_go().await;
        let receipts = appended(soon(pending).await);
        assert_eq!(receipts[0].position, Position::new(1, 2));
        let closed = soon(close).await.unwrap();
        assert!(
            matches!(closed, Err(StoreError::Unavailable { .. })),
            "{closed:?}"
        );
    }
}
