//! From what a span is to the events that say so.

use ruche_domain::Ext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::agent::{AgentDelegated, AgentReturned, DelegationOutcome};
use ruche_domain::events::common::{Part, PartKind, Role, ToolCallRequest};
use ruche_domain::events::eval::EvalScored;
use ruche_domain::events::infra::InfraSpanUnclassified;
use ruche_domain::events::llm::{LlmFailed, LlmParams, LlmRequested, LlmResponded};
use ruche_domain::events::message::{MessageDrafted, MessageReceived, MessageSent};
use ruche_domain::events::tool::{ToolCompleted, ToolFailed, ToolProposed, ToolStarted};
use ruche_domain::events::turn::{TurnCommitted, TurnFailed, TurnStarted};
use ruche_domain::limits::PAYLOAD_BYTES_MAX;
use ruche_domain::measures::{Digest, Usage};
use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use super::attributes::{Attributes, digest};
use super::fitting::fitting;
use super::names;
use super::others;
use super::seen::{AskedCall, ModelCall, Said, Seen, ToolRun};
use super::span::Span;

/// Where an event says which span is above its own.
pub(super) const PARENT: &str = "otlp.parent_span_id";
/// Where the start of a call keeps the arguments that ran.
pub(super) const ARGUMENTS: &str = "otlp.arguments";

/// What is recorded in one append, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What it is known by, in the ledger: sent again it is recorded no more.
    pub key: String,
    /// What it is made of. Under one key it is always the same, or somebody gave one id to two spans.
    pub digest: Digest,
    /// The events, in order.
    pub drafts: Vec<Draft>,
}

/// An event of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it says.
    pub event: AgentEvent,
    /// When it happened.
    pub at: Option<Micros>,
    /// What the tool call that it belongs to is known by in its session.
    pub call: Option<String>,
    /// Number of the draft of the unit that caused it.
    pub caused_by: Option<usize>,
}

/// What a span was taken for, in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It has events of its own.
    Classified,
    /// It only holds others together.
    Structure,
    /// No dialect knows it.
    Unclassified,
}

/// What is known of a span from those around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The source's own id of its session.
    pub session: String,
    /// What its turn is known by in its session.
    pub turn: String,
    /// Whether the turn is over with it.
    pub ends_turn: bool,
    /// The agent that works.
    pub agent: Option<String>,
    /// The agent above it, which it works for.
    pub above: Option<String>,
}

/// Units that a span shares with others: what was said before it, and what it asks for.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub before: Vec<Unit>,
    pub behind: Vec<Unit>,
}

impl Unit {
    /// Events that are recorded once under a name, whoever says it first.
    pub(super) fn once(key: String, drafts: Vec<Draft>) -> Self {
        Self {
            digest: digest(key.as_bytes()),
            key,
            drafts,
        }
    }

    /// Whether others say the same under its key.
    pub(super) fn is_shared(&self) -> bool {
        self.digest == digest(self.key.as_bytes())
    }
}

impl Draft {
    pub(super) fn new(event: impl Into<AgentEvent>, at: Option<Micros>) -> Self {
        Self {
            event: fitting(event.into()),
            at,
            call: None,
            caused_by: None,
        }
    }

    fn of_call(self, call: &str) -> Self {
        Self {
            call: Some(call.to_owned()),
            ..self
        }
    }

    pub(super) fn after(self, number: usize) -> Self {
        Self {
            caused_by: Some(number),
            ..self
        }
    }
}

/// What a span leaves in the ledger: its own unit, with those in front and behind that it shares with other spans.
pub(super) fn units(span: &Span, seen: Option<&Seen>, place: &Place) -> (Kind, Vec<Unit>) {
    let mut shared = Shared::default();
    let mut drafts = match seen {
        Some(Seen::Agent) if !place.ends_turn => delegated(span, place),
        Some(Seen::Model(call)) => model(span, call, place, &mut shared),
        Some(Seen::Embedding(call)) => vec![others::embedded(span, call)],
        Some(Seen::Tool(run)) => tool(span, run, &mut shared),
        Some(Seen::Retrieval(of)) => vec![others::retrieved(span, of)],
        Some(Seen::Memory(of)) => vec![others::memory(span, of)],
        Some(Seen::Evaluation(scored)) => vec![Draft::new((**scored).clone(), span.end)],
        Some(Seen::Workflow(name)) => others::workflow(span, name),
        Some(Seen::Plan(text)) => vec![others::plan(span, text)],
        Some(Seen::AgentCreated) => vec![others::agent_created(span, place)],
        Some(Seen::Agent | Seen::Structure) | None => Vec::new(),
    };
    if place.ends_turn {
        turn(span, &mut drafts);
    }
    let scores = span.events.iter().filter_map(|event| {
        let is_score = event.name == "gen_ai.evaluation.result";
        is_score.then(|| Draft::new(scored(&event.attributes), event.at.or(span.end)))
    });
    drafts.extend(scores);
    let kind = match (seen, drafts.is_empty()) {
        (_, false) => Kind::Classified,
        (Some(_), true) => Kind::Structure,
        (None, true) => Kind::Unclassified,
    };
    if drafts.is_empty() {
        drafts.push(kept(span, kind));
    }
    let own = Unit {
        key: format!("otlp:{}", span.key()),
        digest: span.digest(),
        drafts,
    };
    let before = shared.before.into_iter();
    (kind, before.chain([own]).chain(shared.behind).collect())
}

/// Free fields that lead to the span above.
pub(super) fn ext(span: &Span) -> Ext {
    let parent = span.parent.filter(|_| !span.is_parent_remote);
    let parent = parent.map(|id| (PARENT.to_owned(), json!(hex::encode(id))));
    parent.into_iter().collect()
}

/// The turn that a span is, around what it did itself.
fn turn(span: &Span, drafts: &mut Vec<Draft>) {
    let mut started = TurnStarted::new(1);
    started.started_at = span.start;
    started.ext = ext(span);
    for draft in &mut *drafts {
        draft.caused_by = draft.caused_by.map(|number| number + 1);
    }
    drafts.insert(0, Draft::new(started, span.start));
    let over: AgentEvent = match span.error_type() {
        Some(error_type) => {
            let mut failed = TurnFailed::new(error_type);
            failed.error = span.error_text();
            failed.duration_us = span.duration_us();
            failed.ended_at = span.end;
            failed.into()
        }
        None => TurnCommitted {
            duration_us: span.duration_us(),
            ended_at: span.end,
            ..TurnCommitted::default()
        }
        .into(),
    };
    drafts.push(Draft::new(over, span.end).after(0));
}

fn delegated(span: &Span, place: &Place) -> Vec<Draft> {
    let id = hex::encode(span.id.span_id);
    let to = place.agent.clone().unwrap_or_else(|| span.name.clone());
    let mut delegated = AgentDelegated::new(id.clone(), to);
    delegated.from_agent_id.clone_from(&place.above);
    delegated.ext = ext(span);
    let outcome = match span.error {
        Some(_) => DelegationOutcome::Failed,
        None => DelegationOutcome::Completed,
    };
    let mut returned = AgentReturned::new(id, outcome);
    returned.error = span.error_text();
    returned.duration_us = span.duration_us();
    vec![
        Draft::new(delegated, span.start),
        Draft::new(returned, span.end).after(0),
    ]
}

/// Tokens, where any were told.
pub(super) fn told(usage: &Usage) -> Option<Usage> {
    (*usage != Usage::default()).then(|| usage.clone())
}

fn model(span: &Span, call: &ModelCall, place: &Place, shared: &mut Shared) -> Vec<Draft> {
    let id = Some(hex::encode(span.id.span_id));
    let name = call.model.as_ref().or(call.response_model.as_ref());
    let mut requested = LlmRequested::new(name.cloned().unwrap_or_default());
    requested.provider.clone_from(&call.provider);
    requested.request_id.clone_from(&id);
    requested.params = (call.params != LlmParams::default()).then(|| call.params.clone());
    requested.system_digest = call.system_digest;
    requested.message_digests = call.input.iter().filter_map(|said| said.digest).collect();
    requested.tool_definitions_digest = call.tools_digest;
    requested.prompt_name.clone_from(&call.prompt_name);
    requested.requested_at = span.start;
    requested.ext = ext(span);
    let mut drafts = vec![Draft::new(requested, span.start)];
    shared.before.extend(
        call.input
            .last()
            .and_then(|said| received(said, place, span.start)),
    );

    let exception = span
        .events
        .iter()
        .any(|e| e.name == "gen_ai.client.operation.exception");
    if span.error.is_some() || exception {
        let mut failed = LlmFailed::new(span.error_type().unwrap_or_else(|| "error".to_owned()));
        failed.error = span.error_text();
        failed.model.clone_from(&call.model);
        failed.provider.clone_from(&call.provider);
        failed.request_id = id;
        failed.usage = told(&call.usage);
        failed.duration_us = span.duration_us();
        drafts.push(Draft::new(failed, span.end).after(0));
        return drafts;
    }
    let responded = LlmResponded {
        response_model: call.response_model.clone(),
        model: call.model.clone(),
        provider: call.provider.clone(),
        request_id: id,
        response_id: call.response_id.clone(),
        finish_reasons: call.finish_reasons.clone(),
        parts: call.output.iter().filter_map(reasoning).collect(),
        usage: told(&call.usage),
        first_chunk_us: call.first_chunk_us,
        duration_us: span.duration_us(),
        ..LlmResponded::default()
    };
    drafts.push(Draft::new(responded, span.end).after(0));
    for said in &call.output {
        drafts.extend(answered(said).map(|event| Draft::new(event, span.end).after(1)));
        let calls = said.calls.iter().map(|asked| proposed(span, asked));
        shared.behind.extend(calls);
    }
    drafts
}

/// Messages that are told without their model call, in a trace and a turn.
pub(super) fn said_alone(
    said: &[Said],
    (trace, place): &(String, Place),
    at: Option<Micros>,
) -> (Vec<Draft>, Shared) {
    let (mut drafts, mut shared) = (Vec::new(), Shared::default());
    for one in said {
        shared.before.extend(received(one, place, at));
        if one.role != "assistant" {
            continue;
        }
        drafts.extend(answered(one).map(|event| Draft::new(event, at)));
        for asked in &one.calls {
            let call = match &asked.id {
                Some(id) => format!("id:{id}"),
                None => like(trace, "", &asked.name, &asked.arguments),
            };
            shared.behind.push(proposed_once(trace, &call, asked, at));
        }
    }
    (drafts, shared)
}

fn reasoning(said: &Said) -> Option<Part> {
    let mut part = Part::new(PartKind::Reasoning);
    part.text = Some(said.reasoning.clone()?);
    Some(part)
}

/// The last message that the model is told, if the interlocutor said it. Later calls of the turn repeat it.
fn received(said: &Said, place: &Place, at: Option<Micros>) -> Option<Unit> {
    if said.role != "user" || said.is_answer {
        return None;
    }
    let text = said.text.clone()?;
    let key = names::key("otlp-message", &[&place.session, &place.turn, &text]);
    let mut message = MessageReceived::new(Role::User);
    message.text = Some(text);
    Some(Unit::once(key, vec![Draft::new(message, at)]))
}

/// What the model answered: words for the interlocutor, or a step that only calls tools.
fn answered(said: &Said) -> Option<AgentEvent> {
    let call = |(number, asked): (usize, &AskedCall)| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let mut call = ToolCallRequest::new(number, asked.name.clone(), asked.arguments.clone());
        call.arguments_form = asked.form;
        call.provider_call_id.clone_from(&asked.id);
        call
    };
    let tool_calls: Vec<ToolCallRequest> = said.calls.iter().enumerate().map(call).collect();
    match (&said.text, tool_calls.is_empty()) {
        (Some(text), _) => {
            let mut sent = MessageSent::new(Role::Assistant);
            sent.text = Some(text.clone());
            sent.tool_calls = tool_calls;
            Some(sent.into())
        }
        (None, false) => {
            let mut drafted = MessageDrafted::new(Role::Assistant);
            drafted.tool_calls = tool_calls;
            Some(drafted.into())
        }
        (None, true) => None,
    }
}

/// A call is proposed once in its trace, whichever span says so.
fn proposed(span: &Span, asked: &AskedCall) -> Unit {
    let call = call_key(span, asked.id.as_deref(), &asked.name, &asked.arguments);
    proposed_once(&span.trace_text, &call, asked, span.end)
}

fn proposed_once(trace: &str, call: &str, asked: &AskedCall, at: Option<Micros>) -> Unit {
    let mut proposed = ToolProposed::new(asked.name.clone(), asked.arguments.clone());
    proposed.arguments_form = asked.form;
    proposed.provider_call_id.clone_from(&asked.id);
    proposed.args_digest = Some(digest(asked.arguments.as_bytes()));
    let key = names::key("otlp-proposed", &[trace, call]);
    Unit::once(key, vec![Draft::new(proposed, at).of_call(call)])
}

/// What a call is known by in its session. OpenInference does not say which call a tool span runs, so there the same
/// arguments of one tool in one trace are one call; of the agents of OpenAI, in one step of the trace.
pub(super) fn call_key(span: &Span, id: Option<&str>, name: &str, arguments: &str) -> String {
    let is_openinference = span.attributes.text("openinference.span.kind").is_some();
    match id.filter(|_| !is_openinference) {
        Some(id) => format!("id:{id}"),
        None => {
            let by_step = span.scope == "openinference.instrumentation.openai_agents";
            let step = span
                .parent
                .filter(|_| by_step)
                .map(hex::encode)
                .unwrap_or_default();
            like(&span.trace_text, &step, name, arguments)
        }
    }
}

/// A call by what it is, where no id says which it is.
fn like(trace: &str, step: &str, name: &str, arguments: &str) -> String {
    names::key("like", &[trace, step, name, &canonical(arguments)])
}

/// JSON with the names of objects in order, so that equal values are equal texts; other text as it is.
pub(super) fn canonical(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

fn tool(span: &Span, run: &ToolRun, shared: &mut Shared) -> Vec<Draft> {
    let arguments = run.arguments.clone().unwrap_or_default();
    let call = call_key(span, run.id.as_deref(), &run.name, &arguments);
    if run.result.is_none() && span.error.is_none() {
        // A span that is green and has no result is a call that waits, or was turned down, as much as one that ran.
        let asked = AskedCall {
            id: run.id.clone(),
            name: run.name.clone(),
            arguments,
            form: None,
        };
        shared.behind.push(proposed(span, &asked));
        return Vec::new();
    }
    let mut started = ToolStarted::new(run.name.clone());
    started.provider_call_id.clone_from(&run.id);
    started.args_digest = run.arguments.as_ref().map(|text| digest(text.as_bytes()));
    started.started_at = span.start;
    started.ext = ext(span);
    if let Some(arguments) = &run.arguments {
        started.ext.insert(ARGUMENTS.to_owned(), json!(arguments));
    }
    let result = run.result.as_deref().map(unwrapped);
    let over: AgentEvent = match span.error_type() {
        Some(error_type) => ToolFailed {
            name: Some(run.name.clone()),
            result,
            error: span.error_text(),
            error_type: Some(error_type),
            provider_call_id: run.id.clone(),
            duration_us: span.duration_us(),
            ended_at: span.end,
            ..ToolFailed::default()
        }
        .into(),
        None => ToolCompleted {
            name: Some(run.name.clone()),
            result_digest: run.result.as_ref().map(|text| digest(text.as_bytes())),
            result,
            provider_call_id: run.id.clone(),
            duration_us: span.duration_us(),
            ended_at: span.end,
            ..ToolCompleted::default()
        }
        .into(),
    };
    vec![
        Draft::new(started, span.start).of_call(&call),
        Draft::new(over, span.end).of_call(&call).after(0),
    ]
}

/// The content of a result that was encoded as a JSON string once more than it had to be.
fn unwrapped(result: &str) -> String {
    serde_json::from_str::<String>(result).unwrap_or_else(|_| result.to_owned())
}

/// A score of the `gen_ai` convention, an event of a span or a log record.
pub(super) fn scored(of: &Attributes) -> EvalScored {
    let name = of.text("gen_ai.evaluation.name").unwrap_or("evaluation");
    let mut scored = EvalScored::new(name.to_owned());
    scored.value = of.number("gen_ai.evaluation.score.value");
    scored.label = of.text("gen_ai.evaluation.score.label").map(str::to_owned);
    scored.explanation = of.text("gen_ai.evaluation.explanation").map(str::to_owned);
    scored
}

/// A span without events of its own: that it was, and where. One that nobody knows is kept as it came.
fn kept(span: &Span, kind: Kind) -> Draft {
    let mut unclassified = InfraSpanUnclassified::new(span.name.clone());
    unclassified.scope = Some(span.scope.clone()).filter(|scope| !scope.is_empty());
    unclassified.digest = Some(span.digest());
    unclassified.span = match kind {
        Kind::Unclassified => whole(span),
        Kind::Classified | Kind::Structure => span
            .parent
            .filter(|_| !span.is_parent_remote)
            .map(|id| json!({ "structure": true, "parent": hex::encode(id) })),
    };
    Draft::new(unclassified, span.start)
}

/// The span as JSON, unless it is so large that its digest has to do.
fn whole(span: &Span) -> Option<Value> {
    let mut value = serde_json::to_value(span).expect("spans have text keys and no failing serialisers");
    value["parent"] = json!(span.parent.map(hex::encode));
    if span.is_parent_remote {
        value["remote"] = json!(true);
    }
    (value.to_string().len() <= PAYLOAD_BYTES_MAX / 2).then_some(value)
}
