//! GraphQL against a real server: what is written is read back, refusals are data, proofs verify, tenants are apart.

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_domain::numbers::{LeafIndex, TreeSize};
use ruche_ledger::hash::Hash;
use ruche_ledger::proof::{verify_consistency, verify_inclusion};
use ruche_ledger::tlog_proof::TlogProof;
use ruche_ledger::tree::TreeRoot;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

const APPEND: &str = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) { __typename
    ... on AppendEventsPayload { duplicate position receipts { position leafHash state duplicate } }
    ... on Refusal { code message path retryable docs }
    ... on WrongExpectedVersion { stream expected actual }
    ... on SchemaViolation { event eventType violations { pointer reason } }
    ... on LimitExceeded { limit value unit } } }";

struct World {
    _folder: tempfile::TempDir,
    server: Server,
    client: Client,
    key: String,
    other_key: String,
    reader_key: String,
    admin_key: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let reader_key = home.new_key("acme", &["reader"]).expect("a key");
        let other_key = home.new_key("other", &["admin"]).expect("a key");
        let admin_key = home.new_key("acme", &["admin"]).expect("a key");
        let server = home.serve().expect("the server starts");
        Self {
            _folder: folder,
            server,
            client: Client::new(),
            key,
            other_key,
            reader_key,
            admin_key,
        }
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    fn ask_as(&self, key: &str, query: &str, variables: Value) -> std::io::Result<Value> {
        graphql(&self.client, &self.server.url, key, query, variables)
    }

    fn mutate(&self, name: &str, input_type: &str, fields: &str, input: Value) -> Value {
        self.mutate_as(&self.key, name, input_type, fields, input)
    }

    fn register_tool(&self, fields: &str, input: Value) -> Value {
        self.mutate_as(
            &self.admin_key,
            "registerTool",
            "RegisterToolInput",
            fields,
            input,
        )
    }

    fn mutate_as(&self, key: &str, name: &str, input_type: &str, fields: &str, input: Value) -> Value {
        let query = format!(
            "mutation ($input: {input_type}!) {{ {name}(input: $input) {{ __typename {fields} ... on Refusal {{ code \
             message path }} }} }}"
        );
        let answer = self.ask_as(key, &query, json!({ "input": input }));
        answer.expect("an answer without errors")[name].clone()
    }

    fn start_session(&self, external: &str) -> Value {
        let input = json!({ "idempotencyKey": format!("start-{external}"), "externalId": external, "agent": "shop",
            "channel": "web", "attributes": { "plan": "gold" } });
        self.mutate(
            "startSession",
            "StartSessionInput",
            "... on StartSessionPayload { sessionId position }",
            input,
        )
    }

    /// Waits until the record at a position is under a signed tree head.
    fn sealed(&self, position: &Value) {
        let query = "query ($p: Position!) { record(position: $p) { state } }";
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.ask(query, json!({ "p": position }))["record"]["state"] != "SEALED" {
            assert!(Instant::now() < deadline, "{position} is not sealed");
            std::thread::yield_now();
        }
    }

    fn append(&self, key: &str, event_type: &str, data: Value, expected: Option<i64>) -> Value {
        let input = json!({
            "idempotencyKey": key,
            "target": { "named": { "category": "GOAL", "externalId": "g" } },
            "expectedVersion": expected,
            "events": [{ "type": event_type, "data": data }],
        });
        self.ask(APPEND, json!({ "input": input }))["appendEvents"].clone()
    }
}

fn hash(value: &Value) -> Hash {
    let mut bytes = [0; 32];
    hex::decode_to_slice(value.as_str().expect("a hash"), &mut bytes).expect("hex");
    Hash(bytes)
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

fn number(value: &Value) -> u64 {
    value.as_str().expect("a Long").parse().expect("digits")
}

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
        { llmCalls } } outcomes { outcome turns } tools(minPosition: $p) { name sideEffect } effects(filter: {tool: \"refund\"}) \
        { nodes { status } } totals { sessions counts { messages } } }";
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
fn proofs_lead_to_the_signed_root() {
    let world = World::new();
    for n in 0..9 {
        world.append(
            &format!("k-{n}"),
            "goal.set",
            json!({ "json": { "goal_id": n.to_string(), "description": "d" } }),
            None,
        );
    }
    let size = loop {
        let health = world.ask(
            "{ ledger { health { sealedRecords appendedRecords } } }",
            json!({}),
        )["ledger"]["health"]
            .clone();
        if health["sealedRecords"] == health["appendedRecords"] {
            break number(&health["sealedRecords"]);
        }
        std::thread::yield_now();
    };
    let query = "query ($p: Position!, $size: Long) { inclusionProof(position: $p, treeSize: $size) { leafHash treeSize rootHash hashes
        tlogProof treeHead { size rootHash } } record(position: $p) { leaf state } }";
    for (index, size_asked) in [(0, None), (3, Some(5)), (size - 1, None)] {
        let read = world.ask(
            query,
            json!({ "p": format!("1:{index}"), "size": size_asked.map(|s: u64| s.to_string()) }),
        );
        let proof = &read["inclusionProof"];
        let tree = TreeRoot {
            size: TreeSize(number(&proof["treeSize"])),
            root: hash(&proof["rootHash"]),
        };
        verify_inclusion(
            &hash(&proof["leafHash"]),
            LeafIndex(index),
            &tree,
            &hashes(&proof["hashes"]),
        )
        .expect("included");
        assert_eq!(read["record"]["state"], "SEALED");
        assert_eq!(proof["tlogProof"].is_null(), size_asked.is_some());
        if let Some(file) = proof["tlogProof"].as_str() {
            let file = TlogProof::parse(file.as_bytes()).expect("a proof file");
            assert_eq!(
                (file.index, file.tree_head.head().root),
                (LeafIndex(index), tree.root)
            );
        }
    }
    let query = "query ($to: Long) { consistencyProof(epoch: 1, fromSize: 4, toSize: $to) {
        fromSize fromRootHash toSize toRootHash hashes } }";
    let proof = world.ask(query, json!({ "to": size.to_string() }))["consistencyProof"].clone();
    let root = |size: &str, root: &str| TreeRoot {
        size: TreeSize(number(&proof[size])),
        root: hash(&proof[root]),
    };
    verify_consistency(
        &root("fromSize", "fromRootHash"),
        &root("toSize", "toRootHash"),
        &hashes(&proof["hashes"]),
    )
    .expect("consistent");
    let beyond = world.ask_as(
        &world.key,
        "{ inclusionProof(position: \"1:0\", treeSize: 1000) { treeSize } }",
        json!({}),
    );
    assert!(
        beyond
            .expect_err("beyond the tree head")
            .to_string()
            .contains("NOT_SEALED")
    );
}

#[test]
fn a_read_that_waits_too_long_says_how_far_the_read_model_is() {
    let world = World::new();
    let refused = world.ask_as(
        &world.key,
        "{ totals(minPosition: \"1:1000\") { sessions } }",
        json!({}),
    );
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
fn one_tenant_sees_nothing_of_another() {
    let world = World::new();
    let session = world.start_session("s");
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
