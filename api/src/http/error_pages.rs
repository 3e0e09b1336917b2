//! The pages about error codes, served by the binary, so that whoever holds it holds them: `GET /docs/errors/{code}`.
//! They say nothing about any tenant and ask for no key.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::Refusal;

macro_rules! pages {
    ($($code:ident)*) => {
        /// Text of the page about a code.
        fn text(code: &str) -> Option<&'static str> {
            match code {
                $(stringify!($code) => Some(include_str!(concat!("../../../docs/errors/", stringify!($code), ".md"))),)*
                _ => None,
            }
        }
    };
}

// A test compares these with the list of codes.
pages! {
    APPROVAL_MISMATCH ARCHIVED BAD_REQUEST BATCH_NOT_SUPPORTED BODY_TOO_LARGE CONTENTION FORBIDDEN GRAPHQL_PARSE_FAILED
    GRAPHQL_VALIDATION_FAILED IDEMPOTENCY_MISMATCH ILLEGAL_TRANSITION INTERNAL INVALID_ARGUMENT INVALID_CURSOR
    INVALID_INPUT INVALID_PAYLOAD LIMIT_EXCEEDED METHOD_NOT_ALLOWED NOT_ACCEPTABLE NOT_FOUND NOT_SEALED OVERLOADED
    QUERY_LIMIT_EXCEEDED READ_MODEL_BEHIND REQUEST_TIMEOUT RESERVED_NAMESPACE SCHEMA_VIOLATION UNAUTHENTICATED
    UNAVAILABLE UNKNOWN_EVENT_TYPE UNKNOWN_OUTCOME UNSUPPORTED_MEDIA_TYPE WRONG_EXPECTED_VERSION
}

/// Answers with the page of a code.
pub async fn serve(Path(code): Path<String>) -> Result<Response, Refusal> {
    let text = text(&code).ok_or_else(|| Refusal::not_found("there is no such error code"))?;
    let media_type = HeaderValue::from_static("text/markdown; charset=utf-8");
    Ok(([(CONTENT_TYPE, media_type)], text).into_response())
}

#[test]
fn every_code_has_a_page_of_its_own() {
    use crate::error_codes::{API, COMMANDS};
    for code in API.iter().chain(COMMANDS) {
        let title = format!("# {code}\n");
        assert!(text(code).is_some_and(|text| text.starts_with(&title)), "{code}");
    }
    assert_eq!(text("bad_request"), None);
}
