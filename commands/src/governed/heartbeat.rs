//! A worker says that it is still there.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::TurnId;
use ruche_domain::limits::LEASE_FRESH_DIVISOR;
use ruche_domain::numbers::Micros;
use serde::Serialize;

use super::{Asked, GovernedState, LaneName, LeaseRef, held};
use crate::command::{Command, Decision, Load, PastEvent, RecordedEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{Intent, Turn};

/// The worker is still there; its lease is renewed. One that was taken or renewed a moment ago stands as it is: the answer is
/// the record that gave it, with the time at which it lapses, and the lane gets no longer by workers that hurry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeartbeatTurn {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
}

/// What a heartbeat is decided on.
#[derive(Clone, Debug, Default)]
pub struct HeartbeatState {
    governed: GovernedState,
    /// The record that says when the lease on the turn lapses.
    leased: Option<RecordedEvent>,
}

impl Command for HeartbeatTurn {
    type State = HeartbeatState;
    const NAME: &'static str = "HeartbeatTurn";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &HeartbeatState, ground: &Ground<'_>) -> Vec<Load> {
        state.governed.more_loads(ground)
    }

    fn may_hear_again(&self, state: &HeartbeatState, ground: &Ground<'_>) -> bool {
        // Who lost the lease must not be told that it holds.
        state.governed.holds(&self.lane, self.turn, &self.lease, ground)
    }

    fn evolve(&self, state: &mut HeartbeatState, event: &PastEvent) {
        let leases = matches!(
            event.event,
            Some(AgentEvent::TurnStarted(_) | AgentEvent::InfraLeaseRenewed(_))
        );
        if leases && event.recorded.event.turn == Some(self.turn) {
            state.leased = Some(event.recorded.clone());
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &HeartbeatState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let governed = &state.governed;
        governed.require_readable()?;
        let lane = governed.lane()?;
        governed.require_lease(&lane, &self.lane, self.turn, &self.lease, ground)?;
        let is_fresh = lane
            .turn(self.turn)
            .is_some_and(|turn| is_fresh(turn, ground.now));
        if let Some(leased) = state.leased.as_ref().filter(|_| is_fresh) {
            return Ok(Decision::AlreadySo(vec![leased.clone()]));
        }
        let beat = Asked::from(Intent::HeartbeatTurn(held(self.turn, &self.lease, ())));
        governed.decide(&self.lane, ground, &beat)
    }
}

/// Whether the lease on a turn was given so short a time ago that it is not worth a record to make it longer. A worker that
/// sends heartbeats at any pace has half of its lease left when the next one is recorded, or had no more before.
fn is_fresh(turn: &Turn, now: Micros) -> bool {
    let whole = turn.settings.lease_us;
    let left = turn
        .lease
        .as_ref()
        .map_or(0, |lease| lease.expires_at.0.saturating_sub(now.0));
    left > whole - whole / LEASE_FRESH_DIVISOR
}
