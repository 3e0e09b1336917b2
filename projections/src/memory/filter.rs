//! Lists of versions by what they are, whatever became of them.

use ruche_domain::ids::{LedgerId, SessionId, TurnId};

use super::ends::{Which, first, with_ends};
use super::query::{COLUMNS, by_position_page, found_by, read};
use super::state::{Fact, FactStatus, KnownAt};
use super::{key, record_key, words};
use crate::bounds;
use crate::change::SqlValue;
use crate::select::{Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Which facts; all conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactFilter {
    /// About this.
    pub about: Option<String>,
    /// This attribute.
    pub attribute: Option<String>,
    /// Of this store.
    pub store: Option<String>,
    /// Of the record with this id of the client.
    pub record_id: Option<String>,
    /// Resting on this: id of an event, or name of a source outside.
    pub source: Option<String>,
    /// Drawn by this extractor.
    pub extractor: Option<String>,
    /// Written by this turn.
    pub turn: Option<TurnId>,
    /// Written in this session.
    pub session: Option<SessionId>,
    /// Standing so.
    pub status: Option<FactStatus>,
    /// With all of these words.
    pub text: Option<String>,
}

impl FactFilter {
    /// Whether there is an index for it: without one all versions of the ledger are looked at, each with what ended it.
    pub fn has_index(&self) -> bool {
        let unknown = [Some(FactStatus::Candidate), Some(FactStatus::Dropped)];
        *self == Self::default()
            || unknown.contains(&self.status)
            || self.narrowest().is_some()
            || self.source.is_some()
            || self.text.is_some()
    }

    /// The column with an index that is likely to leave the fewest, and what stands in it.
    fn narrowest(&self) -> Option<(&'static str, SqlValue)> {
        let record = self.record_id.as_ref();
        let of_store = record.filter(|_| self.store.is_some());
        let of_store = of_store.map(|id| ("record", record_key(self.store.as_ref(), id).into()));
        let turn = || self.turn.map(|turn| ("turn", (*turn.as_bytes()).into()));
        let about = || bounds::key(self.about.as_ref()).map(|about| ("about", about.into()));
        let named = || record.map(|id| ("named", key(None, Some(id)).into()));
        let session = || {
            self.session
                .map(|session| ("session", (*session.as_bytes()).into()))
        };
        let extractor = || self.extractor.clone().map(|digest| ("extractor", digest.into()));
        let attribute = || bounds::key(self.attribute.as_ref()).map(|name| ("attribute", name.into()));
        let store = || {
            self.store
                .as_ref()
                .map(|store| ("holder", key(Some(store), None).into()))
        };
        let of_few = of_store.or_else(turn).or_else(about).or_else(named);
        of_few
            .or_else(session)
            .or_else(extractor)
            .or_else(attribute)
            .or_else(store)
    }
}

/// Versions of facts in the order in which they were written, whatever became of them.
///
/// # Errors
/// Those of the store.
pub async fn facts(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &FactFilter,
    page: &PageRequest,
) -> Result<Page<Fact>, ReadStoreError> {
    let mut select = Select::of(COLUMNS, "memory_fact", ledger);
    let narrowest = filter.narrowest();
    // What is found by words or by a source is looked up there if something else is looked for.
    let is_narrow = narrowest.is_some();
    if let Some((column, value)) = narrowest {
        select = found_by(select, ledger, column, value);
    }
    select = select
        .and_if("about = ", bounds::key(filter.about.as_ref()))
        .and_if("turn = ", filter.turn.map(|id| *id.as_bytes()))
        .and_if("session = ", filter.session.map(|id| *id.as_bytes()))
        .and_if("extractor = ", filter.extractor.clone())
        .and_if("attribute = ", bounds::key(filter.attribute.as_ref()))
        .and_if("store = ", filter.store.clone())
        .and_if("record_id = ", filter.record_id.clone());
    if let Some(source) = &filter.source {
        select = with_source(select, ledger, source, is_narrow);
    }
    if let Some(text) = &filter.text {
        select = with_words(select, ledger, text, is_narrow);
    }
    if let Some(status) = filter.status {
        select = standing(select, ledger, status);
    }
    let is_listed = filter.has_index() && *filter != FactFilter::default();
    let rows = by_position_page(select, page, is_listed).rows(store).await?;
    with_ends(store, ledger, KnownAt::Now, Page::read(page, rows, read)?).await
}

/// Demands that a version rests on this.
fn with_source(select: Select, ledger: LedgerId, source: &str, is_narrow: bool) -> Select {
    let source = bounds::name(source).into_owned();
    if is_narrow {
        return select
            .text(" AND EXISTS (SELECT 1 FROM memory_source s WHERE s.ledger = memory_fact.ledger")
            .and("s.source = ", source)
            .text(" AND s.position = memory_fact.position)");
    }
    select
        .and(
            "memory_fact.position IN (SELECT s.position FROM memory_source s WHERE s.ledger = ",
            *ledger.as_bytes(),
        )
        .and("s.source = ", source)
        .text(")")
}

/// Demands all words of a text. The longest is likely to be the rarest: it is looked for, unless something narrower is, and the
/// others are looked up.
fn with_words(mut select: Select, ledger: LedgerId, text: &str, is_narrow: bool) -> Select {
    let mut words = words::of_text(text, words::WORDS_PER_QUERY_MAX);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut words = words.into_iter();
    let Some(longest) = words.next() else {
        // A text without a word is in no fact, and is not the same as none.
        return select.text(" AND 1 = 0");
    };
    let mut left: Vec<String> = words.collect();
    if is_narrow {
        left.push(longest);
    } else {
        select = select
            .and(
                "memory_fact.position IN (SELECT w.position FROM memory_word w WHERE w.ledger = ",
                *ledger.as_bytes(),
            )
            .and("w.word = ", longest)
            .text(")");
    }
    for word in left {
        select = select
            .text(" AND EXISTS (SELECT 1 FROM memory_word w WHERE w.ledger = memory_fact.ledger")
            .and("w.word = ", word)
            .text(" AND w.position = memory_fact.position)");
    }
    select
}

/// Demands that a version stands so.
fn standing(select: Select, ledger: LedgerId, status: FactStatus) -> Select {
    // What is not known has a small index of its own.
    let unknown = |select: Select, condition: &str| {
        select
            .text(&format!(
                " AND memory_fact.known IS NULL AND memory_fact.dropped {condition}"
            ))
            .and(
                "memory_fact.position IN (SELECT i.position FROM memory_fact i WHERE i.ledger = ",
                *ledger.as_bytes(),
            )
            .text(&format!(" AND i.known IS NULL AND i.dropped {condition})"))
    };
    let ended = |kinds: &str| {
        format!(
            " AND COALESCE({}, {}) IN ({kinds})",
            first("kind", Which::Ending),
            first("kind", Which::Closing)
        )
    };
    match status {
        FactStatus::Candidate => unknown(select, "IS NULL"),
        FactStatus::Dropped => unknown(select, "IS NOT NULL"),
        FactStatus::Current => select.text(&format!(
            " AND known IS NOT NULL AND {} IS NULL",
            first("known", Which::Any)
        )),
        FactStatus::Replaced => select.text(&ended("'replaced', 're_extracted', 'compacted'")),
        FactStatus::Deleted => select.text(&ended("'deleted', 'store_deleted'")),
        FactStatus::Invalidated => select.text(&ended("'invalidated'")),
    }
}
