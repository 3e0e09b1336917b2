//! Read models on PostgreSQL as their callers see them, on a database of its own for each test.
//!
//! `cargo xtask test` starts a private server and names it in `RUCHE_TEST_POSTGRES`. Without one these tests say that
//! they are skipped, and fail under `CI=true`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
mod bi;
mod contract;
mod engines;
mod nodes;
mod opening;
mod plans;
mod shared;
mod tenants;
