//! Plain batch ingest: `POST /v1/events`, for platforms that send much and want no GraphQL around it.
//!
//! The body is one append, a list of appends (`application/json`), or one append per line (`application/x-ndjson`).
//! An append is what `appendEvents` takes, with the same rules on the same code path; its events stand together or not
//! at all. `data` is stored byte for byte as it stands in the body. Appends of one request are independent of each
//! other and may be recorded in any order: what has to keep its order goes into one append.
//!
//! The answer has one entry per append, in the order of the request. Its status is 200 if all were recorded, that of
//! the refusal if the only append was refused, and 207 if some were refused: then each entry says which.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::counter;
use ruche_commands::{
    AppendEvents, AppendTarget, ClientEvent, CommandError, CommandReceipt, OwnCategory, SessionRef, Violation,
};
use ruche_domain::envelope::Provenance;
use ruche_domain::numbers::{SchemaVersion, StreamVersion};
use ruche_domain::strict_json::Profile;
use ruche_ledger::store::ExpectedVersion;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::require_media_type;
use super::{Caller, Edge, Refusal};
use crate::auth::Role;
use crate::error_codes as code;
use crate::graphql::{command_context, format_time, parse_time};
use crate::limits::{BODY_BYTES_MAX, INGEST_APPENDS_AT_ONCE_MAX, INGEST_APPENDS_MAX, INGEST_EVENTS_MAX};

/// What a time has to be.
const TIME_RULE: &str = "has to be RFC 3339 from 1970 on, with at most six digits of a second's fraction and no leap \
    second, such as 2026-01-31T12:00:00.000000Z";

const LINES: &str = "application/x-ndjson";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Append<'b> {
    idempotency_key: String,
    target: Target,
    #[serde(default)]
    expected_version: Option<i64>,
    #[serde(borrow)]
    events: Vec<Event<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Target {
    Session(Session),
    Stream(String),
    Named(Named),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Session {
    Id(String),
    ExternalId(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    category: Category,
    external_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Category {
    Memory,
    Goal,
    Plan,
    Artifact,
    State,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Event<'b> {
    r#type: String,
    #[serde(default = "first_version")]
    schema_version: u32,
    #[serde(default)]
    occurred_at: Option<String>,
    /// The payload; its bytes are stored as they stand.
    #[serde(borrow)]
    data: &'b RawValue,
    #[serde(default)]
    turn_id: Option<String>,
    #[serde(default)]
    call_id: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    causation_id: Option<String>,
}

const fn first_version() -> u32 {
    1
}

/// What became of one append.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    #[serde(rename_all = "camelCase")]
    Recorded {
        duplicate: bool,
        receipts: Vec<EntryReceipt>,
    },
    Refused {
        error: EntryError,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryReceipt {
    position: String,
    leaf_hash: String,
    recorded_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryError {
    code: &'static str,
    message: String,
    /// Place in the append, part by part, where it can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Vec<String>>,
    /// All faults of a payload that does not fit its schema.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<EntryViolation>,
    /// Of `WRONG_EXPECTED_VERSION`: what was expected, and what the stream has; -1 for no event.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    versions: Option<EntryVersions>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    docs: String,
}

#[derive(Serialize)]
struct EntryVersions {
    stream: String,
    expected: i64,
    actual: i64,
}

#[derive(Serialize)]
struct EntryViolation {
    /// JSON pointer into the payload.
    pointer: String,
    reason: String,
}

/// Takes the appends of a request.
pub async fn serve(State(edge): State<Edge>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    caller.require(&[Role::Writer])?;
    let by_line = is_lines(request.headers())?;
    let (parts, body) = request.into_parts();
    let read = edge.budget.read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let text = std::str::from_utf8(&read.bytes).map_err(|_| Refusal::bad_request("the body is not UTF-8"))?;
    let (appends, one) = parse(text, by_line)?;
    let events: usize = appends.iter().map(|append| append.events.len()).sum();
    if appends.len() > INGEST_APPENDS_MAX || events > INGEST_EVENTS_MAX {
        let message =
            format!("a request has at most {INGEST_APPENDS_MAX} appends and {INGEST_EVENTS_MAX} events");
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            code::BODY_TOO_LARGE,
            message,
        ));
    }
    let commands: Vec<(String, Result<AppendEvents, CommandError>)> = appends
        .into_iter()
        .map(|append| (append.idempotency_key.clone(), command(append)))
        .collect();
    let done: Vec<Result<CommandReceipt, CommandError>> = stream::iter(commands)
        .map(|(key, command)| record(edge.clone(), caller.clone(), key, command))
        .buffered(INGEST_APPENDS_AT_ONCE_MAX)
        .collect()
        .await;
    Ok(respond(done, one, by_line))
}

fn is_lines(headers: &HeaderMap) -> Result<bool, Refusal> {
    require_media_type(headers, &["application/json", LINES])?;
    let value = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    Ok(value.len() >= LINES.len() && value[..LINES.len()].eq_ignore_ascii_case(LINES.as_bytes()))
}

/// The appends of a body, and whether it is a single one that stands for itself.
fn parse(text: &str, by_line: bool) -> Result<(Vec<Append<'_>>, bool), Refusal> {
    let wrong = |place: String, error: serde_json::Error| Refusal::bad_request(format!("{place}{error}"));
    if by_line {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let appends = lines.map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| wrong(format!("line {}: ", number + 1), error))
        });
        return Ok((appends.collect::<Result<_, _>>()?, false));
    }
    if text.trim_start().starts_with('[') {
        let appends = serde_json::from_str(text).map_err(|error| wrong(String::new(), error))?;
        return Ok((appends, false));
    }
    let append = serde_json::from_str(text).map_err(|error| wrong(String::new(), error))?;
    Ok((vec![append], true))
}

async fn record(
    edge: Edge,
    caller: Caller,
    idempotency_key: String,
    command: Result<AppendEvents, CommandError>,
) -> Result<CommandReceipt, CommandError> {
    let context = command_context(&caller, Provenance::Reported, &idempotency_key);
    let receipt = edge.services.commands.execute(&context, &command?).await?;
    if !receipt.duplicate {
        counter!("ruche_ingested_events_total").increment(receipt.events.len() as u64);
    }
    Ok(receipt)
}

fn command(append: Append<'_>) -> Result<AppendEvents, CommandError> {
    let target = match append.target {
        Target::Session(Session::Id(id)) => {
            AppendTarget::Session(SessionRef::Id(parsed("/target/session/id", &id)?))
        }
        Target::Session(Session::ExternalId(id)) => AppendTarget::Session(SessionRef::External(id)),
        Target::Stream(name) => AppendTarget::Stream(parsed("/target/stream", &name)?),
        Target::Named(named) => AppendTarget::Named {
            category: match named.category {
                Category::Memory => OwnCategory::Memory,
                Category::Goal => OwnCategory::Goal,
                Category::Plan => OwnCategory::Plan,
                Category::Artifact => OwnCategory::Artifact,
                Category::State => OwnCategory::State,
            },
            external_id: named.external_id,
        },
    };
    let expected = match append.expected_version {
        None => None,
        Some(-1) => Some(ExpectedVersion::NoStream),
        Some(version) => {
            let version = u64::try_from(version);
            let version =
                version.map_err(|_| CommandError::input("/expectedVersion", "must be -1 or more"))?;
            Some(ExpectedVersion::Exact(StreamVersion(version)))
        }
    };
    let events = append
        .events
        .into_iter()
        .enumerate()
        .map(|(number, event)| client_event(number, event));
    Ok(AppendEvents {
        expected,
        ..AppendEvents::new(target, events.collect::<Result<_, _>>()?)
    })
}

fn client_event(number: usize, event: Event<'_>) -> Result<ClientEvent, CommandError> {
    let at = |field: &str| format!("/events/{number}/{field}");
    let time = event
        .occurred_at
        .map(|text| parse_time(&text).ok_or_else(|| CommandError::input(at("occurredAt"), TIME_RULE)));
    let mut client = ClientEvent::text(event.r#type, event.data.get());
    client.payload.schema_version = SchemaVersion(event.schema_version);
    client.payload.profile = Profile::Exact;
    client.occurred_at = time.transpose()?;
    client.turn = event.turn_id.map(|id| parsed(&at("turnId"), &id)).transpose()?;
    client.call = event.call_id.map(|id| parsed(&at("callId"), &id)).transpose()?;
    client.causation = event
        .causation_id
        .map(|id| parsed(&at("causationId"), &id))
        .transpose()?;
    client.correlation = event.correlation_id;
    Ok(client)
}

fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, CommandError> {
    text.parse()
        .map_err(|_| CommandError::input(field, "is not of the form that is expected"))
}

fn respond(done: Vec<Result<CommandReceipt, CommandError>>, one: bool, by_line: bool) -> Response {
    let refused = done.iter().filter_map(|result| result.as_ref().err());
    let status = match (refused.map(status_of).next(), one) {
        (None, _) => StatusCode::OK,
        (Some(status), true) => status,
        (Some(_), false) => StatusCode::MULTI_STATUS,
    };
    let entries: Vec<Entry> = done.into_iter().map(entry).collect();
    let (text, media_type) = match (entries.as_slice(), one, by_line) {
        ([entry], true, _) => (to_text(entry), "application/json; charset=utf-8"),
        (entries, _, true) => {
            let lines: Vec<String> = entries.iter().map(|entry| to_text(entry) + "\n").collect();
            (lines.concat(), "application/x-ndjson; charset=utf-8")
        }
        (entries, _, false) => (to_text(&entries), "application/json; charset=utf-8"),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Body::from(text)).into_response()
}

fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("entries have text keys and no failing serialisers")
}

fn entry(result: Result<CommandReceipt, CommandError>) -> Entry {
    match result {
        Ok(receipt) => Entry::Recorded {
            duplicate: receipt.duplicate,
            receipts: receipt.receipts().into_iter().map(entry_receipt).collect(),
        },
        Err(error) => {
            if let CommandError::Internal(source) | CommandError::Unavailable(source) = &error {
                tracing::error!(error = %crate::error::chain(source.as_ref()), "an append failed");
            }
            Entry::Refused {
                error: EntryError {
                    code: error.code(),
                    message: error.to_string(),
                    path: error.path(),
                    violations: violations(&error),
                    versions: versions(&error),
                    retryable: error.retryable(),
                    retry_after_ms: error.retry_after_ms(),
                    docs: code::page(error.code()),
                },
            }
        }
    }
}

fn violations(error: &CommandError) -> Vec<EntryViolation> {
    let CommandError::SchemaViolation { violations, .. } = error else {
        return Vec::new();
    };
    let entry = |violation: &Violation| EntryViolation {
        pointer: violation.pointer.clone(),
        reason: violation.reason.clone(),
    };
    violations.iter().map(entry).collect()
}

fn versions(error: &CommandError) -> Option<EntryVersions> {
    let CommandError::WrongExpectedVersion {
        stream,
        expected,
        actual,
    } = error
    else {
        return None;
    };
    let number = |version: Option<StreamVersion>| {
        version.map_or(-1, |version| i64::try_from(version.0).unwrap_or(i64::MAX))
    };
    let expected = match expected {
        ExpectedVersion::Exact(version) => Some(*version),
        ExpectedVersion::NoStream => None,
    };
    Some(EntryVersions {
        stream: stream.to_string(),
        expected: number(expected),
        actual: number(*actual),
    })
}

fn entry_receipt(receipt: ruche_ledger::store::Receipt) -> EntryReceipt {
    EntryReceipt {
        position: receipt.position.to_string(),
        leaf_hash: receipt.leaf_hash.to_string(),
        recorded_at: format_time(receipt.recorded_at),
    }
}

/// The status of a refused append that stands for itself.
fn status_of(error: &CommandError) -> StatusCode {
    match error {
        CommandError::InvalidInput { .. }
        | CommandError::InvalidPayload { .. }
        | CommandError::UnknownEventType { .. } => StatusCode::BAD_REQUEST,
        CommandError::SchemaViolation { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        CommandError::ReservedNamespace { .. } => StatusCode::FORBIDDEN,
        CommandError::IdempotencyMismatch
        | CommandError::WrongExpectedVersion { .. }
        | CommandError::ApprovalMismatch { .. }
        | CommandError::IllegalTransition { .. }
        | CommandError::Archived { .. } => StatusCode::CONFLICT,
        CommandError::LimitExceeded { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        CommandError::NotFound { .. } => StatusCode::NOT_FOUND,
        CommandError::Overloaded { .. }
        | CommandError::Contention { .. }
        | CommandError::Unavailable(_)
        | CommandError::UnknownOutcome => StatusCode::SERVICE_UNAVAILABLE,
        CommandError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_a_version_names_the_stream_and_both_versions() {
        let stream =
            ruche_domain::stream::StreamId::new(ruche_domain::stream::Category::Goal, uuid::Uuid::nil());
        let refused = |expected, actual| {
            let error = CommandError::WrongExpectedVersion {
                stream,
                expected,
                actual,
            };
            serde_json::to_value(entry(Err(error))).expect("entries are JSON")["error"].take()
        };
        let found = refused(ExpectedVersion::NoStream, Some(StreamVersion(3)));
        assert_eq!((&found["expected"], &found["actual"]), (&(-1).into(), &3.into()));
        assert_eq!(found["stream"], stream.to_string());
        let empty = refused(ExpectedVersion::Exact(StreamVersion(7)), None);
        assert_eq!((&empty["expected"], &empty["actual"]), (&7.into(), &(-1).into()));
        let other =
            serde_json::to_value(entry(Err(CommandError::IdempotencyMismatch))).expect("entries are JSON");
        assert!(other["error"].get("expected").is_none());
    }
}
