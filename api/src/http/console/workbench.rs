//! The page at `/graphql` for people with a browser.
//!
//! It asks for the API key through the browser's own dialogue (Basic, the key as password), so that no page of ours
//! stores it. GraphiQL is loaded from a public mirror by pinned digest; without a network the page says so and
//! offers a plain editor of its own, which needs nothing.

use axum::RequestExt;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::super::{Caller, Edge};

const PAGE: &str = include_str!("workbench.html");

/// Scripts come from the mirror by digest, everything else from here; no other site may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' https://unpkg.com; \
                      style-src 'unsafe-inline' https://unpkg.com; font-src data:; img-src data: 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, for callers with a key.
pub async fn page(edge: &Edge, mut request: Request) -> Response {
    let caller: Result<Caller, _> = request.extract_parts_with_state(edge).await;
    if let Err(refusal) = caller {
        return refusal.into_response();
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, PAGE).into_response()
}
