//! What a reviewer sees of a request for approval, and what a reviewer signs. Bytes only: whoever hashes or verifies them
//! is `ruche_ledger` (`dsse`, `approval`).
//!
//! # The life of a vote
//!
//! 1. `approval.requested` is recorded. [`view`] makes the same text of it everywhere: on the server, on the reviewer's
//!    machine, and on an auditor's laptop years later. The record carries its SHA-256, and its version says which view it is.
//! 2. The reviewer reads the text and signs a [`Statement`]: which record, of which ledger, digests of action and view,
//!    and the decision. The bytes are the JSON of [`Statement::to_bytes`], stored as signed and never written again.
//! 3. Whoever judges the vote verifies first, reads with [`Statement::parse`] then, and compares what it says with the
//!    record ([`RequestFacts`]).

mod proof;
mod statement;
mod view;

pub use proof::{KeyPossession, POSSESSION_TYPE};
pub use statement::{Nonce, RequestFacts, STATEMENT_TYPE, Statement, StatementError};
pub use view::{RequestEnvelope, view};

#[cfg(test)]
mod tests;
