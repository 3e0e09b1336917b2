//! Keeps the read models of ledgers up to date: reads, applies, commits, and knows what to do when that fails.
//!
//! The runner decides and never waits for time: whoever drives it (`api`) backs off after an error that is worth
//! trying again, and bounds the waits of readers.
//!
//! After *any* error of a step the checkpoint is read again before anything else, because a step can have been
//! committed although an error came back. So dropping a future half-way, a second worker and a lost answer are one case.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::future::{join, join_all};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{LEDGERS_PROJECTED_AT_ONCE_MAX, PROJECTION_BATCH_EVENTS_MAX};
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};

use crate::event::ProjectedEvent;
use crate::projection::Projection;
use crate::store::{DeadLetter, DeadLetterState, ReadStore, ReadStoreError};

mod gate;
mod lane;
mod progress;

pub use progress::{Lag, Progress, ProjectionState, WaitError};

use gate::Gate;
use lane::{Advance, Lane};

/// Events that are read from their bytes at once, before steps that are under way are seen to.
const EVENTS_AT_ONCE: usize = 64;

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

/// Events that were read before they were needed.
struct Ahead {
    from: Position,
    events: Vec<ProjectedEvent>,
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
        for lane in &kept.lanes {
            self.progress.set(ledger, lane.state());
        }
        // A lane whose step failed does not know where it stands and is read again by the next run; so are all if a
        // dead letter was dealt with meanwhile.
        let mut lanes = self.lock();
        if self.decisions.load(Ordering::SeqCst) == decisions {
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
            let resumed = self.progress.resumed();
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
                // Everything is parked: only a person gets it going again.
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
        self.forget(ledger);
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
        let letters = self.store.dead_letters(ledger).await?;
        let letter = letters
            .into_iter()
            .find(|l| l.projection == projection && l.position == position);
        let Some(letter) = letter else { return Ok(false) };
        let discarded = DeadLetter {
            state: DeadLetterState::Discarded,
            ..letter
        };
        self.store.put_dead_letter(discarded).await?;
        self.forget(ledger);
        Ok(true)
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

    async fn batch(
        &self,
        ledger: LedgerId,
        kept: &mut Kept,
        until: &HashMap<&'static str, Position>,
    ) -> Result<Run, RunError> {
        let Kept { lanes, ahead } = kept;
        let goes_on = |lane: &Lane| {
            let end = until.get(lane.name());
            let limited = !until.is_empty();
            lane.next().filter(|next| end.map_or(!limited, |end| next <= end))
        };
        let parked = lanes.iter().filter(|lane| lane.is_parked()).count();
        let mut run = Run {
            parked,
            ..Run::default()
        };
        let Some(from) = lanes.iter().filter_map(goes_on).min() else {
            return Ok(run);
        };
        let events = match ahead.take().filter(|ahead| ahead.from == from) {
            Some(ahead) => ahead.events,
            None => self.read(ledger, from).await.map_err(RunError::Ledger)?,
        };
        run.records_read = events.len();
        // One lane after the other makes its step, and the next batch is read behind them. After each of these the steps
        // that were handed over before are seen to: the store waits for nothing while we are at work.
        let behind_all = lanes.len();
        let steps = lanes.iter_mut().enumerate().map(|(turn, lane)| {
            let end = until.get(lane.name()).copied();
            let stays = !until.is_empty() && end.is_none();
            let events = if stays { &[][..] } else { up_to(&events, end) };
            async move {
                give_way(turn).await;
                lane.advance(self.store.as_ref(), ledger, events).await
            }
        });
        let ahead_of = async {
            give_way(behind_all).await;
            self.read_ahead(ledger, &events).await
        };
        let (advances, next) = join(join_all(steps), ahead_of).await;
        *ahead = next;
        let mut first_error = None;
        for advance in advances {
            match advance {
                Ok(Advance { applied, failing }) => {
                    run.events_applied += applied;
                    run.failing += usize::from(failing);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        run.parked = lanes.iter().filter(|lane| lane.is_parked()).count();
        first_error.map_or(Ok(run), |error| Err(RunError::ReadModels(error)))
    }

    async fn read(&self, ledger: LedgerId, from: Position) -> Result<Vec<ProjectedEvent>, StoreError> {
        let records = self.feed.read_ledger(ledger, from, self.batch_events_max).await?;
        let mut events = Vec::with_capacity(records.len());
        for (n, record) in records.into_iter().enumerate() {
            if n % EVENTS_AT_ONCE == 0 {
                give_way(1).await;
            }
            events.push(ProjectedEvent::new(ledger, record));
        }
        Ok(events)
    }

    /// Reads what is behind a full batch. An error is left to the run that needs the events and reads them again.
    async fn read_ahead(&self, ledger: LedgerId, events: &[ProjectedEvent]) -> Option<Ahead> {
        let full = events.len() == self.batch_events_max;
        let from = events.last().filter(|_| full)?.record.position.next();
        let events = self.read(ledger, from).await.ok()?;
        Some(Ahead { from, events })
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
        for lane in kept.lanes.iter_mut().filter(|lane| !lane.is_known()) {
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

    /// Reads the lanes of a ledger again from the store, and wakes whoever follows it.
    fn forget(&self, ledger: LedgerId) {
        let mut lanes = self.lock();
        self.decisions.fetch_add(1, Ordering::SeqCst);
        lanes.remove(&ledger);
        drop(lanes);
        self.progress.resume();
    }

    /// The map is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Kept>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the other futures of the same task run, so often.
async fn give_way(mut times: usize) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The events up to a position.
fn up_to(events: &[ProjectedEvent], end: Option<Position>) -> &[ProjectedEvent] {
    let Some(end) = end else { return events };
    &events[..events.partition_point(|event| event.record.position <= end)]
}

#[cfg(test)]
mod tests;
