//! When appends begin.
//!
//! In a closed loop a caller begins the next append when the last one was answered. In an open loop appends are due by the
//! clock, whoever is free takes the next one that is due, and its latency counts from then: an engine that stands still
//! for a second makes every append of that second late, also those that no caller was free to begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::limits::{BENCH_BACKLOG_WAIT, BENCH_STOP_LOOK};

/// Says that a run ends early. Once said, it stays said.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run ends.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When the appends of an open loop are due: the n-th, counted from 0, when n appends at the rate would be over. In whole
/// nanoseconds, so that what is due at a time and when it is due never contradict each other.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    events_per_s: u128,
    events_per_append: u128,
}

const SECOND_NS: u128 = 1_000_000_000;

impl Schedule {
    /// So many events in a second, by appends of so many; both above 0.
    pub fn new(events_per_s: u64, events_per_append: u64) -> Self {
        Self {
            events_per_s: events_per_s.max(1).into(),
            events_per_append: events_per_append.max(1).into(),
        }
    }

    /// When append `n` is due, from the beginning.
    pub fn due(&self, n: u64) -> Duration {
        let nanos = u128::from(n) * self.events_per_append * SECOND_NS / self.events_per_s;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many appends are due within `elapsed`, its end included.
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        self.count(elapsed + Duration::from_nanos(1))
    }

    /// How many appends are due before `length` is over.
    pub fn count(&self, length: Duration) -> u64 {
        let appends = (length.as_nanos() * self.events_per_s).div_ceil(self.events_per_append * SECOND_NS);
        u64::try_from(appends).unwrap_or(u64::MAX)
    }
}

/// Hands out the beginnings of appends.
pub struct Starts {
    began: Instant,
    ends: Instant,
    stop: Stop,
    open: Option<Open>,
}

struct Open {
    schedule: Schedule,
    /// A permit for each append that is due and not yet taken.
    due: Semaphore,
    released: AtomicU64,
    taken: AtomicU64,
    begun: AtomicU64,
}

impl Starts {
    /// From `began` on, for `length`; an open loop with a schedule, which needs [`Starts::pace`] beside the callers.
    pub fn new(began: Instant, length: Duration, schedule: Option<Schedule>, stop: Stop) -> Self {
        let open = schedule.map(|schedule| Open {
            schedule,
            due: Semaphore::new(0),
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            begun: AtomicU64::new(0),
        });
        Self {
            began,
            ends: began + length,
            stop,
            open,
        }
    }

    /// When the next append of a free caller counts as begun: now, or when it was due. `None` once the time is over.
    pub async fn next(&self) -> Option<Instant> {
        let Some(open) = &self.open else {
            let now = Instant::now();
            return (now < self.ends && !self.stop.is_set()).then_some(now);
        };
        // Never closed; at the end there is a permit for every caller.
        open.due.acquire().await.ok()?.forget();
        let n = open.taken.fetch_add(1, Ordering::Relaxed);
        let due = self.began + open.schedule.due(n);
        // An append that was due a moment before the end gets a moment to be taken up. What is left then is missed.
        let is_over = due >= self.ends || Instant::now() > self.ends + BENCH_BACKLOG_WAIT;
        if is_over || self.stop.is_set() {
            return None;
        }
        open.begun.fetch_add(1, Ordering::Relaxed);
        Some(due)
    }

    /// Makes appends due, by the clock, until the end; then lets `callers` callers end. Does nothing in a closed loop.
    pub async fn pace(&self, sleeper: &dyn Sleeper, callers: usize) {
        let Some(open) = &self.open else { return };
        let all = open.schedule.count(self.ends - self.began);
        loop {
            let now = Instant::now();
            let due = match now < self.ends {
                true => open.schedule.due_by(now - self.began).min(all),
                false => all,
            };
            let before = open.released.swap(due, Ordering::Relaxed);
            open.due.add_permits(due.saturating_sub(before) as usize);
            if now >= self.ends || self.stop.is_set() {
                break;
            }
            let next = self.began + open.schedule.due(due);
            sleeper
                .until(next.min(self.ends).min(now + BENCH_STOP_LOOK))
                .await;
        }
        open.due.add_permits(callers);
    }

    /// Appends that were due and that nobody was free to begin. Their latency is in no figure: it was not seen.
    pub fn missed(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| {
            let released = open.released.load(Ordering::Relaxed);
            released.saturating_sub(open.begun.load(Ordering::Relaxed))
        })
    }
}

/// How the pace waits.
#[async_trait]
pub trait Sleeper: Send + Sync {
    /// Waits until `at`, or hardly longer.
    async fn until(&self, at: Instant);

    /// Whether the thread waits, and can do nothing else meanwhile.
    fn blocks(&self) -> bool;
}

/// Blocks the thread that it is called on. The timer of the runtime counts milliseconds, and every append of an open
/// loop would be late by half of one.
pub struct ThreadSleeper;

#[async_trait]
impl Sleeper for ThreadSleeper {
    async fn until(&self, at: Instant) {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }

    fn blocks(&self) -> bool {
        true
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sleeps by the clock of the test.
    pub(crate) struct TestSleeper;

    #[async_trait]
    impl Sleeper for TestSleeper {
        async fn until(&self, at: Instant) {
            let never = std::future::pending::<()>();
            let _ = tokio::time::timeout_at(at, never).await;
        }

        fn blocks(&self) -> bool {
            false
        }
    }

    #[test]
    fn appends_are_due_by_the_clock_and_by_nothing_else() {
        let schedule = Schedule::new(8, 2);
        let due: Vec<_> = (0..5).map(|n| schedule.due(n).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1_000]);
        let by = |millis| schedule.due_by(Duration::from_millis(millis));
        assert_eq!([by(0), by(249), by(250), by(999), by(1_000)], [1, 1, 2, 4, 5]);
        let count = |millis| schedule.count(Duration::from_millis(millis));
        assert_eq!(
            [count(0), count(1), count(250), count(251), count(1_000)],
            [0, 1, 1, 2, 4]
        );
    }

    #[test]
    fn a_schedule_does_not_drift() {
        let schedule = Schedule::new(3, 1);
        assert_eq!(schedule.due(3 * 3_600), Duration::from_secs(3_600));
        assert_eq!(schedule.count(Duration::from_secs(3_600)), 3 * 3_600);
    }

    #[test]
    fn the_next_append_is_always_due_later_than_those_that_are_due() {
        // Otherwise the pace would not sleep, and would hand out nothing either.
        for (events_per_s, events_per_append) in [(100, 1), (3, 7), (999_983, 1), (20_000, 1_000), (1, 1_000)]
        {
            let schedule = Schedule::new(events_per_s, events_per_append);
            for n in 0..1_000 {
                let at = schedule.due(n);
                assert_eq!(schedule.due_by(at), n + 1, "{schedule:?}");
                assert_eq!(schedule.count(at), n, "{schedule:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_append_of_an_open_loop_is_handed_out_once() {
        let length = Duration::from_secs(1);
        let starts = Starts::new(
            Instant::now(),
            length,
            Some(Schedule::new(10, 1)),
            Stop::default(),
        );
        let began = starts.began;
        let taken = async {
            let mut taken = Vec::new();
            while let Some(due) = starts.next().await {
                taken.push((due - began).as_millis());
            }
            taken
        };
        let (taken, ()) = tokio::join!(taken, starts.pace(&TestSleeper, 1));
        let expected: Vec<_> = (0..10).map(|n| n * 100).collect();
        assert_eq!(taken, expected);
        assert_eq!(starts.missed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_free_to_begin_is_told() {
        let length = Duration::from_secs(1);
        let starts = Starts::new(
            Instant::now(),
            length,
            Some(Schedule::new(10, 1)),
            Stop::default(),
        );
        let stuck = async {
            assert!(starts.next().await.is_some());
            // The engine answers long after the end.
            TestSleeper.until(starts.ends + length).await;
            assert_eq!(starts.next().await, None);
        };
        tokio::join!(stuck, starts.pace(&TestSleeper, 1));
        assert_eq!(starts.missed(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_both_loops() {
        for schedule in [None, Some(Schedule::new(10, 1))] {
            let stop = Stop::default();
            let starts = Starts::new(Instant::now(), Duration::from_secs(3_600), schedule, stop.clone());
            let caller = async {
                while starts.next().await.is_some() {
                    stop.set();
                }
            };
            tokio::join!(caller, starts.pace(&TestSleeper, 1));
            assert!(starts.began.elapsed() < Duration::from_secs(1));
        }
    }
}
