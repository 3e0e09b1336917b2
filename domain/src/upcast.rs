//! Upcasters: old JSON to current JSON, one version at a time.
//!
//! They run on read. The stored bytes, and so the leaf that commits to them, never change.

mod session_started;

use serde_json::{Map, Value};

use crate::error::DomainError;
use crate::event::EventDescriptor;
use crate::numbers::SchemaVersion;

/// Fields of a payload.
pub type Fields = Map<String, Value>;

/// One step of a chain: lifts `event_type` from version `from` to the version that follows.
pub struct Upcaster {
    /// Event type, without `sim.`.
    pub event_type: &'static str,
    /// Version that it takes.
    pub from: SchemaVersion,
    /// Pure: same fields in, same fields out. The error says what is wrong, without naming the type.
    pub lift: fn(Fields) -> Result<Fields, String>,
    /// The schema of version `from`, frozen.
    pub schema: fn() -> Value,
}

/// All steps, oldest first within a type. The frozen schemas are the released ones of `docs/events`.
pub static UPCASTERS: &[Upcaster] = &[
    Upcaster {
        event_type: "session.started",
        from: SchemaVersion(1),
        lift: session_started::lift,
        schema: || frozen(include_str!("../../docs/events/session.started.v1.json")),
    },
    // Version 2 has more fields, all of which may be absent.
    Upcaster {
        event_type: "tool.registered",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/tool.registered.v1.json")),
    },
    // As above.
    Upcaster {
        event_type: "approval.requested",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/approval.requested.v1.json")),
    },
    // As above.
    Upcaster {
        event_type: "tool.started",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/tool.started.v1.json")),
    },
    // As above. What reviewers are shown of a record depends on its version as stored.
    Upcaster {
        event_type: "approval.requested",
        from: SchemaVersion(2),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/approval.requested.v2.json")),
    },
    // As above.
    Upcaster {
        event_type: "approval.requested",
        from: SchemaVersion(3),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/approval.requested.v3.json")),
    },
    // Version 2 knows one more cause.
    Upcaster {
        event_type: "approval.stale",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/approval.stale.v1.json")),
    },
    // Version 2 has one more field, which may be absent.
    Upcaster {
        event_type: "infra.key.registered",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/infra.key.registered.v1.json")),
    },
    // As above.
    Upcaster {
        event_type: "infra.api_key.created",
        from: SchemaVersion(1),
        lift: Ok,
        schema: || frozen(include_str!("../../docs/events/infra.api_key.created.v1.json")),
    },
];

fn frozen(schema: &str) -> Value {
    serde_json::from_str(schema).expect("a schema of ours, compared by a test")
}

/// The schema of an event type at a version, current or old; `None` if there never was such a version.
pub fn schema_at(event_type: &str, version: SchemaVersion) -> Option<Value> {
    let descriptor = crate::event::descriptor(event_type)?;
    if version == descriptor.schema_version {
        return Some((descriptor.schema)());
    }
    step(event_type, version).map(|step| (step.schema)())
}

fn step(event_type: &str, from: SchemaVersion) -> Option<&'static Upcaster> {
    let live = event_type.strip_prefix("sim.").unwrap_or(event_type);
    UPCASTERS
        .iter()
        .find(|step| step.event_type == live && step.from == from)
}

/// The payload as the current version of its type writes it.
///
/// Errors: [`DomainError::FutureSchemaVersion`] for a version above the current one,
/// [`DomainError::UnknownEventType`] for one that never existed, [`DomainError::InvalidPayload`] for bytes that are
/// not an object or that a step cannot lift.
pub fn to_current(
    descriptor: &EventDescriptor,
    version: SchemaVersion,
    bytes: &[u8],
) -> Result<Vec<u8>, DomainError> {
    let event_type = descriptor.event_type;
    if version > descriptor.schema_version {
        return Err(DomainError::FutureSchemaVersion {
            event_type: event_type.to_owned(),
            schema_version: version.0,
            known: descriptor.schema_version.0,
        });
    }
    let invalid = |reason: String| DomainError::InvalidPayload {
        event_type: event_type.to_owned(),
        pointer: String::new(),
        reason,
    };
    let mut fields: Fields = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    for from in version.0..descriptor.schema_version.0 {
        let step = step(event_type, SchemaVersion(from)).ok_or_else(|| DomainError::UnknownEventType {
            event_type: event_type.to_owned(),
            schema_version: version.0,
        })?;
        fields = (step.lift)(fields).map_err(invalid)?;
    }
    Ok(serde_json::to_vec(&fields).expect("JSON values serialise"))
}
