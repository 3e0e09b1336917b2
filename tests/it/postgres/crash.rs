//! kill -9 of PostgreSQL itself at random instants of a load: of all its processes, or of any one of them.

use std::time::Duration;

use ruche_ledger::testing::SeededRandom;
use ruche_ledger_postgres::PostgresOptions;
use ruche_tests::ledger_load::{Load, Told, lost};
use tokio::task::block_in_place;
use xtask::postgres::Setup;

use super::{Node, cluster, count, plan};

/// Crashes of one run; `cargo xtask soak` sets more.
const CRASHES_VARIABLE: &str = "RUCHE_SOAK_POSTGRES_KILLS";
const CRASHES: u64 = 5;
/// Crashes after which the load gets new ledgers: judging reads all of them.
const CRASHES_OF_A_ROUND: u64 = 10;
/// A server lives at most this long under load, in milliseconds, and at least until some appends were acknowledged.
const LIFE_MS_MAX: u64 = 1_000;
const ACKNOWLEDGED_MIN: u64 = 20;
/// Processes that are tried before one is there to be killed.
const TRIES_MAX: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_when_postgres_is_killed() {
    let crashes = count(CRASHES_VARIABLE, CRASHES);
    let Some(mut server) = cluster(Setup::default()) else {
        return;
    };
    server.serve().expect("the server starts");
    let keys = tempfile::tempdir().expect("a temporary folder");
    let node = Node::open(PostgresOptions::new(&server.url), keys.path()).await;
    let dice = SeededRandom::new(11);
    let (mut ledgers, mut told, mut all) = (Vec::new(), Told::default(), Told::default());
    for crash in 0..crashes {
        if crash % CRASHES_OF_A_ROUND == 0 {
            ledgers = node.create_ledgers(crash / CRASHES_OF_A_ROUND).await;
            all.extend(std::mem::take(&mut told));
        }
        let mut load = Load::start(node.store.clone(), plan(&ledgers, crash));
        load.more(ACKNOWLEDGED_MIN).await;
        load.run_for(Duration::from_millis(dice.next() % LIFE_MS_MAX))
            .await;
        block_in_place(|| {
            if crash % 4 == 3 {
                // The server notices, ends all other processes and recovers. One that has just ended is none to kill.
                let killed = (0..TRIES_MAX).any(|_| server.kill_one(dice.next()).is_ok());
                assert!(killed, "no process of the server can be killed");
                return;
            }
            server.kill().expect("the server can be killed");
            server
                .serve()
                .unwrap_or_else(|problem| panic!("after crash {crash}: {problem}"));
        });
        // The store finds its server again, and every append that was under way has a fate.
        load.more(ACKNOWLEDGED_MIN).await;
        told.extend(load.finish().await);
        assert_eq!(lost(&*node.store, &told).await, 0, "crash {crash}");
        if (crash + 1) % CRASHES_OF_A_ROUND == 0 || crash + 1 == crashes {
            node.verify(&ledgers).await;
        }
    }
    all.extend(told);
    eprintln!("{crashes} crashes: {}", all.summary());
    assert!(all.unknown + all.refused > 0, "no crash hit an append");
    node.store.close().await.expect("the store closes");
}
