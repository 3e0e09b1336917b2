//! Both engines make the same rows of the same ledger.

use std::collections::VecDeque;
use std::sync::Arc;

use ruche_domain::events::{MemoryEmbedded, MemoryWritten};
use ruche_domain::ids::LedgerId;
use ruche_domain::stream::Category;
use ruche_domain::vector::Vector;
use ruche_ledger::store::PreparedEvent;
use ruche_ledger::testing::SeededRandom;
use ruche_projections::change::SqlValue;
use ruche_projections::rebuild::compared_tables;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::extremes::{Choices, events};
use ruche_projections::testing::world::World;
use ruche_projections::testing::{Story, policies};
use ruche_projections_sqlite::SqliteReadStore;

use crate::common::{fresh, skipped};

/// All rows of a table, in an order that no engine decides.
async fn rows(store: &dyn ReadStore, table: &str, ledger: LedgerId) -> Vec<String> {
    let sql = format!("SELECT * FROM {table} WHERE ledger = $1");
    let rows = store
        .query(&sql, vec![SqlValue::Id(*ledger.as_bytes())])
        .await
        .unwrap();
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}

/// Conversations, and every extreme event in a session of its own.
fn told() -> Vec<PreparedEvent> {
    let mut story = Story::new(1);
    let mut told = story.setup();
    for n in 0..8 {
        told.extend(story.session(n));
    }
    for choice in 0..16 {
        let choices = [choice];
        let mut of = Choices::new(&choices);
        let session = story.session_id(100 + choice);
        story.enter(session);
        let turn = story.turn_id(session, 0);
        story.enter_call(turn, story.call_id(turn));
        let extreme: Vec<_> = events(&mut of)
            .into_iter()
            .map(|event| story.event(event))
            .collect();
        told.extend(extreme);
    }
    told
}

/// The same as many sessions tell it at once, in an order of their own for each seed. Now and then somebody speaks of a
/// session, turn or call of somebody else.
fn mixed(seed: u64) -> Vec<PreparedEvent> {
    let random = SeededRandom::new(seed);
    let mut sessions: Vec<VecDeque<PreparedEvent>> = Vec::new();
    for event in told() {
        let is_same =
            |told: &VecDeque<PreparedEvent>| told.back().unwrap().event.session == event.event.session;
        match sessions.iter_mut().find(|told| is_same(told)) {
            Some(told) => told.push_back(event),
            None => sessions.push([event].into()),
        }
    }
    let mut mixed: Vec<PreparedEvent> = Vec::new();
    while !sessions.is_empty() {
        let at = random.next() as usize % sessions.len();
        let Some(mut event) = sessions[at].pop_front() else {
            sessions.swap_remove(at);
            continue;
        };
        let other = random.next() as usize % (mixed.len() + 1);
        if let (Some(other), 0) = (mixed.get(other), random.next() % 8) {
            let (own, other) = (&mut event.event, &other.event);
            match random.next() % 3 {
                0 => own.session = other.session.or(own.session),
                1 => own.turn = other.turn.or(own.turn),
                _ => own.call = other.call.or(own.call),
            }
        }
        mixed.push(event);
    }
    mixed
}

/// Follows the ledger on both engines: on SQLite event by event, so that nothing is summed up or brought together, and on
/// PostgreSQL in batches.
async fn both_make_the_same(mut events: Vec<PreparedEvent>, batch: usize) {
    events.extend(Story::new(9).lane());
    let fact = MemoryWritten::new("r".to_owned(), "of no session".into(), vec![]);
    let vector = Vector::new(&[1.0, -2.5]).unwrap();
    let embedded = MemoryEmbedded::new("r".to_owned(), "m".to_owned(), vector);
    let mut story = Story::new(10);
    for mut of_no_session in [story.event(fact), story.event(embedded)] {
        of_no_session.event.stream.category = Category::Memory;
        events.push(of_no_session);
    }
    events.extend(policies::told());
    let world = World::new(fresh).await;
    let dir = tempfile::tempdir().unwrap();
    let sqlite = SqliteReadStore::open(dir.path()).unwrap();
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events).await;
    let runner = world.runner().batch_events_max(batch);
    loop {
        let run = runner.run_once(ledger).await.unwrap();
        // What is refused goes event by event and comes out the same, slowly.
        assert_eq!((run.failing, run.parked), (0, 0));
        if run.is_idle() {
            break;
        }
    }
    let singly = Runner::new(world.feed_store(), Arc::new(sqlite.clone()) as Arc<dyn ReadStore>);
    singly.batch_events_max(1).catch_up(ledger).await.unwrap();
    for table in compared_tables() {
        let (ours, theirs) = (
            rows(world.reads(), table, ledger).await,
            rows(&sqlite, table, ledger).await,
        );
        assert!(!ours.is_empty(), "{table}");
        assert_eq!(ours, theirs, "{table}");
    }
}

#[tokio::test]
async fn the_rows_are_the_same_on_both_engines() {
    if !skipped() {
        both_make_the_same(told(), 9).await;
    }
}

#[tokio::test]
async fn the_rows_are_the_same_however_sessions_are_mixed_and_batches_cut() {
    if skipped() {
        return;
    }
    for (seed, batch) in [(1, 1_000), (2, 1_000), (3, 137)] {
        both_make_the_same(mixed(seed), batch).await;
    }
}
