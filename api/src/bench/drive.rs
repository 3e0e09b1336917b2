//! Runs the callers of a bench, all at the same time, and adds up what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::BenchError;
use super::pace::{Schedule, Sleeper, Starts, Stop, ThreadSleeper};
use super::tally::Tally;
use crate::limits::{BENCH_ERRORS_MAX, BENCH_HINT_WAIT_MAX, BENCH_PROGRESS_INTERVAL, BENCH_SENDS_MAX};

/// What a send was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The events are durable.
    Durable,
    /// Nothing was written; try again after the hint.
    Overloaded(Duration),
    /// The stream is at another version; nothing was written.
    Conflict,
    /// It cannot be said whether the events were written.
    Unknown {
        /// Whether sending the same append again finds out.
        may_ask_again: bool,
    },
    /// The append failed or was refused; why.
    Failed(String),
}

/// One client that appends, each append behind the one before.
#[async_trait]
pub trait Caller: Send {
    /// Makes the next append. Part of its latency, as the work of a client's library is.
    ///
    /// # Errors
    /// Why it cannot be made.
    fn prepare(&mut self) -> Result<(), String>;

    /// Sends the append that was made; called again after `Overloaded`, and after `Unknown` where that helps.
    async fn send(&mut self) -> Answer;

    /// Events of each append.
    fn events(&self) -> u64;
}

/// How long and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Time before anything is measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub measured: Duration,
    /// When appends are due; without it the loop is closed.
    pub schedule: Option<Schedule>,
}

/// What came of a run.
#[derive(Default)]
pub struct Driven {
    /// Appends that began before the measured time.
    pub warm_up: Tally,
    /// Appends that began, or were due, in it.
    pub measured: Tally,
    /// From the beginning of the measured time to its end, or to the last answer where that came later.
    pub took: Duration,
    /// Appends of an open loop that were due and that no caller was free to begin.
    pub missed: u64,
}

/// Runs the callers with a bar that moves, where somebody looks.
///
/// # Errors
/// When a caller dies.
pub async fn drive(
    callers: Vec<Box<dyn Caller>>,
    load: Load,
    stop: &Stop,
    bar: ProgressBar,
) -> Result<Driven, BenchError> {
    drive_with(callers, load, stop, bar, Arc::new(ThreadSleeper)).await
}

async fn drive_with(
    callers: Vec<Box<dyn Caller>>,
    load: Load,
    stop: &Stop,
    bar: ProgressBar,
    sleeper: Arc<dyn Sleeper>,
) -> Result<Driven, BenchError> {
    let count = callers.len();
    let began = Instant::now();
    let measured_from = began + load.warm_up;
    let length = load.warm_up + load.measured;
    let run = Arc::new(Run {
        starts: Starts::new(began, length, load.schedule, stop.clone()),
        measured_from,
        stop: stop.clone(),
        events: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    });
    let pace = pace(run.clone(), sleeper, count);
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| tokio::spawn(run_caller(caller, run.clone())))
        .collect();
    let all = async {
        let mut driven = Driven::default();
        for task in tasks {
            let (warm_up, measured) = task
                .await
                .map_err(|error| BenchError::because("a caller died", &error))?;
            driven.warm_up.merge(&warm_up);
            driven.measured.merge(&measured);
        }
        Ok::<_, BenchError>(driven)
    };
    let driven = tokio::select! {
        driven = all => driven,
        () = show(&bar, &run, began) => unreachable!("the bar moves until the callers end"),
    };
    if driven.is_err() {
        // The other callers and the pace end, too.
        stop.set();
    }
    let mut driven = driven?;
    pace.await
        .map_err(|error| BenchError::because("the pace died", &error))?;
    bar.finish_and_clear();
    let ended = match stop.is_set() {
        true => driven.measured.last_answer,
        false => driven.measured.last_answer.max(Some(began + length)),
    };
    driven.took = ended.map_or(Duration::ZERO, |at| at.saturating_duration_since(measured_from));
    driven.missed = run.starts.missed();
    Ok(driven)
}

/// A pace that blocks while it sleeps has a thread of its own.
fn pace(run: Arc<Run>, sleeper: Arc<dyn Sleeper>, callers: usize) -> tokio::task::JoinHandle<()> {
    if !sleeper.blocks() {
        return tokio::spawn(async move { run.starts.pace(&*sleeper, callers).await });
    }
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(run.starts.pace(&*sleeper, callers)))
}

struct Run {
    starts: Starts,
    measured_from: Instant,
    stop: Stop,
    /// Durable so far, for the bar.
    events: AtomicU64,
    errors: AtomicU64,
}

async fn run_caller(mut caller: Box<dyn Caller>, run: Arc<Run>) -> (Tally, Tally) {
    let (mut warm_up, mut measured) = (Tally::default(), Tally::default());
    while let Some(started) = run.starts.next().await {
        let tally = match started < run.measured_from {
            true => &mut warm_up,
            false => &mut measured,
        };
        let (errors, events) = (tally.errors, tally.events);
        append(&mut *caller, started, tally, &run.stop).await;
        run.events.fetch_add(tally.events - events, Ordering::Relaxed);
        if tally.errors > errors && run.errors.fetch_add(1, Ordering::Relaxed) + 1 >= BENCH_ERRORS_MAX {
            run.stop.set();
        }
    }
    (warm_up, measured)
}

/// One append, sent until there is an answer that stands.
async fn append(caller: &mut dyn Caller, started: Instant, tally: &mut Tally, stop: &Stop) {
    if let Err(reason) = caller.prepare() {
        return tally.failed(reason);
    }
    let mut is_unresolved = false;
    for _ in 0..BENCH_SENDS_MAX {
        match caller.send().await {
            Answer::Durable => return tally.durable(caller.events(), started, Instant::now()),
            Answer::Conflict => {
                tally.conflicts += 1;
                return;
            }
            Answer::Failed(reason) => {
                tally.unresolved += u64::from(is_unresolved);
                return tally.failed(reason);
            }
            Answer::Overloaded(hint) => {
                tally.overloaded += 1;
                if stop.is_set() {
                    break;
                }
                tokio::time::sleep(hint.min(BENCH_HINT_WAIT_MAX)).await;
            }
            Answer::Unknown { may_ask_again } => {
                tally.unknown += 1;
                is_unresolved = true;
                if !may_ask_again || stop.is_set() {
                    break;
                }
            }
        }
    }
    if is_unresolved {
        tally.unresolved += 1;
    } else {
        tally.given_up += 1;
    }
}

/// A bar over the time of a run, or nothing where nobody looks at a terminal.
pub fn bar(what: &'static str, load: &Load) -> ProgressBar {
    let length = load.warm_up + load.measured;
    let bar = crate::out::progress(length.as_millis() as u64, what);
    let style =
        ProgressStyle::with_template("{prefix} [{wide_bar}] {msg}").expect("the template is a constant");
    bar.set_style(style);
    bar.set_prefix(what);
    bar.set_message("");
    bar
}

async fn show(bar: &ProgressBar, run: &Run, began: Instant) {
    let mut ticks = tokio::time::interval(BENCH_PROGRESS_INTERVAL);
    loop {
        ticks.tick().await;
        let phase = match Instant::now() < run.measured_from {
            true => "warming up",
            false => "measuring",
        };
        bar.set_position(began.elapsed().as_millis() as u64);
        bar.set_message(format!("{phase}, {} events", run.events.load(Ordering::Relaxed)));
    }
}

#[cfg(test)]
mod tests;
