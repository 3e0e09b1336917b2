//! What operators and their machines ask: is the process there, can it serve, what does it count.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::counter;
use ruche_domain::ids::LedgerId;
use serde_json::json;
use tokio::time::timeout;

use super::{Caller, Edge, Refusal};
use crate::auth::{self, Role};
use crate::figures;
use crate::limits::{
    METRICS_WAIT_MAX, READY_LAG_RECORDS_MAX, READY_LEDGERS_MAX, READY_NAMES_MAX, READY_WAIT_MAX,
};

/// The process runs and answers. Asks nothing of anybody else, so that a slow store does not get it restarted.
pub async fn health() -> Response {
    uncached(StatusCode::OK, json!({ "status": "ok" }))
}

/// Whether requests should be sent here: the stores answer and take writes, and the process is not closing. Elsewhere
/// they would fare no better for what is wrong with one ledger: that is counted, and takes no node from the others.
/// `unwatched` are ledgers whose workers are not told of ready turns and look for them every few seconds.
///
/// Asks for no key. Which ledgers those are is told to the operator's key alone.
pub async fn ready(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    let closing = edge.services.shutdown.has_begun();
    let stores = timeout(READY_WAIT_MAX, Stores::look(&edge)).await;
    let stores = stores.unwrap_or(Stores::unknown("slow"));
    let ready = !closing && stores.store == "ok";
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let halted = edge.services.guard.halted_ledgers();
    let mut body = json!({
        "ready": ready,
        "closing": closing,
        "store": stores.store,
        "halted": halted.len(),
        "behind": stores.behind.as_ref().map(Vec::len),
        "parked": stores.parked,
        "unwatched": edge.services.ready_turns.broken(),
    });
    if let Some(reason) = stores.reason {
        body["reason"] = reason.into();
    }
    if is_operator(&edge, &headers) {
        let halted = halted.into_iter().take(READY_NAMES_MAX);
        let halted = halted.map(|(ledger, reason)| json!({ "ledger": ledger.to_string(), "reason": reason }));
        let behind = stores.behind.unwrap_or_default().into_iter();
        let behind =
            behind.map(|(ledger, records)| json!({ "ledger": ledger.to_string(), "records": records }));
        body["ledgers"] = json!({
            "halted": halted.collect::<Vec<_>>(),
            "behind": behind.collect::<Vec<_>>(),
        });
    }
    uncached(status, body)
}

/// What `/ready` says of the stores.
struct Stores {
    /// What is wrong with them, in a word: `failing`, `slow`, `unwritable` (appends are refused, and a try to write is,
    /// too); or `ok`.
    store: &'static str,
    /// What the system says of an unwritable store.
    reason: Option<String>,
    /// Ledgers with a read model that is far behind, and how many records, of those that are looked at; absent if it is
    /// not known. An import of many records is no reason to take the node from the other tenants, nor is a table of one
    /// that is slow.
    behind: Option<Vec<(LedgerId, u64)>>,
    /// Projections that wait for a person, of the same ledgers.
    parked: Option<usize>,
}

impl Stores {
    const fn unknown(store: &'static str) -> Self {
        Self {
            store,
            reason: None,
            behind: None,
            parked: None,
        }
    }

    async fn look(edge: &Edge) -> Self {
        let ledgers = match edge.services.events.ledgers().await {
            Ok(ledgers) => ledgers,
            Err(error) => {
                tracing::warn!(error = %error, "not ready: the store fails");
                return Self::unknown("failing");
            }
        };
        let (mut behind, mut parked, mut read) = (Vec::new(), 0, 0);
        let looked_at = ledgers.len().min(READY_LEDGERS_MAX);
        for ledger in ledgers.into_iter().take(READY_LEDGERS_MAX) {
            let lags = match edge.services.runner.lag(ledger).await {
                Ok(lags) => lags,
                Err(error) => {
                    tracing::warn!(%ledger, error = %error, "the read models of a ledger fail");
                    continue;
                }
            };
            read += 1;
            let moving = lags.iter().filter(|lag| lag.parked.is_none() && !lag.paused);
            let records = moving.map(|lag| lag.records).max().unwrap_or(0);
            if records > READY_LAG_RECORDS_MAX {
                behind.push((ledger, records));
            }
            parked += lags.iter().filter(|lag| lag.parked.is_some()).count();
        }
        if looked_at > 0 && read == 0 {
            tracing::warn!("not ready: the read models of all ledgers fail");
            return Self::unknown("failing");
        }
        let unwritable = edge.services.append_health.look().await.err();
        if let Some(error) = &unwritable {
            tracing::warn!(%error, "not ready: appends are refused");
        }
        Self {
            store: if unwritable.is_some() { "unwritable" } else { "ok" },
            reason: unwritable,
            behind: Some(behind),
            parked: Some(parked),
        }
    }
}

/// Whether the request has the operator's key, which asks nothing of a store.
fn is_operator(edge: &Edge, headers: &HeaderMap) -> bool {
    let given = auth::from_headers(headers);
    let operator = edge.services.operator.as_ref();
    operator.zip(given.as_ref()).is_some_and(|(operator, given)| {
        operator.key_id == given.key_id && operator.digest() == given.digest()
    })
}

/// Figures in the Prometheus text form. They cover all tenants, so a tenant's key reads them only where it is the
/// only tenant; otherwise the operator's key does.
pub async fn metrics(
    State(edge): State<Edge>,
    headers: HeaderMap,
    caller: Result<Caller, Refusal>,
) -> Result<Response, Refusal> {
    if !is_operator(&edge, &headers) {
        let caller = caller?;
        caller.require(&[Role::Admin])?;
        if edge.services.access.tenant_count() > 1 {
            return Err(Refusal::forbidden(
                "with several tenants, /metrics is read with the operator's key",
            ));
        }
    }
    figures::show_memory(&edge.services);
    let failed = match timeout(METRICS_WAIT_MAX, figures::look(&edge.services)).await {
        Ok(looked) => looked.err().map(|error| crate::error::chain(&error)),
        Err(_) => Some("the stores are slow".to_owned()),
    };
    if let Some(error) = failed {
        counter!("ruche_figures_failures_total").increment(1);
        tracing::warn!(error, "some figures are old");
    }
    let text = edge.services.metrics.render();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(http::header::CONTENT_TYPE, kind)], text).into_response())
}

fn uncached(status: StatusCode, body: serde_json::Value) -> Response {
    (
        status,
        [(CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(body),
    )
        .into_response()
}
