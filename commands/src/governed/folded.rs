//! The lane as a command is decided on it, and the lanes on which nothing is: what the machine needs of them is gone, or they
//! stand as no command leaves a lane. Neither is for the client to mend, so the refusal is `Internal`, and says lane and record
//! to the operator.

use std::sync::Arc;

use ruche_domain::numbers::Position;

use super::GovernedState;
use crate::error::CommandError;
use crate::lane::{self, Flaw, Lane, LaneEvent};

impl GovernedState {
    /// The lane with its approvals: what happened, in the order in which it stands in the ledger.
    ///
    /// # Errors
    /// `Internal` where it stands as no command leaves a lane.
    pub(super) fn lane(&self) -> Result<Lane, CommandError> {
        let lane = if self.past.iter().all(|(_, event)| event.approval.is_none()) {
            self.lane.clone()
        } else {
            let past = self.in_order().into_iter();
            past.fold(Lane::default(), |lane, (_, event)| lane::evolve(lane, event))
        };
        match lane.flaw() {
            None => Ok(lane),
            Some(flaw) => Err(self.flawed(flaw)),
        }
    }

    fn in_order(&self) -> Vec<&(Position, Arc<LaneEvent>)> {
        let mut past: Vec<&(Position, Arc<LaneEvent>)> = self.past.iter().collect();
        past.sort_by_key(|(position, _)| *position);
        past
    }

    /// The refusal of a lane with a flaw, with the first record behind which it was there.
    fn flawed(&self, flaw: Flaw) -> CommandError {
        let mut lane = Lane::default();
        let is_it = |(_, event): &&(Position, Arc<LaneEvent>)| {
            lane.apply(event);
            flaw.is_about(event) && lane.flaw() == Some(flaw)
        };
        let past = self.in_order();
        let since = past.iter().copied().find(is_it).or(past.last().copied());
        let since = since.map_or(Position::START, |(position, _)| *position);
        self.undecidable(format!("it stands as no command leaves it since {since}: {flaw}"))
    }

    /// The refusal of a lane that cannot be decided on. Lane and reason are for the operator's log.
    fn undecidable(&self, reason: String) -> CommandError {
        let lane = self
            .stream
            .map_or_else(|| "a lane".to_owned(), |lane| lane.to_string());
        CommandError::Internal(format!("{lane} cannot be decided on: {reason}").into())
    }

    pub(super) fn require_readable(&self) -> Result<(), CommandError> {
        self.unreadable.as_ref().map_or(Ok(()), |position| {
            Err(self.undecidable(format!("the payload of {position} is gone")))
        })
    }
}
