//! A whole session that is over, recorded in one append: what an import or a backfill does.

use ruche_domain::events::EvalScored;
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use super::{RecordTurnState, RecordedTurn, StrayAnswers, TurnPlace, build, evolve_tools};
use crate::command::{Command, Decision, Load, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::score;
use crate::session::{EndSession, SessionStatus, StartSession, observed_stream, session_stream};
use crate::tool::tool_stream;

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

impl Command for RecordSession {
    type State = RecordTurnState;
    const NAME: &'static str = "RecordSession";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.start.check()?;
        let events: usize = self.turns.iter().map(RecordedTurn::events_max).sum();
        let events = 2 + events + self.scores.len();
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
        let session = self.start.session(ground);
        let started = self.start.event(ground);
        let subject = started.subject;
        let mut events = vec![started];
        let mut place = TurnPlace {
            session,
            subject,
            turn: state.conversation.observed.next_turn(),
            message: state.conversation.observed.next_message(),
        };
        for turn in &self.turns {
            let built = build::turn(turn, place, &state.tools, ground, events.len());
            events.extend(built.events);
            place.turn = place.turn.saturating_add(1);
            place.message = built.next_message;
        }
        events.extend(self.end.as_ref().map(|end| end.event(session, subject)));
        events.extend(
            self.scores
                .iter()
                .map(|score| score::event(score, session, subject)),
        );
        Ok(Decision::Append(events))
    }
}
