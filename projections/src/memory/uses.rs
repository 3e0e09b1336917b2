//! Who used memory, and how much of it was taken back.

use std::sync::LazyLock;

use ruche_domain::events::InvalidationReason;
use ruche_domain::ids::{LedgerId, SessionId, TurnId};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::{Micros, Position};

use super::ends::{Which, closes, first, forgotten};
use super::query::micros;
use super::record_key;
use super::state::Fact;
use crate::event::{pack, unpack};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Rows of counts at most: one more than an answer has (`ANALYSIS_ROWS_MAX`), so that too many are refused and not cut.
const COUNTS_MAX: i64 = 10_001;

/// A search or retrieval that gave a record.
#[derive(Clone, Debug, PartialEq)]
pub struct FactUse {
    /// The record of the ledger that says so.
    pub position: Position,
    /// Whether memory was searched, or documents were retrieved.
    pub kind: String,
    /// Session that it happened in.
    pub session: Option<SessionId>,
    /// Turn that it happened in.
    pub turn: Option<TurnId>,
    /// The store or source that was asked.
    pub store: String,
    /// The record or document that was found.
    pub record_id: String,
    /// Its version, as the store told it.
    pub version: Option<String>,
    /// Its score.
    pub score: Option<Finite>,
    /// When the ledger took it.
    pub recorded_at: Micros,
    /// Whether its last version was not known any more by then, or did not hold any more at the time that was asked for.
    pub after_end: bool,
}

/// Which uses; all conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UseFilter {
    /// Of this store.
    pub store: Option<String>,
    /// Of the record with this id of the client.
    pub record_id: Option<String>,
    /// In this turn.
    pub turn: Option<TurnId>,
    /// Only those of records whose last version was not known or did not hold any more by then.
    pub after_end: bool,
}

/// That the last version of the record that was known by then was not known any more, or had stopped to hold at the time that
/// was asked for. What is said of a record that nobody has written yet says nothing of it.
static AFTER_END: LazyLock<String> = LazyLock::new(|| {
    format!(
        "EXISTS (SELECT 1 FROM memory_fact WHERE memory_fact.ledger = memory_use.ledger AND memory_fact.position = \
         (SELECT v.position FROM memory_fact v WHERE v.ledger = memory_use.ledger AND v.record = memory_use.record \
         AND v.known < memory_use.position ORDER BY v.known DESC, v.position DESC LIMIT 1) \
         AND ({} < memory_use.position OR EXISTS (SELECT 1 FROM memory_end c WHERE {} \
         AND c.known < memory_use.position AND c.valid_to <= memory_use.valid_at)))",
        forgotten("known"),
        closes("c")
    )
});

static USE_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "memory_use.position, item, kind, session, turn, store, record_id, version, score, recorded_at, \
         CASE WHEN {} THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END",
        *AFTER_END
    )
});

fn read_use(fields: &mut Fields) -> Result<(Cursor, FactUse), ReadStoreError> {
    let (position, item) = (fields.int()?, fields.int()?);
    let found = FactUse {
        position: unpack(position),
        kind: fields.text()?,
        session: fields.optional_id()?,
        turn: fields.optional_id()?,
        store: fields.text()?,
        record_id: fields.text()?,
        version: fields.optional_text()?,
        score: fields.optional_word::<f64>()?.and_then(Finite::new),
        recorded_at: fields.time()?,
        after_end: fields.flag()?,
    };
    Ok((Cursor::of_number(position, item), found))
}

/// Searches and retrievals with what each gave, in the order of the ledger.
///
/// # Errors
/// Those of the store.
pub async fn uses(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &UseFilter,
    page: &PageRequest,
) -> Result<Page<FactUse>, ReadStoreError> {
    let record = filter.record_id.as_ref();
    let record = record.filter(|_| filter.store.is_some());
    let mut select = Select::of(&USE_COLUMNS, "memory_use", ledger)
        .and_if(
            "record = ",
            record.map(|id| record_key(filter.store.as_ref(), id)),
        )
        .and_if("store = ", filter.store.clone())
        .and_if("record_id = ", filter.record_id.clone())
        .and_if("turn = ", filter.turn.map(|id| *id.as_bytes()));
    if filter.after_end {
        select = select.text(" AND ").text(&AFTER_END);
    }
    let rows = select
        .page(["memory_use.position", "item"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read_use)
}

/// What used a version of a fact: searches and retrievals that gave its record behind where it became known, and before
/// the next version did. Those behind its end are among them.
///
/// # Errors
/// Those of the store.
pub async fn used_by(
    store: &dyn ReadStore,
    ledger: LedgerId,
    fact: &Fact,
    page: &PageRequest,
) -> Result<Page<FactUse>, ReadStoreError> {
    let Some(known) = fact.known.and_then(|known| pack(known).ok()) else {
        return Ok(Page {
            rows: Vec::new(),
            has_next: false,
        });
    };
    let record = record_key(fact.store.as_ref(), &fact.record_id);
    // Where the next version became known: sought once, not for each use.
    let select = Select::of(&USE_COLUMNS, "memory_use", ledger)
        .and("record = ", record)
        .and("memory_use.position > ", known)
        .and(
            "memory_use.position <= COALESCE((SELECT v.known FROM memory_fact v WHERE v.ledger = ",
            *ledger.as_bytes(),
        )
        .and("v.record = ", record)
        .and("v.known >= ", known)
        .text(" AND (v.known, v.position) > (")
        .bind(known)
        .text(", ")
        .bind(pack(fact.position).unwrap_or(i64::MAX))
        .text(") ORDER BY v.known, v.position LIMIT 1), ")
        .bind(i64::MAX)
        .text(")");
    let rows = select
        .page(["memory_use.position", "item"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read_use)
}

/// How many facts were taken back on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidationCount {
    /// The day on which that became known, in days since 1970 UTC.
    pub day: i64,
    /// Digest of the program that had drawn them; absent where nobody said.
    pub extractor: Option<String>,
    /// Why.
    pub reason: Option<InvalidationReason>,
    /// How many.
    pub facts: u64,
}

/// Facts that were taken back, by day, extractor and reason. A fact that is taken back twice counts once.
///
/// # Errors
/// Those of the store.
pub async fn invalidated(
    store: &dyn ReadStore,
    ledger: LedgerId,
    from: Option<Micros>,
    before: Option<Micros>,
) -> Result<Vec<InvalidationCount>, ReadStoreError> {
    const DAY: &str = "memory_end.known_at / 86400000000";
    // Each version ends the one before it, so what is said is the first that is said only of the last version before it.
    let table = "memory_end JOIN memory_fact ON memory_fact.ledger = memory_end.ledger AND memory_fact.position = \
        (SELECT v.position FROM memory_fact v WHERE v.ledger = memory_end.ledger AND v.record = memory_end.record \
        AND v.known <= memory_end.known AND (v.known, v.position) < (memory_end.known, memory_end.position) \
        ORDER BY v.known DESC, v.position DESC LIMIT 1)";
    let columns = format!("{DAY}, memory_fact.extractor, memory_end.reason, COUNT(*)");
    let rows = Select::of(&columns, table, ledger)
        // Twice, as in `found_by`.
        .and("memory_end.kind = ", "invalidated")
        .and_if("memory_end.known_at >= ", from.map(micros))
        .and_if("memory_end.known_at < ", before.map(micros))
        .and(
            "(memory_end.record, memory_end.position) IN (SELECT k.record, k.position FROM memory_end k WHERE k.ledger = ",
            *ledger.as_bytes(),
        )
        .and("k.kind = ", "invalidated")
        .and_if("k.known_at >= ", from.map(micros))
        .and_if("k.known_at < ", before.map(micros))
        .text(")")
        .text(&format!(
            " AND memory_end.position = {} GROUP BY {DAY}, memory_fact.extractor, memory_end.reason \
             ORDER BY {DAY}, COALESCE(memory_fact.extractor, ''), COALESCE(memory_end.reason, '') LIMIT ",
            first("position", Which::Any)
        ))
        .bind(COUNTS_MAX)
        .rows(store)
        .await?;
    let count = |row| {
        let fields = &mut Fields::new(row);
        Ok(InvalidationCount {
            day: fields.int()?,
            extractor: fields.optional_text()?,
            reason: fields.optional_word()?,
            facts: fields.count()?,
        })
    };
    rows.into_iter().map(count).collect()
}
