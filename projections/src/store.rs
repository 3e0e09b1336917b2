//! Port: what projections ask of a store of read models. Adapters implement it.
//!
//! The contract is written for two parties. Implementations MUST: commit the statements of a batch and the checkpoint
//! in one transaction, and only if the checkpoint stands where the worker says it stands and nobody has paused the
//! projection (`StaleCheckpoint` either way); show a query only what is committed; leave everything as it was when they
//! answer `StaleCheckpoint` or `Refused`. Callers MUST NOT: take `Unavailable` for proof that nothing was written (ask for
//! the checkpoint again); run a statement that does not name the ledger.

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};

use crate::change::{SqlValue, Statement};
use crate::search::Wanted;

/// How far a projection has come in one ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectionCheckpoint {
    /// The last record that was applied; absent before the first.
    pub position: Option<Position>,
    /// How many records were applied. Of a ledger that was followed without a gap it is the number of its records up
    /// to `position`.
    pub applied: u64,
    /// Recorded-at of the last record that was applied.
    pub recorded_at: Micros,
}

/// A projection as checkpoints know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProjectionId {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
}

/// One step of a projection: from a checkpoint, with these statements, to the next checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In whose ledger.
    pub ledger: LedgerId,
    /// Which projection.
    pub projection: ProjectionId,
    /// Where its checkpoint has to stand.
    pub from: ProjectionCheckpoint,
    /// Where it stands afterwards.
    pub to: ProjectionCheckpoint,
    /// What is written, in order.
    pub statements: Vec<Statement>,
}

/// What becomes of an event that could not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterState {
    /// The projection stands before it and waits for a person.
    Parked,
    /// A person decided that the projection goes on without it.
    Discarded,
}

/// An event that a projection could not apply, with everything that is needed to apply it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// In whose ledger.
    pub ledger: LedgerId,
    /// Which projection.
    pub projection: String,
    /// Version of the projection that failed.
    pub version: u32,
    /// Which event.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// Its leaf as stored; the payload is found by its position.
    pub leaf: Vec<u8>,
    /// Why it could not be applied.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Recorded-at of the event.
    pub recorded_at: Micros,
    /// What becomes of it.
    pub state: DeadLetterState,
}

/// Where a projection stands in one ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its checkpoint.
    pub checkpoint: ProjectionCheckpoint,
    /// Version of the projection that wrote it; absent before the first step.
    pub version: Option<u32>,
    /// The event before which it is parked.
    pub parked: Option<DeadLetter>,
    /// Events that it goes on without, behind the checkpoint or not.
    pub discarded: Vec<Position>,
    /// Whether a person has paused it.
    pub paused: bool,
    /// The record of the last decision about that, if there was any.
    pub decided: Option<Position>,
}

/// One row of an answer.
pub type Row = Vec<SqlValue>;

/// Why the store of read models could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadStoreError {
    /// The checkpoint stands elsewhere: another worker was first, or this one repeats itself. Or a person has paused the
    /// projection. Nothing was written; read the status again.
    #[error("the checkpoint stands at {found:?}")]
    StaleCheckpoint {
        /// Where it stands.
        found: ProjectionCheckpoint,
    },
    /// A statement cannot be carried out as it is: the event behind it does not fit. Nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The queue is full. Nothing was written or read; try again after the hint.
    #[error("the read models are overloaded; try again in {retry_after_ms} ms")]
    Overloaded {
        /// Milliseconds.
        retry_after_ms: u64,
    },
    /// The store cannot be reached or is closing; whether a step was committed is unknown. Try again later.
    #[error("the read models are not available: {0}")]
    Unavailable(String),
    /// One operation would read more than it may. Nothing is wrong; ask for less.
    #[error("one operation reads at most {limit_bytes} bytes")]
    TooMuch {
        /// Bytes of rows.
        limit_bytes: u64,
    },
    /// Stored bytes contradict each other. Rebuild the read models.
    #[error("the read models are corrupt: {0}")]
    Corrupt(String),
}

impl ReadStoreError {
    /// Whether the same request can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Unavailable(_) | Self::StaleCheckpoint { .. } => true,
            Self::Refused(_) | Self::TooMuch { .. } | Self::Corrupt(_) => false,
        }
    }
}

/// A store of read models.
#[async_trait]
pub trait ReadStore: Send + Sync {
    /// Commits the statements and the checkpoint of a step in one transaction, if the checkpoint stands at `from`.
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError>;

    /// Where a projection stands in a ledger.
    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError>;

    /// Keeps a dead letter, replacing one of the same ledger, projection and position.
    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError>;

    /// Forgets the letter of a parked event, so that it is applied like any other. False if none is parked there.
    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError>;

    /// Has a projection go on without a parked event. False if none is parked there: somebody had it tried again.
    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError>;

    /// Pauses a projection in a ledger, or lets it go on, as the record at `decided` says. False, and nothing changed, where
    /// the same or a later record was carried out before.
    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError>;

    /// Dead letters of a ledger, by projection and position.
    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError>;

    /// Reads rows. `sql` is a query that names the ledger first and keeps to what every engine runs.
    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError>;

    /// The newest texts that have all words, from the last position to the first: kind, id, session and position of each. What
    /// was committed with a step is found once the step is.
    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError>;
}

/// The read models of one ledger as they stood at one moment. While it is held the store keeps what it has replaced since.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// Reads rows, as [`ReadStore::query`] does, as they stood at that moment.
    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError>;
}

/// Who can hold a moment of the read models.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Holds this moment of one ledger, until what is given is dropped.
    async fn snapshot(&self, ledger: LedgerId) -> Result<Box<dyn Snapshot>, ReadStoreError>;
}
