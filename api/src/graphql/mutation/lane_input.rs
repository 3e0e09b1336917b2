//! Inputs of mutations about governed turns, and the commands that are made from them by hand.

use std::time::Duration;

use async_graphql::{ID, InputObject};
use ruche_commands::CommandError;
use ruche_commands::governed::{
    CancelTurn, ClaimTurn, ClaimTurnOfAgent, CommitTurn, FailTurn, HeartbeatTurn, HeldTurn, LaneName,
    LeaseRef,
};
use ruche_domain::events::{MessageSent, Role};
use ruche_domain::ids::TurnId;

use super::super::scalars::Long;
use super::super::words::OutcomeCategory;
use super::fields::{count, named, optional_name, parsed};
use crate::limits::CLAIM_WAIT_MAX;

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

/// A turn of a lane and the lease on it.
#[derive(InputObject)]
pub(in crate::graphql) struct HeldTurnInput {
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
}

impl HeldTurnInput {
    pub(super) fn read(self) -> Made<HeldTurn> {
        Ok(HeldTurn {
            lane: self.lane.into(),
            turn: parsed("/held/turnId", self.turn_id.as_str())?,
            lease: self.lease.read()?,
        })
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
    /// The turn of this lane. Either a lane or an agent has to be given.
    lane: Option<LaneInput>,
    /// The turn of this agent, by the client's own id, that waits longest.
    agent: Option<String>,
    /// Only on this channel, where an agent is given.
    channel: Option<String>,
    /// Build of the program that runs the agent.
    brain_build: Option<String>,
    /// Longest wait for a turn that is ready, ms, 0 to 30000; 0 if absent.
    wait_ms: Option<i32>,
}

/// What is claimed.
pub(super) enum Claimed {
    /// The turn of a lane.
    Lane(ClaimTurn),
    /// A turn of an agent.
    Agent(ClaimTurnOfAgent),
}

impl ClaimTurnInput {
    /// What is claimed, and how long that may take.
    pub(super) fn read(self) -> Made<(Claimed, Duration)> {
        let wait = u64::try_from(self.wait_ms.unwrap_or(0)).ok();
        let wait = wait
            .map(Duration::from_millis)
            .filter(|wait| *wait <= CLAIM_WAIT_MAX);
        let most = CLAIM_WAIT_MAX.as_millis();
        let wait = wait.ok_or_else(|| CommandError::input("/waitMs", format!("is 0 to {most}")))?;
        let brain_build = optional_name("/brainBuild", self.brain_build)?;
        let claimed = match (self.lane, self.agent, self.channel) {
            (Some(lane), None, None) => Claimed::Lane(ClaimTurn {
                lane: lane.into(),
                brain_build,
            }),
            (None, Some(agent), channel) => Claimed::Agent(ClaimTurnOfAgent {
                agent,
                channel,
                brain_build,
                lane: None,
            }),
            (Some(_), None, Some(_)) => return Err(CommandError::input("/channel", "is that of the lane")),
            _ => {
                return Err(CommandError::input(
                    "/lane",
                    "either a lane or an agent has to be given",
                ));
            }
        };
        Ok((claimed, wait))
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
    /// `at` is the path of the field that it stands in.
    pub(super) fn read(self, at: &str, role: Role) -> Made<MessageSent> {
        Ok(MessageSent {
            text: Some(self.text),
            external_id: optional_name(&format!("{at}/externalId"), self.external_id)?,
            delivery_target: optional_name(&format!("{at}/deliveryTarget"), self.delivery_target)?,
            ..MessageSent::new(role)
        })
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
        let response = self.response;
        let response = response
            .map(|response| response.read("/response", Role::Assistant))
            .transpose()?;
        let response = response.map(|response| MessageSent { channel, ..response });
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
            error_type: named("/errorType", self.error_type)?,
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
