//! Nodes that log in as somebody who owns nothing, with the rights that docs/operations/postgres.md tells to give: typed as
//! they stand there.

use std::fs;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_api::cli::main_ledger;
use ruche_tests::databases::{Databases, rows, run};
use ruche_tests::server::{Home, caught_up, graphql};
use serde_json::Value;
use tempfile::TempDir;
use xtask::postgres::{Cluster, Setup};

use super::cluster;
use crate::load::Caller;
use crate::{markdown, repository};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const DOCUMENT: &str = "docs/operations/postgres.md";
const CHAPTER: &str = "Nodes that own nothing";
/// What is not so by then will not be.
const BOUND: Duration = Duration::from_secs(60);
/// "insufficient privilege"
const REFUSED: &str = "E42501";
/// "restrict violation"
const KEPT: &str = "E23001";
const TENANTS: [&str; 2] = ["acme", "other"];
/// Every record is in them.
const RECORDS: [&str; 2] = ["ruche.record", "ruche.payload"];
const SEALED: &str = "{ ledger { lastPosition treeHead { size } } }";

/// The blocks of SQL of the chapter: for an administrator, for the owner of the ledgers, for the owner of the tree heads.
fn documented() -> [String; 3] {
    let text = fs::read_to_string(repository::root().join(DOCUMENT)).expect("the document is there");
    let (_, chapter) = text.split_once(&format!("### {CHAPTER}\n")).expect("the chapter");
    let end = chapter.find("\n#").expect("another one behind it");
    let (_, blocks) = markdown::split(&chapter[..end]);
    let sql = blocks.into_iter().filter(|block| block.language == "sql");
    let sql: Vec<String> = sql.map(|block| block.text).collect();
    sql.try_into().expect("three blocks")
}

/// A server of its own, since roles belong to the whole of one.
struct Deployment {
    cluster: Cluster,
    owner: Home,
    node: Home,
    _folder: TempDir,
}

impl Deployment {
    /// Databases of an owner who is no superuser, migrated, and a login for nodes; `None`, told plainly, where there is no
    /// server.
    fn new() -> Option<Self> {
        let mut cluster = cluster(Setup::default())?;
        cluster.serve().expect("it starts");
        let [login, of_ledgers, of_tree_heads] = documented();
        run(
            &cluster.url,
            "CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'PASSWORD'",
        )
        .expect("an owner");
        run(&cluster.url, &login).expect("a login for nodes");
        for database in ["ledgers", "tree_heads"] {
            run(&cluster.url, &format!("CREATE DATABASE {database} OWNER owner")).expect("a database");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = |user: &str| {
            let url = |database: &str| url(&cluster, user, database);
            let databases = Databases {
                ledgers: url("ledgers"),
                tree_heads: url("tree_heads"),
            };
            Home::on(PROGRAM, folder.path(), databases)
        };
        let (owner, node) = (home("owner"), home("node"));
        owner.run(&["migrate"]).expect("the schemas");
        run(&url(&cluster, "owner", "ledgers"), &of_ledgers).expect("rights on the ledgers");
        run(&url(&cluster, "owner", "tree_heads"), &of_tree_heads).expect("rights on the tree heads");
        Some(Self {
            cluster,
            owner,
            node,
            _folder: folder,
        })
    }

    fn url(&self, user: &str, database: &str) -> String {
        url(&self.cluster, user, database)
    }

    /// As a superuser.
    fn administrate(&self, sql: &str) {
        let url = self.cluster.url.replace("/postgres", "/ledgers");
        run(&url, sql).expect("an administrator may do it");
    }

    /// What a command of a node that fails says.
    fn refused(&self, command: &[&str]) -> String {
        let ended = self.node.end_of(command).expect("it runs");
        assert_eq!(ended.code, Some(1), "{command:?}: {ended:?}");
        ended.said
    }
}

fn url(cluster: &Cluster, user: &str, database: &str) -> String {
    format!(
        "postgresql://{user}:PASSWORD@127.0.0.1:{}/{database}",
        cluster.port
    )
}

#[test]
fn a_node_that_owns_nothing_does_what_nodes_do_and_can_do_no_more() {
    let Some(deployment) = Deployment::new() else {
        return;
    };
    let home = &deployment.node;
    let keys = TENANTS.map(|tenant| home.new_key(tenant, &["writer", "reader"]).expect("a key"));
    let node = home.serve().expect("a node");
    let client = Client::new();
    for (number, key) in (0..).zip(&keys) {
        let mut caller = Caller::new(number, key);
        caller.start(&node.url).expect("a session");
        for _ in 0..3 {
            caller.send(&node.url).expect("an append");
        }
        caught_up(&client, &node.url, key).expect("the read models");
        let begun = Instant::now();
        loop {
            let seen = graphql(&client, &node.url, key, SEALED, Value::Null).expect("an answer");
            let last = seen["ledger"]["lastPosition"].as_str().expect("a position");
            let index: u64 = last
                .split_once(':')
                .expect("an index")
                .1
                .parse()
                .expect("a number");
            let size = &seen["ledger"]["treeHead"]["size"];
            if size.as_str() == Some(&(index + 1).to_string()) {
                break;
            }
            assert!(begun.elapsed() < BOUND, "it is not sealed: {seen}");
        }
    }
    assert!(node.stop().expect("it can be told to stop"));
    assert_eq!(
        home.run(&["doctor"])
            .expect("nothing is wrong")
            .as_array()
            .map(Vec::is_empty),
        Some(false)
    );
    can_do_no_more(&deployment.url("node", "ledgers"));
    can_take_no_promise_back(&deployment.url("node", "tree_heads"));
}

/// Rights are by table and column, and a trigger looks at what they leave.
fn can_take_no_promise_back(url: &str) {
    let promised = "SELECT count(*)::text FROM ruche_tree_heads.tree_head WHERE size > 1";
    assert_ne!(rows(url, promised).expect("an answer"), ["0"]);
    for sql in [
        "DELETE FROM ruche_tree_heads.tree_head",
        "TRUNCATE ruche_tree_heads.tree_head",
        "UPDATE ruche_tree_heads.tree_head SET origin = origin",
        "ALTER TABLE ruche_tree_heads.tree_head DISABLE TRIGGER USER",
        "DROP TABLE ruche_tree_heads.tree_head",
        "UPDATE ruche_tree_heads.identity SET id = id",
        "INSERT INTO ruche_tree_heads.identity VALUES (false, gen_random_uuid())",
        "INSERT INTO ruche_tree_heads.migration VALUES (9)",
        "UPDATE ruche_tree_heads.migration SET version = 9",
    ] {
        let told = format!("{:?}", rows(url, sql));
        assert!(told.contains(REFUSED), "{sql}: {told}");
    }
    let back = "UPDATE ruche_tree_heads.tree_head SET size = 1, note = convert_to(replace(convert_from(note, 'UTF8'), \
                E'\\n' || size || E'\\n', E'\\n1\\n'), 'UTF8') WHERE size > 1";
    let told = format!("{:?}", rows(url, back));
    assert!(told.contains(KEPT), "{told}");
}

/// The login by itself, and as each of the roles that it may become.
fn can_do_no_more(url: &str) {
    let as_itself = "";
    let (append, app) = ("SET ROLE ruche_append; ", "SET ROLE ruche_app; ");
    let refused = |role: &str, sql: &str| {
        let answer = rows(url, &format!("{role}{sql}"));
        let told = format!("{answer:?}");
        assert!(answer.is_err() && told.contains(REFUSED), "{role}{sql}: {told}");
    };
    for table in RECORDS {
        for role in [as_itself, append, app] {
            refused(role, &format!("UPDATE {table} SET index = index"));
            refused(role, &format!("DELETE FROM {table}"));
            refused(role, &format!("TRUNCATE {table}"));
            refused(role, &format!("DROP TABLE {table}"));
            refused(role, &format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
        }
        refused(as_itself, &format!("SELECT 1 FROM {table}"));
        refused(append, &format!("SELECT 1 FROM {table}"));
        // As the role that reads: nothing without a ledger, and with one nothing of others.
        let count = |of: &str| format!("SELECT count(*)::text FROM {table}{of}");
        assert_eq!(
            rows(url, &format!("{app}{}", count(""))).expect("an answer"),
            ["0"]
        );
        for tenant in TENANTS {
            let ledger = main_ledger(tenant);
            let named = format!("{app}SET ruche.ledger = '{ledger}'; ");
            let foreign = count(&format!(" WHERE ledger <> '{ledger}'"));
            assert_eq!(
                rows(url, &format!("{named}{foreign}")).expect("an answer"),
                ["0"],
                "{table}"
            );
            let own = rows(url, &format!("{named}{}", count(""))).expect("an answer");
            assert_ne!(own, ["0"], "{table}");
        }
    }
    for sql in [
        "DROP SCHEMA ruche",
        "DROP TABLE ruche.head",
        "CREATE SCHEMA more",
        "CREATE TABLE ruche.more (x int)",
    ] {
        refused(as_itself, sql);
    }
    refused(append, "DELETE FROM ruche.head");
    refused(as_itself, "DROP TABLE ruche_read_1.session");
    refused(as_itself, "UPDATE ruche_read.current SET generation = 9");
    refused(as_itself, "SET ROLE owner");
    refused(as_itself, "SET ROLE ruche_eraser");
}

#[test]
fn what_needs_the_owner_says_so_and_the_owner_can() {
    let Some(deployment) = Deployment::new() else {
        return;
    };
    let Deployment {
        owner, node: home, ..
    } = &deployment;
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    serves(home, &key, 0);
    let of_owner = |said: &str, command: &str| {
        assert!(said.contains(command) && said.contains("owner"), "{said}");
        assert!(!said.contains("PASSWORD"), "{said}");
    };
    of_owner(&deployment.refused(&["rebuild"]), "`ruche rebuild`");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    // Read models as an older version made them.
    deployment.administrate("UPDATE ruche_read_1.checkpoint SET version = 0");
    of_owner(&deployment.refused(&serve), "`ruche rebuild`");
    owner.run(&["rebuild"]).expect("the owner can");
    // The schema as an older version made it.
    deployment.administrate(
        "DELETE FROM ruche.migration WHERE version > 6; DROP FUNCTION ruche.release_halt; \
         DROP POLICY later_epoch ON ruche.restore; DROP POLICY open_epoch ON ruche.halt; \
         DROP POLICY still_open_epoch ON ruche.halt; ALTER TABLE ruche.head DROP COLUMN halted; \
         DROP TABLE ruche.archived_range",
    );
    of_owner(&deployment.refused(&serve), "`ruche migrate`");
    owner.run(&["migrate"]).expect("the owner can");
    deployment.administrate("REVOKE USAGE ON SCHEMA ruche_read FROM node");
    of_owner(&deployment.refused(&serve), "docs/operations/postgres.md");
    deployment.administrate("GRANT USAGE ON SCHEMA ruche_read TO node");
    serves(home, &key, 1);
}

/// Starts a node that takes an append and brings the read models up to it.
fn serves(home: &Home, key: &str, caller: u64) {
    let node = home.serve().expect("a node");
    let mut caller = Caller::new(caller, key);
    caller.start(&node.url).expect("a session");
    caller.send(&node.url).expect("an append");
    caught_up(&Client::new(), &node.url, key).expect("the read models");
    assert!(node.stop().expect("it can be told to stop"));
}
