//! Many callers, many ledgers, one commit.

use std::sync::Arc;

use futures_util::future::join_all;
use ruche_domain::numbers::StreamVersion;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, StoreError,
};
use ruche_ledger::testing::{Author, appended, check_ledger, claim, ledger};

use super::{append, at, folder, open, open_ledger, tamper};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_callers_on_ten_ledgers_leave_no_gap() {
    let dir = folder();
    let store = Arc::new(open(dir.path()));
    for n in 0..10 {
        open_ledger(&*store, n).await;
    }
    let callers = (0..64u64).map(|caller| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let author = Author::new(1_000 + caller);
            for turn in 0..50u64 {
                let stream = author.stream(u128::from(caller));
                let n = u128::from((caller + turn) % 10);
                // This caller alone writes this stream, in each ledger every tenth turn.
                let before = turn / 10;
                let expected = match before.checked_sub(1) {
                    None => ExpectedVersion::NoStream,
                    Some(last) => ExpectedVersion::Exact(StreamVersion(last)),
                };
                let request =
                    author.append_expecting(expected, vec![author.event(stream, "{\"text\":\"hello\"}")]);
                appended(store.append(ledger(n), request).await);
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let mut records = 0;
    for n in 0..10 {
        records += check_ledger(&*store, ledger(n)).await;
    }
    assert_eq!(records, 64 * 50 + 10);
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(check_ledger(&store, ledger(3)).await, 64 * 5 + 1);
}

/// Keeps the writer from committing, so that everything that is asked for meanwhile is one batch.
struct Held(rusqlite::Connection);

impl Held {
    fn new(dir: &std::path::Path) -> Self {
        let conn = rusqlite::Connection::open(dir.join(ruche_ledger_sqlite::LEDGER_FILE)).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(conn)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn one_key_twice_in_one_batch_is_one_append() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let held = Held::new(dir.path());
    let event = |n: u128| vec![a.event(a.stream(n), "{}")];
    let blocker = store.append(ledger(1), a.append(event(9)));
    let first = store.append(ledger(1), a.append_keyed(1, 1, event(1)));
    let again = store.append(ledger(1), a.append_keyed(1, 1, event(1)));
    let other = store.append(ledger(1), a.append_keyed(1, 2, event(1)));
    let late = AppendRequest::new(
        vec![Expectation {
            stream: a.stream(1),
            version: ExpectedVersion::NoStream,
        }],
        event(1),
        vec![claim(3, 3)],
    );
    let late = store.append(ledger(1), late.unwrap());
    let all = async {
        // `join!` polls in order: all five are queued when the lock is released.
        let (blocker, first, again, other, late, ()) =
            tokio::join!(blocker, first, again, other, late, async { held.release() });
        appended(blocker);
        let receipts = appended(first);
        assert_eq!(
            again,
            Ok(AppendOutcome::Appended {
                receipts,
                duplicate: true
            })
        );
        assert!(
            matches!(other, Ok(AppendOutcome::KeyMismatch { .. })),
            "{other:?}"
        );
        assert!(
            matches!(
                late,
                Ok(AppendOutcome::Conflict {
                    actual: Some(StreamVersion(0)),
                    ..
                })
            ),
            "{late:?}"
        );
    };
    all.await;
    assert_eq!(check_ledger(&store, ledger(1)).await, 3);
}

#[tokio::test]
async fn an_append_and_the_epoch_behind_it_go_into_one_commit() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let held = Held::new(dir.path());
    let one = || a.append(vec![a.event(a.stream(1), "{}")]);
    let (before, opened, after, moved, ()) = tokio::join!(
        store.append(ledger(1), one()),
        store.open_epoch(ledger(1), a.opening(ledger(1), 2, Some(at(1)))),
        store.append(ledger(1), one()),
        store.open_epoch(ledger(1), a.opening(ledger(1), 3, Some(at(1)))),
        async { held.release() },
    );
    assert_eq!(appended(before)[0].position, at(1));
    assert_eq!(opened.unwrap().position.to_string(), "2:0");
    assert_eq!(appended(after)[0].position.to_string(), "2:1");
    assert_eq!(moved, Err(StoreError::EpochMoved));
    assert_eq!(check_ledger(&store, ledger(1)).await, 4);
}

#[tokio::test]
async fn a_ledger_that_went_bad_does_not_take_its_neighbours_along() {
    let dir = folder();
    let store = open(dir.path());
    let (a, b) = (open_ledger(&store, 1).await, open_ledger(&store, 2).await);
    append(&store, 1, &a, 3).await;
    append(&store, 2, &b, 3).await;
    // Somebody else wrote: what the writer remembers no longer counts, and it looks before it writes.
    tamper(
        dir.path(),
        "DELETE FROM record WHERE id = (SELECT max(id) FROM record WHERE id < (2 << 37))",
    );
    let held = Held::new(dir.path());
    let (blocker, bad, good, ()) = tokio::join!(
        store.append(ledger(2), b.append(vec![b.event(b.stream(1), "{}")])),
        store.append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")])),
        store.append(ledger(2), b.append(vec![b.event(b.stream(1), "{}")])),
        async { held.release() },
    );
    appended(blocker);
    appended(good);
    assert!(matches!(bad, Err(StoreError::Corrupt { .. })), "{bad:?}");
    assert_eq!(check_ledger(&store, ledger(2)).await, 6);
}
