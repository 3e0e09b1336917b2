//! Timers of a lane, fired for nobody's sake: whoever watches the time asks, and the lane's own stream says what is due.
//!
//! Any number of nodes may ask at once. The append names the version of the stream that it was decided on, so of two that
//! fire the same timer one is decided again and finds nothing due; that is `NothingDue` and no fault.

use ruche_domain::ids::{LaneId, TurnId};
use serde::Serialize;

use super::{GovernedState, lane_stream, new_event, refusal};
use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{self, Intent, Lane, LaneEvent, Rejection};

/// Timers that fire in one append. What is left fires in the next.
const TIMERS_PER_APPEND_MAX: usize = 64;

/// What is due in a lane happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FireTimers {
    /// Which lane.
    pub lane: LaneId,
}

impl Command for FireTimers {
    type State = GovernedState;
    const NAME: &'static str = "FireTimers";

    fn loads(&self, _ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![Load::whole(lane_stream(self.lane)).going_forward()])
    }

    fn more_loads(&self, state: &GovernedState, ground: &Ground<'_>) -> Vec<Load> {
        state.more_loads(ground)
    }

    fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &GovernedState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.require_readable()?;
        let channel = state.channel.as_deref().unwrap_or_default();
        let (left, fired) = state.fire_due(state.lane()?, self.lane, channel, ground);
        if fired.is_empty() {
            let next = left.next_timer().map(|(at, _)| at);
            return Err(refusal(Rejection::NothingDue { next }, ground.now));
        }
        let (stream, mut owners) = (lane_stream(self.lane), state.owners.clone());
        let events = fired.into_iter().map(|event| NewEvent {
            by_itself: true,
            ..new_event(stream, &mut owners, None, event)
        });
        Ok(Decision::Append(events.collect()))
    }
}

impl GovernedState {
    /// What is due in the lane by now, one after the other, and the lane as it is then.
    pub(super) fn fire_due(
        &self,
        mut lane: Lane,
        id: LaneId,
        channel: &str,
        ground: &Ground<'_>,
    ) -> (Lane, Vec<LaneEvent>) {
        let mut events = Vec::new();
        for _ in 0..TIMERS_PER_APPEND_MAX {
            let number = (lane.turns.len() as u64).to_be_bytes();
            let new_turn = ground.references.id("turn-of-timer", &[id.as_bytes(), &number]);
            let intent = Intent::FireTimer {
                new_turn: TurnId::governed(new_turn),
            };
            let command = self.lane_command(channel, ground, intent);
            let Ok(fired) = lane::explain(&lane, &command) else {
                break; // Nothing is due any more.
            };
            lane = fired.lane;
            events.extend(fired.events);
        }
        (lane, events)
    }
}
