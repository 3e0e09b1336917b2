//! The machine says when the next timer of a lane is due, and the read model of lanes, which nodes look at, says the same
//! after every append: a timer that the one knows and the other does not would never fire, or be asked for in vain.

use std::collections::BTreeSet;

use ruche_ledger::testing::ledger;
use ruche_projections::lanes;

use super::machine::Course;
use super::told::Told;

const COURSES: u64 = 40;
const STEPS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn machine_and_read_model_agree_on_what_is_due_next() {
    let mut kinds = BTreeSet::new();
    for seed in 0..COURSES {
        let mut course = Course::new(seed);
        if seed % 2 == 0 {
            // A turn that takes too long is found out before its lease lapses.
            course.settings.turn_us_max = 20_000_000;
        }
        let mut told = Told::of(course).await;
        for step in 0..STEPS {
            let Some(events) = told.step().await else { continue };
            let types: Vec<&str> = events.iter().map(|event| event.fact.event_type()).collect();
            let timers = lanes::timers(&*told.reads, ledger(1), told.course.now, 1).await;
            let next = told.course.lane.next_timer();
            assert_eq!(
                timers.expect("an answer").first(),
                next.map(|(at, _)| at),
                "seed {seed}, step {step}: {next:?} after {types:?}"
            );
            kinds.extend(
                next.map(|(_, timer)| format!("{timer:?}"))
                    .and_then(|words| kind(&words)),
            );
        }
    }
    let all = ["Approval", "Compensation", "Drain", "Lease", "Overdue", "Window"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(all), "each kind of timer was next at times");
}

/// The name of a timer as it is told for people.
fn kind(told: &str) -> Option<String> {
    told.split_once('(').map(|(name, _)| name.to_owned())
}
