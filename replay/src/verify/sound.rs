//! What keeps a verification going, whatever was recorded.
//!
//! The machine decides on lanes that it made itself. A record that was written past it is a finding where it stands, because
//! no command leads to it; of a lane that has a [`Flaw`](ruche_commands::lane::Flaw) behind it the machine is not asked. Here
//! is the net below that, and what bounds the work: how much there may be in a lane, and how many commands are tried for an
//! append.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ruche_commands::lane::Lane;

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

/// What a judgement comes to; nothing where it stops. That a lane has no flaw is looked at so that none does: this is the
/// net below it, so that one lane does not take the report on all others with it.
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
