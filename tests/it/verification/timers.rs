//! The machine says when the next timer of a lane is due, and the read model of lanes, which nodes look at, says the same
//! after every append: a timer that the one knows and the other does not would never fire, or be asked for in vain.

use std::collections::BTreeSet;
use std::sync::Arc;

use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::{EventStore, PreparedEvent};
use ruche_ledger::testing::{Author, FixedClock, appended, ledger};
use ruche_projections::lanes;
use ruche_projections::runner::Runner;
use ruche_projections_sqlite::SqliteReadStore;

use super::machine::{Course, prepared};

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
        let author = Author::new(1);
        let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(course.now.0))));
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.expect("a new ledger");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reads = Arc::new(SqliteReadStore::open(folder.path()).expect("read models"));
        let runner = Runner::new(store.clone(), reads.clone());
        for step in 0..STEPS {
            let Some(events) = course.step() else { continue };
            let types: Vec<&str> = events.iter().map(|event| event.fact.event_type()).collect();
            let events: Vec<PreparedEvent> = events.iter().map(|event| prepared(&author, event)).collect();
            appended(store.append(ledger(1), author.append(events)).await);
            runner.catch_up(ledger(1)).await.expect("the read models follow");
            let timers = lanes::timers(&*reads, ledger(1), course.now, 1).await;
            let next = course.lane.next_timer();
            assert_eq!(
                timers.expect("an answer").first(),
                next.map(|(at, _)| at),
                "seed {seed}, step {step}: {next:?} after {types:?}"
            );
            kinds.extend(
                next.map(|(_, timer)| format!("{timer:?}"))
                    .and_then(|told| kind(&told)),
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
