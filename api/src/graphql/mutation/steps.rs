//! Mutations about the steps of a turn that a worker holds.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_commands::governed::{CompleteStep, StartStep};
use ruche_commands::{CommandError, CommandReceipt};
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;

use super::super::refusals::{self, results};
use super::super::scalars::PositionScalar;
use super::super::step::StepState;
use super::fields::optional_name;
use super::lane_input::{LaneInput, LeaseInput, turn};
use super::{Receipt, Writing, carry_out, payloads, turn_of};

type Made<C> = std::result::Result<C, CommandError>;

/// Input of `startStep`.
#[derive(InputObject)]
pub(in crate::graphql) struct StartStepInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Your own id of the step: in a turn it names one step, over all attempts. Where a plan changes what a step is, put the
    /// version of the plan into it.
    step_id: String,
    /// What the step is, in words.
    name: Option<String>,
}

impl StartStepInput {
    fn into_command(self) -> Made<StartStep> {
        Ok(StartStep {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            step_id: self.step_id,
            name: optional_name("/name", self.name)?,
        })
    }
}

/// Input of `completeStep`.
#[derive(InputObject)]
pub(in crate::graphql) struct CompleteStepInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Which step.
    step_id: String,
    /// What it came to: all that a later attempt needs to go on behind it.
    result: Option<String>,
}

impl CompleteStepInput {
    fn into_command(self) -> Made<CompleteStep> {
        Ok(CompleteStep {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            step_id: self.step_id,
            result: self.result,
        })
    }
}

/// The last that the answer says of the step. What this program wrote it can read; an erased payload has nothing to tell.
fn last(receipt: &CommandReceipt) -> Option<AgentEvent> {
    let facts = receipt
        .events
        .iter()
        .filter_map(|event| event.agent_event().ok()?);
    let of_step = |fact: &AgentEvent| {
        matches!(
            fact,
            AgentEvent::TurnStepStarted(_) | AgentEvent::TurnStepCompleted(_)
        )
    };
    facts.rev().find(of_step)
}

fn step_of(receipt: &CommandReceipt) -> Option<String> {
    match last(receipt)? {
        AgentEvent::TurnStepStarted(started) => Some(started.step_id),
        AgentEvent::TurnStepCompleted(completed) => Some(completed.step_id),
        _ => None,
    }
}

fn state_of(receipt: &CommandReceipt) -> Option<StepState> {
    Some(match last(receipt)? {
        AgentEvent::TurnStepCompleted(_) => StepState::Completed,
        _ => StepState::Started,
    })
}

fn result_of(receipt: &CommandReceipt) -> Option<String> {
    match last(receipt)? {
        AgentEvent::TurnStepCompleted(completed) => completed.result,
        _ => None,
    }
}

payloads! {
    /// A step is begun, or was done already.
    StartStepPayload {
        /// The turn.
        turn_id: Option<ID> = turn_of,
        /// The step.
        step_id: Option<String> = step_of,
        /// Where it stands. A step that is `COMPLETED` is not done again: take its result.
        state: Option<StepState> = state_of,
        /// What it came to, if it is completed.
        result: Option<String> = result_of,
    }
    /// A step is done.
    CompleteStepPayload {
        /// The turn.
        turn_id: Option<ID> = turn_of,
        /// The step.
        step_id: Option<String> = step_of,
    }
}

results! {
    /// What came of `startStep`.
    StartStepResult = StartStepPayload;
    /// What came of `completeStep`.
    CompleteStepResult = CompleteStepPayload;
}

/// Writes about steps.
#[derive(Default)]
pub(in crate::graphql) struct StepMutation;

/// Writes about steps.
#[Object]
impl StepMutation {
    /// Says that a step of a turn begins. A step that is completed, by whatever attempt, is `unchanged` and told with its
    /// result; one that this attempt began is `unchanged` as well. One that an earlier attempt left half done is begun anew.
    async fn start_step(&self, ctx: &Context<'_>, input: StartStepInput) -> Result<StartStepResult> {
        carry_out!(ctx, Attested, input, StartStepResult, StartStepPayload)
    }

    /// Says that a step is done, and what it came to. The attempt that began it completes it, and once.
    async fn complete_step(&self, ctx: &Context<'_>, input: CompleteStepInput) -> Result<CompleteStepResult> {
        carry_out!(ctx, Attested, input, CompleteStepResult, CompleteStepPayload)
    }
}
