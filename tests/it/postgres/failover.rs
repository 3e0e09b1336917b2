//! The primary of a Patroni cluster is killed under load, with its Patroni: a standby takes over, the store finds it by
//! itself, and everything acknowledged is there.

use std::time::{Duration, Instant};

use ruche_ledger::testing::SeededRandom;
use ruche_ledger_postgres::{Database, PostgresOptions};
use ruche_tests::ledger_load::{Load, Told, lost};
use ruche_tests::patroni::Patroni;
use tokio::task::block_in_place;

use super::{Node, available, count, plan};

/// Failovers of one run; `cargo xtask soak` sets more.
const FAILOVERS_VARIABLE: &str = "RUCHE_SOAK_FAILOVERS";
const FAILOVERS: u64 = 1;
/// A primary lives at most this long under load, in milliseconds, and at least until some appends were acknowledged.
const LIFE_MS_MAX: u64 = 1_000;
const ACKNOWLEDGED_MIN: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_a_failover() {
    let failovers = count(FAILOVERS_VARIABLE, FAILOVERS);
    let Some(mut cluster) = available(block_in_place(Patroni::up)) else {
        return;
    };
    let owner = Database::parse(&PostgresOptions::new(&cluster.owner_url)).expect("a URL");
    owner.migrate().await.expect("the schema");
    block_in_place(|| cluster.grant()).expect("rights of nodes");
    let keys = tempfile::tempdir().expect("a temporary folder");
    let node = Node::open(PostgresOptions::new(&cluster.url), keys.path()).await;
    let dice = SeededRandom::new(17);
    let mut all = Told::default();
    for failover in 0..failovers {
        let ledgers = node.create_ledgers(failover).await;
        let mut load = Load::start(node.store.clone(), plan(&ledgers, failover));
        load.more(ACKNOWLEDGED_MIN).await;
        load.run_for(Duration::from_millis(dice.next() % LIFE_MS_MAX))
            .await;
        let killed = block_in_place(|| cluster.kill_primary()).expect("there is a primary");
        let began = Instant::now();
        load.more(ACKNOWLEDGED_MIN).await;
        let took = began.elapsed().as_secs_f64();
        let told = load.finish().await;
        let primary = cluster.primary().expect("another primary");
        assert_ne!(primary, killed);
        assert_eq!(
            lost(&*node.store, &told).await,
            0,
            "failover {failover} from {killed} to {primary}"
        );
        node.verify(&ledgers).await;
        eprintln!("failover {failover} from {killed} to {primary}: appends go on after {took:.1} s");
        all.extend(told);
        if failover + 1 < failovers {
            block_in_place(|| cluster.bring_up()).expect("the killed node comes back as a standby");
        }
    }
    eprintln!("{failovers} failovers: {}", all.summary());
    node.store.close().await.expect("the store closes");
}

/// Its servers have no owner to log in as, and an owner is what the commands need.
#[test]
fn a_folder_of_an_older_version_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings =
        "etcd_port=1\npeer_port=2\nsql_ports=(3 4 5)\nrest_ports=(6 7 8)\npassword=x\nnode_password=y\n";
    std::fs::write(folder.path().join("settings"), settings).expect("it is written");
    let told = std::process::Command::new(crate::repository::root().join("deploy/ha/cluster"))
        .arg("owner-url")
        .arg(folder.path())
        .output()
        .expect("bash is there");
    let said = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{said}");
    for part in ["an older version", "owner_password", "cluster down", "cluster up"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
