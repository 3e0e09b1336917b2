use ruche_domain::events::{SessionEndReason, SessionEnded, SessionStarted};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::numbers::{SchemaVersion, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::ExpectedVersion;
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use crate::error::CommandError;
use crate::session::{observed_stream, session_stream};
use crate::testing::{NoObjection, TestLedger, given, references, session};
use crate::{AppendEvents, AppendTarget, ClientEvent, OwnCategory, SessionRef, StartSession};

fn to_session(events: Vec<ClientEvent>) -> AppendEvents {
    AppendEvents::new(
        AppendTarget::Session(SessionRef::External("s-1".to_owned())),
        events,
    )
}

fn note(text: &str) -> ClientEvent {
    ClientEvent::text("eval.scored", text)
}

#[test]
fn events_go_where_they_belong() {
    let message = ClientEvent::json("message.received", &json!({ "role": "user", "text": "hi" }));
    let given = given().in_session("s-1", SessionStarted::default());
    let events = given
        .when(&to_session(vec![message, note(r#"{"name":"n"}"#)]))
        .events();
    assert_eq!(events[0].stream, observed_stream(session("s-1")));
    assert_eq!(events[1].stream, session_stream(session("s-1")));
    assert!(events.iter().all(|event| event.session == Some(session("s-1"))));
}

#[test]
fn things_of_the_clients_own_need_no_session() {
    let target = AppendTarget::Named {
        category: OwnCategory::Goal,
        external_id: "g-1".to_owned(),
    };
    let event = ClientEvent::text("goal.achieved", "{}");
    let events = given().when(&AppendEvents::new(target, vec![event])).events();
    assert_eq!(
        events[0].stream,
        StreamId::new(Category::Goal, references().other("goal", "g-1"))
    );
    assert_eq!(events[0].session, None);
}

#[test]
fn a_session_must_have_been_started_and_may_be_over() {
    given()
        .when(&to_session(vec![note("{}")]))
        .refused("ILLEGAL_TRANSITION");
    given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", SessionEnded::new(SessionEndReason::Completed))
        .when(&to_session(vec![note("{}")]))
        .events();
}

#[test]
fn what_clients_may_not_write_is_refused() {
    for reserved in [
        "turn.committed",
        "infra.ledger.opened",
        "tool.started",
        "sim.message.received",
        "nonsense.x",
        "",
    ] {
        let command = to_session(vec![note("{}"), ClientEvent::text(reserved, "{}")]);
        given().when(&command).refused("RESERVED_NAMESPACE");
    }
    for category in [
        Category::Lane,
        Category::Ledger,
        Category::Tool,
        Category::Config,
        Category::Access,
    ] {
        let target = AppendTarget::Stream(StreamId::new(category, Uuid::from_u128(1)));
        given()
            .when(&AppendEvents::new(target, vec![note("{}")]))
            .refused("RESERVED_NAMESPACE");
    }
}

#[test]
fn unknown_types_and_versions_are_refused() {
    let unknown = to_session(vec![note("{}"), ClientEvent::text("message.guessed", "{}")]);
    let refusal = given().when(&unknown).refused("UNKNOWN_EVENT_TYPE");
    assert!(matches!(refusal, CommandError::UnknownEventType { event: 1, .. }));
    for version in [0, 2] {
        let mut event = note("{}");
        event.payload.schema_version = SchemaVersion(version);
        given()
            .when(&to_session(vec![event]))
            .refused("UNKNOWN_EVENT_TYPE");
    }
}

#[test]
fn the_number_of_events_is_bounded_both_ways() {
    given().when(&to_session(Vec::new())).refused("INVALID_INPUT");
    let many = vec![note("{}"); EVENTS_PER_APPEND_MAX + 1];
    given().when(&to_session(many)).refused("LIMIT_EXCEEDED");
}

#[test]
fn an_expected_version_is_of_one_stream() {
    let message = ClientEvent::text("message.received", r#"{"role":"user"}"#);
    let mut command = to_session(vec![message, note("{}")]);
    command.expected = Some(ExpectedVersion::NoStream);
    given()
        .in_session("s-1", SessionStarted::default())
        .when(&command)
        .refused("INVALID_INPUT");
}

async fn ledger() -> TestLedger {
    let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
    let start = StartSession::new("s-1");
    ledger
        .commands
        .execute(&ledger.context.with_key("start"), &start)
        .await
        .unwrap();
    ledger
}

#[tokio::test]
async fn the_bytes_of_a_client_are_stored_as_they_came() {
    let ledger = ledger().await;
    let text = "{ \"name\" : \"caf\\u00e9\",\n\t\"value\": 1.50 }  ";
    let command = to_session(vec![note(text)]);
    let receipt = ledger
        .commands
        .execute(&ledger.context.with_key("k"), &command)
        .await
        .unwrap();
    let records = ledger.stream(session_stream(ledger.session("s-1"))).await;
    assert_eq!(records[1].payload_bytes(), Some(text.as_bytes()));
    assert_eq!(receipt.events[0].payload.as_deref(), Some(text.as_bytes()));
    assert_eq!(records[1].receipt(), receipt.events[0].receipt);
}

#[tokio::test]
async fn payloads_that_mean_two_things_are_refused_with_their_place_and_change_nothing() {
    let ledger = ledger().await;
    let before = ledger.size().await;
    let cases = [
        (r#"{"name":"a","ext":{"k":1,"k":2}}"#, "/ext/k"),
        (r#"{"name":"a\u0000"}"#, "/name"),
        (
            r#"{"name":"a","ext":{"n":123456789012345678901234567890}}"#,
            "/ext/n",
        ),
        ("{", ""),
    ];
    for (number, (text, place)) in cases.into_iter().enumerate() {
        let command = to_session(vec![note(r#"{"name":"fine"}"#), note(text)]);
        let context = ledger.context.with_key(format!("bad-{number}"));
        let refusal = ledger.commands.execute(&context, &command).await.unwrap_err();
        match refusal {
            CommandError::InvalidPayload {
                event: 1, pointer, ..
            } => assert_eq!(pointer, place, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(ledger.size().await, before);
}

#[tokio::test]
async fn what_a_schema_lets_pass_and_no_reader_reads_is_a_violation() {
    let ledger = ledger().await;
    // An integer to JSON schema, and no u64 to us.
    let event = ClientEvent::text("message.received", r#"{"role":"user","message_ordinal":1.0}"#);
    let refusal = ledger
        .commands
        .execute(&ledger.context.with_key("k"), &to_session(vec![event]))
        .await
        .unwrap_err();
    match refusal {
        CommandError::SchemaViolation { violations, .. } => {
            assert_eq!(violations[0].pointer, "/message_ordinal")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_convenience_form_refuses_what_a_client_has_rounded() {
    let ledger = ledger().await;
    let value = json!({ "name": "n", "ext": { "n": (1u64 << 53) + 1 } });
    let refused = to_session(vec![ClientEvent::json("eval.scored", &value)]);
    let error = ledger
        .commands
        .execute(&ledger.context.with_key("j"), &refused)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "INVALID_PAYLOAD");
    let exact = to_session(vec![note(&value.to_string())]);
    ledger
        .commands
        .execute(&ledger.context.with_key("t"), &exact)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_expects_another_version_is_told_and_nothing_is_retried() {
    let ledger = ledger().await;
    let mut command = to_session(vec![note(r#"{"name":"n"}"#)]);
    command.expected = Some(ExpectedVersion::Exact(StreamVersion(7)));
    let refusal = ledger
        .commands
        .execute(&ledger.context.with_key("k"), &command)
        .await
        .unwrap_err();
    match refusal {
        CommandError::WrongExpectedVersion { actual, .. } => assert_eq!(actual, Some(StreamVersion(0))),
        other => panic!("{other:?}"),
    }
    command.expected = Some(ExpectedVersion::Exact(StreamVersion(0)));
    ledger
        .commands
        .execute(&ledger.context.with_key("k"), &command)
        .await
        .unwrap();
}
