//! A server that waits for a standby which never answers. What is committed there can be seen and be lost in a failover.

use std::sync::Arc;
use std::time::Duration;

use ruche_domain::numbers::StreamVersion;
use ruche_ledger::store::{AppendOutcome, EventStore, ExpectedVersion, StoreError};
use ruche_ledger::testing::{appended, check_ledger, ledger};
use tokio_postgres::Client;

use super::server::{Private, until};
use super::support::cluster::Cluster;
use super::support::{open_with, soon, wait_for};
use super::{Noon, database, open_ledger, server, session};

/// Sessions that have committed and wait for the standby.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Demands a standby from now on, or none. Neither is a commit.
async fn demand(admin: &Client, standby: &str) {
    admin
        .batch_execute(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{standby}'"
        ))
        .await
        .unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

/// The two ways in which a session is made to stop waiting. Cancelled, it says "committed" and warns.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_standby_does_not_have_is_never_confirmed() {
    let Some(cluster) = Cluster::start() else { return };
    let url = database(&cluster.url).await;
    let admin = session(&url).await;
    // Somebody wants quiet logs. The engine hears warnings all the same.
    admin
        .batch_execute("ALTER ROLE ruche SET client_min_messages = error")
        .await
        .unwrap();
    let limit = Duration::from_secs(2);
    let node = open_with(Arc::new(Noon), &url, |options| options.answer_timeout = limit).await;
    let author = open_ledger(&*node, 1).await;
    let mut records = 1;
    for (key, end) in (1..).zip(["pg_terminate_backend", "pg_cancel_backend"]) {
        let request = || {
            let event = author.event(author.stream(1), "{}");
            author.append_keyed(key, 1, vec![event])
        };
        let warm = author.append(vec![author.event(author.stream(2), "{}")]);
        appended(soon(node.append(ledger(1), warm)).await);
        records += 1;
        demand(&admin, "nobody").await;
        // The server takes a moment to know that it has a standby to wait for.
        wait_for_standby(&admin, &url).await;
        let (outcome, ()) = tokio::join!(node.append(ledger(1), request()), async {
            let stop = format!(
                "SELECT count({end}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                 AND application_name = 'ruche'"
            );
            wait_for(&admin, &stop, 1).await;
        });
        assert_eq!(outcome, Ok(AppendOutcome::Unknown), "{end}");
        // Everybody can see it, and it may be lost yet.
        wait_for(&admin, "SELECT count(*) FROM ruche.idempotency", i64::from(key)).await;
        let again = soon(node.append(ledger(1), request())).await;
        assert_eq!(again, Ok(AppendOutcome::Unknown), "{end}");
        demand(&admin, "").await;
        let found = soon(node.append(ledger(1), request())).await;
        assert!(
            matches!(found, Ok(AppendOutcome::Appended { duplicate: true, .. })),
            "{end}: {found:?}"
        );
        records += 1;
        assert_eq!(check_ledger(&*node, ledger(1)).await, records);
    }
}

/// Returns once a commit waits for the standby. The session that waits is ended.
async fn wait_for_standby(admin: &Client, url: &str) {
    loop {
        let probe = session(url).await;
        let commit = tokio::spawn(async move {
            let sql = "SELECT pg_logical_emit_message(true, 'test', 'probe')";
            probe.batch_execute(sql).await
        });
        let waits = soon(async {
            loop {
                let waiting: i64 = admin.query_one(WAITING, &[]).await.unwrap().get(0);
                if waiting > 0 || commit.is_finished() {
                    return waiting > 0;
                }
            }
        });
        if waits.await {
            let stop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            admin.batch_execute(stop).await.unwrap();
            assert!(soon(commit).await.unwrap().is_err());
            return;
        }
    }
}

/// Each ledger has an append that waits at the server for as long as the standby is gone, if the writer goes on with the
/// next one; and each refusal a fence.
#[tokio::test(flavor = "multi_thread")]
async fn writers_leave_few_sessions_behind_while_the_standby_is_gone() {
    const LEDGERS: u128 = 20;
    let Some(shared) = server() else { return };
    let private = Private::start(&shared, "", |_| ()).await;
    let node = open_with(Arc::new(Noon), &private.url(), |options| {
        options.writers = 1;
        options.answer_timeout = Duration::from_secs(1);
    })
    .await;
    let mut authors = Vec::new();
    for n in 1..=LEDGERS {
        authors.push(open_ledger(&*node, n).await);
    }
    let admin = session(&private.url()).await;
    let sessions = async || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ruche'";
        admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0)
    };
    let before = sessions().await;
    private.standbys("absent").await;
    for (n, author) in (1..).zip(&authors) {
        let event = || vec![author.event(author.stream(1), "{}")];
        let never = ExpectedVersion::Exact(StreamVersion(5));
        for request in [author.append_expecting(never, event()), author.append(event())] {
            let answer = soon(node.append(ledger(n), request)).await;
            assert!(
                matches!(
                    answer,
                    Ok(AppendOutcome::Unknown) | Err(StoreError::Unavailable { .. })
                ),
                "{answer:?}"
            );
        }
    }
    // Three that were left behind, and the one that is there now.
    let (waiting, after) = (
        admin.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0),
        sessions().await,
    );
    assert!((1..=3).contains(&waiting), "{waiting} wait");
    assert!(after <= before + 4, "{before} sessions before, {after} now");
    private.standbys("").await;
    for (n, author) in (1..).zip(&authors) {
        until("appends go on", || async {
            let event = author.event(author.stream(2), "{}");
            let answer = node.append(ledger(n), author.append(vec![event])).await;
            matches!(answer, Ok(AppendOutcome::Appended { .. }))
        })
        .await;
        assert!(check_ledger(&*node, ledger(n)).await >= 2);
    }
}
