//! Scores of sessions.

use async_graphql::{ID, SimpleObject};
use ruche_projections::scores;

use super::scalars::{DateTime, Json, PositionScalar};
use super::session::id;
use super::words::ScoreTarget;

/// What a program, a model or a benchmark judged.
#[derive(SimpleObject)]
pub(super) struct Score {
    /// Its name, such as `reward`.
    name: String,
    /// As a number.
    value: Option<f64>,
    /// As a word, such as `pass`.
    label: Option<String>,
    /// Why, in words.
    explanation: Option<String>,
    /// Who or what scored.
    evaluator: Option<String>,
    /// Version of the evaluator.
    evaluator_version: Option<String>,
    /// What was scored; the session where the source does not say.
    target: ScoreTarget,
    /// The turn that was scored.
    turn_id: Option<ID>,
    /// The message that was scored.
    message_id: Option<ID>,
    /// The tool call that was scored.
    call_id: Option<ID>,
    /// Further figures of the evaluator.
    attributes: Option<Json>,
    /// When it was given.
    occurred_at: DateTime,
    /// The record.
    position: PositionScalar,
}

impl From<scores::Score> for Score {
    fn from(score: scores::Score) -> Self {
        Self {
            name: score.name,
            value: score.value.map(|value| value.get()),
            label: score.label,
            explanation: score.explanation,
            evaluator: score.evaluator,
            evaluator_version: score.evaluator_version,
            target: score.target.into(),
            turn_id: score.turn.map(id),
            message_id: score.message.map(id),
            call_id: score.call.map(id),
            attributes: score.attributes.map(|ext| Json(ext.into_iter().collect())),
            occurred_at: DateTime(score.occurred_at),
            position: PositionScalar(score.position),
        }
    }
}
