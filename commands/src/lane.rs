//! The conversation lane: which turn may run, and what may still happen to it.
//!
//! A lane is (tenant, agent, interlocutor, channel, thread); a turn of it is one or more messages that lead to at most
//! one answer. Everything here is pure: `decide(lane, command)` says which events follow or why none do, and
//! `evolve(lane, event)` says what the lane is then. Time and new ids come with the command. The table with all rows is
//! [`TRANSITIONS`]; `docs/turns.md` is made from it. Where a row is decided, the code names it by `draft.row(…)`.
//!
//! # The life of a turn
//!
//! 1. A message opens it (`messages`); others join until the window closes, then it holds the lane or queues.
//! 2. A worker claims it under a lease (`attempts`), asks for calls (`approvals`), starts them and says how they came
//!    out (`effects`). What it did in steps no later attempt does again (`steps`).
//! 3. It ends: committed (`attempts`), or early (`winding`): drained, undone in reverse order, over.
//! 4. The end frees the lane for the next turn in the same append (`draft`).
//!
//! What happens by itself (`timers`) is a command too. This module does not know streams, stores or policy.
//!
//! A decision is made on a lane without a [`Flaw`] (`flaw`): whatever the machine looks up in such a one is there.

mod settings;
mod state;
mod event;
mod intent;
mod rejection;
mod transitions;
mod evolve;
mod flaw;
mod draft;
mod messages;
mod attempts;
mod approvals;
mod effects;
mod winding;
mod steps;
mod timers;
#[cfg(test)]
mod tests;

pub use effects::{obstacle, refused_start};
pub use event::LaneEvent;
pub use evolve::evolve;
pub use flaw::Flaw;
pub use intent::*;
pub use rejection::{Obstacle, Rejection};
pub use settings::{ChannelSettings, OnDeny};
pub use state::{
    Approval, ApprovalState, Awaited, Binding, Call, CommitPoint, Gate, Lane, Lease, PendingOutcome, Turn,
    TurnState, TurnStep,
};
pub use timers::Timer;
pub use transitions::{TRANSITIONS, Transition, legal};

use draft::Draft;

/// A decision, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The events, for one append.
    pub events: Vec<LaneEvent>,
    /// Rows of the table that were applied, in order.
    pub rows: Vec<u8>,
    /// The lane as it is then.
    pub lane: Lane,
}

/// Decides a command: the events that follow, for one append.
///
/// # Errors
/// The refusal; then nothing follows.
///
/// # Panics
/// On a lane with a [`Flaw`], maybe.
pub fn decide(lane: &Lane, command: &LaneCommand) -> Result<Vec<LaneEvent>, Rejection> {
    explain(lane, command).map(|decided| decided.events)
}

/// Decides a command and says which rows of the table it took.
///
/// # Errors
/// As [`decide`].
///
/// # Panics
/// As [`decide`].
pub fn explain(lane: &Lane, command: &LaneCommand) -> Result<Decided, Rejection> {
    let mut draft = Draft::new(lane.clone(), command);
    match &command.intent {
        Intent::SubmitMessage(submit) => messages::submit(&mut draft, submit),
        Intent::FlushTurn { turn } => messages::flush(&mut draft, *turn),
        Intent::FireTimer { new_turn } => timers::fire(&mut draft, *new_turn),
        Intent::CancelTurn(cancel) => winding::cancel(&mut draft, cancel),
        Intent::ClaimTurn(claim) => attempts::claim(&mut draft, claim),
        Intent::HeartbeatTurn(held) => attempts::heartbeat(&mut draft, held),
        Intent::ProposeAction(held) => approvals::propose(&mut draft, held),
        Intent::StartEffect(held) => effects::start(&mut draft, held),
        Intent::ReportEffect(held) => effects::report(&mut draft, held),
        Intent::ResolveOutcome(resolve) => effects::resolve_outcome(&mut draft, resolve),
        Intent::ResolveApproval(resolve) => approvals::resolve(&mut draft, resolve),
        Intent::StartCompensation(start) => winding::start_compensation(&mut draft, start),
        Intent::ReportCompensation(report) => winding::compensation(&mut draft, report),
        Intent::StartStep(held) => steps::start(&mut draft, held),
        Intent::CompleteStep(held) => steps::complete(&mut draft, held),
        Intent::SendMessage(held) => attempts::send(&mut draft, held),
        Intent::CommitTurn(held) => attempts::commit(&mut draft, held),
        Intent::FailTurn(held) => attempts::fail_attempt(&mut draft, held),
    }?;
    Ok(Decided {
        events: draft.events,
        rows: draft.rows,
        lane: draft.lane,
    })
}
