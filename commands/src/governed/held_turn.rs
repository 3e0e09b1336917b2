//! That a worker holds a turn, for what it writes about the turn beside the commands of lanes.

use ruche_domain::ids::{CallId, SessionId, TurnId};
use serde::Serialize;

use super::{GovernedState, LaneName, LeaseRef};
use crate::command::Load;
use crate::context::Ground;
use crate::error::CommandError;

/// A turn that a worker holds, for what it writes about it beside the commands of lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldTurn {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
}

impl HeldTurn {
    /// The lane. What is written holds only while the lane stays as it was seen.
    pub(crate) fn load(&self, ground: &Ground<'_>) -> Result<Load, CommandError> {
        self.lane.load(ground)
    }

    /// Whether a call is one of the turn: one that it proposed, or one that it has from a turn which went on without the
    /// decision of people.
    pub(crate) fn has_call(&self, state: &GovernedState, call: CallId) -> bool {
        let known = state.lane.calls.get(&call);
        known.is_some_and(|known| known.turn == self.turn || state.proposed_in(call) == Some(self.turn))
    }

    /// Whether the worker holds the turn, and the turn is of the session that is meant.
    pub(crate) fn require(
        &self,
        state: &GovernedState,
        session: Option<SessionId>,
        ground: &Ground<'_>,
    ) -> Result<(), CommandError> {
        state.require_readable()?;
        state.require_lease(&state.lane()?, &self.lane, self.turn, &self.lease, ground)?;
        let of_turn = state.owners.get(&self.turn).map(|(session, _)| *session);
        match session {
            Some(_) if session != of_turn => Err(CommandError::input(
                "/target",
                "the turn that you hold is of another session",
            )),
            _ => Ok(()),
        }
    }
}
