//! What no span says: other arguments than were asked for, a call that never ran, a span that never came.

use std::time::{Duration, Instant};

use super::*;

const TRACE: &str = "5b8efff798038103d269b633813fc60c";
const BOUND: Duration = Duration::from_secs(60);
const DERIVED: &str =
    "{ sessions(first: 9) { nodes { timeline(first: 99) { nodes { type record { payload } } }
    effects(first: 9) { nodes { tool status notExecutedCause } } } } }";

fn span(id: u8, parent: u8, seconds: [u64; 2], attributes: Value) -> Value {
    let hex = |id: u8| format!("00000000000000{id:02x}");
    let at = |second: u64| ((1_700_000_000 + second) * 1_000_000_000).to_string();
    let mut all = json!({ "gen_ai.conversation.id": "chat-1", "gen_ai.agent.name": "support" });
    let more = attributes.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(more);
    let list = all.as_object().expect("an object").iter();
    let list: Vec<Value> = list
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
        .collect();
    json!({ "traceId": TRACE, "spanId": hex(id), "parentSpanId": if parent > 0 { hex(parent) } else { String::new() },
        "name": format!("span {id}"), "startTimeUnixNano": at(seconds[0]), "endTimeUnixNano": at(seconds[1]),
        "attributes": list })
}

fn asks(id: u8, seconds: [u64; 2], calls: &[(&str, &str)]) -> Value {
    let part = |(id, arguments): &(&str, &str)| {
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        json!({ "type": "tool_call", "id": id, "name": format!("tool-{id}"), "arguments": arguments })
    };
    let parts: Vec<Value> = calls.iter().map(part).collect();
    let output = json!([{ "role": "assistant", "parts": parts }]).to_string();
    span(
        id,
        1,
        seconds,
        json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.output.messages": output }),
    )
}

fn runs(id: u8, seconds: [u64; 2], call: &str, arguments: &str) -> Value {
    span(
        id,
        1,
        seconds,
        json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": format!("tool-{call}"),
            "gen_ai.tool.call.id": call, "gen_ai.tool.call.arguments": arguments, "gen_ai.tool.call.result": "done" }),
    )
}

fn agent(seconds: [u64; 2]) -> Value {
    span(1, 0, seconds, json!({ "gen_ai.operation.name": "invoke_agent" }))
}

fn send(world: &World, spans: &[Value]) {
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
    let answered = world.send("/v1/traces", JSON, body.to_string().into_bytes());
    assert_eq!((answered.status, answered.body.as_slice()), (200, &b"{}"[..]));
}

/// Payloads of the events of a type, once there are so many.
fn derived(world: &World, event_type: &str, count: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        world.position();
        let found = world.ask(DERIVED);
        let timeline = found["sessions"]["nodes"][0]["timeline"]["nodes"]
            .as_array()
            .expect("a list");
        let of_type: Vec<Value> = timeline
            .iter()
            .filter(|entry| entry["type"] == event_type)
            .map(|entry| entry["record"]["payload"].clone())
            .collect();
        if of_type.len() >= count {
            return of_type;
        }
        assert!(since.elapsed() < BOUND, "{event_type}: {timeline:?}");
    }
}

#[test]
fn edited_arguments_and_calls_that_never_ran_are_derived_once() {
    let world = World::waiting(1);
    let edited = r#"{"order":"W100","cents":900}"#;
    let spans = [
        asks(
            2,
            [1, 2],
            &[
                ("same", r#"{"a":1,"b":2}"#),
                ("edited", r#"{"order":"W100","cents":1250}"#),
                ("denied", "{}"),
            ],
        ),
        runs(3, [3, 4], "same", r#"{"b": 2, "a": 1}"#),
        runs(4, [3, 4], "edited", edited),
        asks(5, [5, 6], &[("waits", "{}")]),
        agent([0, 7]),
    ];
    send(&world, &spans);
    let changed = derived(&world, "tool.arguments_changed", 1);
    assert_eq!((changed.len(), &changed[0]["changed"]), (1, &json!(["/cents"])));
    assert_eq!(changed[0]["evidence_event_ids"].as_array().map(Vec::len), Some(2));
    let never = derived(&world, "tool.not_executed", 1);
    assert_eq!(
        (never.len(), &never[0]["cause"]),
        (1, &json!("no_execution_seen"))
    );
    let effects = world.ask(DERIVED)["sessions"]["nodes"][0]["effects"]["nodes"].take();
    let status = |tool: &str| {
        let effects = effects.as_array().expect("a list");
        effects
            .iter()
            .find(|effect| effect["tool"] == tool)
            .expect("the effect")["status"]
            .clone()
    };
    assert_eq!(status("tool-denied"), "NOT_EXECUTED");
    assert_eq!(
        status("tool-waits"),
        "PROPOSED",
        "it ended its turn, so it may wait for an approval"
    );
    assert_eq!(status("tool-same"), "COMPLETED");
    // Another turn of the session goes by; now the agent went on without the call that waited. Nothing else is derived again.
    let mut later = [asks(6, [8, 9], &[]), agent([8, 10])];
    for span in &mut later {
        span["traceId"] = json!("5b8efff798038103d269b633813fc60d");
    }
    send(&world, &later);
    assert_eq!(derived(&world, "tool.not_executed", 2).len(), 2);
    assert_eq!(derived(&world, "tool.arguments_changed", 1).len(), 1);
}

#[test]
fn a_span_whose_parent_never_came_is_a_gap() {
    let world = World::waiting(1);
    let dropped_parent = span(
        9,
        8,
        [1, 2],
        json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "m" }),
    );
    send(&world, &[dropped_parent, agent([0, 7])]);
    let gaps = derived(&world, "infra.ingest_gap", 1);
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (&gaps[0]["source"], &gaps[0]["expected"]),
        (&json!(TRACE), &json!("0000000000000008"))
    );
    // The parent comes late: it is recorded, and the gap stays what it was.
    send(
        &world,
        &[span(
            8,
            1,
            [1, 3],
            json!({ "gen_ai.operation.name": "agent_step" }),
        )],
    );
    derived(&world, "infra.span_unclassified", 1);
    assert_eq!(derived(&world, "infra.ingest_gap", 1).len(), 1);
}
