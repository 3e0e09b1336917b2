//! A lock on a database for as long as a process lives: whoever keeps its tree heads in files is alone, those who share
//! a tree head store are many.
//!
//! It only keeps people from a setting that cannot work. What keeps promises is the copy of each tree head beside the
//! records: a sealer whose files do not know it refuses to sign.

use tokio_postgres::{Client, Transaction};

/// "ruche" and "node" as one number.
const KEY: i64 = 0x72_7563_6865_6e6f;

/// How a process keeps its tree heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// In files of its own: no other node may be there.
    Alone,
    /// In a store that all nodes share.
    OneOfMany,
}

/// The lock. Gone with the process, or when it is dropped.
pub struct NodeLock {
    _client: Client,
}

impl NodeLock {
    /// Takes the lock over a connection that is nobody else's. `None` if nodes are there that do not go with this one.
    ///
    /// # Errors
    /// The server's.
    pub async fn take(client: Client, kind: NodeKind) -> Result<Option<Self>, tokio_postgres::Error> {
        let sql = match kind {
            NodeKind::Alone => "SELECT pg_try_advisory_lock($1)",
            NodeKind::OneOfMany => "SELECT pg_try_advisory_lock_shared($1)",
        };
        let taken: bool = client.query_one(sql, &[&KEY]).await?.get(0);
        Ok(taken.then_some(Self { _client: client }))
    }

    /// Takes it, alone, for a transaction: nobody else has it before that is committed or undone, even if this process dies
    /// while the server commits.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn alone_in(tx: &Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
        let sql = "SELECT pg_try_advisory_xact_lock($1)";
        Ok(tx.query_one(sql, &[&KEY]).await?.get(0))
    }
}
