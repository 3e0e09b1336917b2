//! Telemetry in: `POST /v1/traces`, `/v1/logs` and `/v1/metrics` of the OpenTelemetry protocol over HTTP, also below
//! `/otel`, for exporters that are told an address with a path.
//!
//! 200 is only answered once everything that is not rejected is durable: an exporter forgets what it has an answer for.
//! Refusals say in their status whether to send again: 429 and 503, with `Retry-After`, and no others.

mod in_flight;
mod settling;

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use flate2::read::MultiGzDecoder;
use futures_util::{StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use lru::LruCache;
use metrics::counter;
use ruche_commands::otlp::{
    self, AskUnit, DeriveFromCalls, Kind, ObservedSession, ObservedSpan, RecordUnit, StartObserved, Unit,
};
use ruche_commands::{CommandContext, CommandError};
use ruche_domain::envelope::{Provenance, TraceContext};
use ruche_domain::ids::{LedgerId, SessionId, SubjectId};
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;

use super::{Caller, Edge, Refusal, body};
use crate::auth::Role;
use crate::error_codes as code;
use crate::graphql::command_context;
use crate::limits::{
    OTLP_BODY_BYTES_MAX, OTLP_MESSAGES_MAX, OTLP_SESSIONS_AT_ONCE_MAX, OTLP_SESSIONS_KNOWN_MAX,
    OTLP_SPANS_MAX,
};
use crate::otlp::{Encoding, Rejected, has_more_than, read_logs, read_traces, status_body, success};

pub use in_flight::InFlight;
pub use settling::Settling;

const SPANS: &str = "rejectedSpans";

/// Sessions that are known to be started, so that nobody looks them up for each request.
#[derive(Clone)]
pub struct Sessions(Arc<Mutex<Known>>);

/// Sessions, with whose data they hold.
type Known = LruCache<(LedgerId, SessionId), Option<SubjectId>>;

impl Default for Sessions {
    fn default() -> Self {
        let room = NonZeroUsize::new(OTLP_SESSIONS_KNOWN_MAX).expect("a limit that is not 0");
        Self(Arc::new(Mutex::new(LruCache::new(room))))
    }
}

impl Sessions {
    fn get(&self, ledger: LedgerId, session: SessionId) -> Option<Option<SubjectId>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(ledger, session)).copied()
    }

    fn put(&self, ledger: LedgerId, session: SessionId, subject: Option<SubjectId>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.put((ledger, session), subject);
    }
}

/// Whether a route is one of these.
pub fn brings_telemetry(route: &str) -> bool {
    let route = route.strip_prefix("/otel").unwrap_or(route);
    matches!(route, "/v1/traces" | "/v1/logs" | "/v1/metrics")
}

/// Takes spans.
pub async fn traces(State(edge): State<Edge>, request: Request) -> Response {
    answer(edge, request, SPANS, async |edge, caller, encoding, body| {
        require_weight(encoding, body)?;
        let mut read = read_traces(encoding, body).map_err(Refusal::bad_request)?;
        require_count(read.good.len() + read.rejected.count)?;
        let sessions = otlp::spans(std::mem::take(&mut read.good));
        record(edge, caller, sessions, &mut read.rejected).await?;
        count_rejected("traces", &read.rejected);
        Ok(read.rejected)
    })
    .await
}

/// Takes log records.
pub async fn logs(State(edge): State<Edge>, request: Request) -> Response {
    answer(
        edge,
        request,
        "rejectedLogRecords",
        async |edge, caller, encoding, body| {
            require_weight(encoding, body)?;
            let mut read = read_logs(encoding, body).map_err(Refusal::bad_request)?;
            require_count(read.good.len() + read.rejected.count)?;
            let (sessions, passed_over) = otlp::log_records(std::mem::take(&mut read.good));
            counter!("ruche_otlp_logs_passed_over_total").increment(passed_over as u64);
            record(edge, caller, sessions, &mut read.rejected).await?;
            count_rejected("logs", &read.rejected);
            Ok(read.rejected)
        },
    )
    .await
}

/// Takes figures and throws them away: Ruche keeps none of them.
pub async fn metrics(State(edge): State<Edge>, request: Request) -> Response {
    answer(edge, request, "rejectedDataPoints", async |_, _, _, _| {
        counter!("ruche_otlp_metrics_discarded_total").increment(1);
        Ok(Rejected::default())
    })
    .await
}

fn require_count(spans: usize) -> Result<(), Refusal> {
    if spans <= OTLP_SPANS_MAX {
        return Ok(());
    }
    let message = format!("a request has at most {OTLP_SPANS_MAX} spans or log records");
    Err(too_large(message))
}

fn require_weight(encoding: Encoding, body: &[u8]) -> Result<(), Refusal> {
    if !has_more_than(encoding, body, OTLP_MESSAGES_MAX) {
        return Ok(());
    }
    Err(too_large(format!(
        "a body has at most {OTLP_MESSAGES_MAX} messages: spans, attributes, values"
    )))
}

fn too_large(message: String) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::BODY_TOO_LARGE, message)
}

/// Reads a request, has it taken, and answers in its own encoding, whatever happens.
async fn answer(
    edge: Edge,
    request: Request,
    what: &'static str,
    take: impl AsyncFnOnce(&Edge, &Caller, Encoding, &[u8]) -> Result<Rejected, Refusal>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let encoding = Encoding::of(&parts.headers);
    let taken = async {
        let caller = caller(&mut parts, &edge).await?;
        let encoding = encoding.ok_or_else(unsupported)?;
        let is_gzip = is_gzip(&parts.headers)?;
        let _place = edge.otlp_in_flight.enter(caller.principal.tenant)?;
        let read = edge
            .budget
            .read(&parts.headers, body, OTLP_BODY_BYTES_MAX)
            .await?;
        if !is_gzip {
            return take(&edge, &caller, encoding, &read.bytes).await;
        }
        // As much room as the body may grow to while it grows, and then as much as it has, like one that came so.
        let mut room = edge.budget.hold(OTLP_BODY_BYTES_MAX)?;
        let bytes = inflated(&read.bytes)?;
        body::shrink(&mut room, bytes.capacity());
        drop(read);
        let taken = take(&edge, &caller, encoding, &bytes).await;
        drop(room);
        taken
    };
    match taken.await {
        Ok(rejected) => {
            let encoding = encoding.unwrap_or(Encoding::Json);
            of(StatusCode::OK, encoding, success(encoding, what, &rejected))
        }
        Err(refusal) => refused(encoding.unwrap_or(Encoding::Json), refusal),
    }
}

async fn caller(parts: &mut Parts, edge: &Edge) -> Result<Caller, Refusal> {
    let caller = Caller::from_request_parts(parts, edge).await?;
    caller.require(&[Role::Writer])?;
    Ok(caller)
}

fn unsupported() -> Refusal {
    Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        code::UNSUPPORTED_MEDIA_TYPE,
        "send application/x-protobuf or application/json, plain or with Content-Encoding: gzip",
    )
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(unsupported()),
    }
}

/// The body without its compression. Never more than the limit is in memory, however much it would grow to.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::new();
    let limit = OTLP_BODY_BYTES_MAX as u64;
    // A body may be several streams one behind the other. Whatever else stands behind one is no gzip.
    let mut reader = MultiGzDecoder::new(bytes).take(limit + 1);
    let read = reader.read_to_end(&mut inflated);
    read.map_err(|error| Refusal::bad_request(format!("the body is not gzip: {error}")))?;
    if inflated.len() > OTLP_BODY_BYTES_MAX {
        return Err(too_large(format!(
            "a body has at most {OTLP_BODY_BYTES_MAX} bytes, also without its compression"
        )));
    }
    Ok(inflated)
}

fn of(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(encoding.media_type())),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Body::from(body)).into_response()
}

/// A refusal with its headers, and the body that exporters expect.
fn refused(encoding: Encoding, refusal: Refusal) -> Response {
    let message = format!("{}: {}", refusal.code, refusal.message);
    let body = status_body(encoding, refusal.status.as_u16(), &message);
    let mut response = refusal.into_response();
    *response.body_mut() = Body::from(body);
    let media_type = HeaderValue::from_static(encoding.media_type());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn count_rejected(signal: &'static str, rejected: &Rejected) {
    counter!("ruche_otlp_rejected_total", "signal" => signal).increment(rejected.count as u64);
}

/// Records sessions side by side, and the spans of each one after the other: a call is asked for before it runs.
async fn record(
    edge: &Edge,
    caller: &Caller,
    sessions: Vec<ObservedSession>,
    rejected: &mut Rejected,
) -> Result<(), Refusal> {
    let mut done = stream::iter(sessions)
        .map(|session| record_session(edge, caller, session))
        .buffer_unordered(OTLP_SESSIONS_AT_ONCE_MAX);
    while let Some(of_session) = done.next().await {
        rejected.merge(of_session?);
    }
    Ok(())
}

async fn record_session(edge: &Edge, caller: &Caller, session: ObservedSession) -> Result<Rejected, Refusal> {
    let mut rejected = Rejected::default();
    let started = match start(edge, caller, &session).await {
        Ok(started) => started,
        Err(error) if is_final(&error) => {
            session.spans.iter().for_each(|_| rejected.add(error.to_string()));
            return Ok(rejected);
        }
        Err(error) => return Err(later(&error)),
    };
    for span in session.spans {
        let kind = span.kind;
        match record_span(edge, caller, started, span).await {
            Ok(is_new) => {
                count_span(kind, is_new);
                if is_new {
                    heard_of(edge, caller, started);
                }
            }
            Err(error) if is_final(&error) => rejected.add(error.to_string()),
            // Those that were recorded are recorded; sent again they are found to be.
            Err(error) => return Err(later(&error)),
        }
    }
    Ok(rejected)
}

/// A session and whose data it holds.
type Started = (SessionId, Option<SubjectId>);

async fn start(edge: &Edge, caller: &Caller, session: &ObservedSession) -> Result<Started, CommandError> {
    let ledger = LedgerId::main_of(caller.principal.tenant);
    let id = edge.services.commands.secrets_of(ledger);
    let id = id.references.session(&session.external_id);
    if let Some(subject) = edge.otlp_sessions.get(ledger, id) {
        return Ok((id, subject));
    }
    // Whoever else starts it meanwhile is found by the session's stream, so the key only has to be one.
    let key = ruche_domain::ports::event_id(&*edge.services.clock, &*edge.services.random);
    let context = command_context(caller, Provenance::Observed, &format!("otlp-session:{key}"));
    let receipt = edge
        .services
        .commands
        .execute(&context, &StartObserved::new(session))
        .await?;
    let subject = receipt.events.first().and_then(|first| first.event.subject);
    edge.otlp_sessions.put(ledger, id, subject);
    Ok((id, subject))
}

fn heard_of(edge: &Edge, caller: &Caller, (session, subject): Started) {
    let tenant = caller.principal.tenant;
    let derive = DeriveFromCalls { session, subject };
    edge.otlp_settling.heard_of(&edge.services, tenant, derive);
}

fn count_span(kind: Kind, is_new: bool) {
    let outcome = match (is_new, kind) {
        (false, _) => "duplicate",
        (true, Kind::Classified) => "classified",
        (true, Kind::Structure) => "structure",
        (true, Kind::Unclassified) => "unclassified",
    };
    counter!("ruche_otlp_spans_total", "outcome" => outcome).increment(1);
}

/// Records what a span leaves; tells whether it was new.
async fn record_span(
    edge: &Edge,
    caller: &Caller,
    (session, subject): Started,
    span: ObservedSpan,
) -> Result<bool, CommandError> {
    // Of a span that says something else than one with its ids nothing is recorded, what it shares with others neither.
    if let Some(own) = span.own_behind_shared() {
        let context = observed(caller, span.trace, own);
        edge.services.commands.execute(&context, &AskUnit(own)).await?;
    }
    let mut is_new = false;
    for unit in span.units {
        let context = observed(caller, span.trace, &unit);
        let command = RecordUnit {
            session,
            subject,
            turn: span.turn.clone(),
            unit,
        };
        let receipt = edge.services.commands.execute(&context, &command).await?;
        is_new |= !receipt.duplicate;
    }
    Ok(is_new)
}

fn observed(caller: &Caller, trace: Option<TraceContext>, unit: &Unit) -> CommandContext {
    let mut context = command_context(caller, Provenance::Observed, &unit.key);
    // The trace that is observed, and not that of the request that tells it.
    context.trace = trace.or(context.trace);
    context
}

/// Whether sending it again cannot help.
fn is_final(error: &CommandError) -> bool {
    !error.retryable() && !matches!(error, CommandError::Internal(_))
}

/// The refusal of a whole request that may be sent again.
fn later(error: &CommandError) -> Refusal {
    match error {
        CommandError::Internal(source) => {
            tracing::error!(error = %crate::error::chain(source.as_ref()), "a span was not recorded");
            Refusal::internal()
        }
        CommandError::Unavailable(source) => {
            tracing::warn!(error = %crate::error::chain(source.as_ref()), "a span was not recorded");
            Refusal::unavailable("the store is not available")
        }
        other => {
            let wait = other.retry_after_ms().unwrap_or(OVERLOADED_RETRY_AFTER_MS);
            Refusal::overloaded(other.to_string(), wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[test]
    fn all_streams_of_a_body_are_read_and_what_is_none_is_refused() {
        let two = [zipped(b"one "), zipped(b"two")].concat();
        let bytes = inflated(&two).unwrap_or_else(|_| panic!("it is gzip"));
        assert_eq!(bytes, b"one two");
        let behind = [zipped(b"one "), b"two".to_vec()].concat();
        let refused = inflated(&behind).expect_err("what stands behind is no gzip");
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let cut = &two[..two.len() - 1];
        assert!(inflated(cut).is_err(), "the end is missing");
        let half = vec![0; OTLP_BODY_BYTES_MAX / 2 + 1];
        let large = [zipped(&half), zipped(&half)].concat();
        let refused = inflated(&large).expect_err("together they are too long");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
