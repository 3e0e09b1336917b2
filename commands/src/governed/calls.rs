//! The calls that share a business key: which of them holds it, and what became of that one.
//!
//! A key is held while its effect stands or may still come to stand. It is free once the call failed, was denied, was
//! undone, or can never start any more; and, unless the effect is irreversible, a day after it was done. That of a pure call,
//! which has no effect, is held within its turn.
//!
//! # Over lanes
//!
//! Interlocutor, tool and key have one stream, `effect-…`. It says which call took the key last, and in which lane; it does not say
//! that the key is free again, since that lane says so better. A call takes the key in the append that proposes it, or in
//! the one that starts it if another took it in between. Before that the lane of the last taker is read, and asked what a
//! call of one's own lane is asked: whether it holds the key. Both streams are guarded. So of two lanes that want one key
//! at once one is decided again, and sees the other; and a call that failed does not start again behind the back of one
//! that took its key meanwhile.
//!
//! # Generations
//!
//! A tool tells a repeat by the key of the effect, and remembers. So a key that goes to another call is of the next
//! generation, and gives the tool another key, where what was done under it is known to be gone, or over for a day. Where
//! that is not known (a call in doubt, or a person's word that nothing happened) it stays: if the effect is there after all,
//! the tool still tells the repeat. So it does of the attempts of one call, however the one before came out.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{InfraBusinessKeyTaken, ToolProposed};
use ruche_domain::ids::{CallId, LaneId, TurnId};
use ruche_domain::limits::BUSINESS_KEY_HELD_US;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::effect_key::{FIRST_GENERATION, effect_key};
use ruche_ledger::references::ReferenceKey;
use uuid::Uuid;

use super::{GovernedState, lane_stream};
use crate::command::{Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{ApprovalState, Call, Gate, Lane};

/// A business key of a tool, for the person or system that is talked with: what is done for one is no answer to another
/// (R-IDEM-03).
#[derive(Clone, Copy, Debug)]
pub(super) struct EffectName<'a> {
    pub interlocutor: &'a str,
    pub tool: &'a str,
    pub key: &'a str,
}

impl EffectName<'_> {
    /// What stands for it, over lanes: it names the stream of the effect, and what the tool is given follows from it.
    pub fn id(&self, references: &ReferenceKey) -> Uuid {
        let parts = [self.interlocutor, self.tool, self.key].map(str::as_bytes);
        references.id("effect", &parts)
    }

    /// The stream that says who took the key.
    pub fn stream(&self, references: &ReferenceKey) -> StreamId {
        StreamId::new(Category::Effect, self.id(references))
    }

    /// What the tool is given to tell a repeat.
    pub fn effect_key(&self, generation: u32, references: &ReferenceKey) -> String {
        effect_key(self.id(references), generation)
    }
}

/// A call that wants a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants<'a> {
    pub name: EffectName<'a>,
    pub lane: LaneId,
    pub turn: TurnId,
    pub call: CallId,
    /// Of the key, as [`TakenKey::generation`] says.
    pub generation: u32,
}

/// Who took a business key last, and the lane of that call where it is not the lane of the command.
#[derive(Clone, Debug, Default)]
pub(super) struct TakenKey {
    last: Option<Taken>,
    unreadable: bool,
    elsewhere: GovernedState,
    keyed: KeyedCalls,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    lane: LaneId,
    call: CallId,
    generation: u32,
}

impl TakenKey {
    /// What to look at. `own` is the lane of the command, which was read before: only so is it known whose events come.
    pub fn loads(&self, name: Option<EffectName<'_>>, own: LaneId, ground: &Ground<'_>) -> Vec<Load> {
        let Some(name) = name else { return Vec::new() };
        let mut loads = vec![Load::newest(name.stream(ground.references))];
        let lane = self.last.map(|taken| taken.lane).filter(|lane| *lane != own);
        loads.extend(lane.map(|lane| Load::whole(lane_stream(lane))));
        loads.extend(self.elsewhere.approval_loads());
        loads
    }

    /// The last taker alone is asked for.
    pub fn is_settled(&self) -> bool {
        self.last.is_some() || self.unreadable
    }

    /// Takes an event of the key or of the other lane, and says whether it was one.
    pub fn evolve(&mut self, past: &PastEvent) -> bool {
        let stream = past.stream();
        match stream.category {
            Category::Effect => {
                self.take(past);
                return true;
            }
            // The lane of the command was read before the key.
            Category::Lane if self.last.is_some_and(|taken| taken.lane.0 == stream.id) => {}
            Category::Approval if self.elsewhere.lane.calls.contains_key(&CallId(stream.id)) => {}
            _ => return false,
        }
        self.keyed.evolve(|_| true, past);
        self.elsewhere.evolve(past);
        true
    }

    fn take(&mut self, past: &PastEvent) {
        match (&past.event, past.recorded.event.call) {
            (Some(AgentEvent::InfraBusinessKeyTaken(taken)), Some(call)) => {
                self.last = Some(Taken {
                    lane: taken.lane_id,
                    call,
                    generation: taken.generation.unwrap_or(FIRST_GENERATION),
                });
            }
            _ => self.unreadable = true,
        }
    }

    /// All that is recorded of the call of another lane that holds the key, in order.
    ///
    /// # Errors
    /// `Internal` where that cannot be told, because a payload is gone.
    pub fn holder(&self, now: Micros) -> Result<Option<Vec<RecordedEvent>>, CommandError> {
        if self.unreadable {
            return Err(CommandError::Internal(
                "a business key cannot be decided on: who took it is gone".into(),
            ));
        }
        self.elsewhere.require_readable()?;
        let lane = self.elsewhere.lane();
        let taken = self.last.and_then(|taken| lane.calls.get(&taken.call));
        Ok(taken.and_then(|call| self.keyed.if_held(&lane, call, now)))
    }

    /// The generation of the key under which a call takes it or has it. `own` is the lane of the command, with its calls.
    pub fn generation(&self, call: CallId, own: (&Lane, &KeyedCalls)) -> u32 {
        let Some(taken) = self.last else {
            return FIRST_GENERATION;
        };
        let is_over = taken.call != call
            && (own.1.is_over(own.0, taken.call) || self.keyed.is_over(&self.elsewhere.lane, taken.call));
        taken.generation.saturating_add(u32::from(is_over))
    }

    /// What is appended so that a call takes the key, unless it took it last.
    pub fn taking(
        &self,
        wants: &Wants<'_>,
        governed: &GovernedState,
        ground: &Ground<'_>,
    ) -> Option<NewEvent> {
        if self.last.is_some_and(|taken| taken.call == wants.call) {
            return None;
        }
        let taken = InfraBusinessKeyTaken {
            generation: Some(wants.generation),
            ..InfraBusinessKeyTaken::new(wants.name.tool.to_owned(), wants.lane)
        };
        let owner = governed.owners.get(&wants.turn).copied();
        Some(NewEvent {
            session: owner.map(|(session, _)| session),
            subject: owner.and_then(|(_, subject)| subject),
            turn: Some(wants.turn),
            call: Some(wants.call),
            caused_by: Some(0),
            ..NewEvent::fact(wants.name.stream(ground.references), taken)
        })
    }
}

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

    /// Whether what a call did under its key, which it does not hold any more, is known to be gone or was done long ago. A
    /// call that was never started did nothing; of one that is in doubt nobody knows, and a person may be wrong.
    fn is_over(&self, lane: &Lane, call: CallId) -> bool {
        match lane.calls.get(&call).and_then(|call| call.status) {
            Some(EffectStatus::Completed | EffectStatus::Compensated) => true,
            Some(EffectStatus::Failed) => {
                let keyed = self.calls.iter().find(|keyed| keyed.id == call);
                keyed.is_some_and(KeyedCall::is_failure_of_tool)
            }
            _ => false,
        }
    }

    fn if_held(&self, lane: &Lane, call: &Call, now: Micros) -> Option<Vec<RecordedEvent>> {
        let keyed = self.calls.iter().find(|keyed| keyed.id == call.id)?;
        holds_key(lane, call, keyed.last, now).then(|| keyed.in_order())
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
    /// Whether the last that was heard of it is a failure that its worker reported, and not what a person found out. What a
    /// person found out to be gone that could not be undone was there before: whoever put it back knows.
    fn is_failure_of_tool(&self) -> bool {
        let outcomes = ["tool.failed", "tool.compensation_failed", "tool.outcome_asserted"];
        let told = self.events.iter().map(|event| event.event.event_type.as_str());
        let mut told = told.rev().filter(|told| outcomes.contains(told));
        match told.next() {
            Some("tool.failed") => true,
            Some("tool.outcome_asserted") => told.next() == Some("tool.compensation_failed"),
            _ => false,
        }
    }

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
    // What changes nothing may be asked again by every turn: its answer may be another one by then.
    if !call.side_effect.has_effect() && !goes_on(lane, call) {
        return false;
    }
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
