//! Questions to memory. What holds at a moment is worked out here, from versions and from what ended them.

use std::collections::HashMap;

use ruche_domain::ids::{EventId, LedgerId};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::{Micros, Position};

use super::ends::{closes, forgotten, with_ends};
use super::record_key;
use super::state::{Fact, KnownAt};
use crate::bounds;
use crate::change::SqlValue;
use crate::event::{pack, unpack};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

pub(super) const COLUMNS: &str = "memory_fact.position, event_id, event_type, session, turn, store, record_id, about, attribute, \
    content, confidence, valid_from, valid_to, extractor, sources, refs, known, known_at, dropped, occurred_at, recorded_at";

/// The column that tells whether something is known by then, and what it may be at most. Both columns rise together, so the
/// first end of a version that is not known by then is followed by none that is.
pub(super) fn bound_of(known_at: KnownAt) -> (&'static str, i64) {
    let (column, bound) = match known_at {
        KnownAt::Now => ("known", i64::MAX),
        // A position that no engine gets to is behind all others.
        KnownAt::Position(position) => ("known", pack(position).unwrap_or(i64::MAX)),
        KnownAt::Time(time) => ("known_at", micros(time)),
    };
    // What never comes is behind it.
    (column, bound.min(i64::MAX - 1))
}

pub(super) fn micros(time: Micros) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Demands a value of a column that has an index. Without statistics SQLite takes the primary key, which is the whole ledger,
/// rather than an index that does not cover all that is asked for; it takes one that covers a list of positions. PostgreSQL,
/// without statistics, goes through the ledger once for each item of such a list; it takes the index where the row has the value.
pub(super) fn found_by(select: Select, ledger: LedgerId, column: &str, value: impl Into<SqlValue>) -> Select {
    let value = value.into();
    select
        .and(&format!("memory_fact.{column} = "), value.clone())
        .and(
            "memory_fact.position IN (SELECT i.position FROM memory_fact i WHERE i.ledger = ",
            *ledger.as_bytes(),
        )
        .and(&format!("i.{column} = "), value)
        .text(")")
}

/// What is asked of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Whom or what the facts are about.
    pub about: String,
    /// When they hold.
    pub valid_at: Micros,
    /// What may be known.
    pub known_at: KnownAt,
    /// Only this attribute.
    pub attribute: Option<String>,
    /// Only of this store.
    pub store: Option<String>,
}

/// The facts about something that were known at a moment to hold at another, in the order in which they were written.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn known(
    store: &dyn ReadStore,
    ledger: LedgerId,
    asked: &Asked,
    page: &PageRequest,
) -> Result<Page<Fact>, ReadStoreError> {
    let (column, bound) = bound_of(asked.known_at);
    let about = bounds::name(&asked.about).into_owned();
    let select = found_by(Select::of(COLUMNS, "memory_fact", ledger), ledger, "about", about)
        .and_if("attribute = ", bounds::key(asked.attribute.as_ref()))
        .and_if("store = ", asked.store.clone());
    let select = holding(select, (column, bound), asked.valid_at);
    let rows = by_position_page(select, page, true).rows(store).await?;
    with_ends(store, ledger, asked.known_at, Page::read(page, rows, read)?).await
}

/// Demands that a version was known by then, and that it held.
pub(super) fn holding(select: Select, (column, bound): (&str, i64), valid_at: Micros) -> Select {
    let valid = micros(valid_at);
    select
        .and(&format!("memory_fact.{column} <= "), bound)
        .and("(valid_from IS NULL OR valid_from <= ", valid)
        .text(")")
        .and("(valid_to IS NULL OR valid_to > ", valid)
        .text(")")
        .and(&format!("{} > ", forgotten(column)), bound)
        .text(&format!(
            " AND (SELECT c.position FROM memory_end c WHERE {}",
            closes("c")
        ))
        .and(&format!("c.{column} <= "), bound)
        .and("c.valid_to <= ", valid)
        // In this form no engine makes a join of it.
        .text(" ORDER BY c.known, c.position LIMIT 1) IS NULL")
}

/// A page in the order of positions. Where there is a list of positions to find the rows by, the sign keeps engines from going
/// through all of the ledger behind the cursor instead.
pub(super) fn by_position_page(mut select: Select, page: &PageRequest, is_listed: bool) -> Select {
    let columns = ["memory_fact.position"; 2];
    let Some(after) = page.after.as_ref().filter(|_| is_listed) else {
        return select.page(columns, Cursor::number_value, page);
    };
    let beyond = if page.descending { "<" } else { ">" };
    select = select.and(&format!("+memory_fact.position {beyond} "), after.at);
    let rest = PageRequest {
        after: None,
        ..page.clone()
    };
    select.page(columns, Cursor::number_value, &rest)
}

/// The versions that these records of the ledger wrote, as they stand now.
///
/// # Errors
/// Those of the store.
pub async fn by_positions(
    store: &dyn ReadStore,
    ledger: LedgerId,
    positions: &[Position],
) -> Result<Vec<Fact>, ReadStoreError> {
    written_at(store, ledger, positions, KnownAt::Now).await
}

/// The same, as they stood at a moment.
pub(super) async fn written_at(
    store: &dyn ReadStore,
    ledger: LedgerId,
    positions: &[Position],
    known_at: KnownAt,
) -> Result<Vec<Fact>, ReadStoreError> {
    let packed = positions.iter().filter_map(|position| pack(*position).ok());
    let rows = Select::of(COLUMNS, "memory_fact", ledger)
        .and_in("memory_fact.position", packed)
        .rows(store)
        .await?;
    let page = Page::read(&PageRequest::first(positions.len()), rows, read)?;
    Ok(with_ends(store, ledger, known_at, page).await?.items())
}

/// The versions of a fact's record as they stand now, in the order in which they were written.
///
/// # Errors
/// Those of the store.
pub async fn history(
    store: &dyn ReadStore,
    ledger: LedgerId,
    fact: &Fact,
    page: &PageRequest,
) -> Result<Page<Fact>, ReadStoreError> {
    let record = record_key(fact.store.as_ref(), &fact.record_id);
    let select = found_by(
        Select::of(COLUMNS, "memory_fact", ledger),
        ledger,
        "record",
        record,
    );
    let rows = by_position_page(select, page, true).rows(store).await?;
    with_ends(store, ledger, KnownAt::Now, Page::read(page, rows, read)?).await
}

pub(super) fn read(fields: &mut Fields) -> Result<(Cursor, Fact), ReadStoreError> {
    let position = fields.int()?;
    let fact = Fact {
        position: unpack(position),
        event_id: fields.id()?,
        event_type: fields.text()?,
        session: fields.optional_id()?,
        turn: fields.optional_id()?,
        store: fields.optional_text()?,
        record_id: fields.text()?,
        about: fields.optional_text()?,
        attribute: fields.optional_text()?,
        content: fields.optional_json()?.unwrap_or_default(),
        confidence: fields.optional_word::<f64>()?.and_then(Finite::new),
        valid_from: fields.optional_time()?,
        told_valid_to: fields.optional_time()?,
        extractor: fields.optional_text()?,
        sources: fields.optional_json()?.unwrap_or_default(),
        refs: fields.optional_json()?.unwrap_or_default(),
        known: fields.optional_position()?,
        known_at: fields.optional_time()?,
        dropped: fields.optional_text()?.is_some(),
        occurred_at: fields.time()?,
        recorded_at: fields.time()?,
        closes: None,
        closed: None,
        forgotten: None,
    };
    Ok((Cursor::of_number(position, position), fact))
}

/// Where events stand that facts rest on, as far as they are there.
///
/// # Errors
/// Those of the store.
pub async fn positions_of(
    store: &dyn ReadStore,
    ledger: LedgerId,
    events: &[EventId],
) -> Result<HashMap<EventId, Position>, ReadStoreError> {
    let mut found = HashMap::new();
    for table in ["timeline", "memory_event"] {
        let ids = events.iter().map(|id| *id.as_bytes());
        let rows = Select::of("event_id, position", table, ledger)
            .and_in("event_id", ids)
            .rows(store)
            .await?;
        for row in rows {
            let fields = &mut Fields::new(row);
            found.insert(fields.id()?, fields.position()?);
        }
    }
    Ok(found)
}
