use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    EvalScored, MessageReceived, MessageSent, Role, SessionEndReason, SessionEnded, SessionStarted,
};
use ruche_domain::numbers::Micros;

use crate::error::CommandError;
use crate::testing::{given, references, session};
use crate::{EndSession, ReceiveMessage, SessionRef, StartSession};

fn external(id: &str) -> SessionRef {
    SessionRef::External(id.to_owned())
}

fn end(id: &str) -> EndSession {
    EndSession::new(external(id), SessionEndReason::Completed)
}

fn hello(id: &str) -> ReceiveMessage {
    ReceiveMessage {
        session: external(id),
        message: MessageReceived {
            text: Some("hello".to_owned()),
            ..MessageReceived::new(Role::User)
        },
    }
}

#[test]
fn a_session_starts_once() {
    let start = StartSession::new("s-1");
    let events = given().when(&start).events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].session, Some(session("s-1")));
    let refusal = given()
        .in_session("s-1", SessionStarted::default())
        .when(&start)
        .refused("ILLEGAL_TRANSITION");
    let CommandError::IllegalTransition { state, legal, .. } = refusal else {
        panic!()
    };
    assert_eq!(state, "open");
    assert!(legal.contains(&"EndSession") && !legal.contains(&"StartSession"));
}

#[test]
fn a_session_that_ended_is_not_started_anew_and_the_refusal_says_that_it_ended() {
    let refusal = given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", SessionEnded::new(SessionEndReason::Completed))
        .in_session("s-1", EvalScored::new("reward".to_owned()))
        .when(&StartSession::new("s-1"))
        .refused("ILLEGAL_TRANSITION");
    let CommandError::IllegalTransition { state, legal, .. } = refusal else {
        panic!()
    };
    assert_eq!(
        (state, legal.as_slice()),
        ("ended", &["AppendEvents", "ScoreSession"][..])
    );
}

#[test]
fn a_session_without_a_name_is_named_after_the_key() {
    let start = StartSession {
        started: SessionStarted::default(),
    };
    let events = given().when(&start).events();
    assert_eq!(
        events[0].session.unwrap().0,
        references().other("session-of-key", "test-key")
    );
}

#[test]
fn the_interlocutor_is_the_subject_of_all_that_follows() {
    let mut start = StartSession::new("s-1");
    start.started.interlocutor_id = Some("mia".to_owned());
    start.started.started_at = Some(Micros(5));
    let events = given().when(&start).events();
    assert_eq!(events[0].subject, Some(references().subject("mia")));
    assert_eq!(events[0].occurred_at, Some(Micros(5)));
    let then = given()
        .in_session("s-1", start.started.clone())
        .when(&hello("s-1"))
        .events();
    assert_eq!(then[0].subject, Some(references().subject("mia")));
}

#[test]
fn ids_are_checked() {
    for bad in ["", "a\u{0}b", "line\nbreak", &"x".repeat(256)] {
        given().when(&StartSession::new(bad)).refused("INVALID_INPUT");
        given().when(&end(bad)).refused("INVALID_INPUT");
    }
    given().when(&StartSession::new("x".repeat(255))).events();
}

#[test]
fn only_an_open_session_ends() {
    let started = SessionStarted::default;
    given().when(&end("s-1")).refused("ILLEGAL_TRANSITION");
    let ended = given().in_session("s-1", started()).when(&end("s-1")).facts();
    assert!(matches!(&ended[..], [AgentEvent::SessionEnded(e)] if e.reason == SessionEndReason::Completed));
    given()
        .in_session("s-1", started())
        .in_session("s-1", ended[0].clone())
        .when(&end("s-1"))
        .refused("ILLEGAL_TRANSITION");
}

#[test]
fn what_others_append_about_a_session_does_not_end_it() {
    given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", EvalScored::new("reward".to_owned()))
        .when(&end("s-1"))
        .events();
}

#[test]
fn messages_are_numbered_on_whatever_the_client_says() {
    let sent = MessageSent {
        message_ordinal: Some(6),
        ..MessageSent::new(Role::Assistant)
    };
    let mut message = hello("s-1");
    message.message.message_ordinal = Some(0);
    message.message.received_at = Some(Micros(9));
    let given = given()
        .in_session("s-1", SessionStarted::default())
        .observed("s-1", sent);
    let events = given.when(&message).events();
    assert_eq!(events[0].occurred_at, Some(Micros(9)));
    let crate::command::Content::Fact(AgentEvent::MessageReceived(received)) = &events[0].content else {
        panic!()
    };
    assert_eq!(received.message_ordinal, Some(7));
    assert_eq!(received.message_id, Some(references().message(session("s-1"), 7)));
}

#[test]
fn nobody_speaks_in_a_session_that_is_not_open() {
    given().when(&hello("s-1")).refused("ILLEGAL_TRANSITION");
    let ended = SessionEnded::new(SessionEndReason::TimedOut);
    let given = given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", ended);
    given.when(&hello("s-1")).refused("ILLEGAL_TRANSITION");
}
