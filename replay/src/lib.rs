//! Replay: the ledger as evidence. Reads what was recorded and drives the same code that ran live.
//!
//! # What this crate promises
//!
//! 1. A replay cannot append. It is given a [`ReadOnlyLedger`], which refuses every write by type and by answer.
//! 2. A replay calls no model and no tool: it knows none.
//!
//! Time travel, re-run and what-if stand on this; they come with the governed turns that they re-decide.

mod read_only;

pub use read_only::ReadOnlyLedger;
