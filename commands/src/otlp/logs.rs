//! Log records of agents: the events of coding agents, and the message events of the `gen_ai` convention.
//!
//! A log record has no id. It is known by all that it says, and by its trace and session, so one that is sent again is
//! found to be recorded; two of one session and span that are equal to the nanosecond are one. What is neither of an
//! agent nor of a model call is not kept, and counted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ruche_domain::envelope::TraceContext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::approval::{ApprovalOutcome, ApprovalResolved};
use ruche_domain::events::common::Role;
use ruche_domain::events::llm::{LlmFailed, LlmResponded};
use ruche_domain::events::message::{MessageReceived, MessageSent};
use ruche_domain::events::tool::{ToolCompleted, ToolFailed, ToolStarted};
use ruche_domain::measures::{Cost, Currency, Usage};
use ruche_domain::numbers::Micros;
use serde::Serialize;
use serde_json::{Value, json};

use super::attributes::{Attributes, as_text, digest};
use super::batch::{self, ObservedSession, ObservedSpan};
use super::events::{self, Draft, Kind, Place, Shared, Unit};
use super::{messages, names};

/// A log record, whatever its encoding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogRecord {
    /// Trace and span that it was written in.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
    /// Name of the event.
    pub name: String,
    /// When.
    pub at: Option<Micros>,
    /// The same, ns since 1970.
    pub at_ns: u64,
    /// What it says.
    pub attributes: Attributes,
    /// Its body.
    pub body: Value,
    /// Instrumentation that wrote it.
    #[serde(skip)]
    pub scope: String,
    /// Process that wrote it.
    #[serde(skip)]
    pub resource: Arc<Attributes>,
}

/// What names of coding agents begin with, where their instrumentation does not say whose they are.
const CODING: &str = "claude_code.";
/// What names of their instrumentations begin with.
const CODING_SCOPE: &str = "com.anthropic.claude_code";

/// A session and a turn, as far as a record tells.
struct Where {
    session: String,
    is_inferred: bool,
    turn: Option<String>,
}

/// What becomes of the log records of a request, and how many are not of an agent.
pub fn log_records(mut records: Vec<LogRecord>) -> (Vec<ObservedSession>, usize) {
    records.sort_by_key(|record| record.at_ns);
    let mut passed_over = 0;
    let mut sessions: BTreeMap<String, ObservedSession> = BTreeMap::new();
    let mut opened: HashSet<(String, String)> = HashSet::new();
    for record in &records {
        let place = place_of(record);
        let units = place.as_ref().and_then(|place| units(record, place));
        let (Some(place), Some(units)) = (place, units) else {
            passed_over += 1;
            continue;
        };
        let session = sessions
            .entry(place.session.clone())
            .or_insert_with(|| session(record, &place));
        let mut one = ObservedSpan {
            trace: record.trace,
            turn: place.turn.clone(),
            kind: Kind::Classified,
            units,
        };
        let turn = place.turn.map(|turn| (place.session, turn));
        if let Some((session_id, turn)) = turn.filter(|turn| opened.insert(turn.clone())) {
            let agent = session.agent.clone();
            one.units
                .insert(0, batch::turn_opened(&session_id, &turn, agent, record.at));
        }
        session.spans.push(one);
    }
    (sessions.into_values().collect(), passed_over)
}

fn session(record: &LogRecord, place: &Where) -> ObservedSession {
    let app = batch::app(&record.resource);
    let named = |names| record.attributes.first_text(names).map(str::to_owned);
    ObservedSession {
        external_id: place.session.clone(),
        is_inferred: place.is_inferred,
        agent: named(batch::AGENT).or_else(|| app.clone()),
        app,
        interlocutor: named(batch::INTERLOCUTOR),
        started_at: record.at,
        spans: Vec::new(),
    }
}

fn place_of(record: &LogRecord) -> Option<Where> {
    let named = record.attributes.first_text(batch::SESSION);
    let trace = record.trace.map(|trace| hex::encode(trace.trace_id));
    let turn = record.attributes.text("prompt.id").map(str::to_owned);
    Some(Where {
        session: named.map(str::to_owned).or_else(|| trace.clone())?,
        is_inferred: named.is_none(),
        turn: turn.or(trace),
    })
}

/// What a record leaves; nothing where it is not of an agent.
fn units(record: &LogRecord, place: &Where) -> Option<Vec<Unit>> {
    let mut shared = Shared::default();
    let drafts = match record.name.as_str() {
        "gen_ai.evaluation.result" => vec![Draft::new(events::scored(&record.attributes), record.at)],
        "gen_ai.user.message" | "gen_ai.choice" => message_event(record, &mut shared)?,
        "gen_ai.client.inference.operation.details" => details(record, &mut shared),
        _ => of_coding_agent(record)?,
    };
    let text = serde_json::to_vec(record).expect("records have text keys and no failing serialisers");
    let digest = digest(&text);
    let trace = record
        .trace
        .map(|trace| format!("{}:{}", hex::encode(trace.trace_id), hex::encode(trace.span_id)));
    let parts = [
        trace.as_deref().unwrap_or_default(),
        &place.session,
        &digest.to_string(),
    ];
    let own = Unit {
        key: names::key("otlp-log", &parts),
        digest,
        drafts,
    };
    let own = Some(own).filter(|unit| !unit.drafts.is_empty());
    let before = shared.before.into_iter();
    Some(before.chain(own).chain(shared.behind).collect())
}

/// What a coding agent says. Its words are those that others use, too, so they have to be known for its own.
fn of_coding_agent(record: &LogRecord) -> Option<Vec<Draft>> {
    let name = match record.name.strip_prefix(CODING) {
        Some(name) => name,
        None if record.scope.starts_with(CODING_SCOPE) => &record.name,
        None => return None,
    };
    Some(match name {
        "user_prompt" => vec![user_prompt(record)?],
        "assistant_response" => vec![assistant_response(record)?],
        "api_request" => vec![api_request(record)],
        "api_error" => vec![api_error(record)],
        "tool_result" => tool_result(record)?,
        "tool_decision" => vec![tool_decision(record)],
        _ => return None,
    })
}

fn user_prompt(record: &LogRecord) -> Option<Draft> {
    // Without leave to log it the text is left out, and a message without text says nothing.
    let text = record.attributes.text("prompt")?;
    let mut message = MessageReceived::new(Role::User);
    message.text = Some(text.to_owned());
    Some(Draft::new(message, record.at))
}

fn assistant_response(record: &LogRecord) -> Option<Draft> {
    let text = record.attributes.first_text(&["response", "content", "text"])?;
    let mut message = MessageSent::new(Role::Assistant);
    message.text = Some(text.to_owned());
    Some(Draft::new(message, record.at))
}

fn duration(of: &Attributes) -> Option<u64> {
    of.first_count(&["duration_ms"])
        .map(|ms| ms.saturating_mul(1_000))
}

fn api_request(record: &LogRecord) -> Draft {
    let of = &record.attributes;
    let count = |name| of.first_count(&[name]);
    let (read, created) = (count("cache_read_tokens"), count("cache_creation_tokens"));
    let responded = LlmResponded {
        model: of.text("model").map(str::to_owned),
        provider: Some("anthropic".to_owned()),
        request_id: of.text("request_id").map(str::to_owned),
        usage: Some(Usage {
            // The provider counts what came from a cache or went into one apart.
            input: count("input_tokens").map(|input| {
                input
                    .saturating_add(read.unwrap_or(0))
                    .saturating_add(created.unwrap_or(0))
            }),
            output: count("output_tokens"),
            cache_read: read,
            cache_creation: created,
            reasoning: None,
        }),
        cost: cost(of),
        duration_us: duration(of),
        ..LlmResponded::default()
    };
    Draft::new(responded, record.at)
}

fn cost(of: &Attributes) -> Option<Cost> {
    let amount = match of.get("cost_usd")? {
        Value::Number(number) => number.as_f64()?.to_string(),
        other => as_text(other),
    };
    let currency: Currency = "USD".parse().ok()?;
    Some(Cost::new(amount.parse().ok()?, currency))
}

fn api_error(record: &LogRecord) -> Draft {
    let of = &record.attributes;
    let mut failed = LlmFailed::new("api_error".to_owned());
    failed.error = of.json("error");
    failed.status = of.json("status_code");
    failed.model = of.text("model").map(str::to_owned);
    failed.provider = Some("anthropic".to_owned());
    failed.duration_us = duration(of);
    Draft::new(failed, record.at)
}

fn call_of(record: &LogRecord) -> Option<String> {
    let id = record.attributes.text("tool_use_id")?;
    Some(format!("id:{id}"))
}

fn tool_result(record: &LogRecord) -> Option<Vec<Draft>> {
    let of = &record.attributes;
    let name = of.text("tool_name")?.to_owned();
    let failed = of.json("success").as_deref() == Some("false");
    let id = of.text("tool_use_id").map(str::to_owned);
    let mut started = ToolStarted::new(name.clone());
    started.provider_call_id.clone_from(&id);
    if let Some(arguments) = of.json("tool_parameters").or_else(|| of.json("tool_input")) {
        started.args_digest = Some(digest(arguments.as_bytes()));
        started.ext.insert(events::ARGUMENTS.to_owned(), json!(arguments));
    }
    let over: AgentEvent = if failed {
        ToolFailed {
            name: Some(name),
            error: of.json("error"),
            error_type: Some("tool_error".to_owned()),
            provider_call_id: id,
            duration_us: duration(of),
            ..ToolFailed::default()
        }
        .into()
    } else {
        ToolCompleted {
            name: Some(name),
            provider_call_id: id,
            duration_us: duration(of),
            ..ToolCompleted::default()
        }
        .into()
    };
    // Without an id of the call the record itself is one.
    let call = call_of(record).unwrap_or_else(|| format!("log:{}:{}", record.at_ns, record.name));
    let mut drafts = vec![Draft::new(started, record.at), Draft::new(over, record.at)];
    for draft in &mut drafts {
        draft.call = Some(call.clone());
    }
    drafts[1].caused_by = Some(0);
    Some(drafts)
}

/// What a person or a rule of the other program decided. It is told, and proves nothing.
fn tool_decision(record: &LogRecord) -> Draft {
    let of = &record.attributes;
    let mut resolved = ApprovalResolved::new(ApprovalOutcome::Reported);
    resolved.by = of.text("source").map(str::to_owned);
    resolved.detail = of.text("decision").map(str::to_owned);
    let mut draft = Draft::new(resolved, record.at);
    draft.call = call_of(record);
    draft
}

/// A message event of the convention: its body is the message, or `{"message": …}`.
fn message_event(record: &LogRecord, shared: &mut Shared) -> Option<Vec<Draft>> {
    let mut body = record.body.clone();
    if let Some(message) = body.get_mut("message") {
        body = message.take();
    }
    let role = if record.name == "gen_ai.choice" {
        "assistant"
    } else {
        "user"
    };
    body.as_object_mut()?.entry("role").or_insert(json!(role));
    let said = messages::read(&body.to_string());
    let (drafts, more) = events::said_alone(&said, &context(record)?, record.at);
    *shared = more;
    Some(drafts)
}

/// What a model call was told and answered, of an instrumentation whose spans leave it out.
fn details(record: &LogRecord, shared: &mut Shared) -> Vec<Draft> {
    let read = |name| record.attributes.json(name).map(|json| messages::read(&json));
    let input = read("gen_ai.input.messages").unwrap_or_default();
    let output = read("gen_ai.output.messages").unwrap_or_default();
    let said: Vec<_> = input.into_iter().next_back().into_iter().chain(output).collect();
    let Some(context) = context(record) else {
        return Vec::new();
    };
    let (drafts, more) = events::said_alone(&said, &context, record.at);
    *shared = more;
    drafts
}

/// Trace and turn of a record, for what is recorded once in them.
fn context(record: &LogRecord) -> Option<(String, Place)> {
    let place = place_of(record)?;
    let turn = place.turn.unwrap_or_default();
    let trace = record.trace.map(|trace| hex::encode(trace.trace_id));
    let place = Place {
        session: place.session,
        turn: turn.clone(),
        ..Place::default()
    };
    Some((trace.unwrap_or(turn), place))
}
