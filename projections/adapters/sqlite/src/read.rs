//! Readers: threads with a connection each, which share one queue of queries. A query that runs too long is ended, as
//! PostgreSQL does it: a few of them would leave no reader to anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use ruche_domain::limits::READ_STATEMENT_MS_MAX;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use crate::error::read_store_error;
use crate::queue::Queue;
use crate::write::Bound;

/// A query and where its answer goes.
pub(crate) struct ReadJob {
    pub(crate) sql: String,
    pub(crate) params: Vec<SqlValue>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Row>, ReadStoreError>>,
}

/// Steps of SQLite's machine between two looks at the clock: well below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// No query runs.
const NO_END: u64 = u64::MAX;

/// Reads until the queue is closed and drained.
pub(crate) fn run(conn: Connection, queue: &Queue<ReadJob>) {
    run_within(conn, queue, Duration::from_millis(READ_STATEMENT_MS_MAX));
}

/// The same, with queries that may take so long.
pub(crate) fn run_within(conn: Connection, queue: &Queue<ReadJob>, limit: Duration) {
    let reader = Reader::new(conn, limit);
    loop {
        let jobs = queue.take(1);
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            // Who no longer waits needs no answer.
            if !job.answer.is_canceled() {
                let answer = match &reader {
                    Ok(reader) => reader.query(&job.sql, &job.params),
                    Err(error) => Err(error.clone()),
                };
                drop(job.answer.send(answer));
            }
        }
    }
}

/// A connection whose queries end in time.
struct Reader {
    conn: Connection,
    limit: Duration,
    since: Instant,
    /// When the query that runs has to be over, ms behind `since`.
    end: Arc<AtomicU64>,
}

impl Reader {
    fn new(conn: Connection, limit: Duration) -> Result<Self, ReadStoreError> {
        let (since, end) = (Instant::now(), Arc::new(AtomicU64::new(NO_END)));
        let ends = Arc::clone(&end);
        let is_over = move || millis(since.elapsed()) >= ends.load(Ordering::Relaxed);
        conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over))
            .map_err(|error| read_store_error(&error))?;
        Ok(Self {
            conn,
            limit,
            since,
            end,
        })
    }

    fn query(&self, sql: &str, params: &[SqlValue]) -> Result<Vec<Row>, ReadStoreError> {
        let end = millis(self.since.elapsed() + self.limit);
        self.end.store(end, Ordering::Relaxed);
        let rows = query(&self.conn, sql, params);
        self.end.store(NO_END, Ordering::Relaxed);
        rows
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NO_END)
}

fn query(conn: &Connection, sql: &str, params: &[SqlValue]) -> Result<Vec<Row>, ReadStoreError> {
    let sqlite = |error: rusqlite::Error| read_store_error(&error);
    let mut statement = conn.prepare_cached(sql).map_err(sqlite)?;
    let columns = statement.column_count();
    let mut rows = statement
        .query(params_from_iter(params.iter().map(Bound)))
        .map_err(sqlite)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        let values = (0..columns).map(|n| value(row.get_ref(n).map_err(sqlite)?));
        all.push(values.collect::<Result<Row, ReadStoreError>>()?);
    }
    Ok(all)
}

/// A value as SQLite gives it.
fn value(value: ValueRef<'_>) -> Result<SqlValue, ReadStoreError> {
    Ok(match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(value) => SqlValue::Int(value),
        ValueRef::Text(text) => {
            let text =
                std::str::from_utf8(text).map_err(|error| ReadStoreError::Corrupt(error.to_string()))?;
            SqlValue::Text(text.to_owned())
        }
        ValueRef::Blob(bytes) => SqlValue::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(ReadStoreError::Corrupt("a column holds a float".into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str =
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n";

    #[test]
    fn a_query_that_runs_too_long_is_ended_and_the_next_one_runs() {
        let conn = Connection::open_in_memory().unwrap();
        let reader = Reader::new(conn, Duration::from_millis(20)).unwrap();
        for _ in 0..2 {
            let ended = reader.query(ENDLESS, &[]);
            assert!(
                matches!(&ended, Err(ReadStoreError::Unavailable(text)) if text.contains("too long")),
                "{ended:?}"
            );
            let next = reader.query("SELECT $1", &[SqlValue::Int(7)]);
            assert_eq!(next, Ok(vec![vec![SqlValue::Int(7)]]));
        }
    }
}
