//! Inputs of mutations about governed turns, and the commands that are made from them by hand.

use async_graphql::{ID, InputObject};
use ruche_commands::CommandError;
use ruche_commands::governed::{
    CancelTurn, ClaimTurn, CommitTurn, FailTurn, HeartbeatTurn, LaneName, LeaseRef,
};
use ruche_domain::events::{MessageSent, Role};
use ruche_domain::ids::TurnId;

use super::super::scalars::Long;
use super::super::words::OutcomeCategory;
use super::inputs::{count, parsed};

type Made<C> = Result<C, CommandError>;

/// A lane: who talks with whom, and where. Its turns run one at a time.
#[derive(InputObject)]
pub(in crate::graphql) struct LaneInput {
    /// The client's own id of the agent.
    agent: String,
    /// The client's own id of the person or system that the agent talks with.
    interlocutor: String,
    /// Channel, such as `web` or `whatsapp`; its settings apply.
    channel: String,
    /// The client's own id of the thread, where one pair has several on a channel.
    thread: Option<String>,
}

impl From<LaneInput> for LaneName {
    fn from(lane: LaneInput) -> Self {
        Self {
            agent: lane.agent,
            interlocutor: lane.interlocutor,
            channel: lane.channel,
            thread: lane.thread,
        }
    }
}

/// The lease under which a worker holds a turn, as `claimTurn` gave it.
#[derive(InputObject)]
pub(in crate::graphql) struct LeaseInput {
    /// Its id.
    id: String,
    /// Its fencing number.
    epoch: Long,
}

impl LeaseInput {
    pub(super) fn read(self) -> Made<LeaseRef> {
        let epoch = count("/lease/epoch", self.epoch)?;
        Ok(LeaseRef { id: self.id, epoch })
    }
}

pub(super) fn turn(id: &ID) -> Made<TurnId> {
    parsed("/turnId", id.as_str())
}

/// Input of `claimTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct ClaimTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Build of the program that runs the agent.
    brain_build: Option<String>,
}

impl ClaimTurnInput {
    pub(super) fn into_command(self) -> Made<ClaimTurn> {
        Ok(ClaimTurn {
            lane: self.lane.into(),
            brain_build: self.brain_build,
        })
    }
}

/// Input of `heartbeatTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct HeartbeatTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
}

impl HeartbeatTurnInput {
    pub(super) fn into_command(self) -> Made<HeartbeatTurn> {
        Ok(HeartbeatTurn {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
        })
    }
}

/// The answer of a turn.
#[derive(InputObject)]
pub(in crate::graphql) struct ResponseInput {
    /// The text.
    text: String,
    /// The client's own id of the message.
    external_id: Option<String>,
    /// Where the channel delivers it, as the client names the place.
    delivery_target: Option<String>,
}

impl ResponseInput {
    pub(super) fn read(self, role: Role) -> MessageSent {
        MessageSent {
            text: Some(self.text),
            external_id: self.external_id,
            delivery_target: self.delivery_target,
            ..MessageSent::new(role)
        }
    }
}

/// Input of `commitTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct CommitTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// How it came out.
    outcome: Option<OutcomeCategory>,
    /// The answer; a turn may end without one.
    response: Option<ResponseInput>,
}

impl CommitTurnInput {
    pub(super) fn into_command(self) -> Made<CommitTurn> {
        let lane = LaneName::from(self.lane);
        let channel = Some(lane.channel.clone());
        let response = self.response.map(|response| MessageSent {
            channel,
            ..response.read(Role::Assistant)
        });
        Ok(CommitTurn {
            lane,
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            outcome: self.outcome.map(Into::into),
            response,
        })
    }
}

/// Input of `failTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct FailTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// What went wrong: a stable word of the client.
    error_type: String,
    /// What went wrong, in words.
    error: Option<String>,
    /// Whether trying again may help. If so, and attempts are left, the turn may be claimed again after a wait.
    retryable: bool,
}

impl FailTurnInput {
    pub(super) fn into_command(self) -> Made<FailTurn> {
        Ok(FailTurn {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            error_type: self.error_type,
            error: self.error,
            retryable: self.retryable,
        })
    }
}

/// Input of `cancelTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct CancelTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// Why.
    reason: Option<String>,
}

impl CancelTurnInput {
    pub(super) fn into_command(self) -> Made<CancelTurn> {
        Ok(CancelTurn {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            reason: self.reason,
        })
    }
}
