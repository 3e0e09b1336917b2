//! Why a command was not carried out: few kinds, each with a stable code and a page in `docs/errors/`.
//!
//! `Display` is what a client may read. What an operator needs beside it stands in `source()` and is logged, never
//! sent. If several refusals apply, the first in this order is given: limits and form of the input, reserved names,
//! unknown types, payload text, schema, idempotency, expected version, state of the session or tool.

use std::borrow::Cow;
use std::time::Duration;

use ruche_domain::error::DomainError;
use ruche_domain::ids::ApprovalId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::LedgerError;
use ruche_ledger::store::{ExpectedVersion, StoreError};

/// Codes that [`CommandError::code`] can give, in alphabetical order.
pub const ERROR_CODES: &[&str] = &[
    "APPROVAL_MISMATCH",
    "ARCHIVED",
    "CONTENTION",
    "IDEMPOTENCY_MISMATCH",
    "ILLEGAL_TRANSITION",
    "INTERNAL",
    "INVALID_INPUT",
    "INVALID_PAYLOAD",
    "LIMIT_EXCEEDED",
    "NOT_FOUND",
    "OVERLOADED",
    "RESERVED_NAMESPACE",
    "SCHEMA_VIOLATION",
    "UNAVAILABLE",
    "UNKNOWN_EVENT_TYPE",
    "UNKNOWN_OUTCOME",
    "WRONG_EXPECTED_VERSION",
];

/// One way in which a payload does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the payload.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

/// Why a command was not carried out. Unless it is `UnknownOutcome`, nothing was written, or nothing but that it was
/// refused ([`crate::command::Decision::Refused`]).
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A field of the command is not what it has to be.
    #[error("{field}: {reason}")]
    InvalidInput {
        /// Which field, as a JSON pointer into the command.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A payload is not JSON that means the same to every reader.
    #[error("payload of event {event} is refused at {pointer:?}: {reason}")]
    InvalidPayload {
        /// Number of the event in the command, from 0.
        event: usize,
        /// Whether the payload was given by the client. One that was made of typed fields stands nowhere in the input.
        given: bool,
        /// JSON pointer into the payload.
        pointer: String,
        /// What is wrong there.
        reason: String,
    },
    /// A payload does not fit the schema of its type.
    #[error("payload of event {event} does not fit {event_type}: {}", first(.violations))]
    SchemaViolation {
        /// Number of the event in the command, from 0.
        event: usize,
        /// Type of the event.
        event_type: String,
        /// All faults found, in the order of the payload; at least one.
        violations: Vec<Violation>,
    },
    /// No such event type at this schema version.
    #[error("unknown event type {event_type} at schema version {schema_version}")]
    UnknownEventType {
        /// Number of the event in the command, from 0.
        event: usize,
        /// As given.
        event_type: String,
        /// As given.
        schema_version: u32,
    },
    /// An event type or stream that clients may not write.
    #[error("{name} is written by Ruche alone")]
    ReservedNamespace {
        /// Which field names it, as a JSON pointer into the command.
        field: String,
        /// The event type or stream category.
        name: String,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// The stream is not at the version that the client expects.
    #[error("stream {stream} is not at the expected version")]
    WrongExpectedVersion {
        /// Which stream.
        stream: StreamId,
        /// What the client expected.
        expected: ExpectedVersion,
        /// Version of its last event; absent for a stream without events.
        actual: Option<StreamVersion>,
    },
    /// What is about to run is not what the approval is of.
    #[error(
        "approval {approval} is of another action than this call as things stand; propose it, and ask for one of it"
    )]
    ApprovalMismatch {
        /// The approval that was named.
        approval: ApprovalId,
    },
    /// The thing is in a state that does not allow the command.
    #[error("not possible while the {thing} is {state}{}", obstacle_words(.obstacle))]
    IllegalTransition {
        /// Which field names the thing, as a JSON pointer into the command.
        field: &'static str,
        /// What kind of thing, such as `session`.
        thing: &'static str,
        /// Its state.
        state: &'static str,
        /// What stands in the way of a command that the state allows.
        obstacle: Option<Cow<'static, str>>,
        /// Names of the commands that are possible, without the one that was refused.
        legal: Vec<&'static str>,
        /// When the same command is worth another try, milliseconds; nothing where waiting does not help.
        retry_after_ms: Option<u64>,
    },
    /// The command is larger than Ruche takes. Split it.
    #[error("{what} has {value} {unit}, at most {limit} are taken")]
    LimitExceeded {
        /// Which quantity.
        what: &'static str,
        /// What was given.
        value: u64,
        /// What is taken.
        limit: u64,
        /// Unit of both.
        unit: &'static str,
    },
    /// There is no such thing, or it is not for this caller.
    #[error("no such {thing}")]
    NotFound {
        /// What kind of thing.
        thing: &'static str,
    },
    /// The queue of the ledger is full, or others use all connections to it.
    #[error("too much is waiting for the ledger; try again in {retry_after_ms} ms")]
    Overloaded {
        /// Milliseconds.
        retry_after_ms: u64,
    },
    /// Other writers changed the same stream again and again.
    #[error("other commands changed {stream} at the same time; try again")]
    Contention {
        /// Which stream.
        stream: StreamId,
    },
    /// The store cannot be reached.
    #[error("the ledger is not available; try again later")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What would have to be decided on is in an archive that is not at hand. Nothing was written.
    #[error("the payload of record {position} is in the archive {archive}, which is not at hand here")]
    Archived {
        /// The first such record.
        position: Position,
        /// Name of the archive.
        archive: String,
    },
    /// It cannot be said whether the events were written.
    #[error("the outcome is not known; send the same command with the same idempotency key again")]
    UnknownOutcome,
    /// A fault of Ruche.
    #[error("an internal fault; the operator's log has the details")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn first(violations: &[Violation]) -> String {
    violations
        .first()
        .map_or_else(String::new, |v| format!("{:?} {}", v.pointer, v.reason))
}

fn obstacle_words(obstacle: &Option<Cow<'static, str>>) -> String {
    obstacle
        .as_ref()
        .map_or_else(String::new, |words| format!(": {words}"))
}

/// The parts of a JSON pointer (RFC 6901).
fn parts(pointer: &str) -> Vec<String> {
    let parts = pointer.split('/').skip(1);
    parts
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect()
}

impl CommandError {
    /// The stable code. Each has a page `docs/errors/<CODE>.md`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput { .. } => "INVALID_INPUT",
            Self::InvalidPayload { .. } => "INVALID_PAYLOAD",
            Self::SchemaViolation { .. } => "SCHEMA_VIOLATION",
            Self::UnknownEventType { .. } => "UNKNOWN_EVENT_TYPE",
            Self::ReservedNamespace { .. } => "RESERVED_NAMESPACE",
            Self::IdempotencyMismatch => "IDEMPOTENCY_MISMATCH",
            Self::WrongExpectedVersion { .. } => "WRONG_EXPECTED_VERSION",
            Self::ApprovalMismatch { .. } => "APPROVAL_MISMATCH",
            Self::IllegalTransition { .. } => "ILLEGAL_TRANSITION",
            Self::LimitExceeded { .. } => "LIMIT_EXCEEDED",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::Contention { .. } => "CONTENTION",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Archived { .. } => "ARCHIVED",
            Self::UnknownOutcome => "UNKNOWN_OUTCOME",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// Whether the same command, with the same idempotency key, can succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::Contention { .. }
            | Self::Unavailable(_)
            | Self::UnknownOutcome => true,
            Self::IllegalTransition { retry_after_ms, .. } => retry_after_ms.is_some(),
            Self::InvalidInput { .. }
            | Self::InvalidPayload { .. }
            | Self::SchemaViolation { .. }
            | Self::UnknownEventType { .. }
            | Self::ReservedNamespace { .. }
            | Self::IdempotencyMismatch
            | Self::WrongExpectedVersion { .. }
            | Self::ApprovalMismatch { .. }
            | Self::LimitExceeded { .. }
            | Self::NotFound { .. }
            | Self::Archived { .. }
            | Self::Internal(_) => false,
        }
    }

    /// Where in the input the fault is, part by part; absent where no single field is at fault. Faults of a payload
    /// have their place below the `data` of their event; of several the first.
    pub fn path(&self) -> Option<Vec<String>> {
        let in_event = |event: usize, field: &str, pointer: &str| {
            let mut path = vec!["events".to_owned(), event.to_string(), field.to_owned()];
            path.extend(parts(pointer));
            path
        };
        match self {
            Self::InvalidInput { field, .. } | Self::ReservedNamespace { field, .. } => Some(parts(field)),
            Self::IllegalTransition { field, .. } => Some(parts(field)),
            Self::InvalidPayload {
                event,
                given,
                pointer,
                ..
            } => given.then(|| in_event(*event, "data", pointer)),
            Self::SchemaViolation {
                event, violations, ..
            } => {
                let pointer = violations.first().map_or("", |violation| &violation.pointer);
                Some(in_event(*event, "data", pointer))
            }
            Self::UnknownEventType { event, .. } => Some(in_event(*event, "type", "")),
            Self::ApprovalMismatch { .. } => Some(vec!["approvalId".to_owned()]),
            Self::IdempotencyMismatch
            | Self::WrongExpectedVersion { .. }
            | Self::LimitExceeded { .. }
            | Self::NotFound { .. }
            | Self::Overloaded { .. }
            | Self::Contention { .. }
            | Self::Unavailable(_)
            | Self::Archived { .. }
            | Self::UnknownOutcome
            | Self::Internal(_) => None,
        }
    }

    /// When to try again, milliseconds, where that can be said.
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Overloaded { retry_after_ms } => Some(*retry_after_ms),
            Self::IllegalTransition { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// The same where more is known of when the state changes than the command was told. What waiting does not help stays
    /// so.
    #[must_use]
    pub fn worth_a_try_in(mut self, wait: Option<Duration>) -> Self {
        if let (Self::IllegalTransition { retry_after_ms, .. }, Some(wait)) = (&mut self, wait)
            && retry_after_ms.is_some()
        {
            let ms = wait.as_micros().div_ceil(1_000);
            *retry_after_ms = Some(u64::try_from(ms).unwrap_or(u64::MAX).max(1));
        }
        self
    }

    /// The same as the refusal of a command of this name. A state lists what it knows; that the command is among it, and
    /// something else stood in its way, helps nobody.
    pub(crate) fn of_command(mut self, name: &str) -> Self {
        if let Self::IllegalTransition {
            legal,
            thing: "turn" | "lane",
            ..
        } = &mut self
        {
            legal.retain(|known| *known != name);
        }
        self
    }

    /// A field that is not what it has to be.
    pub fn input(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// Bytes in the ledger that this program cannot read.
    pub(crate) fn unreadable(source: DomainError) -> Self {
        Self::Internal(Box::new(source))
    }
}

impl From<LedgerError> for CommandError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::LimitExceeded {
                what,
                value,
                limit,
                unit,
            } => Self::LimitExceeded {
                what,
                value,
                limit,
                unit,
            },
            // The pipeline builds requests; one that contradicts itself, or a leaf that is none, is our fault.
            LedgerError::Invalid(_) | LedgerError::Leaf(_) => Self::Internal(Box::new(error)),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded { retry_after_ms } => Self::Overloaded { retry_after_ms },
            StoreError::NoSuchLedger => Self::NotFound { thing: "ledger" },
            StoreError::Refused(refused) => refused.into(),
            StoreError::Unavailable { .. } | StoreError::EpochMoved => Self::Unavailable(Box::new(error)),
            StoreError::Archived { position, archive } => Self::Archived { position, archive },
            StoreError::Corrupt { .. } => Self::Internal(Box::new(error)),
        }
    }
}

#[test]
fn a_path_leads_from_the_command_to_the_fault() {
    let violation = |pointer: &str| Violation {
        pointer: pointer.to_owned(),
        reason: "wrong".to_owned(),
    };
    let unfit = CommandError::SchemaViolation {
        event: 3,
        event_type: "goal.set".to_owned(),
        violations: vec![violation("/a~1b/0/~0"), violation("/c")],
    };
    let told = |error: CommandError| error.path().map(|path| path.join(" "));
    assert_eq!(told(unfit).as_deref(), Some("events 3 data a/b 0 ~"));
    let payload = |given| CommandError::InvalidPayload {
        event: 0,
        given,
        pointer: "/name".to_owned(),
        reason: "wrong".to_owned(),
    };
    assert_eq!(told(payload(true)).as_deref(), Some("events 0 data name"));
    assert_eq!(told(payload(false)), None, "typed input has no events");
    let reserved = CommandError::ReservedNamespace {
        field: "/target/stream".to_owned(),
        name: "ledger".to_owned(),
    };
    assert_eq!(told(reserved).as_deref(), Some("target stream"));
    let illegal = crate::session::SessionState::default().refuse("/session");
    assert_eq!(told(illegal).as_deref(), Some("session"));
    assert_eq!(told(CommandError::UnknownOutcome), None);
}
