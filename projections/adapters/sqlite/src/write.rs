//! The writer: one thread that commits what is queued, many steps in one transaction.

use std::collections::HashMap;

use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::change::SqlValue;
use ruche_projections::event::{pack, unpack};
use ruche_projections::store::{DeadLetter, DeadLetterState, ProjectionCheckpoint, ReadStoreError, Step};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Statement, ToSql, params};

use crate::error::read_store_error;
use crate::queue::Queue;

/// Steps of one transaction at most.
const STEPS_MAX: usize = 64;

/// Something to write, and where the answer goes.
pub(crate) enum WriteJob {
    /// A step of a projection.
    Apply(Step, oneshot::Sender<Result<(), ReadStoreError>>),
    /// Keep a dead letter.
    Put(DeadLetter, oneshot::Sender<Result<(), ReadStoreError>>),
    /// Forget a dead letter.
    Forget(
        LedgerId,
        &'static str,
        Position,
        oneshot::Sender<Result<bool, ReadStoreError>>,
    ),
    /// Nothing; its answer says that everything before it is done.
    Barrier(oneshot::Sender<Result<(), ReadStoreError>>),
}

/// An answer that is given once the transaction is committed.
enum Answer {
    Done(
        oneshot::Sender<Result<(), ReadStoreError>>,
        Result<(), ReadStoreError>,
    ),
    Forgotten(
        oneshot::Sender<Result<bool, ReadStoreError>>,
        Result<bool, ReadStoreError>,
    ),
}

impl Answer {
    fn result(&self) -> Result<(), ReadStoreError> {
        match self {
            Self::Done(_, result) => result.clone(),
            Self::Forgotten(_, result) => result.clone().map(|_| ()),
        }
    }

    /// Gives the answer, or the error of the whole transaction. Who no longer waits is not told.
    fn give(self, failed: Option<&ReadStoreError>) {
        match self {
            Self::Done(to, result) => drop(to.send(failed.map_or(result, |error| Err(error.clone())))),
            Self::Forgotten(to, result) => drop(to.send(failed.map_or(result, |error| Err(error.clone())))),
        }
    }
}

/// Writes until the queue is closed and drained.
pub(crate) fn run(conn: &Connection, queue: &Queue<WriteJob>) {
    let mut statements = Statements {
        conn,
        prepared: HashMap::new(),
    };
    loop {
        let jobs = queue.take(STEPS_MAX);
        if jobs.is_empty() {
            return;
        }
        transaction(conn, &mut statements, jobs);
    }
}

/// Does jobs in one transaction. If we die before its commit none of them happened, after it all of them did.
fn transaction(conn: &Connection, statements: &mut Statements<'_>, jobs: Vec<WriteJob>) {
    let mut failed = conn
        .execute_batch("BEGIN IMMEDIATE")
        .err()
        .map(|error| read_store_error(&error));
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let answer = run_job(conn, statements, job, failed.as_ref());
        // Out of disk, out of memory, an I/O error: SQLite may have rolled back everything, so we do.
        if let Err(error @ (ReadStoreError::Unavailable(_) | ReadStoreError::Corrupt(_))) = answer.result() {
            failed = failed.or(Some(error));
        }
        answers.push(answer);
    }
    if failed.is_none() {
        failed = conn
            .execute_batch("COMMIT")
            .err()
            .map(|error| read_store_error(&error));
    }
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %error, "read models: rollback failed");
    }
    for answer in answers {
        answer.give(failed.as_ref());
    }
}

fn run_job(
    conn: &Connection,
    statements: &mut Statements<'_>,
    job: WriteJob,
    failed: Option<&ReadStoreError>,
) -> Answer {
    match job {
        WriteJob::Apply(step, to) => Answer::Done(to, alone(conn, failed, || apply(conn, statements, &step))),
        WriteJob::Put(letter, to) => Answer::Done(to, alone(conn, failed, || put(conn, &letter))),
        WriteJob::Forget(ledger, projection, position, to) => Answer::Forgotten(
            to,
            alone(conn, failed, || forget(conn, ledger, projection, position)),
        ),
        WriteJob::Barrier(to) => Answer::Done(to, Ok(())),
    }
}

/// Does something in a savepoint of its own, so that its error undoes nothing else.
fn alone<T>(
    conn: &Connection,
    failed: Option<&ReadStoreError>,
    work: impl FnOnce() -> Result<T, ReadStoreError>,
) -> Result<T, ReadStoreError> {
    if let Some(error) = failed {
        return Err(error.clone());
    }
    let sqlite = |error: rusqlite::Error| read_store_error(&error);
    conn.execute_batch("SAVEPOINT step").map_err(sqlite)?;
    let result = work();
    let end = if result.is_ok() {
        "RELEASE step"
    } else {
        "ROLLBACK TO step; RELEASE step"
    };
    match (conn.execute_batch(end), result) {
        (Ok(()), result) => result,
        // The error that made the savepoint unusable says more than the savepoint's.
        (Err(_), Err(error @ ReadStoreError::Unavailable(_))) => Err(error),
        (Err(error), _) => Err(ReadStoreError::Unavailable(error.to_string())),
    }
}

fn apply(conn: &Connection, statements: &mut Statements<'_>, step: &Step) -> Result<(), ReadStoreError> {
    let found = checkpoint(conn, step.ledger, step.projection.name)?;
    if found != step.from {
        return Err(ReadStoreError::StaleCheckpoint { found });
    }
    for statement in &step.statements {
        statements.run(statement.sql, &statement.params)?;
    }
    let position = step
        .to
        .position
        .ok_or_else(|| ReadStoreError::Refused("a step ends at a position".into()))?;
    let params = [
        SqlValue::Id(*step.ledger.as_bytes()),
        SqlValue::Word(step.projection.name),
        SqlValue::Int(i64::from(step.projection.version)),
        SqlValue::Int(pack(position).map_err(|reason| ReadStoreError::Refused(reason.to_string()))?),
        SqlValue::Int(step.to.applied.cast_signed()),
        SqlValue::Int(step.to.recorded_at.0.cast_signed()),
    ];
    statements.run(
        "INSERT INTO checkpoint (ledger, projection, version, position, applied, recorded_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (ledger, projection) DO UPDATE SET version = excluded.version, \
         position = excluded.position, applied = excluded.applied, recorded_at = excluded.recorded_at",
        &params,
    )
}

fn checkpoint(
    conn: &Connection,
    ledger: LedgerId,
    projection: &str,
) -> Result<ProjectionCheckpoint, ReadStoreError> {
    let sql = "SELECT position, applied, recorded_at FROM checkpoint WHERE ledger = $1 AND projection = $2";
    let found = conn.prepare_cached(sql).and_then(|mut statement| {
        let row = statement.query_row(params![ledger.as_bytes(), projection], |row| {
            Ok(ProjectionCheckpoint {
                position: Some(unpack(row.get(0)?)),
                applied: row.get::<_, i64>(1)?.cast_unsigned(),
                recorded_at: Micros(row.get::<_, i64>(2)?.cast_unsigned()),
            })
        });
        row.optional()
    });
    Ok(found
        .map_err(|error| read_store_error(&error))?
        .unwrap_or_default())
}

fn put(conn: &Connection, letter: &DeadLetter) -> Result<(), ReadStoreError> {
    let sql = "INSERT INTO dead_letter (ledger, projection, position, version, event_type, leaf, error, attempts, \
         recorded_at, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (ledger, projection, position) DO UPDATE SET version = excluded.version, \
         error = excluded.error, attempts = excluded.attempts, state = excluded.state";
    let position = pack(letter.position).map_err(|reason| ReadStoreError::Refused(reason.to_string()))?;
    let written = conn.execute(
        sql,
        params![
            letter.ledger.as_bytes(),
            letter.projection,
            position,
            letter.version,
            letter.event_type,
            letter.leaf,
            letter.error,
            letter.attempts,
            letter.recorded_at.0.cast_signed(),
            state_name(letter.state),
        ],
    );
    written.map(|_| ()).map_err(|error| read_store_error(&error))
}

/// The word in the column.
pub(crate) fn state_name(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Parked => "parked",
        DeadLetterState::Discarded => "discarded",
    }
}

fn forget(
    conn: &Connection,
    ledger: LedgerId,
    projection: &str,
    position: Position,
) -> Result<bool, ReadStoreError> {
    let position = pack(position).map_err(|reason| ReadStoreError::Refused(reason.to_string()))?;
    let sql = "DELETE FROM dead_letter WHERE ledger = $1 AND projection = $2 AND position = $3";
    let gone = conn.execute(sql, params![ledger.as_bytes(), projection, position]);
    gone.map(|rows| rows > 0)
        .map_err(|error| read_store_error(&error))
}

/// The statements of projections, prepared once. They are static texts, so the address of one names it, and there are
/// as many as the program has.
struct Statements<'c> {
    conn: &'c Connection,
    prepared: HashMap<(usize, usize), Statement<'c>>,
}

impl Statements<'_> {
    fn run(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<(), ReadStoreError> {
        let sqlite = |error: rusqlite::Error| read_store_error(&error);
        let statement = match self.prepared.entry((sql.as_ptr() as usize, sql.len())) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.conn.prepare(sql).map_err(sqlite)?)
            }
        };
        // A value that is left out would stay that of the last run.
        if statement.parameter_count() != params.len() {
            let (given, places) = (params.len(), statement.parameter_count());
            let text = format!("{given} values for {places} placeholders: {sql}");
            return Err(ReadStoreError::Corrupt(text));
        }
        for (n, value) in params.iter().enumerate() {
            statement
                .raw_bind_parameter(n + 1, Bound(value))
                .map_err(sqlite)?;
        }
        statement.raw_execute().map(|_| ()).map_err(sqlite)
    }
}

/// A value as SQLite takes it, without a copy.
pub(crate) struct Bound<'a>(pub(crate) &'a SqlValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Int(value) => ValueRef::Integer(*value),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Word(word) => ValueRef::Text(word.as_bytes()),
            SqlValue::Bytes(bytes) => ValueRef::Blob(bytes),
            SqlValue::Id(id) => ValueRef::Blob(id),
        }))
    }
}
