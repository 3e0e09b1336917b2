//! Replay: the ledger as evidence. Reads what was recorded and drives the same code that ran live.
//!
//! # What this crate promises
//!
//! 1. A replay cannot append. It is given a [`ReadOnlyLedger`], which refuses every write by type and by answer.
//! 2. A replay calls no model and no tool: it knows none.
//! 3. It believes records only: no read model is asked.
//!
//! # The levels
//!
//! - R0, [`StateAt`]: what a lane, a turn, an approval, a session, a tool or a configuration was at any position, by the
//!   folds that decided live.
//! - R1, [`verify`]: a range held against the rules: bytes, chain, signatures, votes, keys, and every decision of a lane
//!   decided again.
//!
//! What-if comes with policies; re-run of agents with what they need to be run again.

mod error;
mod budget;
mod read_only;
mod read;
mod recorded;
mod state;
pub mod verify;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use error::ReplayError;
pub use read::position_at;
pub use read_only::ReadOnlyLedger;
pub use state::{
    ApprovalView, CallView, ConfigurationView, LaneApproval, LaneView, LeaseView, ScenarioOfSession,
    SessionBegun, SessionView, State, StateAt, StepView, ToolView, TurnOfSession, TurnTold, TurnView, View,
    VoteView, What,
};
