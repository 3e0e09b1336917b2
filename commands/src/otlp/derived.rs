//! What no span says, and all of them together do: that other arguments ran than were asked for, that a call never ran,
//! that a span is missing.
//!
//! What is missing is said of a trace only if all of it stands in sessions that were named. Which session a span is of is
//! seen within a request, so of one trace some spans may stand in a session that was made up: there they are not missing.
//!
//! Decided on the whole observed stream of a session, newest first and unless it is too long, some time after the last
//! telemetry of it: request and execution may stand in two traces, and spans come late. What is derived says what was
//! seen until then. It names the events that it follows from, is written once, and is never taken back; a span that comes
//! later still is recorded beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::InfraIngestGap;
use ruche_domain::events::tool::{NotExecutedCause, ToolArgumentsChanged, ToolNotExecuted};
use ruche_domain::ids::{CallId, EventId, SessionId, SubjectId, TurnId};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::numbers::Micros;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;
use serde_json::Value;

use super::attributes::digest;
use super::events::{ARGUMENTS, PARENT, canonical};
use super::fitting::is_cut;
use super::record::INFERRED;
use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::session::{observed_stream, session_stream};

/// JSON pointers of one change that are named.
const POINTERS_MAX: usize = 64;
/// Events of a session that something is derived from. Of a longer one nothing is: what is missing may stand further up.
pub(crate) const EVENTS_MAX: u64 = 20_000;
/// Bytes of their payloads.
pub(crate) const BYTES_MAX: usize = 64 * 1_048_576;

/// Derives what follows from the telemetry of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeriveFromCalls {
    /// Which session.
    pub session: SessionId,
    /// Whose data it is.
    pub subject: Option<SubjectId>,
}

/// An event that something follows from.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    id: EventId,
    turn: Option<TurnId>,
    trace: Option<[u8; 16]>,
    /// By the clock of the source.
    at: Micros,
}

/// A call as it was seen.
#[derive(Debug, Default)]
struct Call {
    /// Newest first.
    proposed: Vec<(Evidence, String)>,
    /// Its first start, with the arguments that ran where they are known.
    started: Option<(Evidence, Option<String>)>,
    is_settled: bool,
    is_derived: bool,
}

/// What was seen in a session.
#[derive(Debug, Default)]
pub struct SeenCalls {
    /// Events of the stream, by its newest one.
    events: u64,
    /// Bytes of the payloads that were looked at.
    bytes: usize,
    calls: BTreeMap<CallId, Call>,
    /// When turns were over.
    over: HashMap<TurnId, Evidence>,
    /// When the last model call of a turn began.
    asked: HashMap<TurnId, Micros>,
    spans: HashSet<[u8; 8]>,
    /// Spans that others name as the one above them, with the first that does.
    parents: BTreeMap<[u8; 8], (Evidence, String)>,
    gaps: BTreeSet<String>,
    /// Streams of sessions that were made up for traces.
    made_up: HashSet<StreamId>,
}

/// What follows, with the trace of which something is missing.
struct Derived {
    event: NewEvent,
    missing_of: Option<[u8; 16]>,
}

impl SeenCalls {
    fn tool(&mut self, call: CallId, event: &AgentEvent, evidence: Evidence) {
        let call = self.calls.entry(call).or_default();
        match event {
            AgentEvent::ToolProposed(tool) => call.proposed.push((evidence, tool.arguments.clone())),
            AgentEvent::ToolStarted(tool) => {
                let arguments = tool.ext.get(ARGUMENTS).and_then(Value::as_str);
                call.started = Some((evidence, arguments.map(str::to_owned)));
            }
            AgentEvent::ToolCompleted(_) | AgentEvent::ToolFailed(_) => call.is_settled = true,
            AgentEvent::ToolArgumentsChanged(_) | AgentEvent::ToolNotExecuted(_) => call.is_derived = true,
            _ => {}
        }
    }

    fn is_too_long(&self) -> bool {
        self.events > EVENTS_MAX || self.bytes > BYTES_MAX
    }

    /// Whether the agent went on without the call: it asked its model again in that turn, or another turn was over later.
    fn went_on(&self, turn: TurnId, proposed: Evidence) -> bool {
        let Some(over) = self.over.get(&turn) else {
            return false;
        };
        let asked_again = self.asked.get(&turn).is_some_and(|at| *at > proposed.at);
        let mut others = self.over.iter().filter(|(other, _)| **other != turn);
        asked_again || others.any(|(_, other)| other.at > over.at)
    }
}

/// The span above, as an event of a span names it.
fn parent_of(event: &AgentEvent) -> Option<[u8; 8]> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let text = match event {
        AgentEvent::InfraSpanUnclassified(kept) => {
            let span = kept.span.as_ref()?;
            text(span.get("parent").filter(|_| span.get("remote").is_none()))
        }
        AgentEvent::TurnStarted(said) => text(said.ext.get(PARENT)),
        AgentEvent::LlmRequested(said) => text(said.ext.get(PARENT)),
        AgentEvent::LlmEmbedded(said) => text(said.ext.get(PARENT)),
        AgentEvent::ToolStarted(said) => text(said.ext.get(PARENT)),
        AgentEvent::AgentDelegated(said) => text(said.ext.get(PARENT)),
        AgentEvent::MemoryRetrieved(said) => text(said.ext.get(PARENT)),
        AgentEvent::MemorySearched(said) => text(said.ext.get(PARENT)),
        _ => None,
    };
    hex::decode(text?).ok()?.try_into().ok()
}

impl DeriveFromCalls {
    fn event(&self, derived: impl Into<AgentEvent>, evidence: Evidence, call: Option<CallId>) -> NewEvent {
        let mut event =
            NewEvent::fact(observed_stream(self.session), derived).of_session(self.session, self.subject);
        event.turn = evidence.turn;
        event.call = call;
        event.causation = Some(evidence.id);
        event.by_itself = true;
        event
    }

    fn of_call(&self, state: &SeenCalls, id: CallId, call: &Call) -> Option<Derived> {
        let (proposed, asked) = call.proposed.first().filter(|_| !call.is_derived)?;
        let Some((started, ran)) = &call.started else {
            let turn = proposed.turn.filter(|_| !call.is_settled)?;
            let over = state.over.get(&turn).filter(|_| state.went_on(turn, *proposed))?;
            let evidence = vec![proposed.id, over.id];
            let derived = ToolNotExecuted::new(NotExecutedCause::NoExecutionSeen, evidence);
            return Some(Derived {
                event: self.event(derived, *over, Some(id)),
                missing_of: proposed.trace,
            });
        };
        let ran = ran.as_ref()?;
        // Of a text that was cut nobody knows whether it is the same.
        if is_cut(ran) || call.proposed.iter().any(|(_, asked)| is_cut(asked)) {
            return None;
        }
        let is_same = |(_, asked): &(Evidence, String)| canonical(asked) == canonical(ran);
        if call.proposed.iter().any(is_same) {
            return None;
        }
        let evidence = vec![proposed.id, started.id];
        let (was, is) = (digest(asked.as_bytes()), digest(ran.as_bytes()));
        let mut derived = ToolArgumentsChanged::new(was, is, evidence);
        derived.changed = changed(asked, ran);
        Some(Derived {
            event: self.event(derived, *started, Some(id)),
            missing_of: None,
        })
    }

    fn gap(
        &self,
        state: &SeenCalls,
        parent: &[u8; 8],
        (child, trace): &(Evidence, String),
    ) -> Option<Derived> {
        let expected = hex::encode(parent);
        if state.spans.contains(parent) || state.gaps.contains(&expected) {
            return None;
        }
        let mut gap = InfraIngestGap::new(trace.clone(), expected, "a span below it".to_owned());
        gap.missing = Some(1);
        Some(Derived {
            event: self.event(gap, *child, None),
            missing_of: child.trace,
        })
    }

    /// All that follows, whatever else stands in made-up sessions.
    fn derived(&self, state: &SeenCalls) -> impl Iterator<Item = Derived> {
        let of_calls = state.calls.iter();
        let of_calls = of_calls.filter_map(|(id, call)| self.of_call(state, *id, call));
        let gaps = state.parents.iter();
        let gaps = gaps.filter_map(|(parent, child)| self.gap(state, parent, child));
        of_calls.chain(gaps).take(EVENTS_PER_APPEND_MAX)
    }
}

/// The stream of the session that is made up for a trace.
fn made_up(trace: [u8; 16], ground: &Ground<'_>) -> StreamId {
    session_stream(ground.references.session(&hex::encode(trace)))
}

/// Whether the first event of a session says that no source named it. One that was erased may have said so.
fn is_made_up(first: &PastEvent) -> bool {
    match &first.event {
        Some(AgentEvent::SessionStarted(started)) => started.ext.contains_key(INFERRED),
        Some(_) => false,
        None => true,
    }
}

/// JSON pointers to what differs; the whole where one of them is no JSON.
fn changed(asked: &str, ran: &str) -> Vec<String> {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut pointers = Vec::new();
    match (value(asked), value(ran)) {
        (Some(asked), Some(ran)) => differ(&asked, &ran, String::new(), &mut pointers),
        _ => pointers.push(String::new()),
    }
    pointers
}

fn differ(asked: &Value, ran: &Value, at: String, pointers: &mut Vec<String>) {
    if asked == ran || pointers.len() == POINTERS_MAX {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (asked, ran) else {
        return pointers.push(at);
    };
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let below = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) => differ(a, b, below, pointers),
            _ if pointers.len() < POINTERS_MAX => pointers.push(below),
            _ => {}
        }
    }
}

impl Command for DeriveFromCalls {
    type State = SeenCalls;
    const NAME: &'static str = "DeriveFromCalls";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![Load::newest(observed_stream(self.session))])
    }

    fn is_settled(&self, state: &SeenCalls, _: StreamId) -> bool {
        state.is_too_long()
    }

    fn more_loads(&self, state: &SeenCalls, ground: &Ground<'_>) -> Vec<Load> {
        if state.is_too_long() {
            return Vec::new();
        }
        let missing = self.derived(state).filter_map(|derived| derived.missing_of);
        let traces: BTreeSet<[u8; 16]> = missing.collect();
        let streams = traces.into_iter().map(|trace| made_up(trace, ground));
        streams.map(Load::first).collect()
    }

    fn evolve(&self, state: &mut SeenCalls, event: &PastEvent) {
        if event.stream().category == Category::Session {
            if is_made_up(event) {
                state.made_up.insert(event.stream());
            }
            return;
        }
        state.events = state.events.max(event.version.0 + 1);
        state.bytes += event.recorded.payload.as_ref().map_or(0, Vec::len);
        let envelope = &event.recorded.event;
        let evidence = Evidence {
            id: envelope.event_id,
            turn: envelope.turn,
            trace: envelope.trace.map(|trace| trace.trace_id),
            at: envelope.occurred_at,
        };
        let Some(said) = &event.event else { return };
        if let AgentEvent::InfraIngestGap(gap) = said {
            state.gaps.insert(gap.expected.clone());
            return;
        }
        if let Some(trace) = envelope.trace {
            state.spans.insert(trace.span_id);
            if let Some(parent) = parent_of(said) {
                let child = (evidence, hex::encode(trace.trace_id));
                state.parents.insert(parent, child);
            }
        }
        if let Some(call) = envelope.call {
            state.tool(call, said, evidence);
        }
        match (said, envelope.turn) {
            (AgentEvent::TurnCommitted(_) | AgentEvent::TurnFailed(_), Some(turn)) => {
                state.over.entry(turn).or_insert(evidence);
            }
            (AgentEvent::LlmRequested(_), Some(turn)) => {
                let last = state.asked.entry(turn).or_insert(evidence.at);
                *last = (*last).max(evidence.at);
            }
            _ => {}
        }
    }

    fn decide(&self, state: &SeenCalls, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if state.is_too_long() {
            return Err(CommandError::LimitExceeded {
                what: "telemetry of a session",
                value: state.events,
                limit: EVENTS_MAX,
                unit: "events that something is derived from",
            });
        }
        let is_known = |derived: &Derived| {
            let made_up = derived.missing_of.map(|trace| made_up(trace, ground));
            made_up.is_none_or(|stream| !state.made_up.contains(&stream))
        };
        let derived = self.derived(state).filter(is_known);
        let derived: Vec<NewEvent> = derived.map(|derived| derived.event).collect();
        Ok(if derived.is_empty() {
            Decision::AlreadySo(Vec::new())
        } else {
            Decision::Append(derived)
        })
    }
}
