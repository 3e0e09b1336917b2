//! GraphQL errors: faults of the request or of Ruche, each with `extensions.code`.

use async_graphql::{Error, ErrorExtensionValues, ErrorExtensions as _, ServerError};
use ruche_ledger::store::StoreError;

use crate::error_codes as code;
use crate::http::Refusal;

/// Longest message that is repeated to a client; validation messages quote the document.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// An error of a resolver with its code.
pub(super) fn fault(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(message).extend_with(|_, extensions| {
        extensions.set("code", code);
        extensions.set("docs", code::page(code));
    })
}

/// The error that a failing store leads to. The store's own words go to the log.
pub(super) fn of_store(error: &StoreError) -> Error {
    of_refusal(Refusal::of_store(error))
}

/// The same refusal as a GraphQL error.
pub(super) fn of_refusal(refusal: Refusal) -> Error {
    let error = fault(refusal.code, refusal.message);
    match refusal.retry_after_ms {
        Some(ms) => error.extend_with(|_, extensions| extensions.set("retryAfterMs", ms)),
        None => error,
    }
}

/// Gives an error that has no code the one of the stage that it came from, and cuts what is too long to repeat.
pub(super) fn with_code(mut error: ServerError, code: &'static str) -> ServerError {
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    if extensions.get("code").is_none() {
        extensions.set("code", code);
        extensions.set("docs", code::page(code));
    }
    if error.message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !error.message.is_char_boundary(end) {
            end -= 1;
        }
        error.message.truncate(end);
        error.message.push('…');
    }
    error
}

#[test]
fn an_error_of_overload_says_when_to_try_again() {
    let error = of_store(&StoreError::Overloaded { retry_after_ms: 250 });
    let extensions = error.extensions.expect("extensions");
    let told = ["code", "retryAfterMs"].map(|name| extensions.get(name).cloned());
    let told = told.map(|value| value.expect("it is told").to_string());
    assert_eq!(told, ["\"OVERLOADED\"", "250"]);
}
