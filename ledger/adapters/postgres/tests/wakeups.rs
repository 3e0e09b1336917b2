//! How readers of one node learn what another appends: hints wake, looking decides.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ruche_domain::numbers::Position;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, appended, ledger};
use ruche_ledger_postgres::PostgresStore;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client};

use super::server::until;
use super::{database, open, open_ledger, server, session};

/// A reader is woken within this time whatever becomes of hints: a second between two looks, and one for the machine.
const WOKEN_WITHIN: Duration = Duration::from_secs(2);
/// Sessions that listen to hints.
const LISTENING: &str = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";

async fn count(client: &Client, of: &str) -> i64 {
    let row = client.query_one(&format!("SELECT count(*) FROM {of}"), &[]).await;
    row.unwrap().get(0)
}

async fn pids(client: &Client) -> Vec<i32> {
    let rows = client.query(&format!("SELECT pid FROM {LISTENING}"), &[]).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn listening(client: &Client, nodes: i64) {
    until("all nodes listen", || async {
        count(client, LISTENING).await == nodes
    })
    .await;
}

fn wait(node: &Arc<PostgresStore>, n: u128, index: u64) -> JoinHandle<()> {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        node.wait_for(ledger(n), Position::new(1, index)).await.unwrap();
    })
}

async fn append(node: &PostgresStore, author: &Author, n: u128) -> Position {
    let event = author.event(author.stream(1), "{}");
    appended(node.append(ledger(n), author.append(vec![event])).await)[0].position
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_wakes_readers_of_other_nodes_long_before_they_look() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let author = open_ledger(&*nodes[0], 1).await;
    listening(&session(&url).await, 2).await;
    let mut soon = 0;
    for index in 1..=20 {
        let woken = wait(&nodes[1], 1, index);
        assert_eq!(append(&nodes[0], &author, 1).await, Position::new(1, index));
        let begun = Instant::now();
        woken.await.unwrap();
        soon += u32::from(begun.elapsed() < Duration::from_millis(250));
    }
    // By looking alone it would be one in four.
    assert!(soon >= 15, "{soon} of 20 were woken soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_8_readers_go_on_within_a_second_when_the_listen_connection_is_killed() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let author = open_ledger(&*nodes[0], 1).await;
    let admin = session(&url).await;
    listening(&admin, 2).await;
    let before = pids(&admin).await;
    for index in 1..=6 {
        let woken = wait(&nodes[1], 1, index);
        let kill = format!("(SELECT pg_terminate_backend(pid) FROM {LISTENING}) k");
        count(&admin, &kill).await;
        append(&nodes[0], &author, 1).await;
        let begun = Instant::now();
        woken.await.unwrap();
        assert!(begun.elapsed() < WOKEN_WITHIN, "{:?}", begun.elapsed());
    }
    // They listen again by themselves.
    listening(&admin, 2).await;
    let after = pids(&admin).await;
    assert!(before.iter().all(|pid| !after.contains(pid)), "they were killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_was_never_sent_costs_a_second() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    listening(&session(&url).await, 1).await;
    for index in 1..=3 {
        let woken = wait(&node, 1, index);
        // A node that dies between its append and its hint.
        let dying = open(&url).await;
        append(&dying, &author, 1).await;
        drop(dying);
        let begun = Instant::now();
        woken.await.unwrap();
        assert!(begun.elapsed() < WOKEN_WITHIN, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_lies_wakes_nobody() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let nodes = [open(&url).await, open(&url).await];
    let authors = [open_ledger(&*nodes[0], 1).await, open_ledger(&*nodes[0], 2).await];
    let admin = session(&url).await;
    listening(&admin, 2).await;
    let (lied_to, next) = (wait(&nodes[1], 1, 2), wait(&nodes[1], 1, 1));
    for lie in [
        format!("{}=1:2", ledger(1).0),
        format!("{}=9:9999,x", ledger(1).0),
        "'; DROP TABLE ruche.head".to_owned(),
        String::new(),
    ] {
        admin
            .execute("SELECT pg_notify('ruche', $1)", &[&lie])
            .await
            .unwrap();
    }
    // Notifications come in order: once this one was heard, the lies were.
    let other = wait(&nodes[1], 2, 1);
    append(&nodes[0], &authors[1], 2).await;
    other.await.unwrap();
    assert!(!lied_to.is_finished() && !next.is_finished());
    append(&nodes[0], &authors[0], 1).await;
    next.await.unwrap();
    assert!(!lied_to.is_finished());
    append(&nodes[0], &authors[0], 1).await;
    lied_to.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_are_told_in_few_notifications() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let mut authors = Vec::new();
    for n in 1..=8 {
        authors.push(open_ledger(&*node, n).await);
    }
    let (client, mut connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let lines = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(hint) = message {
                lines.lock().unwrap().push(hint.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN ruche").await.unwrap();
    let begun = Instant::now();
    // One after the other, so that each is a commit of its own.
    for n in 0..160_u128 {
        append(&node, &authors[n as usize % 8], n % 8 + 1).await;
    }
    let last = |n: u128| format!("{}=1:20", ledger(n).0);
    until("the last append of each ledger is told", || async {
        let heard = heard.lock().unwrap().join(",");
        (1..=8).all(|n| heard.contains(&last(n)))
    })
    .await;
    let intervals = begun.elapsed().as_millis() / 15;
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|line| line.len() < 8_000));
    assert!(
        (heard.len() as u128) <= intervals + 2,
        "{} in {intervals}",
        heard.len()
    );
}
