//! Settings of the engine.

use std::time::Duration;

/// Default of [`PostgresOptions::answer_timeout`].
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of the engine. Only `url` has to be said.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connection string or URL of the database, as libpq reads it. May name several hosts: the one that takes writes is
    /// found. Reaches the server itself, not a pooler. Holds a password; never logged.
    pub url: String,
    /// Where to read, if not there: a pgbouncer in transaction mode may stand between. Has to lead to the same database
    /// and primary.
    pub read_url: Option<String>,
    /// Tasks that append, each with a connection. A ledger belongs to one of them.
    pub writers: usize,
    /// Connections that read.
    pub readers: usize,
    /// Take a server that does not flush (`fsync=off`). For tests of what is lost then.
    pub allow_no_fsync: bool,
    /// Whether the schema is made or brought up to date where it is not. Else such a database is refused: for who only
    /// reads.
    pub migrate: bool,
    /// How long an append waits for any one answer of the database. Beyond it the connection is given up, and what was
    /// being committed is answered `Unknown` unless it can be found. The server is told to give up on a lock after a
    /// third of it and on a statement after two thirds.
    pub answer_timeout: Duration,
}

/// Connections of a store besides those that append and read: two for tiles and tree heads, one each for the heads of all
/// ledgers, fences, LISTEN and NOTIFY, one while an epoch is opened.
const OTHER_CONNECTIONS: usize = 7;

impl PostgresOptions {
    /// The default settings for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            read_url: None,
            writers: 2,
            readers: 4,
            allow_no_fsync: false,
            migrate: true,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// The most connections to the server that one store has at a time; those that read are at the pooler if there is a
    /// `read_url`. Pools made with [`crate::Database::pool`] come on top.
    pub fn connections_max(&self) -> usize {
        let readers = if self.read_url.is_some() {
            0
        } else {
            self.readers.max(1)
        };
        self.writers.max(1) + readers + OTHER_CONNECTIONS
    }
}
