//! Settings of the engine.

/// Settings of the engine. Only `url` has to be said.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connection string or URL of the database, as libpq reads it. Holds a password; never logged.
    pub url: String,
    /// Tasks that append, each with a connection. A ledger belongs to one of them.
    pub writers: usize,
    /// Connections that read.
    pub readers: usize,
    /// Take a server that does not flush (`fsync=off`). For tests of what is lost then.
    pub allow_no_fsync: bool,
}

impl PostgresOptions {
    /// The default settings for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            writers: 2,
            readers: 4,
            allow_no_fsync: false,
        }
    }
}
