//! What ends versions of facts, as SQL. Whatever the number of ends, the one that decides is sought in an index: the first
//! that came behind the version, of those from which it is not known any more and of those that say until when it holds.
//!
//! Of one version an event says one thing at most, so a record and a position name an end.

use std::collections::{HashMap, HashSet};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Micros;
use uuid::Uuid;

use super::key;
use super::query::bound_of;
use super::state::{Fact, FactEnd, KnownAt};
use crate::event::unpack;
use crate::select::{Fields, Page, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Behind every position and time of a column.
const NEVER: i64 = i64::MAX;

/// Which ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those from which the version is not known any more.
    Ending,
    /// Those that say until when it holds.
    Closing,
    /// Both.
    Any,
}

impl Which {
    /// Whose ends they are, of the record or of its store, and what stands in the column `ends`.
    fn places(self) -> &'static [(&'static str, u8)] {
        match self {
            Self::Ending => &[("record", 1), ("holder", 1)],
            Self::Closing => &[("record", 0)],
            Self::Any => &[("record", 1), ("holder", 1), ("record", 0)],
        }
    }
}

/// That the row `end` of `memory_end` came behind the row of `memory_fact` and is about it. A fact that does not say who drew
/// it is not drawn anew. The first line is what the index is asked for.
fn behind(end: &str, (key, ends): (&str, u8)) -> String {
    format!(
        "{end}.ledger = memory_fact.ledger AND {end}.record = memory_fact.{key} AND {end}.ends = {ends} \
         AND {end}.known >= memory_fact.known \
         AND ({end}.known, {end}.position) > (memory_fact.known, memory_fact.position) \
         AND ({end}.kind <> 're_extracted' OR (memory_fact.extractor <> {end}.extractor \
         AND memory_fact.extractor = COALESCE({end}.previous_extractor, memory_fact.extractor)))"
    )
}

/// A column of the first end of a version; null where there is none.
pub(super) fn first(column: &str, which: Which) -> String {
    let sought = |place: &(&str, u8)| {
        format!(
            "SELECT x.{column} AS what, x.known, x.position FROM memory_end x WHERE {} \
             ORDER BY x.known, x.position LIMIT 1",
            behind("x", *place)
        )
    };
    match which.places() {
        [place] => format!("(SELECT one.what FROM ({}) one)", sought(place)),
        places => {
            let each = places
                .iter()
                .map(|place| format!("SELECT * FROM ({}) one", sought(place)));
            let all: Vec<String> = each.collect();
            format!(
                "(SELECT every.what FROM ({}) every ORDER BY every.known, every.position LIMIT 1)",
                all.join(" UNION ALL ")
            )
        }
    }
}

/// Where a version is not known any more: a column, or a value behind all others.
pub(super) fn forgotten(column: &str) -> String {
    format!("COALESCE({}, {NEVER})", first(column, Which::Ending))
}

/// That the row `end` says until when a version holds, before the version is not known any more.
pub(super) fn closes(end: &str) -> String {
    format!(
        "{} AND ({end}.known, {end}.position) < ({}, {})",
        behind(end, ("record", 0)),
        forgotten("known"),
        forgotten("position")
    )
}

/// Gives each version what decides of it, as far as that is known by then.
pub(super) async fn with_ends(
    store: &dyn ReadStore,
    ledger: LedgerId,
    known_at: KnownAt,
    mut page: Page<Fact>,
) -> Result<Page<Fact>, ReadStoreError> {
    if page.rows.is_empty() {
        return Ok(page);
    }
    let mut ends = deciding(store, ledger, &page).await?;
    for (cursor, fact) in &mut page.rows {
        let [forgotten, closed] = ends.remove(&cursor.at).unwrap_or_default();
        fact.forgotten = forgotten.filter(|end| known_at.knows(end));
        let place = |end: &FactEnd| (end.known, end.position);
        let last = fact.forgotten.as_ref().map(place);
        let closed = closed.filter(|end| known_at.knows(end));
        fact.closed = closed.filter(|end| last.is_none_or(|last| place(end) < last));
    }
    let closed = page.rows.iter().filter(|(_, fact)| fact.closed.is_some());
    let closed: Vec<i64> = closed.map(|(cursor, _)| cursor.at).collect();
    let mut earliest = earliest(store, ledger, known_at, closed).await?;
    for (cursor, fact) in &mut page.rows {
        fact.closes = earliest.remove(&cursor.at);
    }
    Ok(page)
}

/// What ended each version, and what first said until when it holds. First their places are sought, then they are read: of both at
/// once PostgreSQL makes a join that looks at all ends of the records.
async fn deciding(
    store: &dyn ReadStore,
    ledger: LedgerId,
    page: &Page<Fact>,
) -> Result<HashMap<i64, [Option<FactEnd>; 2]>, ReadStoreError> {
    let columns = format!(
        "memory_fact.position, {}, {}",
        first("position", Which::Ending),
        first("position", Which::Closing)
    );
    let rows = Select::of(&columns, "memory_fact", ledger)
        .and_in(
            "memory_fact.position",
            page.rows.iter().map(|(cursor, _)| cursor.at),
        )
        .rows(store)
        .await?;
    let mut places = HashMap::new();
    for row in rows {
        let fields = &mut Fields::new(row);
        places.insert(fields.int()?, [fields.optional_int()?, fields.optional_int()?]);
    }
    let keys = |fact: &Fact| {
        let (store, record) = (fact.store.as_ref(), Some(&fact.record_id));
        [key(store, record), key(store, None)]
    };
    let ended = page.rows.iter().filter(|(cursor, _)| {
        let found = places.get(&cursor.at);
        found.is_some_and(|found| *found != [None, None])
    });
    let ended: HashSet<[u8; 16]> = ended.flat_map(|(_, fact)| keys(fact)).collect();
    let positions: HashSet<i64> = places.values().flatten().copied().flatten().collect();
    let read = read_at(store, ledger, ended, positions).await?;
    let found = page.rows.iter().map(|(cursor, fact)| {
        let places = places.get(&cursor.at).copied().unwrap_or_default();
        let end = |place: Option<i64>| {
            let place = place?;
            keys(fact)
                .iter()
                .find_map(|key| read.get(&(*key, place)).cloned())
        };
        (cursor.at, places.map(end))
    });
    Ok(found.collect())
}

/// The ends of these records and stores at these places, and maybe others of the same.
async fn read_at(
    store: &dyn ReadStore,
    ledger: LedgerId,
    records: HashSet<[u8; 16]>,
    positions: HashSet<i64>,
) -> Result<HashMap<([u8; 16], i64), FactEnd>, ReadStoreError> {
    if positions.is_empty() {
        return Ok(HashMap::new());
    }
    let columns =
        "record, position, kind, valid_to, reason, detail, by_record, extractor, turn, known, known_at";
    let rows = Select::of(columns, "memory_end", ledger)
        .and_in("record", records)
        .and_in("position", positions)
        // What is not known yet decides nothing.
        .text(" AND known IS NOT NULL")
        .rows(store)
        .await?;
    let mut ends = HashMap::new();
    for row in rows {
        let fields = &mut Fields::new(row);
        let (record, position) = (fields.id::<Uuid>()?.into_bytes(), fields.int()?);
        let end = FactEnd {
            kind: fields.word()?,
            closes: fields.optional_time()?,
            reason: fields.optional_word()?,
            detail: fields.optional_text()?,
            by_record: fields.optional_text()?,
            extractor: fields.optional_text()?,
            position: unpack(position),
            turn: fields.optional_id()?,
            known: fields.position()?,
            known_at: fields.time()?,
        };
        ends.insert((record, position), end);
    }
    Ok(ends)
}

/// The earliest time until which each of these versions holds, as far as that is known by then.
async fn earliest(
    store: &dyn ReadStore,
    ledger: LedgerId,
    known_at: KnownAt,
    facts: Vec<i64>,
) -> Result<HashMap<i64, Micros>, ReadStoreError> {
    if facts.is_empty() {
        return Ok(HashMap::new());
    }
    let (column, bound) = bound_of(known_at);
    let columns = format!(
        "memory_fact.position, (SELECT MIN(c.valid_to) FROM memory_end c WHERE {} AND c.{column} <= {bound})",
        closes("c")
    );
    let rows = Select::of(&columns, "memory_fact", ledger)
        .and_in("memory_fact.position", facts)
        .rows(store)
        .await?;
    let mut times = HashMap::new();
    for row in rows {
        let fields = &mut Fields::new(row);
        let position = fields.int()?;
        if let Some(time) = fields.optional_time()? {
            times.insert(position, time);
        }
    }
    Ok(times)
}
