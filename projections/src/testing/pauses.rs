//! A projection that a person has paused stands still, whoever follows, until it goes on.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::numbers::Position;

use super::Story;
use super::world::{Fresh, World};
use crate::runner::WaitError;
use crate::sessions::{self, SessionFilter};

/// The record of a decision.
fn at(index: u64) -> Position {
    Position::new(1, index)
}

async fn sessions_of(world: &World, ledger: ruche_domain::ids::LedgerId) -> u64 {
    let counted = sessions::totals(world.reads(), ledger, &SessionFilter::default()).await;
    counted.unwrap().0
}

/// Two nodes: one follows, the other is told to pause. The one that follows has the checkpoint in its memory, and is kept
/// from its next step all the same.
pub async fn what_is_paused_on_one_node_takes_no_step_on_another(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 2).await;
    let (follower, other) = (world.runner(), world.runner());
    follower.catch_up(ledger).await.unwrap();
    assert!(other.set_paused(ledger, "sessions", true, at(5)).await.unwrap());
    assert!(
        !other.set_paused(ledger, "sessions", true, at(5)).await.unwrap(),
        "twice"
    );

    world.feed.append(ledger, Story::new(9).session(50)).await;
    let end = world.feed.end(ledger).await;
    follower.catch_up(ledger).await.unwrap();
    assert_eq!(sessions_of(&world, ledger).await, 2);
    let paused = WaitError::Paused {
        projection: "sessions",
    };
    let wait = follower.progress().wait_for(ledger, &["turns", "sessions"], end);
    assert_eq!(wait.await, Err(paused));
    follower
        .progress()
        .wait_for(ledger, &["turns"], end)
        .await
        .unwrap();
    let lag = follower.lag(ledger).await.unwrap();
    let lag = lag.iter().find(|lag| lag.projection == "sessions").unwrap();
    assert!(lag.paused && lag.is_gapless() && lag.records > 0, "{lag:?}");

    assert!(other.set_paused(ledger, "sessions", false, at(7)).await.unwrap());
    // Recorded before, and carried out late: it does not hold any more.
    assert!(
        !follower
            .set_paused(ledger, "sessions", true, at(6))
            .await
            .unwrap()
    );
    follower.catch_up(ledger).await.unwrap();
    assert_eq!(sessions_of(&world, ledger).await, 3);
    follower
        .progress()
        .wait_for(ledger, &["sessions"], end)
        .await
        .unwrap();
}

/// Neither before its first step nor in another ledger.
pub async fn a_pause_is_of_one_projection_of_one_ledger(fresh: Fresh) {
    let world = World::new(fresh).await;
    let (one, two) = (world.feed.filled(1, 1).await, world.feed.filled(2, 1).await);
    let runner = world.runner();
    runner.set_paused(one, "sessions", true, at(1)).await.unwrap();
    for ledger in [one, two] {
        runner.catch_up(ledger).await.unwrap();
    }
    assert_eq!(sessions_of(&world, one).await, 0);
    assert_eq!(sessions_of(&world, two).await, 1);
    let health = crate::ledger_health::of_ledger(world.reads(), one).await.unwrap();
    assert!(health.is_some(), "the others go on");
}

pub async fn a_rebuild_keeps_what_is_paused_where_it_stands(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 2).await;
    let runner = world.runner();
    runner.set_paused(ledger, "sessions", true, at(1)).await.unwrap();
    world.feed.append(ledger, Story::new(9).session(50)).await;
    runner.catch_up(ledger).await.unwrap();
    let report = world.rebuilt().await;
    assert_eq!(report.differences, []);
    assert!(report.switched);
    assert!(world.reads().status(ledger, "sessions").await.unwrap().paused);
    let runner = world.runner();
    runner.catch_up(ledger).await.unwrap();
    assert_eq!(sessions_of(&world, ledger).await, 2);
    runner.set_paused(ledger, "sessions", false, at(2)).await.unwrap();
    runner.catch_up(ledger).await.unwrap();
    assert_eq!(sessions_of(&world, ledger).await, 3);
}

/// One that goes on from far behind catches up beside the others.
pub async fn one_that_is_far_behind_does_not_hold_up_the_others(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.filled(1, 1).await;
    let runner = world.runner().batch_events_max(64);
    runner.set_paused(ledger, "sessions", true, at(1)).await.unwrap();
    for number in 30..60 {
        world
            .feed
            .append(ledger, Story::new(number).session(number))
            .await;
    }
    runner.catch_up(ledger).await.unwrap();
    runner.set_paused(ledger, "sessions", false, at(2)).await.unwrap();
    let receipts = world.feed.append(ledger, Story::new(20).session(20)).await;
    assert!(receipts.len() <= 64, "it is one batch");
    let last = receipts.last().unwrap().position;
    runner.run_once(ledger).await.unwrap();
    let stands_at = async |projection| {
        let status = world.reads().status(ledger, projection).await.unwrap();
        status.checkpoint.position
    };
    assert_eq!(
        stands_at("turns").await,
        Some(last),
        "what came now is read at once"
    );
    assert!(stands_at("sessions").await < Some(last), "it is on its way");
    runner.catch_up(ledger).await.unwrap();
    for projection in crate::projection::all() {
        assert_eq!(
            stands_at(projection.name()).await,
            Some(last),
            "{}",
            projection.name()
        );
    }
    assert_eq!(world.rebuilt().await.differences, []);
}
