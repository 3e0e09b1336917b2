//! Compares two generations of read models, row by row, each in one snapshot. Memory does not grow with them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::pin::Pin;

use deadpool_postgres::Pool;
use futures_util::TryStreamExt;
use ruche_domain::ids::LedgerId;
use ruche_projections::change::SqlValue;
use ruche_projections::event::unpack;
use ruche_projections::projection;
use ruche_projections::rebuild::{Difference, Ends, compared_tables};
use ruche_projections::store::{ReadStoreError, Row};
use tokio_postgres::{Error, RowStream};

use crate::error::read_store_error;
use crate::schema::schema_of;
use crate::session::{LOCK_WAIT, Session};
use crate::value;

/// Reading a whole table may take so long, ms: 6 hours.
const TABLE_MAX_MS: u64 = 6 * 60 * 60 * 1_000;

/// A generation as it stood at one moment, with all its ledgers. While it is held the server keeps its old rows.
pub(crate) struct Snapshot {
    session: Session,
    pub(crate) ends: Ends,
}

impl Snapshot {
    /// Fixes the moment. The reader is the owner of the tables, whom row-level security does not keep from any ledger.
    pub(crate) async fn take(pool: &Pool, generation: u32) -> Result<Self, ReadStoreError> {
        let session = Session::borrow(pool).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = {}, pg_temp; \
             SET LOCAL statement_timeout = {TABLE_MAX_MS}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {TABLE_MAX_MS}; SET LOCAL row_security = off",
            schema_of(generation),
            LOCK_WAIT.as_millis()
        );
        let sql = "SELECT ledger, projection, position FROM checkpoint";
        let read = async {
            session.batch_execute(&begin).await?;
            session.query_typed(sql, &[]).await
        };
        let rows = read.await.map_err(|error| read_store_error(&error))?;
        let names: HashMap<&str, &'static str> =
            projection::all().iter().map(|p| (p.name(), p.name())).collect();
        let mut ends = Ends::new();
        for row in rows {
            let ledger: Result<[u8; 16], _> = row.get::<_, &[u8]>(0).try_into();
            let ledger = ledger.map_err(|_| ReadStoreError::Corrupt("a ledger is not an id".into()))?;
            if let Some(name) = names.get(row.get::<_, &str>(1)) {
                let of_ledger = ends.entry(LedgerId::from_bytes(ledger)).or_default();
                of_ledger.insert(*name, unpack(row.get(2)));
            }
        }
        Ok(Self { session, ends })
    }

    /// Names and places, from 0, of the columns of a table's primary key, in their order in the key.
    async fn key_of(&self, table: &str) -> Result<Vec<(String, usize)>, Error> {
        let sql = format!(
            "SELECT a.attname::text, a.attnum::int - 1 FROM pg_catalog.pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indrelid = '{table}'::regclass AND i.indisprimary ORDER BY k.place"
        );
        let rows = self.session.query_typed(&sql, &[]).await?;
        let place = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(1)).unwrap_or_default();
        Ok(rows.iter().map(|row| (row.get(0), place(row))).collect())
    }

    async fn stream(&self, sql: &str) -> Result<Side, Error> {
        let none: [(&SqlNone, tokio_postgres::types::Type); 0] = [];
        Ok(Side(Box::pin(self.session.query_typed_raw(sql, none).await?)))
    }

    /// Ends the transaction.
    pub(crate) async fn end(self) {
        if self.session.batch_execute("ROLLBACK").await.is_ok() {
            self.session.give_back();
        }
    }
}

/// The type of no parameter.
type SqlNone = i64;

/// The rows of one side, in the order of the key. The server sends on only as fast as they are taken.
struct Side(Pin<Box<RowStream>>);

impl Side {
    async fn next(&mut self) -> Result<Option<Row>, ReadStoreError> {
        let row = self
            .0
            .try_next()
            .await
            .map_err(|error| read_store_error(&error))?;
        row.as_ref().map(value::row).transpose()
    }
}

/// What differs between two generations.
pub(crate) async fn differences(a: Snapshot, b: Snapshot) -> Result<Vec<Difference>, ReadStoreError> {
    let mut found = Vec::new();
    for table in compared_tables() {
        let failed = |error: Error| read_store_error(&error);
        let key = a.key_of(table).await.map_err(failed)?;
        let order: Vec<&str> = key.iter().map(|(name, _)| name.as_str()).collect();
        let sql = format!("SELECT * FROM {table} ORDER BY {}", order.join(", "));
        let left = a.stream(&sql).await.map_err(failed)?;
        let right = b.stream(&sql).await.map_err(failed)?;
        let places: Vec<usize> = key.iter().map(|(_, place)| *place).collect();
        found.extend(merge(table, &places, left, right).await?);
    }
    a.end().await;
    b.end().await;
    Ok(found)
}

/// Walks both in the order of the key.
async fn merge(
    table: &str,
    key: &[usize],
    mut a: Side,
    mut b: Side,
) -> Result<Option<Difference>, ReadStoreError> {
    let mut difference = Difference::none(table);
    let (mut left, mut right) = (a.next().await?, b.next().await?);
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => compare_keys(key, l, r),
        };
        if order != Ordering::Equal || left != right {
            difference.count(order, || {
                format!("{} | {}", show(left.as_ref()), show(right.as_ref()))
            });
        }
        if order != Ordering::Greater {
            left = a.next().await?;
        }
        if order != Ordering::Less {
            right = b.next().await?;
        }
    }
    Ok(difference.found())
}

/// A row for people; nothing where there is none.
fn show(row: Option<&Row>) -> String {
    let value = |value: &SqlValue| match value {
        SqlValue::Null => "null".to_owned(),
        SqlValue::Int(value) => value.to_string(),
        SqlValue::Text(text) => format!("{text:?}"),
        SqlValue::Word(word) => format!("{word:?}"),
        SqlValue::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        SqlValue::Id(id) => id.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let values: Vec<String> = row.into_iter().flatten().map(value).collect();
    values.join(", ")
}

/// As the server orders keys: numbers by size, text (collation "C") and bytes byte by byte. Key columns hold one type
/// each.
fn compare_keys(key: &[usize], left: &Row, right: &Row) -> Ordering {
    let order = key.iter().map(|place| match (&left[*place], &right[*place]) {
        (SqlValue::Int(l), SqlValue::Int(r)) => l.cmp(r),
        (SqlValue::Text(l), SqlValue::Text(r)) => l.cmp(r),
        (SqlValue::Bytes(l), SqlValue::Bytes(r)) => l.cmp(r),
        (l, r) => format!("{l:?}").cmp(&format!("{r:?}")),
    });
    order.fold(Ordering::Equal, Ordering::then)
}
