//! Several nodes on one database.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_ledger::store::{AppendOutcome, EventStore};
use ruche_ledger::testing::{appended, check_ledger, ledger};

use super::{database, open, open_ledger, server, session};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_fight_for_a_ledger_leave_no_gap_and_no_fork() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await, open(&url).await];
    let author = Arc::new(open_ledger(&*nodes[0], 1).await);
    let callers = (0..24_u64).map(|caller| {
        let (node, author) = (Arc::clone(&nodes[caller as usize % 3]), Arc::clone(&author));
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for _ in 0..10 {
                let event = author.event(author.stream(u128::from(caller)), "{}");
                receipts.extend(appended(node.append(ledger(1), author.append(vec![event])).await));
            }
            receipts
        })
    });
    // Somebody reads all the time: n+1 is never there before n, or the page would say that n is missing.
    let reader = {
        let node = Arc::clone(&nodes[2]);
        tokio::spawn(async move {
            let mut next = Position::START;
            while next.index.0 < 241 {
                let records = node.read_ledger(ledger(1), next, 100).await.unwrap();
                for record in &records {
                    assert_eq!(record.position, next);
                    next = next.next();
                }
                if records.is_empty() {
                    node.wait_for(ledger(1), next).await.unwrap();
                }
            }
        })
    };
    let receipts: Vec<_> = join_all(callers)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    reader.await.unwrap();
    assert_eq!(
        receipts.iter().map(|r| r.position).collect::<HashSet<_>>().len(),
        240
    );
    assert_eq!(check_ledger(&*nodes[1], ledger(1)).await, 241);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_sent_to_two_nodes_at_once_stands_once() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let author = open_ledger(&*nodes[0], 1).await;
    for key in 0..20 {
        let request = || author.append_keyed(key, 1, vec![author.event(author.stream(1), "{}")]);
        let (a, b) = tokio::join!(
            nodes[0].append(ledger(1), request()),
            nodes[1].append(ledger(1), request())
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
    assert_eq!(check_ledger(&*nodes[0], ledger(1)).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_cache_loses_nothing_and_conflicts_are_of_the_last_head() {
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
            ruche_ledger::store::ExpectedVersion::Exact(StreamVersion(version)),
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
async fn a_transaction_that_somebody_leaves_open_holds_no_append() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let authors = [open_ledger(&*node, 1).await, open_ledger(&*node, 2).await];
    for (n, author) in (1..).zip(&authors) {
        appended(
            node.append(
                ledger(n),
                author.append(vec![author.event(author.stream(1), "{}")]),
            )
            .await,
        );
    }
    // A report that reads everything and is never ended.
    let idle = session(&url).await;
    idle.batch_execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ruche.record; \
         SELECT count(*) FROM ruche.head; SELECT count(*) FROM ruche.stream_head",
    )
    .await
    .unwrap();
    for (n, author) in (1..).zip(&authors) {
        appended(
            node.append(
                ledger(n),
                author.append(vec![author.event(author.stream(1), "{}")]),
            )
            .await,
        );
    }
    idle.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_are_made_again() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    let killer = session(&url).await;
    let mut there = 0;
    for key in 0..60 {
        let request = || author.append_keyed(key, 1, vec![author.event(author.stream(1), "{}")]);
        let append = node.append(ledger(1), request());
        let kill = killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ruche' AND datname = current_database()",
            &[],
        );
        let first = if key % 3 == 0 {
            let (outcome, killed) = tokio::join!(append, kill);
            killed.unwrap();
            outcome
        } else {
            append.await
        };
        // Whatever was answered, the key finds out; and it stands once.
        let mut outcome = first;
        let mut tries = 0;
        while !matches!(outcome, Ok(AppendOutcome::Appended { .. })) {
            tries += 1;
            assert!(tries < 20, "{outcome:?}");
            outcome = node.append(ledger(1), request()).await;
        }
        there += 1;
    }
    assert_eq!(check_ledger(&*node, ledger(1)).await, there + 1);
}
