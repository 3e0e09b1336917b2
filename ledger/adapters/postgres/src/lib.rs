//! The ledger on PostgreSQL: any number of nodes append to the same ledgers.
//!
//! # What this crate promises
//!
//! 1. What is answered `Appended` was committed with `synchronous_commit` on; a server that does not flush is refused.
//! 2. The head row of a ledger is the only lock. Forks are impossible by that lock, and by constraints besides.
//! 3. No async caller waits on a full queue; a full queue answers `Overloaded`.
//! 4. A commit whose fate is not known is answered `Unknown`, or found by the hash of the head and confirmed by a fence:
//!    a commit that began after the head was read. Nothing is guessed, and a commit that comes with a warning is not believed.
//!    Nor is anybody told of a conflict or a repeat that a failover could take back.
//! 5. What is read is handed out once a failover cannot take it back (`durable`).
//! 6. Every wait of an append for the database ends (`fence`). A writer that breaks leaves nobody waiting, and is followed
//!    by another (`writer`).
//! 7. A session that appends can read no record, and one that reads sees one ledger and writes nothing (`0002_roles.sql`).
//!
//! # The life of an append
//!
//! 1. The caller's task puts the request into the `queue` of the writer that its ledger belongs to: the one that had the
//!    least to do when it was first appended to. Ledgers take turns there, and one that floods it leaves room for others.
//! 2. The `writer` takes everything that came while its last commit was flushed: many callers, many ledgers.
//! 3. It reads what its `cache` does not have (heads first, then stream versions) and lets the sequencer of `ruche-ledger`
//!    decide. No lock is held. Two things are guessed, because they nearly always hold and nothing has to be asked then:
//!    that a key is new, and that a stream is absent which is expected to be.
//! 4. **One statement** moves each head only from where the cache says it is, and inserts only for the ledgers whose
//!    head moved (`append`). One round trip, one flush. A ledger of which a guess is wrong does not move. A head that was
//!    moved by another node since it was read makes its ledger lose, and with it everything that was decided on it: since
//!    every write to a ledger moves its head, a head that did not move proves that streams and keys did not change either.
//! 5. Ledgers that lost, and for a while those that keep losing, are decided under the lock of their head rows, with
//!    everything looked up. Of those that were guessed wrongly nothing is guessed for a while (`contention`).
//! 6. Readers are woken, then callers are answered; last of all those whose requests were refused, or repeat earlier
//!    appends, while nothing was written: a fence is waited for first.
//!
//! # The life of a read
//!
//! 1. One transaction goes out as a whole: the role, the ledger, the query (`reading`). A pooler may stand between.
//! 2. What comes back is decoded, checked and held until it is durable: nearly always it is known to be. Else a fence on a
//!    direct connection is waited for, together with all others who wait for one.
//! 3. Who has read everything waits. Other nodes send hints beside their appends (`hints`), and heads are looked at for
//!    those who wait (`ends`): a hint that is lost costs a second.
//!
//! # Why it is right
//!
//! READ COMMITTED is enough: what is compared is compared on the locked row, and what is read under the lock is read by
//! statements that begin after the lock was taken. Head rows are locked in the order of their ids, so nodes never wait
//! for each other in a circle. A crash of this process at any line leaves whole appends or none; a node that is frozen
//! and wakes up finds that its heads have moved.

mod error;
mod options;
mod tls;
mod url;
mod warnings;
mod session;
mod served;
mod fence;
mod lines;
mod schema;
mod queue;
mod cache;
mod lookup;
mod contention;
mod append;
mod writer;
mod epochs;
mod durable;
mod lend;
mod reading;
mod read;
mod archive;
mod trees;
mod ends;
mod hints;
mod store;
mod server;
mod bare;
mod leases;
mod halts;
mod node_lock;
mod tree_heads;
mod backup;
mod backup_file;
mod backup_rows;
mod backup_check;
mod backup_load;

pub use backup::{BackupError, Checked};
pub use backup_load::{Loaded, PendingRestore};
pub use bare::{BareFigures, BareInserts, Until, Way};
pub use error::OpenError;
pub use halts::PostgresHalts;
pub use leases::PostgresLeases;
pub use node_lock::{NodeKind, NodeLock};
pub use options::PostgresOptions;
pub use server::Server;
pub use session::Database;
pub use store::PostgresStore;
pub use tree_heads::{CONNECTIONS as TREE_HEAD_CONNECTIONS, PostgresTreeHeads};
