//! Read models on SQLite: `read-<generation>.db` in the data folder, apart from the ledger, so that projections never
//! wait for its write lock.
//!
//! # What this crate promises
//!
//! 1. A step is committed whole with its checkpoint, or not at all, whenever the process dies.
//! 2. Nobody who awaits blocks a thread: one thread writes, a few read, each with its own connection. Queues are
//!    bounded and refuse with `Overloaded`.
//! 3. A rebuild fills the next generation beside the current one, is compared with it row by row, and takes its place
//!    in one atomic step. Queries go on throughout.
//!
//! # The life of a step
//!
//! 1. [`SqliteReadStore::apply`](ruche_projections::store::ReadStore::apply) puts it into the queue of the current
//!    generation's writer.
//! 2. The writer takes what is queued into one transaction. Each step has a savepoint: a stale or refused one is rolled
//!    back alone.
//! 3. After the commit every step is answered. WAL with `synchronous=NORMAL`: a power cut can undo the last commits,
//!    checkpoint and rows together, and the runner applies them again.
//!
//! The file is not trusted to be anybody's record: whoever can write to it can make queries lie until the next rebuild
//! shows it, and can change nothing in the ledger.

mod queue;
mod error;
mod file;
mod write;
mod read;
mod generation;
mod models;
mod snapshot;
mod rebuild;
mod compare;

pub use compare::compare;
pub use error::OpenError;
pub use models::SqliteReadStore;
pub use ruche_projections::rebuild::{Difference, OnDifference, RebuildError, RebuildReport};
