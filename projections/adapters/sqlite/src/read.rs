//! Readers: threads with a connection each, which share one queue of queries.

use futures_channel::oneshot;
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

/// Reads until the queue is closed and drained.
pub(crate) fn run(conn: &Connection, queue: &Queue<ReadJob>) {
    loop {
        let jobs = queue.take(1);
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            // Who no longer waits needs no answer.
            if !job.answer.is_canceled() {
                drop(job.answer.send(query(conn, &job.sql, &job.params)));
            }
        }
    }
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
