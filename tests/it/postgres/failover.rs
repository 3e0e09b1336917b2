//! The primary of a Patroni cluster is killed under load, with its Patroni: a standby takes over, and whoever used the
//! cluster finds it by itself. Everything acknowledged is there. Two use it at the same time, each with databases of its
//! own: a store in this process, and two `ruche serve` with their callers. So one failover, which takes most of the time,
//! is a test of both. Every second kill, from the first on, comes in the middle of commits; the others at a random instant.

mod served;

use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;
use ruche_ledger::testing::SeededRandom;
use ruche_ledger_postgres::{Database, PostgresOptions};
use ruche_tests::ledger_load::{Load, Told, lost};
use ruche_tests::patroni::{NODES, Patroni, on_database};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use self::served::Served;
use super::{Node, available, count, plan};

/// Failovers of one run; `cargo xtask soak` sets more.
const FAILOVERS_VARIABLE: &str = "RUCHE_SOAK_FAILOVERS";
const FAILOVERS: u64 = 1;
/// A primary lives at most this long under load, in milliseconds, and at least until some appends were acknowledged.
const LIFE_MS_MAX: u64 = 1_000;
const ACKNOWLEDGED_MIN: u64 = 40;

#[test]
fn nothing_acknowledged_is_lost_in_a_failover_by_a_store_or_by_two_servers() {
    let failovers = count(FAILOVERS_VARIABLE, FAILOVERS);
    let began = Instant::now();
    let Some(mut cluster) = available(Patroni::up()) else {
        return;
    };
    eprintln!("the cluster is up after {:.1} s", began.elapsed().as_secs_f64());
    let mut store = Stored::open(&cluster);
    let mut served = Served::start(&cluster);
    for failover in 0..failovers {
        store.load(failover);
        served.acknowledge();
        let killed = cluster.primary().expect("there is a primary");
        cluster.kill_patroni(killed).expect("it runs");
        let is_in_mid_commit = failover % 2 == 0;
        if is_in_mid_commit {
            stop_in_mid_commit(&cluster, killed, &served);
        }
        let gone = Instant::now();
        cluster.kill(killed).expect("it runs");
        store.acknowledge();
        let by_store = gone.elapsed().as_secs_f64();
        served.acknowledge();
        let by_servers = gone.elapsed().as_secs_f64();
        served.are_ready();
        let primary = cluster.primary().expect("another primary");
        assert_ne!(primary, killed);
        let what = format!("failover {failover} from {killed} to {primary}");
        store.nothing_lost(&what, is_in_mid_commit);
        eprintln!(
            "{what}: appends go on after {by_store:.1} s, through both servers after {by_servers:.1} s"
        );
        if failover + 1 < failovers {
            cluster
                .bring_up()
                .expect("the killed node comes back as a standby");
        }
    }
    store.close(failovers);
    served.finish();
    eprintln!("{failovers} failovers in {:.1} s", began.elapsed().as_secs_f64());
}

/// Stops the primary when every caller has an append in hand that is stored there and that nobody confirms. The standbys
/// then read what was sent to them before: what one of them has, will have been stored though nobody was told so.
fn stop_in_mid_commit(cluster: &Patroni, primary: &str, served: &Served) {
    let standbys = NODES.into_iter().filter(|name| *name != primary);
    for standby in standbys.clone() {
        cluster.freeze(standby).expect("it runs");
    }
    served.are_stuck();
    cluster.freeze(primary).expect("it runs");
    for standby in standbys {
        cluster.thaw(standby).expect("it was frozen");
    }
}

/// The store of this process, and what callers of it were told.
struct Stored {
    runtime: Runtime,
    node: Node,
    dice: SeededRandom,
    load: Option<(Load, Vec<LedgerId>)>,
    all: Told,
    _keys: TempDir,
}

impl Stored {
    fn open(cluster: &Patroni) -> Self {
        cluster.make_database("store").expect("a database");
        let options = PostgresOptions::new(on_database(&cluster.owner_url, "store"));
        let keys = tempfile::tempdir().expect("a temporary folder");
        let runtime = Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let node = runtime.block_on(async {
            let owner = Database::parse(&options).expect("a URL");
            owner.migrate().await.expect("the schema");
            Node::open(options, keys.path()).await
        });
        Self {
            runtime,
            node,
            dice: SeededRandom::new(17),
            load: None,
            all: Told::default(),
            _keys: keys,
        }
    }

    /// Starts callers on new ledgers, and gives them a random time.
    fn load(&mut self, failover: u64) {
        let life = Duration::from_millis(self.dice.next() % LIFE_MS_MAX);
        let load = self.runtime.block_on(async {
            let ledgers = self.node.create_ledgers(failover).await;
            let mut load = Load::start(self.node.store.clone(), plan(&ledgers, failover));
            load.more(ACKNOWLEDGED_MIN).await;
            load.run_for(life).await;
            (load, ledgers)
        });
        self.load = Some(load);
    }

    fn acknowledge(&mut self) {
        let (load, _) = self.load.as_mut().expect("it was started");
        self.runtime.block_on(load.more(ACKNOWLEDGED_MIN));
    }

    fn nothing_lost(&mut self, what: &str, is_in_mid_commit: bool) {
        let (load, ledgers) = self.load.take().expect("it was started");
        let told = self.runtime.block_on(async {
            let told = load.finish().await;
            let seen = told.unknown > 0 || !is_in_mid_commit;
            assert!(seen, "{what}: nothing was under way: {}", told.summary());
            assert_eq!(lost(&*self.node.store, &told).await, 0, "{what}");
            self.node.verify(&ledgers).await;
            told
        });
        self.all.extend(told);
    }

    fn close(self, failovers: u64) {
        eprintln!("{failovers} failovers: {}", self.all.summary());
        let closed = self.runtime.block_on(self.node.store.close());
        closed.expect("the store closes");
    }
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
