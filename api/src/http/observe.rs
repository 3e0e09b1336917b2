//! What every request leaves behind: an id, a span, figures.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method};
use metrics::{counter, gauge, histogram};
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::ports::event_id;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{Edge, Refusal};
use crate::figures::Held;
use crate::limits::REQUESTS_IN_FLIGHT_MAX;
use crate::telemetry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;

static ROOM: Semaphore = Semaphore::const_new(REQUESTS_IN_FLIGHT_MAX);

/// The middleware around all routes.
pub async fn observe(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let request_id = given_id(&request).unwrap_or_else(|| {
        let id = event_id(&*edge.services.clock, &*edge.services.random);
        HeaderValue::from_str(&id.to_string()).expect("a uuid is visible ASCII")
    });
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = known_method(request.method());
    let span = request_span(method, &route, &request_id);
    let caller = telemetry::parse_traceparent(request.headers());
    if let Some((trace, flags)) = caller {
        telemetry::adopt(&span, trace, flags);
    }
    if let Some(trace) = telemetry::current(&span, caller.map(|(trace, _)| trace)) {
        request.extensions_mut().insert(trace);
    }

    let started = Instant::now();
    let Ok(_room) = ROOM.try_acquire() else {
        counter!("ruche_http_overloads_total").increment(1);
        return Refusal::overloaded("too many requests are being answered", OVERLOADED_RETRY_AFTER_MS)
            .into_response();
    };
    let in_flight = Held::new(gauge!("ruche_http_requests_in_flight"));
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);

    let status = response.status().as_u16();
    span.record("status", status);
    let seconds = started.elapsed().as_secs_f64();
    histogram!("ruche_http_request_duration_seconds", "route" => route.clone()).record(seconds);
    counter!(
        "ruche_http_requests_total",
        "route" => route, "method" => method, "status" => status.to_string()
    )
    .increment(1);
    span.in_scope(|| {
        if status >= 500 {
            tracing::warn!(duration_ms = seconds * 1_000.0, "answered with a server error");
        } else {
            tracing::debug!(duration_ms = seconds * 1_000.0, "answered");
        }
    });
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

/// The span of a request. Those that bring telemetry have a target of their own, which is logged and never exported: else
/// Ruche's traces, sent to Ruche, would make traces for ever.
fn request_span(method: &'static str, route: &str, request_id: &HeaderValue) -> tracing::Span {
    macro_rules! request_span {
        ($target:expr) => {
            tracing::info_span!(
                target: $target,
                "http_request",
                otel.name = format!("{method} {route}"),
                otel.kind = "server",
                method,
                route,
                request_id = request_id.to_str().unwrap_or_default(),
                tenant = tracing::field::Empty,
                status = tracing::field::Empty,
            )
        };
    }
    if super::otlp::brings_telemetry(route) {
        request_span!(telemetry::NOT_EXPORTED)
    } else {
        request_span!(module_path!())
    }
}

/// The caller's own request id, if it is short and plain.
fn given_id(request: &Request) -> Option<HeaderValue> {
    let value = request.headers().get(REQUEST_ID)?;
    let plain = value.as_bytes().iter().all(u8::is_ascii_graphic);
    (plain && !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX).then(|| value.clone())
}

/// The method as a label: a client cannot make new ones.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}
