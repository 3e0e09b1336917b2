//! One generation of read models: a file and the threads that work on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use futures_channel::oneshot;
use ruche_domain::limits::READER_QUEUE_MAX;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row};

use crate::error::{OpenError, io};
use crate::file::{self, Durability};
use crate::queue::Queue;
use crate::read::{self, ReadJob};
use crate::write::{self, WriteJob};

/// Threads that read.
const READERS: usize = 4;
/// Steps that wait for the writer at most; one more is refused with `Overloaded`.
const WRITER_QUEUE_STEPS_MAX: usize = 1_024;

/// A file of read models with its threads. Dropping it finishes what is queued and ends them.
pub(crate) struct Generation {
    pub(crate) number: u32,
    dir: PathBuf,
    writes: Arc<Queue<WriteJob>>,
    reads: Arc<Queue<ReadJob>>,
    threads: Vec<JoinHandle<()>>,
    /// Set when another generation took its place: its files are removed when nobody uses them any more.
    pub(crate) obsolete: std::sync::atomic::AtomicBool,
}

impl Generation {
    /// Opens a generation, making its file if it is not there.
    pub(crate) fn open(dir: &Path, number: u32, durability: Durability) -> Result<Self, OpenError> {
        let path = file::path_of(dir, number);
        let mut generation = Self {
            number,
            dir: dir.to_owned(),
            writes: Arc::new(Queue::new(WRITER_QUEUE_STEPS_MAX)),
            reads: Arc::new(Queue::new(READER_QUEUE_MAX)),
            threads: Vec::new(),
            obsolete: false.into(),
        };
        let writer = file::open_writer(&path, durability)?;
        let queue = Arc::clone(&generation.writes);
        generation.spawn("read-models-writer", move || write::run(&writer, &queue))?;
        for _ in 0..READERS {
            let reader = file::open_reader(&path)?;
            let queue = Arc::clone(&generation.reads);
            generation.spawn("read-models-reader", move || read::run(reader, &queue))?;
        }
        Ok(generation)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let path = file::path_of(&self.dir, self.number);
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(io("start a thread for", &path))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Its file.
    pub(crate) fn path(&self) -> PathBuf {
        file::path_of(&self.dir, self.number)
    }

    /// Has something written.
    pub(crate) async fn write<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, ReadStoreError>>) -> WriteJob,
    ) -> Result<T, ReadStoreError> {
        self.submit(job)?.wait().await
    }

    /// Puts something into the writer's queue.
    pub(crate) fn submit<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, ReadStoreError>>) -> WriteJob,
    ) -> Result<Submitted<T>, ReadStoreError> {
        let (answer, answered) = oneshot::channel();
        self.writes.push(job(answer))?;
        Ok(Submitted(answered))
    }

    /// Has something read.
    pub(crate) async fn read(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        let (answer, answered) = oneshot::channel();
        self.reads.push(ReadJob {
            sql: sql.to_owned(),
            params,
            answer,
        })?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Something that waits for the writer.
pub(crate) struct Submitted<T>(oneshot::Receiver<Result<T, ReadStoreError>>);

impl<T> Submitted<T> {
    /// The answer, once the transaction is over.
    pub(crate) async fn wait(self) -> Result<T, ReadStoreError> {
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> ReadStoreError {
    ReadStoreError::Unavailable("their thread is gone".into())
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(generation = self.number, "read models: a thread panicked");
            }
        }
        if self.obsolete.load(std::sync::atomic::Ordering::SeqCst)
            && let Err(error) = file::remove(&self.dir, self.number)
        {
            // The next start removes them.
            tracing::warn!(generation = self.number, error = %error, "read models: old files stay for now");
        }
    }
}
