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
    /// Go on without a parked event.
    Discard(
        LedgerId,
        &'static str,
        Position,
        oneshot::Sender<Result<bool, ReadStoreError>>,
    ),
    /// Pause a projection, or let it go on.
    Pause(
        LedgerId,
        &'static str,
        (bool, Position),
        oneshot::Sender<Result<bool, ReadStoreError>>,
    ),
    /// Nothing; its answer says that everything before it is done.
    Barrier(oneshot::Sender<Result<(), ReadStoreError>>),
}

impl WriteJob {
    /// Gives the answer, once the transaction is committed, or why it was not. Who no longer waits is not told.
    fn answer(self, result: Result<bool, ReadStoreError>) {
        match self {
            Self::Apply(_, to) | Self::Put(_, to) | Self::Barrier(to) => drop(to.send(result.map(|_| ()))),
            Self::Forget(.., to) | Self::Discard(.., to) | Self::Pause(.., to) => drop(to.send(result)),
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
    let results = match all_at_once(conn, statements, &jobs) {
        Some(results) => results,
        None => each_alone(conn, statements, &jobs),
    };
    for (job, result) in jobs.into_iter().zip(results) {
        job.answer(result);
    }
}

/// What came of each job, or why none of them was committed.
type Results = Vec<Result<bool, ReadStoreError>>;

/// Nearly always all jobs can be done. Then nobody needs to go back to the end of the one before, and SQLite need not keep
/// each page as it was there: inside of a savepoint it copies a page for every statement that may fail half-way, and looks
/// for the end of the copies through all of them.
///
/// `None`, and nothing was written, where a job failed that may have written something.
fn all_at_once(conn: &Connection, statements: &mut Statements<'_>, jobs: &[WriteJob]) -> Option<Results> {
    conn.execute_batch("BEGIN IMMEDIATE").ok()?;
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = run_job(conn, statements, job);
        // Who is behind is told so before anything is written.
        if !matches!(result, Ok(_) | Err(ReadStoreError::StaleCheckpoint { .. })) {
            roll_back(conn);
            return None;
        }
        results.push(result);
    }
    if conn.execute_batch("COMMIT").is_err() {
        roll_back(conn);
        return None;
    }
    Some(results)
}

/// Each job in a savepoint of its own, so that the error of one undoes nothing else.
fn each_alone(conn: &Connection, statements: &mut Statements<'_>, jobs: &[WriteJob]) -> Results {
    let mut failed = conn
        .execute_batch("BEGIN IMMEDIATE")
        .err()
        .map(|error| read_store_error(&error));
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = match &failed {
            Some(error) => Err(error.clone()),
            None => alone(conn, || run_job(conn, statements, job)),
        };
        // Out of disk, out of memory, an I/O error: SQLite may have rolled back everything, so we do.
        if let Err(error @ (ReadStoreError::Unavailable(_) | ReadStoreError::Corrupt(_))) = &result {
            failed = failed.or_else(|| Some(error.clone()));
        }
        results.push(result);
    }
    if failed.is_none() {
        failed = conn
            .execute_batch("COMMIT")
            .err()
            .map(|error| read_store_error(&error));
    }
    roll_back(conn);
    match failed {
        Some(error) => results.into_iter().map(|_| Err(error.clone())).collect(),
        None => results,
    }
}

/// Ends a transaction that is still open.
fn roll_back(conn: &Connection) {
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %error, "read models: rollback failed");
    }
}

/// What changes nothing gives false.
fn run_job(
    conn: &Connection,
    statements: &mut Statements<'_>,
    job: &WriteJob,
) -> Result<bool, ReadStoreError> {
    match job {
        WriteJob::Apply(step, _) => apply(conn, statements, step).map(|()| true),
        WriteJob::Put(letter, _) => put(conn, letter).map(|()| true),
        WriteJob::Forget(ledger, projection, position, _) => forget(conn, *ledger, projection, *position),
        WriteJob::Discard(ledger, projection, position, _) => discard(conn, *ledger, projection, *position),
        WriteJob::Pause(ledger, projection, decision, _) => pause(conn, *ledger, projection, *decision),
        WriteJob::Barrier(_) => Ok(true),
    }
}

/// Does something in a savepoint of its own, so that its error undoes nothing else.
fn alone<T>(
    conn: &Connection,
    work: impl FnOnce() -> Result<T, ReadStoreError>,
) -> Result<T, ReadStoreError> {
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
    if found != step.from || is_paused(conn, step.ledger, step.projection.name)? {
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
    let sql = "DELETE FROM dead_letter WHERE ledger = $1 AND projection = $2 AND position = $3 \
        AND state = 'parked'";
    let gone = conn.execute(sql, params![ledger.as_bytes(), projection, position]);
    gone.map(|rows| rows > 0)
        .map_err(|error| read_store_error(&error))
}

fn discard(
    conn: &Connection,
    ledger: LedgerId,
    projection: &str,
    position: Position,
) -> Result<bool, ReadStoreError> {
    let position = pack(position).map_err(|reason| ReadStoreError::Refused(reason.to_string()))?;
    let sql = "UPDATE dead_letter SET state = 'discarded' WHERE ledger = $1 AND projection = $2 AND position = $3 \
        AND state = 'parked'";
    let changed = conn.execute(sql, params![ledger.as_bytes(), projection, position]);
    changed
        .map(|rows| rows > 0)
        .map_err(|error| read_store_error(&error))
}

fn pause(
    conn: &Connection,
    ledger: LedgerId,
    projection: &str,
    (paused, decided): (bool, Position),
) -> Result<bool, ReadStoreError> {
    let decided = pack(decided).map_err(|reason| ReadStoreError::Refused(reason.to_string()))?;
    let sql = "INSERT INTO projection_paused (ledger, projection, paused, decided) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (ledger, projection) DO UPDATE SET paused = excluded.paused, decided = excluded.decided \
        WHERE projection_paused.decided < excluded.decided";
    let changed = conn.execute(
        sql,
        params![ledger.as_bytes(), projection, i64::from(paused), decided],
    );
    changed
        .map(|rows| rows > 0)
        .map_err(|error| read_store_error(&error))
}

fn is_paused(conn: &Connection, ledger: LedgerId, projection: &str) -> Result<bool, ReadStoreError> {
    let sql = "SELECT 1 FROM projection_paused WHERE ledger = $1 AND projection = $2 AND paused = 1";
    let found = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists(params![ledger.as_bytes(), projection]));
    found.map_err(|error| read_store_error(&error))
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

#[cfg(test)]
mod tests;
