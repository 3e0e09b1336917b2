//! Keeps the read models of ledgers up to date: reads, applies, commits, and knows what to do when that fails.
//!
//! The runner decides and never waits for time: whoever drives it (`api`) backs off after an error that is worth
//! trying again, and bounds the waits of readers.
//!
//! After *any* error of a step the checkpoint is read again before anything else, because a step can have been
//! committed although an error came back. So dropping a future half-way, a second worker and a lost answer are one case.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{LEDGERS_PROJECTED_AT_ONCE_MAX, PROJECTION_BATCH_EVENTS_MAX};
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};

use crate::projection::Projection;
use crate::store::{ReadStore, ReadStoreError};

mod batch;
mod gate;
mod lane;
mod progress;

pub use progress::{Lag, Progress, ProjectionState, WaitError};

use batch::Ahead;
use gate::Gate;
use lane::Lane;

/// Why a run stopped. The read models are as far as their checkpoints say.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The ledger could not be read.
    #[error("the ledger cannot be read")]
    Ledger(#[source] StoreError),
    /// The read models could not be read or written.
    #[error("the read models cannot be kept")]
    ReadModels(#[source] ReadStoreError),
    /// Another version of the projection made the rows. Rebuild the read models.
    #[error(
        "projection {projection} is at version {known}, its rows at version {stored}: rebuild the read models"
    )]
    Outdated {
        /// Which projection.
        projection: &'static str,
        /// Version that made the rows.
        stored: u32,
        /// Version of this program.
        known: u32,
    },
}

impl RunError {
    /// Whether running again later can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_retryable(),
            Self::ReadModels(error) => error.is_retryable(),
            Self::Outdated { .. } => false,
        }
    }
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Records read.
    pub records_read: usize,
    /// Steps of events over all projections: two projections that applied one event count two.
    pub events_applied: u64,
    /// Projections that are parked.
    pub parked: usize,
    /// Projections that have a failing event before them that will be tried again.
    pub failing: usize,
}

impl Run {
    /// Whether there was nothing left to do.
    pub fn is_idle(&self) -> bool {
        self.records_read == 0 && self.failing == 0
    }
}

/// What is kept of a ledger between two runs.
struct Kept {
    lanes: Vec<Lane>,
    /// The batch behind the last one, read while that one was written.
    ahead: Option<Ahead>,
}

/// Follows ledgers with a set of projections.
pub struct Runner {
    feed: Arc<dyn EventStore>,
    store: Arc<dyn ReadStore>,
    projections: Vec<&'static dyn Projection>,
    batch_events_max: usize,
    progress: Arc<Progress>,
    /// Lanes of ledgers that nobody runs at the moment; a run takes them out and puts them back. If a run is dropped
    /// half-way they are lost with it and read again from the store.
    lanes: Mutex<HashMap<LedgerId, Kept>>,
    /// How many dead letters were dealt with; moves under the lock of `lanes`.
    decisions: AtomicU64,
    /// Ledgers that are followed or looked at take turns.
    at_once: Gate,
}

impl Runner {
    /// A runner of all projections.
    pub fn new(feed: Arc<dyn EventStore>, store: Arc<dyn ReadStore>) -> Self {
        Self::with(feed, store, crate::projection::all())
    }

    /// A runner of some projections.
    pub fn with(
        feed: Arc<dyn EventStore>,
        store: Arc<dyn ReadStore>,
        projections: Vec<&'static dyn Projection>,
    ) -> Self {
        Self {
            feed,
            store,
            projections,
            batch_events_max: PROJECTION_BATCH_EVENTS_MAX,
            progress: Arc::default(),
            lanes: Mutex::default(),
            decisions: AtomicU64::new(0),
            at_once: Gate::new(LEDGERS_PROJECTED_AT_ONCE_MAX),
        }
    }

    /// Applies at most this many events in one transaction.
    pub fn batch_events_max(self, events: usize) -> Self {
        Self {
            batch_events_max: events.clamp(1, PROJECTION_BATCH_EVENTS_MAX),
            ..self
        }
    }

    /// How far the read models are; waits for positions.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The read models.
    pub fn store(&self) -> &Arc<dyn ReadStore> {
        &self.store
    }

    /// Brings the projections of a ledger forward by one batch.
    ///
    /// # Errors
    /// `RunError`; what was committed before stays.
    pub async fn run_once(&self, ledger: LedgerId) -> Result<Run, RunError> {
        self.run_until(ledger, &HashMap::new()).await
    }

    /// The same, but projections that are named do not go beyond their position, and those that are not named go on
    /// without end unless any is named, in which case they stay. A rebuild stops where its model stood.
    ///
    /// # Errors
    /// `RunError`; what was committed before stays.
    pub async fn run_until(
        &self,
        ledger: LedgerId,
        until: &HashMap<&'static str, Position>,
    ) -> Result<Run, RunError> {
        let decisions = self.decisions.load(Ordering::SeqCst);
        let mut kept = self.take_lanes(ledger).await?;
        let run = self.batch(ledger, &mut kept, until).await;
        // A lane whose step failed does not know where it stands and is read again by the next run; so are all if
        // something was decided meanwhile, which has been told already.
        let mut lanes = self.lock();
        if self.decisions.load(Ordering::SeqCst) == decisions {
            for lane in &kept.lanes {
                self.progress.set(ledger, lane.state());
            }
            lanes.insert(ledger, kept);
        }
        drop(lanes);
        run
    }

    /// Follows a ledger for ever: catches up, then waits for the next record. Ends with an error; whoever drives it
    /// backs off and calls it again, and attempts at a failing event go on counting.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn follow(&self, ledger: LedgerId) -> Result<std::convert::Infallible, RunError> {
        loop {
            let resumed = self.progress.resumed(ledger);
            let place = self.at_once.enter().await;
            let run = self.run_once(ledger).await?;
            drop(place);
            if !run.is_idle() {
                continue;
            }
            match self.next_position(ledger) {
                Some(next) => {
                    let appended = self.feed.wait_for(ledger, next);
                    match futures_util::future::select(appended, resumed).await {
                        futures_util::future::Either::Left((waited, _)) => {
                            waited.map_err(RunError::Ledger)?
                        }
                        futures_util::future::Either::Right(_) => {}
                    }
                }
                // Everything is held: only a person gets it going again.
                None => resumed.await,
            }
        }
    }

    /// Looks where the projections of a ledger stand that another node follows, and tells those who wait.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn observe(&self, ledger: LedgerId) -> Result<(), RunError> {
        let mut lanes: Vec<Lane> = self.projections.iter().map(|p| Lane::new(*p)).collect();
        let loads = lanes
            .iter_mut()
            .map(|lane| lane.load(self.store.as_ref(), ledger));
        let place = self.at_once.enter().await;
        join_all(loads).await.into_iter().collect::<Result<(), _>>()?;
        drop(place);
        for lane in &lanes {
            self.progress.set(ledger, lane.state());
        }
        Ok(())
    }

    /// Runs until the end of the ledger that is reached first, or until what is left is parked.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn catch_up(&self, ledger: LedgerId) -> Result<(), RunError> {
        while !self.run_once(ledger).await?.is_idle() {}
        Ok(())
    }

    /// Lets a parked projection try its event again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn redrive(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let found = self.store.drop_dead_letter(ledger, projection, position).await?;
        self.decided(ledger, projection).await?;
        Ok(found)
    }

    /// Lets a parked projection go on without its event. A rebuild goes on without it, too.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn discard(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let found = self
            .store
            .discard_dead_letter(ledger, projection, position)
            .await?;
        self.decided(ledger, projection).await?;
        Ok(found)
    }

    /// Pauses a projection of a ledger, or lets it go on, as the record at `decided` says. False if a later one was carried
    /// out before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        let changed = self.store.set_paused(ledger, projection, paused, decided).await?;
        self.decided(ledger, projection).await?;
        Ok(changed)
    }

    /// How far each projection is behind the end of the ledger.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn lag(&self, ledger: LedgerId) -> Result<Vec<Lag>, RunError> {
        let epochs = self.feed.epochs(ledger).await.map_err(RunError::Ledger)?;
        let head = self.feed.head(ledger).await.map_err(RunError::Ledger)?;
        let records: u64 = epochs.iter().map(|epoch| epoch.size.0).sum();
        let recorded_at = head.map_or_else(Default::default, |head| head.last_recorded_at);
        let mut lags = Vec::new();
        for projection in &self.projections {
            let status = self
                .store
                .status(ledger, projection.name())
                .await
                .map_err(RunError::ReadModels)?;
            lags.push(Lag::between(
                projection.name(),
                &status,
                &epochs,
                records,
                recorded_at,
            ));
        }
        Ok(lags)
    }

    /// The lanes of a ledger as they were left, with checkpoints that are known.
    async fn take_lanes(&self, ledger: LedgerId) -> Result<Kept, RunError> {
        let taken = self.lock().remove(&ledger);
        let lanes = || {
            self.projections
                .iter()
                .map(|projection| Lane::new(*projection))
                .collect()
        };
        let mut kept = taken.unwrap_or_else(|| Kept {
            lanes: lanes(),
            ahead: None,
        });
        // What a person decided on another node is only in the store.
        let unsure = |lane: &&mut Lane| !lane.is_known() || lane.is_held();
        for lane in kept.lanes.iter_mut().filter(unsure) {
            lane.load(self.store.as_ref(), ledger).await?;
        }
        Ok(kept)
    }

    /// The lowest position that a projection waits for; nothing if all are parked.
    fn next_position(&self, ledger: LedgerId) -> Option<Position> {
        let kept = self.lock();
        let next = |kept: &Kept| kept.lanes.iter().filter_map(Lane::next).min();
        kept.get(&ledger).map_or(Some(Position::START), next)
    }

    /// Tells where a projection stands after a decision, has the lanes of its ledger read again from the store, and wakes
    /// whoever follows it.
    async fn decided(&self, ledger: LedgerId, projection: &'static str) -> Result<(), ReadStoreError> {
        // From here on no run tells what it knew before.
        self.forget(ledger);
        let status = self.store.status(ledger, projection).await?;
        self.progress
            .set(ledger, Some(ProjectionState::of(projection, &status)));
        self.progress.resume(ledger);
        Ok(())
    }

    fn forget(&self, ledger: LedgerId) {
        let mut lanes = self.lock();
        self.decisions.fetch_add(1, Ordering::SeqCst);
        lanes.remove(&ledger);
    }

    /// Has whoever follows a ledger look again at what is held there: a person may have decided on another node. Does
    /// nothing where nothing is held.
    pub fn look_again(&self, ledger: LedgerId) {
        let is_held = |state: &ProjectionState| state.paused || state.parked.is_some();
        if self.progress.states(ledger).iter().any(is_held) {
            self.progress.resume(ledger);
        }
    }

    /// The map is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Kept>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events up to a position.
#[cfg(test)]
mod tests;
