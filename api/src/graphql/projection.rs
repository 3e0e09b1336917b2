//! Where the projections of the tenant's ledger stand, for those who look after them.

use async_graphql::{Enum, Result, SimpleObject};
use ruche_domain::ids::LedgerId;
use ruche_projections::projection;
use ruche_projections::runner::{Lag, RunError};
use ruche_projections::store::{DeadLetter, DeadLetterState};

use super::errors::fault;
use super::read::of_read_store;
use super::scalars::{DateTime, Long, PositionScalar};
use crate::error_codes as code;
use crate::services::Services;

/// What a projection does.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProjectionStatus {
    /// It follows the ledger.
    Following,
    /// It stands before an event that it cannot apply, until a person decides.
    Parked,
    /// A person has paused it.
    Paused,
}

/// A projection: keeps one read model up to date.
#[derive(SimpleObject)]
pub(super) struct Projection {
    /// Its name; that of its read model.
    name: &'static str,
    /// Version of this program's projection.
    version: u32,
    /// What it does.
    status: ProjectionStatus,
    /// The last record that it has applied; absent before the first.
    position: Option<PositionScalar>,
    /// Records that it has applied.
    applied_records: Long,
    /// Whether it has applied every record up to `position`, and none twice. Never false in a healthy ledger.
    gapless: bool,
    /// Records of the ledger that it has not applied yet.
    lag_records: Long,
    /// Time from its last record to the last one of the ledger, milliseconds; 0 once it is up to date.
    lag_ms: Long,
    /// The event that it could not apply, while it is parked.
    parked: Option<UnappliedEvent>,
    /// Events that a person has it go without, in the order of the ledger.
    discarded: Vec<UnappliedEvent>,
}

/// An event that a projection could not apply. The ledger has it all the same.
#[derive(SimpleObject, Clone)]
pub(super) struct UnappliedEvent {
    /// Its place.
    position: PositionScalar,
    /// Its type.
    event_type: String,
    /// Why it could not be applied.
    error: String,
    /// How often that was tried.
    attempts: u32,
    /// When the ledger took it.
    recorded_at: DateTime,
}

impl From<&DeadLetter> for UnappliedEvent {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            position: PositionScalar(letter.position),
            event_type: letter.event_type.clone(),
            error: letter.error.clone(),
            attempts: letter.attempts,
            recorded_at: DateTime(letter.recorded_at),
        }
    }
}

impl Projection {
    fn new(lag: &Lag, letters: &[DeadLetter]) -> Option<Self> {
        let projection = projection::all()
            .into_iter()
            .find(|known| known.name() == lag.projection)?;
        let of_it = |state| {
            let letters = letters.iter();
            letters.filter(move |letter| letter.projection == lag.projection && letter.state == state)
        };
        let status = match (lag.parked, lag.paused) {
            (_, true) => ProjectionStatus::Paused,
            (Some(_), false) => ProjectionStatus::Parked,
            (None, false) => ProjectionStatus::Following,
        };
        Some(Self {
            name: lag.projection,
            version: projection.version(),
            status,
            position: lag.checkpoint.position.map(PositionScalar),
            applied_records: Long::count(lag.checkpoint.applied),
            gapless: lag.is_gapless(),
            lag_records: Long::count(lag.records),
            lag_ms: Long::count(lag.recorded_us / 1_000),
            parked: of_it(DeadLetterState::Parked).next().map(UnappliedEvent::from),
            discarded: of_it(DeadLetterState::Discarded)
                .map(UnappliedEvent::from)
                .collect(),
        })
    }
}

/// The projections of a ledger, in the order in which they are shown everywhere.
pub(super) async fn of_ledger(services: &Services, ledger: LedgerId) -> Result<Vec<Projection>> {
    let lags = services.runner.lag(ledger).await.map_err(|error| {
        tracing::warn!(%ledger, error = %crate::error::chain(&error), "the projections cannot be looked at");
        match error {
            RunError::ReadModels(error) => of_read_store(&error),
            RunError::Ledger(_) | RunError::Outdated { .. } => {
                fault(code::UNAVAILABLE, "the projections cannot be looked at")
            }
        }
    })?;
    let letters = services.runner.store().dead_letters(ledger).await;
    let letters = letters.map_err(|error| of_read_store(&error))?;
    Ok(lags
        .iter()
        .filter_map(|lag| Projection::new(lag, &letters))
        .collect())
}
