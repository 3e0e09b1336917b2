//! What the machine goes by without looking: in a lane that it made, a call has its turn, a request has its call, a turn
//! that winds down has an end. A record that was written past it, well formed and hashed, may say otherwise, and so may
//! one that is missing. Whoever asks the machine looks first whether the lane has a [`Flaw`]: on one that has, nothing is
//! decided.

use std::collections::HashSet;

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApprovalId, CallId, TurnId};

use super::event::LaneEvent;
use super::state::{Lane, Turn, TurnState};

/// How a lane stands as no command leaves one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// What happens to the turn would happen to one of two.
    #[error("turn {0} was opened twice")]
    OpenedTwice(TurnId),
    /// A turn that nobody opened waits for the lane.
    #[error("turn {0} waits for the lane, and nobody opened it")]
    NobodyWaits(TurnId),
    /// A turn drains or undoes what it did, and has nothing to end as.
    #[error("turn {0} winds down, and nothing says how it is to end")]
    NoEnd(TurnId),
    /// There is no number for another attempt.
    #[error("no attempt can follow the last one of turn {0}")]
    NoAttempt(TurnId),
    /// There is no number for another lease.
    #[error("no lease can follow the last one")]
    NoLease,
    /// The turn that may run a call is not there.
    #[error("call {0} is of a turn that nobody opened")]
    CallOfNoTurn(CallId),
    /// What an approval is about, or who asked for it, is not there.
    #[error("approval {0} is of a call that nobody proposed, or of a turn that nobody opened")]
    RequestOfNothing(ApprovalId),
}

impl Flaw {
    /// Whether an event may have made it.
    pub fn is_about(self, event: &LaneEvent) -> bool {
        match self {
            Self::OpenedTwice(turn) | Self::NobodyWaits(turn) | Self::NoEnd(turn) | Self::NoAttempt(turn) => {
                event.turn == turn
            }
            Self::NoLease => matches!(event.fact, AgentEvent::TurnStarted(_)),
            Self::CallOfNoTurn(call) => event.call == Some(call),
            Self::RequestOfNothing(approval) => event.approval == Some(approval),
        }
    }
}

impl Lane {
    /// What keeps the machine from deciding on the lane; nothing in any lane that it made. Each thing is looked at once.
    pub fn flaw(&self) -> Option<Flaw> {
        let mut turns = HashSet::with_capacity(self.turns.len());
        if let Some(turn) = self.turns.iter().find(|turn| !turns.insert(turn.id)) {
            return Some(Flaw::OpenedTwice(turn.id));
        }
        let nobody = self.queue.iter().find(|turn| !turns.contains(turn));
        let nobody = nobody.map(|turn| Flaw::NobodyWaits(*turn));
        let no_call = self.calls.values().find(|call| !turns.contains(&call.turn));
        let no_call = no_call.map(|call| Flaw::CallOfNoTurn(call.id));
        let no_request = self
            .approvals
            .values()
            .find(|approval| !turns.contains(&approval.turn) || !self.calls.contains_key(&approval.call));
        let no_request = no_request.map(|approval| Flaw::RequestOfNothing(approval.id));
        nobody
            .or_else(|| self.turns.iter().find_map(flaw_of))
            .or_else(|| (self.lease_epoch == u64::MAX).then_some(Flaw::NoLease))
            .or(no_call)
            .or(no_request)
    }
}

fn flaw_of(turn: &Turn) -> Option<Flaw> {
    let winds_down = matches!(turn.state, TurnState::Cancelling | TurnState::Compensating);
    if winds_down && turn.pending_outcome.is_none() {
        return Some(Flaw::NoEnd(turn.id));
    }
    (turn.attempt == u32::MAX).then_some(Flaw::NoAttempt(turn.id))
}
