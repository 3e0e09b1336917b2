//! Attempts at turns.

use async_graphql::{ID, SimpleObject};
use ruche_projections::turn_attempts;

use super::scalars::{DateTime, Long, PositionScalar};
use super::session::id;
use super::words::AttemptOutcome;

/// An attempt at a turn: from the claim of a worker to its end.
#[derive(SimpleObject)]
pub(super) struct TurnAttempt {
    /// Its number, from 1.
    number: Long,
    /// Number of the lease under which the worker had the turn; each lease of a lane has a higher one than any before.
    lease_epoch: Option<Long>,
    /// Opaque reference of the credential that claimed the turn.
    worker: Option<ID>,
    /// Build of the program that ran the agent, as the worker said.
    brain_build: Option<String>,
    /// When it began.
    started_at: DateTime,
    /// When it ended. A lease that lapsed ended then, whenever that was noticed.
    ended_at: Option<DateTime>,
    /// How it ended; null while it is under way.
    outcome: Option<AttemptOutcome>,
    /// What went wrong: a stable word of the worker.
    error_type: Option<String>,
    /// What went wrong, or why the turn was cancelled, in words.
    error: Option<String>,
    /// From when on the turn could be tried again, where this attempt failed and another was to follow.
    retry_at: Option<DateTime>,
    /// The record with which it began.
    position: PositionScalar,
}

impl From<turn_attempts::TurnAttempt> for TurnAttempt {
    fn from(attempt: turn_attempts::TurnAttempt) -> Self {
        Self {
            number: Long::count(attempt.number),
            lease_epoch: attempt.lease_epoch.map(Long::count),
            worker: attempt.worker.map(id),
            brain_build: attempt.brain_build,
            started_at: DateTime(attempt.started_at),
            ended_at: attempt.ended_at.map(DateTime),
            outcome: attempt.outcome.map(Into::into),
            error_type: attempt.error_type,
            error: attempt.error,
            retry_at: attempt.retry_at.map(DateTime),
            position: PositionScalar(attempt.position),
        }
    }
}
