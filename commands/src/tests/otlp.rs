//! Telemetry: what spans of the dialects become, in any order and cut into any requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use ruche_domain::envelope::TraceContext;
use ruche_domain::event::AgentEvent;
use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use crate::otlp::{Attributes, Kind, ObservedSession, Span, SpanEvent, StartObserved, Unit, spans};

pub(super) const QUESTION: &str = r#"[{"role":"user","parts":[{"type":"text","content":"Where is W100?"}]}]"#;
pub(super) const ASKED: &str = concat!(
    r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c-1","name":"look","#,
    r#""arguments":{"id":"W100"}}]}]"#
);
pub(super) const TOLD: &str = concat!(
    r#"[{"role":"user","parts":[{"type":"text","content":"Where is W100?"}]},"#,
    r#"{"role":"assistant","parts":[{"type":"tool_call","id":"c-1","name":"look","arguments":{"id":"W100"}}]},"#,
    r#"{"role":"user","parts":[{"type":"tool_call_response","id":"c-1","result":"here"}]}]"#
);
pub(super) const ANSWER: &str = r#"[{"role":"assistant","parts":[{"type":"text","content":"Here."}]}]"#;

/// A span of trace 7 that lasts from one second to another.
pub(super) fn span(id: u8, parent: u8, seconds: [u64; 2], attributes: Value) -> Span {
    let id_of = |id: u8| [0, 0, 0, 0, 0, 0, 0, id];
    let attributes: Attributes = attributes
        .as_object()
        .expect("an object")
        .clone()
        .into_iter()
        .collect();
    let at = |second: u64| Some(Micros(1_700_000_000_000_000 + second * 1_000_000));
    Span {
        id: TraceContext {
            trace_id: [7; 16],
            span_id: id_of(id),
        },
        trace_text: hex::encode([7; 16]),
        parent: (parent > 0).then(|| id_of(parent)),
        is_parent_remote: false,
        name: format!("span {id}"),
        start: at(seconds[0]),
        end: at(seconds[1]),
        attributes,
        events: vec![],
        error: None,
        scope: "test".to_owned(),
        resource: Arc::default(),
    }
}

pub(super) fn chat(id: u8, seconds: [u64; 2], input: &str, output: &str) -> Span {
    let of = json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3, "gen_ai.input.messages": input, "gen_ai.output.messages": output,
        "gen_ai.conversation.id": "chat-1", "gen_ai.agent.name": "support" });
    span(id, 1, seconds, of)
}

pub(super) fn tool(id: u8, result: Option<&str>) -> Span {
    let mut of = json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": "c-1", "gen_ai.tool.call.arguments": r#"{"id":"W100"}"#,
        "gen_ai.conversation.id": "chat-1", "gen_ai.agent.name": "support" });
    if let Some(result) = result {
        of["gen_ai.tool.call.result"] = json!(result);
    }
    span(id, 1, [3, 4], of)
}

/// One run of an agent with a question, a call of a tool and an answer; children first, as exporters send them.
pub(super) fn run() -> Vec<Span> {
    let agent = json!({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support",
        "gen_ai.conversation.id": "chat-1", "gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 6 });
    vec![
        chat(2, [1, 2], QUESTION, ASKED),
        tool(3, Some(r#""here""#)),
        chat(4, [5, 6], TOLD, ANSWER),
        span(1, 0, [0, 7], agent),
    ]
}

fn units(sessions: &[ObservedSession]) -> Vec<&Unit> {
    sessions
        .iter()
        .flat_map(|session| &session.spans)
        .flat_map(|span| &span.units)
        .collect()
}

fn types(sessions: &[ObservedSession]) -> Vec<&str> {
    let drafts = units(sessions).into_iter().flat_map(|unit| &unit.drafts);
    drafts.map(|draft| draft.event.event_type()).collect()
}

fn events(sessions: &[ObservedSession]) -> Vec<&AgentEvent> {
    let drafts = units(sessions).into_iter().flat_map(|unit| &unit.drafts);
    drafts.map(|draft| &draft.event).collect()
}

#[test]
fn a_run_of_an_agent_is_a_turn_with_its_calls_and_counts_tokens_once() {
    let sessions = spans(run());
    assert_eq!(sessions.len(), 1);
    assert_eq!(
        (sessions[0].external_id.as_str(), sessions[0].is_inferred),
        ("chat-1", false)
    );
    assert_eq!(sessions[0].agent.as_deref(), Some("support"));
    assert_eq!(
        types(&sessions),
        [
            "turn.opened",
            "message.received",
            "llm.requested",
            "llm.responded",
            "message.drafted",
            "tool.proposed",
            "tool.started",
            "tool.completed",
            "llm.requested",
            "llm.responded",
            "message.sent",
            "turn.started",
            "turn.committed",
        ]
    );
    let tokens: u64 = events(&sessions)
        .into_iter()
        .filter_map(|event| match event {
            AgentEvent::LlmResponded(call) => call.usage.as_ref()?.input,
            AgentEvent::TurnCommitted(turn) => turn.usage_total.as_ref()?.input,
            _ => None,
        })
        .sum();
    assert_eq!(tokens, 20, "the agent says the sum of its calls once more");
}

#[test]
fn a_call_that_two_instrumentations_tell_of_counts_once() {
    let mut framework = chat(2, [1, 4], QUESTION, ANSWER);
    framework.parent = None;
    let between = span(3, 2, [1, 4], json!({ "http.method": "POST" }));
    let mut client = chat(4, [2, 3], QUESTION, ANSWER);
    client.parent = Some([0, 0, 0, 0, 0, 0, 0, 3]);
    let alone = spans(vec![client.clone()]);
    let sessions = spans(vec![framework, between, client]);
    let calls = |sessions: &[ObservedSession]| -> Vec<AgentEvent> {
        let is_answer = |event: &&AgentEvent| matches!(event, AgentEvent::LlmResponded(_));
        events(sessions).into_iter().filter(is_answer).cloned().collect()
    };
    assert_eq!(calls(&sessions).len(), 1, "{:?}", types(&sessions));
    assert_eq!(calls(&sessions), calls(&alone), "it is the inner one");
    assert!(
        types(&sessions).contains(&"turn.committed"),
        "the outer one ends the turn: {:?}",
        types(&sessions)
    );
}

#[test]
fn a_green_tool_span_without_a_result_is_a_call_that_was_asked_for() {
    let sessions = spans(vec![tool(3, None)]);
    assert_eq!(
        types(&sessions),
        ["turn.opened", "infra.span_unclassified", "tool.proposed"]
    );
    assert_eq!(sessions[0].spans[0].kind, Kind::Structure);
    let asked = spans(vec![chat(2, [1, 2], QUESTION, ASKED), tool(3, None)]);
    let proposals = units(&asked)
        .into_iter()
        .filter(|unit| unit.key.starts_with("otlp-proposed:"));
    let keys: Vec<&str> = proposals.map(|unit| unit.key.as_str()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(
        keys[0], keys[1],
        "the model and the tool tell of one call, which is recorded once"
    );
}

#[test]
fn a_result_that_was_encoded_twice_is_read_once() {
    let sessions = spans(vec![tool(3, Some(r#""here""#))]);
    let result = events(&sessions).into_iter().find_map(|event| match event {
        AgentEvent::ToolCompleted(tool) => tool.result.clone(),
        _ => None,
    });
    assert_eq!(result.as_deref(), Some("here"));
}

#[test]
fn an_agent_below_another_one_works_for_it() {
    let mut all = run();
    let inner = json!({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "stock",
        "gen_ai.conversation.id": "chat-1" });
    all.push(span(5, 3, [3, 4], inner));
    let sessions = spans(all);
    let all = events(&sessions);
    assert_eq!(
        all.iter()
            .filter(|event| event.event_type() == "turn.committed")
            .count(),
        1
    );
    let delegated = all.iter().find_map(|event| match event {
        AgentEvent::AgentDelegated(to) => Some((to.from_agent_id.as_deref(), to.to_agent_id.as_str())),
        _ => None,
    });
    assert_eq!(delegated, Some((Some("support"), "stock")));
}

#[test]
fn the_session_is_the_conversation_then_the_session_then_the_trace() {
    let named = |attributes: Value| {
        let session = &spans(vec![span(1, 0, [0, 1], attributes)])[0];
        (session.external_id.clone(), session.is_inferred)
    };
    let both = json!({ "gen_ai.conversation.id": "a", "session.id": "b", "langfuse.session.id": "c" });
    assert_eq!(named(both), ("a".to_owned(), false));
    let second =
        json!({ "session.id": "b", "langfuse.session.id": "c", "ai.telemetry.metadata.sessionId": "d" });
    assert_eq!(named(second), ("b".to_owned(), false));
    assert_eq!(
        named(json!({ "ai.telemetry.metadata.sessionId": "d" })),
        ("d".to_owned(), false)
    );
    assert_eq!(named(json!({})), (hex::encode([7; 16]), true));
    // Where the root alone says which session it is, those below it belong to it.
    let root = span(
        1,
        0,
        [0, 9],
        json!({ "session.id": "b", "openinference.span.kind": "AGENT" }),
    );
    let below = span(
        2,
        1,
        [1, 2],
        json!({ "openinference.span.kind": "LLM", "llm.model_name": "m" }),
    );
    let sessions = spans(vec![below, root]);
    assert_eq!((sessions.len(), sessions[0].external_id.as_str()), (1, "b"));
}

#[test]
fn openinference_calls_are_matched_by_tool_and_arguments() {
    let model = json!({ "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 4,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c-9",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "look",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": r#"{"b": 1, "a": 2}"# });
    let run = json!({ "openinference.span.kind": "TOOL", "tool.name": "look", "input.value": r#"{"a":2,"b":1}"#,
        "output.value": "here" });
    let sessions = spans(vec![span(2, 1, [1, 2], model), span(3, 1, [3, 4], run)]);
    let drafts = units(&sessions).into_iter().flat_map(|unit| &unit.drafts);
    let calls: BTreeSet<&String> = drafts.filter_map(|draft| draft.call.as_ref()).collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(types(&sessions).contains(&"tool.completed"));
}

#[test]
fn the_names_of_the_ai_sdk_are_read() {
    let call = json!({ "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m",
        "ai.prompt.messages": r#"[{"role":"user","content":[{"type":"text","text":"Hi"}]}]"#,
        "ai.response.toolCalls": r#"[{"toolCallId":"c-1","toolName":"look","input":{"id":1}}]"#,
        "ai.usage.inputTokens": 10, "ai.usage.outputTokens": 3 });
    let tool = json!({ "ai.operationId": "ai.toolCall", "ai.toolCall.name": "look", "ai.toolCall.id": "c-1",
        "ai.toolCall.args": r#"{"id":1}"#, "ai.toolCall.result": r#"{"at":"here"}"# });
    let whole = json!({ "ai.operationId": "ai.generateText", "ai.telemetry.functionId": "support",
        "ai.usage.inputTokens": 10 });
    let sessions = spans(vec![
        span(3, 2, [1, 2], tool),
        span(2, 1, [1, 2], call),
        span(1, 0, [0, 3], whole),
    ]);
    assert_eq!(sessions[0].agent.as_deref(), Some("support"));
    let mut types = types(&sessions);
    types.sort_unstable();
    let expected = [
        "llm.requested",
        "llm.responded",
        "message.drafted",
        "message.received",
        "tool.completed",
        "tool.proposed",
        "tool.started",
        "turn.committed",
        "turn.opened",
        "turn.started",
    ];
    assert_eq!(types, expected);
}

#[test]
fn failures_are_failures() {
    let failed = |mut span: Span| {
        span.error = Some(String::new());
        span.events = vec![SpanEvent {
            name: "exception".to_owned(),
            at: None,
            attributes: [("exception.type".to_owned(), json!("Timeout"))]
                .into_iter()
                .collect(),
        }];
        span
    };
    let sessions = spans(run().into_iter().map(failed).collect());
    let types = types(&sessions);
    for (event_type, count) in [
        ("llm.failed", 2),
        ("tool.failed", 1),
        ("turn.failed", 1),
        ("message.sent", 0),
    ] {
        assert_eq!(
            types.iter().filter(|found| **found == event_type).count(),
            count,
            "{event_type}"
        );
    }
    let kinds = events(&sessions).into_iter().filter_map(|event| match event {
        AgentEvent::TurnFailed(turn) => Some(turn.error_type.as_str()),
        AgentEvent::ToolFailed(tool) => tool.error_type.as_deref(),
        _ => None,
    });
    assert_eq!(kinds.collect::<BTreeSet<_>>(), BTreeSet::from(["Timeout"]));
}

#[test]
fn a_span_that_nobody_knows_is_kept_and_opens_no_turn() {
    let sessions = spans(vec![span(1, 0, [0, 1], json!({ "http.route": "/" }))]);
    assert_eq!(types(&sessions), ["infra.span_unclassified"]);
    assert_eq!(
        (sessions[0].spans[0].kind, &sessions[0].spans[0].turn),
        (Kind::Unclassified, &None)
    );
    let AgentEvent::InfraSpanUnclassified(kept) = events(&sessions)[0] else {
        panic!("not kept");
    };
    assert_eq!(
        kept.span.as_ref().expect("the span")["attributes"]["http.route"],
        "/"
    );
}

#[test]
fn names_of_any_length_and_form_are_no_reason_to_refuse_a_span() {
    let (long, broken) = ("x".repeat(255), "support\n".to_owned() + &"y".repeat(300));
    let mut all = run();
    for span in &mut all {
        let names = [
            ("gen_ai.conversation.id", &long),
            ("gen_ai.agent.name", &broken),
            ("user.id", &broken),
        ];
        let old = span.attributes.clone();
        span.attributes = names
            .into_iter()
            .map(|(name, id)| (name.to_owned(), json!(id)))
            .collect();
        for name in [
            "gen_ai.operation.name",
            "gen_ai.input.messages",
            "gen_ai.output.messages",
        ] {
            span.attributes
                .add(name, old.get(name).cloned().unwrap_or(Value::Null));
        }
    }
    let sessions = spans(all);
    let keys: BTreeSet<usize> = units(&sessions).into_iter().map(|unit| unit.key.len()).collect();
    assert!(keys.last().is_some_and(|longest| *longest < 128), "{keys:?}");
    let start = serde_json::to_value(StartObserved::new(&sessions[0])).expect("JSON");
    let started = &start["started"];
    assert_eq!(started["external_id"], json!(long));
    let agent = started["agent_id"].as_str().expect("an agent");
    assert_eq!((agent.len(), agent.contains('\n')), (255, false));
    assert_eq!(
        started["interlocutor_id"],
        Value::Null,
        "a part of an id is somebody else's"
    );
    assert_eq!(
        (
            &started["ext"]["agent_id_changed"],
            &started["ext"]["interlocutor_id_left_out"]
        ),
        (&json!(true), &json!(true))
    );
}

/// What is recorded of requests, by its key: what comes again under a key is not recorded.
fn recorded(requests: &[Vec<Span>]) -> BTreeSet<(String, Vec<String>)> {
    let mut keys = BTreeSet::new();
    let mut found = BTreeSet::new();
    for request in requests {
        let sessions = spans(request.clone());
        for unit in units(&sessions) {
            if keys.insert(unit.key.clone()) {
                let payload = |draft: &crate::otlp::Draft| {
                    let payload = String::from_utf8(draft.event.to_payload()).expect("JSON");
                    format!("{} {payload} {:?}", draft.event.event_type(), draft.call)
                };
                found.insert((unit.key.clone(), unit.drafts.iter().map(payload).collect()));
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn neither_order_nor_requests_nor_repetition_change_what_is_recorded(
        order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        cut in 0..=4_usize,
        again in 0..4_usize,
    ) {
        let all = run();
        let shuffled: Vec<Span> = order.iter().map(|n| all[*n].clone()).collect();
        let requests = [shuffled[..cut].to_vec(), shuffled[cut..].to_vec(), vec![shuffled[again].clone()]];
        prop_assert_eq!(recorded(&requests), recorded(&[all]));
    }
}
