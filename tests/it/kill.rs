//! kill -9 of `ruche serve` under concurrent append load: what was acknowledged is there, once, and the ledger
//! verifies; the read models equal a rebuild.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

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
use serde_json::{Value, json};

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
const LOCK_WAIT: Duration = Duration::from_secs(10);

const APPEND: &str = "mutation Append($input: AppendEventsInput!) { appendEvents(input: $input) {
    __typename ... on AppendEventsPayload { receipts { position leafHash duplicate } }
    ... on Refusal { code message } } }";

const START: &str =
    "mutation Start($input: StartSessionInput!) { startSession(input: $input) { __typename } }";

/// An append as it was sent; its key is in the texts of its events, so each text belongs in the ledger once.
#[derive(Clone)]
struct Sent {
    key: String,
    events: u64,
}

impl Sent {
    fn text(&self, event: u64) -> String {
        format!("{}#{event}", self.key)
    }
}

/// What one caller knows. It goes on with it after each kill.
struct Caller {
    number: u64,
    client: Client,
    /// Sent, and the answer was lost with the server.
    unanswered: Option<Sent>,
    answered: Vec<Sent>,
    /// Position and leaf hash of each acknowledged record.
    records: Vec<(Position, String)>,
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let mut callers: Vec<_> = (0..CALLERS).map(Caller::new).collect();
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
                let (url, key, ended) = (server.url.clone(), key.clone(), ended.clone());
                thread::spawn(move || {
                    let error = caller.append_until_it_fails(&url, &key, kill);
                    // Nobody listens any more once the server is killed.
                    let _ = ended.send(error.to_string());
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
        judge(&home, &callers);
    }
    let server = home.serve().expect("the last start");
    for caller in &mut callers {
        caller
            .repeat(&server.url, &key)
            .expect("what was not answered is repeated");
    }
    assert!(server.stop().expect("the server can be told to stop"));
    judge(&home, &callers);
    let acknowledged: usize = callers.iter().map(|caller| caller.records.len()).sum();
    assert!(acknowledged as u64 > kills, "only {acknowledged} records");
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

impl Caller {
    fn new(number: u64) -> Self {
        Self {
            number,
            client: Client::new(),
            unanswered: None,
            answered: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Repeats what was not answered, then sends appends, each under its own key, until the server is gone.
    fn append_until_it_fails(&mut self, url: &str, key: &str, kill: u64) -> io::Error {
        let number = self.number;
        let start =
            json!({ "idempotencyKey": format!("start/{number}"), "externalId": format!("session {number}") });
        let started = graphql(&self.client, url, key, START, json!({ "input": start }));
        if let Err(error) = started.and_then(|_| self.repeat(url, key)) {
            return error;
        }
        let mut n = 0;
        loop {
            self.unanswered = Some(Sent {
                key: format!("{kill}/{number}/{n}"),
                events: 1 + n % 3,
            });
            if let Err(error) = self.repeat(url, key) {
                return error;
            }
            n += 1;
        }
    }

    /// Sends what has no answer yet, with its own key.
    fn repeat(&mut self, url: &str, key: &str) -> io::Result<()> {
        let Some(sent) = self.unanswered.clone() else {
            return Ok(());
        };
        let events: Vec<_> = (0..sent.events)
            .map(|event| {
                let text = json!({ "role": "user", "text": sent.text(event) }).to_string();
                json!({ "type": "message.received", "schemaVersion": 1, "data": { "text": text } })
            })
            .collect();
        let input = json!({
            "idempotencyKey": sent.key,
            "target": { "session": { "externalId": format!("session {}", self.number) } },
            "events": events,
        });
        let data = graphql(&self.client, url, key, APPEND, json!({ "input": input }))?;
        let receipts = data["appendEvents"]["receipts"]
            .as_array()
            .unwrap_or_else(|| panic!("refused: {data}"));
        assert_eq!(receipts.len() as u64, sent.events, "{data}");
        for receipt in receipts {
            let text = |name: &str| {
                receipt[name]
                    .as_str()
                    .unwrap_or_else(|| panic!("no {name}: {data}"))
            };
            let position = text("position").parse().expect("a position");
            self.records.push((position, text("leafHash").to_owned()));
        }
        self.answered.push(sent);
        self.unanswered = None;
        Ok(())
    }
}

/// Reads the whole ledger: every acknowledged record is where it was told to be; the events of an answered key are there
/// once, those of an unanswered one once or not at all, and nothing else is.
fn judge(home: &Home, callers: &[Caller]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut hashes = BTreeMap::new();
    let mut copies: BTreeMap<String, u64> = BTreeMap::new();
    runtime.block_on(async {
        let store = open(home).expect("a killed store opens");
        let ledger: LedgerId = store.ledgers().await.expect("ledgers")[0];
        check_ledger(&store, ledger).await;
        let mut from = Position::START;
        loop {
            let records = store.read_ledger(ledger, from, 1_000).await.expect("records");
            let Some(last) = records.last() else { break };
            from = last.position.next();
            for record in &records {
                hashes.insert(record.position, record.leaf_hash().to_string());
                if record.leaf.event.event_type == "message.received" {
                    let payload = record.payload_bytes().expect("nothing is erased");
                    let payload: Value = serde_json::from_slice(payload).expect("JSON");
                    let text = payload["text"].as_str().expect("a text").to_owned();
                    *copies.entry(text).or_default() += 1;
                }
            }
        }
        store.close().await.expect("it closes");
    });
    wait_for_the_lock(home);
    let mut acknowledged = BTreeMap::new();
    for caller in callers {
        for (position, hash) in &caller.records {
            assert_eq!(
                hashes.get(position),
                Some(hash),
                "{position} is gone or another record"
            );
            assert!(
                acknowledged.insert(position, hash).is_none(),
                "{position} was acknowledged twice"
            );
        }
        for sent in &caller.answered {
            for event in 0..sent.events {
                assert_eq!(copies.remove(&sent.text(event)), Some(1), "{}", sent.text(event));
            }
        }
        if let Some(sent) = &caller.unanswered {
            let found: Vec<_> = (0..sent.events)
                .map(|event| copies.remove(&sent.text(event)).unwrap_or(0))
                .collect();
            assert!(
                found.iter().all(|copies| *copies == found[0] && *copies <= 1),
                "{}: {found:?} copies of its events",
                sent.key
            );
        }
    }
    assert!(copies.is_empty(), "nobody sent these: {copies:?}");
}

/// Waits until no child of another test has a copy of the lock of this process, so that a server can have it.
fn wait_for_the_lock(home: &Home) {
    let deadline = Instant::now() + LOCK_WAIT;
    while let Err(error) = DataLock::acquire(&home.data, "judge") {
        assert!(Instant::now() < deadline, "{error}");
        thread::yield_now();
    }
}

fn open(home: &Home) -> io::Result<SqliteStore> {
    let lock = DataLock::acquire(&home.data, "judge").map_err(io::Error::other)?;
    SqliteStore::open(Arc::new(lock), Arc::new(SystemClock), SqliteOptions::default())
        .map_err(io::Error::other)
}
