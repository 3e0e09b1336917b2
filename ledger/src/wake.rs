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
    ledgers: Mutex<HashMap<LedgerId, Waiting>>,
}

#[derive(Default)]
struct Waiting {
    last: Option<Position>,
    moved: Event,
}

impl Wakeups {
    /// Tells that `last` is durable. Called after the commit, never before (design §9, 2).
    pub fn publish(&self, ledger: LedgerId, last: Position) {
        let mut ledgers = self.lock();
        let waiting = ledgers.entry(ledger).or_default();
        waiting.last = waiting.last.max(Some(last));
        waiting.moved.notify(usize::MAX);
    }

    /// Resolves once a position at or behind `position` was published in this process.
    pub async fn wait_for(&self, ledger: LedgerId, position: Position) {
        while let Some(moved) = self.listen(ledger, position) {
            moved.await;
        }
    }

    /// A listener registered under the lock, so that a publication in between is not missed.
    fn listen(&self, ledger: LedgerId, position: Position) -> Option<EventListener> {
        let mut ledgers = self.lock();
        let waiting = ledgers.entry(ledger).or_default();
        if waiting.last >= Some(position) {
            None
        } else {
            Some(waiting.moved.listen())
        }
    }

    /// The map is consistent after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Waiting>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
