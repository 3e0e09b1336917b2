//! Several `ruche serve` on one PostgreSQL, any of which is killed at any instant.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use ruche_api::app::App;
use ruche_api::cli::main_ledger;
use ruche_ledger::testing::SeededRandom;
use ruche_tests::databases::Databases;
use ruche_tests::server::{Home, Server, caught_up};
use tempfile::TempDir;

use crate::load::{Caller, export_verifies, judge, read_models_equal_a_rebuild};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Kills of one run; `cargo xtask soak` sets more.
const KILLS_VARIABLE: &str = "RUCHE_SOAK_NODE_KILLS";
const KILLS: u64 = 6;
const CALLERS: u64 = 64;
const LEDGERS: u64 = 10;
/// A node is killed at most this long after the one before, milliseconds.
const LIFE_MS_MAX: u64 = 1_500;
/// Tries of one append on either node: more than any start of a node takes.
const TRIES_MAX: u32 = 100_000;

/// Tenant `n`.
fn tenant(n: u64) -> String {
    format!("tenant-{n}")
}

/// The ledger of a caller: every second one has the first, so that it takes half of the load.
fn ledger_of(caller: u64) -> u64 {
    if caller.is_multiple_of(2) {
        0
    } else {
        caller / 2 % LEDGERS
    }
}

/// A deployment on PostgreSQL before its nodes start.
struct Deployment {
    folder: TempDir,
    home: Home,
    /// One for each ledger: enough that each of two nodes tends some.
    keys: Vec<String>,
}

impl Deployment {
    /// New databases with a key for each tenant; `None`, told plainly, where there is no server.
    fn new() -> Option<Self> {
        let databases = Databases::new().expect("databases")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::on(PROGRAM, folder.path(), databases);
        let key = |n| home.new_key(&tenant(n), &["writer", "reader"]).expect("a key");
        let keys = (0..LEDGERS).map(key).collect();
        Some(Self { folder, home, keys })
    }
}

/// Where the nodes listen now.
type Urls = Arc<RwLock<[String; 2]>>;

#[test]
fn conformance_2_nodes_that_are_killed_lose_and_double_nothing() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let Some(Deployment { folder, home, keys }) = Deployment::new() else {
        return;
    };
    let start = || home.serve().expect("a node starts");
    let mut nodes: [Server; 2] = [start(), start()];
    let urls: Urls = Arc::new(RwLock::new([nodes[0].url.clone(), nodes[1].url.clone()]));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..CALLERS)
        .map(|number| {
            let caller = Caller::new(number, &keys[ledger_of(number) as usize]);
            let (urls, stop) = (urls.clone(), stop.clone());
            thread::spawn(move || work(caller, number, &urls, &stop))
        })
        .collect();
    let dice = SeededRandom::new(11);
    for _kill in 0..kills {
        // The random instant of the kill.
        thread::park_timeout(Duration::from_millis(dice.next() % LIFE_MS_MAX));
        let victim = (dice.next() % 2) as usize;
        let killed = std::mem::replace(&mut nodes[victim], start());
        killed.kill().expect("a node can be killed");
        urls.write().expect("nobody panics with it")[victim] = nodes[victim].url.clone();
    }
    stop.store(true, Ordering::SeqCst);
    let callers: Vec<Caller> = threads
        .into_iter()
        .map(|caller| caller.join().expect("a caller ends"))
        .collect();
    for node in nodes {
        assert!(node.stop().expect("a node can be told to stop"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = App::open(&home.common(), "judge").await.expect("the store opens");
        for n in 0..LEDGERS {
            let of_ledger = (0..).zip(&callers).filter(|(number, _)| ledger_of(*number) == n);
            judge(&app, main_ledger(&tenant(n)), of_ledger.map(|(_, caller)| caller)).await;
        }
        read_models_equal_a_rebuild(&app).await;
        app.close().await.expect("it closes");
    });
    let acknowledged: usize = callers.iter().map(Caller::acknowledged).sum();
    eprintln!("{kills} kills, {acknowledged} records acknowledged");
    assert!(
        acknowledged as u64 > kills * CALLERS,
        "only {acknowledged} records"
    );
    for n in 0..LEDGERS {
        export_verifies(&home, &tenant(n), folder.path());
    }
}

/// A node that is frozen for longer than its leases are given: the other one tends its ledgers meanwhile. When it wakes up
/// it still believes in its leases, and can neither sign nor write what was done already.
#[test]
fn conformance_7_a_node_that_slept_through_its_leases_writes_nothing_twice() {
    let Some(Deployment {
        folder: _folder,
        home,
        keys,
    }) = Deployment::new()
    else {
        return;
    };
    let nodes = [home.serve().expect("a node"), home.serve().expect("another node")];
    let client = reqwest::blocking::Client::new();
    let mut callers: Vec<_> = (0..).zip(&keys).map(|(n, key)| Caller::new(n, key)).collect();
    let mut append = |node: usize| {
        for (caller, key) in callers.iter_mut().zip(&keys) {
            caller.start(&nodes[node].url).expect("a session");
            caller.send(&nodes[node].url).expect("an append");
            // The read models of every ledger get there, whoever keeps them: within the leases of the other node.
            caught_up(&client, &nodes[node].url, key).expect("the read models");
        }
    };
    append(0);
    append(1);
    nodes[0].signal("STOP").expect("it freezes");
    append(1);
    nodes[0].signal("CONT").expect("it wakes up");
    append(0);
    append(1);
    for node in nodes {
        assert!(node.stop().expect("a node can be told to stop"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = App::open(&home.common(), "judge").await.expect("the store opens");
        for (n, caller) in (0..).zip(&callers) {
            judge(&app, main_ledger(&tenant(n)), std::iter::once(caller)).await;
        }
        read_models_equal_a_rebuild(&app).await;
        app.close().await.expect("it closes");
    });
}

/// Appends until told to stop, on one node and then the other one, whichever answers. Ends with nothing unanswered.
fn work(mut caller: Caller, number: u64, urls: &Urls, stop: &AtomicBool) -> Caller {
    let mut turn = number as usize;
    let mut on_either = |caller: &mut Caller, send: fn(&mut Caller, &str) -> io::Result<()>| {
        for _try in 0..TRIES_MAX {
            let url = urls.read().expect("nobody panics with it")[turn % 2].clone();
            match send(caller, &url) {
                Ok(()) => return,
                // It was killed, or says to come again: the other one is as good.
                Err(_) => turn += 1,
            }
        }
        panic!("neither node answers");
    };
    on_either(&mut caller, |caller, url| caller.start(url));
    while !stop.load(Ordering::SeqCst) {
        on_either(&mut caller, Caller::send);
    }
    caller
}
