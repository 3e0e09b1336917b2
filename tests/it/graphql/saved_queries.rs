//! Saved questions over HTTP: saved, asked, replaced and dropped; and what is refused changes nothing.

use serde_json::{Value, json};

use super::World;
use super::analytics::recorded;

const FIGURES: &str =
    "metric unit description dimensions rows { bucket key { dimension value } currency value count known
    compared { value } }";

impl World {
    fn save(&self, key: &str, name: &str, query: Value) -> Value {
        let input = json!({ "idempotencyKey": key, "name": name, "query": query });
        let fields = "... on SaveQueryPayload { position duplicate unchanged receipts { position } }
            ... on LimitExceeded { limit value unit }";
        self.mutate("saveQuery", "SaveQueryInput", fields, input)
    }

    fn drop_query(&self, key: &str, name: &str) -> Value {
        let input = json!({ "idempotencyKey": key, "name": name });
        let fields = "... on DropQueryPayload { position duplicate unchanged }";
        self.mutate("dropQuery", "DropQueryInput", fields, input)
    }

    fn saved(&self, name: &str, position: &Value) -> Value {
        let query = format!(
            "query ($name: String!, $p: Position) {{ savedQuery(name: $name, minPosition: $p) {{ name query position \
             figures {{ {FIGURES} }} }} }}"
        );
        self.ask(&query, json!({ "name": name, "p": position }))["savedQuery"].take()
    }

    /// What `analytics` itself says; the argument is what stands between its parentheses.
    fn asked(&self, question: &str) -> Value {
        self.ask(
            &format!("{{ analytics({question}) {{ {FIGURES} }} }}"),
            Value::Null,
        )["analytics"]
            .take()
    }

    fn names(&self, position: &Value) -> Vec<String> {
        let query = "query ($p: Position) { savedQueries(minPosition: $p) { nodes { name } } }";
        let answer = self.ask(query, json!({ "p": position }));
        let nodes = answer["savedQueries"]["nodes"].as_array().expect("nodes").iter();
        nodes
            .map(|node| node["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    fn records(&self) -> Value {
        self.ask("{ ledger { size } }", Value::Null)["ledger"]["size"].take()
    }
}

#[test]
fn a_question_is_saved_asked_replaced_and_dropped() {
    let (world, _) = recorded();
    let query = json!({ "metric": "INPUT_TOKENS", "groupBy": ["AGENT", "MODEL"], "from": "2020-01-01T00:00:00Z",
        "to": "2100-01-01T00:00:00Z", "filter": { "channel": "web" },
        "compareTo": { "from": "1980-01-01T00:00:00Z", "to": "1990-01-01T00:00:00Z" } });
    let done = world.save("s-1", "tokens", query.clone());
    assert_eq!(
        (&done["duplicate"], &done["unchanged"]),
        (&json!(false), &json!(false)),
        "{done}"
    );
    let saved = world.saved("tokens", &done["position"]);
    let figures = world.asked(
        "metric: INPUT_TOKENS, groupBy: [AGENT, MODEL], from: \"2020-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\",
        filter: { channel: \"web\" }, compareTo: { from: \"1980-01-01T00:00:00Z\", to: \"1990-01-01T00:00:00Z\" }",
    );
    assert_eq!(figures["rows"][0]["value"], "100", "{figures}");
    assert_eq!(
        (&saved["figures"], &saved["position"]),
        (&figures, &done["position"])
    );
    let mut told = query.clone();
    for place in ["/from", "/to", "/compareTo/from", "/compareTo/to"] {
        // Times are told to the microsecond, as everywhere.
        let time = told.pointer_mut(place).expect("a time");
        *time = json!(time.as_str().expect("text").replace('Z', ".000000Z"));
    }
    assert_eq!(
        saved["query"], told,
        "in its own words, and none that were not said"
    );

    // The same key again, and the same question under another key.
    let again = world.save("s-1", "tokens", query.clone());
    assert_eq!(
        (&again["duplicate"], &again["receipts"]),
        (&json!(true), &done["receipts"])
    );
    let same = world.save("s-2", "tokens", query.clone());
    assert_eq!(
        (&same["unchanged"], &same["receipts"]),
        (&json!(true), &done["receipts"])
    );
    assert_eq!(world.save("s-1", "others", query)["code"], "IDEMPOTENCY_MISMATCH");

    // Another question takes its place: about the last week, whenever it is asked.
    let week = json!({ "metric": "TURNS", "groupBy": ["AGENT"], "bucket": "DAY", "last": 604_800 });
    let replaced = world.save("s-3", "tokens", week.clone());
    let saved = world.saved("tokens", &replaced["position"]);
    assert_eq!(
        (&saved["query"], &saved["position"]),
        (&week, &replaced["position"])
    );
    assert_eq!(
        saved["figures"]["rows"][0]["value"], "1",
        "the turn of a moment ago: {saved}"
    );
    let query =
        "query ($at: DateTime!) { savedQuery(name: \"tokens\") { figures(at: $at) { rows { value } } } }";
    for (at, rows) in [
        ("2020-01-01T00:00:00Z", json!([])),
        ("2099-12-31T23:59:59Z", json!([])),
    ] {
        let answer = world.ask(query, json!({ "at": at }));
        assert_eq!(answer["savedQuery"]["figures"]["rows"], rows, "as of {at}");
    }

    let second = world.save(
        "s-4",
        "errors",
        json!({ "metric": "TOOL_ERROR_RATE", "last": 3_600 }),
    );
    assert_eq!(world.names(&second["position"]), ["tokens", "errors"]);
    let dropped = world.drop_query("d-1", "tokens");
    assert_eq!(world.names(&dropped["position"]), ["errors"]);
    assert_eq!(world.saved("tokens", &dropped["position"]), Value::Null);
    assert_eq!(world.drop_query("d-1", "tokens")["duplicate"], true);
    assert_eq!(world.drop_query("d-2", "tokens")["code"], "NOT_FOUND");
    let back = world.save("s-5", "tokens", week.clone());
    assert_eq!(back["unchanged"], false, "what was dropped is saved anew");
    assert_eq!(world.saved("tokens", &back["position"])["query"], week);
}

#[test]
fn what_analytics_would_refuse_is_refused_when_it_is_saved_and_changes_nothing() {
    let (world, _) = recorded();
    let good = json!({ "metric": "COST", "last": 86_400 });
    let stands = world.save("s-1", "costs", good.clone());
    let size = world.records();
    let with = |member: &str, value: Value| {
        let mut query = good.clone();
        query[member] = value;
        query
    };
    let fixed = |from: &str, to: &str| json!({ "metric": "TURNS", "bucket": "DAY", "from": from, "to": to });
    let period = |from: &str| json!({ "from": from, "to": "2026-02-02T00:00:00Z" });
    for (query, path, words) in [
        (
            with("groupBy", json!(["TOOL"])),
            "query groupBy",
            "has TOOL, which COST does not have",
        ),
        (
            with("groupBy", json!(["AGENT", "AGENT"])),
            "query groupBy",
            "has AGENT twice",
        ),
        (
            with("filter", json!({ "reviewer": "ann" })),
            "query filter",
            "has REVIEWER",
        ),
        (
            with("percentile", json!(101)),
            "query percentile",
            "from 0 to 100",
        ),
        (with("last", json!(61)), "query last", "no full number of minutes"),
        (with("last", json!(0)), "query last", "from 60 to"),
        (with("last", json!(2_000_000_000)), "query last", "from 60 to"),
        (
            with("bucket", json!("WEEK")),
            "query last",
            "no full number of WEEKs",
        ),
        (
            with("from", json!("2026-01-01T00:00:00Z")),
            "query last",
            "`from` and `to` are not",
        ),
        (json!({ "metric": "COST" }), "query last", "is needed"),
        (
            json!({ "metric": "COST", "to": "2026-01-01T00:00:00Z" }),
            "query from",
            "is needed",
        ),
        (
            json!({ "metric": "COST", "from": "2026-01-01T00:00:00Z" }),
            "query to",
            "is needed",
        ),
        (
            fixed("2026-01-31T00:00:01Z", "2026-02-02T00:00:00Z"),
            "query from",
            "starts at 2026-01-31T00:00:00Z",
        ),
        (
            fixed("2026-02-02T00:00:00Z", "2026-01-31T00:00:00Z"),
            "query to",
            "is not behind",
        ),
        (
            with("compareTo", period("2026-02-03T00:00:00Z")),
            "query compareTo to",
            "is not behind",
        ),
    ] {
        let refused = world.save("free", "costs", query.clone());
        let told: Vec<&str> = refused["path"]
            .as_array()
            .unwrap_or_else(|| panic!("{query} is not refused with a path: {refused}"))
            .iter()
            .map(|part| part.as_str().expect("text"))
            .collect();
        assert_eq!(
            (&refused["code"], told.join(" ")),
            (&json!("INVALID_INPUT"), path.to_owned())
        );
        let message = refused["message"].as_str().expect("a message");
        assert!(message.contains(words), "{query}: {message}");
    }
    let long = with("filter", json!({ "agent": "x".repeat(20_000) }));
    let refused = world.save("free", "costs", long);
    assert_eq!(
        (&refused["code"], &refused["limit"], &refused["unit"]),
        (&json!("LIMIT_EXCEEDED"), &json!("16384"), &json!("bytes"))
    );
    for name in ["", "a\nb", &"é".repeat(129)] {
        let refused = world.save("free", name, good.clone());
        assert_eq!(
            (&refused["code"], &refused["path"]),
            (&json!("INVALID_INPUT"), &json!(["name"]))
        );
        assert_eq!(world.drop_query("free", name)["code"], "INVALID_INPUT");
    }
    // Words that there are none of do not even come so far, and who may only read saves nothing.
    let query = "mutation ($input: SaveQueryInput!) { saveQuery(input: $input) { __typename } }";
    for (key, wrong, code) in [
        (
            &world.key,
            with("metric", json!("MONEY")),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            &world.key,
            with("surprise", json!(1)),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (&world.reader_key, with("metric", json!("TURNS")), "FORBIDDEN"),
    ] {
        let input = json!({ "idempotencyKey": "free", "name": "costs", "query": wrong });
        let refused = world
            .ask_as(key, query, json!({ "input": input }))
            .expect_err("it is refused");
        assert!(refused.to_string().contains(code), "{refused}");
    }
    assert_eq!(world.records(), size, "no record was written");
    let saved = world.saved("costs", &stands["position"]);
    assert_eq!(
        (&saved["query"], &saved["position"]),
        (&good, &stands["position"])
    );
    assert_eq!(
        world.save("free", "costs, too", good)["duplicate"],
        false,
        "the key is free"
    );
}
