//! Read model: the words of texts, so that texts are found by them.
//!
//! A text is cut into words here and nowhere else, in the same way when it comes in and when it is asked for, so every engine
//! finds the same: an engine keeps the words and finds the texts that have all of those that are wanted
//! ([`ReadStore::search`]). Nothing in what people ask for is an operator. How an engine finds them is its own affair; what it
//! keeps is in one table, which a rebuild compares as any other. A text whose payload was erased has no row.

use std::collections::HashSet;
use std::str::FromStr;

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{EventId, LedgerId, SessionId};
use ruche_domain::numbers::Position;

use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::messages::is_step;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["search_text"];

/// Bytes of a word at most; of a longer one the beginning counts.
pub const WORD_BYTES_MAX: usize = 64;
/// Different words of a text at most; those behind them are not found.
pub const WORDS_PER_TEXT_MAX: usize = 8_000;
/// Different words of a question at most.
pub const WORDS_WANTED_MAX: usize = 16;

// A text's words, each with the 32 digits of its ledger, have to fit what PostgreSQL keeps of one text.
const _: () = assert!(WORDS_PER_TEXT_MAX * (WORD_BYTES_MAX + 32) < 1_048_575);

/// A text is said once: nothing else is ever said of its row.
const SAID: &str =
    "INSERT INTO search_text (ledger, kind, id, session, position, words) VALUES ($1, $2, $3, $4, $5, $6)";

/// The projection.
pub struct Search;

impl Projection for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.header().session.is_none() || event.family() != "message" {
            return Ok(vec![]);
        }
        let Some(text) = event.agent()?.and_then(text_of_message) else {
            return Ok(vec![]);
        };
        let row = TextRow {
            kind: SearchKind::Message,
            id: *event.header().event_id.as_bytes(),
            text,
        };
        Ok(row.said(event)?.into_iter().collect())
    }
}

/// The text of a message of a conversation.
fn text_of_message(event: &AgentEvent) -> Option<&str> {
    match event {
        AgentEvent::MessageReceived(m) => m.text.as_deref(),
        AgentEvent::MessageSent(m) => m.text.as_deref(),
        AgentEvent::MessageDrafted(m) if is_step(m) => m.text.as_deref(),
        _ => None,
    }
}

/// A text that is to be found.
struct TextRow<'a> {
    kind: SearchKind,
    id: [u8; 16],
    text: &'a str,
}

impl TextRow<'_> {
    /// Nothing where the text has no words.
    fn said(&self, event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
        let words = words(self.text, WORDS_PER_TEXT_MAX);
        if words.is_empty() {
            return Ok(None);
        }
        let params = vec![
            event.ledger_key().into(),
            self.kind.name().into(),
            self.id.into(),
            event.header().session.map(|id| *id.as_bytes()).into(),
            event.place()?.into(),
            words.join(" ").into(),
        ];
        Ok(Some(Change::alone(SAID, params)))
    }
}

/// The different words of a text, the first `max` of them: runs of letters and digits in lower case. Where no spaces stand
/// between words (Chinese, Japanese), each sign is one.
pub fn words(text: &str, max: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    let mut take = |word: &mut String| {
        let word = std::mem::take(word);
        if !word.is_empty() && all.len() < max && seen.insert(word.clone()) {
            all.push(word);
        }
    };
    let mut word = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if !character.is_alphanumeric() {
            take(&mut word);
        } else if stands_alone(character) {
            take(&mut word);
            word.push(character);
            take(&mut word);
        } else if word.len() + character.len_utf8() <= WORD_BYTES_MAX {
            word.push(character);
        }
    }
    take(&mut word);
    all
}

/// Whether a letter is of a script that writes no spaces between words: kana and Han.
const fn stands_alone(character: char) -> bool {
    matches!(character, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}

/// What kind of text is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SearchKind {
    /// A message of a conversation.
    Message,
}

impl SearchKind {
    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
        }
    }
}

impl FromStr for SearchKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "message" => Ok(Self::Message),
            _ => Err(()),
        }
    }
}

/// What a store is asked for: the newest texts of a ledger that have all of these words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub ledger: LedgerId,
    /// Words as [`words`] gives them; at least one.
    pub words: Vec<String>,
    /// Of this kind.
    pub kind: Option<SearchKind>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Only what stands in front of this packed position.
    pub before: i64,
    /// Rows at most.
    pub rows_max: i64,
}

impl Wanted {
    /// The words as the engines keep them, each begun with the ledger, put into quotes and linked.
    pub fn expression(&self, quote: char, and: &str) -> String {
        let ledger = self.ledger.as_bytes().iter();
        let ledger: String = ledger.map(|byte| format!("{byte:02x}")).collect();
        let words = self
            .words
            .iter()
            .map(|word| format!("{quote}{ledger}{word}{quote}"));
        words.collect::<Vec<_>>().join(and)
    }

    /// The kind as a value; empty for all.
    pub fn kind_value(&self) -> SqlValue {
        self.kind.map_or("", SearchKind::name).into()
    }

    /// The session as a value; empty for all.
    pub fn session_value(&self) -> SqlValue {
        SqlValue::Bytes(self.session.map_or_else(Vec::new, |id| id.as_bytes().to_vec()))
    }
}

/// A text that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What kind of text.
    pub kind: SearchKind,
    /// The event that says it.
    pub event_id: EventId,
    /// Its session.
    pub session: Option<SessionId>,
    /// Its record.
    pub position: Position,
}

/// Which texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilter {
    /// Of this kind.
    pub kind: Option<SearchKind>,
    /// Of this session.
    pub session: Option<SessionId>,
}

/// Texts that have all words of `text`, the newest first. A text without words finds nothing; of more than
/// [`WORDS_WANTED_MAX`] different words the first count.
///
/// # Errors
/// Those of the store.
pub async fn find(
    store: &dyn ReadStore,
    ledger: LedgerId,
    text: &str,
    filter: &SearchFilter,
    page: &PageRequest,
) -> Result<Page<Hit>, ReadStoreError> {
    let wanted = Wanted {
        ledger,
        words: words(text, WORDS_WANTED_MAX),
        kind: filter.kind,
        session: filter.session,
        before: page.after.as_ref().map_or(i64::MAX, |after| after.at),
        rows_max: page.first as i64 + 1,
    };
    let rows = match wanted.words.is_empty() {
        true => Vec::new(),
        false => store.search(&wanted).await?,
    };
    Page::read(page, rows, |fields: &mut Fields| {
        let (kind, event_id, session) = (fields.word()?, fields.id()?, fields.optional_id()?);
        let at = fields.int()?;
        let hit = Hit {
            kind,
            event_id,
            session,
            position: crate::event::unpack(at),
        };
        Ok((Cursor::of_number(at, at), hit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_words_and_nothing_of_it_is_an_operator() {
        let cut = |text: &str| words(text, 100).join(" ");
        assert_eq!(cut("My ORDER #4711-b, my order!"), "my order 4711 b");
        assert_eq!(
            cut("a AND \"b\" OR c* NOT (d) -e ^f & 'g' | h:*"),
            "a and b or c not d e f g h"
        );
        assert_eq!(
            cut("Straße CAFÉ Ünïcode İstanbul"),
            "straße café ünïcode i stanbul"
        );
        assert_eq!(cut("我要退款 ok カード"), "我 要 退 款 ok カ ー ド");
        assert_eq!(cut(" \t—…!? "), "");
        assert_eq!(words("c b a b c", 2), ["c", "b"]);
        let long = "é".repeat(100);
        assert_eq!(cut(&long), "é".repeat(WORD_BYTES_MAX / 2));
    }
}
