//! Connections for the parts beside the store: leases, tree heads, read models.

use deadpool_postgres::Pool;
use tokio_postgres::Client;

use crate::error::OpenError;
use crate::{PostgresOptions, schema, session};

/// How to reach a database, checked to be durable.
pub struct Connections {
    options: PostgresOptions,
    config: tokio_postgres::Config,
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
