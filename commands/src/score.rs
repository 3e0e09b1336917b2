//! Scores of sessions: rewards, labels, figures that a program, a model or a benchmark gave.

use ruche_domain::events::EvalScored;
use ruche_domain::ids::{SessionId, SubjectId};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::session::{SessionRef, SessionState, session_stream};

/// Records scores of a session, open or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScoreSession {
    /// Which session.
    pub session: SessionRef,
    /// The scores, in order. One without a target is of the session as a whole.
    pub scores: Vec<EvalScored>,
}

pub(crate) fn event(score: &EvalScored, session: SessionId, subject: Option<SubjectId>) -> NewEvent {
    let mut event = NewEvent::fact(session_stream(session), score.clone()).of_session(session, subject);
    event.turn = score.turn_id;
    event.call = score.call_id;
    event
}

impl Command for ScoreSession {
    type State = SessionState;
    const NAME: &'static str = "ScoreSession";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        if self.scores.is_empty() {
            return Err(CommandError::input("/scores", "must not be empty"));
        }
        if self.scores.len() > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "append",
                value: self.scores.len() as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        let session = self.session.resolve(ground.references)?;
        Ok(vec![Load::first(session_stream(session))])
    }

    fn evolve(&self, state: &mut SessionState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &SessionState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.require_started("/session")?;
        let session = self.session.resolve(ground.references)?;
        let events = self
            .scores
            .iter()
            .map(|score| event(score, session, state.subject));
        Ok(Decision::Append(events.collect()))
    }
}
