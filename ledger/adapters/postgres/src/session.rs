//! Connections and what is set in each: nothing about durability is left to the server's configuration.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{Client, Config, NoTls};

use crate::PostgresOptions;
use crate::error::OpenError;

/// Settings of every session of this engine.
///
/// `synchronous_commit=on` waits for the flush, and on a synchronous cluster for the standby's; a session that dies with
/// an open transaction must not hold a head row for ever, so an idle one is ended by the server.
const SETTINGS: &str = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=10s \
                        -c default_transaction_isolation=read\\ committed -c lock_timeout=10s -c search_path=ruche";
/// Waiting for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed after this time.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// Waiting for a reading connection.
const POOL_WAIT: Duration = Duration::from_secs(5);

/// The configuration of a connection.
pub(crate) fn config(options: &PostgresOptions) -> Result<Config, OpenError> {
    let mut config: Config = options
        .url
        .parse()
        .map_err(OpenError::database("read the database URL"))?;
    config
        .application_name("ruche")
        .options(SETTINGS)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT);
    Ok(config)
}

/// A connection of its own, driven by a task that ends with it.
pub(crate) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "a connection to the database ended");
        }
    });
    Ok(client)
}

/// Connections for reading.
pub(crate) fn pool(config: &Config, options: &PostgresOptions) -> Result<Pool, OpenError> {
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config.clone(), NoTls, ManagerConfig { recycling_method });
    Pool::builder(manager)
        .max_size(options.readers.max(1))
        .wait_timeout(Some(POOL_WAIT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| OpenError::Pool(error.to_string()))
}

/// Refuses a server that loses what it confirms.
pub(crate) async fn check_durable(client: &Client, options: &PostgresOptions) -> Result<(), OpenError> {
    if options.allow_no_fsync {
        tracing::warn!("the database may lose what it confirms: fsync is not checked");
        return Ok(());
    }
    for setting in ["fsync", "full_page_writes"] {
        let row = client
            .query_one(&format!("SHOW {setting}"), &[])
            .await
            .map_err(OpenError::database("read a setting"))?;
        let value: String = row.get(0);
        if value != "on" {
            return Err(OpenError::NotDurable { setting, value });
        }
    }
    Ok(())
}

/// A commit that writes to the log and to nothing else. When it returns, what was visible when it began is as durable
/// as any commit: flushed, and on a synchronous cluster with the standby.
pub(crate) async fn fence(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .query_one(
            "SELECT pg_logical_emit_message(true, 'ruche', 'fence')::text",
            &[],
        )
        .await
        .map(drop)
}
