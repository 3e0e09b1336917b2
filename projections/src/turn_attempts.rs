//! The attempts at turns, kept by the projection of turns: who tried, under which lease, and how each try ended.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::turn::TurnStarted;
use ruche_domain::ids::{LedgerId, TurnId};
use ruche_domain::limits::CHANNEL_ATTEMPTS_MAX;
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use crate::bounds;
use crate::change::{About, Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::PoisonReason;
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Both count only where the turn belongs to the session of the event, as everything about a turn does.
const STARTED: &str = "INSERT INTO turn_attempt (ledger, turn, position, number, lease_epoch, worker, brain_build, started_at) \
    SELECT turn.ledger, turn.turn, $1, $2, $3, $4, $5, $6 FROM turn \
    WHERE turn.ledger = $7 AND turn.turn = $8 AND turn.session IS NOT DISTINCT FROM $9 \
    ON CONFLICT (ledger, turn, position) DO NOTHING";
/// The first end of the last attempt counts: a turn may go on to undo what it did, and that is no attempt.
const ENDED: &str = "UPDATE turn_attempt SET outcome = $1, error_type = $2, error = $3, retry_at = $4, ended_at = $5 \
    WHERE turn_attempt.ledger = $6 AND turn_attempt.turn = $7 AND turn_attempt.outcome IS NULL \
    AND EXISTS (SELECT 1 FROM turn WHERE turn.ledger = turn_attempt.ledger AND turn.turn = turn_attempt.turn \
    AND turn.session IS NOT DISTINCT FROM $8) \
    AND NOT EXISTS (SELECT 1 FROM turn_attempt later WHERE later.ledger = turn_attempt.ledger \
    AND later.turn = turn_attempt.turn AND later.position > turn_attempt.position)";

/// What an event does to the attempts at its turn. It stands behind what the event does to the turn itself.
pub(crate) fn change(event: &ProjectedEvent, turn: TurnId) -> Result<Option<Change>, PoisonReason> {
    let told = match event.agent()? {
        Some(AgentEvent::TurnStarted(told)) => Some(told),
        None if event.event_type() == "turn.started" => None,
        _ => return ended(event, turn),
    };
    started(event, turn, told).map(Some)
}

fn started(event: &ProjectedEvent, turn: TurnId, told: Option<&TurnStarted>) -> Result<Change, PoisonReason> {
    let header = event.header();
    let mut params = vec![
        event.place()?.into(),
        told.map(|told| i64::from(told.attempt)).into(),
        bounds::ordinal(told.and_then(|told| told.lease_epoch)).into(),
        header.actor.reference.map(Uuid::into_bytes).into(),
        told.and_then(|told| told.brain_build.clone()).into(),
        event
            .time_or_occurred(told.and_then(|told| told.started_at))?
            .into(),
    ];
    params.extend(whose(event, turn));
    Ok(Change::of(About::Made(*turn.as_bytes()), STARTED, params))
}

/// The parameters with which every statement ends.
fn whose(event: &ProjectedEvent, turn: TurnId) -> [SqlValue; 3] {
    [
        event.ledger_key().into(),
        SqlValue::Id(*turn.as_bytes()),
        event.header().session.map(|id| *id.as_bytes()).into(),
    ]
}

fn ended(event: &ProjectedEvent, turn: TurnId) -> Result<Option<Change>, PoisonReason> {
    let Some(end) = End::of(event)? else {
        return Ok(None);
    };
    let mut params = vec![
        end.outcome.name().into(),
        end.error_type.into(),
        end.error.into(),
        bounds::time(end.retry_at).into(),
        event.time_or_occurred(end.at)?.into(),
    ];
    params.extend(whose(event, turn));
    // A lease that lapses says nothing of the turn, so it may be the first that the batch hears of it.
    let id = *turn.as_bytes();
    let about = match end.outcome {
        AttemptOutcome::LeaseLapsed => About::One(id),
        _ => About::Made(id),
    };
    Ok(Some(Change::of(about, ENDED, params)))
}

/// The end of an attempt.
struct End<'a> {
    outcome: AttemptOutcome,
    error_type: Option<&'a String>,
    error: Option<&'a String>,
    retry_at: Option<Micros>,
    at: Option<Micros>,
}

impl<'a> End<'a> {
    fn new(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            error_type: None,
            error: None,
            retry_at: None,
            at: None,
        }
    }

    fn of(event: &'a ProjectedEvent) -> Result<Option<Self>, PoisonReason> {
        Ok(match event.agent()? {
            Some(AgentEvent::TurnAttemptFailed(told)) => Some(Self {
                error_type: Some(&told.error_type),
                error: told.error.as_ref(),
                retry_at: told.retry_at,
                ..Self::new(AttemptOutcome::Failed)
            }),
            Some(AgentEvent::InfraLeaseExpired(told)) => Some(Self {
                at: told.expired_at,
                ..Self::new(AttemptOutcome::LeaseLapsed)
            }),
            Some(AgentEvent::TurnCommitted(told)) => Some(Self {
                at: told.ended_at,
                ..Self::new(AttemptOutcome::Committed)
            }),
            Some(AgentEvent::TurnFailed(told)) => Some(Self {
                error_type: Some(&told.error_type),
                error: told.error.as_ref(),
                at: told.ended_at,
                ..Self::new(AttemptOutcome::Failed)
            }),
            Some(AgentEvent::TurnCancelled(told)) => Some(Self {
                error: told.reason.as_ref(),
                ..Self::new(AttemptOutcome::Cancelled)
            }),
            Some(AgentEvent::TurnSuperseded(_)) => Some(Self::new(AttemptOutcome::Superseded)),
            Some(_) => None,
            // How it ended stands in the name of the event; it counts though the payload is erased.
            None => AttemptOutcome::of(event.event_type()).map(Self::new),
        })
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// The turn was committed.
    Committed,
    /// It failed.
    Failed,
    /// Its worker did not renew the lease in time and was taken for dead.
    LeaseLapsed,
    /// The turn was cancelled.
    Cancelled,
    /// A newer turn took the place of this one.
    Superseded,
}

impl AttemptOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Committed,
        Self::Failed,
        Self::LeaseLapsed,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::LeaseLapsed => "lease_lapsed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    fn of(event_type: &str) -> Option<Self> {
        Some(match event_type {
            "turn.committed" => Self::Committed,
            "turn.attempt_failed" | "turn.failed" => Self::Failed,
            "infra.lease_expired" => Self::LeaseLapsed,
            "turn.cancelled" => Self::Cancelled,
            "turn.superseded" => Self::Superseded,
            _ => return None,
        })
    }
}

impl std::str::FromStr for AttemptOutcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.name() == text)
            .ok_or(())
    }
}

/// An attempt at a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnAttempt {
    /// Its number, from 1.
    pub number: u64,
    /// Number of the lease under which a worker had the turn.
    pub lease_epoch: Option<u64>,
    /// Who claimed the turn: the reference of the credential.
    pub worker: Option<Uuid>,
    /// Build of the program that ran the agent, as the worker said.
    pub brain_build: Option<String>,
    /// When it began.
    pub started_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// How it ended; nothing while it is under way.
    pub outcome: Option<AttemptOutcome>,
    /// What went wrong: a stable word.
    pub error_type: Option<String>,
    /// What went wrong, or why the turn was cancelled, in words.
    pub error: Option<String>,
    /// When the next attempt could begin, if this one failed and the turn was to be tried again.
    pub retry_at: Option<Micros>,
    /// The record with which it began.
    pub position: Position,
}

/// The attempts at a turn in the order in which they began: as many as a channel may have.
///
/// # Errors
/// Those of the store.
pub async fn of_turn(
    store: &dyn ReadStore,
    ledger: LedgerId,
    turn: TurnId,
) -> Result<Vec<TurnAttempt>, ReadStoreError> {
    let columns = "number, lease_epoch, worker, brain_build, started_at, ended_at, outcome, error_type, error, retry_at, position";
    let rows = Select::of(columns, "turn_attempt", ledger)
        .and("turn = ", *turn.as_bytes())
        .text(" ORDER BY position LIMIT ")
        .bind(CHANNEL_ATTEMPTS_MAX.cast_signed())
        .rows(store)
        .await?;
    // One whose payload was erased does not say its number.
    let read = |(n, row)| {
        let fields = &mut Fields::new(row);
        Ok(TurnAttempt {
            number: fields.optional_count()?.unwrap_or(n),
            lease_epoch: fields.optional_count()?,
            worker: fields.optional_id()?,
            brain_build: fields.optional_text()?,
            started_at: fields.time()?,
            ended_at: fields.optional_time()?,
            outcome: fields.optional_word()?,
            error_type: fields.optional_text()?,
            error: fields.optional_text()?,
            retry_at: fields.optional_time()?,
            position: fields.position()?,
        })
    };
    (1..).zip(rows).map(read).collect()
}
