//! The limit of the engine that the application stands on, for `ruche bench`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ports::Random;

use super::engine::Held;
use super::sqlite::{BareInserts, SqliteStore, Until};
use super::{App, AppError, OsRandom};
use crate::bench::BenchError;
use crate::bench::disk;
use crate::bench::limit::{BareFigures, BareRows, Limit};

impl App {
    /// What the engine of this application could do at best. Its files stand in the data folder while it is measured.
    ///
    /// # Errors
    /// `Settings` on an engine whose limit cannot be measured.
    pub fn limit(&self, data_dir: &Path) -> Result<Arc<dyn Limit>, AppError> {
        match &self.engine.held {
            Held::Files(store) => Ok(Arc::new(SqliteLimit {
                store: store.clone(),
                data_dir: data_dir.to_owned(),
            })),
            Held::Database(..) => Err(AppError::Settings(
                "the limit of a database is not measured yet; `ruche bench api` measures a server on one"
                    .to_owned(),
            )),
        }
    }
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
        })
    }

    async fn flush_rate(&self, time: Duration) -> Result<Option<f64>, BenchError> {
        let folder = self.data_dir.clone();
        let rate = blocking(move || {
            disk::flush_rate(&folder, time)
                .map_err(|error| BenchError(format!("flushing in {}: {error}", folder.display())))
        });
        rate.await.map(Some)
    }

    fn file_system(&self) -> Option<String> {
        disk::file_system(&self.data_dir)
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
