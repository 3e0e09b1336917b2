//! R1 on the command line and over the API, before and after a record was written past the pipeline.

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::TurnCommitted;
use ruche_domain::ids::{EventId, TurnId};
use ruche_domain::numbers::{Position, SchemaVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent};
use ruche_ledger::testing::SeededRandom;
use ruche_replay::{View, What};
use ruche_tests::server::{Home, graphql};
use serde_json::{Value, json};

use super::{World, view};

pub(super) const VERIFY: &str =
    "query ($from: Position, $to: Position) { verifyRange(from: $from, to: $to) { from to holds records
    recordsRead findingsTotal findings { name position epoch detail } appendsDecidedAgain keys votes unsealed
    notCovered { what } } }";

/// A turn that is over is committed once more, past the pipeline.
pub(super) async fn forge(world: &World) -> Position {
    let at = world.at(world.last().await).await;
    let mut found: Option<(StreamId, TurnId)> = None;
    for lane in world.crowd.lanes() {
        if let Some(View::Lane(lane)) = view(&at, What::Lane(lane)).await {
            let over = lane.turns.iter().find(|turn| turn.state == "committed");
            found = found.or(over.map(|turn| (turn.stream.parse().expect("a stream"), turn.id)));
        }
    }
    let (stream, turn) = found.expect("a turn is over");
    let fact = AgentEvent::from(TurnCommitted::default());
    let random = SeededRandom::new(99);
    let event = ACFEvent {
        turn: Some(turn),
        ..ACFEvent::new(
            EventId::v7(world.start.as_millis(), [9; 10]),
            stream,
            fact.event_type(),
            SchemaVersion(1),
            world.start,
            Actor::SYSTEM,
        )
    };
    let payload = Fragment::plain(&random, JSON, fact.to_payload()).expect("it is small");
    let event = PreparedEvent {
        event,
        payload: vec![payload],
    };
    let request = AppendRequest::new(vec![], vec![event], vec![]).expect("one event");
    let appended = world.app.events.append(world.ledger, request).await;
    match appended.expect("it is appended") {
        AppendOutcome::Appended { receipts, .. } => receipts[0].position,
        other => panic!("{other:?}"),
    }
}

/// What `ruche replay verify` says: exit code and report.
pub(super) fn verify(home: &Home, more: &[&str]) -> (Option<i32>, Value) {
    let told = home.end_of(&[&["replay", "verify", "--tenant", "acme"], more].concat());
    let told = told.expect("it starts");
    assert!(told.json != Value::Null, "{}", told.said);
    (told.code, told.json)
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_finds_nothing_in_what_ruche_wrote_and_what_was_written_past_it() {
    let mut world = World::of(5).await;
    let before = world.last().await;
    world.app.close().await.expect("it closes and seals");
    let (code, report) = verify(&world.home, &[]);
    assert_eq!((code, &report["counts"]), (Some(0), &json!({})), "{report}");
    assert_eq!(
        (&report["unsealed"], &report["to"]),
        (&json!(0), &json!(before)),
        "{report}"
    );
    assert!(report["decided"]["appends"].as_u64() > Some(50), "{report}");
    assert_eq!(report["tree_heads"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["not_covered"], json!([]), "{report}");

    world.app = App::open(&world.home.common(), "test")
        .await
        .expect("the store opens");
    let forged = forge(&world).await;
    let World {
        _folder, home, app, ..
    } = world;
    app.close().await.expect("it closes and seals");
    let (code, report) = verify(&home, &[]);
    let finding = &report["findings"][0];
    assert_eq!(
        (code, &finding["name"]),
        (Some(2), &json!("ILLEGAL_TRANSITION")),
        "{report}"
    );
    assert_eq!(finding["position"], json!(forged), "{report}");
    // It is not in front of itself.
    let (code, _) = verify(&home, &["--to", &before.to_string()]);
    assert_eq!(code, Some(0));
    let backwards = [
        "replay", "verify", "--tenant", "acme", "--from", "1:9", "--to", "1:3",
    ];
    assert_eq!(home.end_of(&backwards).expect("it starts").code, Some(1));
    let nowhere = ["replay", "verify", "--tenant", "acme", "--to", "3:0"];
    assert_eq!(home.end_of(&nowhere).expect("it starts").code, Some(1));

    tokio::task::spawn_blocking(move || over_the_api(&home, &report, forged, before))
        .await
        .expect("the API says the same");
}

/// The API says what the command line said of the same ledger.
fn over_the_api(home: &Home, told: &Value, forged: Position, before: Position) {
    let key = home.new_key("acme", &["auditor"]).expect("a key");
    let place = before.to_string();
    let state = [
        "replay",
        "state",
        "--tenant",
        "acme",
        "--at",
        &place,
        "--lane",
        "shop/ann/web",
    ];
    let of_lane = home.run(&state).expect("a state");
    let server = home.serve().expect("the server starts");
    let client = Client::new();
    let ask = |query: &str, variables: Value| graphql(&client, &server.url, &key, query, variables);

    let answer = ask(VERIFY, json!({ "to": forged })).expect("an answer");
    let range = &answer["verifyRange"];
    assert_eq!(range["findings"], told["findings"], "{range}");
    assert_eq!(
        (&range["holds"], &range["findingsTotal"]),
        (&json!(false), &json!("1")),
        "{range}"
    );
    let decided = told["decided"]["appends"].as_u64().expect("a number");
    assert_eq!(
        range["appendsDecidedAgain"],
        json!(decided.to_string()),
        "{range}"
    );
    let one = ask(VERIFY, json!({ "from": place, "to": place })).expect("an answer");
    assert_eq!(one["verifyRange"]["holds"], true, "{one}");
    let backwards = ask(VERIFY, json!({ "from": place, "to": "1:0" })).expect_err("no range");
    assert!(backwards.to_string().contains("INVALID_ARGUMENT"), "{backwards}");
    let nowhere = ask(VERIFY, json!({ "to": "9:0" })).expect_err("no such record");
    assert!(nowhere.to_string().contains("NOT_FOUND"), "{nowhere}");

    let query = "query ($p: Position, $t: DateTime, $of: StateOf!) {
        stateAt(of: $of, position: $p, time: $t) { position state digest undecidableFrom } }";
    let named = json!({ "agent": "shop", "interlocutor": "ann", "channel": "web" });
    for of in [
        json!({ "laneNamed": named }),
        json!({ "lane": of_lane["state"]["lane"]["id"] }),
    ] {
        let answer = ask(query, json!({ "of": of, "p": place })).expect("an answer");
        let state = &answer["stateAt"];
        assert_eq!(
            (&state["state"], &state["digest"]),
            (&of_lane["state"], &of_lane["digest"]),
            "{state}"
        );
    }
    let turn = &of_lane["state"]["lane"]["turns"][0];
    let answer = ask(query, json!({ "of": { "turn": turn["id"] }, "p": place })).expect("an answer");
    assert_eq!(&answer["stateAt"]["state"]["turn"], turn);
    let early = json!({ "of": { "tool": "book_seat" }, "t": "1999-01-01T00:00:00Z" });
    let early = ask(query, early).expect_err("there was no record");
    assert!(early.to_string().contains("NOT_FOUND"), "{early}");
    assert!(server.stop().expect("it stops"), "it ended well");
}
