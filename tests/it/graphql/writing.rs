//! What is written: bytes kept, repeats and refusals told as data, and what changes nothing.

use serde_json::json;

use super::World;

#[test]
fn appended_text_comes_back_byte_for_byte_and_a_repeat_writes_nothing() {
    let world = World::new();
    let text = "{ \"goal_id\":\"g\", \"description\" : \"caf\\u00e9\" }";
    let first = world.append("k-1", "goal.set", json!({ "text": text }), Some(-1));
    assert_eq!(first["__typename"], "AppendEventsPayload", "{first}");
    assert_eq!(first["receipts"][0]["state"], "APPENDED");
    let query = "query ($p: Position!) { record(position: $p) { payloadText payload type leafHash provenance actor { \
        kind reference } state } }";
    let record = world.ask(query, json!({ "p": first["position"] }))["record"].clone();
    assert_eq!(record["payloadText"], text);
    assert_eq!(record["payload"]["description"], "café");
    assert_eq!(record["leafHash"], first["receipts"][0]["leafHash"]);
    assert_eq!(
        (&record["provenance"], &record["actor"]["kind"]),
        (&json!("reported"), &json!("client"))
    );

    let again = world.append("k-1", "goal.set", json!({ "text": text }), Some(-1));
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["receipts"][0]["position"], first["receipts"][0]["position"]);
    let other = world.append(
        "k-1",
        "goal.set",
        json!({ "text": "{\"goal_id\":\"g\",\"description\":\"x\"}" }),
        Some(-1),
    );
    assert_eq!(other["code"], "IDEMPOTENCY_MISMATCH");
}

#[test]
fn refusals_are_data_with_code_place_and_page() {
    let world = World::new();
    let good = json!({ "json": { "goal_id": "g", "description": "g" } });
    world.append("k-1", "goal.set", good.clone(), None);
    let wrong = world.append("k-2", "goal.set", good.clone(), Some(7));
    assert_eq!(wrong["__typename"], "WrongExpectedVersion");
    assert_eq!(
        (&wrong["code"], &wrong["expected"], &wrong["actual"]),
        (&json!("WRONG_EXPECTED_VERSION"), &json!("7"), &json!("0"))
    );
    assert_eq!(wrong["docs"], "/docs/errors/WRONG_EXPECTED_VERSION");

    let unfit = world.append(
        "k-3",
        "goal.set",
        json!({ "json": { "goal_id": "g", "description": 1 } }),
        None,
    );
    assert_eq!(unfit["__typename"], "SchemaViolation");
    assert_eq!(unfit["violations"][0]["pointer"], "/description");
    assert_eq!(unfit["path"], json!(["events", "0", "data", "description"]));

    let reserved = world.append("k-4", "turn.opened", good.clone(), None);
    assert_eq!(reserved["code"], "RESERVED_NAMESPACE");
    assert_eq!(reserved["path"], json!(["events", "0", "type"]));
    let unknown = world.append("k-5", "goal.nothing", good.clone(), None);
    assert_eq!(unknown["code"], "UNKNOWN_EVENT_TYPE");
    let doubled = world.append(
        "k-6",
        "goal.set",
        json!({ "text": "{\"description\":\"a\",\"description\":\"b\"}" }),
        None,
    );
    assert_eq!(doubled["code"], "INVALID_PAYLOAD");
    let large = world.append("", "goal.set", good, None);
    assert_eq!(
        (&large["code"], &large["path"]),
        (&json!("INVALID_INPUT"), &json!(["idempotencyKey"]))
    );

    let started = world.start_session("s");
    assert_eq!(started["__typename"], "StartSessionPayload");
    let end = |key: &str| {
        let input = json!({ "idempotencyKey": key, "session": { "externalId": "s" }, "reason": "COMPLETED" });
        let fields = "... on IllegalTransition { state legal }";
        world.mutate("endSession", "EndSessionInput", fields, input)
    };
    assert_eq!(end("e-1")["__typename"], "EndSessionPayload");
    let illegal = end("e-2");
    assert_eq!(illegal["code"], "ILLEGAL_TRANSITION");
    assert_eq!(
        (&illegal["path"], &illegal["state"], &illegal["legal"]),
        (
            &json!(["session"]),
            &json!("ended"),
            &json!(["appendEvents", "scoreSession"])
        )
    );
    let query = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename } }";
    let input = json!({ "input": { "idempotencyKey": "r", "externalId": "r" } });
    let refused = world
        .ask_as(&world.reader_key, query, input)
        .expect_err("a reader does not write");
    assert!(refused.to_string().contains("FORBIDDEN"), "{refused}");
}

#[test]
fn a_mutation_that_changes_nothing_says_so_and_a_repeat_tells_the_true_state() {
    let world = World::new();
    let register = |key: &str| {
        let input = json!({ "idempotencyKey": key, "name": "refund", "sideEffect": "IRREVERSIBLE" });
        let fields =
            "... on RegisterToolPayload { duplicate unchanged position receipts { state duplicate } }";
        world.register_tool(fields, input)
    };
    let first = register("k-1");
    assert_eq!(
        (&first["duplicate"], &first["unchanged"]),
        (&json!(false), &json!(false)),
        "{first}"
    );
    assert_eq!(first["receipts"][0]["state"], "APPENDED");
    world.sealed(&first["position"]);
    for (key, duplicate) in [("k-1", true), ("k-2", false)] {
        let again = register(key);
        assert_eq!(
            (&again["duplicate"], &again["unchanged"]),
            (&json!(duplicate), &json!(!duplicate)),
            "{key}: {again}"
        );
        assert_eq!(again["position"], first["position"], "{key}");
        assert_eq!(
            again["receipts"],
            json!([{ "state": "SEALED", "duplicate": duplicate }]),
            "{key}"
        );
    }
}

#[test]
fn json_that_a_client_library_would_change_is_refused() {
    let world = World::new();
    let query = "mutation { appendEvents(input: {idempotencyKey: \"x\", target: {named: {category: STATE, externalId: \"x\"}}, events: \
        [{type: \"state.written\", data: {json: {a: 9007199254740993}}}]}) { __typename } }";
    let refused = world
        .ask_as(&world.key, query, json!({}))
        .expect_err("beyond 2^53");
    assert!(
        refused.to_string().contains("2^53") && refused.to_string().contains("INVALID_ARGUMENT"),
        "{refused}"
    );
    let twice = query.replace("a: 9007199254740993", "a: 1, a: 2");
    let refused = world
        .ask_as(&world.key, &twice, json!({}))
        .expect_err("a name twice");
    assert!(
        refused.to_string().contains("GRAPHQL_VALIDATION_FAILED"),
        "{refused}"
    );
}
