//! Clients of another tenant that send more than a node can take while its database does not answer, give up after a
//! moment and come again. Goals are appended without a look at anything else first, so all of it comes to the writer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_api::cli::main_ledger;
use ruche_domain::numbers::Position;
use ruche_ledger::testing::check_ledger;
use ruche_tests::server::{Home, Server};
use serde_json::{Value, json};

use crate::crew::{CODES, until};

const TENANT: &str = "flood";
/// Most give up after a moment; some wait for their answer, behind all that the others left in the queue.
const CLIENTS: u64 = 16;
const PATIENT_CLIENTS: u64 = 4;
const HASTY: Habit = Habit {
    // As many as the node works on at the same time.
    appends: 64,
    patience: Duration::from_secs(1),
};
const PATIENT: Habit = Habit {
    appends: 1,
    patience: Duration::from_secs(300),
};
/// Between two requests of a client that was refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of the text of each.
const TEXT_BYTES: usize = 16_384;

/// How a client asks.
#[derive(Clone, Copy)]
struct Habit {
    /// Appends of one request.
    appends: u64,
    /// It gives up after so long.
    patience: Duration,
}

/// The tenant and its clients.
pub struct Flood {
    key: String,
    seen: Arc<Seen>,
    /// Each ends with its longest wait for an answer, or a finding.
    clients: Vec<JoinHandle<Result<Duration, String>>>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Appends that were answered with `OVERLOADED`.
    refused: AtomicU64,
}

impl Flood {
    /// Makes the tenant. Nobody sends anything yet.
    pub fn new(home: &Home) -> Self {
        Self {
            key: home.new_key(TENANT, &["writer", "reader"]).expect("a key"),
            seen: Arc::default(),
            clients: Vec::new(),
        }
    }

    /// Sends until the node takes no more, and goes on.
    ///
    /// # Panics
    /// When it takes everything. A finding of a client is told by [`Flood::end`].
    pub fn until_refused(&mut self, node: &Server) {
        for client in 0..CLIENTS {
            let (url, key, seen) = (node.url.clone(), self.key.clone(), Arc::clone(&self.seen));
            let habit = if client < PATIENT_CLIENTS { PATIENT } else { HASTY };
            let send = move || send(client, habit, &url, &key, &seen);
            self.clients.push(thread::spawn(send));
        }
        until("the node says OVERLOADED", || {
            self.clients.iter().any(JoinHandle::is_finished) || self.seen.refused.load(Ordering::SeqCst) > 0
        });
    }

    /// Stops sending, and gives the longest wait for an answer.
    pub fn end(&mut self) -> Duration {
        self.seen.stop.store(true, Ordering::SeqCst);
        let clients = self.clients.drain(..);
        let longest = clients.map(|client| {
            let ended = client.join().expect("a client does not panic");
            ended.unwrap_or_else(|finding| panic!("{finding}"))
        });
        longest.max().unwrap_or_default()
    }

    /// What the clients left behind in the queue was written once, and the rest not at all. The node has ended.
    pub fn nothing_doubled(&self, home: &Home) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let records = runtime.block_on(async {
            let app = App::open_to_read(&home.common(), "judge")
                .await
                .expect("the store opens");
            let records = read(&app).await;
            app.close().await.expect("it closes");
            records
        });
        let different: BTreeSet<_> = records.iter().collect();
        assert_eq!(different.len(), records.len(), "a text is there twice");
        eprintln!("{} records of the flood", records.len());
        assert!(records.len() as u64 > HASTY.appends, "nothing was queued");
    }
}

/// The beginnings of the texts in the ledger, which tell them apart.
async fn read(app: &App) -> Vec<String> {
    let ledger = main_ledger(TENANT);
    check_ledger(app.events.as_ref(), ledger).await;
    let (mut texts, mut from) = (Vec::new(), Position::START);
    loop {
        let records = app
            .events
            .read_ledger(ledger, from, 1_000)
            .await
            .expect("records");
        let Some(last) = records.last() else { return texts };
        from = last.position.next();
        let messages = records.iter().filter(|r| r.leaf.event.event_type == "goal.set");
        texts.extend(messages.map(|record| {
            let payload = record.payload_bytes().expect("nothing is erased");
            let payload: Value = serde_json::from_slice(payload).expect("JSON");
            let text = payload["description"].as_str().expect("a text");
            text.split(' ').next().expect("a beginning").to_owned()
        }));
    }
}

/// Sends one request after the other, until told to stop. Gives the longest wait for an answer.
fn send(client: u64, habit: Habit, url: &str, key: &str, seen: &Seen) -> Result<Duration, String> {
    let http = Client::builder()
        .timeout(habit.patience)
        .build()
        .expect("a client");
    let filler = "x".repeat(TEXT_BYTES);
    let (mut request, mut longest) = (0, Duration::ZERO);
    while !seen.stop.load(Ordering::SeqCst) {
        request += 1;
        let appends = (0..habit.appends).map(|n| append(&format!("{client}/{request}/{n}"), &filler));
        let asked = http
            .post(format!("{url}/v1/events"))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(Value::from_iter(appends).to_string());
        let began = Instant::now();
        match asked.send().and_then(|answer| answer.text()) {
            Ok(text) => note(&text, seen)?,
            // It gives up; what it sent may be in the queue.
            Err(error) if error.is_timeout() => continue,
            Err(error) => return Err(format!("no failing database excuses this: {error:?}")),
        }
        longest = longest.max(began.elapsed());
        thread::park_timeout(RETRY_INTERVAL);
    }
    Ok(longest)
}

/// Each append has a receipt or a code that it may have.
fn note(answer: &str, seen: &Seen) -> Result<(), String> {
    let entries: Vec<Value> = serde_json::from_str(answer).map_err(|e| format!("{e}: {answer}"))?;
    for entry in entries.iter().filter(|entry| entry["receipts"].is_null()) {
        let code = entry["error"]["code"].as_str().unwrap_or_default();
        if !CODES.contains(&code) {
            return Err(format!("no failing database excuses this: {entry}"));
        }
        if code == "OVERLOADED" {
            seen.refused.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

fn append(key: &str, filler: &str) -> Value {
    let data = json!({ "goal_id": "flood", "description": format!("{key} {filler}") });
    json!({
        "idempotencyKey": key,
        "target": { "named": { "category": "goal", "externalId": "flood" } },
        "events": [{ "type": "goal.set", "data": data }],
    })
}
