//! One projection in one ledger: where it stands, and what it does with events.

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{PROJECTION_ATTEMPTS_MAX, PROJECTION_BATCH_STATEMENTS_MAX};
use ruche_domain::numbers::Position;

use super::RunError;
use super::progress::ProjectionState;
use crate::change::{Changes, Statement};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ProjectionId, ProjectionStatus, ReadStore,
    ReadStoreError, Step,
};

/// A projection and what is known of it.
pub(super) struct Lane {
    projection: &'static dyn Projection,
    /// Absent until it is read, and after every error.
    status: Option<ProjectionStatus>,
    /// The event that failed last, and how often it did.
    failing: Option<(Position, u32)>,
    /// Up to here events go one by one, because the store refused some event of a batch that ends here.
    singly_until: Option<Position>,
}

/// What became of some events.
#[derive(Debug, Default)]
pub(super) struct Advance {
    /// Events that were applied.
    pub applied: u64,
    /// Whether it did not get to the end of the events and is to try again.
    pub failing: bool,
}

/// What became of one step.
enum Stepped {
    /// This many events were applied.
    Applied(usize),
    /// Something was in the way; read the checkpoint again and go on from there.
    Again,
}

/// Events turned into statements, up to the first that cannot be, or to the last that fits a transaction.
struct Prepared {
    events: usize,
    statements: Vec<Statement>,
    poison: Option<PoisonReason>,
}

impl Lane {
    pub(super) fn new(projection: &'static dyn Projection) -> Self {
        Self {
            projection,
            status: None,
            failing: None,
            singly_until: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.projection.name()
    }

    pub(super) fn is_known(&self) -> bool {
        self.status.is_some()
    }

    pub(super) fn is_parked(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.parked.is_some())
    }

    /// Whether it stands still until a person has decided, here or on another node.
    pub(super) fn is_held(&self) -> bool {
        let held = |status: &ProjectionStatus| status.paused || status.parked.is_some();
        self.status.as_ref().is_some_and(held)
    }

    pub(super) fn state(&self) -> Option<ProjectionState> {
        let status = self.status.as_ref()?;
        Some(ProjectionState::of(self.name(), status))
    }

    /// The event that it waits for; nothing while it is held or unknown.
    pub(super) fn next(&self) -> Option<Position> {
        let status = self.status.as_ref().filter(|_| !self.is_held())?;
        Some(status.checkpoint.position.map_or(Position::START, Position::next))
    }

    /// Reads where the projection stands.
    pub(super) async fn load(&mut self, store: &dyn ReadStore, ledger: LedgerId) -> Result<(), RunError> {
        let status = store
            .status(ledger, self.name())
            .await
            .map_err(RunError::ReadModels)?;
        let known = self.projection.version();
        if let Some(stored) = status.version.filter(|stored| *stored != known) {
            return Err(RunError::Outdated {
                projection: self.name(),
                stored,
                known,
            });
        }
        self.status = Some(status);
        Ok(())
    }

    /// Applies the events that are behind its checkpoint.
    ///
    /// # Errors
    /// Those of the store that say nothing of the events. The checkpoint is unknown then.
    pub(super) async fn advance(
        &mut self,
        store: &dyn ReadStore,
        ledger: LedgerId,
        events: &[ProjectedEvent],
    ) -> Result<Advance, ReadStoreError> {
        let mut advance = Advance::default();
        let Some(next) = self.next() else {
            return Ok(advance);
        };
        let mut events = &events[events.partition_point(|event| event.record.position < next)..];
        while let Some(first) = events.first() {
            let singly = self
                .singly_until
                .is_some_and(|until| first.record.position <= until);
            let batch = if singly { &events[..1] } else { events };
            match self.step(store, ledger, batch).await? {
                Stepped::Applied(count) => {
                    advance.applied += count as u64;
                    events = &events[count..];
                }
                Stepped::Again => {
                    self.status = None;
                    advance.failing = true;
                    break;
                }
            }
        }
        Ok(advance)
    }

    /// Applies a batch, or what comes before the first event in it that cannot be applied.
    async fn step(
        &mut self,
        store: &dyn ReadStore,
        ledger: LedgerId,
        batch: &[ProjectedEvent],
    ) -> Result<Stepped, ReadStoreError> {
        let prepared = match self.prepare(batch) {
            Ok(prepared) => prepared,
            Err(reason) => return self.refused(store, batch, reason).await,
        };
        let Some(last) = prepared.events.checked_sub(1).map(|n| &batch[n]) else {
            let reason = prepared
                .poison
                .expect("a batch has an event, and no event was taken");
            return self.poisoned(store, &batch[0], reason).await;
        };
        let from = self
            .status
            .as_ref()
            .map_or_else(Default::default, |status| status.checkpoint);
        let to = ProjectionCheckpoint {
            position: Some(last.record.position),
            applied: from.applied + prepared.events as u64,
            recorded_at: last.record.leaf.recorded_at,
        };
        let projection = ProjectionId {
            name: self.name(),
            version: self.projection.version(),
        };
        let step = Step {
            ledger,
            projection,
            from,
            to,
            statements: prepared.statements,
        };
        match store.apply(step).await {
            Ok(()) => {
                if let Some(status) = &mut self.status {
                    status.checkpoint = to;
                }
                self.failing = None;
                Ok(Stepped::Applied(prepared.events))
            }
            Err(ReadStoreError::StaleCheckpoint { found }) => {
                tracing::debug!(projection = self.name(), %ledger, ?found, "another worker was first");
                Ok(Stepped::Again)
            }
            Err(ReadStoreError::Refused(reason)) => {
                let reason = PoisonReason::Refused(reason);
                self.refused(store, &batch[..prepared.events], reason).await
            }
            Err(error) => {
                self.status = None;
                Err(error)
            }
        }
    }

    /// The statements of a batch up to the first event that cannot be applied, or to the one with which they are enough for one
    /// transaction.
    ///
    /// # Errors
    /// Events that can be applied each, and whose sums do not fit.
    fn prepare(&self, batch: &[ProjectedEvent]) -> Result<Prepared, PoisonReason> {
        let mut changes = Changes::default();
        let (mut events, mut poison) = (0, None);
        let discarded = self.status.as_ref().map_or(&[][..], |status| &status.discarded);
        for event in batch {
            if !discarded.contains(&event.record.position) {
                match self.projection.apply(event) {
                    Ok(change) => changes.push(change)?,
                    Err(reason) => {
                        poison = Some(reason);
                        break;
                    }
                }
            }
            events += 1;
            if changes.count() >= PROJECTION_BATCH_STATEMENTS_MAX {
                break;
            }
        }
        Ok(Prepared {
            events,
            statements: changes.into_statements()?,
            poison,
        })
    }

    /// Some event of the batch does not fit. If it is not clear which, they go one by one from now on.
    async fn refused(
        &mut self,
        store: &dyn ReadStore,
        batch: &[ProjectedEvent],
        reason: PoisonReason,
    ) -> Result<Stepped, ReadStoreError> {
        if let [event] = batch {
            return self.poisoned(store, event, reason).await;
        }
        self.singly_until = batch.last().map(|event| event.record.position);
        Ok(Stepped::Again)
    }

    /// An event cannot be applied: it is tried again a few times, then put aside, and the projection is parked.
    async fn poisoned(
        &mut self,
        store: &dyn ReadStore,
        event: &ProjectedEvent,
        reason: PoisonReason,
    ) -> Result<Stepped, ReadStoreError> {
        let position = event.record.position;
        let before = self
            .failing
            .filter(|(at, _)| *at == position)
            .map_or(0, |(_, attempts)| attempts);
        let attempts = before + 1;
        self.failing = Some((position, attempts));
        if attempts < PROJECTION_ATTEMPTS_MAX {
            return Ok(Stepped::Again);
        }
        let error = reason.to_string();
        let projection = self.name();
        tracing::error!(projection, ledger = %event.ledger, %position, attempts, error, "event put aside, projection parked");
        let letter = DeadLetter {
            ledger: event.ledger,
            projection: projection.to_owned(),
            version: self.projection.version(),
            position,
            event_type: event.header().event_type.clone(),
            leaf: event.record.leaf_bytes.clone(),
            error,
            attempts,
            recorded_at: event.record.leaf.recorded_at,
            state: DeadLetterState::Parked,
        };
        // If we die before this is kept, the event is tried five times more and put aside then.
        store.put_dead_letter(letter).await?;
        Ok(Stepped::Again)
    }
}
