//! The calls of a lane that share a business key: which of them holds it, and what became of that one.
//!
//! A key is held while its effect stands or may still come to stand. It is free once the call failed, was denied, was
//! undone, or can never start any more; and, unless the effect is irreversible, a day after it was done.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::ToolProposed;
use ruche_domain::ids::CallId;
use ruche_domain::limits::BUSINESS_KEY_HELD_US;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use crate::command::{PastEvent, RecordedEvent};
use crate::lane::{ApprovalState, Call, Gate, Lane};

/// Calls with all that is recorded of them, in the order in which they were proposed.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyedCalls {
    calls: Vec<KeyedCall>,
}

#[derive(Clone, Debug)]
struct KeyedCall {
    id: CallId,
    tool: String,
    key: Option<String>,
    last: Micros,
    events: Vec<RecordedEvent>,
}

impl KeyedCalls {
    /// Takes what happened to the calls that are wanted.
    pub fn evolve(&mut self, wanted: impl FnOnce(&ToolProposed) -> bool, past: &PastEvent) {
        let envelope = &past.recorded.event;
        let (Some(id), Some(fact)) = (envelope.call, &past.event) else {
            return;
        };
        if let AgentEvent::ToolProposed(proposed) = fact
            && wanted(proposed)
        {
            self.calls.push(KeyedCall {
                id,
                tool: proposed.name.clone(),
                key: proposed.business_key.clone(),
                last: envelope.occurred_at,
                events: Vec::new(),
            });
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

    /// All that is recorded of the call that holds a business key of a tool, in order.
    pub fn holder(
        &self,
        lane: &Lane,
        now: Micros,
        tool: &str,
        key: Option<&str>,
    ) -> Option<Vec<RecordedEvent>> {
        let key = key?;
        let holds = |keyed: &&KeyedCall| {
            let known = lane.calls.get(&keyed.id);
            let same = keyed.tool == tool && keyed.key.as_deref() == Some(key);
            same && known.is_some_and(|call| holds_key(lane, call, keyed.last, now))
        };
        self.calls.iter().rev().find(holds).map(KeyedCall::in_order)
    }

    /// All that is recorded of the call that holds the business key of this one: of this one itself, or of another.
    pub fn holder_beside(&self, lane: &Lane, now: Micros, call: CallId) -> Option<Vec<RecordedEvent>> {
        let this = self.calls.iter().find(|keyed| keyed.id == call)?;
        self.holder(lane, now, &this.tool, this.key.as_deref())
    }

    /// All that is recorded of a call, in order.
    pub fn of(&self, call: CallId) -> Option<Vec<RecordedEvent>> {
        self.calls
            .iter()
            .find(|keyed| keyed.id == call)
            .map(KeyedCall::in_order)
    }
}

impl KeyedCall {
    /// Its approval stands in a stream of its own, which was read later.
    fn in_order(&self) -> Vec<RecordedEvent> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.receipt.position);
        events
    }
}

fn holds_key(lane: &Lane, call: &Call, last: Micros, now: Micros) -> bool {
    let twice_is_once = matches!(
        call.side_effect,
        SideEffectPolicy::Pure | SideEffectPolicy::Idempotent
    );
    match call.status {
        Some(EffectStatus::InFlight | EffectStatus::CompensationFailed) => true,
        // Once its turn is over nobody runs that call again, but another may run under the same key of the effect.
        Some(EffectStatus::OutcomeUnknown) => goes_on(lane, call) || !twice_is_once,
        Some(EffectStatus::Completed) => {
            call.side_effect == SideEffectPolicy::Irreversible
                || now.0.saturating_sub(last.0) < BUSINESS_KEY_HELD_US
        }
        Some(EffectStatus::Failed | EffectStatus::Compensated) => false,
        None => may_start(lane, call),
    }
}

fn goes_on(lane: &Lane, call: &Call) -> bool {
    lane.turn(call.turn).is_some_and(|turn| !turn.state.is_terminal())
}

/// Whether a call that was not started may still be: its turn goes on, or people are still to decide, however long they
/// take.
fn may_start(lane: &Lane, call: &Call) -> bool {
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let waits = approval.is_some_and(|approval| approval.state == ApprovalState::Requested);
    call.gate != Gate::Closed && (goes_on(lane, call) || waits)
}
