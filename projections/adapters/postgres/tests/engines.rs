//! Both engines make the same rows of the same ledger.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_ledger::store::PreparedEvent;
use ruche_projections::change::SqlValue;
use ruche_projections::rebuild::compared_tables;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Story;
use ruche_projections::testing::extremes::{Choices, events};
use ruche_projections::testing::world::World;
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

#[tokio::test]
async fn the_rows_are_the_same_on_both_engines() {
    if skipped() {
        return;
    }
    let world = World::new(fresh).await;
    let dir = tempfile::tempdir().unwrap();
    let sqlite = SqliteReadStore::open(dir.path()).unwrap();
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, told()).await;
    // In batches of different sizes, which must not matter either.
    world.runner().batch_events_max(9).catch_up(ledger).await.unwrap();
    let runner = Runner::new(world.feed_store(), Arc::new(sqlite.clone()) as Arc<dyn ReadStore>);
    runner.catch_up(ledger).await.unwrap();
    for table in compared_tables() {
        let (ours, theirs) = (
            rows(world.reads(), table, ledger).await,
            rows(&sqlite, table, ledger).await,
        );
        assert!(!ours.is_empty(), "{table}");
        assert_eq!(ours, theirs, "{table}");
    }
}
