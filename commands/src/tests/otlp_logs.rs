//! Log records of agents: coding agents, and message events of the `gen_ai` convention.

use std::collections::BTreeSet;
use std::sync::Arc;

use ruche_domain::envelope::TraceContext;
use ruche_domain::event::AgentEvent;
use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use crate::otlp::{LogRecord, ObservedSession, log_records};

fn record(name: &str, second: u64, attributes: Value, body: Value) -> LogRecord {
    let attributes = attributes.as_object().expect("an object").clone();
    let at_us = (1_700_000_000 + second) * 1_000_000;
    LogRecord {
        trace: None,
        name: name.to_owned(),
        at: Some(Micros(at_us)),
        at_ns: at_us * 1_000,
        attributes: attributes.into_iter().collect(),
        body,
        scope: String::new(),
        resource: Arc::new(
            [("service.name".to_owned(), json!("claude-code"))]
                .into_iter()
                .collect(),
        ),
    }
}

fn coding(name: &str, second: u64, more: Value) -> LogRecord {
    let mut attributes = json!({ "session.id": "s-1", "prompt.id": "p-1" });
    let more = more.as_object().expect("an object").clone();
    attributes.as_object_mut().expect("an object").extend(more);
    record(&format!("claude_code.{name}"), second, attributes, Value::Null)
}

fn events(sessions: &[ObservedSession]) -> Vec<&AgentEvent> {
    let spans = sessions.iter().flat_map(|session| &session.spans);
    let units = spans.flat_map(|span| &span.units);
    units
        .flat_map(|unit| &unit.drafts)
        .map(|draft| &draft.event)
        .collect()
}

fn types(sessions: &[ObservedSession]) -> Vec<&str> {
    events(sessions).into_iter().map(AgentEvent::event_type).collect()
}

#[test]
fn a_coding_agent_is_a_session_with_prompts_model_calls_and_decisions() {
    let all = vec![
        coding("user_prompt", 0, json!({ "prompt": "Fix it" })),
        coding(
            "api_request",
            1,
            json!({ "model": "m", "input_tokens": "10", "cache_read_tokens": "7", "cache_creation_tokens": 2,
                "output_tokens": 3, "cost_usd": 0.0125, "duration_ms": 40 }),
        ),
        coding(
            "tool_decision",
            2,
            json!({ "tool_use_id": "t", "decision": "accept", "source": "user" }),
        ),
        coding(
            "tool_result",
            3,
            json!({ "tool_use_id": "t", "tool_name": "Bash", "success": "true" }),
        ),
        coding(
            "tool_result",
            4,
            json!({ "tool_name": "Edit", "success": "false", "error": "no file" }),
        ),
        coding(
            "api_error",
            5,
            json!({ "model": "m", "error": "overloaded", "status_code": 529 }),
        ),
        record(
            "a line of a log",
            6,
            json!({ "session.id": "s-1" }),
            json!("text"),
        ),
    ];
    let (sessions, passed_over) = log_records(all.clone());
    assert_eq!(
        (sessions.len(), passed_over),
        (1, 1),
        "a line of a log is of no agent"
    );
    assert_eq!(sessions[0].external_id, "s-1");
    assert_eq!(
        types(&sessions),
        [
            "turn.opened",
            "message.received",
            "llm.responded",
            "approval.resolved",
            "tool.started",
            "tool.completed",
            "tool.started",
            "tool.failed",
            "llm.failed",
        ]
    );
    let call = events(&sessions).into_iter().find_map(|event| match event {
        AgentEvent::LlmResponded(call) => Some(call),
        _ => None,
    });
    let call = call.expect("a model call");
    let usage = call.usage.as_ref().expect("tokens");
    assert_eq!(
        (usage.input, usage.cache_read, usage.output),
        (Some(19), Some(7), Some(3))
    );
    assert_eq!(call.cost.as_ref().expect("a cost").amount.as_str(), "0.0125");
    // In any order, and again: each record is known by what it says.
    let keys = |records: Vec<LogRecord>| -> BTreeSet<String> {
        let (sessions, _) = log_records(records);
        let spans = sessions.into_iter().flat_map(|session| session.spans);
        spans.flat_map(|span| span.units).map(|unit| unit.key).collect()
    };
    let mut other_order = all.clone();
    other_order.reverse();
    assert_eq!(keys(all), keys(other_order));
}

#[test]
fn message_events_of_a_model_call_are_messages_and_proposals() {
    let in_trace = |mut record: LogRecord| {
        record.trace = Some(TraceContext {
            trace_id: [7; 16],
            span_id: [1; 8],
        });
        record
    };
    let question = record(
        "gen_ai.user.message",
        0,
        json!({}),
        json!({ "content": "Where?" }),
    );
    let call = json!({ "id": "c-1", "type": "function", "function": { "name": "look", "arguments": "{}" } });
    let choice = json!({ "index": 0, "finish_reason": "tool_calls", "message": { "tool_calls": [call] } });
    let choice = record("gen_ai.choice", 1, json!({}), choice);
    let (sessions, passed_over) = log_records(vec![in_trace(question), in_trace(choice)]);
    assert_eq!(passed_over, 0);
    assert!(sessions[0].is_inferred, "the trace stands for the session");
    assert_eq!(
        types(&sessions),
        [
            "turn.opened",
            "message.received",
            "message.drafted",
            "tool.proposed"
        ]
    );
}

#[test]
fn the_words_of_a_coding_agent_are_its_own_only_with_its_prefix_or_scope() {
    let plain = record(
        "api_request",
        0,
        json!({ "session.id": "s-1" }),
        json!("api_request"),
    );
    let (sessions, passed_over) = log_records(vec![plain.clone()]);
    assert_eq!((sessions.len(), passed_over), (0, 1), "a line of somebody's log");
    let mut of_scope = plain.clone();
    of_scope.scope = "com.anthropic.claude_code.events".to_owned();
    assert_eq!(types(&log_records(vec![of_scope]).0), ["llm.responded"]);
    let mut of_prefix = plain;
    of_prefix.name = "claude_code.api_request".to_owned();
    assert_eq!(types(&log_records(vec![of_prefix]).0), ["llm.responded"]);
}

#[test]
fn two_records_that_are_equal_are_one_only_in_one_span_and_session() {
    let key = |span_id: u8, session: &str| {
        let mut record = coding("api_request", 0, json!({ "model": "m", "session.id": session }));
        record.trace = Some(TraceContext {
            trace_id: [7; 16],
            span_id: [span_id; 8],
        });
        let (sessions, _) = log_records(vec![record]);
        let unit = sessions[0].spans[0].units.last().expect("a unit");
        unit.key.clone()
    };
    assert_eq!(key(1, "s-1"), key(1, "s-1"));
    assert_ne!(key(1, "s-1"), key(2, "s-1"));
    assert_ne!(key(1, "s-1"), key(1, "s-2"));
}
