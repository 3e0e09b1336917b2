//! Power cuts of PostgreSQL under load: what was not synced is gone. Nothing acknowledged is lost, and the test can
//! tell: with `fsync=off`, it is.

use std::sync::Arc;

use ruche_ledger::testing::SeededRandom;
use ruche_ledger_keys::SystemClock;
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};
use ruche_tests::forgetful_disk::{Damage, Disk, Unsynced};
use ruche_tests::ledger_load::{Load, Told, lost};
use tokio::task::block_in_place;
use xtask::postgres::{Cluster, Setup};

use super::{Node, cluster, count, plan};

/// Cuts of one run; `cargo xtask soak` sets more.
const CUTS_VARIABLE: &str = "RUCHE_SOAK_POSTGRES_CUTS";
const CUTS: u64 = 5;
/// Cuts after which the load gets new ledgers: judging reads all of them.
const CUTS_OF_A_ROUND: u64 = 10;
/// Appends between two cuts: at least, and that are added at random.
const APPENDS_MIN: u64 = 20;
const APPENDS_MORE: u64 = 600;
/// Small buffers and logs: pages are evicted, checkpoints come and log files are used again between two cuts. Checksums
/// notice a page that should not be there.
const SETTINGS: [&str; 5] = [
    "shared_buffers=1MB",
    "min_wal_size=2MB",
    "max_wal_size=6MB",
    "checkpoint_timeout=30s",
    "bgwriter_delay=10ms",
];

/// A server on a disk that forgets; not running yet.
fn server(more: &[&str]) -> Option<(Cluster, Disk)> {
    let mut server = cluster(Setup {
        initdb: vec!["--wal-segsize=1".into(), "--data-checksums".into()],
        settings: SETTINGS.iter().chain(more).map(ToString::to_string).collect(),
        ..Setup::default()
    })?;
    let disk = Disk::under(&mut server).expect("the shim compiles");
    Some((server, disk))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let cuts = count(CUTS_VARIABLE, CUTS);
    let Some((mut server, disk)) = server(&[]) else {
        return;
    };
    server.serve().expect("the server starts");
    let keys = tempfile::tempdir().expect("a temporary folder");
    let node = Node::open(PostgresOptions::new(&server.url), keys.path()).await;
    let dice = SeededRandom::new(13);
    let (mut ledgers, mut told, mut all) = (Vec::new(), Told::default(), Told::default());
    let mut damage = Damage::default();
    for cut in 0..cuts {
        if cut % CUTS_OF_A_ROUND == 0 {
            ledgers = node.create_ledgers(cut / CUTS_OF_A_ROUND).await;
            all.extend(std::mem::take(&mut told));
        }
        let mut load = Load::start(node.store.clone(), plan(&ledgers, cut));
        load.more(APPENDS_MIN + dice.next() % APPENDS_MORE).await;
        // Nothing, half or almost all of what was not synced came through.
        let unsynced = [Unsynced::Lost, Unsynced::Kept(4), Unsynced::Kept(7)][cut as usize % 3];
        block_in_place(|| {
            server.kill().expect("the server can be killed");
            let one = disk.cut(unsynced, cut).expect("a disk after a power cut");
            damage.add(one);
            server
                .serve()
                .unwrap_or_else(|problem| panic!("after cut {cut}, {unsynced:?}: {problem}"));
        });
        load.more(APPENDS_MIN).await;
        told.extend(load.finish().await);
        assert_eq!(lost(&*node.store, &told).await, 0, "cut {cut}, {unsynced:?}");
        if (cut + 1) % CUTS_OF_A_ROUND == 0 || cut + 1 == cuts {
            node.verify(&ledgers).await;
        }
    }
    all.extend(told);
    eprintln!("{cuts} power cuts, {damage:?}: {}", all.summary());
    assert!(damage.pages_lost > cuts && damage.pages_kept > cuts, "{damage:?}");
    node.store.close().await.expect("the store closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_fsync_the_test_sees_the_loss() {
    let Some((mut server, disk)) = server(&["fsync=off"]) else {
        return;
    };
    server.serve().expect("the server starts");
    let mut options = PostgresOptions::new(&server.url);
    options.allow_no_fsync = true;
    let keys = tempfile::tempdir().expect("a temporary folder");
    let node = Node::open(options.clone(), keys.path()).await;
    let ledgers = node.create_ledgers(0).await;
    let mut load = Load::start(node.store.clone(), plan(&ledgers, 0));
    load.more(APPENDS_MIN).await;
    block_in_place(|| server.kill()).expect("the server can be killed");
    let told = load.abandon().await;
    drop(node);
    block_in_place(|| {
        disk.cut(Unsynced::Lost, 0).expect("a disk after a power cut");
        server.serve().expect("the disk is as it was at the start");
    });
    let store = PostgresStore::open(Arc::new(SystemClock), options).await;
    let lost = lost(&store.expect("an empty database opens"), &told).await;
    assert!(
        told.appends() >= APPENDS_MIN && lost > 0,
        "{lost} lost: {}",
        told.summary()
    );
}
