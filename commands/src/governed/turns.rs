//! What a worker does with a turn of a lane that it names, and what others may do to it.

use ruche_domain::events::{MessageSent, OutcomeCategory, TurnCommitted};
use ruche_domain::ids::{MessageId, TurnId};
use serde::Serialize;

use super::{Asked, GovernedState, LaneName, LeaseRef, held, lane_commands};
use crate::command::{Command, Decision, Load, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{self, Intent, SentMessage};

lane_commands! {
    /// A worker takes the turn of a lane that is ready. Timers that are due fire first.
    ClaimTurn {
        /// Build of the program that runs the agent.
        brain_build: Option<String>,
    } (command, ground) => {
        let lane = command.lane.id(ground.references);
        let lease = ground.references.id("lease", &[lane.as_bytes(), ground.idempotency_key.as_bytes()]);
        Asked {
            after_timers: true,
            ..Asked::from(Intent::ClaimTurn(lane::ClaimTurn {
                lease_id: lease.to_string(),
                brain_build: command.brain_build.clone(),
            }))
        }
    };
    /// The worker is done and the answer stands.
    CommitTurn {
        /// Which turn.
        turn: TurnId,
        /// The lease on it.
        lease: LeaseRef,
        /// How it came out.
        outcome: Option<OutcomeCategory>,
        /// The answer; a turn may end without one.
        response: Option<MessageSent>,
    } (command, ground) => {
        let parts: [&[u8]; 2] = [command.turn.as_bytes(), b"response"];
        let message_id = MessageId(ground.references.id("message-of-turn", &parts));
        let response = command.response.clone().map(|message| SentMessage { message_id, message });
        let committed = TurnCommitted {
            outcome_category: command.outcome,
            ..TurnCommitted::default()
        };
        let commit = lane::CommitTurn { committed, response };
        Intent::CommitTurn(held(command.turn, &command.lease, commit)).into()
    };
    /// The worker cannot go on.
    FailTurn {
        /// Which turn.
        turn: TurnId,
        /// The lease on it.
        lease: LeaseRef,
        /// What went wrong: a stable word of the client.
        error_type: String,
        /// What went wrong, in words.
        error: Option<String>,
        /// Whether trying again may help.
        retryable: bool,
    } (command, _ground) => {
        let failed = lane::FailTurn {
            error_type: command.error_type.clone(),
            error: command.error.clone(),
            retryable: command.retryable,
        };
        Intent::FailTurn(held(command.turn, &command.lease, failed)).into()
    };
    /// Somebody cancels a turn.
    CancelTurn {
        /// Which turn.
        turn: TurnId,
        /// Why.
        reason: Option<String>,
    } (command, _ground) => Intent::CancelTurn(lane::CancelTurn {
        turn: command.turn,
        by: None,
        reason: command.reason.clone(),
    }).into();
}
