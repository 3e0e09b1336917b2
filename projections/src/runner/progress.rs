//! How far read models are, for those who wait for a position and for those who watch.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::EpochInfo;

use crate::store::{ProjectionCheckpoint, ProjectionStatus};

/// Where a projection stands in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionState {
    /// Its name.
    pub projection: &'static str,
    /// The last record in it.
    pub checkpoint: ProjectionCheckpoint,
    /// The event before which it is parked.
    pub parked: Option<Position>,
    /// Whether a person has paused it.
    pub paused: bool,
}

impl ProjectionState {
    pub(super) fn of(projection: &'static str, status: &ProjectionStatus) -> Self {
        Self {
            projection,
            checkpoint: status.checkpoint,
            parked: status.parked.as_ref().map(|letter| letter.position),
            paused: status.paused,
        }
    }
}

/// Why waiting for a position is in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// A projection is parked before the position: it stays behind until a person has decided.
    #[error("projection {projection} is parked before {parked}")]
    Parked {
        /// Which projection.
        projection: &'static str,
        /// The event that it could not apply.
        parked: Position,
    },
    /// A projection that is not there yet is paused: it stays behind until a person has it go on.
    #[error("projection {projection} is paused")]
    Paused {
        /// Which projection.
        projection: &'static str,
    },
}

/// The states of all projections that this process keeps.
#[derive(Default)]
pub struct Progress {
    ledgers: Mutex<HashMap<LedgerId, Ledger>>,
}

#[derive(Default)]
struct Ledger {
    states: HashMap<&'static str, ProjectionState>,
    moved: Event,
    /// How many wait for a position.
    waiting: usize,
    /// Somebody began to wait.
    wanted: Event,
    /// A person decided about a projection, or may have.
    resumed: Event,
}

/// Somebody waits for a position of a ledger for as long as this lives.
struct Waiter<'p> {
    progress: &'p Progress,
    ledger: LedgerId,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(ledger) = self.progress.lock().get_mut(&self.ledger) {
            ledger.waiting -= 1;
        }
    }
}

impl Progress {
    /// Resolves once the named projections of a ledger hold the record at `position`. Without a bound of its own: the
    /// caller bounds it (`MIN_POSITION_WAIT_MS_MAX`).
    ///
    /// # Errors
    /// `Parked` or `Paused` if one of them will not get there.
    pub async fn wait_for(
        &self,
        ledger: LedgerId,
        projections: &[&'static str],
        position: Position,
    ) -> Result<(), WaitError> {
        if self.listen(ledger, projections, position)?.is_none() {
            return Ok(());
        }
        let _waiter = self.begin_to_wait(ledger);
        while let Some(moved) = self.listen(ledger, projections, position)? {
            moved.await;
        }
        Ok(())
    }

    /// Resolves once somebody waits for a position of the ledger. Whoever does not follow it looks where another node
    /// is ([`super::Runner::observe`]).
    pub async fn wanted(&self, ledger: LedgerId) {
        loop {
            let wanted = {
                let mut ledgers = self.lock();
                let ledger = ledgers.entry(ledger).or_default();
                if ledger.waiting > 0 {
                    return;
                }
                ledger.wanted.listen()
            };
            wanted.await;
        }
    }

    fn begin_to_wait(&self, ledger: LedgerId) -> Waiter<'_> {
        let mut ledgers = self.lock();
        let waited = ledgers.entry(ledger).or_default();
        waited.waiting += 1;
        waited.wanted.notify(usize::MAX);
        Waiter {
            progress: self,
            ledger,
        }
    }

    /// Where the projections of a ledger stand, by name.
    pub fn states(&self, ledger: LedgerId) -> Vec<ProjectionState> {
        let ledgers = self.lock();
        let mut states: Vec<_> = ledgers
            .get(&ledger)
            .map_or_else(Vec::new, |l| l.states.values().copied().collect());
        states.sort_unstable_by_key(|state| state.projection);
        states
    }

    /// A listener registered under the lock, so that progress in between is not missed.
    fn listen(
        &self,
        ledger: LedgerId,
        projections: &[&'static str],
        position: Position,
    ) -> Result<Option<EventListener>, WaitError> {
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(ledger).or_default();
        let mut arrived = true;
        for name in projections {
            let state = ledger.states.get(name);
            let at = state.and_then(|state| state.checkpoint.position);
            if at >= Some(position) {
                continue;
            }
            arrived = false;
            let Some(state) = state else { continue };
            let projection = state.projection;
            if let Some(parked) = state.parked {
                return Err(WaitError::Parked { projection, parked });
            }
            if state.paused {
                return Err(WaitError::Paused { projection });
            }
        }
        Ok((!arrived).then(|| ledger.moved.listen()))
    }

    /// Tells where a projection stands. Called after the commit, never before.
    pub(super) fn set(&self, ledger: LedgerId, state: Option<ProjectionState>) {
        let Some(state) = state else { return };
        let mut ledgers = self.lock();
        let ledger = ledgers.entry(ledger).or_default();
        let before = ledger.states.insert(state.projection, state);
        if before != Some(state) {
            ledger.moved.notify(usize::MAX);
        }
    }

    /// Resolves once something was decided about a projection of the ledger after this call.
    pub(super) fn resumed(&self, ledger: LedgerId) -> EventListener {
        self.lock().entry(ledger).or_default().resumed.listen()
    }

    /// Something was decided about a projection of the ledger.
    pub(super) fn resume(&self, ledger: LedgerId) {
        self.lock().entry(ledger).or_default().resumed.notify(usize::MAX);
    }

    /// The map is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a projection is behind its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Its name.
    pub projection: &'static str,
    /// The last record in it.
    pub checkpoint: ProjectionCheckpoint,
    /// Records of the ledger up to its checkpoint. Nothing was skipped if as many were applied.
    pub passed: u64,
    /// Records that are not in it yet.
    pub records: u64,
    /// Recorded-at of the ledger's last record less that of the last one in it, µs. Zero once it is up to date.
    pub recorded_us: u64,
    /// The event before which it is parked.
    pub parked: Option<Position>,
    /// Whether a person has paused it.
    pub paused: bool,
}

impl Lag {
    /// Whether every record up to the checkpoint was applied: `applied = position`.
    pub fn is_gapless(&self) -> bool {
        self.passed == self.checkpoint.applied
    }

    pub(super) fn between(
        projection: &'static str,
        status: &ProjectionStatus,
        epochs: &[EpochInfo],
        records: u64,
        recorded_at: Micros,
    ) -> Self {
        let checkpoint = status.checkpoint;
        let passed = checkpoint.position.map_or(0, |at| {
            let earlier = epochs.iter().filter(|epoch| epoch.epoch < at.epoch);
            earlier.map(|epoch| epoch.size.0).sum::<u64>() + at.index.0 + 1
        });
        let behind = records.saturating_sub(passed);
        let recorded_us = if behind == 0 {
            0
        } else {
            recorded_at.0.saturating_sub(checkpoint.recorded_at.0)
        };
        let parked = status.parked.as_ref().map(|letter| letter.position);
        Self {
            projection,
            checkpoint,
            passed,
            records: behind,
            recorded_us,
            parked,
            paused: status.paused,
        }
    }
}
