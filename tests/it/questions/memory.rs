//! Questions 20 to 22: what was known, on what it rests and who used it, what was taken back.

use std::time::Duration;

use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use super::asked::query;
use super::story::stand_on_a_monday;
use crate::scenarios::world::{World, lane};

/// When 2025 and 2026 began, µs.
const Y2025: u64 = 1_735_689_600_000_000;
const Y2026: u64 = 1_767_225_600_000_000;
const DAY_US: u64 = 86_400_000_000;

/// Says something of the memory about Ann, all of it at once. Gives the position of the last.
fn tell(world: &World, events: &[(&str, Value)]) -> Value {
    let events: Vec<Value> = events
        .iter()
        .map(|(event, data)| json!({ "type": event, "data": { "json": data } }))
        .collect();
    let target = json!({ "named": { "category": "MEMORY", "externalId": "ann" } });
    let input = json!({ "target": target, "events": events });
    world.done("appendEvents", &input, "position")["position"].clone()
}

/// What is written about Ann, and more of it.
fn fact(id: &str, attribute: &str, content: &str, more: Value) -> (&'static str, Value) {
    let mut fact = json!({ "record_id": id, "store": "profile", "about": "ann", "attribute": attribute,
        "content": content, "source_event_ids": [] });
    let more = more.as_object().expect("an object").clone();
    fact.as_object_mut().expect("an object").extend(more);
    ("memory.written", fact)
}

fn taken_back(id: &str, reason: &str, more: Value) -> (&'static str, Value) {
    let mut said = json!({ "record_id": id, "store": "profile", "reason": reason });
    let more = more.as_object().expect("an object").clone();
    said.as_object_mut().expect("an object").extend(more);
    ("memory.invalidated", said)
}

fn contents(facts: &Value) -> Vec<&Value> {
    let nodes = facts["nodes"].as_array().expect("facts").iter();
    nodes.map(|fact| &fact["content"]).collect()
}

#[test]
fn q_20_what_was_known_and_what_held() {
    let world = World::new();
    let then = tell(
        &world,
        &[fact("home", "home", "Paris", json!({ "valid_from": Y2025 }))],
    );
    let last = tell(
        &world,
        &[
            fact("tea", "likes", "tea", json!({})),
            fact("home-2", "home", "Lyon", json!({ "valid_from": Y2026 })),
            taken_back(
                "home",
                "contradicted",
                json!({ "valid_to": Y2026, "by_record_id": "home-2" }),
            ),
        ],
    );
    let answer = world.read(&query(20), &json!({ "then": then, "p": last }));
    assert_eq!(contents(&answer["now"]), ["Lyon"]);
    assert_eq!(
        contents(&answer["knownThen"]),
        ["Paris"],
        "nobody had said yet that she moved"
    );
    assert_eq!(
        answer["heldIn2025"]["nodes"],
        json!([{ "content": "Paris", "validTo": "2026-01-01T00:00:00.000000Z" }])
    );
}

#[test]
fn q_21_where_a_fact_comes_from_and_who_used_it() {
    let world = World::new();
    let from = |source: &str| json!({ "source_refs": [source] });
    tell(
        &world,
        &[
            fact("home", "home", "Paris", from("crm:7")),
            fact("tea", "likes", "tea", from("crm:7")),
            fact("hat", "wears", "a hat", from("crm:9")),
        ],
    );
    let ann = lane("ann", "web");
    world.session(&ann);
    let worker = world.turn(&ann, "m-1", "where do I live");
    let found =
        json!({ "store": "profile", "query": "home", "results": [{ "record_id": "home", "score": 0.9 }] });
    let event = json!({ "type": "memory.searched", "turnId": worker.turn, "data": { "json": found } });
    let session = json!({ "session": { "externalId": "ann on web" } });
    let input = json!({ "target": session, "held": worker.held(), "events": [event] });
    let used = world.done("appendEvents", &input, "position")["position"].clone();
    let last = world.commit(&worker, "in Paris")["position"].clone();

    let all = json!({ "source": "crm:7", "p": last });
    let answer = world.read(&query(21), &all);
    let nodes = answer["facts"]["nodes"].as_array().expect("facts");
    let ids: Vec<&Value> = nodes.iter().map(|fact| &fact["recordId"]).collect();
    assert_eq!(ids, ["home", "tea"]);
    for fact in nodes {
        assert_eq!(
            fact["restsOn"]["nodes"],
            json!([{ "name": "crm:7", "eventId": null }])
        );
        assert_eq!(
            (&fact["source"]["type"], &fact["status"]),
            (&json!("memory.written"), &json!("CURRENT"))
        );
    }
    let words =
        json!([{ "role": "USER", "text": "where do I live" }, { "role": "ASSISTANT", "text": "in Paris" }]);
    assert_eq!(
        nodes[0]["usedBy"]["nodes"],
        json!([{ "position": used, "turn": { "messages": { "nodes": words } } }])
    );
    assert_eq!(nodes[1]["usedBy"]["nodes"], json!([]));

    // All of the source is taken back, as the answer names it.
    let taken: Vec<(&str, Value)> = ids
        .iter()
        .map(|id| taken_back(id.as_str().expect("an id"), "source_retired", json!({})))
        .collect();
    let last = tell(&world, &taken);
    let answer = world.read(&query(21), &json!({ "source": "crm:7", "p": last }));
    let nodes = answer["facts"]["nodes"].as_array().expect("facts").iter();
    let states: Vec<&Value> = nodes.map(|fact| &fact["status"]).collect();
    assert_eq!(states, ["INVALIDATED", "INVALIDATED"]);
    let known = "query ($p: Position) { memory(about: \"ann\", minPosition: $p) { nodes { content } } }";
    let known = world.read(known, &json!({ "p": last }));
    assert_eq!(
        contents(&known["memory"]),
        ["a hat"],
        "what rests on another source stays"
    );
    world.audit();
}

#[test]
fn q_22_what_was_taken_back_and_served_all_the_same() {
    let world = World::new();
    let monday = stand_on_a_monday(&world);
    let day = |n: u64| Micros(monday + n * DAY_US).to_rfc3339();
    let [one, other] = ["ab".repeat(32), "cd".repeat(32)];
    let by = |extractor: &str| json!({ "extractor_digest": extractor });
    let served = |id: &str| {
        let results = json!([{ "record_id": id, "score": 0.5 }]);
        (
            "memory.searched",
            json!({ "store": "profile", "query": "q", "results": results }),
        )
    };
    tell(
        &world,
        &[
            fact("a", "x", "one", by(&one)),
            fact("b", "x", "two", by(&one)),
            fact("c", "x", "three", by(&other)),
            served("a"),
            taken_back("a", "contradicted", json!({})),
        ],
    );
    world.pass(Duration::from_micros(DAY_US));
    tell(
        &world,
        &[
            taken_back("b", "extraction_error", json!({})),
            taken_back("c", "contradicted", json!({})),
        ],
    );
    let last = tell(&world, &[served("a")]);
    let variables = json!({ "from": day(0), "to": day(2), "p": last });
    let answer = world.read(&query(22), &variables);
    let row = |n: u64, extractor: &str, reason: &str| {
        let day = day(n)[..10].to_owned();
        json!({ "day": day, "extractorDigest": extractor, "reason": reason, "facts": "1" })
    };
    assert_eq!(
        answer["invalidatedFacts"],
        json!([
            row(0, &one, "CONTRADICTED"),
            row(1, &one, "EXTRACTION_ERROR"),
            row(1, &other, "CONTRADICTED"),
        ])
    );
    assert_eq!(
        answer["memoryUses"]["nodes"],
        json!([{ "position": last, "store": "profile", "recordId": "a" }]),
        "what was served before is none of it"
    );
}
