//! Compares two generations of read models, row by row.

use std::cmp::Ordering;
use std::path::Path;

use ruche_projections::rebuild::{Difference, compared_tables};
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows};

use crate::error::{OpenError, sqlite};
use crate::file;

/// What differs between two files of read models. Each is read in one snapshot; memory does not grow with them.
///
/// # Errors
/// `OpenError` if one of them cannot be read.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<Difference>, OpenError> {
    let (a, b) = (file::open_reader(first)?, file::open_reader(second)?);
    a.execute_batch("BEGIN").map_err(sqlite("read", first))?;
    b.execute_batch("BEGIN").map_err(sqlite("read", second))?;
    differences((&a, first), (&b, second))
}

/// The same on connections whose snapshots are already taken.
pub(crate) fn differences(
    (a, first): (&Connection, &Path),
    (b, second): (&Connection, &Path),
) -> Result<Vec<Difference>, OpenError> {
    let mut found = Vec::new();
    for table in compared_tables() {
        let key = key_columns(a, table).map_err(sqlite("read", first))?;
        let order: Vec<String> = key.iter().map(usize::to_string).collect();
        let sql = format!("SELECT * FROM {table} ORDER BY {}", order.join(", "));
        let mut a = a.prepare(&sql).map_err(sqlite("read", first))?;
        let mut b = b.prepare(&sql).map_err(sqlite("read", second))?;
        let a = Side {
            rows: a.query([]).map_err(sqlite("read", first))?,
            path: first,
        };
        let b = Side {
            rows: b.query([]).map_err(sqlite("read", second))?,
            path: second,
        };
        found.extend(merge(table, &key, a, b)?);
    }
    Ok(found)
}

/// Numbers, from 1, of the columns of a table's primary key, in their order in the key.
fn key_columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<usize>> {
    let mut statement = conn.prepare("SELECT cid + 1 FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk")?;
    let columns = statement.query_map([table], |row| row.get::<_, i64>(0))?;
    columns
        .map(|column| column.map(|column| column as usize))
        .collect()
}

struct Side<'s> {
    rows: Rows<'s>,
    path: &'s Path,
}

impl Side<'_> {
    fn advance(&mut self) -> Result<(), OpenError> {
        self.rows.advance().map_err(sqlite("read", self.path))
    }

    /// The values of the row it stands at; nothing behind the last one. They are looked at where SQLite keeps them:
    /// a comparison takes two files of any size apart without a copy.
    fn values(&self) -> Result<Option<Vec<ValueRef<'_>>>, OpenError> {
        let Some(row) = self.rows.get() else {
            return Ok(None);
        };
        let columns = row.as_ref().column_count();
        let values = (0..columns).map(|n| row.get_ref(n).map_err(sqlite("read", self.path)));
        values.collect::<Result<_, OpenError>>().map(Some)
    }
}

/// Walks both in the order of the key.
fn merge(
    table: &str,
    key: &[usize],
    mut a: Side<'_>,
    mut b: Side<'_>,
) -> Result<Option<Difference>, OpenError> {
    let mut difference = Difference::none(table);
    a.advance()?;
    b.advance()?;
    loop {
        let (left, right) = (a.values()?, b.values()?);
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => compare_keys(key, l, r),
        };
        if order != Ordering::Equal || left != right {
            difference.count(order, || {
                format!("{} | {}", show(left.as_deref()), show(right.as_deref()))
            });
        }
        if order != Ordering::Greater {
            a.advance()?;
        }
        if order != Ordering::Less {
            b.advance()?;
        }
    }
    Ok(difference.found())
}

/// A row for people; nothing where there is none.
fn show(values: Option<&[ValueRef<'_>]>) -> String {
    let value = |value: &ValueRef<'_>| match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => format!("{value:?}"),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let values: Vec<String> = values.unwrap_or_default().iter().map(value).collect();
    values.join(", ")
}

/// As SQLite orders keys: numbers by size, text and bytes byte by byte. Key columns hold one type each.
fn compare_keys(key: &[usize], left: &[ValueRef<'_>], right: &[ValueRef<'_>]) -> Ordering {
    let order = key
        .iter()
        .map(|column| match (left[column - 1], right[column - 1]) {
            (ValueRef::Integer(l), ValueRef::Integer(r)) => l.cmp(&r),
            (ValueRef::Text(l), ValueRef::Text(r)) | (ValueRef::Blob(l), ValueRef::Blob(r)) => l.cmp(r),
            (l, r) => format!("{l:?}").cmp(&format!("{r:?}")),
        });
    order.fold(Ordering::Equal, Ordering::then)
}
