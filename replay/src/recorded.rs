//! Records as the machine of lanes takes them.

use ruche_commands::lane::LaneEvent;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::ApprovalId;
use ruche_domain::stream::Category;
use ruche_ledger::store::Record;

/// What a record is to the machine.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "made and consumed one at a time")]
pub(crate) enum OfLane {
    /// Nothing: it belongs to no turn.
    No,
    /// An event.
    Event(LaneEvent),
    /// Words of a message that are gone. The machine decides without them.
    ErasedWords,
    /// Something that the machine would need and that is gone or unreadable. What follows in the lane cannot be told.
    Gone,
}

/// What happened, where the payload is there and readable.
pub(crate) fn fact(record: &Record) -> Option<AgentEvent> {
    let event = &record.leaf.event;
    let bytes = record.payload_bytes()?;
    AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).ok()
}

/// Reads a record of a lane's stream, of an approval's, or of what was observed.
pub(crate) fn of_lane(record: &Record) -> OfLane {
    let event = &record.leaf.event;
    let Some(turn) = event.turn else {
        return OfLane::No;
    };
    let approval = match event.stream.category {
        Category::Lane | Category::Observed => None,
        Category::Approval => Some(ApprovalId(event.stream.id)),
        _ => return OfLane::No,
    };
    match fact(record) {
        Some(fact) => OfLane::Event(LaneEvent {
            at: event.occurred_at,
            turn,
            call: event.call,
            approval,
            fact,
        }),
        None if event.event_type.starts_with("message.") => OfLane::ErasedWords,
        None => OfLane::Gone,
    }
}
