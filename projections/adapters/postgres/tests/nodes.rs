//! Several nodes on one database, and connections that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_projections::rebuild::{OnDifference, RebuildError, RebuildProgress};
use ruche_projections::runner::{RunError, Runner};
use ruche_projections::sessions::{self, SessionFilter};
use ruche_projections::store::{ReadStore, ReadStoreError};
use ruche_projections::testing::Story;
use ruche_projections::testing::world::World;
use ruche_projections_postgres::PostgresReadStore;
use tokio_postgres::Client;

use crate::common::{Postgres, open, pool, pool_of, session, skipped};

/// Catches up, trying again what is worth it.
async fn persist(runner: &Runner, ledger: LedgerId) -> Result<u64, RunError> {
    let mut stumbles = 0;
    loop {
        match runner.catch_up(ledger).await {
            Ok(()) => return Ok(stumbles),
            Err(error) if error.is_retryable() && stumbles < 10_000 => stumbles += 1,
            Err(error) => return Err(error),
        }
        tokio::task::yield_now().await;
    }
}

async fn is_whole(world: &World, ledger: LedgerId) {
    let lags = world.runner().lag(ledger).await.unwrap();
    assert!(
        lags.iter().all(|lag| lag.is_gapless() && lag.records == 0),
        "{lags:?}"
    );
    assert_eq!(
        world.rebuilt().await.differences,
        [],
        "every event is in it exactly once"
    );
}

fn runner(world: &World, models: &PostgresReadStore) -> Runner {
    Runner::new(world.feed_store(), Arc::new(models.clone()) as Arc<dyn ReadStore>)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_apply_the_same_ledger_apply_it_once() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.feed.filled(1, 6).await;
    let mut nodes = Vec::new();
    for batch in [1, 3, 7, 20] {
        let runner = runner(&world, &open(&postgres.url).await).batch_events_max(batch);
        nodes.push(tokio::spawn(async move { persist(&runner, ledger).await }));
    }
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    is_whole(&world, ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_takes_over_while_another_node_writes() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.feed.filled(1, 4).await;
    let other = open(&postgres.url).await;
    let writer = runner(&world, &other).batch_events_max(5);
    let done = AtomicBool::new(false);
    let mut story = Story::new(5);
    let writing = async {
        let (mut number, mut least) = (100, 0);
        while !done.load(Ordering::SeqCst) || number == 100 {
            if number < 130 {
                world.feed.append(ledger, story.session(number)).await;
                number += 1;
            }
            persist(&writer, ledger).await.unwrap();
            let (count, _) = sessions::totals(&other, ledger, &SessionFilter::default())
                .await
                .unwrap();
            assert!(count >= least, "{count} sessions after {least}");
            least = count;
        }
        number - 100
    };
    let rebuilding = async {
        for rebuilds in 1..4 {
            let report = world.rebuilt().await;
            assert!(report.switched && report.differences.is_empty(), "{report:?}");
            assert_eq!(report.generation, 1 + rebuilds);
        }
        done.store(true, Ordering::SeqCst);
    };
    let (told, ()) = futures_util::future::join(writing, rebuilding).await;
    assert_eq!(other.generation().await.unwrap(), 4);
    persist(&writer, ledger).await.unwrap();
    let (count, _) = sessions::totals(&other, ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, 4 + told);
    is_whole(&world, ledger).await;
    let owner = session(&postgres.url).await;
    let sql = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'ruche\\_read\\__'";
    assert_eq!(
        owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        1,
        "old ones are dropped"
    );
}

#[tokio::test]
async fn one_node_rebuilds_at_a_time() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.projected(1, 1).await;
    let other = open(&postgres.url).await;
    let seen = RebuildProgress::default();
    let rebuilds = futures_util::future::join(
        world
            .models
            .rebuild(world.feed_store(), OnDifference::Keep, &seen),
        other.rebuild(world.feed_store(), OnDifference::Keep, &seen),
    );
    let results = rebuilds.await;
    let switched = |result: &Result<_, RebuildError>| result.is_ok();
    let busy = |result: &Result<_, RebuildError>| matches!(result, Err(RebuildError::Busy));
    // Both in turn if the first was over before the second began; never both at once.
    let [a, b] = [&results.0, &results.1];
    assert!(
        (switched(a) || busy(a)) && (switched(b) || busy(b)) && !(busy(a) && busy(b)),
        "{results:?}"
    );
    is_whole(&world, ledger).await;
}

/// Ends every other session of the database, as a failover does.
async fn kill(url: &str) {
    let client = session(url).await;
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.query_one(sql, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_nothing_and_double_nothing() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.feed.filled(1, 6).await;
    let runner = runner(&world, &postgres.models).batch_events_max(2);
    let following = tokio::spawn(async move { persist(&runner, ledger).await });
    let mut kills = 0;
    while !following.is_finished() {
        kill(&postgres.url).await;
        kills += 1;
        tokio::task::yield_now().await;
        // Between two kills something has to get through, or the test would never end.
        let status = async {
            postgres
                .models
                .status(ledger, "sessions")
                .await
                .map(|s| s.checkpoint.applied)
        };
        let before = status.await.unwrap_or_default();
        let moved = async {
            while !following.is_finished() {
                let now = postgres.models.status(ledger, "sessions").await;
                if now.is_ok_and(|now| now.checkpoint.applied > before) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), moved)
            .await
            .unwrap();
    }
    let stumbles = following.await.unwrap().unwrap();
    assert!(kills > 1 && stumbles > 0, "{kills} kills, {stumbles} stumbles");
    is_whole(&world, ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_cut_off_leaves_the_current_generation_and_the_next_one_works() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.projected(1, 4).await;
    let (models, feed) = (postgres.models.clone(), world.feed_store());
    let rebuilding = tokio::spawn(async move {
        models
            .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
            .await
    });
    let owner = session(&postgres.url).await;
    let begun = async {
        let sql = "SELECT to_regclass('ruche_read_2.checkpoint') IS NOT NULL";
        while !owner.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun)
        .await
        .unwrap();
    drop(owner);
    kill(&postgres.url).await;
    assert!(rebuilding.await.unwrap().is_err());
    let found = async {
        while postgres.models.status(ledger, "sessions").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found)
        .await
        .unwrap();
    assert_eq!(postgres.models.generation().await.unwrap(), 1);
    is_whole(&world, ledger).await;
}

/// Who cannot have the lock that writers share is told to come again, and has written nothing.
#[tokio::test]
async fn a_step_that_waits_too_long_for_a_switch_is_told_so() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.feed.filled(1, 1).await;
    let holder = session(&postgres.url).await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(1920299621, 2)";
    holder.batch_execute(lock).await.unwrap();
    let runner = world.runner();
    let error = runner.run_once(ledger).await.unwrap_err();
    assert!(
        matches!(error, RunError::ReadModels(ReadStoreError::Overloaded { .. })),
        "{error:?}"
    );
    let status = world.models.status(ledger, "sessions").await.unwrap();
    assert_eq!(status.checkpoint.applied, 0);
    holder.batch_execute("COMMIT").await.unwrap();
    runner.catch_up(ledger).await.unwrap();
}

/// On several threads an answer can be there before its asker looks for those before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_come_at_once_keep_their_order() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.projected(1, 2).await;
    let expected = world.models.status(ledger, "turns").await.unwrap();
    assert!(expected.checkpoint.applied > 100);
    // One asker, so that the other threads have nothing to do but to answer it.
    for _ in 0..1_000 {
        assert_eq!(postgres.models.status(ledger, "turns").await.unwrap(), expected);
    }
}

/// Waits until there is such a lock in the database, or it is too late. Tells whether there is.
async fn is_locked(client: &Client, lock: &str, too_late: impl Fn() -> bool) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_locks WHERE {lock} \
        AND (database IS NULL OR database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    );
    let looking = async {
        loop {
            let late = too_late();
            if client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                return true;
            }
            if late {
                return false;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking)
        .await
        .unwrap()
}

/// Else a step that was answered could be missing in the generation that took over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_waits_for_steps_that_run() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledger = world.projected(1, 1).await;
    let writer = runner(&world, &open(&postgres.url).await);
    world.feed.append(ledger, Story::new(1).session(7)).await;
    let (holder, looks) = (session(&postgres.url).await, session(&postgres.url).await);
    let hold = "BEGIN; SELECT 1 FROM ruche_read_1.checkpoint FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let stepping = tokio::spawn(async move { persist(&writer, ledger).await });
    let shared = "locktype = 'advisory' AND objid = 2 AND mode = 'ShareLock' AND granted";
    assert!(
        is_locked(&looks, shared, || stepping.is_finished()).await,
        "a step shares the lock"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    stepping.await.unwrap().unwrap();

    // Like a step that takes long.
    let step = "BEGIN; SELECT pg_advisory_xact_lock_shared(1920299621, 2)";
    holder.batch_execute(step).await.unwrap();
    let (models, feed) = (postgres.models.clone(), world.feed_store());
    let rebuilding = tokio::spawn(async move {
        models
            .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
            .await
    });
    let alone = "locktype = 'advisory' AND objid = 2 AND mode = 'ExclusiveLock' AND NOT granted";
    assert!(
        is_locked(&looks, alone, || rebuilding.is_finished()).await,
        "a switch waits for it"
    );
    assert_eq!(postgres.models.generation().await.unwrap(), 1);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert!(rebuilding.await.unwrap().unwrap().switched);
    is_whole(&world, ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_others_have_used_up_is_overload() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let (direct, reading) = (pool(&postgres.url), pool_of(&postgres.url, 1));
    let models = PostgresReadStore::open_with_reading(direct, reading.clone()).await;
    let models = models.unwrap();
    let ledger = ruche_ledger::testing::ledger(1);
    let held = reading.get().await.unwrap();
    let refused = models.status(ledger, "sessions").await.unwrap_err();
    assert!(
        matches!(refused, ReadStoreError::Overloaded { .. }),
        "{refused:?}"
    );
    drop(held);
    models.status(ledger, "sessions").await.unwrap();
}
