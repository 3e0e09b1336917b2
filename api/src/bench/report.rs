//! What a bench found: fields with their units for programs, a table for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::BenchError;
use super::disk;
use super::drive::{Driven, Load};
use super::latency::LatencyFigures;
use super::pace::Stop;
use super::read_lag::ReadLagFigures;
use super::tally::rate;
use crate::out::Table;

/// What each append looks like, and how long and how fast they come.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Events of each append.
    pub batch: usize,
    /// Bytes of the payload of each event.
    pub payload_bytes: usize,
    /// Of an open loop, what is asked for.
    pub rate_events_per_s: Option<u64>,
    /// Warm-up, measured time, and when appends are due.
    pub load: Load,
}

/// What came of a bench. Field names have their units; they are added to, never changed.
#[derive(Serialize)]
pub struct Report {
    /// `append` or `api`.
    pub bench: &'static str,
    /// `open`: appends were due by the clock. `closed`: each began when the caller's last one was answered.
    #[serde(rename = "loop")]
    pub loop_kind: &'static str,
    /// From when a latency counts: `due`, corrected for coordinated omission, or `begun`.
    pub latency_from: &'static str,
    /// Whether it ended early, by a signal or by too many errors.
    pub cut_short: bool,
    /// Callers or connections.
    pub callers: usize,
    /// Events of each append.
    pub events_per_append: usize,
    /// Bytes of the payload of each event.
    pub payload_bytes_per_event: usize,
    /// What an open loop asked for.
    pub rate_asked_events_per_s: Option<u64>,
    /// Time before anything was measured.
    pub warm_up_s: f64,
    /// Measured time, up to the last answer.
    pub measured_s: f64,
    /// Durable appends in the measured time.
    pub appends: u64,
    /// Their events.
    pub events: u64,
    /// Their payloads.
    pub payload_bytes: u64,
    /// Durable events in a second.
    pub events_per_s: f64,
    /// Latencies of durable appends.
    #[serde(flatten)]
    pub latency: LatencyFigures,
    /// Answers in the measured time that said to try again later; the appends were sent again.
    pub overloaded: u64,
    /// Appends that found their stream at another version; nothing was written.
    pub conflicts: u64,
    /// Answers that did not say whether the events were written; asked again with the same key.
    pub unknown: u64,
    /// Appends, of the whole run, of which it is still not known in the end.
    pub unresolved: u64,
    /// Appends that were refused too often, or when the run ended.
    pub given_up: u64,
    /// Failed appends of the whole run.
    pub errors: u64,
    /// What the first of them was answered.
    pub first_error: Option<String>,
    /// Appends of an open loop that were due and that nobody was free to begin; they are in no latency.
    pub missed: u64,
    /// Durable events of the whole run, warm-up and all: what stands in the ledgers now.
    pub events_appended: u64,
    /// Processors that this process may use.
    pub cores: usize,
    /// How far read models were behind, where that was asked for.
    #[serde(flatten)]
    pub read_lag: Option<ReadLagFigures>,
    /// Of the engine, where it is in this process.
    #[serde(flatten)]
    pub engine: Option<EngineFigures>,
}

/// The engine and its limit.
#[derive(Default, Serialize)]
pub struct EngineFigures {
    /// Its name.
    pub engine: &'static str,
    /// Nodes in this process that shared out the callers, each with connections of its own.
    pub engines: usize,
    /// Tenants whose ledgers were made and appended to.
    pub tenants: Vec<String>,
    /// Where they are, if they are still there.
    pub data_dir: Option<PathBuf>,
    /// Where their keys are, if they are still there.
    pub keys_dir: Option<PathBuf>,
    /// Name of the database that has them.
    pub database: Option<String>,
    /// Streams in all; absent where callers went on with new ones.
    pub streams: Option<usize>,
    /// Whether each append claimed an idempotency key.
    pub idempotency_keys: bool,
    /// Settings that decide what an answered append survives, as found.
    pub durability: BTreeMap<String, String>,
    /// Type of the file system below the engine.
    pub file_system: Option<String>,
    /// Flushes of 4 KiB in a second.
    pub disk_flushes_per_s: Option<f64>,
    /// Durable commits of next to nothing in a second, of one connection: where the disk is not seen from here.
    pub one_connection_commits_per_s: Option<f64>,
    /// Events of a commit, on average, of the measured appends.
    pub events_per_commit: u64,
    /// The same of the appends before them.
    pub events_per_commit_before: u64,
    /// Bare inserts of the same rows, before.
    pub bare_inserts_before_events_per_s: Option<f64>,
    /// How they were sent, the best of the ways that were tried.
    pub bare_inserts_before_way: Option<&'static str>,
    /// The rate, after; absent where the run was cut short.
    pub bare_inserts_after_events_per_s: Option<f64>,
    /// How they were sent then.
    pub bare_inserts_after_way: Option<&'static str>,
    /// `events_per_s` as part of the mean of both; absent in an open loop, which is as fast as it was asked to be.
    pub ratio_to_bare_inserts: Option<f64>,
    /// Whether both differ so much that the machine was not quiet.
    pub limit_is_unsteady: bool,
}

impl Report {
    /// Of a run; `before` events were appended before it.
    ///
    /// # Errors
    /// When nothing was measured: then there is nothing to tell but why.
    pub fn new(
        bench: &'static str,
        callers: usize,
        shape: &Shape,
        driven: &Driven,
        before: u64,
        stop: &Stop,
    ) -> Result<Self, BenchError> {
        let (warm_up, measured) = (&driven.warm_up, &driven.measured);
        let first_error = warm_up.first_error.as_ref().or(measured.first_error.as_ref());
        let figures = measured
            .latencies
            .figures()
            .zip(rate(measured.events, driven.took));
        let Some((latency, events_per_s)) = figures else {
            return Err(nothing(first_error, stop));
        };
        let open = shape.rate_events_per_s.is_some();
        Ok(Self {
            bench,
            loop_kind: if open { "open" } else { "closed" },
            latency_from: if open { "due" } else { "begun" },
            cut_short: stop.is_set(),
            callers,
            events_per_append: shape.batch,
            payload_bytes_per_event: shape.payload_bytes,
            rate_asked_events_per_s: shape.rate_events_per_s,
            warm_up_s: shape.load.warm_up.as_secs_f64(),
            measured_s: driven.took.as_secs_f64(),
            appends: measured.appends,
            events: measured.events,
            payload_bytes: measured.events * shape.payload_bytes as u64,
            events_per_s,
            latency,
            overloaded: measured.overloaded,
            conflicts: measured.conflicts,
            unknown: measured.unknown,
            unresolved: measured.unresolved + warm_up.unresolved,
            given_up: measured.given_up + warm_up.given_up,
            errors: measured.errors + warm_up.errors,
            first_error: first_error.cloned(),
            missed: driven.missed,
            events_appended: before + warm_up.events + measured.events,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            read_lag: None,
            engine: None,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new(["figure", "value", "unit"]);
        let mut row = |name: &str, value: String, unit: &str| {
            table.row([name.to_owned(), value, unit.to_owned()]);
        };
        row("callers", self.callers.to_string(), "");
        row("events of an append", self.events_per_append.to_string(), "");
        row("payload", self.payload_bytes_per_event.to_string(), "bytes/event");
        row("cores", self.cores.to_string(), "");
        row("measured", format!("{:.2}", self.measured_s), "s");
        row("events", count(self.events), "");
        row("payloads", count(self.payload_bytes), "bytes");
        row("throughput", whole(self.events_per_s), "events/s");
        if let Some(asked) = self.rate_asked_events_per_s {
            row("asked for", count(asked), "events/s");
        }
        for (name, value) in [
            ("latency p50", self.latency.latency_p50_ms),
            ("latency p95", self.latency.latency_p95_ms),
            ("latency p99", self.latency.latency_p99_ms),
            ("latency p99.9", self.latency.latency_p999_ms),
            ("latency max", self.latency.latency_max_ms),
        ] {
            row(name, format!("{value:.3}"), "ms");
        }
        for (name, value) in [
            ("overloaded, sent again", self.overloaded),
            ("conflicts", self.conflicts),
            ("unknown, asked again", self.unknown),
            ("still unknown", self.unresolved),
            ("given up", self.given_up),
            ("errors", self.errors),
            ("due, and never begun", self.missed),
        ] {
            if value > 0 {
                row(name, count(value), "");
            }
        }
        if let Some(lag) = &self.read_lag {
            lag.rows(&mut row);
        }
        if let Some(engine) = &self.engine {
            engine.rows(&mut row);
        }
        let mut lines = vec![table.to_string(), self.about_latency().to_owned()];
        lines.extend(self.warnings());
        lines.join("\n")
    }

    fn about_latency(&self) -> &'static str {
        if self.latency_from == "due" {
            "open loop: latency counts from when an append was due, so it is corrected for coordinated omission"
        } else {
            "closed loop: each caller waits for its answer, so latency is that at the load that the callers reach; \
             give --rate for latency at a rate"
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.cut_short {
            lines.push("CUT SHORT: this is what was measured before the end".to_owned());
        }
        if let Some(error) = self
            .read_lag
            .as_ref()
            .and_then(|lag| lag.read_lag_first_error.as_ref())
        {
            lines.push(format!(
                "looking at read models, the first error: {}",
                crate::out::harmless(error)
            ));
        }
        if let Some(error) = &self.first_error {
            lines.push(format!("the first error: {}", crate::out::harmless(error)));
        }
        // Where a signal ended the run, an append of each caller may just have been due.
        let just_due = if self.cut_short { self.callers as u64 } else { 0 };
        if self.missed > just_due {
            lines.push(
                "the rate was not reached: appends that were due were never begun, and the latencies are lower bounds; \
                 give a lower --rate or more callers"
                    .to_owned(),
            );
        }
        match &self.engine {
            Some(engine) => lines.extend(engine.warnings()),
            None => lines.push(
                "durability and disk of the server are not seen from here; run `ruche bench append` on its machine"
                    .to_owned(),
            ),
        }
        lines
    }
}

impl ReadLagFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String, &str)) {
        row("looks at read models", count(self.read_lag_samples), "");
        for (name, value) in [
            ("read models behind, p50", self.read_lag_p50_ms),
            ("read models behind, p99", self.read_lag_p99_ms),
            ("read models behind, max", self.read_lag_max_ms),
        ] {
            if let Some(value) = value {
                row(name, format!("{value:.3}"), "ms");
            }
        }
        if self.read_lag_failed > 0 {
            row("looks that failed", count(self.read_lag_failed), "");
        }
    }
}

impl EngineFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String, &str)) {
        row("engine", self.engine.to_owned(), "");
        row("nodes in this process", self.engines.to_string(), "");
        row("ledgers", self.tenants.len().to_string(), "");
        for (name, value) in &self.durability {
            row(name, value.clone(), "");
        }
        if let Some(file_system) = &self.file_system {
            row("file system", file_system.clone(), "");
        }
        if let Some(flushes) = self.disk_flushes_per_s {
            row("flushes of the disk", whole(flushes), "1/s");
        }
        if let Some(commits) = self.one_connection_commits_per_s {
            row("commits of one connection", whole(commits), "1/s");
        }
        row("events of a commit", self.events_per_commit.to_string(), "");
        let (before, after) = (self.bare_inserts_before_way, self.bare_inserts_after_way);
        for (name, limit, way) in [
            (
                "bare inserts, before",
                self.bare_inserts_before_events_per_s,
                before,
            ),
            ("bare inserts, after", self.bare_inserts_after_events_per_s, after),
        ] {
            if let Some(limit) = limit {
                let name = way.map_or_else(|| name.to_owned(), |way| format!("{name} ({way})"));
                row(&name, whole(limit), "events/s");
            }
        }
        if let Some(ratio) = self.ratio_to_bare_inserts {
            row("ratio to bare inserts", format!("{:.1}", 100.0 * ratio), "%");
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.limit_is_unsteady {
            lines.push(
                "the limit moved within the run: the machine or the disk had something else to do; repeat it"
                    .to_owned(),
            );
        }
        if self.file_system.as_deref().is_some_and(disk::is_memory) {
            lines.push(
                "the store is in memory: flushes cost nothing here; name a folder on a disk with --data-dir"
                    .to_owned(),
            );
        }
        if let Some(database) = &self.database {
            let keys = self.keys_dir.as_ref().map_or_else(
                || {
                    "their keys went with the bench: drop the database when it is not needed any more"
                        .to_owned()
                },
                |keys| format!("keys in {}", keys.display()),
            );
            lines.push(format!(
                "the ledgers stay: tenants {} in the database {}; {keys}",
                self.tenants.join(", "),
                crate::out::harmless(database)
            ));
        }
        if let (Some(data), Some(keys)) = (&self.data_dir, &self.keys_dir) {
            lines.push(format!(
                "the ledgers stay: tenants {} in {}, keys in {}",
                self.tenants.join(", "),
                data.display(),
                keys.display()
            ));
        }
        lines
    }
}

fn nothing(first_error: Option<&String>, stop: &Stop) -> BenchError {
    BenchError(match first_error {
        Some(error) => format!("nothing was measured, every append failed: {error}"),
        None if stop.is_set() => "stopped before anything was measured".to_owned(),
        None => "nothing was answered within the measured time; give more --seconds, or a higher --rate"
            .to_owned(),
    })
}

/// With commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, to the next whole number.
pub(super) fn whole(number: f64) -> String {
    count(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(whole(1_999.6), "2,000");
    }
}
