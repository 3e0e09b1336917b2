//! Pages for people with a browser: the [workbench] of GraphQL, and `/console`.
//!
//! The pages of `/console` are made here as a whole and hold no script: what they show, they show without JavaScript, and
//! nothing that was recorded can become one. Each answer says so in its Content-Security-Policy ([`html`]).
//!
//! The life of a request to `/console`:
//! 1. [`entry`] finds out who looks: by a key in `Authorization`, as everywhere, or by the pass in the cookie that the login
//!    form gave for a key. Without either the answer is the login form, with status 401.
//! 2. [`asked`] reads the filters out of the address. Nothing is changed by looking.
//! 3. [`answers`] asks the read models, by the same functions that answer the field `analytics`.
//! 4. [`page`] puts [`chart`]s and tables together, each with how much of it is known.

mod answers;
mod asked;
mod chart;
mod charts;
mod entry;
mod html;
mod page;
mod scale;
mod table;
mod workbench;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::Uri;

use super::{Edge, Refusal};
use asked::{Asked, Fault};

pub use entry::{log_in, log_out, login};
pub use workbench::page as workbench;

/// Where people begin.
const ANALYTICS: &str = "/console/analytics";

/// Leads to the first page.
pub async fn start() -> Redirect {
    Redirect::to(ANALYTICS)
}

/// `/console/analytics`: cost, latency, outcomes and errors over time.
pub async fn analytics(State(edge): State<Edge>, request: Request) -> Response {
    let uri = request.uri().clone();
    let principal = match entry::viewer(&edge, request).await {
        Ok(principal) => principal,
        Err(answer) => return *answer,
    };
    match shown(&edge, &principal, &uri).await {
        Ok(html) => html::page("Analytics", &html).into_response(),
        Err(refusal) => page::refused(&refusal),
    }
}

async fn shown(edge: &Edge, principal: &crate::auth::Principal, uri: &Uri) -> Result<String, Refusal> {
    let query = uri.query().unwrap_or_default();
    let pairs = super::graphql::pairs_of(query)
        .ok_or_else(|| Refusal::bad_request("the address is not form-encoded UTF-8"))?;
    let asked = Asked::read(&pairs, edge.services.clock.now()).map_err(Fault::refusal)?;
    let answers = answers::find(&edge.services, principal.ledger(), &asked).await?;
    Ok(page::analytics(principal, &asked, &answers))
}
