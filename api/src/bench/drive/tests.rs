//! With the clock of the test, which moves only while everybody waits.

use std::collections::VecDeque;

use super::super::pace::tests::TestSleeper;
use super::*;

/// Answers so, each after so many milliseconds; then `Durable` at once.
struct Scripted(VecDeque<(u64, Answer)>);

#[async_trait]
impl Caller for Scripted {
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    async fn send(&mut self) -> Answer {
        let (millis, answer) = self.0.pop_front().unwrap_or((1, Answer::Durable));
        TestSleeper
            .until(Instant::now() + Duration::from_millis(millis))
            .await;
        answer
    }

    fn events(&self) -> u64 {
        10
    }
}

async fn run(answers: Vec<(u64, Answer)>, load: Load) -> Driven {
    let callers: Vec<Box<dyn Caller>> = vec![Box::new(Scripted(answers.into()))];
    let stop = Stop::default();
    let bar = ProgressBar::hidden();
    drive_with(callers, load, &stop, bar, Arc::new(TestSleeper))
        .await
        .unwrap()
}

fn load(millis: u64, rate: Option<u64>) -> Load {
    Load {
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(millis),
        schedule: rate.map(|rate| Schedule::new(rate, 1)),
    }
}

/// The engine stands still for a second. A closed loop sees one slow append; an open one sees that a hundred appends
/// were due meanwhile, and that half of them were more than half a second late.
#[tokio::test(start_paused = true)]
async fn an_open_loop_does_not_omit_what_was_due_while_the_engine_stood_still() {
    let stalled = vec![(1_000, Answer::Durable)];
    let open = run(stalled.clone(), load(1_300, Some(100))).await.measured;
    let closed = run(stalled, load(1_300, None)).await.measured;
    let (open, closed) = (open.latencies, closed.latencies);
    assert_eq!(open.count(), 130);
    let (open, closed) = (open.figures().unwrap(), closed.figures().unwrap());
    assert!(closed.latency_p50_ms < 3.0, "{closed:?}");
    assert!(closed.latency_p99_ms < 3.0, "{closed:?}");
    assert!((300.0..=600.0).contains(&open.latency_p50_ms), "{open:?}");
    assert!((900.0..=1_005.0).contains(&open.latency_p99_ms), "{open:?}");
    for figures in [open, closed] {
        assert!((999.0..=1_005.0).contains(&figures.latency_max_ms), "{figures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_that_is_slower_than_its_schedule_says_what_it_missed() {
    let slow = vec![(100, Answer::Durable); 100];
    let driven = run(slow, load(1_000, Some(100))).await;
    assert_eq!(driven.measured.appends + driven.missed, 100);
    assert!(driven.missed > 80, "{}", driven.missed);
    assert!(driven.took >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn only_durable_events_are_throughput_and_an_append_is_sent_again_after_the_hint() {
    let answers = vec![
        (1, Answer::Conflict),
        (1, Answer::Failed("a fault".to_owned())),
        (1, Answer::Overloaded(Duration::from_millis(250))),
        (1, Answer::Durable),
        (1, Answer::Unknown { may_ask_again: true }),
        (1, Answer::Durable),
        (1, Answer::Unknown { may_ask_again: false }),
        (1_000, Answer::Durable),
    ];
    let measured = run(answers, load(1_000, None)).await.measured;
    assert_eq!((measured.appends, measured.events), (3, 30));
    assert_eq!(
        (measured.conflicts, measured.errors, measured.given_up),
        (1, 1, 0)
    );
    assert_eq!(
        (measured.overloaded, measured.unknown, measured.unresolved),
        (1, 2, 1)
    );
    assert_eq!(measured.first_error.as_deref(), Some("a fault"));
}

#[tokio::test(start_paused = true)]
async fn waiting_after_a_refusal_is_part_of_the_latency() {
    let answers = vec![
        (1, Answer::Overloaded(Duration::from_millis(250))),
        (1, Answer::Durable),
    ];
    let measured = run(answers, load(250, None)).await.measured;
    assert_eq!(measured.appends, 1);
    let figures = measured.latencies.figures().unwrap();
    assert!((252.0..=256.0).contains(&figures.latency_p50_ms), "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_refused_for_ever_is_given_up() {
    let answers = vec![(0, Answer::Overloaded(Duration::from_millis(1))); BENCH_SENDS_MAX as usize];
    let measured = run(answers, load(1, None)).await.measured;
    assert_eq!(measured.overloaded, u64::from(BENCH_SENDS_MAX));
    assert_eq!((measured.given_up, measured.appends), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_is_counted_apart() {
    let load = Load {
        warm_up: Duration::from_millis(100),
        measured: Duration::from_millis(200),
        schedule: Some(Schedule::new(100, 1)),
    };
    let driven = run(Vec::new(), load).await;
    assert_eq!((driven.warm_up.appends, driven.measured.appends), (10, 20));
    assert_eq!(driven.took, Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_everything_fails() {
    let answers = vec![(1, Answer::Failed("a fault".to_owned())); 100_000];
    let measured = run(answers, load(3_600_000, None)).await.measured;
    assert_eq!(measured.errors, BENCH_ERRORS_MAX);
}
