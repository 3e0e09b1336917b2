//! A read model that stands before an event which it cannot apply: every answer that was read from it says so.

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_domain::ids::TurnId;
use ruche_domain::numbers::{Position, SchemaVersion};
use ruche_domain::ports::event_id;
use ruche_ledger::payload::Fragment;
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent};
use ruche_tests::server::{Home, graphql};
use serde_json::{Value, json};
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

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
    event.schema_version = SchemaVersion(99);
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

#[test]
fn what_is_read_from_a_parked_read_model_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    let client = Client::new();
    let server = home.serve().expect("it serves");
    let start = "mutation { startSession(input: { idempotencyKey: \"s\", externalId: \"s\" }) {
        ... on StartSessionPayload { sessionId position } } }";
    let started = graphql(&client, &server.url, &key, start, Value::Null).expect("an answer");
    let at = &started["startSession"]["position"];
    let wait = "query ($at: Position!) { sessions(minPosition: $at) { nodes { id } } usage(groupBy: [], minPosition: $at) { agent } }";
    graphql(&client, &server.url, &key, wait, json!({ "at": at })).expect("the read models have it");
    assert!(server.stop().expect("it stops"), "it ended well");

    let poison = append_poison(&home);
    let server = home.serve().expect("it serves");
    let ask = |query: &str| -> Value {
        let request = client.post(format!("{}/graphql", server.url)).bearer_auth(&key);
        let request = request.header("content-type", "application/json");
        let answer = request.body(json!({ "query": query }).to_string()).send();
        let text = answer.and_then(|answer| answer.text()).expect("an answer");
        serde_json::from_str(&text).expect("JSON")
    };
    // The server itself waits, and answers as soon as the model is parked; other models have the event.
    let parked = format!("{{ totals(minPosition: \"{poison}\") {{ sessions }} }}");
    let mut tries = 0;
    while ask(&parked)["errors"][0]["extensions"]["retryable"] != false {
        tries += 1;
        assert!(tries < 60, "the read model is not parked");
    }
    let stale = json!({ "parked": [{ "name": "sessions", "before": poison.to_string() }] });
    let read = ask("{ totals { sessions } sessions { nodes { externalId } } }");
    assert_eq!(read["data"]["totals"]["sessions"], "1", "{read}");
    assert_eq!(read["extensions"]["readModels"], stale, "{read}");
    let tools = ask(&format!("{{ tools(minPosition: \"{poison}\") {{ name }} }}"));
    assert!(tools["data"]["tools"].is_array(), "{tools}");
    assert_eq!(tools.get("extensions"), None, "{tools}");
    let below = ask("{ sessions { nodes { turns { nodes { id } } } } }");
    let names = below["extensions"]["readModels"]["parked"].as_array();
    let names: Vec<&Value> = names
        .expect("a list")
        .iter()
        .map(|model| &model["name"])
        .collect();
    assert_eq!(names, ["sessions", "turns"], "{below}");
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
        home.run(&[&["projections", "discard"], &event[..]].concat())
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
