//! What is read: turns with their calls, pages, waits, and nothing of another tenant.

use ruche_tests::server::graphql_once;
use serde_json::{Value, json};

use super::{World, number};

#[test]
fn a_recorded_turn_is_read_back_with_its_calls_costs_and_outcome() {
    let world = World::new();
    let tool = json!({ "idempotencyKey": "t", "name": "refund", "sideEffect": "IRREVERSIBLE", "toolKind": "EXECUTE" });
    assert_eq!(world.register_tool("", tool)["__typename"], "RegisterToolPayload");
    let session = world.start_session("s")["sessionId"].clone();
    let steps = json!([
        { "received": { "text": "my money back" } },
        { "said": { "text": null, "toolCalls": [{ "name": "refund", "arguments": "{ \"order\": 7 }", "providerCallId": "call_1" }],
            "modelCall": { "model": "m-1", "usage": { "input": 100, "output": "20" },
                "cost": { "amount": "0.0030", "currency": "USD" } } } },
        { "settled": { "outcome": { "completed": { "name": "refund", "result": "", "providerCallId": "call_1", "durationUs": 1500 } } } },
        { "said": { "text": "done" } },
    ]);
    let input = json!({ "idempotencyKey": "turn-1", "session": { "externalId": "s" }, "agent": "shop", "steps": steps,
        "end": { "committed": { "outcome": "ANSWERED", "durationUs": 2000000 } } });
    let fields = "... on RecordTurnPayload { sessionId turnId position }";
    let recorded = world.mutate("recordTurn", "RecordTurnInput", fields, input);
    assert_eq!(recorded["sessionId"], session, "{recorded}");

    let query = "query ($id: ID!, $p: Position!) { session(id: $id, minPosition: $p) {
        externalId agent status attributes counts { messages turns turnsCommitted toolCalls writeCalls toolErrors
            inputTokens { tokens known calls } } costs { amount currency }
        messages { nodes { ordinal role text tool toolCalls { name arguments providerCallId effect { status sideEffect result } } } }
        turns { nodes { id outcome session { id } effects { nodes { tool arguments turn { id } } } } }
        timeline(first: 3) { nodes { type position record { type state } } pageInfo { hasNextPage } } } }";
    let read = world.ask(query, json!({ "id": session, "p": recorded["position"] }))["session"].clone();
    assert_eq!(read["attributes"]["plan"], "gold");
    let counts = &read["counts"];
    let expected = [
        ("messages", "4"),
        ("turns", "1"),
        ("turnsCommitted", "1"),
        ("toolCalls", "1"),
        ("writeCalls", "1"),
        ("toolErrors", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(counts[name], value, "{name}");
    }
    assert_eq!(
        counts["inputTokens"],
        json!({ "tokens": "100", "known": "1", "calls": "1" })
    );
    assert_eq!(read["costs"], json!([{ "amount": "0.003", "currency": "USD" }]));
    let messages = read["messages"]["nodes"].as_array().expect("messages");
    let texts: Vec<(&Value, &Value)> = messages.iter().map(|m| (&m["role"], &m["text"])).collect();
    let said = [
        ("USER", json!("my money back")),
        ("ASSISTANT", Value::Null),
        ("TOOL", json!("")),
        ("ASSISTANT", json!("done")),
    ];
    assert_eq!(
        texts,
        said.iter()
            .map(|(role, text)| (Value::from(*role), text))
            .collect::<Vec<_>>()
            .iter()
            .map(|(role, text)| (role, *text))
            .collect::<Vec<_>>()
    );
    let call = &messages[1]["toolCalls"][0];
    assert_eq!(call["arguments"], "{ \"order\": 7 }");
    assert_eq!(
        call["effect"],
        json!({ "status": "COMPLETED", "sideEffect": "IRREVERSIBLE", "result": "" })
    );
    let turn = &read["turns"]["nodes"][0];
    assert_eq!(
        (&turn["id"], &turn["outcome"]),
        (&recorded["turnId"], &json!("ANSWERED"))
    );
    assert_eq!(
        (&turn["session"]["id"], &turn["effects"]["nodes"][0]["turn"]["id"]),
        (&session, &recorded["turnId"])
    );
    assert_eq!(read["timeline"]["nodes"][0]["record"]["type"], "session.started");
    assert_eq!(read["timeline"]["pageInfo"]["hasNextPage"], true);

    let query = "query ($p: Position!) { usage(groupBy: [AGENT, MODEL], minPosition: $p) { agent model costs { amount } counts \
        { llmCalls } } outcomes(minPosition: $p) { outcome turns } tools(minPosition: $p) { name sideEffect } \
        effects(filter: {tool: \"refund\"}, minPosition: $p) { nodes { status } } \
        totals(minPosition: $p) { sessions counts { messages } } }";
    let read = world.ask(query, json!({ "p": recorded["position"] }));
    let usage = read["usage"].as_array().expect("rows");
    assert!(
        usage.iter().any(|row| row["model"] == "m-1"
            && row["agent"] == "shop"
            && row["costs"][0]["amount"] == "0.003"),
        "{usage:?}"
    );
    assert_eq!(read["outcomes"], json!([{ "outcome": "answered", "turns": "1" }]));
    let query = "query ($model: String, $tool: String) { outcomes(groupBy: [MODEL, TOOL], \
        filter: { model: $model, tool: $tool }) { day model tool outcome turns durationMeanUs } }";
    let outcomes = |model: &str, tool: &str| {
        world.ask(query, json!({ "model": model, "tool": tool }))["outcomes"].clone()
    };
    assert_eq!(outcomes("m-1", "refund")[0]["turns"], "1");
    assert_eq!(outcomes("m-1", "refund")[0]["model"], "m-1");
    assert_eq!(outcomes("m-1", "refund")[0]["day"], Value::Null);
    assert_eq!(outcomes("m-2", "refund"), json!([]));
    assert_eq!(outcomes("m-1", "other"), json!([]));
    health_counts_what_is_recorded(&world, &recorded["position"]);
    assert_eq!(
        read["tools"],
        json!([{ "name": "refund", "sideEffect": "IRREVERSIBLE" }])
    );
    assert_eq!(
        read["totals"],
        json!({ "sessions": "1", "counts": { "messages": "4" } })
    );
}

/// The figures of the ledger's health against the records themselves.
fn health_counts_what_is_recorded(world: &World, position: &Value) {
    let query = "query ($p: Position!) { ledger { size records(first: 100) { nodes { type leaf } } health(minPosition: $p) {
        holdings { records leafBytes payloadBytes payloadsMissing lastPosition lastRecordedAt } lastRecordedAt
        byType { eventType holdings { records } } } } }";
    let ledger = world.ask(query, json!({ "p": position }))["ledger"].clone();
    let nodes = ledger["records"]["nodes"].as_array().expect("records");
    let (health, holdings) = (&ledger["health"], &ledger["health"]["holdings"]);
    assert_eq!(holdings["records"], ledger["size"]);
    assert_eq!(number(&holdings["records"]), nodes.len() as u64);
    assert_eq!(holdings["lastPosition"], *position);
    assert_eq!(holdings["lastRecordedAt"], health["lastRecordedAt"]);
    assert_eq!(holdings["payloadsMissing"], "0");
    assert!(number(&holdings["leafBytes"]) > 0 && number(&holdings["payloadBytes"]) > 0);
    let mut by_type = std::collections::BTreeMap::new();
    for node in nodes {
        *by_type.entry(node["type"].as_str().expect("a type")).or_insert(0) += 1;
    }
    let told = health["byType"].as_array().expect("types").iter();
    let told = told.map(|row| {
        let records = number(&row["holdings"]["records"]);
        (row["eventType"].as_str().expect("a type"), records)
    });
    assert_eq!(told.collect::<Vec<_>>(), by_type.into_iter().collect::<Vec<_>>());
}

#[test]
fn pages_go_on_where_they_ended_while_rows_come_in() {
    let world = World::new();
    for n in 0..5 {
        world.start_session(&format!("s-{n}"));
    }
    let last = world.ask("{ ledger { lastPosition } }", json!({}))["ledger"]["lastPosition"].clone();
    let query = "query ($after: String, $p: Position) { sessions(first: 2, after: $after, ascending: true, minPosition: $p) {
        nodes { externalId } pageInfo { endCursor hasNextPage hasPreviousPage } } }";
    let (mut after, mut seen) = (Value::Null, Vec::new());
    loop {
        let page = world.ask(query, json!({ "after": after, "p": last }))["sessions"].clone();
        seen.extend(
            page["nodes"]
                .as_array()
                .expect("nodes")
                .iter()
                .map(|node| node["externalId"].clone()),
        );
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
        assert!(seen.len() < 10, "{seen:?}");
    }
    assert_eq!(seen, ["s-0", "s-1", "s-2", "s-3", "s-4"]);
    for (arguments, code) in [
        ("first: 101", "INVALID_ARGUMENT"),
        ("after: \"x\"", "INVALID_CURSOR"),
    ] {
        let refused = world.ask_as(
            &world.key,
            &format!("{{ sessions({arguments}) {{ nodes {{ id }} }} }}"),
            json!({}),
        );
        assert!(
            refused.expect_err("refused").to_string().contains(code),
            "{arguments}"
        );
    }
}

#[test]
fn a_read_that_waits_too_long_says_how_far_the_read_model_is() {
    let world = World::new();
    let query = "{ totals(minPosition: \"1:1000\") { sessions } }";
    let refused = graphql_once(&world.client, &world.server.url, &world.key, query, json!({}));
    let text = refused.expect_err("nobody wrote that").to_string();
    assert!(
        text.contains("READ_MODEL_BEHIND") && text.contains("\"minPosition\":\"1:1000\""),
        "{text}"
    );
}

#[test]
fn a_position_in_an_epoch_that_does_not_exist_is_bad_input_at_once() {
    let world = World::new();
    world.start_session("s");
    let query = "{ totals(minPosition: \"9:0\") { sessions } }";
    let refused = world.ask_as(&world.key, query, json!({}));
    let text = refused.expect_err("no such epoch").to_string();
    assert!(
        text.contains("INVALID_ARGUMENT") && text.contains("\"path\":[\"minPosition\"]"),
        "{text}"
    );
}

#[test]
fn one_tenant_sees_nothing_of_another() {
    let world = World::new();
    let session = world.start_session("s");
    // It is there for its own tenant, so that the other one sees nothing for no other reason.
    let query = "query ($id: ID!, $p: Position!) { session(id: $id, minPosition: $p) { id } totals(minPosition: $p) { sessions } }";
    let variables = json!({ "id": session["sessionId"], "p": session["position"] });
    let own = world.ask(query, variables);
    assert_eq!(own["session"]["id"], session["sessionId"]);
    assert_eq!(own["totals"]["sessions"], "1");
    let query = "query ($id: ID!) { session(id: $id) { id } totals { sessions } ledger { size } record(position: \"1:2\") { type } }";
    let theirs = world
        .ask_as(&world.other_key, query, json!({ "id": session["sessionId"] }))
        .expect("an answer");
    assert_eq!(theirs["session"], Value::Null);
    assert_eq!(theirs["totals"]["sessions"], "0");
    assert_eq!(theirs["record"], Value::Null);
    assert_eq!(theirs["ledger"]["size"], "2", "its own opening and its own key");
    // The client's own id means another session in another tenant.
    let query = "mutation { startSession(input: {idempotencyKey: \"start-s\", externalId: \"s\"}) {
        ... on StartSessionPayload { duplicate sessionId } } }";
    let own = world
        .ask_as(&world.other_key, query, json!({}))
        .expect("an answer");
    assert_eq!(own["startSession"]["duplicate"], false);
    assert_ne!(own["startSession"]["sessionId"], session["sessionId"]);
}

#[test]
fn configuration_and_scores_are_recorded_and_read() {
    let world = World::new();
    let publish = |key: &str, set: Value, base: u64| {
        let input = json!({ "idempotencyKey": key, "scope": "AGENT", "scopeId": "shop", "set": set, "baseVersion": base, "reason": "try" });
        world.mutate(
            "publishConfiguration",
            "PublishConfigurationInput",
            "... on PublishConfigurationPayload { position } ... on WrongExpectedVersion { expected actual }",
            input,
        )
    };
    assert_eq!(
        publish("c-1", json!({ "tone": "warm" }), 0)["__typename"],
        "PublishConfigurationPayload"
    );
    let second = publish("c-2", json!({ "tone": "dry", "limit": 3 }), 1);
    for (key, base) in [("c-3", 1), ("c-4", 99), ("c-5", 0)] {
        let wrong = publish(key, json!({ "tone": "loud" }), base);
        assert_eq!(wrong["code"], "WRONG_EXPECTED_VERSION");
        assert_eq!(
            (&wrong["expected"], &wrong["actual"]),
            (&json!(base.to_string()), &json!("2"))
        );
    }
    let query = "query ($p: Position!) { configurationHistory(filter: {key: \"tone\"}, minPosition: $p) {
        nodes { version value scope scopeId } } }";
    let history =
        world.ask(query, json!({ "p": second["position"] }))["configurationHistory"]["nodes"].clone();
    assert_eq!(
        history[1],
        json!({ "version": "2", "value": "dry", "scope": "AGENT", "scopeId": "shop" })
    );

    world.start_session("s");
    let scores = json!([{ "name": "reward", "value": 1.0, "label": "pass" }]);
    let input = json!({ "idempotencyKey": "score", "session": { "externalId": "s" }, "scores": scores });
    let fields = "... on ScoreSessionPayload { receipts { position } }";
    let scored = world.mutate("scoreSession", "ScoreSessionInput", fields, input);
    let query = "query ($p: Position!) { record(position: $p) { type payload } }";
    let record = world.ask(query, json!({ "p": scored["receipts"][0]["position"] }))["record"].clone();
    assert_eq!(
        (&record["type"], &record["payload"]["value"]),
        (&json!("eval.scored"), &json!(1.0))
    );
    let query = "query ($p: Position!) { sessions(minPosition: $p) { nodes { scores { nodes { name value label target \
        explanation turnId position } } } } }";
    let position = &scored["receipts"][0]["position"];
    let read = world.ask(query, json!({ "p": position }))["sessions"]["nodes"][0]["scores"]["nodes"].clone();
    assert_eq!(
        read,
        json!([{ "name": "reward", "value": 1.0, "label": "pass", "target": "SESSION", "explanation": null,
            "turnId": null, "position": position }])
    );
    let input = json!({ "idempotencyKey": "m", "session": { "externalId": "s" }, "text": "hello" });
    let sent = world.mutate(
        "submitMessage",
        "SubmitMessageInput",
        "... on SubmitMessagePayload { sessionId }",
        input,
    );
    assert_eq!(sent["__typename"], "SubmitMessagePayload");
}
