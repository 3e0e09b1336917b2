//! What can be wrong with a fact.

/// A value that breaks a rule of the domain, with the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Text is not an id of the named kind.
    #[error("not a {kind}: {text}")]
    NotAnId {
        /// Name of the id type.
        kind: &'static str,
        /// What was given.
        text: String,
    },
    /// Text is not `epoch:index`.
    #[error("not a position (epoch:index): {text}")]
    NotAPosition {
        /// What was given.
        text: String,
    },
    /// Text is not `<category>-<32 lower-case hex digits>` of a known category.
    #[error("not a stream (<category>-<32 lower-case hex digits>): {text}")]
    NotAStream {
        /// What was given.
        text: String,
    },
    /// No such event type at this schema version.
    #[error("unknown event type {event_type} at schema version {schema_version}")]
    UnknownEventType {
        /// Type name as given.
        event_type: String,
        /// Schema version as given.
        schema_version: u32,
    },
    /// The payload is not what its type says.
    #[error("payload of {event_type} is wrong at {pointer:?}: {reason}")]
    InvalidPayload {
        /// Type of the event.
        event_type: String,
        /// JSON pointer (RFC 6901) to the fault.
        pointer: String,
        /// What is wrong there.
        reason: String,
    },
    /// Text is not one of the words of a closed list, or not of the form of the kind.
    #[error("not a {kind}: {text}")]
    NotAWord {
        /// Name of the list or form.
        kind: &'static str,
        /// What was given.
        text: String,
    },
    /// A newer program wrote this payload; this one knows the type only up to an older version. Upgrade, then read again.
    #[error("{event_type} has schema version {schema_version}, this program knows up to {known}")]
    FutureSchemaVersion {
        /// Type of the event.
        event_type: String,
        /// Version of the payload.
        schema_version: u32,
        /// Newest version known here.
        known: u32,
    },
}
