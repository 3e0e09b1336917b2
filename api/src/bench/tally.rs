//! What came of the appends of a run.

use std::time::Duration;

use tokio::time::Instant;

use super::latency::Latencies;

/// Counts of one caller, or of all.
#[derive(Clone, Default)]
pub struct Tally {
    /// Appends that were answered as durable.
    pub appends: u64,
    /// Their events.
    pub events: u64,
    /// How long each of them took.
    pub latencies: Latencies,
    /// Answers that said to try again later. The append was sent again.
    pub overloaded: u64,
    /// Appends that found their stream at another version; nothing was written.
    pub conflicts: u64,
    /// Answers that did not say whether the events were written.
    pub unknown: u64,
    /// Appends of which it is still not known in the end.
    pub unresolved: u64,
    /// Appends that were refused too often, or when the run ended, and not sent again.
    pub given_up: u64,
    /// Appends that failed.
    pub errors: u64,
    /// What the first of them was answered.
    pub first_error: Option<String>,
    /// When the last durable append was answered.
    pub last_answer: Option<Instant>,
}

impl Tally {
    /// That of another caller as well.
    pub fn merge(&mut self, other: &Self) {
        self.appends += other.appends;
        self.events += other.events;
        self.latencies.merge(&other.latencies);
        self.overloaded += other.overloaded;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.unresolved += other.unresolved;
        self.given_up += other.given_up;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// A durable append, begun (or due) at `started`.
    pub fn durable(&mut self, events: u64, started: Instant, now: Instant) {
        self.appends += 1;
        self.events += events;
        self.latencies.record(now.saturating_duration_since(started));
        self.last_answer = self.last_answer.max(Some(now));
    }

    /// A failed append.
    pub fn failed(&mut self, reason: String) {
        self.errors += 1;
        self.first_error.get_or_insert(reason);
    }
}

/// Events in a second; `None` where no time has passed.
pub fn rate(events: u64, took: Duration) -> Option<f64> {
    (!took.is_zero()).then(|| events as f64 / took.as_secs_f64())
}

/// A rate as part of the limit, which is the mean of what was measured of it; `None` without a limit.
pub fn ratio(rate: f64, limits: &[Option<f64>]) -> Option<f64> {
    let measured: Vec<f64> = limits.iter().copied().flatten().collect();
    let mean = measured.iter().sum::<f64>() / measured.len() as f64;
    (mean > 0.0).then(|| rate / mean)
}

/// Whether the limit moved so much within the run that the ratio says little: the machine had something else to do.
pub fn is_unsteady(limits: &[Option<f64>], parts_max: f64) -> bool {
    let measured = limits.iter().copied().flatten();
    let (low, high) = measured.fold((f64::INFINITY, 0.0_f64), |(low, high), limit| {
        (low.min(limit), high.max(limit))
    });
    high > low * parts_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_to_the_mean_of_both_limits() {
        assert_eq!(ratio(50.0, &[Some(80.0), Some(120.0)]), Some(0.5));
        assert_eq!(ratio(50.0, &[Some(80.0), None]), Some(0.625));
        assert_eq!(ratio(50.0, &[None, None]), None);
        assert_eq!(ratio(50.0, &[Some(0.0), None]), None);
    }

    #[test]
    fn a_limit_that_moves_is_told() {
        assert!(!is_unsteady(&[Some(100.0), Some(119.0)], 1.2));
        assert!(is_unsteady(&[Some(121.0), Some(100.0)], 1.2));
        assert!(!is_unsteady(&[Some(100.0), None], 1.2));
        assert!(!is_unsteady(&[None, None], 1.2));
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rate(10, Duration::from_secs(2)), Some(5.0));
        assert_eq!(rate(10, Duration::ZERO), None);
    }

    #[test]
    fn tallies_add_up() {
        let now = Instant::now();
        let later = now + Duration::from_millis(5);
        let (mut first, mut second) = (Tally::default(), Tally::default());
        first.durable(10, now, now);
        first.overloaded = 1;
        second.durable(20, now, later);
        second.failed("a fault".to_owned());
        second.failed("another".to_owned());
        first.merge(&second);
        assert_eq!((first.appends, first.events, first.errors), (2, 30, 2));
        assert_eq!((first.overloaded, first.latencies.count()), (1, 2));
        assert_eq!(first.first_error.as_deref(), Some("a fault"));
        assert_eq!(first.last_answer, Some(later));
    }
}
