//! What a bench of reads found: fields with their units for programs, tables for people.

use std::path::PathBuf;

use serde::Serialize;

use super::ReadBench;
use super::data::{Followed, Made};
use super::expected::Expected;
use super::questions::Kind;
use crate::bench::BenchError;
use crate::bench::drive::Driven;
use crate::bench::latency::LatencyFigures;
use crate::bench::pace::Stop;
use crate::bench::report::{count, whole};
use crate::bench::tally::{Tally, rate};
use crate::out::{Table, harmless};

/// What came of it. Field names have their units; they are added to, never changed.
#[derive(Serialize)]
pub struct ReadReport {
    /// `read`.
    pub bench: &'static str,
    /// `open`: questions were due by the clock. `closed`: each was asked when the caller's last one was answered.
    #[serde(rename = "loop")]
    pub loop_kind: &'static str,
    /// From when a latency counts: `due`, corrected for coordinated omission, or `begun`.
    pub latency_from: &'static str,
    /// Whether a signal or too many errors ended it early.
    pub cut_short: bool,
    /// Tenant that has the data set.
    pub tenant: String,
    /// Seed of the data set.
    pub seed: u64,
    /// Its events.
    pub events: u64,
    /// Its sessions.
    pub sessions: u64,
    /// People that sessions are with.
    pub people: u64,
    /// Facts about them that were written.
    pub facts: u64,
    /// The engine, where it is in this process.
    pub engine: Option<&'static str>,
    /// Bytes of its files, or of its database: records and read models.
    pub stored_bytes: Option<u64>,
    /// Where they are, if they are still there.
    pub data_dir: Option<PathBuf>,
    /// Where their keys are, if they are still there.
    pub keys_dir: Option<PathBuf>,
    /// How fast the data set was made; absent where it was there.
    pub made: Option<Made>,
    /// How fast read models followed; empty where they were there.
    pub followed: Vec<Followed>,
    /// Callers, or connections.
    pub callers: usize,
    /// What an open loop asked for.
    pub rate_asked_questions_per_s: Option<u64>,
    /// Time before anything was measured, of each kind.
    pub warm_up_s: f64,
    /// Of each kind of question.
    pub questions: Vec<QuestionFigures>,
    /// Answers that were wrong, and questions that were not answered, of the whole run.
    pub errors: u64,
    /// What the first of them was.
    pub first_error: Option<String>,
    /// Processors that this process may use.
    pub cores: usize,
}

/// How long questions of one kind took.
#[derive(Serialize)]
pub struct QuestionFigures {
    /// Which kind.
    pub question: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// Right answers in the measured time.
    pub answers: u64,
    /// Right answers in a second.
    pub answers_per_s: f64,
    /// Measured time, up to the last answer.
    pub measured_s: f64,
    /// Latencies of right answers.
    #[serde(flatten)]
    pub latency: LatencyFigures,
    /// What the 99th percentile is to stay below.
    pub wanted_p99_ms: f64,
    /// Answers that said to try again later; the questions were asked again.
    pub overloaded: u64,
    /// Questions of an open loop that were due and that nobody was free to ask; they are in no latency.
    pub missed: u64,
    /// Wrong answers, and questions that were not answered, of the whole run of this kind.
    pub errors: u64,
    /// What the first of them was.
    pub first_error: Option<String>,
}

impl QuestionFigures {
    /// # Errors
    /// When no answer was right: then there is nothing to tell but why.
    pub(crate) fn new(kind: Kind, driven: &Driven) -> Result<Self, BenchError> {
        let (warm_up, measured) = (&driven.warm_up, &driven.measured);
        let first_error = warm_up.first_error.as_ref().or(measured.first_error.as_ref());
        let figures = measured.latencies.figures();
        let Some((latency, answers_per_s)) = figures.zip(rate(measured.appends, driven.took)) else {
            let why = first_error.map_or("give more --seconds, or a higher --rate", String::as_str);
            let what = kind.name();
            return Err(BenchError(format!(
                "no question of the kind {what} was answered in the measured time: {why}"
            )));
        };
        let failed = |tally: &Tally| tally.errors + tally.given_up + tally.unresolved;
        Ok(Self {
            question: kind.name(),
            asks: kind.asks(),
            answers: measured.appends,
            answers_per_s,
            measured_s: driven.took.as_secs_f64(),
            latency,
            wanted_p99_ms: kind.wanted_p99_ms(),
            overloaded: measured.overloaded,
            missed: driven.missed,
            errors: failed(warm_up) + failed(measured),
            first_error: first_error.cloned(),
        })
    }
}

impl ReadReport {
    pub(crate) fn new(bench: &ReadBench, expected: &Expected) -> Self {
        let open = bench.rate.is_some();
        Self {
            bench: "read",
            loop_kind: if open { "open" } else { "closed" },
            latency_from: if open { "due" } else { "begun" },
            cut_short: false,
            tenant: bench.tenant_name.clone(),
            seed: bench.story.seed,
            events: expected.events,
            sessions: expected.sessions,
            people: expected.facts_of.len() as u64,
            facts: expected.facts,
            engine: None,
            stored_bytes: None,
            data_dir: None,
            keys_dir: None,
            made: None,
            followed: Vec::new(),
            callers: bench.callers,
            rate_asked_questions_per_s: bench.rate,
            warm_up_s: bench.load.warm_up.as_secs_f64(),
            questions: Vec::new(),
            errors: 0,
            first_error: None,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }

    pub(crate) fn finish(&mut self, stop: &Stop) {
        self.cut_short = stop.is_set();
        self.errors = self.questions.iter().map(|of| of.errors).sum();
        self.first_error = self.questions.iter().find_map(|of| of.first_error.clone());
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![self.about(), self.times()];
        lines.extend(self.projections());
        lines.push(self.latencies());
        lines.push(match self.latency_from {
            "due" => "open loop: latency counts from when a question was due, so it is corrected for coordinated omission",
            _ => "closed loop: each caller waits for its answer; give --rate for latency at a rate",
        }
        .to_owned());
        if self.questions.iter().any(|of| of.missed > 0) {
            lines.push(
                "the rate was not reached: questions that were due were never asked, and the latencies are lower bounds; \
                 give a lower --rate or more callers"
                    .to_owned(),
            );
        }
        if let Some(error) = &self.first_error {
            lines.push(format!("{} ERRORS, the first: {}", self.errors, harmless(error)));
        }
        if self.cut_short {
            lines.push("CUT SHORT: this is what was measured before the end".to_owned());
        }
        if let (Some(data), Some(keys)) = (&self.data_dir, &self.keys_dir) {
            lines.push(format!(
                "the data set stays: tenant {} in {}, keys in {}",
                self.tenant,
                data.display(),
                keys.display()
            ));
        }
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }

    fn about(&self) -> String {
        let engine = match (self.engine, self.stored_bytes) {
            (Some(engine), Some(bytes)) => format!("{engine}, {} MB", count(bytes / 1_000_000)),
            _ => "on a server".to_owned(),
        };
        format!(
            "{} events: {} sessions with {} people, {} facts; {engine}; {} callers on {} cores",
            count(self.events),
            count(self.sessions),
            count(self.people),
            count(self.facts),
            self.callers,
            self.cores
        )
    }

    fn times(&self) -> String {
        self.made.map_or_else(String::new, |made| {
            format!(
                "made: {} events in {:.1} s, {} events/s",
                count(made.events),
                made.took_s,
                whole(made.events_per_s)
            )
        })
    }

    fn projections(&self) -> Option<String> {
        if self.followed.is_empty() {
            return None;
        }
        let mut table =
            Table::of(["read models", "records", "s", "records/s", "CPU µs/record"].map(str::to_owned));
        for of in &self.followed {
            let cpu = of.cpu_s.map_or_else(String::new, |cpu| {
                format!("{:.2}", cpu * 1e6 / of.records.max(1) as f64)
            });
            table.row_of([
                (of.projection.to_owned(), false),
                (count(of.records), true),
                (format!("{:.2}", of.took_s), true),
                (whole(of.records_per_s), true),
                (cpu, true),
            ]);
        }
        Some(table.to_string())
    }

    fn latencies(&self) -> String {
        let columns = [
            "question",
            "it asks for",
            "answers",
            "per s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
            "p99 wanted",
        ];
        let mut table = Table::of(columns.map(str::to_owned));
        for of in &self.questions {
            let ms = |value: f64| (format!("{value:.2}"), true);
            table.row_of([
                (of.question.to_owned(), false),
                (of.asks.to_owned(), false),
                (count(of.answers), true),
                (whole(of.answers_per_s), true),
                ms(of.latency.latency_p50_ms),
                ms(of.latency.latency_p95_ms),
                ms(of.latency.latency_p99_ms),
                ms(of.latency.latency_max_ms),
                (format!("< {:.0}", of.wanted_p99_ms), true),
            ]);
        }
        table.to_string()
    }
}
