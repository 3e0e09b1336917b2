//! One moment of the current generation, held by a thread with a connection of its own.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row, Snapshot, Snapshots};
use rusqlite::Connection;

use crate::error::{io, read_store_error};
use crate::file;
use crate::generation::Generation;
use crate::models::SqliteReadStore;
use crate::queue::Queue;
use crate::read::{self, ReadJob};

/// Queries that wait for the thread at most.
const QUEUE_MAX: usize = 4;
/// One query of it may take so long: counting a large table does, and nobody else waits for this thread.
const STATEMENT_MAX: Duration = Duration::from_secs(10 * 60);

/// A moment. Its generation, and so its file, stays as long as it is held; the log of the file grows meanwhile.
struct Held {
    reads: Arc<Queue<ReadJob>>,
    thread: Option<JoinHandle<()>>,
    _generation: Arc<Generation>,
}

/// Fixes the moment: the first read in a transaction decides what it sees.
fn begin(generation: &Generation) -> Result<Connection, ReadStoreError> {
    let opened = file::open_reader(&generation.path());
    let conn = opened.map_err(|error| ReadStoreError::Unavailable(error.to_string()))?;
    let fix = "BEGIN; SELECT position FROM checkpoint LIMIT 1;";
    conn.execute_batch(fix)
        .map_err(|error| read_store_error(&error))?;
    Ok(conn)
}

#[async_trait]
impl Snapshots for SqliteReadStore {
    async fn snapshot(&self, _ledger: LedgerId) -> Result<Box<dyn Snapshot>, ReadStoreError> {
        let generation = self.current();
        let reads = Arc::new(Queue::new(QUEUE_MAX));
        let (queue, of) = (Arc::clone(&reads), Arc::clone(&generation));
        let (begun, has_begun) = oneshot::channel();
        let work = move || match begin(&of) {
            Ok(conn) => {
                // Who no longer waits has closed the queue, too.
                drop((of, begun.send(Ok(()))));
                read::run_within(conn, &queue, STATEMENT_MAX);
            }
            Err(error) => drop(begun.send(Err(error))),
        };
        let thread = Builder::new().name("read-models-snapshot".to_owned()).spawn(work);
        let thread = thread.map_err(|error| {
            let error = io("start a thread for", &generation.path())(error);
            ReadStoreError::Unavailable(error.to_string())
        })?;
        let held = Held {
            reads,
            thread: Some(thread),
            _generation: generation,
        };
        let gone = || Err(ReadStoreError::Unavailable("their thread is gone".into()));
        has_begun.await.unwrap_or_else(|_| gone())?;
        Ok(Box::new(held))
    }
}

#[async_trait]
impl Snapshot for Held {
    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        let (answer, answered) = oneshot::channel();
        self.reads.push(ReadJob {
            sql: sql.to_owned(),
            params,
            answer,
        })?;
        let gone = || Err(ReadStoreError::Unavailable("their thread is gone".into()));
        answered.await.unwrap_or_else(|_| gone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.reads.close();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("read models: the thread of a snapshot panicked");
        }
    }
}
