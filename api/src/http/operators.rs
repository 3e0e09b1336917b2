//! What operators and their machines ask: is the process there, can it serve, what does it count.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::counter;
use ruche_projections::runner::Lag;
use serde_json::json;
use tokio::time::timeout;

use super::{Caller, Edge, Refusal};
use crate::auth::{self, Role};
use crate::figures;
use crate::limits::{METRICS_WAIT_MAX, READY_LAG_RECORDS_MAX, READY_LEDGERS_MAX, READY_WAIT_MAX};

/// The process runs and answers. Asks nothing of anybody else, so that a slow store does not get it restarted.
pub async fn health() -> Response {
    uncached(StatusCode::OK, json!({ "status": "ok" }))
}

/// Whether requests should be sent here: the stores answer, every ledger takes appends, the read models are near, and
/// the process is not closing. `unwatched` are ledgers whose workers are not told of ready turns and look for them every
/// few seconds: worth a look at the log, no reason to send requests elsewhere.
pub async fn ready(State(edge): State<Edge>) -> Response {
    let closing = edge.services.shutdown.has_begun();
    let stores = timeout(READY_WAIT_MAX, Stores::look(&edge)).await;
    let Stores {
        store,
        reason,
        parked,
    } = stores.unwrap_or(Stores::unknown("slow"));
    let ready = !closing && store == "ok";
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let unwatched = edge.services.ready_turns.broken();
    let mut body = json!({ "ready": ready, "closing": closing, "store": store, "parked": parked, "unwatched": unwatched });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    uncached(status, body)
}

/// What `/ready` says of the stores.
struct Stores {
    /// What is wrong with them, in a word: `failing`, `slow`, `halted` (a ledger takes no appends until an operator
    /// opens its next epoch), `unwritable` (appends are refused, and the disk takes no file either), `behind`; or `ok`.
    store: &'static str,
    /// What the system says of an unwritable store.
    reason: Option<String>,
    /// Projections that wait for a person, of the ledgers that are looked at; absent if it is not known. They do not
    /// count against the node: one tenant's poison event must not take it from the others.
    parked: Option<usize>,
}

impl Stores {
    const fn unknown(store: &'static str) -> Self {
        Self {
            store,
            reason: None,
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
        let (mut behind, mut parked) = (false, 0);
        for ledger in ledgers.into_iter().take(READY_LEDGERS_MAX) {
            let lags = match edge.services.runner.lag(ledger).await {
                Ok(lags) => lags,
                Err(error) => {
                    tracing::warn!(error = %error, "not ready: the read models fail");
                    return Self::unknown("failing");
                }
            };
            let far = |lag: &Lag| lag.parked.is_none() && lag.records > READY_LAG_RECORDS_MAX;
            behind |= lags.iter().any(far);
            parked += lags.iter().filter(|lag| lag.parked.is_some()).count();
        }
        let unwritable = edge.services.append_health.look().await.err();
        if let Some(error) = &unwritable {
            tracing::warn!(%error, "not ready: appends are refused");
        }
        let store = if edge.services.guard.halted_count() > 0 {
            "halted"
        } else if unwritable.is_some() {
            "unwritable"
        } else if behind {
            "behind"
        } else {
            "ok"
        };
        Self {
            store,
            reason: unwritable.map(|error| error.to_string()),
            parked: Some(parked),
        }
    }
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
