//! Conversations from files.
//!
//! # The life of an imported conversation
//!
//! 1. [`read`] cuts a file into records and reads each strictly into one neutral model ([`chat`]). A record that is
//!    broken is told with its place ([`BadRecord`]); the others go on.
//! 2. [`plan()`] turns a conversation into commands: tools as the [`mapping`] classifies them, then the session with its
//!    turns, end and scores. Idempotency keys are worked out from source, session and step, so that importing a file
//!    again appends nothing, and an import that was interrupted goes on where it stopped.
//! 3. The pipeline carries the commands out like any others, with provenance `imported`.
//! 4. [`export_messages`] gives the source's messages back from the records, byte for byte where bytes count.
//!
//! Provider call ids repeat in real files, for different calls and within one session; here they are text in
//! payloads and identify nothing. A call is (session, turn, number in the turn).

pub mod chat;
pub mod mapping;
pub mod plan;
mod agentdojo;
mod export;
mod letta;
pub mod memory;
mod record;
mod split;
mod tau2;
mod tau_bench;
mod times;

use std::fmt;
use std::str::FromStr;

pub use chat::{ChatMessage, ImportedSession, Message, MessageAnswer, MessageToolCall, SeenCall};
pub use export::{ExportFault, export_messages};
pub use mapping::{MappingFault, ToolMapping};
pub use plan::{
    ImportOptions, ImportedCounts, ImportedTools, SessionPlan, check_session, import_session, import_tools,
    plan,
};
use record::RawRecord;
use ruche_domain::limits::IMPORT_RECORD_BYTES_MAX;
use ruche_domain::strict_json::{self, Profile};
use serde_json::value::RawValue;
use split::{Piece, member, pieces};

/// A file format that conversations are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// tau-bench trajectories: a JSON array of runs.
    TauBench,
    /// AgentDojo runs: JSON lines.
    AgentDojo,
    /// tau2-bench results: one JSON object.
    Tau2,
    /// Letta's set for the update of memory: JSON lines.
    Letta,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::TauBench, Self::AgentDojo, Self::Tau2, Self::Letta];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TauBench => "tau-bench",
            Self::AgentDojo => "agentdojo",
            Self::Tau2 => "tau2",
            Self::Letta => "letta",
        }
    }

    /// What one file of the format holds.
    pub const fn content(self) -> &'static str {
        match self {
            Self::TauBench => "a JSON array of runs",
            Self::AgentDojo => "JSON lines, one run each",
            Self::Tau2 => "a JSON object with `simulations`",
            Self::Letta => "JSON lines with `agent_args`, an update of memory each",
        }
    }

    /// Whether the bytes are such a file at all, whatever is wrong with records in it. Looks no further than it must.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        let begins_with = |bracket: u8| bytes.trim_ascii_start().first() == Some(&bracket);
        match self {
            Self::TauBench => begins_with(b'['),
            // Some line has to be whole: an object over several lines is another format.
            Self::AgentDojo => begins_with(b'{') && rows(bytes).any(is_object) && !Self::Letta.is_of(bytes),
            Self::Tau2 => has_simulations(bytes),
            Self::Letta => begins_with(b'{') && rows(bytes).any(has_agent_arguments),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|format| format.name() == text);
        known.ok_or_else(|| format!("not an import format: {text}"))
    }
}

/// A record that could not be read, or a session that could not be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where: a JSON pointer into the file, or `line <n>` with a pointer into the line.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for BadRecord {}

/// Conversations of a file, one after the other.
pub type Sessions<'a> = Box<dyn Iterator<Item = Result<ImportedSession, BadRecord>> + Send + 'a>;

/// Reads a file. Never stops at a broken record.
pub fn read(format: Format, bytes: &[u8]) -> Sessions<'_> {
    match format {
        Format::TauBench => Box::new(array("", bytes, |record| tau_bench::session(&record))),
        Format::AgentDojo => Box::new(lines(bytes).filter_map(|record| {
            let session = record.and_then(|record| agentdojo::session(&record));
            session.transpose()
        })),
        Format::Tau2 => tau2(bytes, None),
        Format::Letta => Box::new(lines(bytes).map(|record| letta::session(&record?))),
    }
}

/// Reads a file together with the event log of the same batch (tau2 only; see [`is_event_log`]).
pub fn read_with_log<'a>(bytes: &'a [u8], log: &[u8]) -> Sessions<'a> {
    let (log, bad) = tau2::log::EventLog::read(log);
    let sessions = tau2(bytes, Some(log));
    Box::new(bad.into_iter().map(Err).chain(sessions))
}

/// Whether a file is a tau2 event log, which adds to a results file and holds no sessions of its own.
pub fn is_event_log(bytes: &[u8]) -> bool {
    tau2::log::is_log(bytes)
}

fn rows(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn has_agent_arguments(line: &[u8]) -> bool {
    let row = serde_json::from_slice::<std::collections::HashMap<&str, &RawValue>>(line);
    row.is_ok_and(|row| row.contains_key("agent_args"))
}

fn is_object(line: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(line).is_ok_and(|value| value.get().starts_with('{'))
}

fn has_simulations(bytes: &[u8]) -> bool {
    pieces(bytes).any(|piece| match piece {
        Piece::Whole(piece) | Piece::CutOff(piece) => {
            member(piece).is_some_and(|(name, _)| name == b"simulations")
        }
        Piece::NotOpened => false,
    })
}

fn array<'a, T: 'a>(
    place: &'a str,
    bytes: &'a [u8],
    read: impl Fn(RawRecord<'a>) -> Result<T, BadRecord> + Send + 'a,
) -> impl Iterator<Item = Result<T, BadRecord>> + Send + 'a {
    pieces(bytes).enumerate().map(move |(number, piece)| {
        let here = format!("{place}/{number}");
        match piece {
            Piece::Whole(bytes) => RawRecord::new(here, bytes).and_then(&read),
            Piece::CutOff(_) => Err(BadRecord {
                path: here,
                reason: "the file ends inside this record, or its brackets do not match".to_owned(),
            }),
            Piece::NotOpened => Err(BadRecord {
                path: place.to_owned(),
                reason: "not a JSON array".to_owned(),
            }),
        }
    })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<RawRecord<'_>, BadRecord>> + Send {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(number, line)| RawRecord::new(format!("line {}", number + 1), line))
}

/// The members of the top object are found one by one, so that a fault in one simulation does not hide the others.
fn tau2(bytes: &[u8], log: Option<tau2::log::EventLog>) -> Sessions<'_> {
    let mut simulations: Option<&[u8]> = None;
    let (mut info, mut tasks) = (None, None);
    let value = |bytes: &[u8]| strict_json::read(bytes, IMPORT_RECORD_BYTES_MAX, Profile::Exact).ok();
    for piece in pieces(bytes) {
        let (Piece::Whole(piece) | Piece::CutOff(piece)) = piece else {
            continue;
        };
        match member(piece) {
            Some((b"simulations", found)) => simulations = Some(found),
            Some((b"info", found)) => info = value(found),
            Some((b"tasks", found)) => tasks = value(found),
            _ => {}
        }
    }
    let Some(simulations) = simulations else {
        let reason = if is_event_log(bytes) {
            "an event log holds no sessions of its own: name the results file beside it"
        } else {
            "no member `simulations`"
        };
        return Box::new(std::iter::once(Err(BadRecord {
            path: String::new(),
            reason: reason.to_owned(),
        })));
    };
    let batch = tau2::Batch::new(info, tasks);
    Box::new(array("/simulations", simulations, move |record| {
        batch.session(&record, log.as_ref())
    }))
}
