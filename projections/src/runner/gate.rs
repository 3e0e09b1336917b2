//! How many ledgers are brought forward at the same time. A node with thousands of ledgers starts them all at once;
//! without a bound here they would meet the store's own, and most of them be refused, again and again.

use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::{Event, listener};

/// Lets so many through at once. The others wait, who came first goes first.
pub(super) struct Gate {
    free: AtomicUsize,
    freed: Event,
}

/// One that was let through, until it is dropped.
pub(super) struct Through<'g>(&'g Gate);

impl Gate {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            free: AtomicUsize::new(at_once),
            freed: Event::new(),
        }
    }

    /// Waits for a place. Without a bound of its own: whoever holds one waits for a store, which answers in time.
    pub(super) async fn enter(&self) -> Through<'_> {
        loop {
            if let Some(through) = self.try_enter() {
                return through;
            }
            listener!(self.freed => freed);
            // A place that was given back before the listener was there would be missed.
            if let Some(through) = self.try_enter() {
                return through;
            }
            freed.await;
        }
    }

    fn try_enter(&self) -> Option<Through<'_>> {
        let taken = self
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1));
        taken.is_ok().then(|| Through(self))
    }
}

impl Drop for Through<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
        // A listener that is dropped after it was told hands that on to the next one.
        self.0.freed.notify_additional(1);
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
    async fn who_gives_up_waiting_keeps_nobody_from_the_place() {
        let gate = Gate::new(1);
        let held = gate.enter().await;
        let mut gives_up = Box::pin(gate.enter());
        let mut waits = pin!(gate.enter());
        assert!(poll!(&mut gives_up).is_pending());
        assert!(poll!(&mut waits).is_pending());
        drop(held);
        drop(gives_up);
        assert!(poll!(&mut waits).is_ready());
    }
}
