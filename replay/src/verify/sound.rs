//! What the machine of lanes goes by without looking, and what is looked at before it is asked.
//!
//! The machine decides live on lanes that it made itself. In those a call has its turn, a request has its call, a turn that
//! winds down has an end. A record that was written past it may say otherwise, well formed and hashed. It is a finding where
//! it stands, because no command leads to it; of what follows in its lane the machine knows nothing.
//!
//! It also bounds the work: how much there may be in a lane, and how many commands are tried for an append.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruche_commands::lane::{Lane, TurnState};
use ruche_domain::ids::TurnId;

/// Turns, calls and requests of a lane that are not over and that it is still decided on with. Each decision copies them.
/// More than a channel may be set to let wait, with the calls of the turn that holds the lane and their requests.
pub(super) const AT_HAND_MAX: usize = 12_288;

/// Looks at events and tries of commands that an append takes at most, for each of its events. A command follows from one of
/// the events that it leads to, so an event is looked at once and gives at most two commands under two settings, which makes
/// five. A command that is found comes behind a look at the timers under both settings, which makes three for each.
pub(super) const TRIES_PER_EVENT_MAX: usize = 8;

/// How much of a lane is at hand.
pub(super) fn at_hand(lane: &Lane) -> usize {
    lane.turns.len() + lane.calls.len() + lane.approvals.len()
}

/// Whether the machine can be asked about a lane: whatever it looks up without asking is there, and what it counts up can be
/// counted up.
pub(super) fn is_sound(lane: &Lane) -> bool {
    let turns: HashSet<TurnId> = lane.turns.iter().map(|turn| turn.id).collect();
    let winds_down = |state| matches!(state, TurnState::Cancelling | TurnState::Compensating);
    lane.lease_epoch < u64::MAX
        && lane.queue.iter().all(|turn| turns.contains(turn))
        && lane.turns.iter().all(|turn| {
            turn.attempt < u32::MAX && (!winds_down(turn.state) || turn.pending_outcome.is_some())
        })
        && lane.calls.values().all(|call| turns.contains(&call.turn))
        && lane
            .approvals
            .values()
            .all(|approval| turns.contains(&approval.turn) && lane.calls.contains_key(&approval.call))
}

/// What a judgement comes to; nothing where it stops. [`is_sound`] is there so that none does: this is the net below it, so
/// that one lane does not take the report on all others with it.
pub(super) fn caught<T>(judgement: impl FnOnce() -> T) -> Option<T> {
    // What it looked at is not changed by it, so there is nothing half done to go on with.
    catch_unwind(AssertUnwindSafe(judgement)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_that_stops_is_caught() {
        let nothing: Vec<u8> = Vec::new();
        assert_eq!(caught(|| nothing[0]), None);
        assert_eq!(caught(|| 7), Some(7));
    }
}
