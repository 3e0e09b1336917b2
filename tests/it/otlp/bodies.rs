//! Bodies that were sent by real clients, or stand in specifications: what is in them is what is found.

use super::*;
use ruche_tests::data;

const FOLDER: &str = "otlp-genai";

fn bytes(name: &str) -> Option<Vec<u8>> {
    let path = data::file(&format!("{FOLDER}/{name}"))?;
    Some(std::fs::read(path).expect("the file is read"))
}

/// Sends a captured body and holds what is found against what was noted beside it.
#[track_caller]
fn captured(name: &str, media_type: &str) {
    let (Some(body), Some(expected)) = (
        bytes(&format!("captured/{name}")),
        bytes(&format!("captured/{name}.expected.json")),
    ) else {
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    let expected = &expected["expected"];
    let mut world = World::new();
    let mut seen: Option<Value> = None;
    for round in 0..3 {
        let answered = world.send("/v1/traces", media_type, body.clone());
        assert_eq!((answered.status, answered.media_type.as_str()), (200, media_type));
        let nothing_rejected: &[u8] = if media_type == JSON { b"{}" } else { b"" };
        assert_eq!(answered.body, nothing_rejected);
        let usage = world.usage();
        let calls = expected["tool_calls"].as_array().expect("a list");
        assert_eq!(usage["counts"]["turns"], json!("1"), "{usage}");
        assert_eq!(usage["counts"]["turnsCommitted"], json!("1"));
        assert_eq!(
            usage["counts"]["llmCalls"],
            json!(expected["llm_calls"].to_string())
        );
        assert_eq!(usage["counts"]["toolCalls"], json!(calls.len().to_string()));
        assert_eq!(usage["counts"]["toolResults"], json!(calls.len().to_string()));
        assert_eq!(usage["counts"]["userMessages"], json!("1"));
        // One question, two steps that call tools, one answer.
        assert_eq!(usage["counts"]["messages"], json!("4"));
        // 53 + 59 + 60 and 5 + 11 + 15 on the model calls; the agent above them says the same sum once more.
        let counts = &usage["counts"];
        let tokens = [
            &counts["inputTokens"]["tokens"],
            &counts["outputTokens"]["tokens"],
        ];
        assert_eq!(tokens, [&json!("172"), &json!("31")]);
        let position = world.position();
        assert_eq!(
            seen.get_or_insert_with(|| json!(position)),
            &json!(position),
            "round {round} wrote"
        );
        session_of(&world, expected);
        if round == 1 {
            world = world.restarted();
        }
    }
}

#[track_caller]
fn session_of(world: &World, expected: &Value) {
    let found = world.ask(
        "{ sessions(first: 5) { nodes { externalId agent provenance turns(first: 5) { nodes { externalId status agent
            counts { llmCalls toolResults inputTokens { tokens } } } } } }
          effects(first: 10) { nodes { tool arguments result status } } }",
    );
    let sessions = found["sessions"]["nodes"].as_array().expect("a list");
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["externalId"], expected["conversation_ids"][0]);
    assert_eq!(sessions[0]["agent"], "support_agent");
    let turns = sessions[0]["turns"]["nodes"].as_array().expect("a list");
    assert_eq!(turns.len(), 1);
    assert_eq!(
        (&turns[0]["status"], &turns[0]["agent"]),
        (&json!("COMMITTED"), &json!("support_agent"))
    );
    let counts = json!({ "llmCalls": "3", "toolResults": "2", "inputTokens": { "tokens": "172" } });
    assert_eq!(turns[0]["counts"], counts);
    let effects = found["effects"]["nodes"].as_array().expect("a list");
    let calls = expected["tool_calls"].as_array().expect("a list");
    assert_eq!(effects.len(), calls.len());
    for call in calls {
        let effect = effects
            .iter()
            .find(|effect| effect["tool"] == call["tool"])
            .expect("the effect");
        assert_eq!(effect["arguments"], call["arguments"]);
        assert_eq!(effect["result"], call["result"]);
        assert_eq!(effect["status"], "COMPLETED");
    }
}

#[test]
fn what_pydantic_ai_sent_as_protobuf_is_recorded_once() {
    captured("pydantic-ai_sample-proto.traces.pb", PROTOBUF);
}

#[test]
fn what_pydantic_ai_sent_as_json_is_recorded_once() {
    captured("pydantic-ai_sample-json.traces.json", JSON);
}

#[test]
fn bodies_with_ids_of_zeros_are_refused_span_by_span() {
    let world = World::new();
    let before = world.position();
    for name in ["claude_code", "claude_cowork", "cursor", "raw_otlp_advanced"] {
        let Some(body) = bytes(&format!("langwatch-payloads/{name}.json")) else {
            return;
        };
        let answered = world.send("/v1/traces", JSON, body);
        assert_eq!(answered.json()["partialSuccess"]["rejectedSpans"], "1", "{name}");
        assert_eq!(world.position(), before, "{name}");
    }
}

#[test]
fn the_examples_of_the_specification_are_taken_where_they_belong() {
    let world = World::new();
    let example = |name: &str| bytes(&format!("opentelemetry-proto-examples/{name}.json"));
    let (Some(trace), Some(logs), Some(events), Some(metrics)) = (
        example("trace"),
        example("logs"),
        example("events"),
        example("metrics"),
    ) else {
        return;
    };
    assert_eq!(world.send("/v1/traces", JSON, trace).body, b"{}");
    let kept = "{ sessions(first: 5) { nodes { externalId agent timeline(first: 9) { nodes { type } } } } }";
    world.position();
    let found = world.ask(kept)["sessions"]["nodes"].take();
    assert_eq!(found[0]["externalId"], "5b8efff798038103d269b633813fc60c");
    let kinds = json!([{ "type": "session.started" }, { "type": "infra.span_unclassified" }]);
    assert_eq!(
        found[0]["timeline"]["nodes"], kinds,
        "a span that nobody knows is kept as it came"
    );
    let before = world.position();
    for (path, body) in [
        ("/v1/logs", &logs),
        ("/v1/logs", &events),
        ("/v1/metrics", &metrics),
    ] {
        assert_eq!(world.send(path, JSON, body.clone()).body, b"{}", "{path}");
    }
    for body in [logs, metrics] {
        assert_eq!(world.send("/v1/traces", JSON, body).status, 400);
    }
    assert_eq!(world.position(), before);
}
