//! The ledger on SQLite: the engine of one node, with nothing to set up.
//!
//! # What this crate promises
//!
//! 1. What is answered `Appended` is on the disk: write-ahead log with `synchronous=FULL`, answered after the flush.
//! 2. One process has the file ([`DataLock`]); in it, one thread writes. Nobody else can move a head.
//! 3. Constraints of the schema alone make a fork impossible (`migrations/sqlite/ledger`). That no idempotency key stands
//!    for two appends is checked by the program (`docs/decisions/0005`).
//! 4. No async caller ever blocks on a disk or a full queue; a full queue answers `Overloaded`.
//! 5. A file that contradicts itself is refused at the start and never written to.
//! 6. A writer that breaks leaves nobody waiting and is followed by another (`keep`).
//! 7. No runtime is needed: answers come through channels, work is done by this crate's own threads.
//!
//! # The life of an append
//!
//! 1. The caller's task puts the request into the `queue`, or is told at once that it is full.
//! 2. The `writer` takes everything that came while it flushed the batch before: many callers, many ledgers.
//! 3. `BEGIN IMMEDIATE`. For each ledger the sequencer of `ruche-ledger` decides the requests in order, on the head and
//!    the streams that the writer keeps in memory (`cache`, `known`) or finds by an index search (`lookup`).
//! 4. The records, payloads and new streams are inserted, many rows by one statement (`write`, `insert`), and the head
//!    moves from exactly the size it was built on. Keys are stored in their leaves; their runs follow (`recent`, `runs`).
//! 5. `COMMIT` flushes the log once for all of them. Now they are durable; until here a crash undoes all of it.
//! 6. Waiting readers are woken, then callers are answered (`settle`).
//! 7. Later the log is copied into the file (`checkpoint`), beside the appends.
//!
//! Reads run on threads of their own with read-only connections (`readers`, `read`). Each sees one state of the file,
//! and gives out no record that fails its own check.

mod error;
mod lock;
mod options;
mod store;
mod schema;
mod rowid;
mod runs;
mod queue;
mod keep;
mod writer;
mod known;
mod recent;
mod cache;
mod write;
mod insert;
mod settle;
mod lookup;
mod readers;
mod archive;
mod read;
mod checkpoint;
mod check;
mod backup;
mod bare;

pub use backup::{backup_folder, check_backup};
pub use bare::{BareFigures, BareInserts, Until};
pub use check::{Checked, check_folder};
pub use error::OpenError;
pub use lock::DataLock;
pub use options::{SqliteOptions, Synchronous};
pub use store::{Durability, LEDGER_FILE, SqliteStore};
