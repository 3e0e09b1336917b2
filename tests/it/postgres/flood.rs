//! Clients of another tenant that send more than a node can take while its database does not answer, give up after a
//! moment and come again. Goals are appended without a look at anything else first, so all of it comes to the writer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_api::cli::main_ledger;
use ruche_domain::numbers::Position;
use ruche_ledger::testing::check_ledger;
use ruche_tests::server::{Home, Server};
use serde_json::{Value, json};

use crate::crew::{CODES, until};

const TENANT: &str = "flood";
const CLIENTS: u64 = 12;
/// Appends of one request: as many as the node works on at the same time.
const APPENDS: u64 = 64;
/// Bytes of the text of each.
const TEXT_BYTES: usize = 16_384;
/// A client gives up after so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tenant and its clients.
pub struct Flood {
    key: String,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
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
    /// When it takes everything.
    pub fn until_refused(&mut self, node: &Server) {
        for client in 0..CLIENTS {
            let (url, key, seen) = (node.url.clone(), self.key.clone(), Arc::clone(&self.seen));
            self.clients
                .push(thread::spawn(move || send(client, &url, &key, &seen)));
        }
        until("the node says OVERLOADED", || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished));
            self.seen.refused.load(Ordering::SeqCst) > 0
        });
    }

    /// Stops sending.
    pub fn end(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client has no finding");
        }
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
        assert!(
            records.len() as u64 > APPENDS,
            "only {} were queued",
            records.len()
        );
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

/// Sends one request after the other, until told to stop.
fn send(client: u64, url: &str, key: &str, seen: &Seen) {
    let http = Client::builder().timeout(PATIENCE).build().expect("a client");
    let filler = "x".repeat(TEXT_BYTES);
    let mut request = 0;
    while !seen.stop.load(Ordering::SeqCst) {
        request += 1;
        let appends: Vec<Value> = (0..APPENDS)
            .map(|n| append(&format!("{client}/{request}/{n}"), &filler))
            .collect();
        let asked = http
            .post(format!("{url}/v1/events"))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(Value::from(appends).to_string());
        // No answer in time: the client gives up.
        let Ok(text) = asked.send().and_then(|answer| answer.text()) else {
            continue;
        };
        let entries: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        for code in entries.iter().filter_map(|entry| entry["error"]["code"].as_str()) {
            match code {
                "OVERLOADED" => drop(seen.refused.fetch_add(1, Ordering::SeqCst)),
                other => assert!(CODES.contains(&other), "{other}"),
            }
        }
    }
}

fn append(key: &str, filler: &str) -> Value {
    let data = json!({ "goal_id": "flood", "description": format!("{key} {filler}") });
    json!({
        "idempotencyKey": key,
        "target": { "named": { "category": "goal", "externalId": "flood" } },
        "events": [{ "type": "goal.set", "data": data }],
    })
}
