//! Tests of the machine: a story for each row of the table, and random courses against the invariants.

mod document;
mod flaws;
mod invariants;
mod properties;
mod rows_of_approvals;
mod rows_of_attempts;
mod rows_of_ends;
mod rows_of_messages;
mod rows_of_steps;
mod rows_of_undoing;
mod world;
