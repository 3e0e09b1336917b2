//! What every store of read models has to do. An adapter calls [`run`] with an empty store.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::testing::ledger;

use crate::change::{SqlValue, Statement};
use crate::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ProjectionId, ReadStore, ReadStoreError, Step,
};

const INSERT: &str = "INSERT INTO usage_session (ledger, session, agent) VALUES ($1, $2, $3)";
const PROJECTION: ProjectionId = ProjectionId {
    name: "usage",
    version: 1,
};

/// Runs the whole contract.
///
/// # Panics
/// With what the store did wrong.
pub async fn run(store: &dyn ReadStore) {
    a_step_moves_the_checkpoint_with_its_rows(store, ledger(1)).await;
    a_stale_worker_is_refused(store, ledger(2)).await;
    a_refused_step_leaves_nothing(store, ledger(3)).await;
    a_statement_with_too_few_values_is_an_error_of_the_program(store, ledger(6)).await;
    dead_letters_are_kept_until_they_are_dropped(store, ledger(4)).await;
    every_value_comes_back_as_it_went(store, ledger(5)).await;
    ledgers_do_not_see_each_other(store).await;
}

/// The checkpoint after `applied` records.
fn checkpoint(applied: u64) -> ProjectionCheckpoint {
    if applied == 0 {
        return ProjectionCheckpoint::default();
    }
    ProjectionCheckpoint {
        position: Some(Position::new(1, applied - 1)),
        applied,
        recorded_at: Micros(applied),
    }
}

fn insert(ledger: LedgerId, session: u8, agent: impl Into<SqlValue>) -> Statement {
    let params = vec![
        SqlValue::Id(*ledger.as_bytes()),
        SqlValue::Id([session; 16]),
        agent.into(),
    ];
    Statement::new(INSERT, params)
}

fn step(ledger: LedgerId, from: u64, to: u64, statements: Vec<Statement>) -> Step {
    Step {
        ledger,
        projection: PROJECTION,
        from: checkpoint(from),
        to: checkpoint(to),
        statements,
    }
}

async fn agents(store: &dyn ReadStore, ledger: LedgerId) -> Vec<SqlValue> {
    let sql = "SELECT agent FROM usage_session WHERE ledger = $1 ORDER BY session";
    let rows = store
        .query(sql, vec![SqlValue::Id(*ledger.as_bytes())])
        .await
        .expect("it can be read");
    rows.into_iter().flatten().collect()
}

async fn at(store: &dyn ReadStore, ledger: LedgerId) -> ProjectionCheckpoint {
    store
        .status(ledger, PROJECTION.name)
        .await
        .expect("it can be read")
        .checkpoint
}

async fn a_step_moves_the_checkpoint_with_its_rows(store: &dyn ReadStore, ledger: LedgerId) {
    let before = store
        .status(ledger, PROJECTION.name)
        .await
        .expect("it can be read");
    assert_eq!((before.checkpoint, before.version), (checkpoint(0), None));
    store
        .apply(step(ledger, 0, 2, vec![insert(ledger, 1, "a")]))
        .await
        .expect("first step");
    store
        .apply(step(ledger, 2, 3, vec![]))
        .await
        .expect("a step without rows");
    let after = store
        .status(ledger, PROJECTION.name)
        .await
        .expect("it can be read");
    assert_eq!((after.checkpoint, after.version), (checkpoint(3), Some(1)));
    assert_eq!(agents(store, ledger).await, [SqlValue::Text("a".into())]);
}

async fn a_stale_worker_is_refused(store: &dyn ReadStore, ledger: LedgerId) {
    store
        .apply(step(ledger, 0, 2, vec![insert(ledger, 1, "first")]))
        .await
        .expect("first worker");
    for stale in [
        step(ledger, 0, 2, vec![insert(ledger, 2, "late")]),
        step(ledger, 1, 4, vec![]),
    ] {
        let error = store.apply(stale).await.expect_err("a stale step was committed");
        assert_eq!(error, ReadStoreError::StaleCheckpoint { found: checkpoint(2) });
    }
    assert_eq!(agents(store, ledger).await, [SqlValue::Text("first".into())]);
    assert_eq!(at(store, ledger).await, checkpoint(2));
}

async fn a_refused_step_leaves_nothing(store: &dyn ReadStore, ledger: LedgerId) {
    let twice = vec![insert(ledger, 1, "a"), insert(ledger, 1, "again")];
    let null = vec![insert(ledger, 1, "a"), insert(ledger, 2, SqlValue::Null)];
    // Engines take some values for text; none takes text for an id.
    let mut other_type = vec![insert(ledger, 1, "a"), insert(ledger, 2, "b")];
    other_type[1].params[1] = SqlValue::Text("not an id".into());
    // Engines may treat what runs often in another way.
    let mut often: Vec<_> = (1..20).map(|session| insert(ledger, session, "a")).collect();
    often[12].params[1] = SqlValue::Text("not an id".into());
    for statements in [twice, null, other_type, often] {
        let error = store
            .apply(step(ledger, 0, 1, statements))
            .await
            .expect_err("it does not fit");
        assert!(matches!(error, ReadStoreError::Refused(_)), "{error:?}");
        assert_eq!(agents(store, ledger).await, []);
        assert_eq!(at(store, ledger).await, checkpoint(0));
    }
    store
        .apply(step(ledger, 0, 1, vec![insert(ledger, 1, "a")]))
        .await
        .expect("what fits goes on");
}

async fn a_statement_with_too_few_values_is_an_error_of_the_program(store: &dyn ReadStore, ledger: LedgerId) {
    for count in [1, 20] {
        let mut statements: Vec<_> = (0..count).map(|session| insert(ledger, session, "a")).collect();
        if let Some(last) = statements.last_mut() {
            last.params.pop();
        }
        let error = store
            .apply(step(ledger, 0, 1, statements))
            .await
            .expect_err("it does not fit");
        assert!(matches!(error, ReadStoreError::Corrupt(_)), "{error:?}");
        assert_eq!(agents(store, ledger).await, []);
        assert_eq!(at(store, ledger).await, checkpoint(0));
    }
}

async fn dead_letters_are_kept_until_they_are_dropped(store: &dyn ReadStore, ledger: LedgerId) {
    let letter = |index, state| DeadLetter {
        ledger,
        projection: PROJECTION.name.to_owned(),
        version: 1,
        position: Position::new(2, index),
        event_type: "turn.opened".to_owned(),
        leaf: vec![1, 2, 3],
        error: "it does not fit".to_owned(),
        attempts: 5,
        recorded_at: Micros(9),
        state,
    };
    let (discarded, parked) = (
        letter(1, DeadLetterState::Discarded),
        letter(7, DeadLetterState::Parked),
    );
    store.put_dead_letter(parked.clone()).await.expect("it is kept");
    store
        .put_dead_letter(letter(1, DeadLetterState::Parked))
        .await
        .expect("it is kept");
    store
        .put_dead_letter(discarded.clone())
        .await
        .expect("it is replaced");
    let letters = store.dead_letters(ledger).await.expect("they can be read");
    assert_eq!(letters, [discarded.clone(), parked.clone()]);
    let status = store
        .status(ledger, PROJECTION.name)
        .await
        .expect("it can be read");
    assert_eq!(status.parked, Some(parked.clone()));
    assert_eq!(status.discarded, [discarded.position]);
    let other = store.status(ledger, "turns").await.expect("it can be read");
    assert_eq!((other.parked, other.discarded), (None, vec![]));
    for expected in [true, false] {
        let found = store
            .drop_dead_letter(ledger, PROJECTION.name, parked.position)
            .await
            .expect("it is dropped");
        assert_eq!(found, expected);
    }
    // Of two decisions about one event the first holds, whoever comes late.
    let late = store
        .drop_dead_letter(ledger, PROJECTION.name, discarded.position)
        .await;
    assert!(!late.expect("it is answered"), "it was discarded");
    let late = store
        .discard_dead_letter(ledger, PROJECTION.name, parked.position)
        .await;
    assert!(!late.expect("it is answered"), "it was tried again");
    assert_eq!(
        store.dead_letters(ledger).await.expect("they can be read"),
        [discarded]
    );
    store.put_dead_letter(parked.clone()).await.expect("it is kept");
    let done = store
        .discard_dead_letter(ledger, PROJECTION.name, parked.position)
        .await;
    assert!(done.expect("it is answered"), "it was parked");
    let status = store
        .status(ledger, PROJECTION.name)
        .await
        .expect("it can be read");
    assert_eq!((status.parked, status.discarded.len()), (None, 2));
}

async fn every_value_comes_back_as_it_went(store: &dyn ReadStore, ledger: LedgerId) {
    let id = SqlValue::Id(*ledger.as_bytes());
    let sql = "INSERT INTO timeline (ledger, session, position, event_id, event_type, actor_kind, actor, summary, \
        payload_bytes, payload_state, provenance, occurred_at, recorded_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let values = vec![
        id.clone(),
        SqlValue::Id([0; 16]),
        SqlValue::Int(i64::MAX),
        SqlValue::Bytes(vec![0, 0xff]),
        SqlValue::Text("é\u{1f41d} '\"\\\0\u{1}\u{2}".into()),
        SqlValue::Text(String::new()),
        SqlValue::Bytes(vec![]),
        SqlValue::Null,
        SqlValue::Int(0),
        SqlValue::Word("word"),
        SqlValue::Text("x".repeat(100_000)),
        SqlValue::Int(i64::MIN),
        SqlValue::Int(-1),
    ];
    let statement = Statement::new(sql, values.clone());
    store
        .apply(step(ledger, 0, 1, vec![statement]))
        .await
        .expect("the row is written");
    let sql = "SELECT ledger, session, position, event_id, event_type, actor_kind, actor, summary, payload_bytes, \
        payload_state, provenance, occurred_at, recorded_at FROM timeline WHERE ledger = $1";
    let rows = store.query(sql, vec![id]).await.expect("it can be read");
    let read = rows.into_iter().next().expect("one row");
    for (n, (read, written)) in read.into_iter().zip(values).enumerate() {
        let written = match written {
            SqlValue::Id(id) => SqlValue::Bytes(id.to_vec()),
            SqlValue::Word(word) => SqlValue::Text(word.to_owned()),
            other => other,
        };
        assert_eq!(read, written, "column {n}");
    }
}

async fn ledgers_do_not_see_each_other(store: &dyn ReadStore) {
    let (a, b) = (ledger(10), ledger(11));
    store
        .apply(step(a, 0, 1, vec![insert(a, 1, "of a")]))
        .await
        .expect("a");
    assert_eq!(
        at(store, b).await,
        checkpoint(0),
        "checkpoints belong to a ledger"
    );
    store
        .apply(step(b, 0, 5, vec![insert(b, 1, "of b")]))
        .await
        .expect("the same key in another ledger");
    assert_eq!(agents(store, a).await, [SqlValue::Text("of a".into())]);
    assert_eq!(agents(store, b).await, [SqlValue::Text("of b".into())]);
    assert_eq!(at(store, a).await, checkpoint(1));
}
