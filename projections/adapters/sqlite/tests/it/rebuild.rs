//! A rebuild gives the same rows, is compared, and takes over without a gap.

use std::sync::Arc;

use ruche_projections::ledger_health;
use ruche_projections::runner::Runner;
use ruche_projections::sessions::{self, SessionFilter};
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Story;
use ruche_projections_sqlite::{OnDifference, SqliteReadStore, compare};

use crate::common::World;

/// Live following in small steps and a rebuild in large ones give the same rows: sums do not depend on where events
/// are cut into batches.
#[tokio::test]
async fn a_rebuild_equals_what_was_followed_live() {
    for batch in [1, 3, 64] {
        let world = World::new();
        let ledgers = [world.feed.open(1).await, world.feed.open(2).await];
        let mut story = Story::new(4);
        let runner = world.runner().batch_events_max(batch);
        for n in 0..6 {
            for ledger in ledgers {
                let events = if n == 0 { story.setup() } else { story.session(n) };
                world.feed.append(ledger, events).await;
                runner.run_once(ledger).await.unwrap();
            }
        }
        for ledger in ledgers {
            runner.catch_up(ledger).await.unwrap();
        }
        let old = world.models.path();
        let kept = world.dir.path().join("kept.db");
        let conn = rusqlite::Connection::open(&old).unwrap();
        conn.execute("VACUUM INTO $1", [kept.to_str().unwrap()]).unwrap();
        drop(conn);
        let report = world
            .models
            .rebuild(world.feed_store(), OnDifference::Keep)
            .await
            .unwrap();
        assert_eq!(report.differences, [], "batches of {batch}");
        assert!(report.switched && report.compared);
        let mut records = 0;
        for ledger in ledgers {
            let health = ledger_health::of_ledger(&world.models, ledger).await.unwrap();
            records += health.map_or(0, |health| health.records);
        }
        assert_eq!((report.events, report.projections), (records, 8));
        assert_eq!((report.generation, world.models.generation()), (2, 2));
        assert_eq!(compare(&kept, &world.models.path()).unwrap(), []);
        assert!(!old.exists(), "the old files are gone");
    }
}

#[tokio::test]
async fn a_follower_goes_on_over_a_rebuild() {
    let world = World::new();
    let ledger = world.feed.filled(1, 5).await;
    let runner = Arc::new(world.runner());
    runner.catch_up(ledger).await.unwrap();
    world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep)
        .await
        .unwrap();
    let mut story = Story::new(77);
    world.feed.append(ledger, story.session(50)).await;
    runner.catch_up(ledger).await.unwrap();
    let (count, _) = sessions::totals(&world.models, ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, 6);
    let World { dir, models, feed } = world;
    drop((models, runner));
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!(models.generation(), 2);
    let (count, _) = sessions::totals(&models, ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, 6);
    assert!(
        models
            .rebuild(feed.store, OnDifference::Keep)
            .await
            .unwrap()
            .switched
    );
}

#[tokio::test]
async fn reads_go_on_and_lose_nothing_while_a_rebuild_and_a_follower_work() {
    let world = World::new();
    let ledger = world.feed.filled(1, 10).await;
    let runner = Arc::new(world.runner());
    runner.catch_up(ledger).await.unwrap();
    let following = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move {
            // While a generation takes over, writing is refused for a moment; whoever drives a runner tries again.
            loop {
                match runner.follow(ledger).await {
                    Ok(never) => match never {},
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let rebuilding = tokio::spawn({
        let (models, feed) = (world.models.clone(), world.feed_store());
        async move {
            for _ in 0..3 {
                let report = models.rebuild(feed.clone(), OnDifference::Keep).await.unwrap();
                assert!(report.switched, "{report:?}");
            }
        }
    });
    let mut story = Story::new(5);
    let mut least = 0;
    let mut number = 100;
    while !rebuilding.is_finished() {
        world.feed.append(ledger, story.session(number)).await;
        number += 1;
        let (count, _) = sessions::totals(&world.models, ledger, &SessionFilter::default())
            .await
            .unwrap();
        assert!(count >= least, "{count} sessions after {least}");
        least = count;
        tokio::task::yield_now().await;
    }
    rebuilding.await.unwrap();
    let end = world.feed.end(ledger).await;
    runner
        .progress()
        .wait_for(ledger, &["sessions"], end)
        .await
        .unwrap();
    following.abort();
    let (count, _) = sessions::totals(&world.models, ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, 10 + number - 100);
}

#[tokio::test]
async fn rows_that_somebody_changed_are_found_and_kept_or_replaced() {
    let world = World::new();
    let ledger = world.projected(1, 3).await;
    let conn = rusqlite::Connection::open(world.models.path()).unwrap();
    conn.execute("UPDATE message SET text = 'never said' WHERE ordinal = 0", [])
        .unwrap();
    conn.execute("DELETE FROM tool WHERE name = 'send_money'", [])
        .unwrap();
    conn.execute(
        "INSERT INTO turn_outcome VALUES (x'00', x'00', x'00', 1, 'nobody', 'answered', 0)",
        [],
    )
    .unwrap();
    drop(conn);
    let report = world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep)
        .await
        .unwrap();
    let found: Vec<_> = report
        .differences
        .iter()
        .map(|d| (d.table.as_str(), d.only_first, d.only_second, d.unequal))
        .collect();
    assert_eq!(
        found,
        [("message", 0, 0, 3), ("tool", 0, 1, 0), ("turn_outcome", 1, 0, 0)]
    );
    assert!(!report.switched);
    assert_eq!(world.models.generation(), 1);
    assert!(
        !world.dir.path().join("read-2.db").exists(),
        "the rebuilt one is thrown away"
    );

    let report = world
        .models
        .rebuild(world.feed_store(), OnDifference::Switch)
        .await
        .unwrap();
    assert!(report.switched && report.differences.len() == 3);
    let report = world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep)
        .await
        .unwrap();
    assert_eq!(report.differences, []);
    world.runner().catch_up(ledger).await.unwrap();
}

#[tokio::test]
async fn rows_of_another_version_are_replaced_without_a_comparison() {
    let world = World::new();
    let ledger = world.projected(1, 2).await;
    let conn = rusqlite::Connection::open(world.models.path()).unwrap();
    conn.execute("UPDATE checkpoint SET version = 0 WHERE projection = 'turns'", [])
        .unwrap();
    conn.execute("DELETE FROM turn", []).unwrap();
    drop(conn);
    assert!(world.runner().run_once(ledger).await.is_err());
    let report = world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep)
        .await
        .unwrap();
    assert!(report.switched && !report.compared);
    world.runner().catch_up(ledger).await.unwrap();
}

/// What is left of a rebuild that died is removed at the next start, and the current generation is untouched.
#[tokio::test]
async fn leftovers_of_a_dead_rebuild_are_removed() {
    let world = World::new();
    let ledger = world.projected(1, 1).await;
    let World { dir, models, .. } = world;
    drop(models);
    for name in ["read-2.db", "read-2.db-wal", "read-generation.next"] {
        std::fs::write(dir.path().join(name), b"half a file").unwrap();
    }
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!(models.generation(), 1);
    assert!(!dir.path().join("read-2.db").exists());
    let (count, _) = sessions::totals(&models, ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, 1);
}

/// A worker that dies in the middle of a run, at any of its waits, is followed by one that applies the rest once.
#[tokio::test]
async fn a_run_that_is_dropped_half_way_is_taken_up() {
    let world = World::new();
    let ledger = world.feed.filled(1, 4).await;
    for polls in 1..40 {
        let runner = Runner::new(
            world.feed_store(),
            Arc::new(world.models.clone()) as Arc<dyn ReadStore>,
        );
        let runner = runner.batch_events_max(5);
        let mut run = std::pin::pin!(runner.run_once(ledger));
        for _ in 0..polls {
            if futures_util::poll!(&mut run).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    world.runner().catch_up(ledger).await.unwrap();
    let report = world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep)
        .await
        .unwrap();
    assert_eq!(report.differences, []);
    assert!(
        world
            .runner()
            .lag(ledger)
            .await
            .unwrap()
            .iter()
            .all(|lag| lag.is_gapless() && lag.records == 0)
    );
}
