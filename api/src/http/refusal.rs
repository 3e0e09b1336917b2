//! The one way a request is refused before a use case saw it.

use std::any::Any;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_ledger::store::StoreError;
use ruche_projections::store::ReadStoreError;
use serde_json::json;

use crate::error_codes as code;

/// A refusal: status, stable code, and what is wrong in words. In JSON it has the form of GraphQL errors on every
/// route, so that a client reads one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// Code with a page in `docs/errors/`.
    pub code: &'static str,
    /// For people. Never holds what another tenant sent, or a secret.
    pub message: String,
    /// When to try again, milliseconds, where that is known.
    pub retry_after_ms: Option<u64>,
    /// Boxed, so that results stay small.
    header: Option<Box<(http::HeaderName, HeaderValue)>>,
    media_type: &'static str,
}

impl Refusal {
    /// A refusal without a header of its own.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_ms: None,
            header: None,
            media_type: "application/json",
        }
    }

    /// 400 of a request that is not of the form that the route reads.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::BAD_REQUEST, message)
    }

    /// 401. Says nothing about why: an unknown, a lapsed and a revoked key look the same.
    pub fn unauthenticated() -> Self {
        let message = "an API key is needed: Authorization: Bearer <key>, or the key as password of Basic";
        Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, message).with(
            WWW_AUTHENTICATE,
            HeaderValue::from_static(
                r#"Basic realm="ruche: any name, the API key as password", charset="UTF-8""#,
            ),
        )
    }

    /// 403 of a key whose roles do not allow this kind of request.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code::FORBIDDEN, message)
    }

    /// 404 of what does not exist, or not for this caller.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code::NOT_FOUND, message)
    }

    /// 405, with the methods that are taken where the router does not add them.
    pub fn method_not_allowed(message: impl Into<String>, allow: Option<&'static str>) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, message);
        match allow {
            Some(allow) => refusal.with(ALLOW, HeaderValue::from_static(allow)),
            None => refusal,
        }
    }

    /// 503 of a process that has too much to do.
    pub fn overloaded(message: impl Into<String>, retry_after_ms: u64) -> Self {
        let seconds = retry_after_ms.div_ceil(1_000).max(1);
        let refusal = Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code::OVERLOADED, message)
        };
        refusal.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503 of a store that does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, message)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 409 of a payload that is in an archive. The same request is of use once the archive is at hand.
    pub fn archived(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code::ARCHIVED, message)
    }

    /// 500 of a defect. What it was stands in the log alone.
    pub fn internal() -> Self {
        let message = "an unexpected fault; the log of the server says more under the request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, message)
    }

    /// The refusal that a failing store leads to. What the operator has to know is logged here, once.
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Overloaded { retry_after_ms } => Self::overloaded(error.to_string(), *retry_after_ms),
            StoreError::NoSuchLedger => Self::not_found("nothing is recorded here yet"),
            StoreError::Refused(_) => Self::bad_request(error.to_string()),
            StoreError::EpochMoved => {
                Self::overloaded("the ledger is being reopened", OVERLOADED_RETRY_AFTER_MS)
            }
            StoreError::Unavailable { .. } => {
                tracing::warn!(error = %error, "the store is not available");
                Self::unavailable("the store is not available")
            }
            StoreError::Archived { .. } => Self::archived(error.to_string()),
            StoreError::Corrupt { .. } => {
                tracing::error!(error = %error, "the store is corrupt");
                Self::internal()
            }
        }
    }

    /// The refusal that a failing store of read models leads to, logged here as well.
    pub fn of_read_store(error: &ReadStoreError) -> Self {
        match error {
            ReadStoreError::Overloaded { retry_after_ms } => {
                Self::overloaded(error.to_string(), *retry_after_ms)
            }
            ReadStoreError::Unavailable(_) | ReadStoreError::StaleCheckpoint { .. } => {
                tracing::warn!(error = %error, "the read models are not available");
                Self::unavailable("the read models are not available")
            }
            ReadStoreError::TooMuch { .. } => {
                let message = format!("{error}; ask for less");
                Self::new(StatusCode::BAD_REQUEST, code::QUERY_LIMIT_EXCEEDED, message)
            }
            ReadStoreError::Refused(_) | ReadStoreError::Corrupt(_) => {
                tracing::error!(error = %error, "the read models cannot be read");
                Self::internal()
            }
        }
    }

    /// The same, answered as another media type of JSON.
    #[must_use]
    pub fn answered_as(self, media_type: &'static str) -> Self {
        Self { media_type, ..self }
    }

    fn with(self, name: http::HeaderName, value: HeaderValue) -> Self {
        Self {
            header: Some(Box::new((name, value))),
            ..self
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let error = json!({
            "message": self.message,
            "extensions": { "code": self.code, "docs": code::page(self.code) },
        });
        json!({ "errors": [error] }).to_string().into_bytes()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let media_type = match self.media_type {
            "application/graphql-response+json" => "application/graphql-response+json; charset=utf-8",
            _ => "application/json; charset=utf-8",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(header) = self.header {
            let (name, value) = *header;
            headers.insert(name, value);
        }
        response
    }
}

/// What a client sees of a panic. The panic itself was printed by the hook.
pub(super) fn of_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Refusal::internal().into_response()
}
