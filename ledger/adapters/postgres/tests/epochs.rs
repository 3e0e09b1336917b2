//! Openings of epochs that meet others.

use std::time::Duration;

use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{Author, check_ledger, ledger};

use super::support::{BLOCKED, soon, wait_for};
use super::{Noon, database, open, open_ledger, server, session};

/// Somebody makes the head of a new ledger while its opening is under way, for an epoch that is not ours. Both saw none.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_finds_a_head_where_there_was_none_has_lost() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let (node, author) = (open(&url).await, Author::new(1));
    let (other, watch) = (session(&url).await, session(&url).await);
    // With a smaller number and with a greater one.
    for (n, epoch) in [(1, 1), (2, 3)] {
        other
            .batch_execute(&format!(
                "BEGIN; INSERT INTO ruche.head VALUES ('{}', {epoch}, 'test.example/{n}', 1, sha256('x'), 0)",
                ledger(n).0
            ))
            .await
            .unwrap();
        let (opened, ()) = tokio::join!(
            node.open_epoch(ledger(n), author.opening(ledger(n), 2, None)),
            async {
                wait_for(&watch, BLOCKED, 1).await;
                other.batch_execute("COMMIT").await.unwrap();
            }
        );
        assert_eq!(opened, Err(StoreError::EpochMoved), "epoch {epoch}");
        let epochs = watch.query_one("SELECT count(*) FROM ruche.epoch", &[]).await;
        assert_eq!(epochs.unwrap().get::<_, i64>(0), 0, "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_open_one_ledger_open_it_once() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let author = Author::new(1);
    for n in 1..=20 {
        let opening = |epoch| author.opening(ledger(n), epoch, None);
        // A restore may begin with a later number.
        let (a, b) = tokio::join!(
            nodes[0].open_epoch(ledger(n), opening(1)),
            nodes[1].open_epoch(ledger(n), opening(1 + (n % 2) as u32))
        );
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        assert_eq!(a.and(b), Err(StoreError::EpochMoved));
        let epochs = nodes[0].epochs(ledger(n)).await.unwrap();
        assert_eq!(epochs.len(), 1);
    }
}

/// Only the keys of epochs and heads say that somebody was first. What else is there twice is something else.
#[tokio::test(flavor = "multi_thread")]
async fn constraints_that_are_no_race_are_told_apart() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    let mut opening = author.opening(ledger(2), 1, None);
    opening.origin = author.opening(ledger(1), 1, None).origin;
    let taken = node.open_epoch(ledger(2), opening).await;
    assert!(matches!(taken, Err(StoreError::Refused(_))), "{taken:?}");
    // A record stands where the next epoch begins.
    let sql = format!(
        "INSERT INTO ruche.record VALUES ('{}', 2, 0, 'session-x', 0, 'x')",
        ledger(1).0
    );
    session(&url).await.batch_execute(&sql).await.unwrap();
    let end = Some(Position::new(1, 0));
    let corrupt = node
        .open_epoch(ledger(1), author.opening(ledger(1), 2, end))
        .await;
    assert!(matches!(corrupt, Err(StoreError::Corrupt { .. })), "{corrupt:?}");
}

/// A head that somebody holds is waited for, but not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_of_a_held_ledger_ends_and_is_tried_again() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let limit = Duration::from_millis(600);
    let node = super::support::open_with(std::sync::Arc::new(Noon), &url, |o| o.answer_timeout = limit).await;
    let author = open_ledger(&*node, 1).await;
    let holder = session(&url).await;
    holder
        .batch_execute("BEGIN; SELECT FROM ruche.head FOR UPDATE")
        .await
        .unwrap();
    let opening = || author.opening(ledger(1), 2, Some(Position::new(1, 0)));
    let held = soon(node.open_epoch(ledger(1), opening())).await;
    assert!(matches!(held, Err(StoreError::Unavailable { .. })), "{held:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    let opened = soon(node.open_epoch(ledger(1), opening())).await;
    assert_eq!(opened.unwrap().position, Position::new(2, 0));
    assert_eq!(check_ledger(&*node, ledger(1)).await, 2);
}
