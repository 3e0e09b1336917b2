//! The writer's queue: bounded in appends and bytes, never blocking whoever puts something in.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::archive::ArchiveWork;
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, LEAF_BYTES_MAX, OVERLOADED_RETRY_AFTER_MS, WRITER_QUEUE_APPENDS_MAX,
    WRITER_QUEUE_BYTES_MAX,
};
use ruche_domain::numbers::Epoch;
use ruche_ledger::right_edge::HashTile;

use ruche_ledger::store::{AppendOutcome, AppendRequest, EpochOpening, Receipt, StoreError};

/// Where the answer to a job goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something for the writer to do on one ledger.
pub(crate) struct Job {
    /// Which ledger.
    pub ledger: LedgerId,
    /// What.
    pub work: Work,
}

/// What the writer does.
pub(crate) enum Work {
    /// Append records.
    Append(AppendRequest, Answer<AppendOutcome>),
    /// Open an epoch.
    OpenEpoch(Box<EpochOpening>, Answer<Receipt>),
    /// Store hash tiles of an epoch.
    PutTiles(Epoch, Vec<HashTile>, Answer<()>),
    /// Store the copy of the last tree head of an epoch: size and note.
    PutTreeHead(Epoch, u64, Vec<u8>, Answer<()>),
    /// Take payloads out, put them back, or forget that they were out.
    Archive(ArchiveWork, Answer<()>),
}

impl Job {
    /// Events and stored bytes, as the limits count them: payloads, and a leaf of the greatest length for each event.
    fn weight(&self) -> (usize, usize) {
        match &self.work {
            Work::Append(request, _) => {
                let events = request.events.len();
                (events, request.payload_bytes() + events * LEAF_BYTES_MAX)
            }
            Work::OpenEpoch(opening, _) => (1, opening.record.payload.iter().map(|f| f.bytes.len()).sum()),
            Work::PutTiles(_, tiles, _) => (1, tiles.iter().map(|t| t.hashes.len() * 32).sum()),
            Work::PutTreeHead(_, _, note, _) => (1, note.len()),
            Work::Archive(work, _) => (1, work.bytes()),
        }
    }
}

/// Jobs in the order they came.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signalled when a job comes and when the queue closes.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Puts a job at the end. Never waits.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Unavailable` when it is closed; the job is dropped unseen by the writer.
    pub(crate) fn push(&self, job: Job) -> Result<(), StoreError> {
        let bytes = job.weight().1;
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
        let first = state.jobs.len() == 1;
        drop(state);
        // Only an empty queue has a waiting writer.
        if first {
            self.moved.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs and takes what is there, in order, up to one batch. Empty when the queue is closed and drained.
    pub(crate) fn take_batch(&self) -> Vec<Job> {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.closed {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut events, mut bytes, mut jobs) = (0, 0, Vec::new());
        while let Some(job) = state.jobs.front() {
            let (more_events, more_bytes) = job.weight();
            events += more_events;
            bytes += more_bytes;
            if !jobs.is_empty() && (events > BATCH_EVENTS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            state.bytes -= more_bytes;
            jobs.extend(state.jobs.pop_front());
        }
        jobs
    }

    /// Takes no more jobs; the writer finishes those that are there.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }

    /// Takes no more jobs and drops those that are there, so that whoever waits for one learns it.
    pub(crate) fn abandon(&self) {
        let jobs = {
            let mut state = self.lock();
            state.closed = true;
            state.bytes = 0;
            std::mem::take(&mut state.jobs)
        };
        drop(jobs);
    }

    /// No statement under this lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
