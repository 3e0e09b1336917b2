//! Read models on PostgreSQL: any number of nodes keep and read the same ones.
//!
//! # What this crate promises
//!
//! 1. A step is committed whole with its checkpoint, and only from where its worker says the checkpoint stands, or not
//!    at all. So every event is in a read model exactly once, whatever nodes do at the same time.
//! 2. The statements of projections run as they are written, and give the same rows as on SQLite.
//! 3. Every transaction sees the rows of one ledger: the database keeps it to that, as a role that owns nothing, and a
//!    session that names no ledger sees no row.
//! 4. Nothing outlives a transaction: no prepared statement, no setting, no lock. So a pooler in transaction mode may stand
//!    in between.
//! 5. A rebuild fills the next generation beside the current one, is compared with it row by row, and takes its place in
//!    one transaction, while other nodes read and write (`rebuild`).
//! 6. Every wait is bounded: for a turn (`gate`), for a connection, for a lock, for a statement, for an answer.
//!
//! # The life of a step
//!
//! 1. [`PostgresReadStore::apply`](ruche_projections::store::ReadStore::apply) waits for its turn and borrows a
//!    connection. If we die here nothing was sent.
//! 2. **First round trip.** The transaction begins; it shares the lock of steps, with which no generation takes over
//!    until it ends; it reads which generation is current, takes the role and names its ledger. Then it moves the
//!    checkpoint, only from where the worker says it stands. Who moves the same checkpoint waits on its row. If it stands
//!    elsewhere: `StaleCheckpoint`, and nothing was written.
//! 3. **Second round trip.** All statements, those of one rank and one text as one over arrays (`many`), one behind the
//!    other without waiting for answers, and the commit behind them. If one is refused the server takes the commit for a
//!    rollback: `Refused`. If we die or the connection breaks before the commit has reached the server, it undoes
//!    everything. A text that comes many times for the first time in this process costs a round trip more: the server
//!    tells the types of its values.
//! 4. The answer to the commit. If it gets lost the answer is `Unavailable`, and the checkpoint tells what happened: it
//!    moved with the rows or neither did. The commit does not wait for the disk. A crash of the server can undo the last
//!    ones, rows and checkpoint together, and the runner applies them again.
//!
//! A query is one round trip: the transaction begins as above without a lock, the query, the commit. A generation that
//! is dropped under it makes it begin again. Who stops waiting for a query or step closes its connection with that, so no
//! transaction is left open.
//!
//! # Where things are
//!
//! `ruche_read.current` names the current generation, `ruche_read.migration` the version of its tables, which are in the
//! schema `ruche_read_<generation>`. `ruche_bi` has views over them for the tools of others (`bi`). Whoever can write to
//! the tables can make queries lie until the next rebuild shows it, and can change nothing in the ledger.

mod error;
mod gate;
mod value;
mod session;
mod bi;
mod schema;
mod many;
mod step;
mod read;
mod models;
mod snapshot;
mod compare;
mod rebuild;

pub use bi::{BiError, BiLogin, grant, logins, revoke};
pub use error::OpenError;
pub use models::PostgresReadStore;
pub use schema::migrate;
