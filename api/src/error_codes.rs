//! Every error code that Ruche gives to a client or an operator. The one list: a test compares it with the pages in
//! `docs/errors/`, both ways, and another with the codes of the commands.
//!
//! Codes are stable. A code that is no longer given keeps its page and says so there.

/// No key, or one that is not known, lapsed or revoked. The three look the same.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The key's roles do not allow this kind of request. Says nothing about what exists.
pub const FORBIDDEN: &str = "FORBIDDEN";
/// There is no such path, or nothing of this tenant there.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// The path exists, the method does not; or a mutation was sent by GET.
pub const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
/// The client accepts none of the media types that the answer could have.
pub const NOT_ACCEPTABLE: &str = "NOT_ACCEPTABLE";
/// The body is not of a media type that the route reads.
pub const UNSUPPORTED_MEDIA_TYPE: &str = "UNSUPPORTED_MEDIA_TYPE";
/// The body is longer than the route takes.
pub const BODY_TOO_LARGE: &str = "BODY_TOO_LARGE";
/// The body did not arrive in time.
pub const REQUEST_TIMEOUT: &str = "REQUEST_TIMEOUT";
/// The request is not of the form that the route reads.
pub const BAD_REQUEST: &str = "BAD_REQUEST";
/// Several GraphQL operations in one body.
pub const BATCH_NOT_SUPPORTED: &str = "BATCH_NOT_SUPPORTED";
/// The GraphQL document cannot be parsed.
pub const GRAPHQL_PARSE_FAILED: &str = "GRAPHQL_PARSE_FAILED";
/// The GraphQL document does not fit the schema.
pub const GRAPHQL_VALIDATION_FAILED: &str = "GRAPHQL_VALIDATION_FAILED";
/// The GraphQL document is larger, deeper or costlier than what is answered.
pub const QUERY_LIMIT_EXCEEDED: &str = "QUERY_LIMIT_EXCEEDED";
/// An argument is of the right type and has a value that cannot be.
pub const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
/// A cursor that this field never gave.
pub const INVALID_CURSOR: &str = "INVALID_CURSOR";
/// The read model did not reach `minPosition` in time.
pub const READ_MODEL_BEHIND: &str = "READ_MODEL_BEHIND";
/// The ledger has no tree head over that record or size yet.
pub const NOT_SEALED: &str = "NOT_SEALED";
/// Too much is being worked on; the same request can succeed later.
pub const OVERLOADED: &str = "OVERLOADED";
/// A payload that is needed is in an archive that is not at hand.
pub const ARCHIVED: &str = "ARCHIVED";
/// A store cannot be reached, or the process is closing.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/// A defect of Ruche. The log says more.
pub const INTERNAL: &str = "INTERNAL";

/// Codes of the API, beside those of the commands.
pub const API: &[&str] = &[
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    UNSUPPORTED_MEDIA_TYPE,
    BODY_TOO_LARGE,
    REQUEST_TIMEOUT,
    BAD_REQUEST,
    BATCH_NOT_SUPPORTED,
    GRAPHQL_PARSE_FAILED,
    GRAPHQL_VALIDATION_FAILED,
    QUERY_LIMIT_EXCEEDED,
    INVALID_ARGUMENT,
    INVALID_CURSOR,
    READ_MODEL_BEHIND,
    NOT_SEALED,
    OVERLOADED,
    ARCHIVED,
    UNAVAILABLE,
    INTERNAL,
];

/// Codes of the commands, in the order of [`ruche_commands::ERROR_CODES`]. Written out, because the pages are compared
/// with what stands in this file.
pub const COMMANDS: &[&str] = &[
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

/// Address of the page of a code, at the server that gave the code.
pub fn page(code: &str) -> String {
    format!("/docs/errors/{code}")
}

#[test]
fn the_list_has_every_code_of_the_commands() {
    assert_eq!(COMMANDS, ruche_commands::ERROR_CODES);
}
