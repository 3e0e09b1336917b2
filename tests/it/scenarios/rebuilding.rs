//! All read models are made anew while everybody goes on reading and writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ruche_api::app::App;
use ruche_tests::server::{Home, Server, caught_up};
use serde_json::{Value, json};

use crate::crew::{Crew, until};
use crate::live::client::Client;
use crate::load::{export_verifies, read_models_equal_a_rebuild};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Records of the ledger before; `cargo xtask soak` sets more.
const RECORDS_VARIABLE: &str = "RUCHE_SOAK_REBUILD_RECORDS";
const RECORDS: u64 = 2_000;
/// Clients that write and that read meanwhile, of each as many; in a soak more.
const CLIENTS: u64 = 4;
const SOAK_CLIENTS: u64 = 32;
/// Clients that fill the ledger at the start.
const FILLERS: u64 = 8;
/// Records of one turn with its request, and of the fact that is written behind it.
const RECORDS_OF_TURN: u64 = 8;
const PEOPLE: u64 = 10;
/// How long the read models may take to hold what the ledger was filled with, for each record of it.
const CATCH_UP_EACH_MAX: Duration = Duration::from_millis(20);

const QUESTION: &str = "query ($session: ID!, $about: String!) {
    session(id: $session) { externalId timeline(first: 50) { nodes { position type summary text } } }
    memory(about: $about, first: 50) { nodes { content knownFrom { position } } }
    outcomes(groupBy: [AGENT]) { agent outcome turns }
    usage(groupBy: [MODEL]) { model counts { turns toolCalls } } }";

/// A turn of a session that answers a question, and what was learned in it.
fn tell(client: &Client, turn: u64) {
    let session = json!({ "externalId": format!("told-{}", turn % PEOPLE) });
    let steps = json!([
        { "received": { "role": "USER", "text": format!("where is order {turn}?") } },
        { "said": { "toolCalls": [{ "name": "find_order", "arguments": format!("{{\"order\": {turn}}}") }],
            "modelCall": { "model": "gpt-4o", "usage": { "input": "812", "output": "21" } } } },
        { "settled": { "call": "0", "isMessage": true, "outcome": { "completed": { "result": "{\"state\": \"shipped\"}" } } } },
        { "said": { "text": "It is on its way." } }]);
    let input = json!({ "session": session, "agent": "support", "steps": steps,
        "end": { "committed": { "outcome": "ANSWERED" } } });
    client.sent("recordTurn", &format!("turn-{turn}"), input, "position");
    let fact = json!({ "record_id": format!("order-{turn}"), "about": format!("person-{}", turn % PEOPLE),
        "content": format!("asked for order {turn}"), "source_event_ids": [] });
    let input = json!({ "target": { "session": session },
        "events": [{ "type": "memory.written", "data": { "json": fact } }] });
    client.sent("appendEvents", &format!("fact-{turn}"), input, "position");
}

/// Fills the ledger, and waits until the read models hold it.
fn fill(url: &str, key: &str, records: u64) {
    let client = Client::new(url, key);
    for person in 0..PEOPLE {
        let input = json!({ "externalId": format!("told-{person}"), "agent": "support", "channel": "web" });
        client.sent("startSession", &format!("start-{person}"), input, "position");
    }
    let turns = records.div_ceil(RECORDS_OF_TURN);
    thread::scope(|scope| {
        for filler in 0..FILLERS {
            scope.spawn(move || {
                let client = Client::new(url, key);
                (filler..turns)
                    .step_by(FILLERS as usize)
                    .for_each(|turn| tell(&client, turn));
            });
        }
    });
    let deadline = Instant::now() + CATCH_UP_EACH_MAX * u32::try_from(records).expect("not so many");
    while let Err(error) = caught_up(&client.http, url, key) {
        assert!(error.to_string().contains("READ_MODEL_BEHIND"), "{error}");
        assert!(
            Instant::now() < deadline,
            "the read models do not catch up: {error}"
        );
    }
}

/// Clients that ask the same again and again. What they ask about nobody changes meanwhile, so the answer stays the same.
struct Readers {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Readers {
    fn start(servers: &[Server], key: &str, clients: u64, question: &Value, expected: &Value) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..clients).map(|number| {
            let client = Client::new(&servers[number as usize % servers.len()].url, key);
            let (question, expected) = (question.clone(), expected.clone());
            let (stop, answers) = (stop.clone(), answers.clone());
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::SeqCst) {
                    let asked = Instant::now();
                    assert_eq!(client.ask(QUESTION, question.clone()), expected);
                    longest = longest.max(asked.elapsed());
                    answers.fetch_add(1, Ordering::SeqCst);
                }
                longest
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            answers,
            threads,
        }
    }

    /// How many answers came, and the longest wait for one.
    fn finish(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let longest = self
            .threads
            .into_iter()
            .map(|reader| reader.join().expect("every answer is the same"));
        (
            self.answers.load(Ordering::SeqCst),
            longest.max().unwrap_or_default(),
        )
    }
}

#[test]
fn a_17_read_models_are_made_anew_while_clients_read_and_write() {
    let (records, clients) = match std::env::var(RECORDS_VARIABLE) {
        Ok(text) => (text.parse().expect("a number of records"), SOAK_CLIENTS),
        Err(_) => (RECORDS, CLIENTS),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = |roles: &[&str]| home.new_key("acme", roles).expect("a key");
    let (agent, admin) = (key(&["writer", "reader", "auditor"]), key(&["admin"]));
    let nodes = if home.databases.is_some() { 2 } else { 1 };
    let servers: Vec<Server> = (0..nodes).map(|_| home.serve().expect("a node")).collect();
    fill(&servers[0].url, &agent, records);
    let (reader, operator) = (
        Client::new(&servers[0].url, &agent),
        Client::new(&servers[0].url, &admin),
    );
    let sessions = reader.ask("{ sessions(first: 1) { nodes { id } } }", Value::Null);
    let question = json!({ "session": sessions["sessions"]["nodes"][0]["id"], "about": "person-1" });
    let expected = reader.ask(QUESTION, question.clone());
    assert!(
        expected["memory"]["nodes"][0]["content"].is_string(),
        "{expected}"
    );
    assert!(
        expected["session"]["timeline"]["nodes"][0].is_object(),
        "{expected}"
    );

    let mut writers = Crew::on(&servers, &agent, clients);
    writers.each_acknowledged(1);
    let readers = Readers::start(&servers, &agent, clients, &question, &expected);
    let began = Instant::now();
    let input = json!({ "reason": "a column was added" });
    let asked = operator.sent(
        "rebuildReadModels",
        "rebuild",
        input.clone(),
        "position duplicate",
    );
    let again = operator.sent("rebuildReadModels", "rebuild", input, "position duplicate");
    assert_eq!(
        (&again["position"], &again["duplicate"]),
        (&asked["position"], &json!(true)),
        "who asks again with the same key is told the same, and nothing more is done"
    );
    let progress =
        "{ rebuild { state reason requestedAt appliedRecords totalRecords timeLeftMs endedAt compared
        differences { table } error } }";
    let mut last = Value::Null;
    until("the read models are made anew", || {
        last = operator.ask(progress, Value::Null)["rebuild"].clone();
        let count = |field: &str| -> u64 { last[field].as_str().expect("a count").parse().expect("digits") };
        assert!(count("appliedRecords") <= count("totalRecords"), "{last}");
        assert_eq!(last["requestedAt"], asked["position"], "{last}");
        !last["endedAt"].is_null()
    });
    let took = began.elapsed();
    assert_eq!(
        (&last["state"], &last["error"]),
        (&json!("DONE"), &Value::Null),
        "{last}"
    );
    assert_eq!(
        (&last["compared"], &last["differences"]),
        (&json!(true), &json!([])),
        "the old ones said what the records say, row by row: {last}"
    );
    // What is written now is in the new ones.
    writers.each_acknowledged(3);
    caught_up(&reader.http, &reader.url, &agent).expect("the new read models follow");
    let (answers, longest) = readers.finish();
    let (callers, told) = writers.finish();
    assert!(answers > clients, "they read all the time: {answers}");
    assert!(told.codes.is_empty(), "every write was taken at once: {told:?}");
    eprintln!(
        "made anew from {} records in {took:?} while {clients} clients wrote and {clients} read: {answers} answers, \
         the longest after {longest:?}",
        last["appliedRecords"].as_str().unwrap_or_default()
    );
    who_had_it_done_stands_in_the_ledger(&reader, &asked["position"]);
    for server in servers {
        assert!(server.stop().expect("a node can be told to stop"));
    }
    assert!(callers.iter().all(|caller| caller.acknowledged() > 3));
    once_more(&home);
    export_verifies(&home, "acme", folder.path());
}

/// The tables that took over, and followed, are held against the records once more.
#[tokio::main(flavor = "current_thread")]
async fn once_more(home: &Home) {
    let app = App::open(&home.common(), "judge").await.expect("the store opens");
    read_models_equal_a_rebuild(&app).await;
    app.close().await.expect("it closes");
}

/// Two facts: that somebody asked, with the reason, and that it was done, because of the first one.
fn who_had_it_done_stands_in_the_ledger(reader: &Client, position: &Value) {
    let query = "query ($position: Position!) { record(position: $position) { type eventId actor { kind reference } payloadText } }";
    let requested = reader.ask(query, json!({ "position": position }))["record"].clone();
    assert_eq!(requested["type"], "infra.rebuild_requested", "{requested}");
    let payload = requested["payloadText"].as_str().expect("a payload");
    assert!(payload.contains("a column was added"), "{payload}");
    assert!(
        requested["actor"]["reference"].is_string(),
        "whose key it was: {requested}"
    );
    let (mut found, mut after) = (Vec::new(), Value::Null);
    let page = "query ($after: String) { ledger { records(first: 100, after: $after) {
        nodes { position type payloadText } pageInfo { hasNextPage endCursor } } } }";
    loop {
        let records = reader.ask(page, json!({ "after": after }))["ledger"]["records"].clone();
        let nodes = records["nodes"].as_array().expect("records").iter();
        found.extend(
            nodes
                .filter(|node| node["type"] == "infra.rebuild_completed")
                .cloned(),
        );
        if records["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = records["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let payload: Value =
        serde_json::from_str(found[0]["payloadText"].as_str().expect("a payload")).expect("JSON");
    assert_eq!(
        (&payload["requested_at"], &payload["equal"]),
        (position, &json!(true)),
        "{payload}"
    );
}
