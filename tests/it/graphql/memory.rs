//! Memory over HTTP: what was known when, why it is believed, and who used it.

use serde_json::{Value, json};

use super::{APPEND, World};

const KNOWN: &str = "query ($about: ID!, $validAt: DateTime, $knownAt: AsOf, $p: Position) {
    memory(about: $about, validAt: $validAt, knownAt: $knownAt, minPosition: $p) { nodes { content status } } }";

impl World {
    /// Appends events of memory, all at once, and gives their positions.
    fn remember(&self, key: &str, target: Value, events: Value) -> Vec<Value> {
        let input = json!({ "idempotencyKey": key, "target": target, "events": events });
        let appended = self.ask(APPEND, json!({ "input": input }))["appendEvents"].clone();
        let receipts = appended["receipts"].as_array();
        let receipts = receipts.unwrap_or_else(|| panic!("{appended}")).iter();
        receipts.map(|receipt| receipt["position"].clone()).collect()
    }

    /// What is known of Ann: the contents.
    fn known(&self, variables: Value) -> Value {
        let mut variables = variables;
        variables["about"] = json!("ann");
        let found = self.ask(KNOWN, variables)["memory"]["nodes"].clone();
        let found = found.as_array().expect("facts").iter();
        found.map(|fact| fact["content"].clone()).collect()
    }
}

fn event(event_type: &str, data: Value) -> Value {
    json!({ "type": event_type, "data": { "json": data } })
}

#[test]
fn what_was_known_and_held_is_asked_with_its_reasons() {
    let world = World::new();
    let session = world.start_session("s");
    let of_session = json!({ "session": { "externalId": "s" } });
    let said = world.remember(
        "said",
        of_session.clone(),
        json!([event(
            "message.received",
            json!({ "role": "user", "text": "I moved to Lyon" })
        )]),
    );
    let query = "query ($p: Position!) { record(position: $p) { eventId } }";
    let source = world.ask(query, json!({ "p": said[0] }))["record"]["eventId"].clone();

    let of_ann = json!({ "named": { "category": "MEMORY", "externalId": "ann" } });
    let digest = "ab".repeat(32);
    let fact = |id: &str, content: Value, more: Value| {
        let mut fact = json!({ "record_id": id, "store": "profile", "about": "ann", "attribute": "home",
            "content": content, "source_event_ids": [], "extractor_digest": digest });
        fact.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        fact
    };
    // 2025 and 2026 began at these microseconds.
    let (y2025, y2026) = (1_735_689_600_000_000_u64, 1_767_225_600_000_000_u64);
    let old = world.remember(
        "old",
        of_ann.clone(),
        json!([event(
            "memory.written",
            fact(
                "home",
                json!("Paris"),
                json!({ "valid_from": y2025, "source_refs": ["crm:7"] })
            )
        )]),
    );
    let searched =
        json!({ "store": "profile", "query": "where", "results": [{ "record_id": "home", "score": 0.5 }] });
    let used = world.remember(
        "used",
        of_session.clone(),
        json!([event("memory.searched", searched.clone())]),
    );
    let sources = json!({ "valid_from": y2026, "source_event_ids": [source] });
    let new = world.remember(
        "new",
        of_session.clone(),
        json!([
            event(
                "memory.written",
                fact("home-2", json!({ "city": "Lyon" }), sources)
            ),
            event(
                "memory.invalidated",
                json!({ "record_id": "home", "store": "profile", "reason": "contradicted",
                "valid_to": y2026, "by_record_id": "home-2", "detail": "moved" })
            ),
        ]),
    );
    let served = world.remember("served", of_session, json!([event("memory.searched", searched)]));

    let (paris, lyon) = (json!("Paris"), json!({ "city": "Lyon" }));
    let at = |position: &Value| json!({ "position": position });
    assert_eq!(world.known(json!({ "p": served[0] })), json!([lyon]));
    assert_eq!(
        world.known(json!({ "knownAt": at(&old[0]) })),
        json!([paris]),
        "waits for what it asks of"
    );
    assert_eq!(
        world.known(json!({ "validAt": "2025-06-01T00:00:00Z" })),
        json!([paris])
    );
    let both = json!({ "knownAt": at(&new[0]), "validAt": "2026-01-01T00:00:00Z" });
    assert_eq!(
        world.known(both),
        json!([paris, lyon]),
        "it was not taken back yet"
    );
    let none = json!([]);
    assert_eq!(
        world.known(json!({ "knownAt": { "time": "2020-01-01T00:00:00Z" } })),
        none
    );
    assert_eq!(world.known(json!({ "knownAt": at(&session["position"]) })), none);

    let query = "query ($p: Position) { facts(filter: { recordId: \"home\", store: \"profile\" }, minPosition: $p) { nodes {
        position status validFrom validTo confidence knownFrom { position } knownUntil { position } restsOn { nodes { name eventId } }
        endedBy { kind reason detail byRecordId source { position type } } source { type }
        usedBy { nodes { kind position afterEnd score sessionId } } history { nodes { recordId } } } }
        lyon: facts(filter: { text: \"LYON home\" }, minPosition: $p) { nodes { about attribute
            restsOn { nodes { eventId position record { type } } } } }
        memoryUses(filter: { afterEnd: true }, minPosition: $p) { nodes { position store recordId } }
        invalidatedFacts(minPosition: $p) { extractorDigest reason facts } }";
    let read = world.ask(query, json!({ "p": served[0] }));
    assert_eq!(
        read["facts"]["nodes"],
        json!([{ "position": old[0], "status": "INVALIDATED", "validFrom": "2025-01-01T00:00:00.000000Z",
            "validTo": "2026-01-01T00:00:00.000000Z", "confidence": null, "knownFrom": { "position": old[0] },
            "knownUntil": null, "restsOn": { "nodes": [{ "name": "crm:7", "eventId": null }] },
            "endedBy": { "kind": "INVALIDATED", "reason": "CONTRADICTED", "detail": "moved", "byRecordId": "home-2",
                "source": { "position": new[1], "type": "memory.invalidated" } },
            "source": { "type": "memory.written" },
            "usedBy": { "nodes": [
                { "kind": "searched", "position": used[0], "afterEnd": false, "score": 0.5, "sessionId": session["sessionId"] },
                { "kind": "searched", "position": served[0], "afterEnd": true, "score": 0.5, "sessionId": session["sessionId"] },
            ] },
            "history": { "nodes": [{ "recordId": "home" }] } }])
    );
    assert_eq!(
        read["lyon"]["nodes"],
        json!([{ "about": "ann", "attribute": "home", "restsOn": { "nodes": [{ "eventId": source,
            "position": said[0], "record": { "type": "message.received" } }] } }])
    );
    assert_eq!(
        read["memoryUses"]["nodes"],
        json!([{ "position": served[0], "store": "profile", "recordId": "home" }])
    );
    assert_eq!(
        read["invalidatedFacts"],
        json!([{ "extractorDigest": digest, "reason": "CONTRADICTED", "facts": "1" }])
    );
    let beyond = world.ask_as(
        &world.key,
        KNOWN,
        json!({ "about": "ann", "knownAt": { "position": "1:4000" } }),
    );
    let beyond = beyond.expect_err("the ledger has no such record").to_string();
    assert!(beyond.contains("NOT_FOUND"), "{beyond}");
}

/// A fact that rests on so many events and sources outside, of which each is named twice.
fn of_many(record: &str, sources: usize) -> Value {
    let ids = (0..sources).map(|n| format!("01890000-0000-7000-8000-{:012x}", n / 2));
    let names = (0..sources).map(|n| format!("crm:{}", n / 2));
    event(
        "memory.written",
        json!({ "record_id": record, "about": "ann", "content": record,
            "source_event_ids": ids.collect::<Vec<_>>(), "source_refs": names.collect::<Vec<_>>() }),
    )
}

#[test]
fn what_a_fact_rests_on_is_given_page_by_page_and_costs_what_it_has() {
    let world = World::new();
    let of_ann = json!({ "named": { "category": "MEMORY", "externalId": "ann" } });
    let written = world.remember("many", of_ann.clone(), json!([of_many("r", 60), of_many("r", 2)]));
    let query =
        "query ($p: Position, $first: Int, $after: String) { facts(first: 1, minPosition: $p) { nodes {
        restsOn(first: $first, after: $after) { nodes { eventId name } pageInfo { hasNextPage endCursor } }
        history(first: 1) { nodes { position } pageInfo { hasNextPage } } } } }";
    let mut found: Vec<Value> = Vec::new();
    let mut after = Value::Null;
    loop {
        let asked = json!({ "p": written[1], "first": 25, "after": after });
        let fact = world.ask(query, asked)["facts"]["nodes"][0].clone();
        assert_eq!(
            fact["history"],
            json!({ "nodes": [{ "position": written[0] }], "pageInfo": { "hasNextPage": true } })
        );
        let page = &fact["restsOn"];
        found.extend(page["nodes"].as_array().expect("sources").iter().cloned());
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(found.len(), 60, "thirty events and thirty names, each once");
    assert_eq!(found[29]["eventId"], "01890000-0000-7000-8000-00000000001d");
    assert_eq!(found[30], json!({ "eventId": null, "name": "crm:0" }));
    let costly = "{ facts(first: 100) { nodes { restsOn(first: 100) { nodes { name eventId } } } } }";
    let refused = world
        .ask_as(&world.key, costly, json!({}))
        .expect_err("it costs too much");
    assert!(refused.to_string().contains("QUERY_LIMIT_EXCEEDED"), "{refused}");

    let input = json!({ "idempotencyKey": "long", "target": of_ann, "events": [of_many("r", 1_001)] });
    let refused = world.ask(APPEND, json!({ "input": input }))["appendEvents"].clone();
    assert_eq!(
        (&refused["__typename"], &refused["violations"][0]["pointer"]),
        (&json!("SchemaViolation"), &json!("/source_event_ids")),
        "{refused}"
    );
}

#[test]
fn one_operation_answers_so_much_and_no_more() {
    let world = World::new();
    let of_ann = json!({ "named": { "category": "MEMORY", "externalId": "ann" } });
    let text = "x".repeat(900_000);
    let fact = |n: usize| {
        event(
            "memory.written",
            json!({ "record_id": format!("r-{n}"), "about": "ann", "content": text, "source_event_ids": [] }),
        )
    };
    let mut last = Value::Null;
    for n in 0..3 {
        let events: Vec<Value> = (0..8).map(|m| fact(8 * n + m)).collect();
        last = world.remember(&format!("long-{n}"), of_ann.clone(), json!(events))[7].clone();
    }
    // Four times 22 MB.
    let query =
        "query ($p: Position) { a: memory(about: \"ann\", first: 100, minPosition: $p) { nodes { content } }
        b: memory(about: \"ann\", first: 100, minPosition: $p) { nodes { content } }
        c: memory(about: \"ann\", first: 100, minPosition: $p) { nodes { content } }
        d: memory(about: \"ann\", first: 100, minPosition: $p) { nodes { content } } }";
    let refused = world.ask_as(&world.key, query, json!({ "p": last }));
    let refused = refused.expect_err("it is too long").to_string();
    assert!(
        refused.contains("QUERY_LIMIT_EXCEEDED") && refused.contains("ask for less") && refused.len() < 1_000,
        "{refused}"
    );
    // What is read and not answered counts as well.
    let nested = (0..6).fold("recordId".to_owned(), |below, _| {
        format!("history(first: 1) {{ nodes {{ {below} }} }}")
    });
    let unseen = format!("{{ memory(about: \"ann\", first: 100) {{ nodes {{ {nested} }} }} }}");
    let unseen = world.ask_as(&world.key, &unseen, json!({}));
    let unseen = unseen.expect_err("too much is read").to_string();
    assert!(
        unseen.contains("QUERY_LIMIT_EXCEEDED") && unseen.contains("ask for less"),
        "{unseen}"
    );
    let one = world.ask(
        "{ memory(about: \"ann\", first: 20) { nodes { content } } }",
        json!({}),
    );
    assert_eq!(one["memory"]["nodes"].as_array().map(Vec::len), Some(20));
}

#[test]
fn a_status_alone_is_not_looked_for_in_all_of_memory() {
    let world = World::new();
    let query = "query ($filter: FactFilter) { facts(filter: $filter) { nodes { content } } }";
    let ask = |filter: Value| world.ask_as(&world.key, query, json!({ "filter": filter }));
    for status in ["CURRENT", "INVALIDATED", "REPLACED", "DELETED"] {
        let refused = ask(json!({ "status": status }))
            .expect_err("no index has it")
            .to_string();
        assert!(refused.contains("INVALID_ARGUMENT"), "{refused}");
        ask(json!({ "status": status, "attribute": "home" })).expect("an index has that");
    }
    ask(json!({ "status": "CANDIDATE" })).expect("an index has it");
}
