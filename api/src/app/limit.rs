//! The limit of the engine that the application stands on, for `ruche bench`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Random;
use ruche_ledger_postgres::{self as postgres, Database, PostgresOptions};

use super::engine::Held;
use super::sqlite::{BareInserts, SqliteStore, Until};
use super::{App, AppError, OsRandom};
use crate::bench::BenchError;
use crate::bench::disk;
use crate::bench::limit::{BareFigures, BareRows, Limit};
use crate::cli::Common;

impl App {
    /// What the engine of this application could do at best. Its files stand in the data folder while it is measured.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn limit(&self, common: &Common) -> Result<Arc<dyn Limit>, AppError> {
        match &self.engine.held {
            Held::Files(store) => Ok(Arc::new(SqliteLimit {
                store: store.clone(),
                data_dir: common.data_dir.clone(),
            })),
            Held::Database(..) => {
                let Some(url) = &common.database_url else {
                    return Err(AppError::Settings(
                        "database.url (--database-url) is not set".to_owned(),
                    ));
                };
                let options = PostgresOptions::new(url);
                let database = Database::parse(&options)?;
                Ok(Arc::new(PostgresLimit {
                    name: database.server().await?.database,
                    database,
                    writers: options.writers,
                }))
            }
        }
    }
}

/// The engine, and how much it has stored.
pub struct Stored {
    /// Its name.
    pub engine: &'static str,
    /// Bytes of its files or of its database, records and read models.
    pub bytes: u64,
}

impl App {
    /// What the engine of this application has stored by now.
    ///
    /// # Errors
    /// When the files or the database cannot be looked at.
    pub async fn stored(&self, common: &Common) -> Result<Stored, BenchError> {
        let Some(url) = &common.database_url else {
            let bytes = disk::bytes_in(&common.data_dir);
            return Ok(Stored {
                engine: "sqlite",
                bytes: bytes.map_err(|error| BenchError::because("the size of the files", &error))?,
            });
        };
        let failed = |error| BenchError::because("the size of the database", &error);
        let database = Database::parse(&PostgresOptions::new(url)).map_err(failed)?;
        Ok(Stored {
            engine: "postgres",
            bytes: database.size().await.map_err(failed)?,
        })
    }
}

/// Whether a database has ledgers. Changes nothing in it.
///
/// # Errors
/// See [`AppError`].
pub async fn has_ledgers(url: &str) -> Result<bool, AppError> {
    Ok(Database::parse(&PostgresOptions::new(url))?.has_ledgers().await?)
}

/// The random source of a process that opens no store.
pub fn random() -> Arc<dyn Random> {
    Arc::new(OsRandom)
}

struct SqliteLimit {
    store: Arc<SqliteStore>,
    data_dir: PathBuf,
}

#[async_trait]
impl Limit for SqliteLimit {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn durability(&self) -> Result<Vec<(String, String)>, BenchError> {
        let found = self.store.durability().clone();
        Ok(vec![
            ("synchronous".to_owned(), found.synchronous),
            ("journal_mode".to_owned(), found.journal_mode),
        ])
    }

    async fn bare_inserts(&self, rows: BareRows) -> Result<BareFigures, BenchError> {
        let path = self.data_dir.join("bench-bare.db");
        let figures = blocking(move || {
            let inserts = BareInserts {
                records: &rows.records,
                group: rows.group,
                batch: rows.batch,
                keys: rows.keys,
                until: Until::Time(rows.time),
            };
            inserts
                .run(&path)
                .map_err(|error| BenchError::because("bare inserts", &error))
        });
        let figures = figures.await?;
        Ok(BareFigures {
            events: figures.events,
            took: figures.took,
            way: None,
        })
    }

    async fn events_per_commit(&self, _ledgers: &[LedgerId]) -> Result<Option<f64>, BenchError> {
        Ok(None)
    }

    async fn flush_rate(&self, time: Duration) -> Result<Option<f64>, BenchError> {
        let folder = self.data_dir.clone();
        let rate = blocking(move || {
            disk::flush_rate(&folder, time)
                .map_err(|error| BenchError(format!("flushing in {}: {error}", folder.display())))
        });
        rate.await.map(Some)
    }

    async fn commit_rate(&self, _time: Duration) -> Result<Option<f64>, BenchError> {
        Ok(None)
    }

    fn database(&self) -> Option<String> {
        None
    }

    fn file_system(&self) -> Option<String> {
        disk::file_system(&self.data_dir)
    }
}

struct PostgresLimit {
    database: Database,
    /// Its name.
    name: String,
    /// Connections that append.
    writers: usize,
}

#[async_trait]
impl Limit for PostgresLimit {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    async fn durability(&self) -> Result<Vec<(String, String)>, BenchError> {
        let found = self.database.durability().await;
        found.map_err(|error| BenchError::because("durability of the database", &error))
    }

    async fn bare_inserts(&self, rows: BareRows) -> Result<BareFigures, BenchError> {
        let inserts = postgres::BareInserts {
            records: rows.records,
            group: rows.group,
            batch: rows.batch,
            keys: rows.keys,
            connections: self.writers,
            until: postgres::Until::Time(rows.time),
        };
        let figures = inserts.run(&self.database).await;
        let figures = figures.map_err(|error| BenchError::because("bare inserts", &error))?;
        Ok(BareFigures {
            events: figures.events,
            took: figures.took,
            way: Some(figures.way.name()),
        })
    }

    async fn events_per_commit(&self, ledgers: &[LedgerId]) -> Result<Option<f64>, BenchError> {
        let events = self.database.events_per_commit(ledgers).await;
        events
            .map(Some)
            .map_err(|error| BenchError::because("which events were committed together", &error))
    }

    async fn flush_rate(&self, _time: Duration) -> Result<Option<f64>, BenchError> {
        Ok(None)
    }

    async fn commit_rate(&self, time: Duration) -> Result<Option<f64>, BenchError> {
        let rate = self.database.commit_rate(time).await;
        rate.map(Some)
            .map_err(|error| BenchError::because("commits of one connection", &error))
    }

    fn database(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn file_system(&self) -> Option<String> {
        None
    }
}

/// Runs what blocks on the disk beside the tasks of the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BenchError::because("measuring the limit", &error))?
}
