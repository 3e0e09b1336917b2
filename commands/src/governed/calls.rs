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
//!
//! A failure speaks of one try. While an earlier one under the same generation is in doubt, of this call or of another, what
//! failed now says nothing of it, and the generation stays until the tool has done under it what was asked. The calls of a
//! generation may stand in many lanes; so that nobody has to read them, each says when it takes the key whether those
//! before it left a doubt (`in_doubt`).

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
    pub generation: Generation,
}

/// Under which generation of its key a call takes it, or has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generation {
    pub number: u32,
    /// A try of another call before, under the same generation, is in doubt.
    in_doubt: bool,
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
    generation: Generation,
}

/// What a call that does not hold its key any more has left under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It never started, or a person found that it did not happen, and may be wrong: the key is as it was before it.
    Nothing,
    /// Each try failed.
    Failures,
    /// Nobody knows of one of its tries.
    Doubt,
    /// What was there, and is known to be gone or was done long ago.
    Past,
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
                    generation: Generation {
                        number: taken.generation.unwrap_or(FIRST_GENERATION),
                        in_doubt: taken.in_doubt == Some(true),
                    },
                });
            }
            _ => self.unreadable = true,
        }
    }

    /// All that is recorded of the call of another lane that holds the key, in order.
    ///
    /// # Errors
    /// `Internal` where that cannot be told, because a payload is gone or that lane stands as no command leaves one.
    pub fn holder(&self, now: Micros) -> Result<Option<Vec<RecordedEvent>>, CommandError> {
        if self.unreadable {
            return Err(CommandError::Internal(
                "a business key cannot be decided on: who took it is gone".into(),
            ));
        }
        self.elsewhere.require_readable()?;
        let lane = self.elsewhere.lane()?;
        let taken = self.last.and_then(|taken| lane.calls.get(&taken.call));
        Ok(taken.and_then(|call| self.keyed.if_held(&lane, call, now)))
    }

    /// The generation of the key under which a call takes it or has it. `own` is the lane of the command, with its calls.
    pub fn generation(&self, call: CallId, own: (&Lane, &KeyedCalls)) -> Generation {
        let Some(taken) = self.last else {
            return Generation {
                number: FIRST_GENERATION,
                in_doubt: false,
            };
        };
        let Generation { number, in_doubt } = taken.generation;
        if taken.call == call {
            return taken.generation;
        }
        let left = match own.1.left_by(own.0, taken.call) {
            Left::Nothing => self.keyed.left_by(&self.elsewhere.lane, taken.call),
            left => left,
        };
        match left {
            Left::Failures if in_doubt => taken.generation,
            Left::Past | Left::Failures => Generation {
                number: number.saturating_add(1),
                in_doubt: false,
            },
            Left::Nothing | Left::Doubt => Generation {
                number,
                in_doubt: in_doubt || left == Left::Doubt,
            },
        }
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
            generation: Some(wants.generation.number),
            in_doubt: wants.generation.in_doubt.then_some(true),
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
    tries: Tries,
    events: Vec<RecordedEvent>,
}

/// Tries of a call whose outcome nobody knows, under the generation that the call ran under last.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    generation: Option<u32>,
    earlier_in_doubt: bool,
    last_in_doubt: bool,
    /// Whether no further try at undoing it is made.
    given_up: bool,
}

impl Tries {
    fn take(&mut self, fact: &AgentEvent) {
        match fact {
            AgentEvent::ToolStarted(started) => {
                let number = |generation: Option<u32>| generation.unwrap_or(FIRST_GENERATION);
                let is_same = number(self.generation) == number(started.generation);
                *self = Self {
                    generation: started.generation,
                    earlier_in_doubt: is_same && (self.earlier_in_doubt || self.last_in_doubt),
                    last_in_doubt: false,
                    given_up: false,
                };
            }
            AgentEvent::ToolCompensationFailed(failed) => self.given_up |= failed.exhausted == Some(true),
            AgentEvent::ToolOutcomeUnknown(_) => self.last_in_doubt = true,
            AgentEvent::ToolFailed(_) => self.last_in_doubt = false,
            // Said of the call, and so of all of its tries.
            AgentEvent::ToolCompleted(_)
            | AgentEvent::ToolOutcomeAsserted(_)
            | AgentEvent::ToolCompensated(_) => {
                (self.earlier_in_doubt, self.last_in_doubt) = (false, false);
            }
            _ => {}
        }
    }
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
                tries: Tries::default(),
                events: Vec::new(),
            });
        }
        let known = self.calls.iter_mut().find(|call| call.id == id);
        let of_call = ["tool.", "policy.", "approval."];
        if let Some(call) =
            known.filter(|_| of_call.iter().any(|family| past.event_type().starts_with(family)))
        {
            call.last = envelope.occurred_at;
            call.tries.take(fact);
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

    /// What is left of a call that does not hold its key any more.
    fn left_by(&self, lane: &Lane, call: CallId) -> Left {
        match lane.calls.get(&call).and_then(|call| call.status) {
            Some(EffectStatus::Completed | EffectStatus::Compensated) => Left::Past,
            Some(EffectStatus::OutcomeUnknown) => Left::Doubt,
            Some(EffectStatus::Failed) => {
                let keyed = self.calls.iter().find(|keyed| keyed.id == call);
                keyed.map_or(Left::Nothing, KeyedCall::left_by_failure)
            }
            _ => Left::Nothing,
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
    /// What is left of it where it counts as failed: its worker reported so, or a person found out. What a person found out to
    /// be gone that was given up was there before: whoever put it back knows. While it is tried to undo it is in doubt.
    fn left_by_failure(&self) -> Left {
        let outcomes = ["tool.failed", "tool.compensation_failed", "tool.outcome_asserted"];
        let told = self.events.iter().map(|event| event.event.event_type.as_str());
        let mut told = told.rev().filter(|told| outcomes.contains(told));
        match told.next() {
            Some("tool.failed") if self.tries.earlier_in_doubt => Left::Doubt,
            Some("tool.failed") => Left::Failures,
            Some("tool.outcome_asserted")
                if self.tries.given_up && told.next() == Some("tool.compensation_failed") =>
            {
                Left::Past
            }
            _ => Left::Nothing,
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

#[cfg(test)]
mod tests;
