//! Wake-ups for readers that wait for the end of a ledger to move. Shared by all engines of one process.
//!
//! A wake-up says only "look again": it carries no data, so a lost one costs latency and nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;

/// Last durable position of each ledger that somebody wrote or waits for.
#[derive(Default)]
pub struct Wakeups {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledgers: HashMap<LedgerId, Waiting>,
    closed: bool,
}

/// Nothing will be published any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

#[derive(Default)]
struct Waiting {
    last: Option<Position>,
    moved: Event,
}

impl Wakeups {
    /// Tells that `last` is durable. Called after the commit, never before (design §9, 2).
    pub fn publish(&self, ledger: LedgerId, last: Position) {
        let mut state = self.lock();
        let waiting = state.ledgers.entry(ledger).or_default();
        waiting.last = waiting.last.max(Some(last));
        waiting.moved.notify(usize::MAX);
    }

    /// Ends all waits, now and later. Called when the store takes no more work, or its writer died.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for waiting in state.ledgers.values() {
            waiting.moved.notify(usize::MAX);
        }
    }

    /// Resolves once a position at or behind `position` was published in this process.
    ///
    /// # Errors
    /// `Closed` once the store is closed and the position was not reached.
    pub async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), Closed> {
        while let Some(moved) = self.listen(ledger, position)? {
            moved.await;
        }
        Ok(())
    }

    /// A listener registered under the lock, so that a publication in between is not missed.
    fn listen(&self, ledger: LedgerId, position: Position) -> Result<Option<EventListener>, Closed> {
        let mut state = self.lock();
        let closed = state.closed;
        let waiting = state.ledgers.entry(ledger).or_default();
        if waiting.last >= Some(position) {
            return Ok(None);
        }
        if closed {
            Err(Closed)
        } else {
            Ok(Some(waiting.moved.listen()))
        }
    }

    /// The map is consistent after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
