//! Inputs of mutations about the tool calls of governed turns.

use async_graphql::{Enum, ID, InputObject, OneofObject};
use ruche_commands::CommandError;
use ruche_commands::governed::{
    CompensationReport, LaneName, ProposeAction, ReportCompensation, ReportEffect, Reported, ResolveOutcome,
    SendMessage, StartCall, StartCompensation, StartEffect,
};
use ruche_domain::events::{self, MessageSent, Role, ToolOutcomeAsserted};
use ruche_domain::ids::CallId;

use super::super::scalars::{JsonText, PositionScalar};
use super::fields::{named, optional_name, parsed};
use super::lane_input::{LaneInput, LeaseInput, ResponseInput, turn};

type Made<C> = Result<C, CommandError>;

fn call(id: &ID) -> Made<CallId> {
    parsed("/callId", id.as_str())
}

/// Input of `proposeAction`.
#[derive(InputObject)]
pub(in crate::graphql) struct ProposeActionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Name of the tool. What a call of it does to the world comes from its registration; a tool that nobody registered
    /// is irreversible.
    tool: String,
    /// The arguments, exactly as they are going to run. They have to fit the tool's schema.
    pub(super) arguments: JsonText,
    /// The caller's own key of the effect, such as the number of an order: for one interlocutor, in all lanes, what has one
    /// key happens once. For another interlocutor it is another key. Needed unless the tool is pure. It is free again once
    /// the call failed, was denied or was undone.
    business_key: Option<String>,
    /// The model provider's id of the call. It names nothing here: providers use one id for several calls.
    provider_call_id: Option<String>,
    /// Why the agent wants it, for reviewers.
    justification: Option<String>,
}

impl ProposeActionInput {
    pub(super) fn into_command(self) -> Made<ProposeAction> {
        Ok(ProposeAction {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            tool: self.tool,
            arguments: self.arguments.0,
            business_key: self.business_key,
            provider_call_id: optional_name("/providerCallId", self.provider_call_id)?,
            justification: self.justification,
        })
    }
}

/// Input of `startEffect`.
#[derive(InputObject)]
pub(in crate::graphql) struct StartEffectInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Which call.
    call_id: ID,
    /// The approval that you mean to use. It has to be that of the call; without it, that one is used.
    approval_id: Option<ID>,
}

impl StartEffectInput {
    pub(super) fn into_command(self) -> Made<StartCall> {
        let start = StartEffect {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            call: call(&self.call_id)?,
        };
        let approval = self.approval_id.map(|id| parsed("/approvalId", id.as_str()));
        Ok(StartCall {
            start,
            approval: approval.transpose()?,
        })
    }
}

/// A call gave a result.
#[derive(InputObject)]
pub(in crate::graphql) struct EffectCompletedInput {
    /// The result text exactly as the model is given it.
    result: Option<String>,
    /// Reference of the effect in the system that carried it out.
    external_ref: Option<String>,
}

/// A call failed, and nothing came of it.
#[derive(InputObject)]
pub(in crate::graphql) struct EffectFailedInput {
    /// Stable word for the kind of error.
    error_type: String,
    /// The error in words.
    error: Option<String>,
    /// Whether calling again may help.
    retryable: Option<bool>,
    /// The text exactly as the model is given it.
    result: Option<String>,
}

/// Nobody can say whether a call happened.
#[derive(InputObject)]
pub(in crate::graphql) struct EffectUnknownInput {
    /// Why: a crash, a timeout, a lost connection.
    cause: String,
    /// What to look up outside to find out.
    external_ref: Option<String>,
}

/// How a call came out.
#[derive(OneofObject)]
pub(in crate::graphql) enum EffectOutcomeInput {
    /// It gave a result.
    Completed(EffectCompletedInput),
    /// It failed, and nothing came of it.
    Failed(EffectFailedInput),
    /// Nobody can say whether it happened.
    Unknown(EffectUnknownInput),
}

impl EffectOutcomeInput {
    fn read(self) -> Made<Reported> {
        Ok(match self {
            Self::Completed(done) => Reported::Completed {
                result: done.result,
                external_ref: optional_name("/outcome/completed/externalRef", done.external_ref)?,
            },
            Self::Failed(failed) => Reported::Failed {
                error_type: named("/outcome/failed/errorType", failed.error_type)?,
                error: failed.error,
                retryable: failed.retryable,
                result: failed.result,
            },
            Self::Unknown(unknown) => Reported::Unknown {
                cause: named("/outcome/unknown/cause", unknown.cause)?,
                external_ref: optional_name("/outcome/unknown/externalRef", unknown.external_ref)?,
            },
        })
    }
}

/// Input of `reportEffect`.
#[derive(InputObject)]
pub(in crate::graphql) struct ReportEffectInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Which call.
    call_id: ID,
    /// The permit of its last start.
    permit: PositionScalar,
    /// How it came out.
    outcome: EffectOutcomeInput,
}

impl ReportEffectInput {
    pub(super) fn into_command(self) -> Made<ReportEffect> {
        Ok(ReportEffect {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            call: call(&self.call_id)?,
            permit: self.permit.0,
            outcome: self.outcome.read()?,
        })
    }
}

/// An effect was undone.
#[derive(InputObject)]
pub(in crate::graphql) struct CompensatedInput {
    /// Name of the tool that undid it.
    compensation_tool: Option<String>,
    /// Reference of the undoing in the system that carried it out.
    external_ref: Option<String>,
}

/// Undoing an effect failed.
#[derive(InputObject)]
pub(in crate::graphql) struct CompensationFailedInput {
    /// Stable word for the kind of error.
    error_type: String,
    /// The error in words.
    error: Option<String>,
}

/// How undoing an effect went.
#[derive(OneofObject)]
pub(in crate::graphql) enum CompensationOutcomeInput {
    /// It is undone.
    Compensated(CompensatedInput),
    /// It is not.
    Failed(CompensationFailedInput),
}

/// Input of `startCompensation`.
#[derive(InputObject)]
pub(in crate::graphql) struct StartCompensationInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// The call whose effect is to be undone.
    call_id: ID,
}

impl StartCompensationInput {
    pub(super) fn into_command(self) -> Made<StartCompensation> {
        Ok(StartCompensation {
            lane: self.lane.into(),
            call: call(&self.call_id)?,
        })
    }
}

/// Input of `reportCompensation`.
#[derive(InputObject)]
pub(in crate::graphql) struct ReportCompensationInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// The call whose effect it was.
    call_id: ID,
    /// The permit of the last `startCompensation`.
    permit: PositionScalar,
    /// How undoing went.
    outcome: CompensationOutcomeInput,
}

impl ReportCompensationInput {
    pub(super) fn into_command(self) -> Made<ReportCompensation> {
        let outcome = match self.outcome {
            CompensationOutcomeInput::Compensated(done) => CompensationReport::Compensated {
                compensation_tool: done.compensation_tool,
                external_ref: optional_name("/outcome/compensated/externalRef", done.external_ref)?,
            },
            CompensationOutcomeInput::Failed(failed) => CompensationReport::Failed {
                error_type: named("/outcome/failed/errorType", failed.error_type)?,
                error: failed.error,
            },
        };
        Ok(ReportCompensation {
            lane: self.lane.into(),
            call: call(&self.call_id)?,
            permit: self.permit.0,
            outcome,
        })
    }
}

/// What a person found out about an effect in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(in crate::graphql) enum AssertedOutcome {
    /// It happened.
    Completed,
    /// It did not happen.
    NotExecuted,
}

/// Input of `resolveOutcome`.
#[derive(InputObject)]
pub(in crate::graphql) struct ResolveOutcomeInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which call.
    call_id: ID,
    /// What was found.
    outcome: AssertedOutcome,
    /// Who found it out. A claim that nothing checks: the record names the credential of this request beside it, and `effects` shows
    /// that as `assertedBy` and this as `claimedBy`.
    by: String,
    /// What the finding rests on.
    evidence: String,
    /// Reference of the effect in the system that carried it out.
    external_ref: Option<String>,
    /// The result, if it is known.
    result: Option<String>,
}

impl ResolveOutcomeInput {
    pub(super) fn into_command(self) -> Made<ResolveOutcome> {
        let outcome = match self.outcome {
            AssertedOutcome::Completed => events::AssertedOutcome::Completed,
            AssertedOutcome::NotExecuted => events::AssertedOutcome::NotExecuted,
        };
        Ok(ResolveOutcome {
            lane: self.lane.into(),
            call: call(&self.call_id)?,
            asserted: ToolOutcomeAsserted {
                external_ref: optional_name("/externalRef", self.external_ref)?,
                result: self.result,
                ..ToolOutcomeAsserted::new(outcome, self.by, self.evidence)
            },
        })
    }
}

/// Input of `sendMessage`.
#[derive(InputObject)]
pub(in crate::graphql) struct SendMessageInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// The message.
    message: ResponseInput,
}

impl SendMessageInput {
    pub(super) fn into_command(self) -> Made<SendMessage> {
        let lane = LaneName::from(self.lane);
        let message = MessageSent {
            channel: Some(lane.channel.clone()),
            ..self.message.read("/message", Role::Assistant)?
        };
        Ok(SendMessage {
            lane,
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            message,
        })
    }
}
