//! The queue of a writer: bounded in appends and bytes, never making whoever puts something in wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, LEAF_BYTES_MAX, OVERLOADED_RETRY_AFTER_MS, WRITER_QUEUE_APPENDS_MAX,
    WRITER_QUEUE_BYTES_MAX,
};
use ruche_ledger::store::{AppendOutcome, AppendRequest, StoreError};
use tokio::sync::Notify;

/// Where the answer to an append goes.
pub(crate) type Answer = oneshot::Sender<Result<AppendOutcome, StoreError>>;

/// An append that waits for its writer.
pub(crate) struct Job {
    pub ledger: LedgerId,
    pub request: AppendRequest,
    pub answer: Answer,
}

impl Job {
    fn events(&self) -> usize {
        self.request.events.len()
    }

    /// Stored bytes as the limits count them: payloads, and a leaf of the greatest length for each event.
    fn bytes(&self) -> usize {
        self.request.payload_bytes() + self.events() * LEAF_BYTES_MAX
    }
}

/// Appends in the order they came.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Puts an append at the end.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Unavailable` when it is closed; the append is dropped unseen.
    pub(crate) fn push(&self, job: Job) -> Result<(), StoreError> {
        let bytes = job.bytes();
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Unavailable {
                reason: "the ledger is closing".into(),
            });
        }
        if state.jobs.len() >= WRITER_QUEUE_APPENDS_MAX || state.bytes + bytes > WRITER_QUEUE_BYTES_MAX {
            return Err(StoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        state.bytes += bytes;
        state.jobs.push_back(job);
        drop(state);
        self.moved.notify_one();
        Ok(())
    }

    /// Waits for appends and takes what is there, in order, up to one batch. Empty when closed and drained.
    pub(crate) async fn take_batch(&self) -> Vec<Job> {
        loop {
            // One permit is kept by `Notify` if nobody waits yet, so a job that comes in between is not missed.
            let moved = self.moved.notified();
            if let Some(jobs) = self.try_take() {
                return jobs;
            }
            moved.await;
        }
    }

    fn try_take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let (mut events, mut bytes, mut jobs) = (0, 0, Vec::new());
        while let Some(job) = state.jobs.front() {
            let more = job.bytes();
            events += job.events();
            bytes += more;
            if !jobs.is_empty() && (events > BATCH_EVENTS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            state.bytes -= more;
            jobs.extend(state.jobs.pop_front());
        }
        (!jobs.is_empty() || state.closed).then_some(jobs)
    }

    /// Takes no more appends; the writer finishes those that are there.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_one();
    }

    /// No statement under this lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
