//! A whole session that is over, recorded in one append: what an import or a backfill does.

use ruche_domain::envelope::Actor;
use ruche_domain::events::EvalScored;
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::limits::{APPEND_BYTES_MAX, EVENTS_PER_APPEND_MAX};
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use serde::Serialize;
use uuid::Uuid;

use super::{RecordTurnState, RecordedTurn, StrayAnswers, TurnPlace, build, evolve_tools};
use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::ports::NoSchemas;
use crate::prepare::payload_bytes;
use crate::score;
use crate::session::{EndSession, SessionStatus, StartSession, observed_stream, session_stream};
use crate::tool::{ToolTraits, tool_stream};

/// Records a session that is over. It is as if its start, its turns, its end and its scores had been recorded one
/// after the other, but nobody ever sees half of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordSession {
    /// Its start.
    pub start: StartSession,
    /// Its turns, in order.
    pub turns: Vec<RecordedTurn>,
    /// Its end; absent leaves it open. The session that it names has no say.
    pub end: Option<EndSession>,
    /// Its scores.
    pub scores: Vec<EvalScored>,
    /// What to do with answers that fit no call. Not part of what was said: it decides whether the session is taken,
    /// not what is recorded of it.
    #[serde(skip)]
    pub stray_answers: StrayAnswers,
}

/// How many appends a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It fits one.
    Whole,
    /// Its start, each turn, its end and its scores take one each.
    Parts,
}

impl RecordSession {
    /// How many appends the session takes. It follows from what the session says alone and not from what stands in the
    /// ledger, so it comes out the same each time.
    ///
    /// # Errors
    /// What no append can take: an input that is refused, a payload, a turn or scores beyond their limits.
    pub(crate) fn fit(&self, references: &ReferenceKey) -> Result<Fit, CommandError> {
        self.start.check()?;
        for (number, turn) in self.turns.iter().enumerate() {
            turn.check(self.stray_answers, &format!("/turns/{number}"))?;
        }
        let ground = Ground {
            references,
            now: Micros(0),
            idempotency_key: "",
            ledger: LedgerId(Uuid::nil()),
            tenant: TenantId(Uuid::nil()),
            actor: Actor::SYSTEM,
            user: None,
            schemas: &NoSchemas,
        };
        let mut total = 0;
        for part in self.parts(&self.longest(references), &ground) {
            let mut bytes = 0;
            for event in &part {
                bytes += payload_bytes(&event.content)?;
            }
            check_append(part.len(), EVENTS_PER_APPEND_MAX, "events")?;
            check_append(bytes, APPEND_BYTES_MAX, "bytes")?;
            total += bytes;
        }
        let fits = self.events_max() <= EVENTS_PER_APPEND_MAX && total <= APPEND_BYTES_MAX;
        Ok(if fits { Fit::Whole } else { Fit::Parts })
    }

    /// The state of a new session whose tools are registered with the longest words there are: no registration makes
    /// an event larger.
    fn longest(&self, references: &ReferenceKey) -> RecordTurnState {
        let traits = ToolTraits {
            side_effect: SideEffectPolicy::Compensatable,
            kind: Some(ToolKind::SwitchMode),
        };
        let names = self.turns.iter().flat_map(RecordedTurn::tools);
        RecordTurnState {
            tools: names
                .map(|name| (tool_stream(references, name), traits))
                .collect(),
            ..RecordTurnState::default()
        }
    }

    /// Events that the session becomes, at most.
    fn events_max(&self) -> usize {
        let turns: usize = self.turns.iter().map(RecordedTurn::events_max).sum();
        2 + turns + self.scores.len()
    }

    /// The session's events: its start, each turn, its end, its scores.
    fn parts(&self, state: &RecordTurnState, ground: &Ground<'_>) -> Vec<Vec<NewEvent>> {
        let session = self.start.session(ground);
        let started = self.start.event(ground);
        let subject = started.subject;
        let mut parts = vec![vec![started]];
        let mut before = 1;
        let mut place = TurnPlace {
            session,
            subject,
            turn: state.conversation.observed.next_turn(),
            message: state.conversation.observed.next_message(),
        };
        for turn in &self.turns {
            let built = build::turn(turn, place, &state.tools, ground, before);
            before += built.events.len();
            parts.push(built.events);
            place.turn = place.turn.saturating_add(1);
            place.message = built.next_message;
        }
        parts.extend(self.end.as_ref().map(|end| vec![end.event(session, subject)]));
        let scores = self.scores.iter();
        parts.push(
            scores
                .map(|score| score::event(score, session, subject))
                .collect(),
        );
        parts
    }
}

fn check_append(value: usize, limit: usize, unit: &'static str) -> Result<(), CommandError> {
    if value <= limit {
        return Ok(());
    }
    Err(CommandError::LimitExceeded {
        what: "part of a session",
        value: value as u64,
        limit: limit as u64,
        unit,
    })
}

impl Command for RecordSession {
    type State = RecordTurnState;
    const NAME: &'static str = "RecordSession";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.start.check()?;
        let events = self.events_max();
        if events > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "recorded session",
                value: events as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        for (number, turn) in self.turns.iter().enumerate() {
            turn.check(self.stray_answers, &format!("/turns/{number}"))?;
        }
        let session = self.start.session(ground);
        let mut loads = vec![
            Load::whole(session_stream(session)),
            Load::newest(observed_stream(session)),
        ];
        let tools: std::collections::BTreeSet<&str> =
            self.turns.iter().flat_map(RecordedTurn::tools).collect();
        let tools = tools.into_iter().map(|name| tool_stream(ground.references, name));
        loads.extend(tools.map(|stream| Load::newest(stream).unguarded()));
        Ok(loads)
    }

    fn evolve(&self, state: &mut RecordTurnState, event: &PastEvent) {
        match event.stream().category {
            Category::Tool => evolve_tools(&mut state.tools, event),
            _ => state.conversation.evolve(event),
        }
    }

    fn is_settled(&self, state: &RecordTurnState, stream: StreamId) -> bool {
        match stream.category {
            Category::Tool => state.tools.contains_key(&stream),
            _ => state.conversation.observed.is_settled(),
        }
    }

    fn decide(&self, state: &RecordTurnState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if state.conversation.session.status != SessionStatus::Absent {
            return Err(state.conversation.session.refuse("/externalId"));
        }
        let events = self.parts(state, ground).into_iter().flatten().collect();
        Ok(Decision::Append(events))
    }
}
