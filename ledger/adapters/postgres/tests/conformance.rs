//! Conformance tests of an engine that many nodes share, by their numbers: 1 writers of several nodes, 3 one key on two
//! nodes, 4 stale caches, 5 a transaction that is left open, 6 a server that restarts under load.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, ExpectedVersion, Receipt, StoreError};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_postgres::PostgresStore;

use super::support::cluster::Cluster;
use super::support::soon;
use super::{database, open, open_ledger, server, session};

/// Reads all the time until a ledger has so many records. n+1 is never there before n: what is read begins where the last
/// page ended, without a hole.
async fn poll(node: Arc<PostgresStore>, records: u64) {
    let mut next = Position::START;
    while next.index.0 < records {
        for record in node.read_ledger(ledger(1), next, 100).await.unwrap() {
            assert_eq!(record.position, next);
            next = next.next();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_1_writers_of_three_nodes_leave_no_gap_that_a_reader_sees() {
    const WRITERS: u64 = 32;
    const EACH: u64 = 6;
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await, open(&url).await];
    let author = Arc::new(open_ledger(&*nodes[0], 1).await);
    let records = 1 + 3 * WRITERS * EACH;
    let reader = tokio::spawn(poll(open(&url).await, records));
    let callers = (0..3 * WRITERS).map(|caller| {
        let (node, author) = (Arc::clone(&nodes[caller as usize % 3]), Arc::clone(&author));
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for _ in 0..EACH {
                let event = author.event(author.stream(u128::from(caller)), "{}");
                receipts.extend(appended(node.append(ledger(1), author.append(vec![event])).await));
            }
            receipts
        })
    });
    let receipts: Vec<Receipt> = soon(join_all(callers))
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    soon(reader).await.unwrap();
    let positions: HashSet<_> = receipts.iter().map(|receipt| receipt.position).collect();
    assert_eq!(positions.len() as u64, records - 1);
    assert_eq!(check_ledger(&*nodes[1], ledger(1)).await, records);
}

/// Sends one request to two nodes at once, and says what both were answered: the same, one of them as a duplicate.
async fn send_to_both(nodes: &[Arc<PostgresStore>; 2], author: &Author, n: u128, key: u8) {
    let request = || author.append_keyed(key, 1, vec![author.event(author.stream(1), "{}")]);
    let (a, b) = tokio::join!(
        nodes[0].append(ledger(n), request()),
        nodes[1].append(ledger(n), request())
    );
    let (
        AppendOutcome::Appended {
            receipts: a,
            duplicate: first,
        },
        AppendOutcome::Appended {
            receipts: b,
            duplicate: second,
        },
    ) = (a.unwrap(), b.unwrap())
    else {
        panic!("key {key} was not taken");
    };
    assert_eq!(a, b);
    assert!(first != second, "key {key}: one of the two is the duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_3_one_key_sent_to_two_nodes_at_once_stands_once() {
    const ROUNDS: u8 = 100;
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    // Fought over: after some lost races both decide under the lock.
    let author = open_ledger(&*nodes[0], 1).await;
    for key in 0..ROUNDS {
        send_to_both(&nodes, &author, 1, key).await;
    }
    assert_eq!(check_ledger(&*nodes[0], ledger(1)).await, 1 + u64::from(ROUNDS));
    // Calm: no race was lost in a ledger before.
    for n in 2..42 {
        let author = open_ledger(&*nodes[0], n).await;
        send_to_both(&nodes, &author, n, 1).await;
        assert_eq!(check_ledger(&*nodes[1], ledger(n)).await, 2);
    }
    let rows = session(&url).await;
    let count = rows
        .query_one("SELECT count(*) FROM ruche.idempotency", &[])
        .await;
    assert_eq!(count.unwrap().get::<_, i64>(0), i64::from(ROUNDS) + 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_4_stale_caches_lose_no_update() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let (a, b) = (open(&url).await, open(&url).await);
    let author = open_ledger(&*a, 1).await;
    let one = || author.append(vec![author.event(author.stream(1), "{}")]);
    // Each node believes that the ledger ends where it left it.
    for n in 1..10 {
        let node = if n % 2 == 0 { &a } else { &b };
        let receipts = appended(node.append(ledger(1), one()).await);
        assert_eq!(receipts[0].position, Position::new(1, n));
    }
    let exact = |version| {
        author.append_expecting(
            ExpectedVersion::Exact(StreamVersion(version)),
            vec![author.event(author.stream(1), "{}")],
        )
    };
    appended(a.append(ledger(1), exact(8)).await);
    // b has not seen that append; what it answers is true all the same.
    let outcome = b.append(ledger(1), exact(8)).await.unwrap();
    assert!(
        matches!(
            outcome,
            AppendOutcome::Conflict {
                actual: Some(StreamVersion(9)),
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_5_a_transaction_that_is_left_open_holds_up_no_append() {
    const LEDGERS: u128 = 5;
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let mut authors = Vec::new();
    for n in 1..=LEDGERS {
        authors.push((n, open_ledger(&*nodes[0], n).await));
    }
    // A report that reads everything, writes something of its own, and is never ended.
    let idle = session(&url).await;
    idle.batch_execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ruche.record; \
         SELECT count(*) FROM ruche.head; SELECT count(*) FROM ruche.stream_head; \
         CREATE TABLE public.report (n bigint); INSERT INTO public.report VALUES (1)",
    )
    .await
    .unwrap();
    for round in 0..20 {
        for (n, author) in &authors {
            let event = author.event(author.stream(round % 3), "{}");
            let node = &nodes[(round + n) as usize % 2];
            appended(soon(node.append(ledger(*n), author.append(vec![event]))).await);
        }
    }
    let open: i64 = session(&url)
        .await
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' \
             AND datname = current_database() AND application_name <> 'ruche'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(open, 1, "the transaction was open all the time");
    for n in 1..=LEDGERS {
        assert_eq!(check_ledger(&*nodes[0], ledger(n)).await, 21);
    }
    idle.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_6_a_server_that_restarts_under_load_loses_and_doubles_nothing() {
    const CALLERS: u8 = 16;
    const RESTARTS: u64 = 3;
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let url = database(&cluster.url).await;
    let nodes = [open(&url).await, open(&url).await];
    let author = Arc::new(open_ledger(&*nodes[0], 1).await);
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (node, author) = (Arc::clone(&nodes[usize::from(caller) % 2]), Arc::clone(&author));
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            tokio::spawn(async move { call(&node, &author, caller, &stop, &answers).await })
        })
        .collect();
    for _ in 0..RESTARTS {
        // Load is there before each restart, so batches are under way.
        let enough = answers.load(Ordering::SeqCst) + 2 * u64::from(CALLERS);
        soon(async {
            while answers.load(Ordering::SeqCst) < enough {
                tokio::task::yield_now().await;
            }
        })
        .await;
        cluster = tokio::task::spawn_blocking(move || {
            cluster.crash_and_restart();
            cluster
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let (mut receipts, mut doubts) = (HashMap::new(), 0);
    for caller in callers {
        let (given, doubted) = soon(caller).await.unwrap();
        doubts += doubted;
        for receipt in given {
            assert_eq!(
                receipts.insert(receipt.position, receipt),
                None,
                "a place given twice"
            );
        }
    }
    assert!(doubts > 0, "no append was under way when the server went");
    let count = receipts.len() as u64 + 1;
    assert_eq!(check_ledger(&*nodes[0], ledger(1)).await, count);
    let mut next = Position::new(1, 1);
    while next.index.0 < count {
        for record in nodes[1].read_ledger(ledger(1), next, 1_000).await.unwrap() {
            assert_eq!(receipts.get(&next), Some(&record.receipt()));
            next = next.next();
        }
    }
}

/// Appends until it is told to stop, each with a key of its own that is sent again until it is answered with receipts.
/// Returns them, and how many answers were not one.
async fn call(
    node: &PostgresStore,
    author: &Author,
    caller: u8,
    stop: &AtomicBool,
    answers: &AtomicU64,
) -> (Vec<Receipt>, u64) {
    let (mut all, mut doubts) = (Vec::new(), 0);
    for n in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let mut key = [caller; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let event = author.event(author.stream(u128::from(caller)), "{}");
        let claim = KeyClaim {
            layer: KeyLayer::Api,
            key,
            request: key,
        };
        let request = AppendRequest::new(vec![], vec![event], vec![claim]).unwrap();
        let mut is_unknown = false;
        loop {
            match node.append(ledger(1), request.clone()).await {
                Ok(AppendOutcome::Appended { receipts, duplicate }) => {
                    assert!(is_unknown || !duplicate, "it was said that nothing was written");
                    all.extend(receipts);
                    answers.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                outcome @ (Ok(AppendOutcome::Unknown) | Err(StoreError::Unavailable { .. })) => {
                    is_unknown |= outcome.is_ok();
                    doubts += 1;
                    tokio::task::yield_now().await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (all, doubts)
}
