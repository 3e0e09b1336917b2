//! Values as they go into statements and come out of rows.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A value as a statement takes it, without a copy.
#[derive(Debug)]
pub(crate) struct Bound<'a>(pub(crate) &'a SqlValue);

/// A value that is not of the type of its place.
#[derive(Debug, thiserror::Error)]
#[error("a value is not of type {0}")]
pub(crate) struct WrongType(Type);

impl ToSql for Bound<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if !matches!(self.0, SqlValue::Null) && type_of(self.0) != *of {
            return Err(Box::new(WrongType(of.clone())));
        }
        match self.0 {
            SqlValue::Null => return Ok(IsNull::Yes),
            SqlValue::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            SqlValue::Text(text) => out.extend_from_slice(escaped(text).as_bytes()),
            SqlValue::Word(word) => out.extend_from_slice(word.as_bytes()),
            SqlValue::Bytes(bytes) => out.extend_from_slice(bytes),
            SqlValue::Id(id) => out.extend_from_slice(id),
        }
        Ok(IsNull::No)
    }

    /// Whether it fits is seen with the value.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Its type. A null has none: the server takes that of its place.
fn type_of(value: &SqlValue) -> Type {
    match value {
        SqlValue::Null => Type::UNKNOWN,
        SqlValue::Int(_) => Type::INT8,
        SqlValue::Text(_) | SqlValue::Word(_) => Type::TEXT,
        SqlValue::Bytes(_) | SqlValue::Id(_) => Type::BYTEA,
    }
}

/// Values with their types.
pub(crate) fn typed(values: &[SqlValue]) -> Vec<(Bound<'_>, Type)> {
    values
        .iter()
        .map(|value| (Bound(value), type_of(value)))
        .collect()
}

/// The first of two characters that stand for one which text of the server cannot hold, or for itself.
const ESCAPE: char = '\u{1}';

/// Text as the server holds it: NUL, which JSON can name and the server refuses, is U+0001 U+0002, and U+0001 is
/// U+0001 U+0003. Equal texts stay equal, and their order stays what it was.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => out.extend([ESCAPE, '\u{2}']),
            ESCAPE => out.extend([ESCAPE, '\u{3}']),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The text that was escaped.
fn unescaped(text: String) -> Result<String, ReadStoreError> {
    if !text.contains(ESCAPE) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != ESCAPE {
            out.push(character);
            continue;
        }
        out.push(match characters.next() {
            Some('\u{2}') => '\0',
            Some('\u{3}') => ESCAPE,
            _ => {
                return Err(ReadStoreError::Corrupt(
                    "text has U+0001 and not what follows it".into(),
                ));
            }
        });
    }
    Ok(out)
}

/// A row as callers take it.
pub(crate) fn row(row: &tokio_postgres::Row) -> Result<Row, ReadStoreError> {
    (0..row.len()).map(|column| value(row, column)).collect()
}

fn value(row: &tokio_postgres::Row, column: usize) -> Result<SqlValue, ReadStoreError> {
    let wrong = |error: tokio_postgres::Error| ReadStoreError::Corrupt(error.to_string());
    let of = row.columns()[column].type_();
    Ok(match *of {
        Type::INT8 => row.try_get::<_, Option<i64>>(column).map_err(wrong)?.into(),
        Type::INT4 => row
            .try_get::<_, Option<i32>>(column)
            .map_err(wrong)?
            .map(i64::from)
            .into(),
        Type::TEXT => {
            let text = row.try_get::<_, Option<String>>(column).map_err(wrong)?;
            text.map(unescaped).transpose()?.into()
        }
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column).map_err(wrong)?.into(),
        _ => {
            let name = row.columns()[column].name();
            return Err(ReadStoreError::Corrupt(format!("column {name} is of type {of}")));
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaping_keeps_texts_and_their_order(a in "[\0-\u{4}a]{0,6}", b in "[\0-\u{4}a]{0,6}") {
            prop_assert!(!escaped(&a).contains('\0'));
            prop_assert_eq!(unescaped(escaped(&a).into_owned()), Ok(a.clone()));
            prop_assert_eq!(escaped(&a).cmp(&escaped(&b)), a.cmp(&b));
        }
    }
}
