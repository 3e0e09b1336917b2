//! Steps that do not fit, beside others.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use futures_util::future::join_all;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;

use super::world::{Fresh, World};
use crate::change::{SqlValue, Statement};
use crate::store::{ProjectionCheckpoint, ProjectionId, ReadStoreError, Step};

/// The first step of a projection in ledger `n`.
fn first_step(n: u8, statements: Vec<Statement>) -> Step {
    Step {
        ledger: LedgerId::from_bytes([n; 16]),
        projection: ProjectionId {
            name: "usage",
            version: 1,
        },
        from: ProjectionCheckpoint::default(),
        to: ProjectionCheckpoint {
            position: Some(Position::START),
            applied: 1,
            ..ProjectionCheckpoint::default()
        },
        statements,
    }
}

pub async fn a_bad_step_does_not_fail_its_neighbours(fresh: Fresh) {
    let world = World::new(fresh).await;
    let bad = |n: u8| n.is_multiple_of(5);
    let step = |n: u8| {
        let agent = if bad(n) {
            SqlValue::Null
        } else {
            SqlValue::Word("a")
        };
        let sql = "INSERT INTO usage_session (ledger, session, agent) VALUES ($1, $2, $3)";
        let params = vec![SqlValue::Id([n; 16]), SqlValue::Id([n; 16]), agent];
        first_step(n, vec![Statement::new(sql, params)])
    };
    let results = join_all((1..=40).map(|n| world.models.apply(step(n)))).await;
    for (n, result) in (1u8..).zip(results) {
        let status = world.models.status(LedgerId::from_bytes([n; 16]), "usage").await;
        let applied = status.expect("it can be read").checkpoint.applied;
        if bad(n) {
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

pub async fn a_sum_beyond_an_integer_is_refused(fresh: Fresh) {
    let world = World::new(fresh).await;
    let sql = "INSERT INTO usage_day (ledger, day, agent, model, tool, turns) VALUES ($1, 1, '', '', '', $2) \
        ON CONFLICT (ledger, day, agent, model, tool) DO UPDATE SET turns = usage_day.turns + excluded.turns";
    let statement = |turns| Statement::new(sql, vec![SqlValue::Id([1; 16]), SqlValue::Int(turns)]);
    let step = first_step(1, vec![statement(i64::MAX), statement(1)]);
    let error = world.models.apply(step).await.expect_err("it does not fit");
    assert!(matches!(error, ReadStoreError::Refused(_)), "{error:?}");
}
