//! `SqliteReadStore`: the current generation, as a store of read models.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::change::SqlValue;
use ruche_projections::event::unpack;
use ruche_projections::search::Wanted;
use ruche_projections::select::Fields;
use ruche_projections::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ProjectionStatus, ReadStore, ReadStoreError, Row, Step,
};

use crate::error::{OpenError, io};
use crate::file::{self, Durability};
use crate::generation::{Generation, Submitted};
use crate::write::WriteJob;

/// The read models of a data folder. One process has them at a time: whoever holds the data lock. Cheap to clone.
#[derive(Clone)]
pub struct SqliteReadStore {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    current: RwLock<Current>,
    /// Set while a generation is being built.
    rebuilding: std::sync::atomic::AtomicBool,
}

/// Writes are put into the queue under the lock, so that once `switching` is set nothing comes behind.
struct Current {
    generation: Arc<Generation>,
    /// Set for the moment in which a rebuilt generation takes over: what the old one got then would be missing in the
    /// new one until it is applied again, and queries would go back in time.
    switching: bool,
}

impl SqliteReadStore {
    /// Opens the current generation of a data folder and removes what is left of others. Blocks; call it at the start.
    ///
    /// # Errors
    /// `OpenError`.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let number = file::current(dir)?;
        let generation = Arc::new(Generation::open(dir, number, Durability::Normal)?);
        file::remove_others(dir, number)?;
        let current = RwLock::new(Current {
            generation,
            switching: false,
        });
        let shared = Shared {
            dir: dir.to_owned(),
            current,
            rebuilding: false.into(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The file of the current generation.
    pub fn path(&self) -> PathBuf {
        self.current().path()
    }

    /// Number of the current generation, from 1.
    pub fn generation(&self) -> u32 {
        self.current().number
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// While a query holds it, its files stay.
    pub(crate) fn current(&self) -> Arc<Generation> {
        let current = self.shared.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.generation)
    }

    /// Refuses writes from here on, or takes them again.
    pub(crate) fn set_switching(&self, switching: bool) {
        let mut current = self
            .shared
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        current.switching = switching;
    }

    /// Puts a generation in the place of the current one.
    pub(crate) fn replace(&self, next: Generation) {
        let mut current = self
            .shared
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut current.generation, Arc::new(next));
        drop(current);
        old.obsolete.store(true, Ordering::SeqCst);
    }

    pub(crate) fn rebuilding(&self) -> &std::sync::atomic::AtomicBool {
        &self.shared.rebuilding
    }

    /// Puts something into the queue of the current generation's writer.
    fn submit<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, ReadStoreError>>) -> WriteJob,
    ) -> Result<Submitted<T>, ReadStoreError> {
        let current = self.shared.current.read().unwrap_or_else(PoisonError::into_inner);
        if current.switching {
            return Err(ReadStoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        current.generation.submit(job)
    }
}

#[async_trait]
impl ReadStore for SqliteReadStore {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        self.submit(|answer| WriteJob::Apply(step, answer))?.wait().await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        self.current().status(ledger, projection).await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.submit(|answer| WriteJob::Put(letter, answer))?.wait().await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.submit(|answer| WriteJob::Forget(ledger, projection, position, answer))?
            .wait()
            .await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.submit(|answer| WriteJob::Discard(ledger, projection, position, answer))?
            .wait()
            .await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        self.submit(|answer| WriteJob::Pause(ledger, projection, (paused, decided), answer))?
            .wait()
            .await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        self.current().dead_letters(ledger).await
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        self.current().query(sql, params).await
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        self.current().search(wanted).await
    }
}

const FOUND: &str = "SELECT r.kind, r.id, r.session, r.position FROM search_index JOIN search_row r ON r.n = search_index.rowid \
    WHERE r.ledger = $1 AND search_index MATCH $2 AND ($3 = '' OR r.kind = $3) AND ($4 = x'' OR r.session = $4) \
    AND r.position < $5 ORDER BY r.position DESC LIMIT $6";
const LETTERS: &str = "SELECT projection, position, version, event_type, leaf, error, attempts, recorded_at, state \
    FROM dead_letter WHERE ledger = $1";
const PAUSED: &str = "SELECT paused, decided FROM projection_paused WHERE ledger = $1 AND projection = $2";

#[async_trait]
impl ReadStore for Generation {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        self.write(|answer| WriteJob::Apply(step, answer)).await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        let sql = "SELECT version, position, applied, recorded_at FROM checkpoint WHERE ledger = $1 AND projection = $2";
        let key = || vec![SqlValue::Id(*ledger.as_bytes()), SqlValue::Word(projection)];
        let mut status = ProjectionStatus::default();
        if let Some(row) = self.read(sql, key()).await?.pop() {
            let fields = &mut Fields::new(row);
            let version = u32::try_from(fields.count()?);
            status.version =
                Some(version.map_err(|_| ReadStoreError::Corrupt("a version is too large".into()))?);
            status.checkpoint = ProjectionCheckpoint {
                position: Some(fields.position()?),
                applied: fields.count()?,
                recorded_at: Micros(fields.count()?),
            };
        }
        let sql = format!("{LETTERS} AND projection = $2 ORDER BY position");
        for row in self.read(&sql, key()).await? {
            let letter = letter(ledger, row)?;
            match letter.state {
                DeadLetterState::Discarded => status.discarded.push(letter.position),
                DeadLetterState::Parked => status.parked = status.parked.or(Some(letter)),
            }
        }
        if let Some(row) = self.read(PAUSED, key()).await?.pop() {
            let fields = &mut Fields::new(row);
            status.paused = fields.int()? == 1;
            status.decided = Some(unpack(fields.int()?));
        }
        Ok(status)
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.write(|answer| WriteJob::Put(letter, answer)).await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.write(|answer| WriteJob::Forget(ledger, projection, position, answer))
            .await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.write(|answer| WriteJob::Discard(ledger, projection, position, answer))
            .await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        self.write(|answer| WriteJob::Pause(ledger, projection, (paused, decided), answer))
            .await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        let sql = format!("{LETTERS} ORDER BY projection, position");
        let rows = self.read(&sql, vec![SqlValue::Id(*ledger.as_bytes())]).await?;
        rows.into_iter().map(|row| letter(ledger, row)).collect()
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        self.read(sql, params).await
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        let params = vec![
            SqlValue::Id(*wanted.ledger.as_bytes()),
            wanted.expression('"', " AND ").into(),
            wanted.kind_value(),
            wanted.session_value(),
            wanted.before.into(),
            wanted.rows_max.into(),
        ];
        self.read(FOUND, params).await
    }
}

fn letter(ledger: LedgerId, row: Row) -> Result<DeadLetter, ReadStoreError> {
    let fields = &mut Fields::new(row);
    let small = |value: u64| {
        u32::try_from(value).map_err(|_| ReadStoreError::Corrupt("a number is too large".into()))
    };
    let projection = fields.text()?;
    let position = unpack(fields.int()?);
    let version = small(fields.count()?)?;
    let event_type = fields.text()?;
    let leaf = fields.optional_bytes()?.unwrap_or_default();
    let error = fields.text()?;
    let attempts = small(fields.count()?)?;
    let recorded_at = fields.time()?;
    let state = match fields.text()?.as_str() {
        "parked" => DeadLetterState::Parked,
        "discarded" => DeadLetterState::Discarded,
        other => return Err(ReadStoreError::Corrupt(format!("a dead letter is {other}"))),
    };
    Ok(DeadLetter {
        ledger,
        projection,
        version,
        position,
        event_type,
        leaf,
        error,
        attempts,
        recorded_at,
        state,
    })
}
