//! What an engine could do at best with the same rows: the other side of the ratio.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_ledger::store::Record;

use super::BenchError;

/// Rows to insert barely, in the shape of the appends that they are compared with.
#[derive(Clone)]
pub struct BareRows {
    /// Stored records whose leaves and payloads are inserted again and again. All have their payloads.
    pub records: Arc<Vec<Record>>,
    /// Events of one transaction.
    pub group: u64,
    /// Events of one append; each has one idempotency key.
    pub batch: u64,
    /// Whether the keys are inserted, too.
    pub keys: bool,
    /// Time for each way to insert that the engine tries.
    pub time: Duration,
}

/// What came of bare inserts, in the best of the ways that were tried.
#[derive(Clone, Copy, Debug)]
pub struct BareFigures {
    /// Events that were inserted.
    pub events: u64,
    /// In which time.
    pub took: Duration,
    /// Name of the way that was the best, where the engine tells.
    pub way: Option<&'static str>,
}

/// An engine's own limit. Implementations MUST insert the same leaf and payload bytes into the same tables with the
/// durability of an append, and MUST leave out everything that makes them a ledger: positions, versions, hashes, keys
/// looked up, queue, answers. They MUST NOT touch the tables of any ledger, and remove what they wrote.
///
/// The composition root makes them (`app/limit.rs`): SQLite inserts into a file of its own beside the ledger, PostgreSQL
/// into tables of a schema of its own, by arrays and by binary COPY.
#[async_trait]
pub trait Limit: Send + Sync {
    /// Name of the engine.
    fn engine(&self) -> &'static str;

    /// Settings that decide what an answered append survives, as the engine says them now: name and value.
    ///
    /// # Errors
    /// When the engine does not say them.
    async fn durability(&self) -> Result<Vec<(String, String)>, BenchError>;

    /// Inserts rows barely.
    ///
    /// # Errors
    /// What the engine says.
    async fn bare_inserts(&self, rows: BareRows) -> Result<BareFigures, BenchError>;

    /// Events of a commit, on average over the last ones of these ledgers; `None` where the engine does not keep which
    /// records were committed together.
    ///
    /// # Errors
    /// What the engine says.
    async fn events_per_commit(&self, ledgers: &[LedgerId]) -> Result<Option<f64>, BenchError>;

    /// Flushes of 4 KiB in a second on the disk of the engine; `None` where this process cannot write to it.
    ///
    /// # Errors
    /// When the disk cannot be written to.
    async fn flush_rate(&self, time: Duration) -> Result<Option<f64>, BenchError>;

    /// Durable commits of next to nothing in a second, of one connection and one behind the other; `None` where
    /// `flush_rate` says as much.
    ///
    /// # Errors
    /// What the engine says.
    async fn commit_rate(&self, time: Duration) -> Result<Option<f64>, BenchError>;

    /// Name of the database, if the engine is one.
    fn database(&self) -> Option<String>;

    /// Type of the file system below the engine; `None` where this process cannot see it.
    fn file_system(&self) -> Option<String>;
}
