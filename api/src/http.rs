//! The HTTP edge: GraphQL, plain ingest, the auditors' files, pages for people, and what operators ask.
//!
//! The life of a request:
//! 1. [`observe`] gives it an id, a span whose parent is the caller's `traceparent`, and a place in the metrics.
//! 2. [`caller`] turns its key into a [`Caller`]. Without one it is answered 401 and its body is never read.
//! 3. [`body`] reads the body: bounded in bytes, in time, and over all requests together.
//! 4. The route's handler parses, calls one use case and converts. Everything that goes wrong before the use case is a
//!    [`Refusal`]: status, stable code, message for people.
//!
//! `/health`, `/ready`, `/docs/errors/` and the login form of `/console` are the only routes that ask for no key. They say
//! nothing about any tenant. What else is below `/console` also takes the pass that the form gives for a key ([`console`]).

mod accept;
mod body;
mod caller;
mod console;
mod error_pages;
mod graphql;
mod ingest;
mod observe;
mod operators;
mod otlp;
mod refusal;
mod tiles;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use http::{HeaderName, HeaderValue, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::graphql::Engine;
use crate::services::Services;

pub use caller::Caller;
pub use refusal::Refusal;

/// What every handler is given.
#[derive(Clone)]
pub struct Edge {
    /// Ports and use cases.
    pub services: Arc<Services>,
    /// GraphQL.
    pub engine: Engine,
    budget: body::Budget,
    sockets: graphql::Sockets,
    otlp_in_flight: otlp::InFlight,
    otlp_sessions: otlp::Sessions,
    otlp_settling: otlp::Settling,
}

/// All routes. What follows from the telemetry of a session is derived `telemetry_wait` after the last of it.
pub fn router(services: Arc<Services>, telemetry_wait: Duration) -> Router {
    let edge = Edge {
        engine: Engine::new(services.clone()),
        services,
        budget: body::Budget::default(),
        sockets: graphql::Sockets::default(),
        otlp_in_flight: otlp::InFlight::default(),
        otlp_sessions: otlp::Sessions::default(),
        otlp_settling: otlp::Settling::new(telemetry_wait),
    };
    Router::new()
        .route("/graphql", any(graphql::serve))
        .route("/v1/events", post(ingest::serve))
        .route("/v1/traces", post(otlp::traces))
        .route("/v1/logs", post(otlp::logs))
        .route("/v1/metrics", post(otlp::metrics))
        .route("/otel/v1/traces", post(otlp::traces))
        .route("/otel/v1/logs", post(otlp::logs))
        .route("/otel/v1/metrics", post(otlp::metrics))
        .route("/ledgers/{*path}", get(tiles::serve))
        .route("/console", get(console::start))
        .route("/console/", get(console::start))
        .route("/console/analytics", get(console::analytics))
        .route("/console/login", get(console::login).post(console::log_in))
        .route("/console/logout", post(console::log_out))
        .route("/docs/errors/{code}", get(error_pages::serve))
        .route("/health", get(operators::health))
        .route("/ready", get(operators::ready))
        .route("/metrics", get(operators::metrics))
        .fallback(|| async { Refusal::not_found("there is no such path") })
        .method_not_allowed_fallback(|| async {
            Refusal::method_not_allowed("the path does not take this method", None)
        })
        // Handlers read bodies through `body`, which knows better limits.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(refusal::of_panic))
        .layer(axum::middleware::from_fn_with_state(
            edge.clone(),
            observe::observe,
        ))
        .layer(set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(set(header::REFERRER_POLICY, "no-referrer"))
        .layer(set(header::X_FRAME_OPTIONS, "DENY"))
        .with_state(edge)
}

fn set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}
