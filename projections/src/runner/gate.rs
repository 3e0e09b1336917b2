//! How many ledgers are brought forward at the same time. A node with thousands of ledgers starts them all at once;
//! without a bound here they would meet the store's own, and most of them be refused, again and again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, listener};

/// Lets so many through at once. The others wait, and who came first goes first: a ledger that has more to do after its
/// turn comes back behind those that wait, so none of them stands still.
pub(super) struct Gate(Mutex<Places>);

struct Places {
    free: usize,
    /// Those that wait. None of them does while a place is free.
    queue: VecDeque<Arc<Ticket>>,
}

#[derive(Default)]
struct Ticket {
    /// Written under the lock of the places.
    has_place: AtomicBool,
    told: Event,
}

/// One that was let through, until it is dropped.
pub(super) struct Through<'g>(&'g Gate);

/// One that waits. A place that it was given and never took, because it is dropped, it gives on.
struct Waiting<'g> {
    gate: &'g Gate,
    ticket: Arc<Ticket>,
    is_through: bool,
}

impl Gate {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Mutex::new(Places {
            free: at_once,
            queue: VecDeque::new(),
        }))
    }

    /// Waits for a place. Without a bound of its own: whoever holds one waits for a store, which answers in time.
    pub(super) async fn enter(&self) -> Through<'_> {
        let ticket = {
            let mut places = self.lock();
            if places.free > 0 {
                places.free -= 1;
                return Through(self);
            }
            let ticket = Arc::<Ticket>::default();
            places.queue.push_back(ticket.clone());
            ticket
        };
        let mut waiting = Waiting {
            gate: self,
            ticket,
            is_through: false,
        };
        while !waiting.ticket.has_place.load(Ordering::Acquire) {
            listener!(waiting.ticket.told => told);
            // A place that was given before the listener was there is not told again.
            if !waiting.ticket.has_place.load(Ordering::Acquire) {
                told.await;
            }
        }
        waiting.is_through = true;
        Through(self)
    }

    fn give_back(&self) {
        let mut places = self.lock();
        match places.queue.pop_front() {
            Some(next) => {
                next.has_place.store(true, Ordering::Release);
                next.told.notify(1);
            }
            None => places.free += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing that panics is done under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Through<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_through {
            return;
        }
        let mut places = self.gate.lock();
        places.queue.retain(|ticket| !Arc::ptr_eq(ticket, &self.ticket));
        drop(places);
        // Nobody gives it one any more: it is out of the queue.
        if self.ticket.has_place.load(Ordering::Acquire) {
            self.gate.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn one_more_waits_until_a_place_is_given_back() {
        let gate = Gate::new(2);
        let (first, _second) = (gate.enter().await, gate.enter().await);
        let mut third = pin!(gate.enter());
        assert!(poll!(&mut third).is_pending());
        drop(first);
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn who_comes_back_goes_behind_those_that_wait() {
        let gate = Gate::new(1);
        let held = gate.enter().await;
        let mut waits = pin!(gate.enter());
        assert!(poll!(&mut waits).is_pending());
        drop(held);
        let mut comes_back = pin!(gate.enter());
        assert!(poll!(&mut comes_back).is_pending());
        assert!(poll!(&mut waits).is_ready());
        assert!(poll!(&mut comes_back).is_ready());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_keeps_nobody_from_the_place() {
        for is_given in [false, true] {
            let gate = Gate::new(1);
            let held = gate.enter().await;
            let mut gives_up = Box::pin(gate.enter());
            let mut waits = pin!(gate.enter());
            assert!(poll!(&mut gives_up).is_pending());
            assert!(poll!(&mut waits).is_pending());
            match is_given {
                true => {
                    drop(held);
                    drop(gives_up);
                }
                false => {
                    drop(gives_up);
                    drop(held);
                }
            }
            assert!(poll!(&mut waits).is_ready());
            assert!(poll!(pin!(gate.enter())).is_ready(), "no place is lost");
        }
    }
}
