//! Reading: a few threads, each with a read-only connection, so that no async caller blocks on a disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use ruche_domain::limits::{OVERLOADED_RETRY_AFTER_MS, READER_QUEUE_MAX};
use ruche_ledger::store::StoreError;
use rusqlite::Connection;

use crate::error::OpenError;
use crate::schema;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The queue that all readers take from.
#[derive(Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    moved: Condvar,
    /// Held for reading during each read.
    reading: RwLock<()>,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    closed: bool,
}

impl Readers {
    /// Runs a read on one of the threads. It sees everything that was answered before it was asked for.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.push(Box::new(move |conn| {
            // Nobody waits any more if the caller's future was dropped.
            if !answer.is_canceled() {
                drop(answer.send(in_one_view(conn, read)));
            }
        }))?;
        let gone = |_| StoreError::Unavailable {
            reason: "a reader of the ledger stopped".into(),
        };
        answered.await.map_err(gone)?
    }

    fn push(&self, read: Read) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Unavailable {
                reason: "the ledger is closing".into(),
            });
        }
        if state.reads.len() >= READER_QUEUE_MAX {
            return Err(StoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        state.reads.push_back(read);
        drop(state);
        self.moved.notify_one();
        Ok(())
    }

    /// Does something while no read is under way. Waits for those that are, which are bounded; later ones wait.
    pub(crate) fn paused<T>(&self, what: impl FnOnce() -> T) -> T {
        let _nobody_reads = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        what()
    }

    /// Takes no more reads; those that wait are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }

    /// Starts one thread of the pool.
    pub(crate) fn spawn(self: &Arc<Self>, path: &Path, n: usize) -> Result<JoinHandle<()>, OpenError> {
        let conn = schema::open_reader(path)?;
        let readers = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(format!("ruche-ledger-read-{n}"))
            .spawn(move || {
                while let Some(read) = readers.take() {
                    let _reading = readers.reading.read().unwrap_or_else(PoisonError::into_inner);
                    // A defect in one read costs its caller the answer, and nobody else a reader.
                    if catch_unwind(AssertUnwindSafe(|| read(&conn))).is_err() {
                        tracing::error!("a read panicked");
                        end_view(&conn);
                    }
                }
            });
        spawned.map_err(|source| OpenError::Io {
            doing: "start a reader of",
            path: path.to_owned(),
            source,
        })
    }

    fn take(&self) -> Option<Read> {
        let mut state = self.lock();
        loop {
            if let Some(read) = state.reads.pop_front() {
                return Some(read);
            }
            if state.closed {
                return None;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Every statement under this lock leaves a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the queries of one read on one state of the file, whatever is committed meanwhile.
fn in_one_view<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let failed = |e: rusqlite::Error| crate::error::store_error("begin of a read", &e);
    conn.prepare_cached("BEGIN")
        .and_then(|mut s| s.execute([]))
        .map_err(failed)?;
    let result = read(conn);
    end_view(conn);
    result
}

/// Ends a read transaction. Nothing can be lost; what does not commit is rolled back, so that the next read begins.
fn end_view(conn: &Connection) {
    for end in ["COMMIT", "ROLLBACK"] {
        if conn.is_autocommit() {
            return;
        }
        if let Err(error) = conn.execute_batch(end) {
            tracing::error!(%error, end, "a read did not end");
        }
    }
}
