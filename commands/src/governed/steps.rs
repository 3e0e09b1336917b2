//! Steps of a turn that a worker holds. A step that is done already is told with its result, so that a worker which takes
//! over asks for each step and does those that are left.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::TurnStepCompleted;
use ruche_domain::ids::TurnId;
use serde::Serialize;

use super::propose::sha256;
use super::{Asked, GovernedState, LaneName, LeaseRef, held, lane_commands};
use crate::command::{Command, Decision, Load, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{self, Intent};

/// A worker begins a step, unless it is done already, or this attempt began it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartStep {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
    /// The client's own id of the step, one in its turn.
    pub step_id: String,
    /// What the step is, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What the beginning of a step is decided on.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    governed: GovernedState,
    /// The last that was recorded of the step.
    last: Option<RecordedEvent>,
}

impl Command for StartStep {
    type State = StepState;
    const NAME: &'static str = "StartStep";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/stepId", &self.step_id)?;
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &StepState, ground: &Ground<'_>) -> Vec<Load> {
        state.governed.more_loads(ground)
    }

    fn may_hear_again(&self, state: &StepState, ground: &Ground<'_>) -> bool {
        // Who lost the lease must not take the first answer for leave to do the step.
        state.governed.holds(&self.lane, self.turn, &self.lease, ground)
    }

    fn evolve(&self, state: &mut StepState, event: &PastEvent) {
        let step_id = match &event.event {
            Some(AgentEvent::TurnStepStarted(started)) => Some(&started.step_id),
            Some(AgentEvent::TurnStepCompleted(completed)) => Some(&completed.step_id),
            _ => None,
        };
        if step_id == Some(&self.step_id) && event.recorded.event.turn == Some(self.turn) {
            state.last = Some(event.recorded.clone());
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &StepState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let governed = &state.governed;
        let lane = governed.lane()?;
        governed.require_lease(&lane, &self.lane, self.turn, &self.lease, ground)?;
        let turn = lane.turn(self.turn);
        let step = turn.and_then(|turn| turn.steps.get(&self.step_id).map(|step| (turn, step)));
        let stands = step.is_some_and(|(turn, step)| step.is_completed || step.attempt == turn.attempt);
        if stands && let Some(last) = &state.last {
            return Ok(Decision::AlreadySo(vec![last.clone()]));
        }
        let start = lane::StartStep {
            step_id: self.step_id.clone(),
            name: self.name.clone(),
        };
        let asked = Asked::from(Intent::StartStep(held(self.turn, &self.lease, start)));
        governed.decide(&self.lane, ground, &asked)
    }
}

lane_commands! {
    /// A worker has done a step that it began. A step is done once.
    CompleteStep {
        /// Which turn.
        turn: TurnId,
        /// The lease on it.
        lease: LeaseRef,
        /// The client's own id of the step.
        step_id: String,
        /// What it came to.
        result: Option<String>,
    } (command, _ground) => {
        let completed = TurnStepCompleted {
            result_digest: command.result.as_ref().map(|text| sha256(text.as_bytes())),
            result: command.result.clone(),
            ..TurnStepCompleted::new(command.step_id.clone(), 0)
        };
        Intent::CompleteStep(held(command.turn, &command.lease, lane::CompleteStep { completed })).into()
    };
}
