//! The spans of a request, looked at together: sessions, turns, agents that work for agents.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruche_domain::envelope::TraceContext;
use ruche_domain::events::turn::{TurnOpened, TurnTrigger};
use ruche_domain::numbers::Micros;

use super::attributes::Attributes;
use super::events::{self, Draft, Kind, Place, Unit};
use super::seen::Seen;
use super::span::Span;
use super::{gen_ai, names, openinference, vercel};

/// How far up the spans of a trace are looked at. A deeper one counts as one whose parents have not come.
const ANCESTORS_MAX: usize = 64;

/// Names of a session, in the order in which they are believed. No instrumentation is allowed to make one up.
pub(super) const SESSION: &[&str] = &[
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "ai.telemetry.metadata.sessionId",
];
pub(super) const AGENT: &[&str] = &["gen_ai.agent.name", "agent.name", "ai.telemetry.functionId"];
pub(super) const INTERLOCUTOR: &[&str] = &[
    "user.id",
    "enduser.id",
    "langfuse.user.id",
    "ai.telemetry.metadata.userId",
];
/// Id of one run of an agent, on all its spans: what a turn is, where it is given.
const RUN: &str = "gen_ai.agent.call.id";

/// What a request says of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSession {
    /// The source's own id; that of the trace where it gave none.
    pub external_id: String,
    /// Whether it gave none.
    pub is_inferred: bool,
    /// The agent.
    pub agent: Option<String>,
    /// The program that the agent runs in.
    pub app: Option<String>,
    /// Whom the agent talks with.
    pub interlocutor: Option<String>,
    /// When the first of the spans began.
    pub started_at: Option<Micros>,
    /// Its spans, those that ended first in front.
    pub spans: Vec<ObservedSpan>,
}

/// What a span leaves in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSpan {
    /// Trace and span, where there are any.
    pub trace: Option<TraceContext>,
    /// What its turn is known by in its session; absent where it has no part in one.
    pub turn: Option<String>,
    /// What it was taken for.
    pub kind: Kind,
    /// What is recorded, in order.
    pub units: Vec<Unit>,
}

impl ObservedSpan {
    /// The unit that is of this span alone, where it does not come first: what stands in front is shared with others.
    pub fn own_behind_shared(&self) -> Option<&Unit> {
        let number = self.units.iter().position(|unit| !unit.is_shared())?;
        (number > 0).then(|| &self.units[number])
    }
}

struct Known {
    span: Span,
    seen: Option<Seen>,
    /// Number of the span above it, where it is in the request.
    above: Option<usize>,
}

/// What becomes of the spans of a request. The order in which they come makes no difference.
pub fn spans(mut spans: Vec<Span>) -> Vec<ObservedSession> {
    spans.sort_by_key(|span| (span.end, span.id.trace_id, span.id.span_id));
    let numbers: HashMap<TraceContext, usize> =
        spans.iter().enumerate().map(|(n, span)| (span.id, n)).collect();
    let mut known: Vec<Known> = spans
        .into_iter()
        .map(|span| Known {
            seen: seen(&span),
            above: span.parent.and_then(|span_id| {
                let trace_id = span.id.trace_id;
                numbers.get(&TraceContext { trace_id, span_id }).copied()
            }),
            span,
        })
        .collect();
    only_leaves_are_calls(&mut known);
    Batch::new(&known).sessions()
}

/// Where two instrumentations tell of one call of a model, one span is inside the other: a framework's around that of the
/// client. The inner one is the call, and its tokens count; the outer one only holds it. A call that a tool or an agent makes
/// in between is another one.
fn only_leaves_are_calls(known: &mut [Known]) {
    let is_call = |one: &Known| matches!(one.seen, Some(Seen::Model(_)));
    let mut outer = BTreeSet::new();
    for one in known.iter().filter(|one| is_call(one)) {
        let mut above = one.above;
        for _ in 0..ANCESTORS_MAX {
            let Some(number) = above else { break };
            match known[number].seen {
                Some(Seen::Model(_)) => drop(outer.insert(number)),
                Some(Seen::Agent | Seen::Tool(_)) => break,
                _ => {}
            }
            above = known[number].above;
        }
    }
    for number in outer {
        known[number].seen = Some(Seen::Structure);
    }
}

/// What a span is, by the first dialect that knows it.
fn seen(span: &Span) -> Option<Seen> {
    gen_ai::seen(span)
        .or_else(|| openinference::seen(span))
        .or_else(|| vercel::seen(span))
}

struct Batch<'a> {
    known: &'a [Known],
    /// The only session that spans of a trace name.
    of_trace: HashMap<[u8; 16], Option<&'a str>>,
}

impl<'a> Batch<'a> {
    fn new(known: &'a [Known]) -> Self {
        let mut of_trace: HashMap<[u8; 16], Option<&'a str>> = HashMap::new();
        for one in known {
            if let Some(session) = one.span.attributes.first_text(SESSION) {
                let only = of_trace.entry(one.span.id.trace_id).or_insert(Some(session));
                *only = only.filter(|before| *before == session);
            }
        }
        Self { known, of_trace }
    }

    /// The span and those above it, nearest first, and whether the last of them is the top.
    fn line(&self, number: usize) -> (Vec<usize>, bool) {
        let mut line = vec![number];
        while let Some(above) = self.known[line[line.len() - 1]].above {
            if line.len() > ANCESTORS_MAX {
                return (line, false);
            }
            line.push(above);
        }
        let is_whole = self.known[line[line.len() - 1]].span.is_top();
        (line, is_whole)
    }

    fn session(&self, number: usize) -> Option<&'a str> {
        let (line, _) = self.line(number);
        let named = line
            .iter()
            .find_map(|n| self.known[*n].span.attributes.first_text(SESSION));
        let trace = self.known[number].span.id.trace_id;
        named.or_else(|| self.of_trace.get(&trace).copied().flatten())
    }

    /// Whether the turn is over when this span is.
    fn ends_turn(&self, number: usize) -> bool {
        let one = &self.known[number];
        let is_agent = one.seen == Some(Seen::Agent);
        if is_agent && one.span.attributes.text(RUN).is_some() {
            return true;
        }
        let is_whole_turn = matches!(
            one.seen,
            Some(Seen::Agent | Seen::Model(_) | Seen::Structure | Seen::Workflow(_))
        );
        if one.span.is_top() {
            return is_whole_turn;
        }
        let (line, is_whole) = self.line(number);
        let nothing_above = line[1..].iter().all(|above| self.known[*above].seen.is_none());
        is_agent && is_whole && nothing_above
    }

    fn agent_above(&self, number: usize) -> Option<String> {
        let (line, _) = self.line(number);
        let mut above = line[1..].iter().map(|n| &self.known[*n]);
        let agent = above.find(|one| one.seen == Some(Seen::Agent))?;
        let name = agent.span.attributes.first_text(AGENT);
        Some(name.unwrap_or(&agent.span.name).to_owned())
    }

    fn sessions(self) -> Vec<ObservedSession> {
        let mut by_session: BTreeMap<(bool, String), Vec<usize>> = BTreeMap::new();
        for number in 0..self.known.len() {
            let session = self.session(number);
            let key = match session {
                Some(session) => (false, session.to_owned()),
                None => (true, self.known[number].span.trace_text.clone()),
            };
            by_session.entry(key).or_default().push(number);
        }
        let one = |((is_inferred, external_id), numbers): ((bool, String), Vec<usize>)| {
            self.one_session(external_id, is_inferred, &numbers)
        };
        by_session.into_iter().map(one).collect()
    }

    fn one_session(&self, external_id: String, is_inferred: bool, numbers: &[usize]) -> ObservedSession {
        let spans = || numbers.iter().map(|n| &self.known[*n].span);
        // Of several the outermost agent that has a name: spans that ended last are nearest to the root.
        let named = |names| {
            let name = spans().rev().find_map(|span| span.attributes.first_text(names));
            name.map(str::to_owned)
        };
        let app = spans().find_map(|span| app(&span.resource));
        let agent = named(AGENT).or_else(|| app.clone());
        let mut opened: HashMap<&str, Option<Micros>> = HashMap::new();
        for n in numbers.iter().filter(|n| self.is_of_turn(**n)) {
            let span = &self.known[*n].span;
            let at = opened.entry(turn(span)).or_insert(span.start);
            *at = (*at).min(span.start);
        }
        let mut observed: Vec<ObservedSpan> = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut one = self.one_span(*number, &external_id, agent.as_ref());
            let first_start = one.turn.as_deref().and_then(|turn| opened.remove(turn));
            if let (Some(turn), Some(at)) = (&one.turn, first_start) {
                one.units
                    .insert(0, turn_opened(&external_id, turn, agent.clone(), at));
            }
            observed.push(one);
        }
        ObservedSession {
            is_inferred,
            agent,
            app,
            interlocutor: named(INTERLOCUTOR),
            started_at: spans().filter_map(|span| span.start).min(),
            spans: observed,
            external_id,
        }
    }

    /// Whether the span is work on a turn, and not only something that happened beside one.
    fn is_of_turn(&self, number: usize) -> bool {
        self.known[number].seen.is_some()
    }

    fn one_span(&self, number: usize, session: &str, agent: Option<&String>) -> ObservedSpan {
        let one = &self.known[number];
        let own = one.span.attributes.first_text(AGENT).map(str::to_owned);
        let turn = self.is_of_turn(number).then(|| turn(&one.span).to_owned());
        let place = Place {
            session: session.to_owned(),
            turn: turn.clone().unwrap_or_default(),
            ends_turn: self.ends_turn(number),
            agent: own.or_else(|| agent.cloned()),
            above: self.agent_above(number),
        };
        let (kind, units) = events::units(&one.span, one.seen.as_ref(), &place);
        ObservedSpan {
            trace: Some(one.span.id),
            turn,
            kind,
            units,
        }
    }
}

/// What the turn of a span is known by: its run, without one its trace.
fn turn(span: &Span) -> &str {
    span.attributes.text(RUN).unwrap_or(&span.trace_text)
}

/// The beginning of a turn, which is told once, by whichever of its spans comes first.
pub(super) fn turn_opened(session: &str, turn: &str, agent: Option<String>, at: Option<Micros>) -> Unit {
    let mut opened = TurnOpened::new(TurnTrigger::User);
    opened.external_id = Some(turn.to_owned());
    opened.agent_id = agent.as_deref().map(names::as_id);
    Unit::once(
        names::key("otlp-turn", &[session, turn]),
        vec![Draft::new(opened, at)],
    )
}

/// The program, unless the SDK made its name up.
pub(super) fn app(resource: &Attributes) -> Option<String> {
    let name = resource.text("service.name")?;
    (!name.starts_with("unknown_service")).then(|| name.to_owned())
}
