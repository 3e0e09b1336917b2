//! What keeps a writer going: one that panics is followed by one that knows nothing of what it knew.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use ruche_domain::ports::Clock;
use ruche_ledger::writer_life::{Breaks, GIVEN_UP, WriterLife};

use super::Writer;
use crate::ends::Ends;
use crate::queue::Queue;
use crate::reading::Reader;
use crate::session::Database;

/// What writers are made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub database: Database,
    pub reader: Reader,
    pub limit: Duration,
    pub clock: Arc<dyn Clock>,
    pub ends: Arc<Ends>,
    pub life: Arc<WriterLife>,
}

/// When nobody takes from a queue any more, nobody waits for it: what nobody has taken was not written.
struct NobodyWaits<'a>(&'a Queue);

impl Drop for NobodyWaits<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Works until the queue is closed and drained. What a writer that panics had in hand is answered `Unknown`, since its
/// answers go with it; its connection ends, and the server undoes what was open there. What waits in the queue, the next
/// writer takes.
///
/// # Panics
/// With the writer that broke once too often.
pub(crate) async fn keep(parts: Parts, queue: Arc<Queue>) {
    let _guard = NobodyWaits(&queue);
    let (begun, mut breaks) = (Instant::now(), Breaks::default());
    loop {
        let writer = Writer::new(parts.clone());
        // Of what the panic went through only the queue is looked at again, and its state is always a whole one.
        let Err(panic) = AssertUnwindSafe(writer.run(&queue)).catch_unwind().await else {
            return;
        };
        if !breaks.may_go_on(begun.elapsed()) {
            tracing::error!("a writer ended in a panic: {GIVEN_UP}");
            // Who hears of it finds the queue closed.
            queue.abandon();
            parts.life.give_up();
            resume_unwind(panic);
        }
        parts.life.restarted();
        tracing::error!("a writer ended in a panic and is started anew; what it had in hand is unknown");
    }
}
