//! The hazard of a synchronous cluster: a commit whose wait for its standby is ended from outside is visible on the
//! primary, though no standby has it. Nobody may be told that it is stored: a failover would take it back.

use std::sync::Arc;
use std::time::Duration;

use ruche_domain::numbers::StreamVersion;
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, ExpectedVersion, StoreError};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_keys::SystemClock;
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{Instant, interval};
use tokio_postgres::{Client, NoTls};
use xtask::postgres::{Cluster, Setup};

use super::cluster;

/// A state that is not there by then will not come.
const STATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at a state.
const STATE_POLL: Duration = Duration::from_millis(20);

/// An answer that is wrong comes in milliseconds: nothing has to be waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// Backends of the engine that wait for a standby with an append.
const WAITING: &str = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'ruche' \
                       AND query NOT LIKE '%pg_logical_emit_message%'";

type Answer = Result<AppendOutcome, StoreError>;

async fn open(url: &str) -> Arc<PostgresStore> {
    let store = PostgresStore::open(Arc::new(SystemClock), PostgresOptions::new(url)).await;
    Arc::new(store.expect("the database opens"))
}

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// Asks until the query has rows, or none where `rows` is false.
async fn until(client: &Client, query: &str, rows: bool) {
    let deadline = Instant::now() + STATE_TIMEOUT;
    let mut look = interval(STATE_POLL);
    while client.query(query, &[]).await.expect("an answer").is_empty() == rows {
        assert!(Instant::now() < deadline, "still not so: {query}");
        look.tick().await;
    }
}

/// A primary that waits for its one standby.
async fn pair() -> Option<(Cluster, Cluster)> {
    let mut primary = cluster(Setup::default())?;
    let standby = block_in_place(|| {
        primary.serve()?;
        let mut standby = primary.standby(Setup::default())?;
        standby.serve()?;
        Ok::<_, String>(standby)
    });
    let admin = session(&primary.url).await;
    for command in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(command).await.expect("a setting");
    }
    until(
        &admin,
        "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'",
        true,
    )
    .await;
    Some((primary, standby.expect("two servers")))
}

/// The standby forgets its primary, which goes on waiting for it.
async fn cut_off(primary: &Client, standby: &Client) {
    for command in [
        "ALTER SYSTEM SET primary_conninfo = ''",
        "SELECT pg_reload_conf()",
    ] {
        standby.batch_execute(command).await.expect("a setting");
    }
    until(primary, "SELECT FROM pg_stat_replication", false).await;
}

/// Leaves time for a wrong answer. What it was is looked at in the end: no receipt is true here, whenever it comes.
async fn leave_time(asked: &JoinHandle<Answer>) {
    let deadline = Instant::now() + SILENCE;
    let mut look = interval(STATE_POLL);
    while !asked.is_finished() && Instant::now() < deadline {
        look.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_not_told_as_stored_when_its_session_dies() {
    not_told_after(End::Asked("pg_terminate_backend")).await;
}

/// A commit whose wait is cancelled is answered by the server as any other, but for a warning.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_not_told_as_stored_when_its_wait_is_cancelled() {
    not_told_after(End::Asked("pg_cancel_backend")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_not_told_as_stored_when_the_primary_crashes_and_comes_back() {
    not_told_after(End::Crash).await;
}

/// How a commit stops waiting for a standby that is gone.
enum End {
    /// By a function that somebody calls on its backend.
    Asked(&'static str),
    /// With all processes of its server, which recovers what was flushed.
    Crash,
}

/// An append waits for a standby that is gone until `end` comes.
async fn not_told_after(end: End) {
    let Some((mut primary, standby)) = pair().await else {
        return;
    };
    let url = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=ruche password={} dbname=postgres target_session_attrs=read-write",
        primary.port,
        standby.port,
        primary.password()
    );
    let (store, node, other_node) = (open(&url).await, open(&url).await, open(&url).await);
    let author = Author::new(1);
    let opening = author.opening(ledger(1), 1, None);
    store.open_epoch(ledger(1), opening).await.expect("a new ledger");
    let request = |n| author.append_keyed(n, n, vec![author.event(author.stream(1), "{}")]);
    appended(store.append(ledger(1), request(1)).await);

    let (mut admin, other) = (session(&primary.url).await, session(&standby.url).await);
    cut_off(&admin, &other).await;
    let lonely = request(2);
    // From the version that the stream has if that append is lost.
    let from_before = author.append_expecting(
        ExpectedVersion::Exact(StreamVersion(0)),
        vec![author.event(author.stream(1), "{}")],
    );
    let ask = |store: &Arc<PostgresStore>, request: &AppendRequest| {
        let (store, request) = (Arc::clone(store), request.clone());
        tokio::spawn(async move { store.append(ledger(1), request).await })
    };
    let first = ask(&store, &lonely);
    until(&admin, WAITING, true).await;
    leave_time(&first).await;
    // Its wait ends: PostgreSQL makes the commit visible.
    match end {
        End::Asked(function) => {
            let end = format!("SELECT {function}(pid) FROM ({WAITING}) w");
            assert_eq!(admin.query(&end, &[]).await.expect("an answer").len(), 1);
        }
        End::Crash => {
            block_in_place(|| primary.kill().and_then(|()| primary.serve())).expect("it recovers");
            admin = session(&primary.url).await;
        }
    }
    let visible = "SELECT FROM ruche.idempotency WHERE key_hash = decode(repeat('02', 32), 'hex')";
    until(&admin, visible, true).await;

    // Whoever asks the table is told that it is stored. Whoever asks the engine is not: neither the one who still waits
    // for an answer, nor one who repeats with the key, to another node, nor one whose append it would be in the way of.
    let again = ask(&node, &lonely);
    let behind = ask(&other_node, &from_before);
    leave_time(&first).await;
    leave_time(&again).await;
    leave_time(&behind).await;

    block_in_place(|| primary.kill()).expect("the primary can be killed");
    other
        .batch_execute("SELECT pg_promote()")
        .await
        .expect("a new primary");
    for (who, asked) in [
        ("the append", first),
        ("its repetition", again),
        ("one that it is in the way of", behind),
    ] {
        let answer = asked.await.expect("the engine does not panic");
        assert!(
            !matches!(
                answer,
                Ok(AppendOutcome::Appended { .. } | AppendOutcome::Conflict { .. })
            ),
            "{who} was told that it is stored while no standby had it: {answer:?}"
        );
    }
    // The store finds the new primary by itself. What was never told is not there, and can be stored now.
    assert!(other.query(visible, &[]).await.expect("an answer").is_empty());
    let deadline = Instant::now() + STATE_TIMEOUT;
    let mut look = interval(STATE_POLL);
    let receipts = loop {
        match store.append(ledger(1), lonely.clone()).await {
            Ok(AppendOutcome::Appended { receipts, duplicate }) => {
                assert!(!duplicate, "it was not there");
                break receipts;
            }
            Ok(AppendOutcome::Unknown) | Err(StoreError::Unavailable { .. }) => look.tick().await,
            other => panic!("{other:?}"),
        };
        assert!(
            Instant::now() < deadline,
            "the store does not find the new primary"
        );
    };
    assert_eq!(receipts.len(), 1);
    assert_eq!(check_ledger(&*store, ledger(1)).await, 3);
    for store in [store, node, other_node] {
        store.close().await.expect("the store closes");
    }
}
