//! Queries: put together from parts, read back field by field, given out page by page.

use std::fmt;
use std::str::FromStr;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use crate::change::SqlValue;
use crate::event::unpack;
use crate::money::Money;
use crate::store::{ReadStore, ReadStoreError, Row};

/// Bytes of the second part of a cursor at most: the longest key of a configuration.
const CURSOR_BYTES_MAX: usize = 1_024;
/// Rows of one page at most.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// A query under construction. Values become placeholders in the order in which they are given.
pub struct Select {
    sql: String,
    params: Vec<SqlValue>,
}

impl Select {
    /// A query of columns of a table (or of several, joined) in one ledger. Every query starts here, so none can
    /// forget whose rows it may see.
    pub fn of(columns: &str, table: &str, ledger: LedgerId) -> Self {
        Self {
            sql: format!(
                "SELECT {columns} FROM {table} WHERE {}.ledger = $1",
                first_word(table)
            ),
            params: vec![SqlValue::Id(*ledger.as_bytes())],
        }
    }

    /// Goes on with text.
    pub fn text(mut self, text: &str) -> Self {
        self.sql.push_str(text);
        self
    }

    /// Goes on with a value.
    pub fn bind(mut self, value: impl Into<SqlValue>) -> Self {
        self.params.push(value.into());
        self.sql.push_str(&format!("${}", self.params.len()));
        self
    }

    /// Demands a condition with one value at its end, such as ` AND agent = `.
    pub fn and(self, condition: &str, value: impl Into<SqlValue>) -> Self {
        self.text(" AND ").text(condition).bind(value)
    }

    /// Demands it if there is a value.
    pub fn and_if<T: Into<SqlValue>>(self, condition: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.and(condition, value),
            None => self,
        }
    }

    /// Demands that a column has one of the values; none given, none fits.
    pub fn and_in<T: Into<SqlValue>>(mut self, column: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.sql.push_str(&format!(" AND {column} IN ("));
        let mut separator = "";
        for value in values {
            self = self.text(separator).bind(value);
            separator = ", ";
        }
        // SQL allows a list with a null in it, and nothing equals null.
        if separator.is_empty() {
            self.sql.push_str("NULL");
        }
        self.text(")")
    }

    /// A query of the rows that this one gives, which are called `found` there. `rest` is what stands behind.
    pub fn within(self, columns: &str, rest: &str) -> Self {
        Self {
            sql: format!("SELECT {columns} FROM ({}) found {rest}", self.sql),
            ..self
        }
    }

    /// Orders by two columns, goes on behind a cursor, and takes one row more than the page has, to see whether there
    /// is a next page.
    pub fn page(mut self, columns: [&str; 2], id: fn(&Cursor) -> SqlValue, page: &PageRequest) -> Self {
        let [a, b] = columns;
        let (direction, beyond) = if page.descending {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        };
        if let Some(after) = &page.after {
            self = self.text(&format!(" AND ({a}, {b}) {beyond} (")).bind(after.at);
            self = self.text(", ").bind(id(after)).text(")");
        }
        self.text(&format!(" ORDER BY {a} {direction}, {b} {direction} LIMIT "))
            .bind(page.rows() as i64 + 1)
    }

    /// Runs it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rows(self, store: &dyn ReadStore) -> Result<Vec<Row>, ReadStoreError> {
        store.query(&self.sql, self.params).await
    }
}

fn first_word(table: &str) -> &str {
    table.split(' ').next().unwrap_or_default()
}

/// Place of a row in a list: stable, because what it is made of never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The column that the list is ordered by.
    pub at: i64,
    /// What tells rows of the same `at` apart: an id, a number, a key.
    pub id: Vec<u8>,
}

impl Cursor {
    /// A cursor whose second part is an id.
    pub fn of_id(at: i64, id: [u8; 16]) -> Self {
        Self { at, id: id.to_vec() }
    }

    /// A cursor whose second part is a number.
    pub fn of_number(at: i64, number: i64) -> Self {
        Self {
            at,
            id: number.to_be_bytes().to_vec(),
        }
    }

    /// The second part as bytes.
    pub fn id_value(&self) -> SqlValue {
        SqlValue::Bytes(self.id.clone())
    }

    /// The second part as a number; a cursor of another list gives a number that fits nowhere in particular.
    pub fn number_value(&self) -> SqlValue {
        let bytes: Option<[u8; 8]> = self.id.as_slice().try_into().ok();
        SqlValue::Int(bytes.map_or(i64::MAX, i64::from_be_bytes))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.at)?;
        self.id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text that is no cursor of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: {0}")]
pub struct NotACursor(pub String);

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bad = || NotACursor(text.to_owned());
        let (at, id) = text.split_once('.').ok_or_else(bad)?;
        let digits = id.as_bytes();
        let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_hex || digits.len() > 2 * CURSOR_BYTES_MAX {
            return Err(bad());
        }
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            u8::from_str_radix(pair, 16).map_err(|_| bad())
        };
        let id: Result<Vec<u8>, NotACursor> = digits.chunks(2).map(byte).collect();
        let cursor = Self {
            at: at.parse().map_err(|_| bad())?,
            id: id?,
        };
        // One place, one spelling.
        if cursor.to_string() != text {
            return Err(bad());
        }
        Ok(cursor)
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows; at most [`PAGE_ROWS_MAX`] are given.
    pub first: usize,
    /// Behind which row.
    pub after: Option<Cursor>,
    /// From the end of the list to its start.
    pub descending: bool,
}

impl PageRequest {
    /// The first rows of a list.
    pub fn first(first: usize) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// The rows behind a cursor, if one is given.
    pub fn after(self, after: Option<Cursor>) -> Self {
        Self { after, ..self }
    }

    /// From the end of the list to its start.
    pub fn descending(self) -> Self {
        Self {
            descending: true,
            ..self
        }
    }

    fn rows(&self) -> usize {
        self.first.min(PAGE_ROWS_MAX)
    }
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Rows with their places.
    pub rows: Vec<(Cursor, T)>,
    /// Whether more rows follow.
    pub has_next: bool,
}

impl<T> Page<T> {
    /// The rows of an answer that was asked for one row more than the page has.
    ///
    /// # Errors
    /// A row that is not of the expected form.
    pub fn read(
        page: &PageRequest,
        mut rows: Vec<Row>,
        mut read: impl FnMut(&mut Fields) -> Result<(Cursor, T), ReadStoreError>,
    ) -> Result<Self, ReadStoreError> {
        let has_next = rows.len() > page.rows();
        rows.truncate(page.rows());
        let rows: Result<_, _> = rows.into_iter().map(|row| read(&mut Fields::new(row))).collect();
        Ok(Self {
            rows: rows?,
            has_next,
        })
    }

    /// The rows without their places.
    pub fn items(self) -> Vec<T> {
        self.rows.into_iter().map(|(_, item)| item).collect()
    }

    /// Where the next page starts.
    pub fn end(&self) -> Option<Cursor> {
        self.rows.last().map(|(cursor, _)| cursor.clone())
    }
}

/// The fields of a row, read from left to right.
pub struct Fields {
    row: std::vec::IntoIter<SqlValue>,
    at: usize,
}

impl Fields {
    /// The fields of a row.
    pub fn new(row: Row) -> Self {
        Self {
            row: row.into_iter(),
            at: 0,
        }
    }

    fn next(&mut self) -> Result<SqlValue, ReadStoreError> {
        self.at += 1;
        self.row.next().ok_or_else(|| self.wrong("is missing"))
    }

    fn wrong(&self, what: &str) -> ReadStoreError {
        ReadStoreError::Corrupt(format!("column {} of an answer {what}", self.at))
    }

    /// A number or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else; so below.
    pub fn optional_int(&mut self) -> Result<Option<i64>, ReadStoreError> {
        match self.next()? {
            SqlValue::Null => Ok(None),
            SqlValue::Int(value) => Ok(Some(value)),
            _ => Err(self.wrong("is not a number")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn int(&mut self) -> Result<i64, ReadStoreError> {
        self.optional_int()?.ok_or_else(|| self.wrong("is null"))
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn count(&mut self) -> Result<u64, ReadStoreError> {
        u64::try_from(self.int()?).map_err(|_| self.wrong("is negative"))
    }

    /// A number that is not negative, or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_count(&mut self) -> Result<Option<u64>, ReadStoreError> {
        let value = self.optional_int()?;
        value
            .map(u64::try_from)
            .transpose()
            .map_err(|_| self.wrong("is negative"))
    }

    /// A yes or no.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn flag(&mut self) -> Result<bool, ReadStoreError> {
        Ok(self.int()? != 0)
    }

    /// A time.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn time(&mut self) -> Result<Micros, ReadStoreError> {
        self.count().map(Micros)
    }

    /// A time or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_time(&mut self) -> Result<Option<Micros>, ReadStoreError> {
        Ok(self.optional_count()?.map(Micros))
    }

    /// A position.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn position(&mut self) -> Result<Position, ReadStoreError> {
        self.int().map(unpack)
    }

    /// A position or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_position(&mut self) -> Result<Option<Position>, ReadStoreError> {
        Ok(self.optional_int()?.map(unpack))
    }

    /// Text or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_text(&mut self) -> Result<Option<String>, ReadStoreError> {
        match self.next()? {
            SqlValue::Null => Ok(None),
            SqlValue::Text(text) => Ok(Some(text)),
            SqlValue::Word(word) => Ok(Some(word.to_owned())),
            _ => Err(self.wrong("is not text")),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn text(&mut self) -> Result<String, ReadStoreError> {
        self.optional_text()?.ok_or_else(|| self.wrong("is null"))
    }

    /// Bytes or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadStoreError> {
        match self.next()? {
            SqlValue::Null => Ok(None),
            SqlValue::Bytes(bytes) => Ok(Some(bytes)),
            SqlValue::Id(id) => Ok(Some(id.to_vec())),
            _ => Err(self.wrong("is not bytes")),
        }
    }

    /// An id or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_id<T: From16>(&mut self) -> Result<Option<T>, ReadStoreError> {
        let Some(bytes) = self.optional_bytes()? else {
            return Ok(None);
        };
        let id: [u8; 16] = bytes.try_into().map_err(|_| self.wrong("is not an id"))?;
        Ok(Some(T::from_16(id)))
    }

    /// An id.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn id<T: From16>(&mut self) -> Result<T, ReadStoreError> {
        self.optional_id()?.ok_or_else(|| self.wrong("is null"))
    }

    /// Exact money of three columns.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn money(&mut self) -> Result<Money, ReadStoreError> {
        Ok(Money::of_columns(self.int()?, self.int()?, self.int()?))
    }

    /// JSON that the projection wrote, or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, ReadStoreError> {
        let Some(text) = self.optional_text()? else {
            return Ok(None);
        };
        let value = serde_json::from_str(&text);
        value
            .map(Some)
            .map_err(|error| self.wrong(&format!("is not what was written: {error}")))
    }

    /// A word of a closed list, or nothing.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn optional_word<T: FromStr>(&mut self) -> Result<Option<T>, ReadStoreError> {
        let Some(text) = self.optional_text()? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| self.wrong(&format!("has no word {text}")))
    }

    /// A word of a closed list.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn word<T: FromStr>(&mut self) -> Result<T, ReadStoreError> {
        self.optional_word()?.ok_or_else(|| self.wrong("is null"))
    }
}

/// An id of 16 bytes.
pub trait From16 {
    /// The id of these bytes.
    fn from_16(bytes: [u8; 16]) -> Self;
}

macro_rules! from_16 {
    ($($name:ident),*) => {$(
        impl From16 for ruche_domain::ids::$name {
            fn from_16(bytes: [u8; 16]) -> Self {
                Self::from_bytes(bytes)
            }
        }
    )*};
}

from_16!(
    EventId, SessionId, TurnId, CallId, MessageId, LaneId, LedgerId, ApprovalId
);

impl From16 for Uuid {
    fn from_16(bytes: [u8; 16]) -> Self {
        Self::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_print_and_parse() {
        for cursor in [Cursor::of_id(-5, [0xab; 16]), Cursor::of_number(1 << 50, -1)] {
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for bad in [
            "",
            "1",
            "1.0",
            "1.zz",
            "01.0000000000000000",
            "1.000000000000000G",
            "+1.0000000000000000",
            "1.é",
        ] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_query_names_its_ledger_first_and_numbers_its_values() {
        let ledger = LedgerId::from_bytes([1; 16]);
        let page = PageRequest::first(10).after(Some(Cursor::of_number(7, 8)));
        let select = Select::of("a, b", "t", ledger)
            .and_if("x = ", Some("y"))
            .and_if::<i64>("z = ", None)
            .and_in("w", [1, 2])
            .page(["at", "id"], Cursor::number_value, &page);
        assert_eq!(
            select.sql,
            "SELECT a, b FROM t WHERE t.ledger = $1 AND x = $2 AND w IN ($3, $4) AND (at, id) > ($5, $6) \
             ORDER BY at ASC, id ASC LIMIT $7"
        );
        assert_eq!(select.params.len(), 7);
        assert_eq!(select.params[6], SqlValue::Int(11));
    }
}
