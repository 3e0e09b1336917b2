//! kill -9 of `ruche serve` under concurrent append load: what was acknowledged is there, once, and the ledger
//! verifies; the read models equal a rebuild.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ruche_api::app::App;
use ruche_ledger::testing::SeededRandom;
use ruche_tests::server::Home;

use crate::load::{Caller, export_verifies, judge, read_models_equal_a_rebuild};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const CALLERS: u64 = 6;
/// Kills of one run; `cargo xtask soak` sets more.
const KILLS_VARIABLE: &str = "RUCHE_SOAK_KILLS";
const KILLS: u64 = 12;
/// A server lives at most this long, in milliseconds: four rounds of sealing, so that tiles, tree heads and checkpoints
/// of the log are hit as well as appends.
const LIFE_MS_MAX: u64 = 2_000;
/// How long a lock may be held through processes that other tests are starting: a child has a copy until its program
/// is loaded.
const LOCK_WAIT: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let mut callers: Vec<_> = (0..CALLERS).map(|number| Caller::new(number, &key)).collect();
    let dice = SeededRandom::new(7);
    for kill in 0..kills {
        let server = home
            .serve()
            .unwrap_or_else(|error| panic!("start {kill}: {error}"));
        let life = Duration::from_millis(dice.next() % LIFE_MS_MAX);
        let (ended, early) = mpsc::channel();
        let threads: Vec<_> = callers
            .drain(..)
            .map(|mut caller| {
                let (url, ended) = (server.url.clone(), ended.clone());
                thread::spawn(move || {
                    let mut sent = caller.start(&url);
                    while sent.is_ok() {
                        sent = caller.send(&url);
                    }
                    // Nobody listens any more once the server is killed.
                    let _ = ended.send(sent.map_err(|error| error.to_string()));
                    caller
                })
            })
            .collect();
        // The deadline is the random instant of the kill; nobody may have ended before it.
        assert_eq!(
            early.recv_timeout(life),
            Err(RecvTimeoutError::Timeout),
            "a caller ended before kill {kill}"
        );
        server.kill().expect("the server can be killed");
        callers.extend(
            threads
                .into_iter()
                .map(|caller| caller.join().expect("a caller ends with its connection")),
        );
        on_the_store(&home, async |app| {
            let ledger = app.events.ledgers().await.expect("ledgers")[0];
            judge(app, ledger, callers.iter()).await;
        });
    }
    let server = home.serve().expect("the last start");
    for caller in &mut callers {
        caller
            .repeat(&server.url)
            .expect("what was not answered is repeated");
    }
    assert!(server.stop().expect("the server can be told to stop"));
    on_the_store(&home, async |app| {
        let ledger = app.events.ledgers().await.expect("ledgers")[0];
        judge(app, ledger, callers.iter()).await;
        read_models_equal_a_rebuild(app).await;
    });
    let acknowledged: usize = callers.iter().map(Caller::acknowledged).sum();
    assert!(acknowledged as u64 > kills, "only {acknowledged} records");
    export_verifies(&home, "acme", folder.path());
}

/// Opens the store in this process, without sealing anything, and looks. Waits until no child of another test has a
/// copy of the lock of a data folder.
fn on_the_store(home: &Home, look: impl AsyncFnOnce(&App)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let deadline = Instant::now() + LOCK_WAIT;
    runtime.block_on(async {
        let app = loop {
            match App::open_to_read(&home.common(), "judge").await {
                Err(error) if error.is_in_use() && Instant::now() < deadline => thread::yield_now(),
                opened => break opened.expect("a killed store opens"),
            }
        };
        look(&app).await;
        app.close().await.expect("it closes");
    });
}
