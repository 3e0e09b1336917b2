//! Read model: what agents remember, bi-temporal. When a fact holds is what its writer says of it; when it was known is
//! where in the ledger it became known.
//!
//! # The rules
//!
//! 1. A version of a fact becomes known where its record stands, or, if it belongs to a turn, where that turn is
//!    committed. What belongs to a turn that ends otherwise never becomes known, and ends nothing. Nor does what an attempt
//!    wrote that failed, behind the last step that it completed.
//! 2. Versions are never overwritten. What ends one is a row of its own, with the place where that became known, so what
//!    was known at any position can be asked for ever.
//! 3. Of two things that were said of a record, the one that became known later goes before, whatever order they stand in.
//! 4. A record is known by its id and its store. Events that name no store speak of records that are in none.

pub mod words;
mod ends;
mod filter;
mod nearest;
mod query;
mod state;
mod uses;
mod vectors;

use std::collections::HashSet;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    InvalidationReason, MemoryCompacted, MemoryInvalidated, MemoryReextracted, MemoryRetrieved,
    MemorySearched, MemoryUpdated, MemoryUpserted, MemoryWritten,
};
use ruche_domain::ids::{EventId, TurnId};
use ruche_domain::limits::MEMORY_LIST_ITEMS_MAX;
use ruche_domain::measures::{Digest, Ratio};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;
use ruche_ledger::hash::Hash;
use serde_json::Value;

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};

pub use filter::{FactFilter, facts};
pub use nearest::{Nearest, NearestAsked, NearestError, NearestLimits, nearest};
pub use query::{Asked, by_positions, history, known, positions_of};
pub use state::{Fact, FactEnd, FactEndKind, FactStatus, KnownAt};
pub use uses::{FactUse, InvalidationCount, UseFilter, invalidated, used_by, uses};

/// Tables of this read model.
pub const TABLES: &[&str] = &[
    "memory_turn",
    "memory_fact",
    "memory_end",
    "memory_use",
    "memory_word",
    "memory_source",
    "memory_event",
    "memory_vector",
];

/// The first end of a turn counts.
const TURN_OVER: &str = "INSERT INTO memory_turn (ledger, turn, outcome, position, recorded_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ledger, turn) DO NOTHING";
/// Rows are found in an index that has all that is asked, and then by their key: SQLite would sooner go through the whole ledger
/// by the key than through an index that leads on to the row. It is a join, not `IN (SELECT ...)`: over the rows of a batch
/// PostgreSQL (16 and before) would ask such a list anew for each pair of a turn and a row of the ledger.
const FACTS_KNOWN: &str = "UPDATE memory_fact SET known = $1, known_at = $2 FROM memory_fact w \
    WHERE w.ledger = $3 AND w.turn = $4 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_fact.ledger = w.ledger AND memory_fact.position = w.position";
const ENDS_KNOWN: &str = "UPDATE memory_end SET known = $1, known_at = $2 FROM memory_end w \
    WHERE w.ledger = $3 AND w.turn = $4 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_end.ledger = w.ledger AND memory_end.record = w.record AND memory_end.position = w.position AND memory_end.item = w.item";
const FACTS_DROPPED: &str = "UPDATE memory_fact SET dropped = $1 FROM memory_fact w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_fact.ledger = w.ledger AND memory_fact.position = w.position";
const ENDS_DROPPED: &str = "UPDATE memory_end SET dropped = $1 FROM memory_end w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_end.ledger = w.ledger AND memory_end.record = w.record AND memory_end.position = w.position AND memory_end.item = w.item";
/// A step is done for all attempts, and so is what was written before it was.
const FACTS_KEPT: &str = "UPDATE memory_fact SET kept = 1 FROM memory_fact w \
    WHERE w.ledger = $1 AND w.turn = $2 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_fact.ledger = w.ledger AND memory_fact.position = w.position AND memory_fact.kept IS NULL";
const ENDS_KEPT: &str = "UPDATE memory_end SET kept = 1 FROM memory_end w \
    WHERE w.ledger = $1 AND w.turn = $2 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_end.ledger = w.ledger AND memory_end.record = w.record \
    AND memory_end.position = w.position AND memory_end.item = w.item AND memory_end.kept IS NULL";
const FACTS_OF_ATTEMPT_DROPPED: &str = "UPDATE memory_fact SET dropped = $1 FROM memory_fact w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_fact.ledger = w.ledger AND memory_fact.position = w.position AND memory_fact.kept IS NULL";
const ENDS_OF_ATTEMPT_DROPPED: &str = "UPDATE memory_end SET dropped = $1 FROM memory_end w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL \
    AND memory_end.ledger = w.ledger AND memory_end.record = w.record \
    AND memory_end.position = w.position AND memory_end.item = w.item AND memory_end.kept IS NULL";

/// What the end of a turn or of an attempt does to what was written in it, for tests of how engines find that.
#[cfg(any(test, feature = "testing"))]
pub const OF_A_TURN: &[&str] = &[
    FACTS_KNOWN,
    ENDS_KNOWN,
    FACTS_DROPPED,
    ENDS_DROPPED,
    FACTS_KEPT,
    ENDS_KEPT,
    FACTS_OF_ATTEMPT_DROPPED,
    ENDS_OF_ATTEMPT_DROPPED,
    vectors::KNOWN,
    vectors::DROPPED,
    vectors::KEPT,
    vectors::OF_ATTEMPT_DROPPED,
];

/// What is said of a turn that is over already is known where it stands, or never.
const FACT: &str = "INSERT INTO memory_fact (ledger, turn, position, recorded_at, known, known_at, dropped, record, \
    holder, event_id, event_type, session, store, record_id, about, attribute, content, confidence, valid_from, valid_to, \
    extractor, sources, refs, occurred_at, named) VALUES ($1, $2, $3, $4, \
    COALESCE($5, (SELECT CAST($3 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    COALESCE($6, (SELECT CAST($4 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    (SELECT t.outcome FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome <> 'committed'), \
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";
const END: &str = "INSERT INTO memory_end (ledger, turn, position, recorded_at, known, known_at, dropped, item, record, \
    kind, ends, valid_to, reason, detail, by_record, extractor, previous_extractor) VALUES ($1, $2, $3, $4, \
    COALESCE($5, (SELECT CAST($3 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    COALESCE($6, (SELECT CAST($4 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    (SELECT t.outcome FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome <> 'committed'), \
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const USE: &str = "INSERT INTO memory_use (ledger, record, position, item, kind, session, turn, store, record_id, version, \
    score, recorded_at, valid_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const WORD: &str = "INSERT INTO memory_word (ledger, word, position) VALUES ($1, $2, $3)";
const SOURCE: &str = "INSERT INTO memory_source (ledger, source, position) VALUES ($1, $2, $3)";
const EVENT: &str = "INSERT INTO memory_event (ledger, event_id, position) VALUES ($1, $2, $3)";

/// The projection.
pub struct Memory;

impl Projection for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn version(&self) -> u32 {
        3
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = match event.family() {
            "turn" | "infra" => return of_turn(event),
            "memory" => said(event)?,
            _ => Vec::new(),
        };
        if event.header().session.is_none() && is_of_a_client(event.header().stream.category) {
            let id = SqlValue::Id(*event.header().event_id.as_bytes());
            let params = vec![event.ledger_key().into(), id, event.place()?.into()];
            changes.push(Change::alone(EVENT, params));
        }
        Ok(changes)
    }
}

/// Whether clients write to such streams under names of their own.
fn is_of_a_client(category: Category) -> bool {
    matches!(
        category,
        Category::Memory | Category::Goal | Category::Plan | Category::Artifact | Category::State
    )
}

/// What becomes of what a turn wrote. All of it stands in the names of events, so that it holds though payloads are erased.
fn of_turn(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let Some(turn) = event.header().turn else {
        return Ok(vec![]);
    };
    let id = *turn.as_bytes();
    let of_turn: [SqlValue; 2] = [event.ledger_key().into(), id.into()];
    let outcome = match event.event_type() {
        "turn.committed" => "committed",
        "turn.failed" => "failed",
        "turn.superseded" => "superseded",
        "turn.cancelled" => "cancelled",
        "turn.attempt_failed" | "infra.lease_expired" => {
            let params = [&[SqlValue::Word("attempt_failed")][..], &of_turn].concat();
            let drop = [
                FACTS_OF_ATTEMPT_DROPPED,
                ENDS_OF_ATTEMPT_DROPPED,
                vectors::OF_ATTEMPT_DROPPED,
            ];
            return Ok(drop.map(|sql| Change::about(&id, sql, params.clone())).into());
        }
        "turn.step_completed" => {
            let keep = [FACTS_KEPT, ENDS_KEPT, vectors::KEPT];
            return Ok(keep.map(|sql| Change::about(&id, sql, of_turn.to_vec())).into());
        }
        _ => return Ok(vec![]),
    };
    turn_over(event, outcome, id, &of_turn)
}

/// What belongs to a turn becomes known with its commit, or never.
fn turn_over(
    event: &ProjectedEvent,
    outcome: &'static str,
    id: [u8; 16],
    of_turn: &[SqlValue; 2],
) -> Result<Vec<Change>, PoisonReason> {
    let moment: [SqlValue; 2] = [event.place()?.into(), event.recorded_at()?.into()];
    let over = [&of_turn[..], &[outcome.into()], &moment].concat();
    let (statements, what) = match outcome {
        "committed" => ([FACTS_KNOWN, ENDS_KNOWN, vectors::KNOWN], moment.to_vec()),
        _ => (
            [FACTS_DROPPED, ENDS_DROPPED, vectors::DROPPED],
            vec![outcome.into()],
        ),
    };
    let mut changes = vec![Change::about(&id, TURN_OVER, over)];
    for sql in statements {
        changes.push(Change::about(&id, sql, [&what[..], of_turn].concat()));
    }
    Ok(changes)
}

/// What an event of memory says. Of one whose payload was erased nothing is known but that it was there.
fn said(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let at = Moment::of(event)?;
    Ok(match event.agent()? {
        Some(AgentEvent::MemoryWritten(told)) => version(&at, &Told::from(told), None),
        Some(AgentEvent::MemoryUpdated(told)) => version(&at, &Told::from(told), told.valid_from),
        Some(AgentEvent::MemoryUpserted(told)) => version(&at, &Told::from(told), told.valid_from),
        Some(AgentEvent::MemoryInvalidated(told)) => invalidation(&at, told)?,
        Some(AgentEvent::MemoryDeleted(told)) => {
            let mut end = End::new(
                FactEndKind::Deleted,
                key(told.store.as_ref(), Some(&told.record_id)),
            );
            end.detail = told.reason.as_ref();
            vec![end.change(&at, 0)]
        }
        Some(AgentEvent::MemoryStoreDeleted(told)) => {
            let mut end = End::new(FactEndKind::StoreDeleted, key(Some(&told.store), None));
            end.detail = told.reason.as_ref();
            vec![end.change(&at, 0)]
        }
        Some(AgentEvent::MemoryReextracted(told)) => reextraction(&at, told),
        Some(AgentEvent::MemoryCompacted(told)) => compaction(&at, told),
        Some(AgentEvent::MemoryEmbedded(told)) => vec![vectors::embedded(&at, told)],
        Some(AgentEvent::MemorySearched(told)) => searched(&at, told),
        Some(AgentEvent::MemoryRetrieved(told)) => retrieved(&at, told),
        _ => vec![],
    })
}

/// Stands for a record of a store, or for a store. Both names may be of any length.
fn key(store: Option<&String>, record: Option<&String>) -> [u8; 16] {
    let mut bytes = Vec::new();
    for name in [store, record] {
        match name {
            None => bytes.push(0),
            Some(name) => {
                bytes.push(1);
                bytes.extend((name.len() as u64).to_be_bytes());
                bytes.extend(name.as_bytes());
            }
        }
    }
    let mut key = [0; 16];
    key.copy_from_slice(&Hash::sha256(&bytes).0[..16]);
    key
}

/// The key of a record of a store.
pub fn record_key(store: Option<&String>, record: &String) -> [u8; 16] {
    key(store, Some(record))
}

/// Where and when something is said, and of which turn.
struct Moment<'a> {
    event: &'a ProjectedEvent,
    position: i64,
    recorded_at: i64,
    turn: Option<TurnId>,
}

impl<'a> Moment<'a> {
    fn of(event: &'a ProjectedEvent) -> Result<Self, PoisonReason> {
        Ok(Self {
            event,
            position: event.place()?,
            recorded_at: event.recorded_at()?,
            turn: event.header().turn,
        })
    }

    /// The parameters with which versions and ends begin.
    fn params(&self) -> Vec<SqlValue> {
        let known = |at: i64| self.turn.is_none().then_some(at);
        vec![
            self.event.ledger_key().into(),
            self.turn.map(|turn| *turn.as_bytes()).into(),
            self.position.into(),
            self.recorded_at.into(),
            known(self.position).into(),
            known(self.recorded_at).into(),
        ]
    }

    /// A statement about the turn, if there is one: its end comes before or behind.
    fn change(&self, sql: &'static str, params: Vec<SqlValue>) -> Change {
        match self.turn {
            Some(turn) => Change::about(turn.as_bytes(), sql, params),
            None => Change::alone(sql, params),
        }
    }
}

/// What the events that write a fact have in common.
struct Told<'a> {
    record_id: &'a String,
    store: Option<&'a String>,
    about: Option<&'a String>,
    attribute: Option<&'a String>,
    content: std::borrow::Cow<'a, Value>,
    confidence: Option<Ratio>,
    valid_from: Option<Micros>,
    valid_to: Option<Micros>,
    extractor: Option<Digest>,
    sources: &'a [EventId],
    refs: &'a [String],
}

macro_rules! told {
    ($($name:ident),*) => {$(
        impl<'a> From<&'a $name> for Told<'a> {
            fn from(told: &'a $name) -> Self {
                Self {
                    record_id: &told.record_id,
                    store: told.store.as_ref(),
                    about: told.about.as_ref(),
                    attribute: told.attribute.as_ref(),
                    content: std::borrow::Cow::Borrowed(&told.content),
                    confidence: told.confidence,
                    valid_from: told.valid_from,
                    valid_to: told.valid_to,
                    extractor: told.extractor_digest,
                    sources: &told.source_event_ids,
                    refs: &told.source_refs,
                }
            }
        }
    )*};
}

told!(MemoryWritten, MemoryUpdated, MemoryUpserted);

/// The different items of a list, in their order; of one that is longer than clients may send it so many.
fn distinct<T: Eq + std::hash::Hash>(list: &[T]) -> Vec<&T> {
    let mut seen = HashSet::new();
    let different = list.iter().filter(|item| seen.insert(*item));
    different.take(MEMORY_LIST_ITEMS_MAX).collect()
}

/// A version of a fact. It ends those of its record that became known before it. Where it is a change from some time on, they
/// hold until then.
fn version(at: &Moment<'_>, told: &Told<'_>, changed_from: Option<Micros>) -> Vec<Change> {
    let record = key(told.store, Some(told.record_id));
    let header = at.event.header();
    let (events, names) = (distinct(told.sources), distinct(told.refs));
    let mut params = at.params();
    params.extend([
        record.into(),
        key(told.store, None).into(),
        SqlValue::Id(*header.event_id.as_bytes()),
        at.event.event_type().to_owned().into(),
        header.session.map(|id| *id.as_bytes()).into(),
        told.store.into(),
        told.record_id.into(),
        bounds::key(told.about).into(),
        bounds::key(told.attribute).into(),
        crate::json(told.content.as_ref()).into(),
        // The shortest decimal text that reads back as the same number: read models have no floats.
        told.confidence.map(|ratio| ratio.get().to_string()).into(),
        bounds::time(told.valid_from).into(),
        bounds::time(told.valid_to).into(),
        told.extractor.map(|digest| digest.to_string()).into(),
        (!events.is_empty()).then(|| crate::json(&events)).into(),
        (!names.is_empty()).then(|| crate::json(&names)).into(),
        at.event.occurred_at().unwrap_or(at.recorded_at).into(),
        key(None, Some(told.record_id)).into(),
    ]);
    let mut changes = vec![at.change(FACT, params)];
    let mut end = End::new(FactEndKind::Replaced, record);
    end.closes = bounds::time(changed_from);
    changes.push(end.change(at, 0));
    let ledger: SqlValue = at.event.ledger_key().into();
    for word in words::of_fact(&told.content, told.attribute) {
        changes.push(Change::alone(
            WORD,
            vec![ledger.clone(), word.into(), at.position.into()],
        ));
    }
    let mut sources: Vec<String> = events.iter().map(ToString::to_string).collect();
    sources.extend(names.iter().map(|name| bounds::name(name).into_owned()));
    sources.sort();
    sources.dedup();
    for source in sources {
        changes.push(Change::alone(
            SOURCE,
            vec![ledger.clone(), source.into(), at.position.into()],
        ));
    }
    changes
}

/// Something that ends versions of a record.
struct End<'a> {
    kind: FactEndKind,
    record: [u8; 16],
    /// Until when the fact holds, if that is all that it says.
    closes: Option<i64>,
    reason: Option<InvalidationReason>,
    detail: Option<&'a String>,
    by_record: Option<&'a String>,
    extractor: Option<Digest>,
    previous_extractor: Option<Digest>,
}

impl End<'_> {
    fn new(kind: FactEndKind, record: [u8; 16]) -> Self {
        Self {
            kind,
            record,
            closes: None,
            reason: None,
            detail: None,
            by_record: None,
            extractor: None,
            previous_extractor: None,
        }
    }

    fn change(&self, at: &Moment<'_>, item: i64) -> Change {
        let mut params = at.params();
        params.extend([
            item.into(),
            self.record.into(),
            self.kind.name().into(),
            self.closes.is_none().into(),
            self.closes.into(),
            self.reason.map(InvalidationReason::name).into(),
            self.detail.into(),
            self.by_record.into(),
            self.extractor.map(|digest| digest.to_string()).into(),
            self.previous_extractor.map(|digest| digest.to_string()).into(),
        ]);
        at.change(END, params)
    }
}

/// Whether a fact that is taken back for this reason held until then. If not, it never held, and is not known any more.
const fn held_until_then(reason: InvalidationReason) -> bool {
    match reason {
        InvalidationReason::Contradicted
        | InvalidationReason::Expired
        | InvalidationReason::Corrected
        | InvalidationReason::Other => true,
        InvalidationReason::SourceRetired | InvalidationReason::ExtractionError => false,
    }
}

fn invalidation(at: &Moment<'_>, told: &MemoryInvalidated) -> Result<Vec<Change>, PoisonReason> {
    let mut end = End::new(
        FactEndKind::Invalidated,
        key(told.store.as_ref(), Some(&told.record_id)),
    );
    if held_until_then(told.reason) {
        // A client whose clock is ahead takes nothing back in the future.
        let said = at.event.occurred_at()?.min(at.recorded_at);
        end.closes = Some(bounds::time(told.valid_to).unwrap_or(said));
    }
    end.reason = Some(told.reason);
    end.detail = told.detail.as_ref();
    end.by_record = told.by_record_id.as_ref();
    end.extractor = told.extractor_digest;
    Ok(vec![end.change(at, 0)])
}

/// Ends what other extractors drew of the records that it names; what the new one has written stays.
fn reextraction(at: &Moment<'_>, told: &MemoryReextracted) -> Vec<Change> {
    let named = (0..).zip(distinct(&told.record_ids));
    let end = named.map(|(item, record)| {
        let mut end = End::new(FactEndKind::ReExtracted, key(told.store.as_ref(), Some(record)));
        end.extractor = Some(told.extractor_digest);
        end.previous_extractor = told.previous_extractor_digest;
        end.change(at, item)
    });
    end.collect()
}

/// A summary is a fact where it has a record; the records that it stands for end.
fn compaction(at: &Moment<'_>, told: &MemoryCompacted) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(record_id) = &told.record_id {
        let summary = Told {
            record_id,
            store: told.store.as_ref(),
            about: None,
            attribute: None,
            content: std::borrow::Cow::Owned(Value::String(told.summary.clone())),
            confidence: None,
            valid_from: None,
            valid_to: None,
            extractor: told.extractor_digest,
            sources: &[],
            refs: &[],
        };
        changes.extend(version(at, &summary, None));
    }
    let replaced = distinct(&told.replaced_record_ids).into_iter();
    let replaced = replaced.filter(|record| Some(*record) != told.record_id.as_ref());
    for (item, record) in (1..).zip(replaced) {
        let mut end = End::new(FactEndKind::Compacted, key(told.store.as_ref(), Some(record)));
        end.by_record = told.record_id.as_ref();
        end.extractor = told.extractor_digest;
        changes.push(end.change(at, item));
    }
    changes
}

/// One record or document that was found.
struct Found<'a> {
    store: &'a String,
    record_id: &'a String,
    version: Option<String>,
    score: Option<String>,
}

fn searched(at: &Moment<'_>, told: &MemorySearched) -> Vec<Change> {
    let found = told.results.iter().map(|hit| Found {
        store: &told.store,
        record_id: &hit.record_id,
        version: hit.version.map(|version| version.to_string()),
        score: hit.score.map(|score| score.get().to_string()),
    });
    used(at, "searched", bounds::time(told.valid_at), found)
}

/// A source of documents is a store, and a document of it a record.
fn retrieved(at: &Moment<'_>, told: &MemoryRetrieved) -> Vec<Change> {
    let found = told.documents.iter().map(|document| Found {
        store: &told.source,
        record_id: &document.document_id,
        version: document.version.clone(),
        score: document.score.map(|score| score.get().to_string()),
    });
    used(at, "retrieved", None, found)
}

/// What was given, so much of it as clients may send at once. It is asked of the time at which it is recorded,
/// unless another one was told.
fn used<'a>(
    at: &Moment<'_>,
    kind: &'static str,
    valid_at: Option<i64>,
    found: impl Iterator<Item = Found<'a>>,
) -> Vec<Change> {
    let change = |(item, found): (i64, Found<'_>)| {
        let params = vec![
            at.event.ledger_key().into(),
            key(Some(found.store), Some(found.record_id)).into(),
            at.position.into(),
            item.into(),
            kind.into(),
            at.event.header().session.map(|id| *id.as_bytes()).into(),
            at.turn.map(|id| *id.as_bytes()).into(),
            found.store.into(),
            found.record_id.into(),
            found.version.into(),
            found.score.into(),
            at.recorded_at.into(),
            valid_at.unwrap_or(at.recorded_at).into(),
        ];
        Change::alone(USE, params)
    };
    (0..).zip(found.take(MEMORY_LIST_ITEMS_MAX)).map(change).collect()
}
