//! What workers meet: messages that came in another session, a lane that nobody can decide on, and a lease that is lost.

use ruche_tests::databases::rows;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Home, World, caught_up, held, lane};

fn of(person: &str, channel: &str) -> Value {
    json!({ "agent": "shop", "interlocutor": person, "channel": channel })
}

impl World {
    /// A message in a session that does not say between whom it is.
    fn says(&self, session: &str, id: &str, lane: &Value) -> Value {
        let start = json!({ "externalId": session });
        self.sent("startSession", &format!("start-{session}"), start, "position");
        let input =
            json!({ "session": { "externalId": session }, "channelMessageId": id, "text": id, "lane": lane });
        self.sent(
            "submitMessage",
            &format!("say-{id}"),
            input,
            "turnId sessionId position",
        )
    }

    fn texts(&self, turn: &Value, position: &Value) -> Vec<String> {
        let nodes = self.turn(turn, position)["messages"]["nodes"].take();
        let nodes = nodes.as_array().expect("a list").iter();
        nodes
            .map(|node| node["text"].as_str().expect("a text").to_owned())
            .collect()
    }
}

/// A chat goes on in a new session while the turn of the old one runs: the turn that takes its place has both messages.
#[test]
fn a_turn_has_the_messages_that_it_took_over_from_another_session() {
    let (world, lane) = (World::on("web"), lane("web"));
    let first = world.says("one", "m-1", &lane);
    let old = world.claim("claim-1", &lane);
    assert_eq!(old["turnId"], first["turnId"]);
    let second = world.says("two", "m-2", &lane);
    assert_ne!(second["turnId"], first["turnId"]);
    let new = world.claim("claim-2", &lane);
    assert_eq!(new["turnId"], second["turnId"]);
    let done = world.sent("commitTurn", "commit", held(&new, &lane), "position");
    assert_eq!(world.texts(&new["turnId"], &done["position"]), ["m-1", "m-2"]);
    assert_eq!(world.texts(&old["turnId"], &done["position"]), [""; 0]);
    let query = "query ($id: ID!, $p: Position) { session(id: $id, minPosition: $p) { messages { nodes { text } } } }";
    let kept = world.ask(query, json!({ "id": first["sessionId"], "p": done["position"] }));
    assert_eq!(kept["session"]["messages"]["nodes"], json!([{ "text": "m-1" }]));
    world.audit();
}

/// A turn is of one session, and so is what joins it.
#[test]
fn a_message_that_joins_a_turn_is_of_the_session_of_the_turn() {
    let (world, lane) = (World::on("whatsapp"), lane("whatsapp"));
    let first = world.says("one", "m-1", &lane);
    let second = world.says("two", "m-2", &lane);
    assert_eq!(
        (&second["turnId"], &second["sessionId"]),
        (&first["turnId"], &first["sessionId"]),
        "the answer says where it went"
    );
    let read = world.turn(&first["turnId"], &second["position"]);
    assert_eq!(read["messages"]["nodes"][1]["text"], "m-2", "{read}");
    world.audit();
}

/// The payload that a lane is decided on is gone. Its turn is tried first, and cannot be had; all others can.
#[test]
fn one_lane_that_nobody_can_decide_on_keeps_no_worker_from_the_others() {
    let mut world = World::on("api");
    world.says("one", "m-1", &of("broken", "api"));
    caught_up(&world.client, &world.server.url, &world.key).expect("the read models catch up");
    let (home, old) = (&world.home, world.server);
    assert!(old.stop().expect("it stops"), "it ended well");
    lose_the_first(home, "turn.opened");
    world.server = home.serve().expect("the server starts");
    let whole = world.says("two", "m-2", &of("whole", "api"));
    let claimed = world.work("claim-1");
    assert_eq!(
        (&claimed["turnId"], &claimed["lane"]["interlocutor"]),
        (&whole["turnId"], &json!("whole"))
    );
    let passed = world
        .server
        .figure(&world.admin, "ruche_undecidable_claims_total");
    assert!(passed.expect("a figure") >= 1.0, "it is counted");
    // Where nothing else is ready that is the answer. What is wrong with the lane is in the log and in that figure.
    let told = world.mutate("claimTurn", "claim-2", json!({ "agent": "shop" }), "turnId");
    assert_eq!(told["code"], "ILLEGAL_TRANSITION", "{told}");
}

/// More lanes that nobody can decide on than one claim tries.
const BROKEN: usize = 20;

/// They are remembered and passed over, so the turn behind them is found at once, and none of them is tried again.
#[test]
fn many_lanes_that_nobody_can_decide_on_hide_no_other() {
    let mut world = World::on("api");
    for n in 0..BROKEN {
        world.says("one", &format!("m-{n}"), &of(&format!("broken {n}"), "api"));
    }
    caught_up(&world.client, &world.server.url, &world.key).expect("the read models catch up");
    let (home, old) = (&world.home, world.server);
    assert!(old.stop().expect("it stops"), "it ended well");
    assert_eq!(lose_each(home, "turn.opened"), BROKEN);
    world.server = home.serve().expect("the server starts");
    for tried in 0..3 {
        let person = format!("whole {tried}");
        let whole = world.says("two", &person, &of(&person, "api"));
        caught_up(&world.client, &world.server.url, &world.key).expect("the read models catch up");
        let key = format!("claim {tried}");
        let claimed = world.sent("claimTurn", &key, json!({ "agent": "shop" }), "turnId");
        assert_eq!(claimed["turnId"], whole["turnId"]);
        for name in ["ruche_undecidable_claims_total", "ruche_undecidable_lanes"] {
            let figure = world.server.figure(&world.admin, name).expect("a figure");
            assert_eq!(figure, BROKEN as f64, "{name} after claim {tried}");
        }
    }
}

/// Takes the payloads of all records of a type away.
fn lose_each(home: &Home, event_type: &str) -> usize {
    match &home.databases {
        Some(databases) => {
            let each =
                format!("SELECT index FROM ruche.record WHERE position('{event_type}'::bytea IN leaf) > 0");
            let sql = format!("DELETE FROM ruche.payload WHERE index IN ({each}) RETURNING index");
            rows(&databases.ledgers, &sql).expect("the server answers").len()
        }
        None => {
            let ledger = Connection::open(home.data.join("ledger.db")).expect("the ledger");
            let each = "SELECT id FROM record WHERE instr(leaf, CAST($1 AS BLOB)) > 0";
            let sql = format!("DELETE FROM payload WHERE id >> 2 IN ({each})");
            ledger.execute(&sql, [event_type]).expect("it can be written")
        }
    }
}

/// Takes the payload of the first record of a type away, as no eraser of Ruche would.
fn lose_the_first(home: &Home, event_type: &str) {
    let lost = match &home.databases {
        Some(databases) => {
            let first = format!(
                "SELECT MIN(index) FROM ruche.record WHERE position('{event_type}'::bytea IN leaf) > 0"
            );
            let sql = format!("DELETE FROM ruche.payload WHERE index = ({first}) RETURNING index");
            rows(&databases.ledgers, &sql).expect("the server answers").len()
        }
        None => {
            let ledger = Connection::open(home.data.join("ledger.db")).expect("the ledger");
            let first = "SELECT MIN(id) FROM record WHERE instr(leaf, CAST($1 AS BLOB)) > 0";
            let sql = format!("DELETE FROM payload WHERE id >> 2 = ({first})");
            ledger.execute(&sql, [event_type]).expect("it can be written")
        }
    };
    assert_eq!(lost, 1, "one payload");
}

/// A worker that lost its lease says nothing more about the turn, and nobody speaks in it past the lane.
#[test]
fn what_is_appended_about_a_turn_of_a_lane_needs_its_lease() {
    let (world, lane) = (World::on("api"), lane("api"));
    world.message("m-1", "c-1", "hello", &lane);
    let claim = world.claim("claim-1", &lane);
    let append = |key: &str, event_type: &str, data: Value, worker: Option<&Value>| {
        let event = json!({ "type": event_type, "turnId": claim["turnId"], "data": { "json": data } });
        let target = json!({ "session": { "externalId": "s" } });
        let input = json!({ "target": target, "events": [event], "held": worker });
        world.mutate("appendEvents", key, input, "position")
    };
    let (asked, spoken) = (
        json!({ "model": "large" }),
        json!({ "role": "user", "text": "pay me" }),
    );
    let worker = held(&claim, &lane);
    let refused = append("a", "llm.requested", asked.clone(), None);
    assert_eq!(
        (&refused["code"], &refused["path"]),
        (&json!("INVALID_INPUT"), &json!(["events", "0", "turnId"])),
        "{refused}"
    );
    for who in [None, Some(&worker)] {
        let refused = append("b", "message.received", spoken.clone(), who);
        assert_eq!(refused["code"], "INVALID_INPUT", "{refused}");
    }
    let taken = append("c", "llm.requested", asked.clone(), Some(&worker));
    assert!(taken["code"].is_null(), "{taken}");
    let mut fail = worker.clone();
    (fail["errorType"], fail["retryable"]) = (json!("model_down"), json!(true));
    world.sent("failTurn", "fail", fail, "turnId");
    world.claim("claim-2", &lane);
    let late = append("d", "llm.requested", asked, Some(&worker));
    assert_eq!(
        (&late["code"], &late["path"], &late["state"]),
        (&json!("ILLEGAL_TRANSITION"), &json!(["lease"]), &json!("lost")),
        "{late}"
    );
    let scored = append("e", "eval.scored", json!({ "name": "kind", "value": 1.0 }), None);
    assert!(
        scored["code"].is_null(),
        "others may say what they think: {scored}"
    );
    world.audit();
}

/// The second of two equal calls is told of the first; the message that is the last one closes the window.
#[test]
fn equal_calls_are_told_of_each_other_and_the_last_message_says_so() {
    let (world, lane) = (World::on("whatsapp"), lane("whatsapp"));
    let registered = json!({ "name": "create_ticket", "sideEffect": "IDEMPOTENT", "timeoutMs": "30000",
        "owner": "shop team" });
    let registered = world.administer("registerTool", "tool", registered, "position");
    let input = json!({ "session": { "externalId": "s" }, "channelMessageId": "c-1", "text": "two tickets",
        "lane": lane, "flush": true });
    world.sent("submitMessage", "m-1", input, "turnId");
    let claim = world.sent(
        "claimTurn",
        "claim-1",
        json!({ "lane": lane }),
        "turnId lease { id epoch }",
    );
    let propose = |key: &str| {
        let mut input = held(&claim, &lane);
        (input["tool"], input["arguments"], input["businessKey"]) =
            (json!("create_ticket"), json!("{}"), json!(key));
        world.sent("proposeAction", key, input, "callId sameArgumentsAs position")
    };
    let (first, second) = (propose("1"), propose("2"));
    assert_eq!(first["sameArgumentsAs"], json!([]));
    assert_eq!(second["sameArgumentsAs"], json!([first["callId"]]));
    let query = "query ($p: Position) { tools(minPosition: $p) { name timeoutMs owner }
        effects(minPosition: $p) { nodes { callId sameArgumentsAs } } }";
    let read = world.ask(query, json!({ "p": second["position"] }));
    let expected = json!([{ "callId": second["callId"], "sameArgumentsAs": [first["callId"]] },
        { "callId": first["callId"], "sameArgumentsAs": [second["callId"]] }]);
    assert_eq!(read["effects"]["nodes"], expected);
    let tool = json!([{ "name": "create_ticket", "timeoutMs": "30000", "owner": "shop team" }]);
    assert_eq!(read["tools"], tool, "{registered}");
    world.audit();
}
