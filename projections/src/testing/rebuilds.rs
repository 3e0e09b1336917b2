//! A rebuild gives the same rows, is compared, and takes over without a gap.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use super::Story;
use super::world::{Fresh, World};
use crate::ledger_health;
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::sessions::{self, SessionFilter};

async fn sessions_of(world: &World, ledger: ruche_domain::ids::LedgerId) -> u64 {
    let counted = sessions::totals(world.reads(), ledger, &SessionFilter::default()).await;
    counted.unwrap().0
}

/// Live following in small steps and a rebuild in large ones give the same rows: sums do not depend on where events
/// are cut into batches.
pub async fn a_rebuild_equals_what_was_followed_live(fresh: Fresh) {
    for batch in [1, 3, 64] {
        let world = World::new(fresh).await;
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
        let report = world.rebuilt().await;
        assert_eq!(report.differences, [], "batches of {batch}");
        assert!(report.switched && report.compared);
        let mut records = 0;
        for ledger in ledgers {
            let health = ledger_health::of_ledger(world.reads(), ledger).await.unwrap();
            records += health.map_or(0, |health| health.records);
        }
        assert_eq!(
            (report.events, report.projections),
            (records, crate::projection::all().len())
        );
        assert_eq!(report.generation, 2);
    }
}

pub async fn a_follower_goes_on_over_a_rebuild(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.filled(1, 5).await;
    let runner = Arc::new(world.runner());
    runner.catch_up(ledger).await.unwrap();
    for rebuilds in 1..3 {
        assert!(world.rebuilt().await.switched);
        let mut story = Story::new(77);
        world.feed.append(ledger, story.session(50 + rebuilds)).await;
        runner.catch_up(ledger).await.unwrap();
        assert_eq!(sessions_of(&world, ledger).await, 5 + rebuilds);
    }
}

pub async fn reads_go_on_and_lose_nothing_while_a_rebuild_and_a_follower_work(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.filled(1, 10).await;
    let runner = Arc::new(world.runner());
    runner.catch_up(ledger).await.unwrap();
    let following = async {
        // While a generation takes over, writing is refused for a moment; whoever drives a runner tries again.
        loop {
            match runner.follow(ledger).await {
                Ok(never) => match never {},
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    };
    let rebuilding = async {
        for _ in 0..3 {
            let report = world.rebuilt().await;
            assert!(report.switched, "{report:?}");
        }
    };
    let mut rebuilding = std::pin::pin!(rebuilding);
    let mut following = std::pin::pin!(following);
    let mut story = Story::new(5);
    let (mut least, mut number) = (0, 100);
    loop {
        // An engine that is slower than the ledger in memory has to get to an end, too.
        if number < 140 {
            world.feed.append(ledger, story.session(number)).await;
            number += 1;
        }
        let mut count = std::pin::pin!(sessions_of(&world, ledger));
        // All three are polled until the read is answered.
        let count = std::future::poll_fn(|context| {
            assert!(
                following.as_mut().poll(context).is_pending(),
                "it follows for ever"
            );
            if let std::task::Poll::Ready(()) = rebuilding.as_mut().poll(context) {
                return std::task::Poll::Ready(None);
            }
            count.as_mut().poll(context).map(Some)
        });
        let Some(count) = count.await else { break };
        assert!(count >= least, "{count} sessions after {least}");
        least = count;
    }
    let end = world.feed.end(ledger).await;
    let arrived = runner.progress().wait_for(ledger, &["sessions"], end);
    match futures_util::future::select(following, std::pin::pin!(arrived)).await {
        futures_util::future::Either::Left((never, _)) => match never {},
        futures_util::future::Either::Right((arrived, _)) => arrived.unwrap(),
    }
    assert_eq!(sessions_of(&world, ledger).await, 10 + number - 100);
}

pub async fn rows_that_somebody_changed_are_found_and_kept_or_replaced(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 3).await;
    for sql in [
        "UPDATE message SET text = 'never said' WHERE ordinal = 0",
        "DELETE FROM tool WHERE name = 'send_money'",
        "INSERT INTO turn_outcome SELECT ledger, ledger, ledger, 1, 'nobody', 'answered', 0 FROM ledger_health",
    ] {
        world.engine.tamper(sql).await;
    }
    let report = world.rebuilt().await;
    let found: Vec<_> = report
        .differences
        .iter()
        .map(|d| (d.table.as_str(), d.only_first, d.only_second, d.unequal))
        .collect();
    assert_eq!(
        found,
        [("message", 0, 0, 3), ("tool", 0, 1, 0), ("turn_outcome", 1, 0, 0)]
    );
    assert!(report.differences[0].example.contains("never said"), "{report:?}");
    assert_eq!((report.switched, report.generation), (false, 1));
    let report = world
        .models
        .rebuild(
            world.feed_store(),
            OnDifference::Switch,
            &RebuildProgress::default(),
        )
        .await;
    let report = report.unwrap();
    assert!(report.switched && report.differences.len() == 3);
    assert_eq!(world.rebuilt().await.differences, []);
    world.runner().catch_up(ledger).await.unwrap();
}

pub async fn rows_of_another_version_are_replaced_without_a_comparison(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 2).await;
    world
        .engine
        .tamper("UPDATE checkpoint SET version = 0 WHERE projection = 'turns'")
        .await;
    world.engine.tamper("DELETE FROM turn").await;
    assert!(world.runner().run_once(ledger).await.is_err());
    let report = world.rebuilt().await;
    assert!(report.switched && !report.compared);
    world.runner().catch_up(ledger).await.unwrap();
}

/// A worker that dies in the middle of a run, at any of its waits, is followed by one that applies the rest once.
pub async fn a_run_that_is_dropped_half_way_is_taken_up(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.filled(1, 4).await;
    for polls in 1..40 {
        let runner = world.runner().batch_events_max(5);
        let mut run = std::pin::pin!(runner.run_once(ledger));
        let mut polled = 0;
        // Polled as often as something happens, and no more often than it may live.
        std::future::poll_fn(|context| {
            polled += 1;
            if run.as_mut().poll(context).is_ready() || polled >= polls {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })
        .await;
    }
    world.runner().catch_up(ledger).await.unwrap();
    assert_eq!(world.rebuilt().await.differences, []);
    let lags = world.runner().lag(ledger).await.unwrap();
    assert!(lags.iter().all(|lag| lag.is_gapless() && lag.records == 0));
}
