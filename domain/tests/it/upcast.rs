//! Old payloads are lifted on read; their bytes stay as they are.

use ruche_domain::DomainError;
use ruche_domain::event::{AgentEvent, descriptor};
use ruche_domain::numbers::SchemaVersion;
use ruche_domain::upcast::{schema_at, to_current};

const OLD: &[u8] = br#" { "channel":"web", "customer_key" : "whatsapp:1", "app":"desk" } "#;

#[test]
fn an_old_session_shows_its_interlocutor() {
    let event = AgentEvent::from_payload("session.started", SchemaVersion(1), OLD);
    let Ok(AgentEvent::SessionStarted(session)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(session.interlocutor_id.as_deref(), Some("whatsapp:1"));
    assert_eq!(session.channel.as_deref(), Some("web"));
}

#[test]
fn the_stored_bytes_stay_as_they_are() {
    let stored = OLD.to_vec();
    let first = to_current(descriptor("session.started").unwrap(), SchemaVersion(1), &stored);
    let second = to_current(descriptor("session.started").unwrap(), SchemaVersion(1), &stored);
    assert_eq!(stored, OLD);
    assert_eq!(first, second, "an upcaster is a function of its input");
    assert_ne!(first.as_deref(), Ok(OLD));
}

#[test]
fn old_and_current_payloads_fit_the_schema_of_their_version_alone() {
    let schema =
        |version| schema_at("session.started", SchemaVersion(version)).expect("there was such a version");
    let fits = |schema: &serde_json::Value, payload: &[u8]| {
        let payload = serde_json::from_slice(payload).expect("JSON");
        jsonschema::draft202012::new(schema)
            .expect("a schema")
            .is_valid(&payload)
    };
    let current = to_current(descriptor("session.started").unwrap(), SchemaVersion(1), OLD).unwrap();
    assert!(fits(&schema(1), OLD) && !fits(&schema(2), OLD));
    assert!(fits(&schema(2), &current) && !fits(&schema(1), &current));
    assert!(schema_at("session.started", SchemaVersion(3)).is_none());
    assert!(schema_at("session.started", SchemaVersion(0)).is_none());
    assert!(schema_at("session.shouted", SchemaVersion(1)).is_none());
}

#[test]
fn simulated_sessions_are_lifted_too() {
    let event = AgentEvent::from_payload("sim.session.started", SchemaVersion(1), OLD).unwrap();
    assert_eq!(event.event_type(), "sim.session.started");
}

#[test]
fn a_version_of_the_future_is_an_error_of_its_own() {
    let read = |version| AgentEvent::from_payload("session.started", SchemaVersion(version), b"{}");
    let future = DomainError::FutureSchemaVersion {
        event_type: "session.started".to_owned(),
        schema_version: 9,
        known: 2,
    };
    assert_eq!(read(9), Err(future));
    assert!(matches!(
        read(0),
        Err(DomainError::UnknownEventType {
            schema_version: 0,
            ..
        })
    ));
}

#[test]
fn old_bytes_that_are_no_object_are_refused() {
    for bytes in [
        &b"[]"[..],
        b"null",
        b"",
        b"{",
        b"{\"customer_id\":1}",
        b"{\"customer_id\":\"a\",\"interlocutor_id\":\"b\"}",
    ] {
        let event = AgentEvent::from_payload("session.started", SchemaVersion(1), bytes);
        assert!(
            matches!(event, Err(DomainError::InvalidPayload { .. })),
            "{event:?}"
        );
    }
}
