//! A bounded queue of jobs for threads: whoever puts something in never waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_projections::store::ReadStoreError;

/// Jobs in the order in which they came.
pub(crate) struct Queue<T> {
    jobs_max: usize,
    state: Mutex<State<T>>,
    /// Signalled when a job comes and when the queue closes.
    moved: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(jobs_max: usize) -> Self {
        Self {
            jobs_max,
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                closed: false,
            }),
            moved: Condvar::new(),
        }
    }

    /// Puts a job at the end.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Unavailable` when it is closed; the job was not seen by anybody.
    pub(crate) fn push(&self, job: T) -> Result<(), ReadStoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(ReadStoreError::Unavailable("they are closing".into()));
        }
        if state.jobs.len() >= self.jobs_max {
            return Err(ReadStoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        state.jobs.push_back(job);
        drop(state);
        self.moved.notify_one();
        Ok(())
    }

    /// Waits for jobs and takes up to `jobs_max` of them. Empty when the queue is closed and drained.
    pub(crate) fn take(&self, jobs_max: usize) -> Vec<T> {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.closed {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.jobs.len().min(jobs_max);
        state.jobs.drain(..count).collect()
    }

    /// Takes no more jobs; those that are there are still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }

    /// The state is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
