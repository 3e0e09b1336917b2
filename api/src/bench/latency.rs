//! Latencies of many appends in little memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::limits::BENCH_LATENCY_MAX;

/// Digits that are kept of a latency: a value is told at most a thousandth too high.
const DIGITS: u8 = 3;

/// How long appends took, in microseconds, three digits of each.
#[derive(Clone)]
pub struct Latencies(Histogram<u32>);

/// Milliseconds below which so many of the appends stayed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyFigures {
    /// Half of them.
    pub latency_p50_ms: f64,
    /// 95 of 100.
    pub latency_p95_ms: f64,
    /// 99 of 100.
    pub latency_p99_ms: f64,
    /// 999 of 1,000.
    pub latency_p999_ms: f64,
    /// All of them.
    pub latency_max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(DIGITS).expect("the number of digits is one that is taken"))
    }
}

impl Latencies {
    /// One more. Longer than [`BENCH_LATENCY_MAX`] counts as that.
    pub fn record(&mut self, latency: Duration) {
        let micros = latency.min(BENCH_LATENCY_MAX).as_micros() as u64;
        // Not the histogram's own saturating call: that one does not grow, and would cut everything to its first size.
        self.0
            .record(micros)
            .expect("the histogram grows up to any value below the bound");
    }

    /// Those of another caller as well.
    pub fn merge(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("the histogram grows up to any value below the bound");
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The figures; `None` where nothing was recorded.
    pub fn figures(&self) -> Option<LatencyFigures> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Some(LatencyFigures {
            latency_p50_ms: at(0.5),
            latency_p95_ms: at(0.95),
            latency_p99_ms: at(0.99),
            latency_p999_ms: at(0.999),
            latency_max_ms: at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for millis in millis {
            latencies.record(Duration::from_millis(millis));
        }
        latencies
    }

    /// Equal to a thousandth, as the histogram promises.
    fn close(found: f64, expected: f64) -> bool {
        found >= expected && found <= expected * 1.001
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let figures = of(1..=1_000).figures().unwrap();
        for (found, expected) in [
            (figures.latency_p50_ms, 500.0),
            (figures.latency_p95_ms, 950.0),
            (figures.latency_p99_ms, 990.0),
            (figures.latency_p999_ms, 999.0),
            (figures.latency_max_ms, 1_000.0),
        ] {
            assert!(close(found, expected), "{figures:?}");
        }
    }

    #[test]
    fn merged_callers_give_the_figures_of_all_values_together() {
        // One caller is fast and one is slow, so that neither has the figures of both.
        let (mut fast, slow) = (of(1..=900), of(901..=1_000));
        fast.merge(&slow);
        assert_eq!(fast.count(), 1_000);
        assert_eq!(fast.figures(), of(1..=1_000).figures());
        // A caller without any append changes nothing.
        fast.merge(&Latencies::default());
        assert_eq!(fast.figures(), of(1..=1_000).figures());
    }

    #[test]
    fn the_longest_latency_is_cut_to_the_bound_and_nothing_is_no_figure() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.figures(), None);
        latencies.record(Duration::MAX);
        let figures = latencies.figures().unwrap();
        assert!(close(
            figures.latency_max_ms,
            BENCH_LATENCY_MAX.as_millis() as f64
        ));
    }
}
