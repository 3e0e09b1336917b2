use super::*;
use crate::events::common::Role;

#[test]
fn clients_may_append_nine_families() {
    for open in [
        "message", "llm", "memory", "plan", "goal", "eval", "feedback", "artifact", "state",
    ] {
        assert!(!is_reserved(&format!("{open}.anything")), "{open} is closed");
    }
    for closed in [
        "infra.ledger.opened",
        "turn.committed",
        "tool.completed",
        "session.started",
        "config.published",
        "policy.evaluated",
        "approval.voted",
        "scenario.entered",
        "schedule.fired",
        "agent.delegated",
        "sim.message.received",
        "sim",
        "",
        "Message.received",
        " message.received",
        "other.thing",
    ] {
        assert!(is_reserved(closed), "{closed} is open");
    }
}

#[test]
fn the_catalogue_is_consistent() {
    for descriptor in CATALOGUE {
        let (family, name) = descriptor.event_type.split_once('.').unwrap();
        assert_eq!(family, descriptor.family.name());
        assert!(!name.is_empty());
        assert!(descriptor.event_type.len() + "sim.".len() <= crate::limits::EVENT_TYPE_BYTES_MAX);
        assert_eq!(descriptor.writer, descriptor.family.writer());
        assert_eq!(
            is_reserved(descriptor.event_type),
            descriptor.writer != Writer::Client
        );
        assert!(std::ptr::eq(
            super::descriptor(descriptor.event_type).unwrap(),
            descriptor
        ));
        let simulated = super::descriptor(&format!("sim.{}", descriptor.event_type)).unwrap();
        assert_eq!(simulated.writer, Writer::System);
        assert!(is_reserved(simulated.event_type));
    }
    assert_eq!(
        BY_TYPE.len(),
        CATALOGUE.len() + SIMULATED.len(),
        "a name stands twice"
    );
}

#[test]
fn payloads_are_compact_and_in_field_order() {
    let mut message = MessageReceived::new(Role::User);
    message.text = Some(String::new());
    message.message_ordinal = Some(1);
    let event = AgentEvent::from(message);
    assert_eq!(
        event.to_payload(),
        br#"{"role":"user","message_ordinal":1,"text":""}"#
    );
    assert_eq!(event.event_type(), "message.received");
    assert_eq!(event.schema_version(), SchemaVersion(1));
}

#[test]
fn simulated_events_wrap_and_unwrap() {
    let live = AgentEvent::from(MessageRead::default());
    let simulated = live.clone().simulated();
    assert_eq!(simulated.event_type(), "sim.message.read");
    assert_eq!(simulated.clone().simulated(), simulated);
    let back = AgentEvent::from_payload("sim.message.read", SchemaVersion(1), &simulated.to_payload());
    assert_eq!(back, Ok(simulated));
    let twice = AgentEvent::from_payload("sim.sim.message.read", SchemaVersion(1), b"{}");
    assert!(matches!(twice, Err(DomainError::UnknownEventType { .. })));
}

#[test]
fn a_wrong_payload_names_the_place() {
    let read = |bytes: &[u8]| match AgentEvent::from_payload("message.sent", SchemaVersion(1), bytes) {
        Err(DomainError::InvalidPayload { pointer, reason, .. }) => (pointer, reason),
        other => panic!("{other:?}"),
    };
    let (pointer, reason) = read(br#"{"role":"assistant","tool_calls":[{"ordinal":-1}]}"#);
    assert_eq!(pointer, "/tool_calls/0/ordinal");
    assert!(reason.contains("-1"), "{reason}");
    let (_, reason) = read(br#"{"role":"assistant","color":1}"#);
    assert!(reason.contains("unknown field `color`"), "{reason}");
    let (pointer, reason) = read(br#"{}"#);
    assert_eq!(pointer, "");
    assert!(reason.contains("missing field `role`"), "{reason}");
    let (_, reason) = read(br#"{"role":"assistant"} {}"#);
    assert_eq!(reason, "data after the payload");
}

#[test]
fn unknown_types_and_versions_are_told_apart() {
    let read =
        |event_type: &str, version| AgentEvent::from_payload(event_type, SchemaVersion(version), b"{}");
    assert!(matches!(
        read("message.shouted", 1),
        Err(DomainError::UnknownEventType { .. })
    ));
    assert!(matches!(
        read("message.read", 0),
        Err(DomainError::UnknownEventType { .. })
    ));
    assert!(matches!(
        read("message.read", 9),
        Err(DomainError::FutureSchemaVersion {
            schema_version: 9,
            known: 1,
            ..
        })
    ));
}
