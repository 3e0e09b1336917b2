//! kill -9 of `ruche serve` under concurrent append load: what was acknowledged is there, once, and the ledger
//! verifies; the read models equal a rebuild.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use reqwest::blocking::Client;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{SeededRandom, check_ledger};
use ruche_ledger_keys::SystemClock;
use ruche_ledger_sqlite::{DataLock, SqliteOptions, SqliteStore};
use ruche_projections::runner::Runner;
use ruche_projections_sqlite::{OnDifference, SqliteReadStore};
use ruche_tests::server::{Home, graphql};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const CALLERS: u64 = 6;
/// Kills of one run; `cargo xtask soak` sets more.
const KILLS_VARIABLE: &str = "RUCHE_SOAK_KILLS";
const KILLS: u64 = 20;

const APPEND: &str = "mutation Append($input: AppendEventsInput!) { appendEvents(input: $input) {
    __typename ... on AppendEventsPayload { receipts { position leafHash duplicate } }
    ... on Refusal { code message } } }";

const START: &str =
    "mutation Start($input: StartSessionInput!) { startSession(input: $input) { __typename } }";

/// Acknowledged records, and how many clients were told that they repeat themselves.
#[derive(Default)]
struct Acknowledged {
    records: Mutex<BTreeMap<Position, String>>,
    count: AtomicU64,
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let acknowledged = Arc::new(Acknowledged::default());
    let dice = SeededRandom::new(7);
    for kill in 0..kills {
        let server = home
            .serve()
            .unwrap_or_else(|error| panic!("start {kill}: {error}"));
        let enough = acknowledged.count.load(Ordering::SeqCst) + 1 + dice.next() % 120;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (url, key, acknowledged) = (server.url.clone(), key.clone(), acknowledged.clone());
                thread::spawn(move || append_until_it_fails(&url, &key, kill, caller, &acknowledged))
            })
            .collect();
        while acknowledged.count.load(Ordering::SeqCst) < enough {
            assert!(
                !callers.iter().all(thread::JoinHandle::is_finished),
                "the callers ended before kill {kill}"
            );
            thread::yield_now();
        }
        server.kill().expect("the server can be killed");
        for caller in callers {
            caller.join().expect("a caller ends with its connection");
        }
        judge(&home, &acknowledged.records.lock().expect("no caller panics"));
    }
    read_models_equal_a_rebuild(&home);
    export_verifies(&home, folder.path());
}

/// The read models went through every kill; made anew from the ledger they are the same, row by row.
fn read_models_equal_a_rebuild(home: &Home) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn EventStore> = Arc::new(open(home).expect("a killed store opens"));
        let models = Arc::new(SqliteReadStore::open(&home.data).expect("the read models open"));
        let runner = Runner::new(store.clone(), models.clone());
        let ledger = store.ledgers().await.expect("ledgers")[0];
        runner.catch_up(ledger).await.expect("the read models catch up");
        let report = models
            .rebuild(store, OnDifference::Keep)
            .await
            .expect("a rebuild");
        assert!(report.compared && report.switched, "{report:?}");
        assert_eq!(report.differences, []);
    });
}

fn export_verifies(home: &Home, folder: &Path) {
    let shown = home
        .run(&["ledger", "show", "--tenant", "acme"])
        .expect("the ledger is shown");
    let key = shown[0]["verifier_key"]
        .as_str()
        .unwrap_or_else(|| panic!("no key in {shown}"));
    let target = folder.join("export");
    let target = target.to_str().expect("a path in UTF-8");
    home.run(&["export", "--tenant", "acme", target])
        .expect("it is exported");
    let report = home.run(&["verify", target, "--key", key]).expect("it verifies");
    assert_eq!(report["verdict"], "VERIFIED", "{report}");
}

/// Sends appends, each under its own key, until the server is gone. After a lost answer the next start repeats it.
fn append_until_it_fails(url: &str, key: &str, kill: u64, caller: u64, acknowledged: &Acknowledged) {
    let client = Client::new();
    let start =
        json!({ "idempotencyKey": format!("start/{caller}"), "externalId": format!("session {caller}") });
    if graphql(&client, url, key, START, json!({ "input": start })).is_err() {
        return;
    }
    for n in 0.. {
        let data = json!({ "text": json!({ "role": "user", "text": format!("kill {kill}") }).to_string() });
        let events: Vec<_> = (0..1 + n % 3)
            .map(|_| json!({ "type": "message.received", "schemaVersion": 1, "data": data }))
            .collect();
        let input = json!({
            "idempotencyKey": format!("{kill}/{caller}/{n}"),
            "target": { "session": { "externalId": format!("session {caller}") } },
            "events": events,
        });
        let Ok(data) = graphql(&client, url, key, APPEND, json!({ "input": input })) else {
            return;
        };
        let receipts = data["appendEvents"]["receipts"]
            .as_array()
            .unwrap_or_else(|| panic!("refused: {data}"));
        let mut records = acknowledged.records.lock().expect("no caller panics");
        for receipt in receipts {
            let position = receipt["position"]
                .as_str()
                .expect("a position")
                .parse()
                .expect("a position");
            let hash = receipt["leafHash"].as_str().expect("a hash").to_owned();
            assert!(
                records.insert(position, hash).is_none(),
                "{position} was acknowledged twice"
            );
        }
        acknowledged.count.fetch_add(1, Ordering::SeqCst);
    }
}

fn judge(home: &Home, acknowledged: &BTreeMap<Position, String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = open(home).expect("a killed store opens");
        let ledger: LedgerId = store.ledgers().await.expect("ledgers")[0];
        check_ledger(&store, ledger).await;
        let mut from = Position::START;
        let mut found = 0;
        loop {
            let records = store.read_ledger(ledger, from, 1_000).await.expect("records");
            let Some(last) = records.last() else { break };
            from = last.position.next();
            for record in &records {
                if let Some(hash) = acknowledged.get(&record.position) {
                    assert_eq!(
                        *hash,
                        record.leaf_hash().to_string(),
                        "{} is another record",
                        record.position
                    );
                    found += 1;
                }
            }
        }
        assert_eq!(found, acknowledged.len(), "acknowledged records are missing");
        store.close().await.expect("it closes");
    });
}

fn open(home: &Home) -> io::Result<SqliteStore> {
    let lock = DataLock::acquire(&home.data, "judge").map_err(io::Error::other)?;
    SqliteStore::open(Arc::new(lock), Arc::new(SystemClock), SqliteOptions::default())
        .map_err(io::Error::other)
}
