//! What nodes share beside the records: tree heads, leases, the lock.

use std::collections::HashSet;

use futures_util::FutureExt;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_ledger::halts::{Halt, Halts};
use ruche_ledger::hash::Hash;
use ruche_ledger::lease::Leases;
use ruche_ledger::note::{NoteSigner, SignatureKind};
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{Author, appended, ledger};
use ruche_ledger::tree::TreeRoot;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger_postgres::{
    Database, NodeKind, NodeLock, OpenError, PostgresLeases, PostgresOptions, PostgresTreeHeads,
};
use tokio_postgres::Client;
use uuid::Uuid;

use super::support::{BLOCKED, soon, wait_for};
use super::{database, open, open_ledger, server, session};

pub const ORIGIN: &str = "test.example/a/e1";

pub fn at(url: &str) -> Database {
    Database::parse(&PostgresOptions::new(url)).unwrap()
}

pub async fn tree_heads(url: &str) -> PostgresTreeHeads {
    let database = at(url);
    database.migrate_tree_heads().await.unwrap();
    database.tree_heads()
}

pub fn signed(origin: &str, size: u64, root: u8) -> SignedTreeHead {
    let root = TreeRoot {
        size: TreeSize(size),
        root: Hash([root; 32]),
    };
    let signer = NoteSigner::from_seed(origin, SignatureKind::Ed25519, &[7; 32]).unwrap();
    SignedTreeHead::sign(TreeHead::new(origin, root), &signer).unwrap()
}

#[tokio::test]
async fn one_of_two_that_swap_at_once_wins_and_nothing_goes_back() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let (a, b) = (tree_heads(&url).await, tree_heads(&url).await);
    assert_eq!(a.latest(ORIGIN).await, Ok(None));
    let mut last: Option<SignedTreeHead> = None;
    for size in 1..20 {
        let (mine, yours) = (signed(ORIGIN, size, 1), signed(ORIGIN, size, 2));
        let (first, second) = tokio::join!(
            a.compare_and_swap(ORIGIN, last.as_ref(), &mine),
            b.compare_and_swap(ORIGIN, last.as_ref(), &yours)
        );
        let winner = match (first, second) {
            (Ok(()), Err(TreeHeadStoreError::Swapped)) => mine,
            (Err(TreeHeadStoreError::Swapped), Ok(())) => yours,
            other => panic!("{other:?}"),
        };
        assert_eq!(b.latest(ORIGIN).await, Ok(Some(winner.clone())));
        last = Some(winner);
    }
    let smaller = a
        .compare_and_swap(ORIGIN, last.as_ref(), &signed(ORIGIN, 3, 1))
        .await;
    assert!(
        matches!(smaller, Err(TreeHeadStoreError::Unavailable(_))),
        "{smaller:?}"
    );
    let stale = a.compare_and_swap(ORIGIN, None, &signed(ORIGIN, 40, 1)).await;
    assert_eq!(stale, Err(TreeHeadStoreError::Swapped));
    let other = a
        .compare_and_swap(ORIGIN, last.as_ref(), &signed("test.example/b/e1", 40, 1))
        .await;
    assert!(
        matches!(other, Err(TreeHeadStoreError::Unavailable(_))),
        "{other:?}"
    );
    assert_eq!(a.latest(ORIGIN).await, Ok(last));
    assert_eq!(a.origins().await, Ok(vec![ORIGIN.to_owned()]));
}

#[tokio::test]
async fn a_tree_head_that_cannot_be_read_is_not_taken_for_none() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let heads = tree_heads(&url).await;
    heads
        .compare_and_swap(ORIGIN, None, &signed(ORIGIN, 4, 1))
        .await
        .unwrap();
    let session = session(&url).await;
    // As rot does it, and not a statement.
    let rot = "ALTER TABLE ruche_tree_heads.tree_head DISABLE TRIGGER USER";
    session.batch_execute(rot).await.unwrap();
    for note in ["substr(note, 1, 20)", "'\\x00'::bytea"] {
        let broken = format!("UPDATE ruche_tree_heads.tree_head SET note = {note}");
        session.batch_execute(&broken).await.unwrap();
        let latest = heads.latest(ORIGIN).await;
        assert!(
            matches!(latest, Err(TreeHeadStoreError::Unavailable(_))),
            "{latest:?}"
        );
    }
}

#[tokio::test]
async fn ledgers_and_tree_heads_are_never_in_one_database() {
    let Some(server) = server() else { return };
    let of_ledgers = database(&server).await;
    open(&of_ledgers).await;
    let refused = at(&of_ledgers).migrate_tree_heads().await;
    assert!(matches!(refused, Err(OpenError::SameDatabase)), "{refused:?}");
    let of_heads = database(&server).await;
    tree_heads(&of_heads).await;
    let clock = std::sync::Arc::new(super::Noon);
    let refused = ruche_ledger_postgres::PostgresStore::open(clock, PostgresOptions::new(&of_heads)).await;
    assert!(
        matches!(refused, Err(OpenError::SameDatabase)),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn a_schema_that_somebody_else_made_is_left_alone() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let session = session(&url).await;
    let theirs = "CREATE SCHEMA ruche; CREATE TABLE ruche.hive (bees bigint)";
    session.batch_execute(theirs).await.unwrap();
    let refused = at(&url).migrate().await;
    assert!(
        matches!(refused, Err(OpenError::Foreign { schema: "ruche" })),
        "{refused:?}"
    );
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'ruche'";
    let left: i64 = session.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(left, 1);
    // An empty one may have been made for us.
    session.batch_execute("DROP TABLE ruche.hive").await.unwrap();
    at(&url).migrate().await.unwrap();
}

#[tokio::test]
async fn a_halt_of_one_node_stops_the_appends_of_all() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let (a, b) = (open(&url).await, open(&url).await);
    let author = Author::new(1);
    for n in [1, 2] {
        let opening = author.opening(ledger(n), 1, None);
        a.open_epoch(ledger(n), opening).await.unwrap();
    }
    let one = || author.append(vec![author.event(author.stream(1), "{}")]);
    // The second node knows the head by now, and has nothing to read before it appends.
    appended(b.append(ledger(1), one()).await);
    let halts = at(&url).halts();
    let halt = Halt {
        ledger: ledger(1),
        epoch: Epoch(1),
        reason: "behind what was promised".to_owned(),
    };
    halts.halt(&halt).await.unwrap();
    halts.halt(&halt).await.unwrap();
    assert_eq!(halts.halted().await.unwrap(), [halt]);
    let before = b.head(ledger(1)).await.unwrap();
    for node in [&a, &b] {
        let refused = node.append(ledger(1), one()).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(b.head(ledger(1)).await.unwrap(), before);
    // Others go on, also in one commit with it.
    let (refused, other) = tokio::join!(b.append(ledger(1), one()), b.append(ledger(2), one()));
    assert!(refused.is_err(), "{refused:?}");
    appended(other);
    halts.release(ledger(1)).await.unwrap();
    appended(b.append(ledger(1), one()).await);
    // A halt is of one epoch.
    let halt = Halt {
        ledger: ledger(2),
        epoch: Epoch(1),
        reason: "behind what was promised".to_owned(),
    };
    halts.halt(&halt).await.unwrap();
    let last = b.head(ledger(2)).await.unwrap().unwrap().size.0 - 1;
    let opening = author.opening(ledger(2), 2, Some(Position::new(1, last)));
    a.open_epoch(ledger(2), opening).await.unwrap();
    appended(b.append(ledger(2), one()).await);
    assert_eq!(halts.halted().await.unwrap(), []);
}

/// The statement of the append has begun, and so has looked for halts, when the halt comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_waits_for_the_head_behind_a_halt_is_refused() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    let one = || author.append(vec![author.event(author.stream(1), "{}")]);
    appended(node.append(ledger(1), one()).await);
    let before = node.head(ledger(1)).await.unwrap();
    let (holder, watch) = (session(&url).await, session(&url).await);
    let hold = "BEGIN; SELECT FROM ruche.head FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let halts = at(&url).halts();
    let halt = Halt {
        ledger: ledger(1),
        epoch: Epoch(1),
        reason: "behind what was promised".to_owned(),
    };
    let halted = tokio::spawn(async move { halts.halt(&halt).await });
    wait_for(&watch, BLOCKED, 1).await;
    let (refused, ()) = tokio::join!(node.append(ledger(1), one()), async {
        wait_for(&watch, BLOCKED, 2).await;
        holder.batch_execute("ROLLBACK").await.unwrap();
    });
    soon(halted).await.unwrap().unwrap();
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(node.head(ledger(1)).await.unwrap(), before);
    at(&url).halts().release(ledger(1)).await.unwrap();
    appended(node.append(ledger(1), one()).await);
}

/// The owner can do anything. A table that was emptied lets no append through.
#[tokio::test]
async fn halts_whose_rows_the_owner_took_away_still_stand_and_can_be_put_back() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let (node, owner, halts) = (open(&url).await, session(&url).await, at(&url).halts());
    let author = open_ledger(&*node, 1).await;
    open_ledger(&*node, 2).await;
    let one = || author.append(vec![author.event(author.stream(1), "{}")]);
    let of = |n: u128, reason: &str| Halt {
        ledger: ledger(n),
        epoch: Epoch(1),
        reason: reason.to_owned(),
    };
    let (halt, made_meanwhile) = (of(1, "put back"), of(2, "made meanwhile"));
    halts.halt(&halt).await.unwrap();
    owner.batch_execute("TRUNCATE ruche.halt").await.unwrap();
    assert_eq!(halts.halted().await, Ok(Vec::new()));
    let refused = node.append(ledger(1), one()).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    halts.halt(&made_meanwhile).await.unwrap();
    // As docs/operations/postgres.md says.
    let put_back = "INSERT INTO ruche.halt SELECT ledger, epoch, 'put back' FROM ruche.head WHERE halted = epoch \
                    ON CONFLICT (ledger) DO NOTHING";
    owner.batch_execute(put_back).await.unwrap();
    let mut halted = halts.halted().await.unwrap();
    halted.sort_by_key(|halt| halt.ledger);
    assert_eq!(halted, [halt, made_meanwhile]);
    halts.release(ledger(1)).await.unwrap();
    appended(node.append(ledger(1), one()).await);
}

#[tokio::test]
async fn nodes_share_the_ledgers_and_take_over_from_one_that_is_gone() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    open(&url).await;
    let ledgers: Vec<LedgerId> = (1..=60).map(ledger).collect();
    let node = |n: u128| -> PostgresLeases { at(&url).leases(Uuid::from_u128(n)) };
    let (a, b) = (node(1), node(2));
    let all: HashSet<_> = ledgers.iter().copied().collect();
    assert_eq!(a.tend(&ledgers).await.unwrap(), all);
    // The second node gets nothing before the first has given it up.
    assert_eq!(b.tend(&ledgers).await.unwrap(), HashSet::new());
    let of_a = a.tend(&ledgers).await.unwrap();
    let of_b = b.tend(&ledgers).await.unwrap();
    assert!(
        of_a.len() > 10 && of_b.len() > 10,
        "{} and {}",
        of_a.len(),
        of_b.len()
    );
    assert!(of_a.is_disjoint(&of_b));
    assert_eq!(&of_a | &of_b, all);
    // A node that dies says nothing more; its time runs out on the server.
    let session = session(&url).await;
    let over = "UPDATE ruche.node SET until = now() - interval '1 s' WHERE node = $1";
    session.execute(over, &[&Uuid::from_u128(1)]).await.unwrap();
    assert_eq!(
        b.tend(&ledgers).await.unwrap(),
        of_b,
        "its leases are not over yet"
    );
    session
        .execute(
            "UPDATE ruche.lease SET until = now() - interval '1 s' WHERE node = $1",
            &[&Uuid::from_u128(1)],
        )
        .await
        .unwrap();
    assert_eq!(b.tend(&ledgers).await.unwrap(), all);
    // One that leaves gives all back at once.
    b.leave().await.unwrap();
    assert_eq!(a.tend(&ledgers).await.unwrap(), all);
}

#[tokio::test]
async fn a_node_with_tree_heads_of_its_own_is_alone() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let take = |kind| {
        let database = at(&url);
        async move { NodeLock::take(&database, kind).await.unwrap() }
    };
    let first = take(NodeKind::OneOfMany).await.expect("nobody is there");
    let second = take(NodeKind::OneOfMany).await.expect("they share");
    assert!(take(NodeKind::Alone).await.is_none());
    drop(first);
    drop(second);
    // The server notices that the connections are gone a moment later.
    let mut tries = 0;
    let alone = loop {
        match take(NodeKind::Alone).await {
            Some(lock) => break lock,
            None if tries < 500 => tries += 1,
            None => panic!("the lock of connections that are gone is held"),
        }
    };
    assert!(take(NodeKind::OneOfMany).await.is_none());
    assert!(take(NodeKind::Alone).await.is_none());
    drop(alone);
}

/// Ends the connection that holds the lock of the only node, and returns which it was.
async fn cut(operator: &Client) -> i32 {
    // Materialized: other tests have locks in other databases.
    let sql = "WITH held AS MATERIALIZED (SELECT pid FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) \
        SELECT pid FROM held WHERE pg_terminate_backend(pid)";
    operator.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_lock_whose_connection_was_cut_is_taken_again() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = NodeLock::take(&at(&url), NodeKind::OneOfMany)
        .await
        .unwrap()
        .unwrap();
    let operator = session(&url).await;
    for _ in 0..3 {
        let cut = cut(&operator).await;
        let sql = "SELECT count(*) FILTER (WHERE pid <> {cut}) - count(*) FILTER (WHERE pid = {cut}) FROM pg_locks \
            WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_for(&operator, &sql.replace("{cut}", &cut.to_string()), 1).await;
        let alone = NodeLock::take(&at(&url), NodeKind::Alone).await.unwrap();
        assert!(alone.is_none(), "the node is there");
    }
    assert!(node.lost().now_or_never().is_none());
}

#[tokio::test]
async fn a_node_that_was_cut_off_does_not_go_on_with_other_ledgers() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    open(&url).await;
    let node = NodeLock::take(&at(&url), NodeKind::OneOfMany)
        .await
        .unwrap()
        .unwrap();
    // As a restore does, which would not have begun while the lock was held.
    let operator = session(&url).await;
    let aside = operator.batch_execute("ALTER SCHEMA ruche RENAME TO ruche_before_1");
    aside.await.unwrap();
    open(&url).await;
    assert!(node.lost().now_or_never().is_none());
    cut(&operator).await;
    soon(node.lost()).await;
}

#[tokio::test]
async fn the_first_node_says_which_seed_it_is() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    open(&url).await;
    let agree = |label: [u8; 16], may_say| {
        let database = at(&url);
        async move { database.agree_on_seed(&label, may_say).await.unwrap() }
    };
    assert!(agree([2; 16], false).await, "nobody has said anything yet");
    assert!(agree([1; 16], true).await);
    assert!(agree([1; 16], false).await);
    assert!(!agree([2; 16], false).await);
    assert!(!agree([2; 16], true).await, "it is not taken back");
    assert!(agree([1; 16], true).await);
}
