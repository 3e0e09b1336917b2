//! The calls of a lane that share a business key: which of them holds it, and what became of that one.
//!
//! A key is held while its effect stands or may still come to stand. It is free once the call failed, was denied, was
//! undone, or can never start any more; and, unless the effect is irreversible, a day after it was done.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::CallId;
use ruche_domain::limits::BUSINESS_KEY_HELD_US;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use crate::command::{PastEvent, RecordedEvent};
use crate::lane::{ApprovalState, Call, Gate, Lane};

/// Calls of one tool under one business key, in the order in which they were proposed.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyedCalls {
    calls: Vec<KeyedCall>,
}

#[derive(Clone, Debug)]
struct KeyedCall {
    id: CallId,
    last: Micros,
    events: Vec<RecordedEvent>,
}

impl KeyedCalls {
    /// Takes what happened to calls of this tool and key.
    pub fn evolve(&mut self, tool: &str, key: Option<&str>, past: &PastEvent) {
        let envelope = &past.recorded.event;
        let (Some(id), Some(fact)) = (envelope.call, &past.event) else {
            return;
        };
        if let AgentEvent::ToolProposed(proposed) = fact
            && proposed.name == tool
            && proposed.business_key.is_some()
            && proposed.business_key.as_deref() == key
        {
            let (last, events) = (envelope.occurred_at, Vec::new());
            self.calls.push(KeyedCall { id, last, events });
        }
        let known = self.calls.iter_mut().find(|call| call.id == id);
        let of_call = ["tool.", "policy.", "approval."];
        if let Some(call) =
            known.filter(|_| of_call.iter().any(|family| past.event_type().starts_with(family)))
        {
            call.last = envelope.occurred_at;
            call.events.push(past.recorded.clone());
        }
    }

    /// The call that holds the key, if it is not `but`, with everything that is recorded of it in order.
    pub fn holder(&self, lane: &Lane, now: Micros, but: Option<CallId>) -> Option<Vec<RecordedEvent>> {
        let holds = |keyed: &&KeyedCall| {
            let known = lane.calls.get(&keyed.id);
            Some(keyed.id) != but && known.is_some_and(|call| holds_key(lane, call, keyed.last, now))
        };
        let keyed = self.calls.iter().rev().find(holds)?;
        let mut events = keyed.events.clone();
        events.sort_by_key(|event| event.receipt.position);
        Some(events)
    }
}

fn holds_key(lane: &Lane, call: &Call, last: Micros, now: Micros) -> bool {
    match call.status {
        Some(EffectStatus::InFlight | EffectStatus::OutcomeUnknown | EffectStatus::CompensationFailed) => {
            true
        }
        Some(EffectStatus::Completed) => {
            call.side_effect == SideEffectPolicy::Irreversible
                || now.0.saturating_sub(last.0) < BUSINESS_KEY_HELD_US
        }
        Some(EffectStatus::Failed | EffectStatus::Compensated) => false,
        None => may_start(lane, call),
    }
}

/// Whether a call that was not started may still be: its turn goes on, or people are still to decide, however long they
/// take.
fn may_start(lane: &Lane, call: &Call) -> bool {
    let goes_on = lane.turn(call.turn).is_some_and(|turn| !turn.state.is_terminal());
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let waits = approval.is_some_and(|approval| approval.state == ApprovalState::Requested);
    call.gate != Gate::Closed && (goes_on || waits)
}
