//! A node with a read URL: what only reads goes through a pgbouncer in transaction mode.

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::databases::Databases;
use ruche_tests::pooler::Pooler;
use ruche_tests::server::{Home, caught_up, graphql};
use serde_json::Value;
use tempfile::TempDir;

use crate::load::Caller;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Sessions of the pooler at the server: fewer than a node has connections to it.
const SESSIONS: u32 = 2;
/// Queries of each kind that are counted.
const QUERIES: u64 = 20;
/// What is not so by then will not be.
const BOUND: Duration = Duration::from_secs(60);
/// Of the read models, and of the records.
const ASKED: [&str; 2] = [
    "{ sessions(first: 1) { nodes { id } } }",
    "{ ledger { epochs { epoch size } } }",
];

struct Deployment {
    home: Home,
    databases: Databases,
    pooler: Pooler,
    _folder: TempDir,
}

impl Deployment {
    /// New databases and a pooler before their server; `None`, told plainly, where one of them cannot be had.
    fn new() -> Option<Self> {
        let databases = Databases::new().expect("databases")?;
        let pooler = Pooler::start(&databases.ledgers, SESSIONS).expect("a pooler")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::on(PROGRAM, folder.path(), databases.clone());
        Some(Self {
            home,
            databases,
            pooler,
            _folder: folder,
        })
    }
}

#[test]
fn a_node_reads_through_the_pooler_of_its_read_url() {
    let Some(mut deployment) = Deployment::new() else {
        return;
    };
    let (home, databases) = (&deployment.home, &deployment.databases);
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let read_url = deployment.pooler.through(&databases.ledgers);
    let node = home
        .serve_with(&[], &[("RUCHE_DATABASE_READ_URL", &read_url)])
        .expect("a node");
    let client = Client::new();
    let ask = |query: &str| graphql(&client, &node.url, &key, query, Value::Null);
    let mut caller = Caller::new(0, &key);
    caller.start(&node.url).expect("a session");
    caller.send(&node.url).expect("an append");
    caught_up(&client, &node.url, &key).expect("the read models");
    for query in ASKED {
        let before = deployment
            .pooler
            .transactions(&databases.ledgers)
            .expect("a count");
        for _ in 0..QUERIES {
            ask(query).expect("an answer");
        }
        let after = deployment
            .pooler
            .transactions(&databases.ledgers)
            .expect("a count");
        assert!(after - before >= QUERIES, "{query}: {before} to {after}");
    }
    // Without the pooler nothing is read, and what is decided on what was read is not decided.
    deployment.pooler.stop().expect("it ends");
    for query in ASKED {
        let refused = ask(query).expect_err("nothing is read").to_string();
        assert!(refused.contains("UNAVAILABLE"), "{query}: {refused}");
    }
    let refused = caller.send(&node.url).expect_err("its session is not read");
    assert_eq!(refused.to_string(), "UNAVAILABLE");
    deployment.pooler.serve().expect("it listens again");
    let begun = Instant::now();
    while ASKED.into_iter().any(|query| ask(query).is_err()) {
        assert!(begun.elapsed() < BOUND, "{:?}", ASKED.map(ask));
    }
    caller.repeat(&node.url).expect("the same append");
    caught_up(&client, &node.url, &key).expect("the read models");
    let sessions = ask("{ totals { sessions } }").expect("an answer");
    assert_eq!(sessions["totals"]["sessions"], "1", "{sessions}");
    assert!(node.stop().expect("it can be told to stop"));
}

#[test]
fn a_read_url_that_leads_elsewhere_is_refused_and_no_password_told() {
    let Some(deployment) = Deployment::new() else {
        return;
    };
    let Deployment {
        home,
        databases,
        pooler,
        ..
    } = &deployment;
    let config: tokio_postgres::Config = databases.ledgers.parse().expect("a URL");
    let password = String::from_utf8(config.get_password().expect("a password").to_vec()).expect("text");
    let asked = |command: &[&str], read_url: &str| {
        let ended = home.end_of(&[command, &["--database-read-url", read_url]].concat());
        let ended = ended.expect("it runs");
        let told = format!("{}{}", ended.json, ended.said);
        assert!(!told.contains(&password), "{told}");
        (ended.code, told)
    };
    let check = ["config", "check"];
    let through = pooler.through(&databases.ledgers);
    let (code, told) = asked(&check, &through);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("leads to the same database") && told.contains("22, and 16 to the pooler"),
        "{told}"
    );
    let elsewhere = pooler.through(&databases.tree_heads);
    for command in [
        &check[..],
        &["keys", "new", "--tenant", "acme", "--role", "reader"],
    ] {
        let (code, told) = asked(command, &elsewhere);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("leads to another database"), "{told}");
    }
    let (code, told) = asked(&check, &databases.ledgers);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("are the same"), "{told}");
    let help = home.end_of(&["--help"]).expect("it runs");
    assert!(!help.said.contains(&password));
}
