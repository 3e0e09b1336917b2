//! The queue is bounded and never blocks whoever fills it.

use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use ruche_domain::limits::{BATCH_EVENTS_MAX, WRITER_QUEUE_APPENDS_MAX};
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{appended, check_ledger, ledger};
use ruche_ledger_sqlite::LEDGER_FILE;
use rusqlite::Connection;

use super::{folder, open, open_ledger};

#[tokio::test]
async fn a_full_queue_says_so_and_loses_nothing_that_it_took() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let hold = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    hold.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer may have taken one batch out of the queue and wait for the lock with it in hand.
    let enough = WRITER_QUEUE_APPENDS_MAX + BATCH_EVENTS_MAX + 1;
    let mut context = Context::from_waker(Waker::noop());
    let (mut taken, mut refused) = (Vec::new(), 0);
    for n in 0..enough {
        let request = a.append(vec![a.event(a.stream(n as u128 % 100), "{}")]);
        let mut append = store.append(ledger(1), request);
        match append.poll_unpin(&mut context) {
            Poll::Pending => taken.push(append),
            Poll::Ready(Err(StoreError::Overloaded { retry_after_ms })) => {
                assert!(retry_after_ms > 0);
                refused += 1;
            }
            Poll::Ready(other) => panic!("{other:?}"),
        }
    }
    assert!(refused >= 1, "{} appends were taken", taken.len());
    hold.execute_batch("ROLLBACK").unwrap();
    let count = taken.len() as u64;
    for append in taken {
        appended(append.await);
    }
    assert_eq!(check_ledger(&store, ledger(1)).await, count + 1);
}

#[tokio::test]
async fn closing_finishes_what_was_taken_and_takes_no_more() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    for _ in 0..2_500 {
        let mut append = store.append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]));
        // The writer may be as quick as this loop.
        match append.poll_unpin(&mut context) {
            Poll::Pending => taken.push(append),
            Poll::Ready(outcome) => drop(appended(outcome)),
        }
    }
    store.close().await.unwrap();
    for append in taken {
        appended(append.await);
    }
    let late = store
        .append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]))
        .await;
    assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
    assert!(matches!(
        store.head(ledger(1)).await,
        Err(StoreError::Unavailable { .. })
    ));
    let log = dir.path().join(format!("{LEDGER_FILE}-wal"));
    assert!(!log.exists(), "the log is emptied and gone after a clean close");
    let store = open(dir.path());
    assert_eq!(check_ledger(&store, ledger(1)).await, 2_501);
}

#[tokio::test]
async fn closing_ends_the_wait_for_a_record_that_will_not_come() {
    let dir = folder();
    let store = open(dir.path());
    open_ledger(&store, 1).await;
    let (waited, closed) = tokio::join!(store.wait_for(ledger(1), super::at(5)), store.close());
    assert!(
        matches!(waited, Err(StoreError::Unavailable { .. })),
        "{waited:?}"
    );
    closed.unwrap();
    store.wait_for(ledger(1), super::at(0)).await.unwrap();
}
