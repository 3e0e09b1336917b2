//! What can be seen although no standby has it is not handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{AppendOutcome, EventStore, ExpectedVersion, StoreError};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_postgres::PostgresStore;
use tokio_postgres::Client;

use super::proxy::Proxy;
use super::server::{Private, until};
use super::support::open_with;
use super::{Noon, open, open_ledger, server, session};

/// The idempotency key of an append that the standby has, and of the one that it has not.
const FIRST_KEY: u8 = 1;
const KEY: u8 = 7;

/// Two nodes and a ledger of two records, on a server whose standby may be gone.
struct Cluster {
    private: Private,
    admin: Client,
    nodes: [Arc<PostgresStore>; 2],
    author: Author,
}

/// One whose standby is gone.
async fn cluster(shared: &str) -> Cluster {
    let cluster = whole(shared).await;
    cluster.standbys("absent").await;
    cluster
}

async fn whole(shared: &str) -> Cluster {
    let private = Private::start(shared, "", |_| ()).await;
    let url = private.url();
    let admin = session(&url).await;
    // Somebody wants quiet logs. Fences hear warnings all the same.
    let quiet = admin.batch_execute("ALTER ROLE ALL SET client_min_messages = error");
    quiet.await.unwrap();
    let nodes = [open(&url).await, open(&url).await];
    let author = open_ledger(&*nodes[0], 1).await;
    let event = author.event(author.stream(1), "{}");
    appended(
        nodes[0]
            .append(ledger(1), author.append_keyed(FIRST_KEY, 1, vec![event]))
            .await,
    );
    Cluster {
        private,
        admin,
        nodes,
        author,
    }
}

impl Cluster {
    async fn standbys(&self, names: &str) {
        self.private.standbys(names).await;
    }

    async fn count(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Appends by the second node, and returns when that commit waits for the standby. Its record cannot be seen yet.
    async fn append_and_wait(&self) {
        let before = self.visible().await;
        let event = self.author.event(self.author.stream(1), "{}");
        let request = self.author.append_keyed(KEY, 1, vec![event]);
        let node = Arc::clone(&self.nodes[1]);
        // What it is answered is no matter here.
        tokio::spawn(async move { node.append(ledger(1), request).await });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("the commit waits for the standby", || async {
            self.count(waits).await > 0
        })
        .await;
        assert_eq!(self.visible().await, before);
    }

    /// Leaves a record that can be seen and that no standby has: the wait was cancelled.
    async fn append_and_cancel(&self) {
        let before = self.visible().await;
        self.append_and_wait().await;
        let cancel =
            "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("the record can be seen", || async {
            self.count(cancel).await;
            self.visible().await == before + 1
        })
        .await;
    }

    /// What a read without a fence sees.
    async fn visible(&self) -> i64 {
        self.count("SELECT count(*) FROM ruche.record").await
    }
}

fn unavailable<T: std::fmt::Debug>(read: &Result<T, StoreError>) {
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_neither_read_nor_signed_nor_delivered() {
    let Some(shared) = server() else { return };
    let cluster = cluster(&shared).await;
    let node = Arc::clone(&cluster.nodes[0]);
    let woken = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.wait_for(ledger(1), Position::new(1, 2)).await })
    };
    cluster.append_and_cancel().await;
    let stream = cluster.author.stream(1);
    // All of these have seen the record, and none says so. They wait for the same fence.
    let (records, of_stream, version, epochs, head, hashes, ledgers) = tokio::join!(
        node.read_ledger(ledger(1), Position::START, 10),
        node.read_stream(ledger(1), stream, StreamVersion(0), 10),
        node.stream_version(ledger(1), stream),
        node.epochs(ledger(1)),
        node.head(ledger(1)),
        node.leaf_hashes(ledger(1), Epoch(1), LeafIndex(0), 10),
        node.ledgers(),
    );
    unavailable(&records);
    unavailable(&of_stream);
    unavailable(&version);
    unavailable(&epochs);
    unavailable(&head);
    unavailable(&hashes);
    unavailable(&ledgers);
    assert!(!woken.is_finished(), "a reader was woken for it");
    // What was known to be durable before is read as ever.
    let known = node.read_ledger(ledger(1), Position::START, 2).await;
    assert_eq!(known.unwrap().len(), 2);
    // One fence of all reads hangs, whoever asks how often, and one of the writer whose commit was not believed: nobody
    // fills the server with sessions that wait.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let waiting = cluster.count(waits).await;
    assert!((1..=2).contains(&waiting), "{waiting} wait");
    // The standby is not waited for any more: the fence returns, and all of it is told.
    cluster.standbys("").await;
    until("the record is read", || async {
        let read = node.read_ledger(ledger(1), Position::START, 10).await;
        read.is_ok_and(|records| records.len() == 3)
    })
    .await;
    woken.await.unwrap().unwrap();
    assert_eq!(check_ledger(&*node, ledger(1)).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_whose_wait_is_cancelled_proves_nothing() {
    let Some(shared) = server() else { return };
    let cluster = cluster(&shared).await;
    let node = Arc::clone(&cluster.nodes[0]);
    cluster.append_and_cancel().await;
    let read = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.read_ledger(ledger(1), Position::START, 10).await })
    };
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let cancelled = AtomicI64::new(0);
    until("the read is answered", || async {
        cancelled.fetch_add(cluster.count(cancel).await, Ordering::Relaxed);
        read.is_finished()
    })
    .await;
    assert!(cancelled.into_inner() > 0, "no fence was cancelled");
    unavailable(&read.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_of_the_primary_makes_visible_waits_for_a_standby_too() {
    let Some(shared) = server() else { return };
    let mut cluster = cluster(&shared).await;
    cluster.append_and_wait().await;
    cluster.private.crash().await;
    cluster.admin = session(&cluster.private.url()).await;
    assert_eq!(cluster.visible().await, 3);
    let node = Arc::clone(&cluster.nodes[0]);
    // Sessions are made again first; then it is the fence that is waited for.
    until("a read waits for the fence", || async {
        let read = node.read_ledger(ledger(1), Position::START, 10).await;
        unavailable(&read);
        let refused = read.unwrap_err().to_string();
        refused.contains("a fence has not returned")
    })
    .await;
    cluster.standbys("").await;
    until("the record is read", || async {
        let read = node.read_ledger(ledger(1), Position::START, 10).await;
        read.is_ok_and(|records| records.len() == 3)
    })
    .await;
}

/// Who is told that a stream has moved, or that a key is taken, takes it for told that the append which did it stands.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_for_what_no_standby_has() {
    let Some(shared) = server() else { return };
    let cluster = whole(&shared).await;
    let limit = Duration::from_secs(2);
    let url = cluster.private.url();
    let node = open_with(Arc::new(Noon), &url, |options| options.answer_timeout = limit).await;
    let author = &cluster.author;
    let event = || vec![author.event(author.stream(1), "{}")];
    // From now on it looks keys up before it appends.
    let again = node
        .append(ledger(1), author.append_keyed(FIRST_KEY, 1, event()))
        .await;
    assert!(
        matches!(again, Ok(AppendOutcome::Appended { duplicate: true, .. })),
        "{again:?}"
    );
    cluster.standbys("absent").await;
    cluster.append_and_cancel().await;
    // The stream never had this version. Which one it has is told.
    let never = ExpectedVersion::Exact(StreamVersion(5));
    let conflict = || node.append(ledger(1), author.append_expecting(never, event()));
    let mismatch = || node.append(ledger(1), author.append_keyed(KEY, 2, event()));
    // Each by itself: nothing is written that could confirm it.
    unavailable(&mismatch().await);
    unavailable(&conflict().await);
    cluster.standbys("").await;
    until("the conflict is told", || async {
        matches!(conflict().await, Ok(AppendOutcome::Conflict { .. }))
    })
    .await;
    until("the mismatch is told", || async {
        matches!(mismatch().await, Ok(AppendOutcome::KeyMismatch { .. }))
    })
    .await;
    assert_eq!(check_ledger(&*node, ledger(1)).await, 3);
}

/// Shows what fences are good for. The proxy takes the commit out of them, and nothing else: then a record is read that no
/// standby has, and somebody is refused for it.
#[tokio::test(flavor = "multi_thread")]
async fn without_fences_all_are_told_what_no_standby_has() {
    let Some(shared) = server() else { return };
    let cluster = whole(&shared).await;
    let url = cluster.private.url();
    let proxy = Proxy::start(&url).await;
    proxy.void_fences();
    let lying = open(&proxy.url(&url)).await;
    cluster.standbys("absent").await;
    cluster.append_and_cancel().await;
    let read = lying.read_ledger(ledger(1), Position::START, 10).await;
    assert_eq!(read.map(|records| records.len()), Ok(3));
    let author = &cluster.author;
    let never = ExpectedVersion::Exact(StreamVersion(5));
    let request = author.append_expecting(never, vec![author.event(author.stream(1), "{}")]);
    let refused = lying.append(ledger(1), request).await;
    assert!(
        matches!(refused, Ok(AppendOutcome::Conflict { .. })),
        "{refused:?}"
    );
    // Everything else is as it was: with its fences the engine says neither.
    unavailable(&cluster.nodes[0].read_ledger(ledger(1), Position::START, 10).await);
}

/// In a failover some connections lead to the new primary already. It confirms everything, and knows nothing of what the old
/// one alone has.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_primary_says_is_not_proved_by_a_fence_of_the_new_one() {
    let Some(shared) = server() else { return };
    let old = whole(&shared).await;
    let new = Private::start(&shared, "", |_| ()).await;
    open(&new.url()).await;
    let url = old.private.url();
    let proxy = Proxy::start(&url).await;
    let node = open_with(Arc::new(Noon), &proxy.url(&url), |options| options.readers = 1).await;
    // Its own append needs no fence, so there is no session for fences yet. There is one that reads.
    let event = old.author.event(old.author.stream(2), "{}");
    appended(node.append(ledger(1), old.author.append(vec![event])).await);
    let read = node.read_ledger(ledger(1), Position::START, 10).await;
    assert_eq!(read.unwrap().len(), 3);
    old.standbys("absent").await;
    old.append_and_cancel().await;
    proxy.move_to(&new.url());
    let read = node.read_ledger(ledger(1), Position::START, 10).await;
    unavailable(&read);
    let refused = read.unwrap_err().to_string();
    assert!(refused.contains("another server"), "{refused}");
    // The next read goes where the fences go.
    let read = node.read_ledger(ledger(1), Position::START, 10).await;
    assert_eq!(read, Err(StoreError::NoSuchLedger));
}
