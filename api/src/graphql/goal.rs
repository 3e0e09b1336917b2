//! Goals of sessions.

use async_graphql::{ID, SimpleObject};
use ruche_projections::goals;

use super::scalars::{DateTime, PositionScalar};
use super::session::id;
use super::words::GoalStatus;

/// What is to be reached, and how that goes.
#[derive(SimpleObject)]
pub(super) struct Goal {
    /// The client's own id.
    goal: String,
    /// Id of the session that it was told of in.
    session_id: Option<ID>,
    /// In words; nothing where nobody set it.
    description: Option<String>,
    /// What has to hold for it to be reached.
    criteria: Vec<String>,
    /// Until when.
    due: Option<DateTime>,
    /// The client's own id of the goal that it serves.
    parent: Option<String>,
    /// Opaque reference of who set it.
    set_by: Option<String>,
    /// How it stands.
    status: GoalStatus,
    /// How much of it is reached, from 0 to 1.
    progress: Option<f64>,
    /// What was said of it last.
    note: Option<String>,
    /// When it was set last.
    set_at: Option<DateTime>,
    /// When it was reached or missed.
    ended_at: Option<DateTime>,
    /// Its first record.
    first_position: PositionScalar,
    /// Its last record.
    last_position: PositionScalar,
}

impl From<goals::Goal> for Goal {
    fn from(goal: goals::Goal) -> Self {
        Self {
            goal: goal.goal,
            session_id: goal.session.map(id),
            description: goal.description,
            criteria: goal.criteria,
            due: goal.due.map(DateTime),
            parent: goal.parent,
            set_by: goal.set_by,
            status: goal.status.into(),
            progress: goal.progress.and_then(|progress| progress.parse().ok()),
            note: goal.note,
            set_at: goal.set_at.map(DateTime),
            ended_at: goal.ended_at.map(DateTime),
            first_position: PositionScalar(goal.first_position),
            last_position: PositionScalar(goal.last_position),
        }
    }
}
