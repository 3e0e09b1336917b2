//! Many callers on one lane: all get through, and none tries for ever. Counted in tries and not in time.

use std::sync::Arc;

use ruche_commands::governed::{LaneName, SubmitMessage};
use ruche_commands::{CommandContext, Commands, SessionRef, StartSession};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::events::{MessageReceived, Role};
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::watched::Watched;
use ruche_ledger::testing::{check_ledger, ledger};
use ruche_ledger_keys::{OsRandom, SystemClock};
use ruche_ledger_postgres::PostgresOptions;
use ruche_ledger_sqlite::Synchronous;
use ruche_tests::embedded::Embedded;
use xtask::postgres::Setup;

use crate::postgres::{Node, cluster};

/// Callers of all nodes together.
const CALLERS: usize = 300;

fn node(store: Arc<dyn EventStore>) -> (Arc<Watched>, Arc<Commands>) {
    let watched = Arc::new(Watched::new(store));
    let commands = Commands::new(
        watched.clone(),
        Arc::new(SystemClock),
        Arc::new(OsRandom),
        Arc::new(MasterSeed::from_slice(&[9; 32]).expect("32 bytes")),
        Arc::new(CatalogueValidator::new().expect("the schemas are there")),
    );
    (watched, Arc::new(commands))
}

fn submit(text: &str) -> SubmitMessage {
    SubmitMessage {
        flush: false,
        session: SessionRef::External("s".to_owned()),
        lane: LaneName {
            agent: "shop".to_owned(),
            interlocutor: "ann".to_owned(),
            channel: "api".to_owned(),
            thread: None,
        },
        message: MessageReceived {
            text: Some(text.to_owned()),
            ..MessageReceived::new(Role::User)
        },
    }
}

/// Each caller sends a message to the same lane, by one node or another. Returns appends per command.
async fn crowd(ledger: LedgerId, stores: Vec<Arc<dyn EventStore>>) -> f64 {
    let nodes: Vec<_> = stores.into_iter().map(node).collect();
    let tenant = TenantId(ledger.0);
    let context = CommandContext::new(tenant, Actor::SYSTEM, Provenance::Reported, "start");
    let started = nodes[0].1.execute(&context, &StartSession::new("s")).await;
    started.expect("a session");
    nodes[0].0.appends();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..CALLERS {
        let (commands, key) = (nodes[n % nodes.len()].1.clone(), format!("m-{n}"));
        let context = context.with_key(key.as_str());
        callers.spawn(async move { commands.execute(&context, &submit(&key)).await.map(drop) });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no panic").expect("every caller gets through");
    }
    check_ledger(&*nodes[0].0, ledger).await;
    let appends: usize = nodes.iter().map(|(store, _)| store.appends()).sum();
    appends as f64 / CALLERS as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_on_one_lane_gets_through_on_sqlite() {
    let (data, keys) = (tempfile::tempdir(), tempfile::tempdir());
    let (data, keys) = (data.expect("a folder"), keys.expect("a folder"));
    let engine = Embedded::open(data.path(), keys.path(), Synchronous::Normal).expect("it opens");
    engine.start().await.expect("a ledger");
    let tries = crowd(ledger(1), vec![engine.store.clone()]).await;
    // One at first, in vain for all but one; then one each, when it is their turn.
    assert!(tries < 2.1, "{tries} tries for each command");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_on_one_lane_gets_through_on_two_nodes() {
    let Some(mut server) = cluster(Setup::default()) else {
        return;
    };
    server.serve().expect("the server starts");
    let keys = tempfile::tempdir().expect("a temporary folder");
    let first = Node::open(PostgresOptions::new(&server.url), keys.path()).await;
    let second = Node::open(PostgresOptions::new(&server.url), keys.path()).await;
    let ledger = first.create_ledgers(0).await[0];
    let tries = crowd(ledger, vec![first.store.clone(), second.store.clone()]).await;
    // The nodes know nothing of each other's turns, so of two that try at the same time one loses.
    assert!(tries < 8.0, "{tries} tries for each command");
}
