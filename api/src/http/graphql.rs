//! GraphQL over HTTP, and the door to GraphQL over WebSocket.
//!
//! - Queries and mutations: POST with `application/json`. Queries also: GET. A mutation by GET is refused, and so is
//!   every body that another site's page could send without being asked (forms, plain text).
//! - The answer has the type that the client prefers. As `application/graphql-response+json` its status says whether
//!   the operation ran; as `application/json` every well-formed request is answered 200.
//! - A GET that asks for an upgrade becomes a WebSocket; one that asks for HTML gets the console page.

mod protocol;
mod socket;

use axum::RequestExt;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, UPGRADE, VARY};
use http::{HeaderValue, Method, StatusCode};

use super::accept::{self, AnswerType};
use super::body::require_media_type;
use super::{Caller, Edge, Refusal, console};
use crate::error_codes as code;
use crate::graphql::{Answer, OperationType, Params, ParamsFault};
use crate::limits::BODY_BYTES_MAX;

pub use socket::Sockets;

/// Answers everything at `/graphql`.
pub async fn serve(State(edge): State<Edge>, request: Request) -> Response {
    if request.method() == Method::GET && request.headers().contains_key(UPGRADE) {
        return socket::upgrade(edge, request).await;
    }
    let Some(answer_type) = accept::negotiate(request.headers()) else {
        if request.method() == Method::GET && accept::wants_html(request.headers()) {
            return console::workbench(&edge, request).await;
        }
        let message = "answers are application/graphql-response+json or application/json";
        return Refusal::new(StatusCode::NOT_ACCEPTABLE, code::NOT_ACCEPTABLE, message).into_response();
    };
    let html = accept::wants_html(request.headers()) && request.uri().query().is_none();
    if request.method() == Method::GET && html {
        return console::workbench(&edge, request).await;
    }
    match answer(&edge, request, answer_type).await {
        Ok(response) => response,
        Err(refusal) => refusal.answered_as(answer_type.name()).into_response(),
    }
}

async fn answer(edge: &Edge, mut request: Request, answer_type: AnswerType) -> Result<Response, Refusal> {
    let by_post = match *request.method() {
        Method::POST => true,
        Method::GET => false,
        _ => {
            return Err(Refusal::method_not_allowed(
                "GraphQL takes POST, and GET for queries",
                Some("GET, POST"),
            ));
        }
    };
    let caller: Caller = request.extract_parts_with_state(edge).await?;
    let (params, transport) = if by_post {
        (posted(edge, request).await?, "post")
    } else {
        (in_address(&request)?, "get")
    };
    let prepared = match edge.engine.prepare(params) {
        Ok(prepared) => prepared,
        Err(refused) => return Ok(respond(answer_type, &refused)),
    };
    match prepared.kind {
        Some(OperationType::Mutation) if !by_post => {
            return Err(Refusal::method_not_allowed(
                "mutations are sent by POST",
                Some("POST"),
            ));
        }
        Some(OperationType::Subscription) => {
            let message = "subscriptions run over graphql-transport-ws at this address";
            return Ok(respond(
                answer_type,
                &Answer::refusal(code::GRAPHQL_VALIDATION_FAILED, message),
            ));
        }
        Some(OperationType::Mutation | OperationType::Query) | None => {}
    }
    let answer = edge.engine.execute(prepared, caller, transport).await;
    Ok(respond(answer_type, &answer))
}

async fn posted(edge: &Edge, request: Request) -> Result<Params, Refusal> {
    require_media_type(request.headers(), &["application/json"])?;
    let (parts, body) = request.into_parts();
    let read = edge.budget.read(&parts.headers, body, BODY_BYTES_MAX).await?;
    Params::from_json(&read.bytes).map_err(of_params)
}

fn in_address(request: &Request) -> Result<Params, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let pairs =
        pairs_of(query).ok_or_else(|| Refusal::bad_request("the query string is not form-encoded UTF-8"))?;
    Params::from_query_string(pairs).map_err(of_params)
}

/// The pairs of a form-encoded query string.
pub(super) fn pairs_of(query: &str) -> Option<Vec<(String, String)>> {
    let uri = format!("/?{query}").parse().ok()?;
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok()?;
    Some(pairs.0)
}

fn of_params(fault: ParamsFault) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, fault.code, fault.message)
}

fn respond(answer_type: AnswerType, answer: &Answer) -> Response {
    let status = match answer_type {
        AnswerType::GraphqlResponse if !answer.executed => StatusCode::BAD_REQUEST,
        AnswerType::GraphqlResponse | AnswerType::Json => StatusCode::OK,
    };
    let media_type = match answer_type {
        AnswerType::Json => "application/json; charset=utf-8",
        AnswerType::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (VARY, HeaderValue::from_static("accept, authorization")),
    ];
    (status, headers, Body::from(answer.to_json())).into_response()
}
