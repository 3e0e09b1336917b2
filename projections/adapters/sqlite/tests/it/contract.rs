//! The contract of stores, and what is special about a file.

use ruche_domain::ids::LedgerId;
use ruche_projections::change::{SqlValue, Statement};
use ruche_projections::store::{ProjectionCheckpoint, ProjectionId, ReadStore, ReadStoreError, Step};
use ruche_projections::testing::contract;
use ruche_projections_sqlite::{OpenError, SqliteReadStore};

use crate::common::World;

#[tokio::test]
async fn the_contract_holds() {
    let world = World::new();
    contract::run(&world.models).await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let world = World::new();
    let ledger = world.projected(1, 2).await;
    let before = world.models.status(ledger, "sessions").await.unwrap();
    assert!(before.checkpoint.applied > 100);
    let World { dir, models, .. } = world;
    drop(models);
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!(models.status(ledger, "sessions").await.unwrap(), before);
}

/// Steps that are queued together are committed together; the one that does not fit fails alone.
#[tokio::test]
async fn a_bad_step_does_not_fail_its_neighbours() {
    let world = World::new();
    let step = |n: u8, agent: SqlValue| Step {
        ledger: LedgerId::from_bytes([n; 16]),
        projection: ProjectionId {
            name: "usage",
            version: 1,
        },
        from: ProjectionCheckpoint::default(),
        to: ProjectionCheckpoint {
            position: Some(ruche_domain::numbers::Position::START),
            applied: 1,
            ..ProjectionCheckpoint::default()
        },
        statements: vec![Statement {
            sql: "INSERT INTO usage_session (ledger, session, agent) VALUES ($1, $2, $3)",
            params: vec![SqlValue::Id([n; 16]), SqlValue::Id([n; 16]), agent],
        }],
    };
    let agent = |n: u8| {
        if n.is_multiple_of(5) {
            SqlValue::Null
        } else {
            SqlValue::Word("a")
        }
    };
    let steps: Vec<Step> = (1..=40).map(|n| step(n, agent(n))).collect();
    let tasks: Vec<_> = steps
        .into_iter()
        .map(|step| {
            let models = world.models.clone();
            tokio::spawn(async move { models.apply(step).await })
        })
        .collect();
    for (n, task) in (1u8..).zip(tasks) {
        let result = task.await.unwrap();
        let ledger = LedgerId::from_bytes([n; 16]);
        let applied = world
            .models
            .status(ledger, "usage")
            .await
            .unwrap()
            .checkpoint
            .applied;
        if n.is_multiple_of(5) {
            assert!(
                matches!(result, Err(ReadStoreError::Refused(_))),
                "{n}: {result:?}"
            );
            assert_eq!(applied, 0, "{n}");
        } else {
            assert_eq!((result, applied), (Ok(()), 1), "{n}");
        }
    }
}

#[tokio::test]
async fn a_sum_beyond_an_integer_is_refused() {
    let world = World::new();
    let sql = "INSERT INTO usage_day (ledger, day, agent, model, tool, turns) VALUES ($1, 1, '', '', '', $2) \
        ON CONFLICT (ledger, day, agent, model, tool) DO UPDATE SET turns = usage_day.turns + excluded.turns";
    let statement = |turns| Statement {
        sql,
        params: vec![SqlValue::Id([1; 16]), SqlValue::Int(turns)],
    };
    let step = Step {
        ledger: LedgerId::from_bytes([1; 16]),
        projection: ProjectionId {
            name: "usage",
            version: 1,
        },
        from: ProjectionCheckpoint::default(),
        to: ProjectionCheckpoint {
            position: Some(ruche_domain::numbers::Position::START),
            applied: 1,
            ..ProjectionCheckpoint::default()
        },
        statements: vec![statement(i64::MAX), statement(1)],
    };
    let error = world.models.apply(step).await.unwrap_err();
    assert!(matches!(error, ReadStoreError::Refused(_)), "{error:?}");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read-1.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE theirs (a INTEGER); PRAGMA application_id = 7;")
        .unwrap();
    drop(other);
    let error = SqliteReadStore::open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { found: 7, .. }), "{error}");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA application_id = 1383420516; PRAGMA user_version = 99;")
        .unwrap();
    drop(conn);
    let error = SqliteReadStore::open(dir.path()).err().unwrap();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 99,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
}
