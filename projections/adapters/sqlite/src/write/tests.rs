//! Steps of one transaction.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::change::Statement;
use ruche_projections::store::{ProjectionCheckpoint, ProjectionId};

use super::*;
use crate::file::{Durability, open_writer};

fn ledger() -> LedgerId {
    LedgerId::from_bytes([7; 16])
}

const EVENT: &str = "INSERT INTO memory_event (ledger, event_id, position) VALUES ($1, $2, $3)";

fn checkpoint_at(index: u64) -> ProjectionCheckpoint {
    ProjectionCheckpoint {
        position: Some(Position::new(1, index)),
        applied: index,
        recorded_at: Micros(index),
    }
}

/// A first step that writes a row for each of these events.
fn step(name: &'static str, from: ProjectionCheckpoint, events: &[u8]) -> Step {
    let row = |event: &u8| {
        let values = vec![
            SqlValue::Id([7; 16]),
            SqlValue::Id([*event; 16]),
            SqlValue::Int(1),
        ];
        Statement::new(EVENT, values)
    };
    Step {
        ledger: ledger(),
        projection: ProjectionId { name, version: 1 },
        from,
        to: checkpoint_at(1),
        statements: events.iter().map(row).collect(),
    }
}

/// Runs steps in one transaction, and gives what each was answered.
fn run_together(conn: &Connection, steps: Vec<Step>) -> Vec<Result<(), ReadStoreError>> {
    let mut statements = Statements {
        conn,
        prepared: HashMap::new(),
    };
    let (jobs, answers): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .map(|step| {
            let (to, answer) = oneshot::channel();
            (WriteJob::Apply(step, to), answer)
        })
        .unzip();
    transaction(conn, &mut statements, jobs);
    let told = |mut answer: oneshot::Receiver<_>| answer.try_recv().unwrap().unwrap();
    answers.into_iter().map(told).collect()
}

fn rows(conn: &Connection) -> Vec<u8> {
    let mut rows = conn
        .prepare("SELECT event_id FROM memory_event ORDER BY event_id")
        .unwrap();
    let rows = rows.query_map([], |row| row.get::<_, [u8; 16]>(0)).unwrap();
    rows.map(|id| id.unwrap()[0]).collect()
}

#[test]
fn what_is_refused_undoes_itself_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open_writer(&dir.path().join("read.db"), Durability::Normal).unwrap();
    let first = ProjectionCheckpoint::default;
    // The second one writes a row and then the same row again; the fourth one is behind.
    let answers = run_together(
        &conn,
        vec![
            step("sessions", first(), &[1, 2]),
            step("turns", first(), &[3, 3]),
            step("timeline", first(), &[4]),
            step("messages", checkpoint_at(5), &[5]),
        ],
    );
    assert!(matches!(
        &answers[..],
        [
            Ok(()),
            Err(ReadStoreError::Refused(_)),
            Ok(()),
            Err(ReadStoreError::StaleCheckpoint { .. })
        ]
    ));
    assert_eq!(rows(&conn), [1, 2, 4]);
    for (projection, place) in [("sessions", 1), ("turns", 0), ("timeline", 1), ("messages", 0)] {
        let found = checkpoint(&conn, ledger(), projection).unwrap();
        assert_eq!(found.applied, place, "{projection}");
    }
    assert!(conn.is_autocommit());
}

#[test]
fn who_is_behind_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open_writer(&dir.path().join("read.db"), Durability::Normal).unwrap();
    let behind = step("turns", checkpoint_at(5), &[2]);
    let answers = run_together(
        &conn,
        vec![step("sessions", ProjectionCheckpoint::default(), &[1]), behind],
    );
    assert!(matches!(
        &answers[..],
        [Ok(()), Err(ReadStoreError::StaleCheckpoint { .. })]
    ));
    assert_eq!(rows(&conn), [1]);
}
