//! `ruche bench fabric`: agents that take turns of many lanes from one server and work on them, as their programs do.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt as _, stream};
use ruche_domain::ports::Random;
use serde::Serialize;
use tokio::time::Instant;

use super::BenchError;
use super::connection::Server;
use super::drive::{Answer, Caller, Driven, Load, bar, drive};
use super::latency::LatencyFigures;
use super::pace::Stop;
use super::tally::rate;
use crate::limits::BENCH_OPENING_AT_ONCE_MAX;
use crate::out::{Table, harmless, progress};

mod worker;

use worker::{Steps, Worker};

/// Who works, on what, and how fast.
pub struct FabricBench {
    server: Arc<Server>,
    agents: usize,
    names: usize,
    lanes: usize,
    payload_bytes: usize,
    rate: Option<u64>,
    load: Load,
}

/// How long requests of one kind took.
#[derive(Serialize)]
pub struct StepFigures {
    /// How many were answered.
    pub count: u64,
    /// Latencies, from when each was sent.
    #[serde(flatten)]
    pub latency: LatencyFigures,
}

/// What came of it. Field names have their units; they are added to, never changed.
#[derive(Serialize)]
pub struct FabricReport {
    /// `fabric`.
    pub bench: &'static str,
    /// `open`: turns were due by the clock. `closed`: each began when the agent's last one was over.
    #[serde(rename = "loop")]
    pub loop_kind: &'static str,
    /// Whether it ended early.
    pub cut_short: bool,
    /// Agents, each with a connection of its own.
    pub agents: usize,
    /// Names that they go by. Agents of one name claim turns of the same lanes.
    pub names: usize,
    /// Lanes that have a turn that waits or runs, all the time.
    pub open_lanes: usize,
    /// Bytes of each text: message, arguments, result, answer.
    pub text_bytes: usize,
    /// What an open loop asked for.
    pub rate_asked_turns_per_s: Option<u64>,
    /// Measured time, up to the last answer.
    pub measured_s: f64,
    /// Whole turns: claim, two tools, commit, and the next message.
    pub turns: u64,
    /// Whole turns in a second.
    pub turns_per_s: f64,
    /// Requests in a second.
    pub mutations_per_s: f64,
    /// Of whole turns; from when they were due in an open loop.
    #[serde(flatten)]
    pub latency: LatencyFigures,
    /// Of each kind of request.
    pub steps: BTreeMap<&'static str, StepFigures>,
    /// Answers that said to try again later.
    pub overloaded: u64,
    /// Answers that did not say what happened; asked again.
    pub unknown: u64,
    /// Turns that ended in an error, a conflict or after too many tries.
    pub errors: u64,
    /// What the first of them was answered.
    pub first_error: Option<String>,
    /// Turns of an open loop that were due and that no agent was free to begin.
    pub missed: u64,
    /// Processors that this process may use.
    pub cores: usize,
}

impl FabricBench {
    /// With so many agents of so many names, on so many lanes, against `url`, with a key of the role admin.
    ///
    /// # Errors
    /// When the URL or the key is none.
    pub fn new(
        (url, key): (&str, &str),
        (agents, names, lanes): (usize, usize, usize),
        payload_bytes: usize,
        (rate, load): (Option<u64>, Load),
    ) -> Result<Self, BenchError> {
        Ok(Self {
            server: Arc::new(Server::new(url, key)?),
            agents,
            names,
            lanes,
            payload_bytes,
            rate,
            load,
        })
    }

    /// Opens the lanes, lets the agents work, and measures.
    ///
    /// # Errors
    /// When the server does not take it, or nothing could be measured.
    pub async fn run(&self, random: &dyn Random, stop: &Stop) -> Result<FabricReport, BenchError> {
        let steps = Steps::default();
        let mut label = [0; 6];
        random.fill(&mut label);
        let label = format!("bench-{}", hex::encode(label));
        let soon = Instant::now();
        let worker = |number| {
            let measured = (steps.clone(), soon);
            Worker::new(
                self.server.clone(),
                random,
                (&label, number, number % self.names),
                self.payload_bytes,
                measured,
            )
        };
        let mut workers: Vec<Worker> = (0..self.agents).map(worker).collect();
        let not_taken = |answer: Answer| {
            BenchError(format!(
                "the server does not take it: {answer:?}. Is it running, is --url its address, and does the key have the \
                 role admin? `ruche keys new --tenant bench --role admin` makes one"
            ))
        };
        workers[0].register_tools().await.map_err(not_taken)?;
        let bar_of_agents = progress(self.agents as u64, "opening lanes");
        let opened = stream::iter(workers.into_iter().enumerate())
            .map(|(number, mut worker)| async move {
                let lanes = self.lanes / self.agents + usize::from(number < self.lanes % self.agents);
                worker.open(lanes).await.map(|()| worker)
            })
            .buffer_unordered(BENCH_OPENING_AT_ONCE_MAX)
            .inspect(|_| bar_of_agents.inc(1));
        let opened: Vec<_> = opened.collect().await;
        bar_of_agents.finish_and_clear();
        let workers: Result<Vec<Worker>, Answer> = opened.into_iter().collect();
        let measured_from = Instant::now() + self.load.warm_up;
        let callers = workers.map_err(not_taken)?.into_iter().map(|mut worker| {
            worker.measure_from(measured_from);
            Box::new(worker) as Box<dyn Caller>
        });
        let driven = drive(callers.collect(), self.load, stop, bar("working", &self.load)).await?;
        self.report(&driven, &steps, stop)
    }

    fn report(&self, driven: &Driven, steps: &Steps, stop: &Stop) -> Result<FabricReport, BenchError> {
        let (warm_up, measured) = (&driven.warm_up, &driven.measured);
        let first_error = warm_up.first_error.as_ref().or(measured.first_error.as_ref());
        let figures = measured.latencies.figures();
        let Some((latency, turns_per_s)) = figures.zip(rate(measured.appends, driven.took)) else {
            let why = first_error.map_or("give it more seconds", String::as_str);
            return Err(BenchError(format!("no turn ended in the measured time: {why}")));
        };
        let steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |latencies: &super::latency::Latencies| {
            let (count, latency) = (latencies.count(), latencies.figures()?);
            Some(StepFigures { count, latency })
        };
        let steps: BTreeMap<_, _> = steps
            .iter()
            .filter_map(|(name, latencies)| Some((*name, of(latencies)?)))
            .collect();
        let mutations = steps.values().map(|step| step.count).sum();
        let failed =
            |tally: &super::tally::Tally| tally.errors + tally.conflicts + tally.given_up + tally.unresolved;
        Ok(FabricReport {
            bench: "fabric",
            loop_kind: if self.rate.is_some() { "open" } else { "closed" },
            cut_short: stop.is_set(),
            agents: self.agents,
            names: self.names,
            open_lanes: self.lanes,
            text_bytes: self.payload_bytes,
            rate_asked_turns_per_s: self.rate,
            measured_s: driven.took.as_secs_f64(),
            turns: measured.appends,
            turns_per_s,
            mutations_per_s: rate(mutations, driven.took).unwrap_or_default(),
            latency,
            steps,
            overloaded: measured.overloaded,
            unknown: measured.unknown,
            errors: failed(measured) + failed(warm_up),
            first_error: first_error.cloned(),
            missed: driven.missed,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        })
    }
}

impl FabricReport {
    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new(["of", "count", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
        let mut row = |name: &str, count: u64, latency: &LatencyFigures| {
            table.row([
                name.to_owned(),
                count.to_string(),
                format!("{:.2}", latency.latency_p50_ms),
                format!("{:.2}", latency.latency_p95_ms),
                format!("{:.2}", latency.latency_p99_ms),
                format!("{:.2}", latency.latency_max_ms),
            ]);
        };
        row("whole turns", self.turns, &self.latency);
        for (name, step) in &self.steps {
            row(name, step.count, &step.latency);
        }
        let mut lines = vec![
            format!(
                "{} agents of {} names, {} open lanes, {:.1} s on {} cores",
                self.agents, self.names, self.open_lanes, self.measured_s, self.cores
            ),
            format!(
                "{:.0} whole turns/s, {:.0} requests/s; a turn is a claim, two tools (proposed, started, reported), a \
                 commit and the next message",
                self.turns_per_s, self.mutations_per_s
            ),
            table.to_string(),
        ];
        for (name, value) in [
            ("overloaded, sent again", self.overloaded),
            ("unknown, asked again", self.unknown),
            ("turns that failed", self.errors),
            (
                "turns that were due and never begun: the rate was not reached",
                self.missed,
            ),
        ] {
            if value > 0 {
                lines.push(format!("{name}: {value}"));
            }
        }
        if let Some(error) = &self.first_error {
            lines.push(format!("the first error: {}", harmless(error)));
        }
        if self.cut_short {
            lines.push("CUT SHORT: this is what was measured before the end".to_owned());
        }
        lines.join("\n")
    }
}
