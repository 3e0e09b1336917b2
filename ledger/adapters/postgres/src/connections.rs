//! Connections for the parts beside the store: leases, tree heads, read models.

use std::fmt;

use deadpool_postgres::Pool;
use tokio_postgres::Client;

use crate::error::OpenError;
use crate::{PostgresOptions, schema, session};

/// How to reach a database, checked to be durable.
pub struct Connections {
    options: PostgresOptions,
    config: tokio_postgres::Config,
}

/// A server and what it promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name of the database.
    pub database: String,
    /// Version of PostgreSQL.
    pub version: String,
    /// Whether commits are flushed.
    pub fsync: String,
    /// What a commit waits for in a session that does not say it.
    pub synchronous_commit: String,
    /// Which standbys a commit waits for; empty if for none.
    pub synchronous_standby_names: String,
    /// Connections that are not reserved for superusers.
    pub connections: u64,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standbys = match self.synchronous_standby_names.as_str() {
            "" => "none",
            names => names,
        };
        write!(
            f,
            "database {}, PostgreSQL {}, fsync {}, synchronous standbys {standbys}, {} connections",
            self.database, self.version, self.fsync, self.connections
        )
    }
}

impl Connections {
    /// Reads the URL; connects nowhere.
    ///
    /// # Errors
    /// `Database` if it is none.
    pub fn new(options: PostgresOptions) -> Result<Self, OpenError> {
        let config = session::config(&options)?;
        Ok(Self { options, config })
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// `Database`.
    pub async fn connect(&self) -> Result<Client, OpenError> {
        session::connect(&self.config)
            .await
            .map_err(OpenError::database("connect to the database"))
    }

    /// A pool of at most so many connections; none is made yet.
    ///
    /// # Errors
    /// `Pool`.
    pub fn pool(&self, connections: usize) -> Result<Pool, OpenError> {
        let options = PostgresOptions {
            readers: connections,
            ..self.options.clone()
        };
        session::pool(&self.config, &options)
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// `Database`.
    pub async fn server(&self) -> Result<Server, OpenError> {
        let client = self.connect().await?;
        let row = client
            .query_one(
                "SELECT current_database()::text, current_setting('server_version'), current_setting('fsync'), \
                 current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
                 current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint",
                &[],
            )
            .await
            .map_err(OpenError::database("read the server's settings"))?;
        Ok(Server {
            database: row.get(0),
            version: row.get(1),
            fsync: row.get(2),
            synchronous_commit: row.get(3),
            synchronous_standby_names: row.get(4),
            connections: row.get::<_, i64>(5).max(0).cast_unsigned(),
        })
    }

    /// Commits something that leaves no row behind: whether the database takes writes.
    ///
    /// # Errors
    /// `Database` if it does not.
    pub async fn try_to_write(&self) -> Result<(), OpenError> {
        let client = self.connect().await?;
        session::fence(&client)
            .await
            .map_err(OpenError::database("write to the database"))
    }

    /// Makes or brings up to date the schema of a database of tree heads.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn migrate_tree_heads(&self) -> Result<(), OpenError> {
        let mut client = self.connect().await?;
        session::check_durable(&client, &self.options).await?;
        schema::migrate_tree_heads(&mut client).await
    }
}
