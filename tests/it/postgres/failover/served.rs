//! Two `ruche serve` on the cluster, set up as docs/operations/postgres.md tells, and callers at both. Neither is
//! restarted, whatever becomes of the primary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_api::cli::main_ledger;
use ruche_tests::databases::Databases;
use ruche_tests::patroni::{Patroni, on_database};
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::Value;
use tempfile::TempDir;

use crate::crew::{Crew, until};
use crate::load::{Caller, judge, judge_from_outside, read_models_equal_a_rebuild};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const VERIFIER: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");
/// Two, so that both nodes append to both.
const TENANTS: [&str; 2] = ["acme", "other"];
/// Of each tenant, half of them at each node.
const CALLERS: u64 = 6;
/// Receipts of each caller before a state counts as reached.
const ENOUGH: u64 = 3;
/// What docs/operations/postgres.md promises to whoever waits for an answer while the database is away.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Looks without any receipt after which all callers wait: many times longer than an append takes.
const STUCK_LOOKS: u32 = 25;
const SEALED: &str = "{ ledger { size treeHead { size } } }";

/// Two nodes at work.
pub struct Served {
    folder: TempDir,
    /// As the nodes log in: as somebody who owns nothing.
    home: Home,
    /// As the owner of both databases.
    owner: Home,
    nodes: [Server; 2],
    /// One for each tenant.
    keys: Vec<String>,
    /// One for each tenant.
    crews: Vec<Crew>,
}

impl Served {
    /// Makes what nodes need on the cluster, and starts them and their callers.
    pub fn start(cluster: &Patroni) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = |url: &str| {
            let databases = Databases {
                ledgers: url.to_owned(),
                tree_heads: on_database(url, "ruche_tree_heads"),
            };
            Home::on(PROGRAM, folder.path(), databases)
        };
        let (owner, home) = (home(&cluster.owner_url), home(&cluster.url));
        cluster.make_database("ruche_tree_heads").expect("a database");
        owner.run(&["migrate"]).expect("the schemas");
        cluster.grant().expect("rights of nodes");
        home.run(&["config", "check", "--nodes", "2"])
            .expect("room for two nodes");
        let key = |tenant: &&str| home.new_key(tenant, &["writer", "reader"]).expect("a key");
        let keys: Vec<_> = TENANTS.iter().map(key).collect();
        let serve = || home.serve_with(&["--nodes", "2"], &[]).expect("a node");
        let nodes = [serve(), serve()];
        let crews = keys.iter().map(|key| Crew::on(&nodes, key, CALLERS)).collect();
        Self {
            folder,
            home,
            owner,
            nodes,
            keys,
            crews,
        }
    }

    /// Waits until every caller got some receipts more.
    pub fn acknowledge(&mut self) {
        for crew in &mut self.crews {
            crew.each_acknowledged(ENOUGH);
        }
    }

    /// Waits until no caller gets a receipt any more, each with an append in hand.
    pub fn are_stuck(&self) {
        let (mut before, mut looks) = (0, 0);
        until("no append is acknowledged", || {
            let now: u64 = self.crews.iter().map(Crew::acknowledged).sum();
            looks = if now == before { looks + 1 } else { 0 };
            before = now;
            looks >= STUCK_LOOKS
        });
    }

    /// Waits until whoever watches the nodes would send them work.
    pub fn are_ready(&self) {
        for node in &self.nodes {
            until("the node is ready", || node.ready().expect("an answer").0 == 200);
        }
    }

    /// Ends the load. What every caller was told is what both nodes tell, what an auditor finds, and what is stored.
    pub fn finish(self) {
        let (mut callers, mut unknown) = (Vec::new(), 0);
        for crew in self.crews {
            let (of_tenant, told) = crew.finish();
            let acknowledged: usize = of_tenant.iter().map(Caller::acknowledged).sum();
            eprintln!("served: {acknowledged} records acknowledged, {told:?}");
            assert!(told.longest < ANSWER_MAX, "{told:?}");
            unknown += told.codes.get("UNKNOWN_OUTCOME").unwrap_or(&0);
            callers.push(of_tenant);
        }
        assert!(unknown > 0, "nothing was under way");
        for ((tenant, key), callers) in TENANTS.iter().zip(&self.keys).zip(&callers) {
            for node in &self.nodes {
                caught_up(&Client::new(), &node.url, key).expect("the read models catch up");
                judge_from_outside(&node.url, key, callers.iter());
            }
            until("the whole ledger is sealed", || is_sealed(&self.nodes[0], key));
            export_verifies(&self.home, tenant, self.folder.path());
        }
        for node in self.nodes {
            assert!(node.stop().expect("it was there all the time"), "it ended well");
        }
        stored(&self.owner, &callers);
    }
}

fn is_sealed(node: &Server, key: &str) -> bool {
    let told = graphql(&Client::new(), &node.url, key, SEALED, Value::Null).expect("an answer");
    let ledger = &told["ledger"];
    !ledger["size"].is_null() && ledger["size"] == ledger["treeHead"]["size"]
}

/// An auditor with the verifier of their own: nodes need not be stopped for an export.
fn export_verifies(home: &Home, tenant: &str, folder: &Path) {
    let target = folder.join(format!("export-{tenant}"));
    let target = target.to_str().expect("a path in UTF-8");
    let exported = home.run(&["export", "--tenant", tenant, target]);
    let exported = exported.expect("it is exported");
    let key = exported["verifier_keys"][0].as_str().expect("a key");
    let verified = Command::new(VERIFIER).args([target, "--key", key]).output();
    let verified = verified.expect("it runs");
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(
        verified.status.success() && said.starts_with("VERIFIED"),
        "{tenant}: {}\n{said}",
        verified.status
    );
}

/// The same read from the store, and the read models made anew, which only the owner can.
fn stored(owner: &Home, callers: &[Vec<Caller>]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = App::open(&owner.common(), "judge")
            .await
            .expect("the store opens");
        for (tenant, callers) in TENANTS.iter().zip(callers) {
            judge(&app, main_ledger(tenant), callers.iter()).await;
        }
        read_models_equal_a_rebuild(&app).await;
        app.close().await.expect("it closes");
    });
}
