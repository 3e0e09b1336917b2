//! `PostgresReadStore`: the current generation, as a store of read models.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READER_QUEUE_MAX;
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::change::SqlValue;
use ruche_projections::event::unpack;
use ruche_projections::search::Wanted;
use ruche_projections::select::Fields;
use ruche_projections::store::{
    DeadLetter, DeadLetterState, ProjectionCheckpoint, ProjectionStatus, ReadStore, ReadStoreError, Row, Step,
};
use tokio_postgres::error::SqlState;

use crate::error::{OpenError, read_store_error};
use crate::gate::{Gate, overloaded};
use crate::many::Texts;
use crate::session::{Session, Target};
use crate::{read, schema, step};

/// Connections that write the generation that is being built, or read it.
const FILLING_CONNECTIONS: usize = 4;
/// Connections of a rebuild: besides those, one that holds its locks and one that holds a snapshot.
const REBUILD_CONNECTIONS: usize = FILLING_CONNECTIONS + 2;
/// The smallest pool: a rebuild, a step and a query at once.
const CONNECTIONS_MIN: usize = REBUILD_CONNECTIONS + 2;
/// Steps and dead letters that wait for a connection at most; one more is refused with `Overloaded`.
const STEPS_WAITING_MAX: usize = 1_024;
/// A query is answered after this time, one way or the other.
const READ_MAX: Duration = Duration::from_secs(60);
/// A step is answered after this time, one way or the other.
const STEP_MAX: Duration = Duration::from_secs(120);

/// The read models of a database, kept by any number of nodes. Cheap to clone.
#[derive(Clone)]
pub struct PostgresReadStore {
    pub(crate) shared: Arc<Shared>,
    target: Target,
}

pub(crate) struct Shared {
    pub(crate) pool: Pool,
    texts: Texts,
    /// Where the current generation is read, if not there too.
    reading: Option<Pool>,
    reads: Gate,
    steps: Gate,
    /// Of the generation that is being built, so that it does not wait for steps that wait for it.
    rebuild: Gate,
    /// Set while this node has a generation take over: steps would only wait for that, each with a connection.
    switching: AtomicBool,
}

/// Steps of this node are refused while it lives.
pub(crate) struct Switching(Arc<Shared>);

impl Drop for Switching {
    fn drop(&mut self) {
        self.0.switching.store(false, Ordering::SeqCst);
    }
}

impl PostgresReadStore {
    /// The read models that the connections of a pool lead to. The pool is theirs alone: whoever shares it can make them
    /// wait. It needs at least eight connections; a third of those that a rebuild does not need are for steps.
    ///
    /// # Errors
    /// `OpenError`; `NotMigrated` before [`crate::migrate`] was run.
    pub async fn open(pool: Pool) -> Result<Self, OpenError> {
        Self::open_on(pool, None).await
    }

    /// The same, with a pool of its own for the queries of the current generation: it leads to the same database, and a
    /// pooler in transaction mode may stand between. Then the other pool only writes and rebuilds.
    ///
    /// # Errors
    /// As [`PostgresReadStore::open`].
    pub async fn open_with_reading(pool: Pool, reading: Pool) -> Result<Self, OpenError> {
        Self::open_on(pool, Some(reading)).await
    }

    /// Of so many connections of [`PostgresReadStore::open`], those that do not read: what the first pool of
    /// [`PostgresReadStore::open_with_reading`] needs to write as much.
    pub fn connections_that_write(connections: usize) -> usize {
        REBUILD_CONNECTIONS + steps_of(connections)
    }

    async fn open_on(pool: Pool, reading: Option<Pool>) -> Result<Self, OpenError> {
        let connections = pool.status().max_size;
        let least = match reading {
            Some(_) => REBUILD_CONNECTIONS + 1,
            None => CONNECTIONS_MIN,
        };
        if connections < least {
            return Err(OpenError::SmallPool {
                found: connections,
                least,
            });
        }
        let free = connections - REBUILD_CONNECTIONS;
        let (reads, steps) = match &reading {
            Some(reading) => (reading.status().max_size, free),
            None => (free - steps_of(connections), steps_of(connections)),
        };
        let shared = Shared {
            pool,
            texts: Texts::default(),
            reading,
            reads: Gate::new(reads, READER_QUEUE_MAX),
            steps: Gate::new(steps, STEPS_WAITING_MAX),
            rebuild: Gate::new(FILLING_CONNECTIONS, STEPS_WAITING_MAX),
            switching: false.into(),
        };
        let models = Self {
            shared: Arc::new(shared),
            target: Target::Current,
        };
        models.check_version().await?;
        Ok(models)
    }

    async fn check_version(&self) -> Result<(), OpenError> {
        let session = Session::borrow(&self.shared.pool).await;
        let session = session.map_err(|error| OpenError::Connection(error.to_string()))?;
        let asked =
            session.query_typed_one("SELECT coalesce(max(version), 0) FROM ruche_read.migration", &[]);
        let asked = bounded(READ_MAX, async { Ok(asked.await) }).await;
        let asked = asked.map_err(|error| OpenError::Connection(error.to_string()))?;
        let needed = schema::known();
        let absent = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        let found: i64 = match asked {
            Ok(row) => row.get(0),
            Err(error) if error.code().is_some_and(|code| absent.contains(code)) => 0,
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let owner = schema::Owner::of(&session).await;
                let schema::Owner { user, owner, .. } =
                    owner.map_err(OpenError::database("read the owner of the read models"))?;
                return Err(OpenError::NotOwner { user, owner });
            }
            Err(error) => return Err(OpenError::database("read the version of the read models")(error)),
        };
        session.give_back();
        match found.cmp(&needed) {
            std::cmp::Ordering::Less => Err(OpenError::NotMigrated { found, needed }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(OpenError::Newer { found, known: needed }),
        }
    }

    /// Number of the current generation, from 1.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn generation(&self) -> Result<u32, ReadStoreError> {
        bounded(READ_MAX, async {
            let session = Session::borrow(&self.shared.pool).await?;
            let asked = session
                .query_typed_one("SELECT generation FROM ruche_read.current", &[])
                .await;
            let row = asked.map_err(|error| read_store_error(&error))?;
            session.give_back();
            u32::try_from(row.get::<_, i64>(0))
                .map_err(|_| ReadStoreError::Corrupt("a generation is too large".into()))
        })
        .await
    }

    /// The same store, of one generation whether it is current or not.
    pub(crate) fn of(&self, generation: u32) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            target: Target::Generation(generation),
        }
    }

    /// Where the current generation is read.
    pub(crate) fn reading(&self) -> &Pool {
        self.shared.reading.as_ref().unwrap_or(&self.shared.pool)
    }

    /// Refuses steps of this node until the guard is dropped.
    pub(crate) fn switching(&self) -> Switching {
        self.shared.switching.store(true, Ordering::SeqCst);
        Switching(Arc::clone(&self.shared))
    }

    /// Reads in a turn of its own.
    async fn read(
        &self,
        ledger: LedgerId,
        queries: &[read::Query<'_>],
    ) -> Result<Vec<Vec<Row>>, ReadStoreError> {
        let Shared { pool, reading, .. } = &*self.shared;
        let (gate, pool) = match self.target {
            Target::Current => (&self.shared.reads, reading.as_ref().unwrap_or(pool)),
            Target::Generation(_) => (&self.shared.rebuild, pool),
        };
        let _turn = gate.enter().await?;
        bounded(READ_MAX, read::rows(pool, self.target, ledger, queries)).await
    }

    /// Writes in a turn of its own.
    async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, ReadStoreError>>,
    ) -> Result<T, ReadStoreError> {
        let gate = match self.target {
            Target::Current => &self.shared.steps,
            Target::Generation(_) => &self.shared.rebuild,
        };
        let refuses = || self.target == Target::Current && self.shared.switching.load(Ordering::SeqCst);
        if refuses() {
            return Err(overloaded());
        }
        let _turn = gate.enter().await?;
        if refuses() {
            return Err(overloaded());
        }
        bounded(STEP_MAX, work).await
    }
}

/// Of a pool of so many connections, those for steps.
fn steps_of(connections: usize) -> usize {
    (connections.saturating_sub(REBUILD_CONNECTIONS) / 3).max(1)
}

/// Gives up after a time: what was not committed by then is undone with its connection.
pub(crate) async fn bounded<T>(
    most: Duration,
    work: impl Future<Output = Result<T, ReadStoreError>>,
) -> Result<T, ReadStoreError> {
    let answered = tokio::time::timeout(most, work).await;
    answered.unwrap_or_else(|_| Err(ReadStoreError::Unavailable("the database does not answer".into())))
}

const LETTERS: &str = "SELECT projection, position, version, event_type, leaf, error, attempts, recorded_at, state \
    FROM dead_letter WHERE ledger = $1";
/// The function looks at the ledger of the transaction, which is that of the read.
const FOUND: &str =
    "SELECT kind, id, session, position FROM search_found($1, $2, $3, $4, $5) ORDER BY position DESC";
const CHECKPOINT: &str =
    "SELECT version, position, applied, recorded_at FROM checkpoint WHERE ledger = $1 AND projection = $2";
const PAUSED: &str = "SELECT paused, decided FROM projection_paused WHERE ledger = $1 AND projection = $2";

#[async_trait]
impl ReadStore for PostgresReadStore {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        let Shared { pool, texts, .. } = &*self.shared;
        self.write(step::apply(pool, texts, self.target, &step)).await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        let key = [SqlValue::Id(*ledger.as_bytes()), SqlValue::Word(projection)];
        let letters = format!("{LETTERS} AND projection = $2 ORDER BY position");
        let questions = [(CHECKPOINT, &key[..]), (&letters, &key), (PAUSED, &key)];
        let mut answers = self.read(ledger, &questions).await?;
        let paused = answers.pop().and_then(|mut rows| rows.pop());
        let letters = answers.pop().unwrap_or_default();
        let mut status = ProjectionStatus::default();
        if let Some(row) = paused {
            let fields = &mut Fields::new(row);
            status.paused = fields.int()? == 1;
            status.decided = Some(fields.position()?);
        }
        if let Some(row) = answers.pop().and_then(|mut rows| rows.pop()) {
            let fields = &mut Fields::new(row);
            status.version = Some(small(fields.count()?)?);
            status.checkpoint = ProjectionCheckpoint {
                position: Some(fields.position()?),
                applied: fields.count()?,
                recorded_at: Micros(fields.count()?),
            };
        }
        for row in letters {
            let letter = letter(ledger, row)?;
            match letter.state {
                DeadLetterState::Discarded => status.discarded.push(letter.position),
                DeadLetterState::Parked => status.parked = status.parked.or(Some(letter)),
            }
        }
        Ok(status)
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.write(step::put(&self.shared.pool, self.target, &letter))
            .await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let forget = step::forget(&self.shared.pool, self.target, ledger, projection, position);
        self.write(forget).await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        let discard = step::discard(&self.shared.pool, self.target, ledger, projection, position);
        self.write(discard).await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        let decision = (paused, decided);
        let pause = step::pause(&self.shared.pool, self.target, ledger, projection, decision);
        self.write(pause).await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        let sql = format!("{LETTERS} ORDER BY projection, position");
        let rows = self.query(&sql, vec![SqlValue::Id(*ledger.as_bytes())]).await?;
        rows.into_iter().map(|row| letter(ledger, row)).collect()
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        let ledger = match params.first() {
            Some(SqlValue::Id(id)) => Ok(*id),
            Some(SqlValue::Bytes(bytes)) => bytes.as_slice().try_into().map_err(drop),
            _ => Err(()),
        };
        let ledger = ledger.map_err(|()| ReadStoreError::Refused("a query names its ledger first".into()))?;
        let mut answers = self.read(LedgerId::from_bytes(ledger), &[(sql, &params)]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        let params = [
            wanted.expression('\'', " & ").into(),
            wanted.kind_value(),
            wanted.session_value(),
            wanted.before.into(),
            wanted.rows_max.into(),
        ];
        let mut answers = self.read(wanted.ledger, &[(FOUND, &params)]).await?;
        Ok(answers.pop().unwrap_or_default())
    }
}

fn small(value: u64) -> Result<u32, ReadStoreError> {
    u32::try_from(value).map_err(|_| ReadStoreError::Corrupt("a number is too large".into()))
}

fn letter(ledger: LedgerId, row: Row) -> Result<DeadLetter, ReadStoreError> {
    let fields = &mut Fields::new(row);
    Ok(DeadLetter {
        ledger,
        projection: fields.text()?,
        position: unpack(fields.int()?),
        version: small(fields.count()?)?,
        event_type: fields.text()?,
        leaf: fields.optional_bytes()?.unwrap_or_default(),
        error: fields.text()?,
        attempts: small(fields.count()?)?,
        recorded_at: fields.time()?,
        state: match fields.text()?.as_str() {
            "parked" => DeadLetterState::Parked,
            "discarded" => DeadLetterState::Discarded,
            other => return Err(ReadStoreError::Corrupt(format!("a dead letter is {other}"))),
        },
    })
}
