//! Expected refusals: members of the results' unions, all of them with the fields of `Refusal`.
//!
//! What a client did wrong, or has to try again, is data that it handles; an error of GraphQL is left for faults of
//! the request's form and of Ruche.

use async_graphql::{Interface, SimpleObject};
use ruche_commands::CommandError;
use ruche_ledger::store::ExpectedVersion;

use super::errors::of_refusal;
use super::scalars::{ErrorCode, Long};
use crate::error_codes as code;
use crate::http::Refusal as HttpRefusal;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(SimpleObject)]
            pub(super) struct $name {
                /// Stable code.
                code: ErrorCode,
                /// For people.
                message: String,
                /// Place in the input, where it can be said.
                path: Option<Vec<String>>,
                /// Whether the same request, with the same idempotency key, can succeed later.
                retryable: bool,
                /// When to try again, where it can be said.
                retry_after_ms: Option<i32>,
                /// Page about the code, at this server.
                docs: String,
                $($(#[$fdoc])* $field: $ty,)*
            }

            impl $name {
                fn of(error: &CommandError, $($field: $ty,)*) -> Self {
                    Self {
                        code: ErrorCode(error.code()),
                        message: error.to_string(),
                        path: error.path(),
                        retryable: error.retryable(),
                        retry_after_ms: error.retry_after_ms().and_then(|ms| i32::try_from(ms).ok()),
                        docs: code::page(error.code()),
                        $($field,)*
                    }
                }
            }
        )*

        /// An expected refusal. Nothing was written, unless the code is `UNKNOWN_OUTCOME`.
        #[derive(Interface)]
        #[graphql(
            field(name = "code", ty = "&ErrorCode", desc = "Stable code."),
            field(name = "message", ty = "&String", desc = "For people."),
            field(name = "path", ty = "&Option<Vec<String>>", desc = "Place in the input, where it can be said."),
            field(name = "retryable", ty = "&bool", desc = "Whether the same request can succeed later."),
            field(name = "retry_after_ms", ty = "&Option<i32>", desc = "When to try again, where it can be said."),
            field(name = "docs", ty = "&String", desc = "Page about the code, at this server.")
        )]
        pub(super) enum Refusal { $($name($name),)* }
    };
}

refusals! {
    /// The stream is not at the version that the request expects. Read it again and decide again.
    WrongExpectedVersion {
        /// Which stream.
        stream: String,
        /// What was expected; -1 for a stream without events. Of `publishConfiguration`: `baseVersion`.
        expected: Long,
        /// Version of its last event; -1 if it has none. Of `publishConfiguration`: the configuration's version, 0 if it
        /// has none.
        actual: Long,
    }
    /// The thing is in a state that does not allow the request. Where it is `retryable`, as a claim while nothing is ready
    /// is, the same request is worth another try after `retryAfterMs`.
    IllegalTransition {
        /// Its state.
        state: String,
        /// Mutations that are possible, without the one that was refused.
        legal: Vec<String>,
    }
    /// A payload does not fit the schema of its type.
    SchemaViolation {
        /// Number of the event in the request, from 0.
        event: Long,
        /// Type of the event.
        event_type: String,
        /// All faults that were found.
        violations: Vec<Violation>,
    }
    /// The request is larger than Ruche takes. Split it.
    LimitExceeded {
        /// What is taken.
        limit: Long,
        /// What was given.
        value: Long,
        /// Unit of both.
        unit: String,
    }
    /// A part of the input is not what it has to be: a field, a payload text, an event type.
    InvalidInput {}
    /// An event type or stream that clients may not write.
    ReservedNamespace {}
    /// The idempotency key was used for another request.
    IdempotencyMismatch {}
    /// There is no such thing, or it is not for this caller.
    NotFound {}
    /// Not now: too much is waiting, others were first, the store is away, or the outcome is not known. Send the same
    /// request with the same idempotency key again.
    TryAgain {}
}

impl WrongExpectedVersion {
    /// The same in versions of a configuration. They count from 1, and each is one event of the stream, whose versions
    /// count from 0.
    pub(super) fn of_configuration(self) -> Self {
        Self {
            expected: Long(self.expected.0.saturating_add(1)),
            actual: Long(self.actual.0.saturating_add(1)),
            ..self
        }
    }
}

/// Unions of mutations' results: the payload, or one of the refusals.
macro_rules! results {
    ($($(#[$doc:meta])* $result:ident = $payload:ident;)*) => {$(
        $(#[$doc])*
        #[derive(async_graphql::Union)]
        #[allow(clippy::large_enum_variant, reason = "made once for each request")]
        pub(super) enum $result {
            $payload($payload),
            WrongExpectedVersion(refusals::WrongExpectedVersion),
            IllegalTransition(refusals::IllegalTransition),
            SchemaViolation(refusals::SchemaViolation),
            LimitExceeded(refusals::LimitExceeded),
            InvalidInput(refusals::InvalidInput),
            ReservedNamespace(refusals::ReservedNamespace),
            IdempotencyMismatch(refusals::IdempotencyMismatch),
            NotFound(refusals::NotFound),
            TryAgain(refusals::TryAgain),
        }

        impl From<refusals::Refusal> for $result {
            fn from(refusal: refusals::Refusal) -> Self {
                match refusal {
                    refusals::Refusal::WrongExpectedVersion(refusal) => Self::WrongExpectedVersion(refusal),
                    refusals::Refusal::IllegalTransition(refusal) => Self::IllegalTransition(refusal),
                    refusals::Refusal::SchemaViolation(refusal) => Self::SchemaViolation(refusal),
                    refusals::Refusal::LimitExceeded(refusal) => Self::LimitExceeded(refusal),
                    refusals::Refusal::InvalidInput(refusal) => Self::InvalidInput(refusal),
                    refusals::Refusal::ReservedNamespace(refusal) => Self::ReservedNamespace(refusal),
                    refusals::Refusal::IdempotencyMismatch(refusal) => Self::IdempotencyMismatch(refusal),
                    refusals::Refusal::NotFound(refusal) => Self::NotFound(refusal),
                    refusals::Refusal::TryAgain(refusal) => Self::TryAgain(refusal),
                }
            }
        }
    )*};
}

pub(super) use results;

/// One way in which a payload does not fit its schema.
#[derive(SimpleObject)]
pub(super) struct Violation {
    /// JSON pointer (RFC 6901) into the payload.
    pointer: String,
    /// What is wrong there.
    reason: String,
}

/// The refusal that a client is given.
///
/// # Errors
/// A fault of Ruche is an error of GraphQL; what happened stands in the log.
pub(super) fn of(error: &CommandError) -> async_graphql::Result<Refusal> {
    Ok(match error {
        CommandError::WrongExpectedVersion {
            stream,
            expected,
            actual,
        } => {
            let expected = match expected {
                ExpectedVersion::NoStream => Long(-1),
                ExpectedVersion::Exact(version) => Long::count(version.0),
            };
            let actual = actual.map_or(Long(-1), |version| Long::count(version.0));
            Refusal::WrongExpectedVersion(WrongExpectedVersion::of(
                error,
                stream.to_string(),
                expected,
                actual,
            ))
        }
        CommandError::ApprovalMismatch { .. } => {
            let legal = vec!["proposeAction".to_owned()];
            let state = "of another action".to_owned();
            Refusal::IllegalTransition(IllegalTransition::of(error, state, legal))
        }
        CommandError::IllegalTransition { state, legal, .. } => {
            let legal = legal.iter().map(|name| mutation_of(name).to_owned()).collect();
            Refusal::IllegalTransition(IllegalTransition::of(error, (*state).to_owned(), legal))
        }
        CommandError::SchemaViolation {
            event,
            event_type,
            violations,
        } => {
            let violations = violations.iter().map(|violation| Violation {
                pointer: violation.pointer.clone(),
                reason: violation.reason.clone(),
            });
            let event = Long::count(*event as u64);
            Refusal::SchemaViolation(SchemaViolation::of(
                error,
                event,
                event_type.clone(),
                violations.collect(),
            ))
        }
        CommandError::LimitExceeded {
            value, limit, unit, ..
        } => {
            let (limit, value) = (Long::count(*limit), Long::count(*value));
            Refusal::LimitExceeded(LimitExceeded::of(error, limit, value, (*unit).to_owned()))
        }
        CommandError::InvalidInput { .. }
        | CommandError::InvalidPayload { .. }
        | CommandError::UnknownEventType { .. } => Refusal::InvalidInput(InvalidInput::of(error)),
        CommandError::ReservedNamespace { .. } => Refusal::ReservedNamespace(ReservedNamespace::of(error)),
        CommandError::IdempotencyMismatch => Refusal::IdempotencyMismatch(IdempotencyMismatch::of(error)),
        CommandError::NotFound { .. } => Refusal::NotFound(NotFound::of(error)),
        CommandError::Unavailable(source) => {
            tracing::warn!(error = %source, "the ledger is not available");
            Refusal::TryAgain(TryAgain::of(error))
        }
        CommandError::Overloaded { .. } | CommandError::Contention { .. } | CommandError::UnknownOutcome => {
            Refusal::TryAgain(TryAgain::of(error))
        }
        CommandError::Archived { .. } => return Err(of_refusal(HttpRefusal::archived(error.to_string()))),
        CommandError::Internal(source) => {
            tracing::error!(error = %crate::error::chain(source.as_ref()), "a command failed");
            return Err(of_refusal(HttpRefusal::internal()));
        }
    })
}

/// The mutation that carries out a command.
fn mutation_of(command: &'static str) -> &'static str {
    match command {
        "StartSession" => "startSession",
        "EndSession" => "endSession",
        "ReceiveMessage" => "submitMessage",
        "RecordTurn" => "recordTurn",
        "AppendEvents" => "appendEvents",
        "ScoreSession" => "scoreSession",
        "RecordScenario" => "recordScenario",
        "SubmitMessage" => "submitMessage",
        "ClaimTurn" => "claimTurn",
        "HeartbeatTurn" => "heartbeatTurn",
        "CommitTurn" => "commitTurn",
        "FailTurn" => "failTurn",
        "CancelTurn" => "cancelTurn",
        "ProposeAction" => "proposeAction",
        "RegisterReviewerKey" => "registerReviewerKey",
        "StartCompensation" => "startCompensation",
        "StartEffect" => "startEffect",
        "StartStep" => "startStep",
        "CompleteStep" => "completeStep",
        "ReportEffect" => "reportEffect",
        "ReportCompensation" => "reportCompensation",
        "ResolveOutcome" => "resolveOutcome",
        "SendMessage" => "sendMessage",
        // A test holds that no other command is ever called possible.
        other => other,
    }
}

#[test]
fn what_is_possible_is_told_as_mutations() {
    use ruche_commands::governed::sendable;
    use ruche_commands::lane::TurnState;
    use ruche_commands::session::SessionStatus;
    let schema = super::Engine::sdl();
    let (_, mutations) = schema.split_once("type Mutation {").expect("mutations");
    let (mutations, _) = mutations.split_once("\n}").expect("an end");
    let sessions = [SessionStatus::Absent, SessionStatus::Open, SessionStatus::Ended];
    let of_sessions = sessions.into_iter().flat_map(SessionStatus::legal);
    let of_turns = TurnState::ALL.into_iter().flat_map(sendable);
    for command in of_sessions.chain(of_turns) {
        let field = format!("\n  {}(", mutation_of(command));
        assert!(mutations.contains(&field), "{command} in {mutations}");
    }
}
