//! The life of the writers of a store: one that breaks is started anew, with nothing of what it knew, until it breaks too
//! often. Shared by all engines.
//!
//! What a writer had in hand when it broke is answered `Unknown`, since nobody knows how far it came; what waits in its
//! queue waits for the next one. A process whose writer is given up has to end: whoever supervises it starts it again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event_listener::Event;
use ruche_domain::limits::{WRITER_RESTARTS_MAX, WRITER_RESTARTS_WINDOW_MS};

/// Why a store whose writer broke too often takes no more appends.
pub const GIVEN_UP: &str = "the writer of this ledger broke too often; the process has to be started again";

/// What the writers of a store tell whoever watches them.
#[derive(Debug, Default)]
pub struct WriterLife {
    restarts: AtomicU64,
    is_given_up: AtomicBool,
    given_up: Event,
}

impl WriterLife {
    /// How often a writer was started anew since the store was opened.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Whether a writer broke too often. Its ledgers take no more appends.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }

    /// Resolves when that is so.
    pub async fn given_up(&self) {
        loop {
            let told = self.given_up.listen();
            if self.is_given_up() {
                return;
            }
            told.await;
        }
    }

    /// Notes that a writer is started anew.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a writer is not started any more.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
        self.given_up.notify(usize::MAX);
    }
}

/// When one writer broke, as far as it counts.
#[derive(Debug, Default)]
pub struct Breaks(VecDeque<Duration>);

impl Breaks {
    /// Whether a writer that broke `at` this time after its store was opened may be started anew.
    pub fn may_go_on(&mut self, at: Duration) -> bool {
        let window = Duration::from_millis(WRITER_RESTARTS_WINDOW_MS);
        while self
            .0
            .front()
            .is_some_and(|first| at.saturating_sub(*first) >= window)
        {
            self.0.pop_front();
        }
        self.0.push_back(at);
        self.0.len() <= WRITER_RESTARTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_may_break_so_many_times_in_a_minute() {
        let mut breaks = Breaks::default();
        let second = Duration::from_secs(1);
        let in_a_burst = (1..=5).map(|n| breaks.may_go_on(n * second));
        assert!(in_a_burst.collect::<Vec<_>>().iter().all(|goes_on| *goes_on));
        assert!(!breaks.may_go_on(6 * second));
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let mut breaks = Breaks::default();
        for n in 0..1_000 {
            assert!(breaks.may_go_on(n * Duration::from_secs(12)), "{n}");
        }
        assert!(breaks.0.len() <= WRITER_RESTARTS_MAX);
    }

    #[test]
    fn who_waits_hears_that_a_writer_is_given_up() {
        let life = WriterLife::default();
        let mut waits = Box::pin(life.given_up());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        life.give_up();
        assert!(waits.as_mut().poll(&mut context).is_ready());
        assert!(life.is_given_up());
    }
}
