//! Rows of a table, page by page, out of one moment of the read models.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use crate::change::SqlValue;
use crate::event::unpack;
use crate::money::Money;
use crate::select::Fields;
use crate::store::{ReadStoreError, Row, Snapshot};

use super::{Kind, Table};

/// Rows that are read at once, of tables that hold no texts.
const ROWS_MAX: i64 = 2_000;
/// Rows that are read at once, of tables that hold texts: each can be as large as a payload.
const ROWS_WITH_TEXTS_MAX: i64 = 64;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Not known, or there is none.
    Null,
    /// Text, an id or a position.
    Text(String),
    /// A number.
    Int(i64),
    /// A moment in microseconds since 1970, UTC.
    Time(i64),
    /// Yes or no.
    Flag(bool),
    /// An exact amount.
    Decimal(Money),
    /// A floating-point number.
    Real(f64),
}

/// From when on, and before when, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// From this moment on.
    pub from: Option<i64>,
    /// Before this moment.
    pub to: Option<i64>,
}

/// Behind which row a page begins.
pub type Place = Vec<SqlValue>;

/// Rows that a page of this table has at most.
pub const fn rows_of_a_page(table: &Table) -> i64 {
    if table.shows_texts {
        ROWS_WITH_TEXTS_MAX
    } else {
        ROWS_MAX
    }
}

/// How far the rows of a table go: the last record that is in them, and when that was recorded; nothing before the first.
///
/// # Errors
/// Those of the store.
pub async fn standing(
    snapshot: &dyn Snapshot,
    table: &Table,
    ledger: LedgerId,
) -> Result<Option<(Position, Micros)>, ReadStoreError> {
    let sql = "SELECT position, recorded_at FROM checkpoint WHERE ledger = $1 AND projection = $2";
    let params = vec![SqlValue::Id(*ledger.as_bytes()), table.projection.into()];
    let Some(row) = snapshot.query(sql, params).await?.pop() else {
        return Ok(None);
    };
    let fields = &mut Fields::new(row);
    Ok(Some((fields.position()?, fields.time()?)))
}

/// How many rows of that time there are.
///
/// # Errors
/// Those of the store.
pub async fn count(
    snapshot: &dyn Snapshot,
    table: &Table,
    ledger: LedgerId,
    period: Period,
) -> Result<u64, ReadStoreError> {
    let (sql, params) = chosen(table, ledger, period, "COUNT(*)");
    let row = snapshot.query(&sql, params).await?.pop();
    Fields::new(row.unwrap_or_default()).count()
}

/// The next rows, in the order of the table, and behind which the page after them begins: nothing after the last page.
///
/// # Errors
/// Those of the store; `Corrupt` where a column holds what it cannot hold.
pub async fn page(
    snapshot: &dyn Snapshot,
    table: &Table,
    ledger: LedgerId,
    period: Period,
    after: Option<&Place>,
) -> Result<(Vec<Vec<Cell>>, Option<Place>), ReadStoreError> {
    let mut columns = Vec::new();
    for column in table.columns {
        let source = column.source();
        match column.kind {
            Kind::Decimal => {
                columns.extend(["units", "nanos", "rest"].map(|part| format!("{source}_{part}")))
            }
            _ => columns.push(source),
        }
    }
    columns.extend(table.order.iter().map(|name| (*name).to_owned()));
    let (mut sql, mut params) = chosen(table, ledger, period, &columns.join(", "));
    let order = table.order.join(", ");
    if let Some(after) = after {
        let places: Vec<String> = (1..=after.len())
            .map(|n| format!("${}", params.len() + n))
            .collect();
        sql.push_str(&format!(" AND ({order}) > ({})", places.join(", ")));
        params.extend(after.iter().cloned());
    }
    let most = rows_of_a_page(table);
    params.push(most.into());
    sql.push_str(&format!(" ORDER BY {order} LIMIT ${}", params.len()));
    let rows = snapshot.query(&sql, params).await?;
    let is_full = i64::try_from(rows.len()) == Ok(most);
    let mut cells = Vec::with_capacity(rows.len());
    let mut last = None;
    for mut row in rows {
        last = Some(row.split_off(row.len().saturating_sub(table.order.len())));
        cells.push(read(table, row)?);
    }
    Ok((cells, last.filter(|_| is_full)))
}

/// A query of rows of a table that were of that time.
fn chosen(table: &Table, ledger: LedgerId, period: Period, what: &str) -> (String, Vec<SqlValue>) {
    let mut sql = format!("SELECT {what} FROM {} WHERE t.ledger = $1", table.from);
    let mut params = vec![SqlValue::Id(*ledger.as_bytes())];
    if !table.condition.is_empty() {
        sql.push_str(&format!(" AND {}", table.condition));
    }
    let time = table.time.unwrap_or("NULL");
    for (bound, sign) in [(period.from, ">="), (period.to, "<")] {
        if let Some(bound) = bound {
            params.push(bound.into());
            sql.push_str(&format!(" AND {time} {sign} ${}", params.len()));
        }
    }
    (sql, params)
}

fn read(table: &Table, row: Row) -> Result<Vec<Cell>, ReadStoreError> {
    let fields = &mut Fields::new(row);
    let cells = table.columns.iter().map(|column| {
        Ok(match column.kind {
            Kind::Text | Kind::Json => text(fields.optional_text()?),
            Kind::Id => text(
                fields
                    .optional_id::<Uuid>()?
                    .map(|id| id.as_hyphenated().to_string()),
            ),
            Kind::Position => text(fields.optional_int()?.map(|packed| unpack(packed).to_string())),
            Kind::Time => fields.optional_int()?.map_or(Cell::Null, Cell::Time),
            Kind::Count | Kind::Micros => fields.optional_int()?.map_or(Cell::Null, Cell::Int),
            Kind::Flag => fields
                .optional_int()?
                .map_or(Cell::Null, |flag| Cell::Flag(flag != 0)),
            Kind::Decimal => match (
                fields.optional_int()?,
                fields.optional_int()?,
                fields.optional_int()?,
            ) {
                (Some(units), Some(nanos), Some(rest)) => {
                    Cell::Decimal(Money::of_columns(units, nanos, rest))
                }
                _ => Cell::Null,
            },
            Kind::Real => fields.optional_word::<f64>()?.map_or(Cell::Null, Cell::Real),
        })
    });
    cells.collect()
}

fn text(text: Option<String>) -> Cell {
    text.map_or(Cell::Null, Cell::Text)
}
