//! What operators and their machines ask: is the process there, can it serve, what does it count.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use ruche_projections::runner::Lag;
use serde_json::json;
use tokio::time::timeout;

use super::{Caller, Edge, Refusal};
use crate::auth::{self, Role};
use crate::limits::{READY_LAG_RECORDS_MAX, READY_LEDGERS_MAX, READY_WAIT_MAX};

/// The process runs and answers. Asks nothing of anybody else, so that a slow store does not get it restarted.
pub async fn health() -> Response {
    uncached(StatusCode::OK, json!({ "status": "ok" }))
}

/// Whether requests should be sent here: the stores answer, the read models are near, and the process is not closing.
pub async fn ready(State(edge): State<Edge>) -> Response {
    let closing = edge.services.shutdown.has_begun();
    let store = timeout(READY_WAIT_MAX, store_state(&edge))
        .await
        .unwrap_or("slow");
    let ready = !closing && store == "ok";
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    uncached(
        status,
        json!({ "ready": ready, "closing": closing, "store": store }),
    )
}

/// What is wrong with the stores, in a word. Read models that are parked do not count: one tenant's poison event must
/// not take the node from the others.
async fn store_state(edge: &Edge) -> &'static str {
    let ledgers = match edge.services.events.ledgers().await {
        Ok(ledgers) => ledgers,
        Err(error) => {
            tracing::warn!(error = %error, "not ready: the store fails");
            return "failing";
        }
    };
    for ledger in ledgers.into_iter().take(READY_LEDGERS_MAX) {
        match edge.services.runner.lag(ledger).await {
            Ok(lags) => {
                let far = |lag: &Lag| lag.parked.is_none() && lag.records > READY_LAG_RECORDS_MAX;
                if lags.iter().any(far) {
                    return "behind";
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "not ready: the read models fail");
                return "failing";
            }
        }
    }
    "ok"
}

/// Figures in the Prometheus text form. They cover all tenants, so a tenant's key reads them only where it is the
/// only tenant; otherwise the operator's key does.
pub async fn metrics(
    State(edge): State<Edge>,
    headers: HeaderMap,
    caller: Result<Caller, Refusal>,
) -> Result<Response, Refusal> {
    let given = auth::from_headers(&headers);
    let operator = edge.services.operator.as_ref();
    let by_operator = operator.zip(given.as_ref()).is_some_and(|(operator, given)| {
        operator.key_id == given.key_id && operator.digest() == given.digest()
    });
    if !by_operator {
        let caller = caller?;
        caller.require(&[Role::Admin])?;
        if edge.services.access.tenant_count() > 1 {
            return Err(Refusal::forbidden(
                "with several tenants, /metrics is read with the operator's key",
            ));
        }
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
