//! Figures for analysts over HTTP: what was recorded, what nobody told, and questions that make no sense.

use serde_json::{Value, json};

use super::World;

const QUERY: &str = "query ($m: AnalyticsMetric!, $by: [AnalyticsDimension!], $bucket: AnalyticsBucket, $from: DateTime!,
    $to: DateTime!, $f: AnalyticsFilter, $c: Period, $p: Position) { analytics(metric: $m, groupBy: $by, bucket: $bucket,
    from: $from, to: $to, filter: $f, compareTo: $c, minPosition: $p) { unit rows { bucket key { dimension value } currency
    value count known coverage compared { value } } } }";

/// A turn of an agent with two model calls, of which one tells its tokens, and a tool call that fails.
pub(super) fn recorded() -> (World, Value) {
    let world = World::new();
    world.start_session("s");
    let steps = json!([
        { "received": { "text": "my money back" } },
        { "said": { "text": null, "toolCalls": [{ "name": "refund", "arguments": "{}", "providerCallId": "call_1" }],
            "modelCall": { "model": "m-1", "usage": { "input": 100, "output": "20" },
                "cost": { "amount": "0.0030", "currency": "USD" } } } },
        { "settled": { "outcome": { "failed": { "name": "refund", "result": "no", "providerCallId": "call_1" } } } },
        { "said": { "text": "sorry", "modelCall": { "model": "m-1" } } },
    ]);
    let input = json!({ "idempotencyKey": "turn-1", "session": { "externalId": "s" }, "agent": "shop", "steps": steps,
        "end": { "committed": { "outcome": "KNOWLEDGE_GAP", "durationUs": 2000000 } } });
    let fields = "... on RecordTurnPayload { position }";
    let recorded = world.mutate("recordTurn", "RecordTurnInput", fields, input);
    let position = recorded["position"].clone();
    (world, position)
}

/// All of the time that a test can run in.
fn question(metric: &str, by: &[&str], position: &Value) -> Value {
    json!({ "m": metric, "by": by, "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "p": position })
}

#[test]
fn figures_say_how_much_of_what_they_are_about_they_know() {
    let (world, position) = recorded();
    let ask = |question| world.ask(QUERY, question)["analytics"]["rows"].clone();
    let tokens = ask(question(
        "INPUT_TOKENS",
        &["AGENT", "CHANNEL", "MODEL"],
        &position,
    ));
    let key = json!([{ "dimension": "AGENT", "value": "shop" }, { "dimension": "CHANNEL", "value": "web" },
        { "dimension": "MODEL", "value": "m-1" }]);
    assert_eq!(
        tokens,
        json!([{ "bucket": null, "key": key, "currency": null, "value": "100", "count": "2", "known": "1",
            "coverage": 50.0, "compared": null }])
    );
    for (metric, value, known) in [
        ("COST", json!("0.003"), "1"),
        ("REASONING_TOKENS", Value::Null, "0"),
        ("COST_BY_PRICES", Value::Null, "0"),
        ("MODEL_CALLS", json!("2"), "2"),
        ("TOOL_ERROR_RATE", json!("1"), "1"),
        ("EVENTS_LATE", json!("0"), "0"),
    ] {
        let row = &ask(question(metric, &[], &position))[0];
        assert_eq!(
            (&row["value"], &row["known"]),
            (&value, &json!(known)),
            "{metric}"
        );
    }
    let mut outcome = question("TURNS", &["OUTCOME"], &position);
    outcome["f"] = json!({ "agent": "shop" });
    let row = ask(outcome.clone())[0].clone();
    assert_eq!(row["key"][0]["value"], "knowledge_gap");
    // A time before the first record has nothing to compare to; the same time has the same.
    outcome["c"] = json!({ "from": outcome["from"], "to": outcome["to"] });
    assert_eq!(ask(outcome.clone())[0]["compared"], json!({ "value": "1" }));
    outcome["c"] = json!({ "from": "1980-01-01T00:00:00Z", "to": "1990-01-01T00:00:00Z" });
    assert_eq!(ask(outcome)[0]["compared"], Value::Null);
}

#[test]
fn a_question_that_makes_no_sense_is_refused_in_words() {
    let (world, position) = recorded();
    let mut cut = question("TURNS", &[], &position);
    cut["bucket"] = json!("DAY");
    cut["from"] = json!("2026-01-31T00:00:01Z");
    cut["to"] = json!("2026-02-02T00:00:00Z");
    for (question, words) in [
        (
            question("COST", &["TOOL"], &position),
            "`groupBy` has TOOL, which COST does not have",
        ),
        (cut, "the one that it is in starts at 2026-01-31T00:00:00Z"),
    ] {
        let refused = world
            .ask_as(&world.key, QUERY, question)
            .expect_err("it is refused");
        let told = refused.to_string();
        assert!(
            told.contains(words) && told.contains("INVALID_ARGUMENT"),
            "{told}"
        );
    }
}
