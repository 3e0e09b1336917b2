//! A person looked after a turn that failed: it is off the list of what people are called for. What was done about it is
//! said in words; a message that is sent again is another turn.
//!
//! It stands with the session of the turn and not in its lane, where nothing follows from it.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::InfraManualInterventionSettled;
use ruche_domain::ids::{SessionId, TurnId};
use ruche_domain::stream::Category;
use serde::Serialize;

use super::{GovernedState, LaneName, refusal};
use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id, check_words};
use crate::error::CommandError;
use crate::lane::{Rejection, TurnState};
use crate::session::session_stream;

/// A person looked after a turn that failed. Said once: who says it again is told what was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettleIntervention {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// What is recorded.
    pub settled: InfraManualInterventionSettled,
}

/// What that is decided on.
#[derive(Clone, Debug, Default)]
pub struct SettleState {
    governed: GovernedState,
    /// What was said of the turn before.
    said: Option<RecordedEvent>,
}

impl SettleIntervention {
    fn session(&self, state: &SettleState) -> Option<SessionId> {
        let owner = state.governed.owners.get(&self.turn);
        owner.map(|(session, _)| *session)
    }
}

impl Command for SettleIntervention {
    type State = SettleState;
    const NAME: &'static str = "SettleIntervention";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/by", &self.settled.by)?;
        check_words("/reason", &self.settled.reason)?;
        Ok(vec![self.lane.load(ground)?])
    }

    /// Guarded: of two that say it, one is decided again and sees the other.
    fn more_loads(&self, state: &SettleState, _ground: &Ground<'_>) -> Vec<Load> {
        let session = self.session(state).map(session_stream);
        session.map(Load::whole).into_iter().collect()
    }

    fn evolve(&self, state: &mut SettleState, event: &PastEvent) {
        if event.stream().category != Category::Session {
            return state.governed.evolve(event);
        }
        // That it was said stands in the name.
        let is_it = event.event_type() == "infra.manual_intervention_settled";
        if is_it && event.recorded.event.turn == Some(self.turn) {
            state.said = Some(event.recorded.clone());
        }
    }

    fn decide(&self, state: &SettleState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.governed.require_readable()?;
        let lane = state.governed.lane()?;
        let known = lane.turn(self.turn).zip(state.governed.owners.get(&self.turn));
        let (turn, (session, subject)) = known.ok_or(CommandError::NotFound { thing: "turn" })?;
        if turn.state != TurnState::Failed {
            let winds_down = matches!(turn.state, TurnState::Cancelling | TurnState::Compensating);
            let rejection = match winds_down {
                true => Rejection::not_yet(turn.state, "the turn is still to end"),
                false => Rejection::illegal(turn.state),
            };
            return Err(refusal(rejection, ground.now));
        }
        if let Some(said) = &state.said {
            return Ok(Decision::AlreadySo(vec![said.clone()]));
        }
        let fact = AgentEvent::from(self.settled.clone());
        let event = NewEvent::fact(session_stream(*session), fact).of_session(*session, *subject);
        Ok(Decision::Append(vec![NewEvent {
            occurred_at: Some(ground.now),
            turn: Some(self.turn),
            ..event
        }]))
    }
}
