//! A read model that stands before an event which it cannot apply: every answer that was read from it says so.

use std::convert::Infallible;

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_domain::ids::TurnId;
use ruche_domain::numbers::{Position, SchemaVersion};
use ruche_domain::ports::event_id;
use ruche_ledger::payload::Fragment;
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent};
use ruche_projections::change::Change;
use ruche_projections::event::ProjectedEvent;
use ruche_projections::projection::{PoisonReason, Projection};
use ruche_projections::runner::Runner;
use ruche_projections::usage::UsageAndOutcome;
use ruche_tests::server::{Home, caught_up, graphql, once_read};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::crew::until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// A version of a schema that no program here knows.
const NEWER: SchemaVersion = SchemaVersion(99);

/// Appends to the one session what a newer program could have written: a schema version that this one does not
/// know.
#[tokio::main(flavor = "current_thread")]
async fn append_poison(home: &Home) -> Position {
    let app = App::open(&home.common(), "a newer program")
        .await
        .expect("the store opens");
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let records = app.events.read_ledger(ledger, Position::START, 100).await;
    let records = records.expect("records");
    let session = records
        .iter()
        .find(|record| record.leaf.event.event_type == "session.started");
    let mut event = session.expect("a session").leaf.event.clone();
    event.event_id = event_id(&*app.clock, &*app.random);
    event.event_type = "turn.started".to_owned();
    event.schema_version = NEWER;
    event.turn = Some(TurnId(Uuid::from_u128(1)));
    let bytes = br#"{"attempt":1}"#.to_vec();
    let payload = Fragment::plain(&*app.random, "application/json", bytes).expect("a payload");
    let event = PreparedEvent {
        event,
        payload: vec![payload],
    };
    let request = AppendRequest::new(Vec::new(), vec![event], Vec::new()).expect("within the limits");
    let outcome = app.events.append(ledger, request).await.expect("an append");
    let AppendOutcome::Appended { receipts, .. } = outcome else {
        panic!("{outcome:?}")
    };
    app.close().await.expect("it closes");
    receipts[0].position
}

/// A tenant with one session, whose ledger then gets what no projection can apply.
fn poisoned(home: &Home) -> (String, Position) {
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let server = home.serve().expect("it serves");
    let client = Client::new();
    let start = "mutation { startSession(input: { idempotencyKey: \"s\", externalId: \"s\" }) {
        ... on StartSessionPayload { sessionId } } }";
    graphql(&client, &server.url, &key, start, Value::Null).expect("an answer");
    caught_up(&client, &server.url, &key).expect("the read models have it");
    assert!(server.stop().expect("it stops"), "it ended well");
    (key, append_poison(home))
}

#[test]
fn what_is_read_from_a_parked_read_model_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let (key, poison) = poisoned(&home);
    let client = Client::new();
    let server = home.serve().expect("it serves");
    let ask = |query: &str| -> Value {
        let request = client.post(format!("{}/graphql", server.url)).bearer_auth(&key);
        let request = request.header("content-type", "application/json");
        let answer = request.body(json!({ "query": query }).to_string()).send();
        let text = answer.and_then(|answer| answer.text()).expect("an answer");
        serde_json::from_str(&text).expect("JSON")
    };
    // Each model is parked on its own; other models have the event.
    let names = |answer: &Value| -> Vec<Value> {
        let models = answer["extensions"]["readModels"]["parked"].as_array();
        let models = models.into_iter().flatten();
        models.map(|model| model["name"].clone()).collect()
    };
    let below = "{ sessions { nodes { turns { nodes { id } } } } }";
    until("the read models are parked", || {
        names(&ask(below)) == ["sessions", "turns"]
    });
    let stale = json!({ "parked": [{ "name": "sessions", "before": poison.to_string() }] });
    let read = ask("{ totals { sessions } sessions { nodes { externalId } } }");
    assert_eq!(read["data"]["totals"]["sessions"], "1", "{read}");
    assert_eq!(read["extensions"]["readModels"], stale, "{read}");
    let tools = format!("{{ tools(minPosition: \"{poison}\") {{ name }} }}");
    let Ok(tools) = once_read(|| Ok::<_, Infallible>(ask(&tools)));
    assert!(tools["data"]["tools"].is_array(), "{tools}");
    assert_eq!(tools.get("extensions"), None, "{tools}");
    assert!(server.stop().expect("it stops"), "it ended well");
    settle(&home, poison);
    let server = home.serve().expect("it serves");
    let read =
        graphql(&client, &server.url, &key, "{ totals { sessions } }", Value::Null).expect("an answer");
    assert_eq!(read["totals"]["sessions"], "1", "{read}");
    assert!(server.stop().expect("it stops"), "it ended well");
}

/// As an operator does: sees what waits, tries again in vain, and decides to go on without it.
fn settle(home: &Home, poison: Position) {
    let states = |list: &Value| -> Vec<(String, String)> {
        let text = |line: &Value, name: &str| line[name].as_str().expect("text").to_owned();
        let lines = list.as_array().expect("lines").iter();
        lines
            .map(|line| (text(line, "projection"), text(line, "state")))
            .collect()
    };
    let list = home.run(&["projections", "list"]).expect("a list");
    let parked = states(&list);
    assert!(
        parked.len() > 1 && parked.iter().all(|(_, state)| state == "parked"),
        "{list}"
    );
    assert_eq!(list[0]["position"], poison.to_string(), "{list}");
    assert_eq!(list[0]["event_type"], "turn.started", "{list}");
    let again = home.end_of(&["projections", "redrive"]).expect("it runs");
    assert_eq!(again.code, Some(1), "this program does not know it either");
    assert_eq!(states(&again.json), parked);
    let elsewhere = [
        "--tenant",
        "acme",
        "--projection",
        "sessions",
        "--position",
        "1:0",
        "--reason",
        "nobody waits for it",
    ];
    let refused = home.end_of(&[&["projections", "discard"], &elsewhere[..]].concat());
    assert_eq!(refused.expect("it runs").code, Some(1));
    let position = poison.to_string();
    for (projection, _) in &parked {
        let event = [
            "--tenant",
            "acme",
            "--projection",
            projection,
            "--position",
            &position,
        ];
        let why = ["--reason", "a version that nobody has"];
        home.run(&[&["projections", "discard"], &event[..], &why].concat())
            .expect("it goes on");
    }
    let list = home.run(&["projections", "list"]).expect("a list");
    assert!(
        states(&list).iter().all(|(_, state)| state == "discarded"),
        "{list}"
    );
    let again = home.run(&["projections", "redrive"]).expect("nothing waits");
    assert_eq!(states(&again).len(), parked.len());
}

/// The projection of a version that knows the event, so it changes nothing here.
struct Upgraded;

impl Projection for Upgraded {
    fn name(&self) -> &'static str {
        UsageAndOutcome.name()
    }

    fn version(&self) -> u32 {
        UsageAndOutcome.version()
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        match event.record.leaf.event.schema_version {
            NEWER => Ok(Vec::new()),
            _ => UsageAndOutcome.apply(event),
        }
    }
}

/// An upgrade that knows the event: tried again it is applied, once, and all that came behind it.
#[tokio::main(flavor = "current_thread")]
async fn upgrade(home: &Home, poison: Position) {
    let app = App::open(&home.common(), "an upgrade")
        .await
        .expect("the store opens");
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let store = app.runner.store().clone();
    let waits = store.status(ledger, "usage").await.expect("a status");
    assert_eq!(waits.parked.map(|letter| letter.position), Some(poison));
    let upgraded = Runner::with(app.events.clone(), store.clone(), vec![&Upgraded]);
    let redrive = async || {
        upgraded
            .redrive(ledger, "usage", poison)
            .await
            .expect("it is tried")
    };
    assert!(redrive().await, "it waited");
    upgraded.catch_up(ledger).await.expect("it goes on");
    assert!(!redrive().await, "it does not wait any more");
    upgraded.catch_up(ledger).await.expect("there is nothing to do");
    let after = store.status(ledger, "usage").await.expect("a status");
    let head = app.events.head(ledger).await.expect("a head").expect("a ledger");
    assert_eq!(
        (after.parked, after.checkpoint.position),
        (None, head.last_position())
    );
    assert_eq!(after.checkpoint.applied, head.size.0, "each record once");
    app.close().await.expect("it closes");
}

/// As an administrator of the tenant does, while the server goes on: an event is tried five times and parked, what comes
/// later flows where it can, and a person has it tried again, or left out. Of what is left an upgrade applies it.
#[test]
fn a_18_what_cannot_be_applied_is_parked_and_tried_again_or_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let (writer, poison) = poisoned(&home);
    let admin = home.new_key("acme", &["admin"]).expect("a key");
    let client = Client::new();
    let server = home.serve().expect("it serves");
    let ask = |key: &str, query: &str| graphql(&client, &server.url, key, query, Value::Null);
    let wait = format!("{{ totals(minPosition: \"{poison}\") {{ sessions }} }}");
    let parked = "{ projections { name status position lagRecords gapless parked { position eventType error attempts } } }";
    let of_sessions = |found: &Value| {
        let all = found["projections"].as_array().expect("projections");
        all.iter()
            .find(|one| one["name"] == "sessions")
            .expect("sessions")
            .clone()
    };
    let mut tries = 0;
    let found = loop {
        // The server waits for the position itself, and ends the wait when the projection is parked.
        ask(&writer, &wait).expect_err("it does not get there");
        let found = of_sessions(&ask(&writer, parked).expect("an answer"));
        if found["status"] == "PARKED" {
            break found;
        }
        tries += 1;
        assert!(tries < 60, "the read model is not parked");
    };
    assert_eq!(found["parked"]["position"], poison.to_string(), "{found}");
    assert_eq!(found["parked"]["eventType"], "turn.started", "{found}");
    assert_eq!(found["parked"]["attempts"], 5, "{found}");
    assert_eq!(found["gapless"], true, "{found}");
    let registered =
        "mutation { registerTool(input: { idempotencyKey: \"r\", name: \"look_up\", sideEffect: PURE,
        owner: \"shop\", argumentSchema: { type: \"object\" } }) { ... on RegisterToolPayload { position }
        ... on Refusal { code message } } }";
    let registered = ask(&admin, registered).expect("an answer")["registerTool"].clone();
    let later = format!("{{ tools(minPosition: {}) {{ name }} }}", registered["position"]);
    let tools = ask(&writer, &later).expect("what comes later flows where it can");
    assert_eq!(tools["tools"][0]["name"], "look_up", "{tools}");
    let figures = client
        .get(format!("{}/metrics", server.url))
        .bearer_auth(&admin)
        .send();
    let figures = figures.and_then(|answer| answer.text()).expect("figures");
    let figure = |name: &str| -> f64 {
        let line = figures
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}"))
            .parse()
            .expect("a number")
    };
    assert!(figure("ruche_parked_projections") > 1.0, "{figures}");
    assert!(figure("ruche_parked_age_seconds") > 0.0, "{figures}");

    let cli = |key: &str, args: &[&str]| {
        home.end_of(&[&["projections", "--server", &server.url, "--key", key], args].concat())
            .expect("it runs")
    };
    let position = poison.to_string();
    let event = ["--projection", "sessions", "--position", &position];
    let forbidden = cli(&writer, &[&["redrive"], &event[..]].concat());
    assert_eq!(forbidden.code, Some(1), "a writer decides nothing");
    let again = cli(
        &admin,
        &[&["redrive"], &event[..], &["--reason", "tried by hand"]].concat(),
    );
    assert_eq!(again.code, Some(0), "{:?}", again.json);

    // It is tried again, in vain, and parked once more; then it goes on without it.
    let discard = format!(
        "mutation {{ discardEvent(input: {{ idempotencyKey: \"d\", projection: \"sessions\", position: \"{poison}\", \
         reason: \"a version that nobody has\" }}) {{ __typename ... on DiscardEventPayload {{ duplicate }} \
         ... on Refusal {{ code message }} }} }}"
    );
    let mut tries = 0;
    let discarded = loop {
        let told = ask(&admin, &discard).expect("an answer")["discardEvent"].clone();
        if told["code"] != "NOT_FOUND" {
            break told;
        }
        // Not parked again yet: to wait for the position is to wait for that.
        let _parked_meanwhile = ask(&writer, &wait);
        tries += 1;
        assert!(tries < 60, "{told}");
    };
    assert_eq!(discarded["duplicate"], false, "{discarded}");
    ask(&writer, &wait).expect("it went on");
    let told = ask(&admin, &discard).expect("an answer")["discardEvent"].clone();
    assert_eq!(told["duplicate"], true, "the first answer again: {told}");

    // Paused: what comes later is not shown, and who waits for it is told why.
    let paused = cli(&admin, &["pause", "sessions", "--reason", "the disk is moved"]);
    assert_eq!(paused.code, Some(0), "{:?}", paused.json);
    let start = "mutation { startSession(input: { idempotencyKey: \"t\", externalId: \"t\" }) {
        ... on StartSessionPayload { position } } }";
    let started = ask(&writer, start).expect("an answer");
    let later = started["startSession"]["position"]
        .as_str()
        .expect("a position")
        .to_owned();
    let later = format!("{{ totals(minPosition: \"{later}\") {{ sessions }} }}");
    let refused = ask(&writer, &later).expect_err("it is paused").to_string();
    assert!(refused.contains("is paused"), "{refused}");
    let status = cli(&writer, &["status"]);
    let status = of_sessions(&json!({ "projections": status.json }));
    assert_eq!(status["status"], "PAUSED", "{status}");
    let resumed = cli(&admin, &["resume", "sessions"]);
    assert_eq!(resumed.code, Some(0), "{:?}", resumed.json);
    let found = ask(&writer, &later).expect("it goes on");
    assert_eq!(found["totals"]["sessions"], "2", "{found}");

    // What was decided stands in the ledger, with who and why.
    let records = "{ ledger { records(first: 100) { nodes { type actor { kind } } } } }";
    let records = ask(&admin, records).expect("records");
    let nodes = records["ledger"]["records"]["nodes"].as_array().expect("records");
    let of_type = |name: &str| nodes.iter().filter(|node| node["type"] == name).count();
    for name in ["redriven", "discarded", "paused", "resumed"] {
        assert_eq!(of_type(&format!("infra.projection_{name}")), 1, "{records}");
    }
    assert!(server.stop().expect("it stops"), "it ended well");
    upgrade(&home, poison);
}
