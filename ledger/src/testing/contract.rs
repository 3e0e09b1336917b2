//! The contract of [`EventStore`], case by case. Runs unchanged on every engine.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::future::join_all;
use ruche_domain::numbers::{Epoch, Position, StreamVersion};

use super::{Author, FixedClock, appended, check_ledger, claim, ledger};
use crate::store::{AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, StoreError};
use crate::subscribe::subscribe;

mod faulted;

/// An engine under test: an empty store and the clock that it was given.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// Its clock.
    pub clock: Arc<FixedClock>,
}

/// Runs every case, each on a fresh store.
pub async fn run<F, Fut>(fresh: F)
where
    F: Fn(Arc<FixedClock>) -> Fut,
    Fut: Future<Output = Arc<dyn EventStore>>,
{
    let make = || async {
        let clock = Arc::new(FixedClock::at(1_000_000));
        Subject {
            store: fresh(clock.clone()).await,
            clock,
        }
    };
    unknown_ledger(make().await).await;
    open_and_append(make().await).await;
    receipts_match_records(make().await).await;
    expectations(make().await).await;
    expectation_on_unwritten_stream(make().await).await;
    atomic_over_streams(make().await).await;
    idempotency(make().await).await;
    keys_before_expectations(make().await).await;
    time_never_goes_back(make().await).await;
    epochs(make().await).await;
    paging(make().await).await;
    ledgers_are_apart(make().await).await;
    payload_bytes_are_kept(make().await).await;
    many_callers(make().await).await;
    one_key_raced(make().await).await;
    one_version_raced(make().await).await;
    subscription(make().await).await;
    faulted::every_write(make().await).await;
}

async fn open(s: &Subject, n: u128) -> Author {
    let author = Author::new(n as u64);
    s.store
        .open_epoch(ledger(n), author.opening(ledger(n), 1, None))
        .await
        .expect("a new ledger opens");
    author
}

async fn unknown_ledger(s: Subject) {
    let author = Author::new(1);
    let request = author.append(vec![author.event(author.stream(1), "{}")]);
    assert_eq!(
        s.store.append(ledger(9), request).await,
        Err(StoreError::NoSuchLedger)
    );
    assert_eq!(s.store.head(ledger(9)).await, Ok(None));
    assert_eq!(s.store.epochs(ledger(9)).await, Ok(vec![]));
    assert_eq!(
        s.store.read_ledger(ledger(9), Position::START, 1).await,
        Err(StoreError::NoSuchLedger)
    );
    assert_eq!(
        s.store
            .read_stream(ledger(9), author.stream(1), StreamVersion(0), 1)
            .await,
        Err(StoreError::NoSuchLedger)
    );
    assert_eq!(
        s.store.stream_version(ledger(9), author.stream(1)).await,
        Err(StoreError::NoSuchLedger)
    );
}

async fn open_and_append(s: Subject) {
    let a = open(&s, 1).await;
    for n in 1..=3 {
        let receipts = appended(
            s.store
                .append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]))
                .await,
        );
        assert_eq!(receipts[0].position, Position::new(1, n));
    }
    assert_eq!(s.store.ledgers().await, Ok(vec![ledger(1)]));
    assert_eq!(
        s.store.stream_version(ledger(1), a.stream(1)).await,
        Ok(Some(StreamVersion(2)))
    );
    assert_eq!(s.store.stream_version(ledger(1), a.stream(2)).await, Ok(None));
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 4);
}

async fn receipts_match_records(s: Subject) {
    let a = open(&s, 1).await;
    let events = (0..5)
        .map(|n| a.event(a.stream(n % 2), &format!("{n}")))
        .collect();
    let receipts = appended(s.store.append(ledger(1), a.append(events)).await);
    let records = s
        .store
        .read_ledger(ledger(1), Position::new(1, 1), 10)
        .await
        .unwrap();
    assert_eq!(receipts, records.iter().map(|r| r.receipt()).collect::<Vec<_>>());
}

async fn expectations(s: Subject) {
    let a = open(&s, 1).await;
    let stream = a.stream(1);
    let one = || vec![a.event(stream, "{}")];
    let exact = |n| ExpectedVersion::Exact(StreamVersion(n));
    let conflict = |expected, actual: Option<u64>| {
        Ok(AppendOutcome::Conflict {
            stream,
            expected,
            actual: actual.map(StreamVersion),
        })
    };
    let try_append = |e| s.store.append(ledger(1), a.append_expecting(e, one()));
    assert_eq!(try_append(exact(0)).await, conflict(exact(0), None));
    appended(try_append(ExpectedVersion::NoStream).await);
    assert_eq!(
        try_append(ExpectedVersion::NoStream).await,
        conflict(ExpectedVersion::NoStream, Some(0))
    );
    assert_eq!(try_append(exact(1)).await, conflict(exact(1), Some(0)));
    appended(try_append(exact(0)).await);
    assert_eq!(try_append(exact(0)).await, conflict(exact(0), Some(1)));
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 3);
}

async fn expectation_on_unwritten_stream(s: Subject) {
    let a = open(&s, 1).await;
    let watched = Expectation {
        stream: a.stream(7),
        version: ExpectedVersion::NoStream,
    };
    let request = || {
        AppendRequest::new(vec![watched], vec![a.event(a.stream(1), "{}")], vec![])
            .expect("within the limits")
    };
    appended(s.store.append(ledger(1), request()).await);
    appended(
        s.store
            .append(ledger(1), a.append(vec![a.event(a.stream(7), "{}")]))
            .await,
    );
    let refused = s.store.append(ledger(1), request()).await;
    assert!(
        matches!(refused, Ok(AppendOutcome::Conflict { stream, .. }) if stream == a.stream(7)),
        "{refused:?}"
    );
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 3);
}

async fn atomic_over_streams(s: Subject) {
    let a = open(&s, 1).await;
    let e = |n, version| Expectation {
        stream: a.stream(n),
        version,
    };
    let expectations = vec![
        e(1, ExpectedVersion::NoStream),
        e(2, ExpectedVersion::NoStream),
        e(3, ExpectedVersion::Exact(StreamVersion(5))),
    ];
    let events = vec![
        a.event(a.stream(1), "{}"),
        a.event(a.stream(2), "{}"),
        a.event(a.stream(3), "{}"),
    ];
    let request = AppendRequest::new(expectations, events, vec![claim(1, 1)]).expect("within the limits");
    let refused = s.store.append(ledger(1), request).await;
    assert!(
        matches!(refused, Ok(AppendOutcome::Conflict { stream, actual: None, .. }) if stream == a.stream(3))
    );
    for n in 1..=3 {
        assert_eq!(
            s.store.stream_version(ledger(1), a.stream(n)).await,
            Ok(None),
            "stream {n}"
        );
    }
    // The key of a refused append stands for nothing.
    appended(
        s.store
            .append(ledger(1), a.append_keyed(1, 2, vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 2);
}

async fn idempotency(s: Subject) {
    let a = open(&s, 1).await;
    let two = || vec![a.event(a.stream(1), "1"), a.event(a.stream(1), "2")];
    let first = appended(s.store.append(ledger(1), a.append_keyed(1, 1, two())).await);
    appended(s.store.append(ledger(1), a.append(two())).await);
    let again = s.store.append(ledger(1), a.append_keyed(1, 1, two())).await;
    assert_eq!(
        again,
        Ok(AppendOutcome::Appended {
            receipts: first,
            duplicate: true
        })
    );
    let other = s.store.append(ledger(1), a.append_keyed(1, 2, two())).await;
    assert!(
        matches!(other, Ok(AppendOutcome::KeyMismatch { .. })),
        "{other:?}"
    );
    appended(s.store.append(ledger(1), a.append_keyed(2, 1, two())).await);
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 7);
}

async fn keys_before_expectations(s: Subject) {
    let a = open(&s, 1).await;
    let request = || {
        let e = Expectation {
            stream: a.stream(1),
            version: ExpectedVersion::NoStream,
        };
        AppendRequest::new(vec![e], vec![a.event(a.stream(1), "{}")], vec![claim(1, 1)])
            .expect("within the limits")
    };
    let receipts = appended(s.store.append(ledger(1), request()).await);
    // The expectation no longer holds, but the client is repeating itself: it gets its first answer.
    let again = s.store.append(ledger(1), request()).await;
    assert_eq!(
        again,
        Ok(AppendOutcome::Appended {
            receipts,
            duplicate: true
        })
    );
}

async fn time_never_goes_back(s: Subject) {
    let a = open(&s, 1).await;
    let append = || {
        s.store
            .append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]))
    };
    s.clock.0.store(5_000_000, std::sync::atomic::Ordering::SeqCst);
    let before = appended(append().await)[0].recorded_at;
    s.clock.0.store(2_000_000, std::sync::atomic::Ordering::SeqCst);
    let after = appended(append().await)[0].recorded_at;
    assert_eq!((before.0, after.0), (5_000_000, 5_000_000));
    check_ledger(&*s.store, ledger(1)).await;
}

async fn epochs(s: Subject) {
    let a = open(&s, 1).await;
    appended(
        s.store
            .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    let end = Some(Position::new(1, 1));
    for wrong in [
        a.opening(ledger(1), 2, None),
        a.opening(ledger(1), 2, Some(Position::new(1, 0))),
        a.opening(ledger(1), 1, end),
    ] {
        assert_eq!(
            s.store.open_epoch(ledger(1), wrong).await,
            Err(StoreError::EpochMoved)
        );
    }
    let receipt = s
        .store
        .open_epoch(ledger(1), a.opening(ledger(1), 2, end))
        .await
        .expect("the ledger has not moved");
    assert_eq!(receipt.position, Position::new(2, 0));
    // Streams and keys go on over the boundary.
    let e = ExpectedVersion::Exact(StreamVersion(0));
    let r = appended(
        s.store
            .append(ledger(1), a.append_expecting(e, vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    assert_eq!(r[0].position, Position::new(2, 1));
    let again = s
        .store
        .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
        .await;
    let Ok(AppendOutcome::Appended {
        receipts,
        duplicate: true,
    }) = again
    else {
        panic!("{again:?}")
    };
    assert_eq!(receipts[0].position, Position::new(1, 1));
    let epochs = s.store.epochs(ledger(1)).await.unwrap();
    assert_eq!(
        epochs.iter().map(|e| (e.epoch, e.size.0)).collect::<Vec<_>>(),
        [(Epoch(1), 2), (Epoch(2), 2)]
    );
    // A restore may skip a number that was used and lost.
    let skipped = a.opening(ledger(1), 4, Some(Position::new(2, 1)));
    assert_eq!(
        s.store.open_epoch(ledger(1), skipped).await.map(|r| r.position),
        Ok(Position::new(4, 0))
    );
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 5);
}

async fn paging(s: Subject) {
    let a = open(&s, 1).await;
    for _ in 0..5 {
        appended(
            s.store
                .append(
                    ledger(1),
                    a.append((0..7).map(|n| a.event(a.stream(n % 3), "{}")).collect()),
                )
                .await,
        );
    }
    let mut seen = Vec::new();
    loop {
        let from = seen.last().map_or(Position::START, |p: &Position| p.next());
        let page = s.store.read_ledger(ledger(1), from, 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|r| r.position));
    }
    assert_eq!(seen, (0..36).map(|n| Position::new(1, n)).collect::<Vec<_>>());
    let page = s
        .store
        .read_stream(ledger(1), a.stream(0), StreamVersion(2), 3)
        .await
        .unwrap();
    assert_eq!(
        page.iter().map(|r| r.leaf.stream_version.0).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    assert!(page.iter().all(|r| r.leaf.event.stream == a.stream(0)));
    assert_eq!(
        s.store
            .read_stream(ledger(1), a.stream(0), StreamVersion(99), 3)
            .await,
        Ok(vec![])
    );
}

async fn ledgers_are_apart(s: Subject) {
    let (a, b) = (open(&s, 1).await, open(&s, 2).await);
    appended(
        s.store
            .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    // The same key and the same stream name in another ledger are other things.
    appended(
        s.store
            .append(ledger(2), b.append_keyed(1, 2, vec![b.event(b.stream(1), "{}")]))
            .await,
    );
    assert_eq!(
        s.store.stream_version(ledger(2), b.stream(1)).await,
        Ok(Some(StreamVersion(0)))
    );
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 2);
    assert_eq!(check_ledger(&*s.store, ledger(2)).await, 2);
}

async fn payload_bytes_are_kept(s: Subject) {
    let a = open(&s, 1).await;
    let odd = b"{ \"n\" : 1.0,\t\"z\":\"\\u00e9\" }\n".to_vec();
    let mut event = a.typed_event(a.stream(1), "message.received", odd.clone());
    event
        .payload
        .push(a.typed_event(a.stream(1), "x.y", vec![]).payload.remove(0));
    appended(s.store.append(ledger(1), a.append(vec![event])).await);
    let record = s
        .store
        .read_ledger(ledger(1), Position::new(1, 1), 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(record.payload_bytes(), Some(&odd[..]));
    assert_eq!(record.payload[1].bytes(), Some(&[][..]));
}

async fn many_callers(s: Subject) {
    let a = open(&s, 1).await;
    let a = &a;
    let store = &s.store;
    let callers = (0..40u128).map(|caller| async move {
        for n in 0..5 {
            let e = if n == 0 {
                ExpectedVersion::NoStream
            } else {
                ExpectedVersion::Exact(StreamVersion(n - 1))
            };
            let events = vec![a.event(a.stream(caller), "{}")];
            appended(store.append(ledger(1), a.append_expecting(e, events)).await);
        }
    });
    join_all(callers).await;
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 201);
}

async fn one_key_raced(s: Subject) {
    let a = open(&s, 1).await;
    let race = (0..20).map(|_| {
        s.store
            .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
    });
    let mut fresh = 0;
    let mut positions = Vec::new();
    for outcome in join_all(race).await {
        let Ok(AppendOutcome::Appended { receipts, duplicate }) = outcome else {
            panic!("{outcome:?}")
        };
        fresh += u32::from(!duplicate);
        positions.push(receipts[0].position);
    }
    assert_eq!(fresh, 1);
    assert!(positions.iter().all(|p| *p == positions[0]), "{positions:?}");
    assert_eq!(check_ledger(&*s.store, ledger(1)).await, 2);
}

async fn one_version_raced(s: Subject) {
    let a = open(&s, 1).await;
    let race = (0..20).map(|_| {
        s.store.append(
            ledger(1),
            a.append_expecting(ExpectedVersion::NoStream, vec![a.event(a.stream(1), "{}")]),
        )
    });
    let outcomes = join_all(race).await;
    let won = outcomes
        .iter()
        .filter(|o| matches!(o, Ok(AppendOutcome::Appended { .. })))
        .count();
    let lost = outcomes
        .iter()
        .filter(|o| matches!(o, Ok(AppendOutcome::Conflict { .. })))
        .count();
    assert_eq!((won, lost), (1, 19));
}

async fn subscription(s: Subject) {
    let a = open(&s, 1).await;
    appended(
        s.store
            .append(ledger(1), a.append(vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    let mut records = pin!(subscribe(s.store.clone(), ledger(1), Position::START));
    for n in 0..2 {
        assert_eq!(
            records.next().await.unwrap().unwrap().position,
            Position::new(1, n)
        );
    }
    // Nothing is yielded before it is durable …
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(
        records.as_mut().poll_next_unpin(&mut context),
        Poll::Pending
    ));
    // … and an epoch boundary is no end.
    let opening = a.opening(ledger(1), 2, Some(Position::new(1, 1)));
    s.store
        .open_epoch(ledger(1), opening)
        .await
        .expect("the ledger has not moved");
    assert_eq!(
        records.next().await.unwrap().unwrap().position,
        Position::new(2, 0)
    );
}
