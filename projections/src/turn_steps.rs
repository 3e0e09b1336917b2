//! The steps of turns, kept by the projection of turns: what a worker that takes over need not do again.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{LedgerId, TurnId};
use ruche_domain::limits::STEPS_PER_TURN_MAX;
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::PoisonReason;
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

const STARTED: &str = "INSERT INTO turn_step (ledger, turn, step_id, name, attempt, first_position, started_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ledger, turn, step_id) DO UPDATE SET \
    name = COALESCE(excluded.name, turn_step.name), attempt = excluded.attempt, started_at = excluded.started_at";
const COMPLETED: &str = "INSERT INTO turn_step (ledger, turn, step_id, attempt, first_position, completed_at, \
    completed_position, result) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
    ON CONFLICT (ledger, turn, step_id) DO UPDATE SET attempt = excluded.attempt, \
    completed_at = excluded.completed_at, completed_position = excluded.completed_position, result = excluded.result";

/// What an event does to a step of its turn. One whose payload was erased does not say which step it is about.
pub(crate) fn change(event: &ProjectedEvent, turn: TurnId) -> Result<Option<Change>, PoisonReason> {
    let key = |step_id: &str| -> Vec<SqlValue> {
        vec![
            event.ledger_key().into(),
            SqlValue::Id(*turn.as_bytes()),
            bounds::name(step_id).into_owned().into(),
        ]
    };
    let (sql, params) = match event.agent()? {
        Some(AgentEvent::TurnStepStarted(started)) => {
            let mut params = key(&started.step_id);
            params.extend([
                started.name.as_ref().into(),
                i64::from(started.attempt).into(),
                event.place()?.into(),
                event.occurred_at()?.into(),
            ]);
            (STARTED, params)
        }
        Some(AgentEvent::TurnStepCompleted(completed)) => {
            let mut params = key(&completed.step_id);
            params.extend([
                i64::from(completed.attempt).into(),
                event.place()?.into(),
                event.occurred_at()?.into(),
                event.place()?.into(),
                completed.result.as_ref().into(),
            ]);
            (COMPLETED, params)
        }
        _ => return Ok(None),
    };
    Ok(Some(Change::about(turn.as_bytes(), sql, params)))
}

/// A step of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnStep {
    /// The client's own id of it.
    pub step_id: String,
    /// What it is, in words.
    pub name: Option<String>,
    /// The attempt that began it last, or completed it.
    pub attempt: u64,
    /// When that attempt began it.
    pub started_at: Option<Micros>,
    /// When it was completed.
    pub completed_at: Option<Micros>,
    /// The record that says so.
    pub completed_position: Option<Position>,
    /// What it came to.
    pub result: Option<String>,
}

/// The steps of a turn in the order in which they were first begun.
///
/// # Errors
/// Those of the store.
pub async fn of_turn(
    store: &dyn ReadStore,
    ledger: LedgerId,
    turn: TurnId,
) -> Result<Vec<TurnStep>, ReadStoreError> {
    let columns = "step_id, name, attempt, started_at, completed_at, completed_position, result";
    let rows = Select::of(columns, "turn_step", ledger)
        .and("turn = ", *turn.as_bytes())
        .text(" ORDER BY first_position LIMIT ")
        .bind(STEPS_PER_TURN_MAX as i64)
        .rows(store)
        .await?;
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok(TurnStep {
            step_id: fields.text()?,
            name: fields.optional_text()?,
            attempt: fields.count()?,
            started_at: fields.optional_time()?,
            completed_at: fields.optional_time()?,
            completed_position: fields.optional_position()?,
            result: fields.optional_text()?,
        })
    };
    rows.into_iter().map(read).collect()
}
