use ruche_domain::events::{EvalScored, SessionEndReason, SessionEnded, SessionStarted};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::numbers::{SchemaVersion, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::ExpectedVersion;
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use crate::error::CommandError;
use crate::session::{observed_stream, session_stream};
use crate::testing::{Given, NoObjection, TestLedger, given, references, session};
use crate::{AppendEvents, AppendTarget, ClientEvent, EndSession, OwnCategory, SessionRef, StartSession};

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

fn said(event_type: &str) -> ClientEvent {
    ClientEvent::text(event_type, r#"{"role":"user"}"#)
}

fn ended() -> Given {
    given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", SessionEnded::new(SessionEndReason::Completed))
        .in_session("s-1", EvalScored::new("reward".to_owned()))
}

#[test]
fn nothing_more_is_said_in_a_session_that_is_over() {
    for target in [
        AppendTarget::Session(SessionRef::External("s-1".to_owned())),
        AppendTarget::Stream(observed_stream(session("s-1"))),
    ] {
        for spoken in ["message.received", "message.sent", "llm.responded"] {
            let command = AppendEvents::new(target.clone(), vec![said(spoken)]);
            let refusal = ended().when(&command).refused("ILLEGAL_TRANSITION");
            assert!(
                matches!(refusal, CommandError::IllegalTransition { state: "ended", .. }),
                "{refusal:?}"
            );
            given()
                .in_session("s-1", SessionStarted::default())
                .when(&command)
                .events();
        }
    }
    // All or none: what would be allowed alone is not written beside it.
    ended()
        .when(&to_session(vec![note("{}"), said("message.received")]))
        .refused("ILLEGAL_TRANSITION");
}

#[test]
fn what_is_said_about_a_session_may_come_after_its_end() {
    for target in [
        AppendTarget::Session(SessionRef::External("s-1".to_owned())),
        AppendTarget::Stream(session_stream(session("s-1"))),
    ] {
        for about in ["feedback.given", "eval.scored", "artifact.created"] {
            let command = AppendEvents::new(target.clone(), vec![ClientEvent::text(about, "{}")]);
            let events = ended().when(&command).events();
            assert_eq!(events[0].stream, session_stream(session("s-1")), "{about}");
        }
    }
}

#[test]
fn a_stream_of_a_session_takes_only_what_belongs_to_it() {
    let cases = [
        (session_stream(session("s-1")), said("message.received")),
        (session_stream(session("s-1")), said("llm.requested")),
        (observed_stream(session("s-1")), note("{}")),
    ];
    for (stream, event) in cases {
        let refusal = given()
            .in_session("s-1", SessionStarted::default())
            .when(&AppendEvents::new(AppendTarget::Stream(stream), vec![event]))
            .refused("INVALID_INPUT");
        let CommandError::InvalidInput { field, reason } = refusal else {
            panic!()
        };
        assert_eq!(field, "/target/stream");
        assert!(reason.contains("name the session as the target"), "{reason}");
    }
}

#[test]
fn a_type_of_no_family_is_unknown_and_not_reserved() {
    for unknown in ["foo.bar", "", "nonsense", "Message.received", " turn.opened", "."] {
        let command = to_session(vec![ClientEvent::text(unknown, "{}")]);
        let refusal = given().when(&command).refused("UNKNOWN_EVENT_TYPE");
        let CommandError::UnknownEventType { event_type, .. } = refusal else {
            panic!()
        };
        assert_eq!(event_type, unknown);
    }
}

#[test]
fn what_clients_may_not_write_is_refused() {
    for reserved in [
        "turn.committed",
        "infra.ledger.opened",
        "tool.started",
        "tool.no_such_thing",
        "sim.message.received",
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

#[tokio::test]
async fn a_message_after_the_end_changes_nothing_and_its_retry_gives_the_first_answer() {
    let ledger = ledger().await;
    let message = to_session(vec![said("message.received")]);
    let execute = |key: &str| {
        let context = ledger.context.with_key(key);
        let (commands, message) = (&ledger.commands, &message);
        async move { commands.execute(&context, message).await }
    };
    let first = execute("before").await.unwrap();
    let end = EndSession::new(
        SessionRef::External("s-1".to_owned()),
        SessionEndReason::Completed,
    );
    let context = ledger.context.with_key("end");
    ledger.commands.execute(&context, &end).await.unwrap();
    let size = ledger.size().await;
    assert_eq!(execute("after").await.unwrap_err().code(), "ILLEGAL_TRANSITION");
    assert_eq!(ledger.size().await, size);
    let again = execute("before").await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.events, first.events);
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
async fn a_list_of_memory_that_is_too_long_is_a_violation_with_its_place() {
    let ledger = ledger().await;
    let names = |items: usize| (0..items).map(|n| n.to_string()).collect::<Vec<_>>();
    let most = ruche_domain::limits::MEMORY_LIST_ITEMS_MAX;
    let told = |items: usize| {
        let names = names(items);
        let hits: Vec<_> = names.iter().map(|id| json!({ "record_id": id })).collect();
        let documents: Vec<_> = names.iter().map(|id| json!({ "document_id": id })).collect();
        [
            (
                "memory.written",
                "/source_refs",
                json!({ "record_id": "r", "content": "c", "source_event_ids": [], "source_refs": names }),
            ),
            (
                "memory.searched",
                "/results",
                json!({ "store": "s", "results": hits }),
            ),
            (
                "memory.retrieved",
                "/documents",
                json!({ "source": "s", "documents": documents }),
            ),
            (
                "memory.compacted",
                "/replaced_record_ids",
                json!({ "summary": "s", "replaced_record_ids": names }),
            ),
            (
                "memory.reextracted",
                "/record_ids",
                json!({ "extractor_digest": "ab".repeat(32), "record_ids": names }),
            ),
        ]
    };
    for (event_type, place, data) in told(most + 1) {
        let command = to_session(vec![ClientEvent::json(event_type, &data)]);
        let refusal = ledger
            .commands
            .execute(&ledger.context.with_key("k"), &command)
            .await;
        match refusal {
            Err(CommandError::SchemaViolation { violations, .. }) => {
                assert_eq!(violations[0].pointer, place);
                assert!(violations[0].reason.contains("has 1001 items"), "{violations:?}");
            }
            other => panic!("{event_type}: {other:?}"),
        }
    }
    for (event_type, _, data) in told(most) {
        let command = to_session(vec![ClientEvent::json(event_type, &data)]);
        let context = ledger.context.with_key(event_type);
        let taken = ledger.commands.execute(&context, &command).await;
        assert!(taken.is_ok(), "{event_type}: {taken:?}");
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
