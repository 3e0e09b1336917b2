//! Rebuilding, as far as it is the same for every engine: what is asked, what is found, and what is done to the store
//! that is filled beside the current one.

mod progress;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};

use crate::projection;
use crate::runner::{RunError, Runner};
use crate::store::{DeadLetterState, ReadStore, ReadStoreError};

pub use progress::{RebuildPhase, RebuildProgress, RebuildStanding};

/// What to do if the rebuilt read models differ from the current ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDifference {
    /// Keep the current ones and throw the rebuilt ones away, so that somebody can look.
    Keep,
    /// Switch all the same: what comes from the ledger is right.
    Switch,
}

/// What a rebuild found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildReport {
    /// The generation that is current now.
    pub generation: u32,
    /// Whether it is the rebuilt one.
    pub switched: bool,
    /// Whether the two could be compared; not if the current one is of another version of a projection.
    pub compared: bool,
    /// What differed.
    pub differences: Vec<Difference>,
    /// Records of all ledgers that the read models were made of, each counted once.
    pub events: u64,
    /// Projections that were made anew.
    pub projections: usize,
}

/// What differs in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// Rows with a key that only the first has.
    pub only_first: u64,
    /// Rows with a key that only the second has.
    pub only_second: u64,
    /// Rows that both have and that say different things.
    pub unequal: u64,
    /// The first difference found, for people.
    pub example: String,
}

impl Difference {
    /// No difference yet.
    pub fn none(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            only_first: 0,
            only_second: 0,
            unequal: 0,
            example: String::new(),
        }
    }

    /// Counts two rows that are not the same: `Less` if only the first has this key, `Greater` if only the second has,
    /// `Equal` if both have it.
    pub fn count(&mut self, keys: Ordering, example: impl FnOnce() -> String) {
        if self.total() == 0 {
            self.example = example();
        }
        match keys {
            Ordering::Less => self.only_first += 1,
            Ordering::Greater => self.only_second += 1,
            Ordering::Equal => self.unequal += 1,
        }
    }

    /// Itself, if anything was counted.
    pub fn found(self) -> Option<Self> {
        (self.total() > 0).then_some(self)
    }

    fn total(&self) -> u64 {
        self.only_first + self.only_second + self.unequal
    }
}

/// Why a rebuild failed. The current read models are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// One is under way already.
    #[error("the read models are being rebuilt already")]
    Busy,
    /// The engine lets only the owner of the read models make them anew.
    #[error(
        "only the owner of the read models can make them anew, which {user} is not: run `ruche rebuild` with the URL of \
         {owner} (--database-url), at an upgrade before the nodes start"
    )]
    NotOwner {
        /// Who tried.
        user: String,
        /// Whose they are.
        owner: String,
    },
    /// What the engine keeps a generation in could not be made, read or named.
    #[error("a generation of the rebuild failed")]
    Generation(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledgers could not be listed.
    #[error("the ledgers cannot be listed")]
    Ledgers(#[source] StoreError),
    /// A ledger could not be followed.
    #[error("a ledger cannot be followed")]
    Run(#[source] RunError),
    /// Checkpoints or dead letters could not be read or written.
    #[error("the checkpoints cannot be read")]
    Checkpoints(#[source] ReadStoreError),
    /// An event that the current read models hold cannot be applied any more.
    #[error("projection {projection} of ledger {ledger} is parked at {position} in the rebuild")]
    Parked {
        /// Which ledger.
        ledger: LedgerId,
        /// Which projection.
        projection: &'static str,
        /// Which event.
        position: Position,
    },
    /// What did the work is gone.
    #[error("the rebuild was cut off")]
    CutOff,
}

/// What can make read models anew: a store of them.
#[async_trait]
pub trait Rebuild: Send + Sync {
    /// Rebuilds all read models from the ledgers, compares them with the current ones, and switches. Queries and steps
    /// go on throughout; for a moment steps are refused with an error that is worth trying again. Dropped before it is done,
    /// it leaves the current ones as they were; what it filled is removed by the next one.
    ///
    /// # Errors
    /// `RebuildError`; the current read models stay.
    async fn rebuild(
        &self,
        feed: Arc<dyn EventStore>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError>;

    /// Whether this process can rebuild at all, asked before anything is decided.
    ///
    /// # Errors
    /// `NotOwner`; `Generation` if that cannot be found out.
    async fn may_rebuild(&self) -> Result<(), RebuildError>;
}

/// How far each projection of each ledger is.
pub type Ends = HashMap<LedgerId, HashMap<&'static str, Position>>;

/// Tables that are compared: checkpoints and all read models.
pub fn compared_tables() -> Vec<&'static str> {
    [&["checkpoint"][..], &crate::tables()].concat()
}

/// Where the projections of some ledgers stand.
///
/// # Errors
/// `Checkpoints`; so for the functions below.
pub async fn ends(store: &dyn ReadStore, ledgers: &[LedgerId]) -> Result<Ends, RebuildError> {
    let mut ends = Ends::new();
    for ledger in ledgers {
        for projection in projection::all() {
            let status = store.status(*ledger, projection.name()).await;
            let status = status.map_err(RebuildError::Checkpoints)?;
            if let Some(position) = status.checkpoint.position {
                ends.entry(*ledger)
                    .or_default()
                    .insert(projection.name(), position);
            }
        }
    }
    Ok(ends)
}

/// How many records the projection that came furthest has applied, over all ledgers.
///
/// # Errors
/// `Checkpoints`.
pub async fn events(store: &dyn ReadStore, ledgers: &[LedgerId]) -> Result<u64, RebuildError> {
    let mut events = 0;
    for ledger in ledgers {
        let mut furthest = 0;
        for projection in projection::all() {
            let status = store.status(*ledger, projection.name()).await;
            let status = status.map_err(RebuildError::Checkpoints)?;
            furthest = furthest.max(status.checkpoint.applied);
        }
        events += furthest;
    }
    Ok(events)
}

/// Counts what is ahead of a rebuild of these read models.
///
/// # Errors
/// `Checkpoints`.
pub async fn count_ahead(
    current: &dyn ReadStore,
    ledgers: &[LedgerId],
    progress: &RebuildProgress,
) -> Result<(), RebuildError> {
    progress.expect(events(current, ledgers).await?);
    Ok(())
}

/// Whether a projection of another version made rows of these ledgers. What it made is replaced, not compared.
///
/// # Errors
/// `Checkpoints`.
pub async fn is_outdated(store: &dyn ReadStore, ledgers: &[LedgerId]) -> Result<bool, RebuildError> {
    for ledger in ledgers {
        for projection in projection::all() {
            let status = store.status(*ledger, projection.name()).await;
            let version = status.map_err(RebuildError::Checkpoints)?.version;
            if version.is_some_and(|version| version != projection.version()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Copies dead letters of a state. What a person decided holds for the rebuilt models, too; what waits for a person goes
/// on waiting.
///
/// # Errors
/// `Checkpoints`.
pub async fn copy_letters(
    from: &dyn ReadStore,
    to: &dyn ReadStore,
    ledgers: &[LedgerId],
    state: DeadLetterState,
) -> Result<(), RebuildError> {
    for ledger in ledgers {
        let letters = from.dead_letters(*ledger).await;
        for letter in letters.map_err(RebuildError::Checkpoints)? {
            if letter.state == state {
                let put = to.put_dead_letter(letter).await;
                put.map_err(RebuildError::Checkpoints)?;
            }
        }
    }
    Ok(())
}

/// Copies what was decided about pauses. Only once the rebuilt models stand where they are switched to: what is paused takes no step.
///
/// # Errors
/// `Checkpoints`.
pub async fn copy_pauses(
    from: &dyn ReadStore,
    to: &dyn ReadStore,
    ledgers: &[LedgerId],
) -> Result<(), RebuildError> {
    for ledger in ledgers {
        for projection in projection::all() {
            let status = from.status(*ledger, projection.name()).await;
            let status = status.map_err(RebuildError::Checkpoints)?;
            if let Some(decided) = status.decided {
                let set = to.set_paused(*ledger, projection.name(), status.paused, decided);
                set.await.map_err(RebuildError::Checkpoints)?;
            }
        }
    }
    Ok(())
}

/// Brings each projection of each ledger exactly to its end, and tells how far that is.
///
/// # Errors
/// `Run`, and `Parked` for an event that cannot be applied.
pub async fn run_to(runner: &Runner, ends: &Ends, progress: &RebuildProgress) -> Result<(), RebuildError> {
    for (ledger, ends) in ends {
        if ends.is_empty() {
            continue;
        }
        loop {
            let run = runner.run_until(*ledger, ends).await.map_err(RebuildError::Run)?;
            progress.add(run.records_read as u64);
            if run.is_idle() {
                break;
            }
        }
        let states = runner.progress().states(*ledger);
        let stuck = states.iter().find_map(|state| {
            let end = ends.get(state.projection)?;
            let position = state.parked.filter(|parked| parked <= end)?;
            Some((state.projection, position))
        });
        if let Some((projection, position)) = stuck {
            return Err(RebuildError::Parked {
                ledger: *ledger,
                projection,
                position,
            });
        }
    }
    Ok(())
}
