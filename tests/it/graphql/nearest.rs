//! Memory by vector over HTTP: vectors come from clients, and the nearest facts are told with how near they are.

use ruche_domain::limits::VECTOR_NUMBERS_MAX;
use ruche_domain::vector::Vector;
use serde_json::{Value, json};

use super::{APPEND, World};

const NEAREST: &str = "query ($vector: String!, $filter: MemoryFilter, $knownAt: AsOf, $first: Int, $p: Position) {
    nearestFacts(model: \"m-1\", vector: $vector, filter: $filter, knownAt: $knownAt, first: $first, minPosition: $p) {
        compared ofOtherLength nodes { similarity fact { recordId content status source { type } } } } }";

fn text(numbers: &[f32]) -> Value {
    Vector::new(numbers).expect("a vector").to_string().into()
}

impl World {
    /// Appends events of memory to the stream of Ann, and gives the answer.
    fn told_of_ann(&self, key: &str, events: Value) -> Value {
        let target = json!({ "named": { "category": "MEMORY", "externalId": "ann" } });
        let input = json!({ "idempotencyKey": key, "target": target, "events": events });
        self.ask(APPEND, json!({ "input": input }))["appendEvents"].clone()
    }

    /// The records of the nearest facts with their similarity.
    fn nearest(&self, variables: Value) -> Value {
        let found = self.ask(NEAREST, variables)["nearestFacts"]["nodes"].clone();
        let found = found.as_array().expect("facts").iter();
        found
            .map(|node| json!([node["fact"]["recordId"], node["similarity"]]))
            .collect()
    }
}

fn event(event_type: &str, data: Value) -> Value {
    json!({ "type": event_type, "data": { "json": data } })
}

fn fact(record: &str, about: &str) -> Value {
    let fact = json!({ "record_id": record, "about": about, "content": record, "source_event_ids": [] });
    event("memory.written", fact)
}

fn embedded(record: &str, numbers: &[f32]) -> Value {
    event(
        "memory.embedded",
        json!({ "record_id": record, "model": "m-1", "vector": text(numbers) }),
    )
}

#[test]
fn facts_are_found_by_a_vector_that_the_client_sends() {
    let world = World::new();
    let told = world.told_of_ann(
        "facts",
        json!([
            fact("north", "ann"),
            embedded("north", &[0.0, 2.0]),
            fact("east", "ann"),
            embedded("east", &[3.0, 0.0]),
            fact("between", "bob"),
            embedded("between", &[4.0, 3.0]),
            fact("deep", "ann"),
            embedded("deep", &[1.0, 0.0, 0.0]),
            fact("silent", "ann"),
        ]),
    );
    let last = told["position"].clone();
    let all = world.ask(NEAREST, json!({ "vector": text(&[1.0, 0.0]), "p": last }))["nearestFacts"].clone();
    let node = |record: &str, similarity: f64| {
        json!({ "similarity": similarity, "fact": { "recordId": record, "content": record, "status": "CURRENT",
            "source": { "type": "memory.written" } } })
    };
    assert_eq!(
        all,
        json!({ "compared": 3, "ofOtherLength": 1, "nodes": [node("east", 1.0), node("between", 0.8), node("north", 0.0)] })
    );
    let north = text(&[0.0, 1.0]);
    assert_eq!(
        world.nearest(json!({ "vector": north, "filter": { "about": "ann" } })),
        json!([["north", 1.0], ["east", 0.0]])
    );
    assert_eq!(
        world.nearest(json!({ "vector": north, "first": 1 })),
        json!([["north", 1.0]])
    );
    // A vector of a version stays with it: what is written anew has none, and what was known then is found as it was.
    let again = world.told_of_ann("again", json!([fact("north", "ann")]));
    assert_eq!(
        world.nearest(json!({ "vector": north, "p": again["position"] })),
        json!([["between", 0.6], ["east", 0.0]])
    );
    assert_eq!(
        world.nearest(json!({ "vector": north, "knownAt": { "position": last }, "first": 1 })),
        json!([["north", 1.0]])
    );
}

#[test]
fn what_is_no_vector_is_refused_with_its_place_and_changes_nothing() {
    let world = World::new();
    let told = world.told_of_ann(
        "fact",
        json!([fact("north", "ann"), embedded("north", &[0.0, 1.0])]),
    );
    // Three times 1.0, and twice: 4,097 are one too many.
    let too_many = format!(
        "{}AACAPwAAgD8=",
        "AACAPwAAgD8AAIA/".repeat(VECTOR_NUMBERS_MAX / 3)
    );
    for (bad, why) in [
        ("no base64".to_owned(), "base64"),
        ("AACAPx==".to_owned(), "base64"),
        ("AAAAAAA=".to_owned(), "four bytes"),
        ("AACAPwAAgH8=".to_owned(), "not finite"),
        ("AAAAAAAAAAA=".to_owned(), "all numbers"),
        (too_many, "at most 21848 characters"),
        (String::new(), "at least one number"),
    ] {
        let event = event(
            "memory.embedded",
            json!({ "record_id": "north", "model": "m-1", "vector": bad }),
        );
        let refused = world.told_of_ann("bad", json!([fact("south", "ann"), event]));
        assert_eq!(refused["__typename"], "SchemaViolation", "{bad}: {refused}");
        assert_eq!(
            (&refused["event"], &refused["eventType"]),
            (&json!("1"), &json!("memory.embedded"))
        );
        let violation = &refused["violations"][0];
        assert_eq!(violation["pointer"], "/vector", "{refused}");
        let reason = violation["reason"].as_str().expect("a reason");
        assert!(reason.contains(why), "{bad}: {reason}");
        let asked = world.ask_as(&world.key, NEAREST, json!({ "vector": bad }));
        let asked = asked.expect_err("it is no vector").to_string();
        assert!(
            asked.contains("INVALID_ARGUMENT") && asked.contains("`vector`"),
            "{asked}"
        );
    }
    let found = world.nearest(json!({ "vector": text(&[0.0, 1.0]), "p": told["position"] }));
    assert_eq!(found, json!([["north", 1.0]]));
    let known = world.ask("{ memory(about: \"ann\") { nodes { recordId } } }", json!({}));
    assert_eq!(known["memory"]["nodes"], json!([{ "recordId": "north" }]));
}
