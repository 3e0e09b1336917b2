//! Steps of turns.

use async_graphql::{Enum, SimpleObject};
use ruche_projections::turn_steps;

use super::scalars::{DateTime, Long, PositionScalar};

/// Where a step of a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum StepState {
    /// An attempt began it and did not complete it.
    Started,
    /// It is done, for all attempts.
    Completed,
}

/// A step of a turn: a part of its work that is done once over all attempts.
#[derive(SimpleObject)]
pub(super) struct TurnStep {
    /// The client's own id of it, one in its turn.
    step_id: String,
    /// What it is, in words.
    name: Option<String>,
    /// Where it stands.
    state: StepState,
    /// The attempt that began it last, or completed it, from 1.
    attempt: Long,
    /// When that attempt began it.
    started_at: Option<DateTime>,
    /// When it was completed.
    completed_at: Option<DateTime>,
    /// The record that says so.
    completed_position: Option<PositionScalar>,
    /// What it came to, as the worker wrote it.
    result: Option<String>,
}

impl From<turn_steps::TurnStep> for TurnStep {
    fn from(step: turn_steps::TurnStep) -> Self {
        Self {
            state: match step.completed_position {
                Some(_) => StepState::Completed,
                None => StepState::Started,
            },
            step_id: step.step_id,
            name: step.name,
            attempt: Long::count(step.attempt),
            started_at: step.started_at.map(DateTime),
            completed_at: step.completed_at.map(DateTime),
            completed_position: step.completed_position.map(PositionScalar),
            result: step.result,
        }
    }
}
