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

use async_trait::async_trait;
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_ledger::store::EventStore;
use ruche_projections::projection::{self, Projection};
use ruche_projections::rebuild::{
    self, Difference, Ends, OnDifference, Rebuild, RebuildError, RebuildPhase, RebuildProgress, RebuildReport,
};
use ruche_projections::runner::Runner;
use ruche_projections::store::{DeadLetterState, ReadStore};

use crate::compare::differences;
use crate::error::{OpenError, sqlite};
use crate::file::{self, Durability};
use crate::generation::Generation;
use crate::models::SqliteReadStore;
use crate::write::WriteJob;

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

#[async_trait]
impl Rebuild for SqliteReadStore {
    async fn rebuild(
        &self,
        feed: Arc<dyn EventStore>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        SqliteReadStore::rebuild(self, feed, on_difference, progress).await
    }

    async fn may_rebuild(&self) -> Result<(), RebuildError> {
        Ok(())
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
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        let Some(_rebuilding) = Flag::set(self.rebuilding()) else {
            return Err(RebuildError::Busy);
        };
        let number = self.generation() + 1;
        let next = self.start(number).await?;
        let result = self
            .fill_and_switch(feed, Arc::clone(&next), on_difference, progress)
            .await;
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
        blocking(start).await?.map_err(generation)
    }

    async fn fill_and_switch(
        &self,
        feed: Arc<dyn EventStore>,
        next: Arc<Generation>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        let old = self.current();
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        rebuild::count_ahead(&*old, &ledgers, progress).await?;
        let runner = Runner::new(Arc::clone(&feed), Arc::clone(&next) as Arc<dyn ReadStore>);
        let outdated = rebuild::is_outdated(&*old, &ledgers).await?;
        rebuild::copy_letters(&*old, &*next, &ledgers, DeadLetterState::Discarded).await?;
        rebuild::run_to(&runner, &rebuild::ends(&*old, &ledgers).await?, progress).await?;

        let snapshot = Snapshot::take(old.path()).await?;
        rebuild::run_to(&runner, &snapshot.ends, progress).await?;
        progress.enter(RebuildPhase::Comparing);
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
            events: rebuild::events(&*next, &ledgers).await?,
            projections: projection::all().len(),
        };
        if !report.differences.is_empty() && on_difference == OnDifference::Keep {
            return Ok(report);
        }

        progress.enter(RebuildPhase::Switching);
        let _switching = Switching::start(self);
        old.write(WriteJob::Barrier)
            .await
            .map_err(RebuildError::Checkpoints)?;
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        rebuild::copy_letters(&*old, &*next, &ledgers, DeadLetterState::Discarded).await?;
        rebuild::run_to(&runner, &rebuild::ends(&*old, &ledgers).await?, progress).await?;
        report.events = rebuild::events(&*next, &ledgers).await?;
        if !outdated {
            rebuild::copy_letters(&*old, &*next, &ledgers, DeadLetterState::Parked).await?;
        }
        rebuild::copy_pauses(&*old, &*next, &ledgers).await?;
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
        blocking(settle).await?.map_err(generation)
    }
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
        blocking(take).await?.map_err(generation)
    }

    async fn compare(self, with: PathBuf) -> Result<Vec<Difference>, RebuildError> {
        let compare = move || {
            let other = file::open_reader(&with)?;
            other.execute_batch("BEGIN").map_err(sqlite("read", &with))?;
            differences((&self.conn, &self.path), (&other, &with))
        };
        blocking(compare).await?.map_err(generation)
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

/// An error of a file.
fn generation(error: OpenError) -> RebuildError {
    RebuildError::Generation(Box::new(error))
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
        generation(OpenError::Io {
            doing: "start a thread for",
            path: PathBuf::from("a rebuild"),
            source,
        })
    })?;
    answered.await.map_err(|_| RebuildError::CutOff)
}
