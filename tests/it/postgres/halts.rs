//! A ledger that is behind its promises takes no appends from any node, and goes on from all of them once its next epoch is
//! open, with none of them started again.

use ruche_tests::databases::{self, Databases, rows};
use ruche_tests::server::{Home, Server};
use serde_json::{Value, json};

use super::deployment::TENANT;
use crate::crew::until;
use crate::restore::started;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

#[test]
fn a_ledger_behind_its_promises_is_halted_on_every_node_until_its_next_epoch() {
    let Some(Deployment {
        _folder,
        home,
        databases,
        key,
    }) = Deployment::new()
    else {
        return;
    };
    let copy = Copy::of(&databases.ledgers);
    let node = home.serve().expect("a node");
    assert_eq!(append(&node, &key, "lost")["__typename"], "StartSessionPayload");
    // Seals at its end at the latest.
    assert!(node.stop().expect("it stops"), "it ended well");
    copy.put_back();

    let neighbour = home.new_key("neighbour", &["writer", "reader"]).expect("a key");
    let nodes = [home.serve().expect("a node"), home.serve().expect("a node")];
    for node in &nodes {
        until("the node says that a ledger is halted", || is_well_with(node, 1));
        assert_eq!(append(node, &key, "refused")["code"], "UNAVAILABLE");
        until("it does also behind an append that was refused", || {
            is_well_with(node, 1)
        });
        let other = append(node, &neighbour, &format!("of another tenant at {}", node.url));
        assert_eq!(other["__typename"], "StartSessionPayload", "{other}");
    }
    let halts = "SELECT count(*)::text FROM ruche.halt JOIN ruche.head USING (ledger, epoch)";
    assert_eq!(rows(&databases.ledgers, halts).expect("an answer"), ["1"]);
    home.run(&["ledger", "new-epoch", "--restored", "--yes", "--tenant", TENANT])
        .expect("the next epoch");
    for node in &nodes {
        until("the node says that none is", || is_well_with(node, 0));
        let appended = append(node, &key, &format!("after at {}", node.url));
        assert_eq!(appended["__typename"], "StartSessionPayload", "{appended}");
    }
    assert_eq!(rows(&databases.ledgers, halts).expect("an answer"), ["0"]);
}

/// A copy that ends just where it was sealed last is whole, and nothing of it is behind. Its next epoch was open before.
#[test]
fn a_whole_copy_of_an_epoch_that_is_over_stays_halted() {
    let Some(Deployment {
        _folder,
        home,
        databases,
        key,
    }) = Deployment::new()
    else {
        return;
    };
    let node = home.serve().expect("a node");
    assert_eq!(append(&node, &key, "before")["__typename"], "StartSessionPayload");
    assert!(node.stop().expect("it stops"), "it ended well");
    let copy = Copy::of(&databases.ledgers);
    home.run(&["ledger", "new-epoch", "--yes", "--tenant", TENANT])
        .expect("the next epoch");
    copy.put_back();

    let node = home.serve().expect("a node");
    for n in 0..30 {
        assert_eq!(
            append(&node, &key, &format!("refused {n}"))["code"],
            "UNAVAILABLE"
        );
        until("the ledger is halted", || is_well_with(&node, 1));
    }
}

/// A halt that is noted although the ledger can be sealed: its node looks, and takes it back.
#[test]
fn a_halt_without_a_reason_goes_by_itself() {
    let Some(Deployment {
        _folder,
        home,
        databases,
        key,
    }) = Deployment::new()
    else {
        return;
    };
    let node = home.serve().expect("a node");
    assert_eq!(append(&node, &key, "before")["__typename"], "StartSessionPayload");
    let halt = "INSERT INTO ruche.halt SELECT ledger, epoch, 'left behind' FROM ruche.head";
    databases::run(&databases.ledgers, halt).expect("a row");
    let left = || rows(&databases.ledgers, "SELECT reason FROM ruche.halt").expect("an answer");
    until("nothing is halted", || left().is_empty());
    assert_eq!(append(&node, &key, "after")["__typename"], "StartSessionPayload");
}

/// Databases of its own with a tenant, and no node yet.
struct Deployment {
    _folder: tempfile::TempDir,
    home: Home,
    databases: Databases,
    key: String,
}

impl Deployment {
    /// Nothing where there is no PostgreSQL.
    fn new() -> Option<Self> {
        let databases = Databases::new().expect("databases")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::on(PROGRAM, folder.path(), databases.clone());
        let key = home.new_key(TENANT, &["writer", "reader"]).expect("a key");
        Some(Self {
            _folder: folder,
            home,
            databases,
            key,
        })
    }
}

fn append(node: &Server, key: &str, session: &str) -> Value {
    started(&node.url, key, session)
}

/// Whether the node takes requests and says that so many ledgers are halted. They are no reason to send the other tenants
/// elsewhere.
fn is_well_with(node: &Server, halted: u64) -> bool {
    let (status, body) = node.ready().expect("an answer");
    assert_ne!(body["store"], "halted", "{body}");
    status == 200 && body["halted"] == json!(halted)
}

/// A database as it was, made by whoever copies files under a server that stands.
struct Copy {
    server: String,
    name: String,
}

impl Copy {
    fn of(url: &str) -> Self {
        let (server, name) = url.rsplit_once('/').expect("a URL with a database");
        let copy = Self {
            server: format!("{server}/postgres"),
            name: name.to_owned(),
        };
        copy.run(&format!("CREATE DATABASE {name}_copy TEMPLATE {name}"));
        copy
    }

    fn put_back(&self) {
        let name = &self.name;
        self.run(&format!("DROP DATABASE {name}"));
        self.run(&format!("ALTER DATABASE {name}_copy RENAME TO {name}"));
    }

    fn run(&self, sql: &str) {
        databases::run(&self.server, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
