//! `ruche bench`: a load generator, in process on an engine or over HTTP on a server.
//!
//! # What it promises
//!
//! 1. Throughput is what was answered as durable, and nothing else: a refused append, a conflict, an unknown outcome are
//!    counted apart.
//! 2. With a rate the loop is open: appends are due by the clock, and latency counts from when an append was due. A
//!    generator that waits for a slow answer does not hide that the next ones were late (coordinated omission).
//! 3. Beside the result stands the limit of the engine on the same rows in the same run, before and after.
//! 4. It appends to ledgers of its own: a ledger cannot be cleaned up.
//!
//! # The life of a run
//!
//! 1. [`append`] makes ledgers of its own and writes to them for a moment, to have rows and the size of commits; or
//!    [`api`] connects to a server and makes one append, so that what is wrong is told at once; or [`fabric`] opens
//!    lanes on a server and has agents work on them; or [`read`] makes a data set and asks it. Where it is asked for,
//!    [`read_lag`] looks at the read models all along.
//! 2. [`limit`] inserts the same rows barely, and flushes the disk.
//! 3. [`drive`] runs the callers: warm-up, then what is measured. [`pace`] says when an append begins, [`tally`] and
//!    [`latency`] hold what came of it; each caller has its own, and they are merged at the end.
//! 4. The limit again; then the [`report`].
//!
//! A signal ends the run at any of these; what was measured is told, marked as cut short.

pub mod report;
pub mod append;
mod engine_caller;
pub mod api;
pub mod read_lag;
pub mod fabric;
pub mod read;
pub(crate) mod connection;
pub mod drive;
pub mod pace;
pub mod tally;
pub mod latency;
pub mod rows;
pub mod limit;
pub mod disk;

/// Why a bench could not be run; says what to try.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(pub String);

impl BenchError {
    /// With everything that the error says of its causes.
    pub fn because(what: &str, error: &dyn std::error::Error) -> Self {
        Self(format!("{what}: {}", crate::error::chain(error)))
    }
}
