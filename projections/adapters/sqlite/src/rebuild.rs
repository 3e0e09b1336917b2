//! Rebuilding: the next generation is made from the ledgers beside the current one, compared, and switched to.
//!
//! 1. It is filled up to where the current one stood at the start, without syncing: if we die it is thrown away.
//! 2. The current one is held in a snapshot; the new one goes exactly to the snapshot's checkpoints; both are compared.
//! 3. Writing pauses; the new one goes to the current checkpoints, is settled on disk and named the current one. If we
//!    die before the name is changed the old one stays, after it the new one is complete.
//! 4. Workers find their checkpoints moved, read them again and go on. The old files go when the last query is done.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_projections::projection::{self, Projection};
use ruche_projections::runner::{RunError, Runner};
use ruche_projections::store::{DeadLetterState, ReadStore, ReadStoreError};

use crate::compare::{Difference, differences};
use crate::error::{OpenError, sqlite};
use crate::file::{self, Durability};
use crate::generation::Generation;
use crate::models::SqliteReadStore;
use crate::write::WriteJob;

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

/// Why a rebuild failed. The current read models are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// One is under way already.
    #[error("the read models are being rebuilt already")]
    Busy,
    /// A file could not be made, read or named.
    #[error("a file of the rebuild failed")]
    File(#[source] OpenError),
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
    /// The thread that does it is gone.
    #[error("the rebuild was cut off")]
    CutOff,
}

/// How far each projection of each ledger is.
type Ends = HashMap<LedgerId, HashMap<&'static str, Position>>;

/// Writes are refused while it lives.
struct Switching<'m>(&'m SqliteReadStore);

impl<'m> Switching<'m> {
    fn start(models: &'m SqliteReadStore) -> Self {
        models.set_switching(true);
        Self(models)
    }
}

impl Drop for Switching<'_> {
    fn drop(&mut self) {
        self.0.set_switching(false);
    }
}

/// Unsets a flag whatever happens.
struct Flag<'f>(&'f AtomicBool);

impl<'f> Flag<'f> {
    fn set(flag: &'f AtomicBool) -> Option<Self> {
        (!flag.swap(true, Ordering::SeqCst)).then_some(Self(flag))
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl SqliteReadStore {
    /// Rebuilds all read models from the ledgers, compares them with the current ones, and switches.
    ///
    /// # Errors
    /// `RebuildError`; the current read models stay.
    pub async fn rebuild(
        &self,
        feed: Arc<dyn EventStore>,
        on_difference: OnDifference,
    ) -> Result<RebuildReport, RebuildError> {
        let Some(_rebuilding) = Flag::set(self.rebuilding()) else {
            return Err(RebuildError::Busy);
        };
        let number = self.generation() + 1;
        let next = self.start(number).await?;
        let result = self.fill_and_switch(feed, Arc::clone(&next), on_difference).await;
        if !matches!(&result, Ok(report) if report.switched) {
            next.obsolete.store(true, Ordering::SeqCst);
        }
        result
    }

    /// An empty generation beside the current one.
    async fn start(&self, number: u32) -> Result<Arc<Generation>, RebuildError> {
        let dir = self.dir().to_owned();
        let start = move || {
            file::remove(&dir, number)?;
            Generation::open(&dir, number, Durability::None).map(Arc::new)
        };
        blocking(start).await?.map_err(RebuildError::File)
    }

    async fn fill_and_switch(
        &self,
        feed: Arc<dyn EventStore>,
        next: Arc<Generation>,
        on_difference: OnDifference,
    ) -> Result<RebuildReport, RebuildError> {
        let old = self.current();
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        let runner = Runner::new(Arc::clone(&feed), Arc::clone(&next) as Arc<dyn ReadStore>);
        let outdated = self.copy_discarded(&ledgers, &next).await?;
        self.run_to(&runner, &ends(&*old, &ledgers).await?).await?;

        let snapshot = Snapshot::take(old.path()).await?;
        self.run_to(&runner, &snapshot.ends).await?;
        let differences = if outdated {
            Vec::new()
        } else {
            snapshot.compare(next.path()).await?
        };
        let mut report = RebuildReport {
            generation: old.number,
            switched: false,
            compared: !outdated,
            differences,
            events: events(&*next, &ledgers).await?,
            projections: projection::all().len(),
        };
        if !report.differences.is_empty() && on_difference == OnDifference::Keep {
            return Ok(report);
        }

        let _switching = Switching::start(self);
        old.write(WriteJob::Barrier)
            .await
            .map_err(RebuildError::Checkpoints)?;
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        self.copy_discarded(&ledgers, &next).await?;
        self.run_to(&runner, &ends(&*old, &ledgers).await?).await?;
        report.events = events(&*next, &ledgers).await?;
        if !outdated {
            self.copy_parked(&ledgers, &next).await?;
        }
        let number = next.number;
        drop((runner, next));
        let settled = self.settle(number).await?;
        self.replace(settled);
        (report.generation, report.switched) = (number, true);
        Ok(report)
    }

    /// Has the new generation on disk, whole, and named as the current one.
    async fn settle(&self, number: u32) -> Result<Generation, RebuildError> {
        let dir = self.dir().to_owned();
        let settle = move || {
            let path = file::path_of(&dir, number);
            let conn = file::open_writer(&path, Durability::Normal)?;
            let fold = "PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE);";
            conn.execute_batch(fold).map_err(sqlite("settle", &path))?;
            drop(conn);
            // Pages that were written without syncing are in the file and not yet on the disk.
            let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(crate::error::io("settle", &path))?;
            let generation = Generation::open(&dir, number, Durability::Normal)?;
            file::set_current(&dir, number)?;
            Ok(generation)
        };
        blocking(settle).await?.map_err(RebuildError::File)
    }

    /// What a person decided holds for the rebuilt models, too. Tells whether the current ones are of another version.
    async fn copy_discarded(&self, ledgers: &[LedgerId], next: &Generation) -> Result<bool, RebuildError> {
        let old = self.current();
        let mut outdated = false;
        for ledger in ledgers {
            for letter in old
                .dead_letters(*ledger)
                .await
                .map_err(RebuildError::Checkpoints)?
            {
                if letter.state == DeadLetterState::Discarded {
                    next.put_dead_letter(letter)
                        .await
                        .map_err(RebuildError::Checkpoints)?;
                }
            }
            for projection in projection::all() {
                let status = old
                    .status(*ledger, projection.name())
                    .await
                    .map_err(RebuildError::Checkpoints)?;
                outdated |= status
                    .version
                    .is_some_and(|version| version != projection.version());
            }
        }
        Ok(outdated)
    }

    /// What waits for a person goes on waiting. Another version of a projection tries it again instead.
    async fn copy_parked(&self, ledgers: &[LedgerId], next: &Generation) -> Result<(), RebuildError> {
        for ledger in ledgers {
            for letter in self
                .current()
                .dead_letters(*ledger)
                .await
                .map_err(RebuildError::Checkpoints)?
            {
                if letter.state == DeadLetterState::Parked {
                    next.put_dead_letter(letter)
                        .await
                        .map_err(RebuildError::Checkpoints)?;
                }
            }
        }
        Ok(())
    }

    /// Brings each projection of each ledger exactly to its end.
    async fn run_to(&self, runner: &Runner, ends: &Ends) -> Result<(), RebuildError> {
        for (ledger, ends) in ends {
            if ends.is_empty() {
                continue;
            }
            loop {
                let run = runner.run_until(*ledger, ends).await.map_err(RebuildError::Run)?;
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
}

/// Where the projections of some ledgers stand.
async fn ends(store: &dyn ReadStore, ledgers: &[LedgerId]) -> Result<Ends, RebuildError> {
    let mut ends = Ends::new();
    for ledger in ledgers {
        for projection in projection::all() {
            let status = store
                .status(*ledger, projection.name())
                .await
                .map_err(RebuildError::Checkpoints)?;
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
async fn events(store: &dyn ReadStore, ledgers: &[LedgerId]) -> Result<u64, RebuildError> {
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

/// The current generation as it stood at one moment. While it is held the log of the file grows.
struct Snapshot {
    conn: rusqlite::Connection,
    path: PathBuf,
    ends: Ends,
}

impl Snapshot {
    async fn take(path: PathBuf) -> Result<Self, RebuildError> {
        let take = move || {
            let conn = file::open_reader(&path)?;
            conn.execute_batch("BEGIN").map_err(sqlite("read", &path))?;
            let ends = checkpoints(&conn).map_err(sqlite("read", &path))?;
            Ok(Self { conn, path, ends })
        };
        blocking(take).await?.map_err(RebuildError::File)
    }

    async fn compare(self, with: PathBuf) -> Result<Vec<Difference>, RebuildError> {
        let compare = move || {
            let other = file::open_reader(&with)?;
            other.execute_batch("BEGIN").map_err(sqlite("read", &with))?;
            differences((&self.conn, &self.path), (&other, &with))
        };
        blocking(compare).await?.map_err(RebuildError::File)
    }
}

/// The checkpoints of a snapshot; the first read in it fixes what it sees.
fn checkpoints(conn: &rusqlite::Connection) -> rusqlite::Result<Ends> {
    let names: HashMap<&str, &'static str> = projection::all()
        .into_iter()
        .map(|p: &dyn Projection| (p.name(), p.name()))
        .collect();
    let mut statement = conn.prepare("SELECT ledger, projection, position FROM checkpoint")?;
    let mut rows = statement.query([])?;
    let mut ends = Ends::new();
    while let Some(row) = rows.next()? {
        let ledger: [u8; 16] = row.get(0)?;
        let name: String = row.get(1)?;
        if let Some(name) = names.get(name.as_str()) {
            let position = ruche_projections::event::unpack(row.get(2)?);
            ends.entry(LedgerId::from_bytes(ledger))
                .or_default()
                .insert(name, position);
        }
    }
    Ok(ends)
}

/// Does something that blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RebuildError> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("read-models-rebuild".to_owned())
        .spawn(move || {
            // Who no longer waits needs no answer.
            drop(answer.send(work()));
        });
    thread.map_err(|source| {
        RebuildError::File(OpenError::Io {
            doing: "start a thread for",
            path: PathBuf::from("a rebuild"),
            source,
        })
    })?;
    answered.await.map_err(|_| RebuildError::CutOff)
}
