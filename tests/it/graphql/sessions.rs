//! What people ask of sessions, over HTTP: scenarios, goals, whose sessions, the words of their messages.

use serde_json::{Value, json};

use super::World;

fn scenario(world: &World, key: &str, moves: &Value) -> Value {
    let input = json!({ "idempotencyKey": key, "session": { "externalId": "s" }, "scenario": "refund", "moves": moves });
    let fields = "... on RecordScenarioPayload { position duplicate }";
    world.mutate("recordScenario", "RecordScenarioInput", fields, input)
}

/// A scenario goes its way, over to another version, and not in front of a point that it passed.
#[test]
fn a_scenario_is_recorded_and_read_and_does_not_go_back_behind_a_point_that_it_passed() {
    let world = World::new();
    let session = world.start_session("s")["sessionId"].clone();
    let moves = json!([{ "enter": { "version": "1" } }, { "enterStep": { "step": "ask" } },
        { "exitStep": { "step": "ask", "outcome": "told", "durationUs": "5" } },
        { "passCheckpoint": { "checkpoint": "identified" } }, { "enterStep": { "step": "check" } }]);
    let first = scenario(&world, "m-1", &moves);
    assert_eq!(first["__typename"], "RecordScenarioPayload", "{first}");
    assert_eq!(scenario(&world, "m-1", &moves)["duplicate"], true);
    let back = json!([{ "migrate": { "version": "2", "step": "hello", "behind": [] } }]);
    let refused = scenario(&world, "m-2", &back);
    assert_eq!(refused["code"], "INVALID_INPUT", "{refused}");
    assert_eq!(
        refused["path"],
        json!(["moves", "0", "migrate", "behind"]),
        "{refused}"
    );
    let on = json!([{ "migrate": { "version": "2", "step": "look", "behind": ["identified"] } }]);
    let moved = scenario(&world, "m-3", &on);
    let query = "query ($id: ID!, $p: Position!) { session(id: $id, minPosition: $p) { scenarios(status: ACTIVE) { nodes {
        scenario version status step history { nodes { kind name from outcome durationUs position } } } } }
        scenarios(filter: { scenario: \"refund\" }, minPosition: $p) { nodes { session { externalId } } } }";
    let read = world.ask(query, json!({ "id": session, "p": moved["position"] }));
    assert_eq!(
        read["scenarios"]["nodes"],
        json!([{ "session": { "externalId": "s" } }])
    );
    let refund = &read["session"]["scenarios"]["nodes"][0];
    assert_eq!(
        (&refund["version"], &refund["step"]),
        (&json!("2"), &json!("look")),
        "{refund}"
    );
    let history = refund["history"]["nodes"].as_array().expect("a history");
    let names: Vec<(&Value, &Value)> = history
        .iter()
        .map(|passage| (&passage["kind"], &passage["name"]))
        .collect();
    let names = json!(names);
    assert_eq!(
        names,
        json!([
            ["STEP", "ask"],
            ["CHECKPOINT", "identified"],
            ["STEP", "check"],
            ["MIGRATION", "2"],
            ["STEP", "look"]
        ])
    );
    assert_eq!(
        (&history[0]["outcome"], &history[0]["durationUs"]),
        (&json!("told"), &json!("5"))
    );
    assert_eq!(history[4]["position"], moved["position"]);
}

/// Whose sessions, on whatever channel, which have open goals; and what was said in them.
#[test]
fn sessions_are_found_by_their_interlocutor_their_goals_and_their_words() {
    let world = World::new();
    let mut position = Value::Null;
    for (name, channel, who) in [("a", "web", "mia"), ("b", "phone", "mia"), ("c", "web", "bob")] {
        let input =
            json!({ "idempotencyKey": name, "externalId": name, "interlocutor": who, "channel": channel });
        let started = world.mutate(
            "startSession",
            "StartSessionInput",
            "... on StartSessionPayload { sessionId }",
            input,
        );
        assert!(started["sessionId"].is_string(), "{started}");
        let goal = json!({ "goal_id": "g", "description": "the money back" });
        let said = json!({ "role": "user", "text": format!("My ORDER {name}4711 & nothing else") });
        let input = json!({ "idempotencyKey": format!("said-{name}"), "target": { "session": { "externalId": name } },
            "events": [{ "type": "goal.set", "data": { "json": goal } }, { "type": "message.received", "data": { "json": said } }] });
        let told = world.mutate(
            "appendEvents",
            "AppendEventsInput",
            "... on AppendEventsPayload { position }",
            input,
        );
        assert!(told["position"].is_string(), "{told}");
        position = told["position"].clone();
    }
    let achieved = json!({ "idempotencyKey": "achieved", "target": { "session": { "externalId": "a" } },
        "events": [{ "type": "goal.achieved", "data": { "json": { "goal_id": "g", "note": "paid" } } }] });
    let told = world.mutate(
        "appendEvents",
        "AppendEventsInput",
        "... on AppendEventsPayload { position }",
        achieved,
    );
    let query = "query ($p: Position!) {
        mia: sessions(filter: { interlocutor: \"mia\" }, minPosition: $p) { nodes { externalId goals { nodes { goal status note } } } }
        open: sessions(filter: { interlocutor: \"mia\", openGoals: true }, minPosition: $p) { nodes { externalId } }
        frozen: sessions(filter: { state: FROZEN, idleSince: \"2100-01-01T00:00:00Z\" }, minPosition: $p) { nodes { externalId } }
        queue(minPosition: $p) { ready queued running { turnId } }
        found: search(text: \"order a4711\", minPosition: $p) { nodes { kind session { externalId } message { text } } }
        all: search(text: \"order\", first: 2, minPosition: $p) { nodes { session { externalId } } pageInfo { hasNextPage } } }";
    let read = world.ask(query, json!({ "p": told["position"] }));
    let mia = read["mia"]["nodes"].as_array().expect("sessions");
    let names: Vec<&Value> = mia.iter().map(|session| &session["externalId"]).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(
        mia[1]["goals"]["nodes"],
        json!([{ "goal": "g", "status": "ACHIEVED", "note": "paid" }])
    );
    assert_eq!(read["open"]["nodes"], json!([{ "externalId": "b" }]));
    assert_eq!(read["frozen"]["nodes"], json!([]));
    assert_eq!(
        read["queue"],
        json!({ "ready": "0", "queued": "0", "running": [] })
    );
    let text = "My ORDER a4711 & nothing else";
    assert_eq!(
        read["found"]["nodes"],
        json!([{ "kind": "MESSAGE", "session": { "externalId": "a" }, "message": { "text": text } }])
    );
    assert_eq!(
        read["all"]["nodes"][0]["session"]["externalId"], "c",
        "{position}"
    );
    assert_eq!(read["all"]["pageInfo"]["hasNextPage"], true);
    for bad in [
        "{ search(text: \"…\") { nodes { kind } } }",
        "{ sessions(filter: { state: ACTIVE }) { nodes { id } } }",
    ] {
        let refused = world
            .ask_as(&world.key, bad, json!({}))
            .expect_err("it is refused");
        assert!(refused.to_string().contains("INVALID_ARGUMENT"), "{refused}");
    }
}

/// Forwards and backwards, with the whole text of each line.
#[test]
fn the_timeline_is_read_both_ways_with_text_and_cost() {
    let world = World::new();
    let session = world.start_session("s")["sessionId"].clone();
    let long = "what ".repeat(100);
    let steps = json!([{ "received": { "text": long } },
        { "said": { "text": "done", "modelCall": { "model": "m-1", "cost": { "amount": "0.0030", "currency": "USD" } } } }]);
    let input = json!({ "idempotencyKey": "t", "session": { "externalId": "s" }, "steps": steps,
        "end": { "committed": { "outcome": "ANSWERED" } } });
    let recorded = world.mutate(
        "recordTurn",
        "RecordTurnInput",
        "... on RecordTurnPayload { position }",
        input,
    );
    let query = "query ($id: ID!, $p: Position!, $back: Boolean!) { session(id: $id, minPosition: $p) {
        timeline(newestFirst: $back) { nodes { type text cost { amount currency } } } } }";
    let read = |back: bool| {
        let read = world.ask(
            query,
            json!({ "id": session, "p": recorded["position"], "back": back }),
        );
        read["session"]["timeline"]["nodes"]
            .as_array()
            .expect("lines")
            .clone()
    };
    let mut lines = read(false);
    let texts: Vec<&Value> = lines
        .iter()
        .map(|line| &line["text"])
        .filter(|text| !text.is_null())
        .collect();
    assert_eq!(texts, [&json!(long), &json!("done")]);
    let costs: Vec<&Value> = lines
        .iter()
        .map(|line| &line["cost"])
        .filter(|cost| !cost.is_null())
        .collect();
    assert_eq!(costs, [&json!({ "amount": "0.003", "currency": "USD" })]);
    lines.reverse();
    assert_eq!(read(true), lines);
}
