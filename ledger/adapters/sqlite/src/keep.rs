//! What keeps the writer going: one that panics is followed by one with a connection of its own, which knows nothing of
//! what the last one knew.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ruche_domain::ports::Clock;
use ruche_ledger::wake::Wakeups;
use ruche_ledger::writer_life::{Breaks, GIVEN_UP, WriterLife};
use rusqlite::Connection;

use crate::checkpoint::Signal;
use crate::error::OpenError;
use crate::queue::Queue;
use crate::readers::Readers;
use crate::writer::Writer;
use crate::{SqliteOptions, schema, store};

/// What writers are made of.
pub(crate) struct Parts {
    pub path: PathBuf,
    pub options: SqliteOptions,
    pub clock: Arc<dyn Clock>,
    pub wakeups: Arc<Wakeups>,
    pub checkpoints: Arc<Signal>,
    pub readers: Arc<Readers>,
    pub life: Arc<WriterLife>,
}

/// When nobody takes from the queue any more, nobody waits: neither those with work in it, nor those that wait for a
/// record.
struct NobodyWaits<'a>(&'a Queue, Arc<Wakeups>);

impl Drop for NobodyWaits<'_> {
    fn drop(&mut self) {
        self.0.abandon();
        self.1.close();
    }
}

impl Parts {
    /// Opens the file and checks it.
    pub(crate) fn writer(&self) -> Result<Writer, OpenError> {
        let conn = schema::open_writer(&self.path, &self.options)?;
        for (ledger, last) in store::check(&conn)? {
            // Whoever waits for a position that is there must not wait for the next append.
            self.wakeups.publish(ledger, last);
        }
        let (wakeups, checkpoints) = (Arc::clone(&self.wakeups), Arc::clone(&self.checkpoints));
        let readers = Arc::clone(&self.readers);
        Ok(Writer::new(
            conn,
            Arc::clone(&self.clock),
            wakeups,
            checkpoints,
            readers,
        )?)
    }

    /// Works until the queue is closed and drained, then gives the connection back for the last checkpoint. The answers of
    /// what a writer that panics had in hand go with it, and its connection, which undoes what was open; what waits in the
    /// queue, the next one takes.
    ///
    /// # Panics
    /// With the writer that broke once too often, or whose file cannot be opened any more.
    pub(crate) fn keep(&self, mut writer: Writer, queue: &Queue) -> Connection {
        let _guard = NobodyWaits(queue, Arc::clone(&self.wakeups));
        let (begun, mut breaks) = (Instant::now(), Breaks::default());
        loop {
            // Of what the panic went through only what has a lock of its own is looked at again, and that is always whole.
            let panic = match catch_unwind(AssertUnwindSafe(|| writer.run(queue))) {
                Ok(conn) => return conn,
                Err(panic) => panic,
            };
            let next = match breaks.may_go_on(begun.elapsed()) {
                true => self.writer(),
                false => {
                    tracing::error!("the writer ended in a panic: {GIVEN_UP}");
                    self.give_up(queue);
                    resume_unwind(panic)
                }
            };
            match next {
                Ok(next) => writer = next,
                Err(error) => {
                    tracing::error!(%error, "the writer ended in a panic and cannot open its file again");
                    self.give_up(queue);
                    resume_unwind(panic)
                }
            }
            self.life.restarted();
            tracing::error!(
                "the writer ended in a panic and is started anew; what it had in hand is unknown"
            );
        }
    }

    /// Who hears of it finds the queue closed.
    fn give_up(&self, queue: &Queue) {
        queue.abandon();
        self.life.give_up();
    }
}
