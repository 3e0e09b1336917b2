//! A version of a fact as it is read, and where it stands.

use std::str::FromStr;

use ruche_domain::events::InvalidationReason;
use ruche_domain::ids::{EventId, SessionId, TurnId};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::{Micros, Position};

/// What a question may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownAt {
    /// All that is known by now.
    #[default]
    Now,
    /// What was known when the ledger had this record.
    Position(Position),
    /// What was known when the ledger had all that it took until then.
    Time(Micros),
}

impl KnownAt {
    /// Whether what became known there was known by then.
    pub(super) fn knows(self, end: &FactEnd) -> bool {
        match self {
            Self::Now => true,
            Self::Position(position) => end.known <= position,
            Self::Time(time) => end.known_at <= time,
        }
    }
}

/// What ended a version of a fact, or the time in which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactEndKind {
    /// It was written anew.
    Replaced,
    /// It was taken back.
    Invalidated,
    /// Its record was deleted.
    Deleted,
    /// Another extractor read its sources again.
    ReExtracted,
    /// A summary stands for it.
    Compacted,
    /// Its store was deleted.
    StoreDeleted,
}

impl FactEndKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Replaced,
        Self::Invalidated,
        Self::Deleted,
        Self::ReExtracted,
        Self::Compacted,
        Self::StoreDeleted,
    ];

    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Invalidated => "invalidated",
            Self::Deleted => "deleted",
            Self::ReExtracted => "re_extracted",
            Self::Compacted => "compacted",
            Self::StoreDeleted => "store_deleted",
        }
    }
}

impl FromStr for FactEndKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// Where a version of a fact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactStatus {
    /// The turn that wrote it is not over: it is not known yet.
    Candidate,
    /// The turn that wrote it was not committed: it never became known.
    Dropped,
    /// It is known, and nobody took it back.
    Current,
    /// It was taken back.
    Invalidated,
    /// Another version, another extractor or a summary took its place.
    Replaced,
    /// It was deleted, or its store was.
    Deleted,
}

impl From<FactEndKind> for FactStatus {
    fn from(kind: FactEndKind) -> Self {
        match kind {
            FactEndKind::Invalidated => Self::Invalidated,
            FactEndKind::Replaced | FactEndKind::ReExtracted | FactEndKind::Compacted => Self::Replaced,
            FactEndKind::Deleted | FactEndKind::StoreDeleted => Self::Deleted,
        }
    }
}

/// What was said of a version after it became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactEnd {
    /// What it is.
    pub kind: FactEndKind,
    /// Until when the fact holds, where that is all that it says; otherwise the version is not known from here on.
    pub closes: Option<Micros>,
    /// Why it was taken back.
    pub reason: Option<InvalidationReason>,
    /// The reason in words.
    pub detail: Option<String>,
    /// The record that contradicts it, or stands for it.
    pub by_record: Option<String>,
    /// Digest of the program that decided it, or drew the sources anew.
    pub extractor: Option<String>,
    /// The record of the ledger that says so.
    pub position: Position,
    /// The turn that said it.
    pub turn: Option<TurnId>,
    /// Where it became known.
    pub known: Position,
    /// When that was.
    pub known_at: Micros,
}

/// A version of a fact, as it was known at the moment that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The record of the ledger that wrote it, which names the version.
    pub position: Position,
    /// Its event.
    pub event_id: EventId,
    /// Type of the event.
    pub event_type: String,
    /// Session that it was written in.
    pub session: Option<SessionId>,
    /// Turn that wrote it.
    pub turn: Option<TurnId>,
    /// The client's own id of the store.
    pub store: Option<String>,
    /// The client's own id of the record.
    pub record_id: String,
    /// The client's own id of whom or what it is about.
    pub about: Option<String>,
    /// Name of the attribute or relation.
    pub attribute: Option<String>,
    /// What it says.
    pub content: serde_json::Value,
    /// How sure the writer was.
    pub confidence: Option<Finite>,
    /// From when it holds; open if absent.
    pub valid_from: Option<Micros>,
    /// Until when it holds, as its writer said; open if absent.
    pub told_valid_to: Option<Micros>,
    /// Digest of the program, prompt and model that drew it from its sources.
    pub extractor: Option<String>,
    /// The events that it rests on.
    pub sources: Vec<EventId>,
    /// Sources outside the ledger that it rests on.
    pub refs: Vec<String>,
    /// Where it became known.
    pub known: Option<Position>,
    /// When that was.
    pub known_at: Option<Micros>,
    /// Whether its turn ended without a commit.
    pub dropped: bool,
    /// When it was written, by the clock of who wrote it.
    pub occurred_at: Micros,
    /// When the ledger took it.
    pub recorded_at: Micros,
    /// The earliest time until which it holds by what was said later.
    pub closes: Option<Micros>,
    /// What first said until when it holds.
    pub closed: Option<FactEnd>,
    /// What it is not known from any more.
    pub forgotten: Option<FactEnd>,
}

impl Fact {
    /// Where it stands.
    pub fn status(&self) -> FactStatus {
        match (self.known, self.dropped, self.ended_by()) {
            (None, true, _) => FactStatus::Dropped,
            (None, false, _) => FactStatus::Candidate,
            (Some(_), _, None) => FactStatus::Current,
            (Some(_), _, Some(end)) => end.kind.into(),
        }
    }

    /// What ended it: what it is not known from any more, or else what first said until when it holds.
    pub fn ended_by(&self) -> Option<&FactEnd> {
        self.forgotten_by().or(self.closed.as_ref())
    }

    /// From where it is not known any more.
    pub fn forgotten_by(&self) -> Option<&FactEnd> {
        self.forgotten.as_ref()
    }

    /// Until when it holds: the earliest time that was said.
    pub fn valid_to(&self) -> Option<Micros> {
        self.closes.into_iter().chain(self.told_valid_to).min()
    }
}
