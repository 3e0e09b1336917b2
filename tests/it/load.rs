//! Callers that append through the API and remember what they were told, and the judge of what they remember.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::testing::check_ledger;
use ruche_projections::rebuild::RebuildProgress;
use ruche_tests::server::{Home, graphql};
use serde_json::{Value, json};

const APPEND: &str = "mutation Append($input: AppendEventsInput!) { appendEvents(input: $input) {
    __typename ... on AppendEventsPayload { receipts { position leafHash duplicate } }
    ... on Refusal { code message } } }";

const START: &str =
    "mutation Start($input: StartSessionInput!) { startSession(input: $input) { __typename } }";

const READ: &str = "query Read($after: String) { ledger { records(first: 100, after: $after) {
    nodes { position leafHash type payloadText } pageInfo { hasNextPage endCursor } } } }";

/// What callers append.
const MESSAGE: &str = "message.received";

/// An answer that takes longer is none. More than a server takes whose database is away.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(120);

/// Refusals after which the same request is sent again.
const PASSING: [&str; 4] = ["OVERLOADED", "UNAVAILABLE", "UNKNOWN_OUTCOME", "CONTENTION"];

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
pub struct Caller {
    number: u64,
    /// The tenant's key.
    key: String,
    client: Client,
    next: u64,
    /// Sent, and the answer was lost with the server.
    unanswered: Option<Sent>,
    answered: Vec<Sent>,
    /// Position and leaf hash of each acknowledged record.
    records: Vec<(Position, String)>,
}

impl Caller {
    /// One with a number of its own, of the tenant whose key it has.
    pub fn new(number: u64, key: &str) -> Self {
        let client = Client::builder().timeout(ANSWER_WAIT_MAX).build();
        Self {
            number,
            key: key.to_owned(),
            client: client.expect("a client"),
            next: 0,
            unanswered: None,
            answered: Vec::new(),
            records: Vec::new(),
        }
    }

    /// How many records were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.records.len()
    }

    /// Makes sure that its session is there.
    pub fn start(&self, url: &str) -> io::Result<()> {
        let number = self.number;
        let start =
            json!({ "idempotencyKey": format!("start/{number}"), "externalId": format!("session {number}") });
        graphql(&self.client, url, &self.key, START, json!({ "input": start })).map(drop)
    }

    /// Repeats what was not answered, or sends the next append.
    pub fn send(&mut self, url: &str) -> io::Result<()> {
        if self.unanswered.is_none() {
            self.unanswered = Some(Sent {
                key: format!("{}/{}", self.number, self.next),
                events: 1 + self.next % 3,
            });
            self.next += 1;
        }
        self.repeat(url)
    }

    /// Sends what has no answer yet, with its own key.
    pub fn repeat(&mut self, url: &str) -> io::Result<()> {
        let Some(sent) = self.unanswered.clone() else {
            return Ok(());
        };
        let events: Vec<_> = (0..sent.events)
            .map(|event| {
                let text = json!({ "role": "user", "text": sent.text(event) }).to_string();
                json!({ "type": MESSAGE, "schemaVersion": 1, "data": { "text": text } })
            })
            .collect();
        let input = json!({
            "idempotencyKey": sent.key,
            "target": { "session": { "externalId": format!("session {}", self.number) } },
            "events": events,
        });
        let data = graphql(&self.client, url, &self.key, APPEND, json!({ "input": input }))?;
        let answer = &data["appendEvents"];
        if let Some(code) = answer["code"].as_str() {
            assert!(PASSING.contains(&code), "refused: {data}");
            return Err(io::Error::other(code.to_owned()));
        }
        let receipts = answer["receipts"]
            .as_array()
            .unwrap_or_else(|| panic!("no receipts: {data}"));
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

/// Reads a whole ledger, and compares it with what `callers`, all that wrote to it, were told.
pub async fn judge<'c>(app: &App, ledger: LedgerId, callers: impl Iterator<Item = &'c Caller>) {
    check_ledger(app.events.as_ref(), ledger).await;
    let mut found = Found::default();
    let mut from = Position::START;
    loop {
        let records = app
            .events
            .read_ledger(ledger, from, 1_000)
            .await
            .expect("records");
        let Some(last) = records.last() else { break };
        from = last.position.next();
        for record in &records {
            let is_message = record.leaf.event.event_type == MESSAGE;
            let payload = is_message.then(|| record.payload_bytes().expect("nothing is erased"));
            found.take(record.position, record.leaf_hash().to_string(), payload);
        }
    }
    found.compare(callers);
}

/// The same as [`judge`] for whoever has nothing but a key: the ledger is read over GraphQL.
pub fn judge_from_outside<'c>(url: &str, key: &str, callers: impl Iterator<Item = &'c Caller>) {
    let client = Client::builder().timeout(ANSWER_WAIT_MAX).build();
    let client = client.expect("a client");
    let (mut found, mut after) = (Found::default(), Value::Null);
    loop {
        let page = graphql(&client, url, key, READ, json!({ "after": after })).expect("a page of the ledger");
        let page = &page["ledger"]["records"];
        for record in page["nodes"].as_array().expect("records") {
            let text = |name: &str| record[name].as_str().expect("a text");
            let payload = (text("type") == MESSAGE).then(|| text("payloadText").as_bytes());
            let position = text("position").parse().expect("a position");
            found.take(position, text("leafHash").to_owned(), payload);
        }
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    found.compare(callers);
}

/// What is in a ledger: hashes of its records, and how often each text of a message.
#[derive(Default)]
struct Found {
    hashes: BTreeMap<Position, String>,
    copies: BTreeMap<String, u64>,
}

impl Found {
    fn take(&mut self, position: Position, leaf_hash: String, message: Option<&[u8]>) {
        self.hashes.insert(position, leaf_hash);
        if let Some(payload) = message {
            let payload: Value = serde_json::from_slice(payload).expect("JSON");
            let text = payload["text"].as_str().expect("a text").to_owned();
            *self.copies.entry(text).or_default() += 1;
        }
    }

    /// Every acknowledged record is where it was told to be; the events of an answered key are there once, those of an
    /// unanswered one once or not at all, and nothing else is.
    fn compare<'c>(self, callers: impl Iterator<Item = &'c Caller>) {
        let Self { hashes, mut copies } = self;
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
}

/// The read models went through every kill; made anew from the ledger they are the same, row by row.
pub async fn read_models_equal_a_rebuild(app: &App) {
    for ledger in app.events.ledgers().await.expect("ledgers") {
        app.catch_up(ledger).await.expect("the read models catch up");
    }
    let report = app.rebuild(&RebuildProgress::default()).await.expect("a rebuild");
    assert!(report.compared && report.switched, "{report:?}");
    assert_eq!(report.differences, []);
}

/// The ledger of a tenant is exported, and the verifier finds nothing.
pub fn export_verifies(home: &Home, tenant: &str, folder: &Path) {
    let shown = home
        .run(&["ledger", "show", "--tenant", tenant])
        .expect("the ledger is shown");
    let key = shown[0]["verifier_key"]
        .as_str()
        .unwrap_or_else(|| panic!("no key in {shown}"));
    let target = folder.join(format!("export-{tenant}"));
    let target = target.to_str().expect("a path in UTF-8");
    home.run(&["export", "--tenant", tenant, target])
        .expect("it is exported");
    let report = home.run(&["verify", target, "--key", key]).expect("it verifies");
    assert_eq!(report["verdict"], "VERIFIED", "{report}");
}
