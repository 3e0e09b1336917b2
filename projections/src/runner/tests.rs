//! The runner on a store that keeps statements and fails on demand.

use std::collections::HashMap;
use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{PROJECTION_ATTEMPTS_MAX, PROJECTION_BATCH_STATEMENTS_MAX};
use ruche_domain::numbers::Position;

use super::{RunError, Runner, WaitError};
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::store::{DeadLetterState, ProjectionStatus, ReadStore};
use crate::testing::faults::{Fault, RecordingStore};
use crate::testing::{Feed, Story};

/// Writes down each position.
struct Positions;

/// The same, but cannot apply the third record of any ledger.
struct Picky;

const SEEN: &str = "seen";

fn seen(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    Ok(vec![Change::write(SEEN, vec![event.place()?.into()])])
}

impl Projection for Positions {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        seen(event)
    }
}

impl Projection for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.record.position.index.0 == 2 {
            return Err(PoisonReason::TooLarge("a number"));
        }
        seen(event)
    }
}

/// Writes so much for each record that a few are enough for a transaction.
struct Wordy;

const WORDS: usize = PROJECTION_BATCH_STATEMENTS_MAX / 2;

impl Projection for Wordy {
    fn name(&self) -> &'static str {
        "wordy"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        Ok(vec![Change::alone(SEEN, vec![event.place()?.into()]); WORDS])
    }
}

const POISON: Position = Position {
    epoch: ruche_domain::numbers::Epoch(1),
    index: ruche_domain::numbers::LeafIndex(2),
};

/// The positions that a projection wrote, unpacked to indexes of epoch 1.
fn indexes(store: &RecordingStore, ledger: LedgerId, projection: &str) -> Vec<u64> {
    let statements = store.statements(ledger, projection);
    let positions = statements.iter().map(|statement| match statement.params[..] {
        [SqlValue::Int(packed)] => crate::event::unpack(packed).index.0,
        ref other => panic!("{other:?}"),
    });
    positions.collect()
}

async fn feed(records: u64) -> (Feed, LedgerId) {
    let feed = Feed::default();
    let ledger = feed.open(1).await;
    let mut story = Story::new(1);
    let mut events = story.session(1);
    events.truncate(records as usize - 1);
    feed.append(ledger, events).await;
    (feed, ledger)
}

fn runner(feed: &Feed, store: &Arc<RecordingStore>, projections: Vec<&'static dyn Projection>) -> Runner {
    Runner::with(feed.store.clone(), store.clone(), projections)
}

/// Runs until there is nothing left, going on after errors that are worth trying again.
async fn drive(runner: &Runner, ledger: LedgerId) -> usize {
    let mut errors = 0;
    for _ in 0..1_000 {
        match runner.run_once(ledger).await {
            Ok(run) if run.is_idle() => return errors,
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                errors += 1;
            }
        }
    }
    panic!("the runner does not come to an end");
}

#[tokio::test]
async fn a_transaction_has_so_many_statements_however_many_events_are_there() {
    let (feed, ledger) = feed(5).await;
    let store = Arc::new(RecordingStore::default());
    assert_eq!(drive(&runner(&feed, &store, vec![&Wordy]), ledger).await, 0);
    assert_eq!(store.writes(), 3, "two events, two events, and the last");
    assert_eq!(store.statements(ledger, "wordy").len(), 5 * WORDS);
    let checkpoint = store.status(ledger, "wordy").await.unwrap().checkpoint;
    assert_eq!(checkpoint.applied, 5);
}

#[tokio::test]
async fn every_event_is_applied_once_whichever_write_fails_and_however() {
    let (feed, ledger) = feed(20).await;
    let all: Vec<u64> = (0..20).collect();
    let writes = {
        let store = Arc::new(RecordingStore::default());
        let runner = runner(&feed, &store, vec![&Positions, &Picky]).batch_events_max(4);
        assert_eq!(drive(&runner, ledger).await, 0);
        store.writes()
    };
    assert!(writes > 6);
    for n in 0..writes {
        for fault in [Fault::Lost, Fault::Kept] {
            let store = Arc::new(RecordingStore::failing(n, fault));
            let runner = runner(&feed, &store, vec![&Positions, &Picky]).batch_events_max(4);
            let errors = drive(&runner, ledger).await;
            assert_eq!(errors, 1, "write {n} {fault:?}");
            assert_eq!(indexes(&store, ledger, "positions"), all, "write {n} {fault:?}");
            assert_eq!(indexes(&store, ledger, "picky"), [0, 1], "write {n} {fault:?}");
            let letters = store.dead_letters(ledger).await.unwrap();
            assert_eq!(letters.len(), 1, "write {n} {fault:?}");
            let checkpoint = store.status(ledger, "positions").await.unwrap().checkpoint;
            assert_eq!(
                (checkpoint.position, checkpoint.applied),
                (Some(Position::new(1, 19)), 20)
            );
        }
    }
}

#[tokio::test]
async fn a_poison_event_parks_one_projection_of_one_ledger() {
    let (feed, ledger) = feed(6).await;
    let other = feed.open(2).await;
    let store = Arc::new(RecordingStore::default());
    let runner = runner(&feed, &store, vec![&Positions, &Picky]);
    for attempt in 1..PROJECTION_ATTEMPTS_MAX {
        let run = runner.run_once(ledger).await.unwrap();
        assert_eq!((run.failing, run.parked), (1, 0), "attempt {attempt}");
        assert!(
            store.dead_letters(ledger).await.unwrap().is_empty(),
            "attempt {attempt}"
        );
    }
    assert_eq!(drive(&runner, ledger).await, 0);
    let letter = store.dead_letters(ledger).await.unwrap().remove(0);
    assert_eq!(
        (letter.position, letter.attempts),
        (POISON, PROJECTION_ATTEMPTS_MAX)
    );
    assert_eq!(letter.state, DeadLetterState::Parked);
    assert_eq!(letter.error, "a number is larger than a read model can hold");
    let decoded = ruche_ledger::leaf::Leaf::decode(&letter.leaf).unwrap();
    assert_eq!(
        (decoded.index.0, decoded.event.event_type),
        (2, letter.event_type)
    );

    // The other projection of this ledger and both of the other ledger are where they should be.
    assert_eq!(indexes(&store, ledger, "positions"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(drive(&runner, other).await, 0);
    assert_eq!(indexes(&store, other, "picky"), [0]);
    let wait = runner
        .progress()
        .wait_for(ledger, &["positions", "picky"], Position::new(1, 5))
        .await;
    assert_eq!(
        wait,
        Err(WaitError::Parked {
            projection: "picky",
            parked: POISON
        })
    );
    runner
        .progress()
        .wait_for(ledger, &["positions"], Position::new(1, 5))
        .await
        .unwrap();
    let lag = runner.lag(ledger).await.unwrap();
    assert_eq!(lag.iter().map(|lag| lag.records).collect::<Vec<_>>(), [0, 4]);
    assert!(lag.iter().all(|lag| lag.is_gapless()));
}

#[tokio::test]
async fn a_parked_projection_is_redriven_or_goes_on_without_the_event() {
    let (feed, ledger) = feed(6).await;
    let store = Arc::new(RecordingStore::default());
    let runner = runner(&feed, &store, vec![&Positions, &Picky]);
    drive(&runner, ledger).await;
    assert!(
        !runner
            .redrive(ledger, "picky", Position::new(1, 3))
            .await
            .unwrap()
    );
    assert!(runner.redrive(ledger, "picky", POISON).await.unwrap());
    let run = runner.run_once(ledger).await.unwrap();
    assert_eq!((run.failing, run.parked), (1, 0), "it is tried again");
    drive(&runner, ledger).await;
    assert!(runner.discard(ledger, "picky", POISON).await.unwrap());
    drive(&runner, ledger).await;
    assert_eq!(indexes(&store, ledger, "picky"), [0, 1, 3, 4, 5]);
    assert_eq!(indexes(&store, ledger, "positions"), [0, 1, 2, 3, 4, 5]);
    let status: ProjectionStatus = store.status(ledger, "picky").await.unwrap();
    assert_eq!(
        (status.checkpoint.applied, status.parked, status.discarded),
        (6, None, vec![POISON])
    );
}

#[tokio::test]
async fn what_the_store_refuses_is_found_in_its_batch() {
    let (feed, ledger) = feed(12).await;
    let store = Arc::new(RecordingStore::default());
    let place = crate::event::pack(Position::new(1, 7)).unwrap();
    store.refuse(Some(SqlValue::Int(place)));
    let runner = runner(&feed, &store, vec![&Positions]);
    drive(&runner, ledger).await;
    assert_eq!(indexes(&store, ledger, "positions"), [0, 1, 2, 3, 4, 5, 6]);
    let letter = store.dead_letters(ledger).await.unwrap().remove(0);
    assert_eq!(
        (letter.position, letter.error.as_str()),
        (Position::new(1, 7), "the read model refuses it: it does not fit")
    );
    store.refuse(None);
    assert!(
        runner
            .redrive(ledger, "positions", letter.position)
            .await
            .unwrap()
    );
    drive(&runner, ledger).await;
    assert_eq!(indexes(&store, ledger, "positions"), (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_workers_apply_everything_once() {
    let (feed, ledger) = feed(30).await;
    let store = Arc::new(RecordingStore::default());
    let a = runner(&feed, &store, vec![&Positions]).batch_events_max(4);
    let b = runner(&feed, &store, vec![&Positions]).batch_events_max(3);
    for _ in 0..40 {
        a.run_once(ledger).await.unwrap();
        b.run_once(ledger).await.unwrap();
    }
    assert_eq!(indexes(&store, ledger, "positions"), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn following_goes_on_with_new_records_and_wakes_who_waits() {
    let (feed, ledger) = feed(5).await;
    let store = Arc::new(RecordingStore::default());
    let runner = Arc::new(runner(&feed, &store, vec![&Positions, &Picky]));
    let following = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move { runner.follow(ledger).await }
    });
    runner
        .progress()
        .wait_for(ledger, &["positions"], Position::new(1, 4))
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move {
            runner
                .progress()
                .wait_for(ledger, &["positions"], Position::new(1, 6))
                .await
        }
    });
    let mut story = Story::new(2);
    let mut events = story.session(2);
    events.truncate(2);
    feed.append(ledger, events).await;
    waiting.await.unwrap().unwrap();
    // Discarding wakes a follower that waits for nothing but the parked projection, too.
    while store.dead_letters(ledger).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(runner.discard(ledger, "picky", POISON).await.unwrap());
    while indexes(&store, ledger, "picky").len() < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(indexes(&store, ledger, "picky"), [0, 1, 3, 4, 5, 6]);
    following.abort();
}

#[tokio::test]
async fn a_run_can_end_at_given_positions() {
    let (feed, ledger) = feed(20).await;
    let store = Arc::new(RecordingStore::default());
    let runner = runner(&feed, &store, vec![&Positions, &Picky]).batch_events_max(6);
    let until = HashMap::from([("positions", Position::new(1, 8))]);
    while !runner.run_until(ledger, &until).await.unwrap().is_idle() {}
    assert_eq!(indexes(&store, ledger, "positions"), (0..9).collect::<Vec<_>>());
    assert!(indexes(&store, ledger, "picky").is_empty());
}

#[tokio::test]
async fn rows_of_another_version_are_not_followed() {
    struct Newer;
    impl Projection for Newer {
        fn name(&self) -> &'static str {
            "positions"
        }
        fn version(&self) -> u32 {
            2
        }
        fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
            seen(event)
        }
    }
    let (feed, ledger) = feed(3).await;
    let store = Arc::new(RecordingStore::default());
    drive(&runner(&feed, &store, vec![&Positions]), ledger).await;
    let error = runner(&feed, &store, vec![&Newer])
        .run_once(ledger)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            RunError::Outdated {
                projection: "positions",
                stored: 1,
                known: 2
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn epochs_are_followed_one_after_the_other() {
    let (feed, ledger) = feed(3).await;
    let end = feed.end(ledger).await;
    let store = Arc::new(RecordingStore::default());
    let runner = runner(&feed, &store, vec![&Positions]);
    drive(&runner, ledger).await;
    let opening = feed.author.opening(ledger, 2, Some(end));
    ruche_ledger::store::EventStore::open_epoch(feed.store.as_ref(), ledger, opening)
        .await
        .unwrap();
    drive(&runner, ledger).await;
    let lag = runner.lag(ledger).await.unwrap()[0];
    assert_eq!(lag.checkpoint.position, Some(Position::new(2, 0)));
    assert_eq!((lag.passed, lag.records, lag.recorded_us), (4, 0, 0));
    assert!(lag.is_gapless());
}

#[tokio::test]
async fn who_waits_where_nobody_follows_hears_of_another_node() {
    let (feed, ledger) = feed(3).await;
    let end = feed.end(ledger).await;
    let store = Arc::new(RecordingStore::default());
    let (follows, looks) = (
        runner(&feed, &store, vec![&Positions]),
        runner(&feed, &store, vec![&Positions]),
    );
    let progress = looks.progress().clone();
    let waits = progress.wait_for(ledger, &["positions"], end);
    let observes = async {
        progress.wanted(ledger).await;
        looks.observe(ledger).await.unwrap();
        drive(&follows, ledger).await;
        looks.observe(ledger).await.unwrap();
    };
    let (waited, ()) = futures_util::future::join(waits, observes).await;
    assert_eq!(waited, Ok(()));
    // Nobody waits any more, so nobody has to look.
    let wanted = std::pin::pin!(progress.wanted(ledger));
    assert!(futures_util::poll!(wanted).is_pending());
}
