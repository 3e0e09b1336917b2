//! Business keys: two calls of one tool under one key do not both bring their effect about. A start says its key, hashed
//! (`business_key_id`); which call holds it follows from what became of the calls, by the table of `docs/tool-calls.md`.
//! What the tool is given (`idempotency_key`) follows from the key and its generation, which rises where what was done
//! under it is known to be gone and nowhere else: a failure speaks of one try, so while an earlier one under the same
//! generation is in doubt it stays.
//!
//! Memory: some 130 bytes for each key under which a call started.

use std::collections::HashMap;

use ruche_domain::limits::BUSINESS_KEY_HELD_US;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

use super::calls::Call;
use super::table::{Kind, Said};
use super::{Fault, Id, Step, Turn, require};
use crate::effect_key::{FIRST_GENERATION, effect_key};

/// What became of the last call that started under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It runs.
    Running,
    /// Nobody knows.
    InDoubt,
    /// It was done then, µs since 1970 UTC.
    Done(u64),
    /// It was to be undone and could not be.
    Stuck,
    /// Its last try failed.
    Failed,
    /// It was there, and was undone or put back by hand.
    Gone,
    /// A person found out that it did not happen.
    Denied,
    /// Its turn was over when a person found out that it did happen. Another call may have taken the key before that.
    FoundLate,
}

/// Whether tries of other calls that ran before under a generation are in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    /// A person settled it, and nobody can say here whether the next call had taken the key before that.
    Settled,
    Open,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    call: Id,
    turn: Id,
    side_effect: SideEffectPolicy,
    generation: u32,
    standing: Standing,
    /// An earlier try of the call under this generation is in doubt.
    is_tried_in_doubt: bool,
    before: Doubt,
}

/// What a start says of its business key.
#[derive(Clone, Copy, Debug)]
struct Key {
    id: Id,
    generation: u32,
}

/// Who started last under which key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    holders: HashMap<Id, Holder>,
    /// The key of each of these calls.
    key_of: HashMap<Id, Id>,
    /// A start could not be read, which may have been under any key; or what a person found out about one.
    has_unread: bool,
    /// Generations are counted: whoever wrote the first records may not have known of them.
    are_counted: bool,
}

impl Keys {
    /// That no other call holds the key of a start, and that the tool is given what it is to tell a repeat by.
    pub fn check(
        &self,
        turns: &HashMap<Id, Turn>,
        call: &Call,
        step: &Step,
        said: &Said,
    ) -> Result<(), Fault> {
        // What changes nothing is no effect that others could bring about as well. That it changes nothing its proposal
        // says, and not who starts it.
        if call.side_effect == SideEffectPolicy::Pure {
            return Ok(());
        }
        let Some(key) = Key::of(said) else {
            return Err(Fault::illegal("it starts without its business key").of_call());
        };
        let given = effect_key(Uuid::from_bytes(key.id), key.generation);
        let is_given = said.idempotency_key.as_deref() == Some(&given);
        require(is_given, || {
            Fault::illegal("the key for the tool is not that of its business key and generation")
        })
        .and_then(|()| match self.holders.get(&key.id) {
            Some(holder) => self.check_behind(holder, turns, step, said.generation),
            None => Ok(()),
        })
        .map_err(Fault::of_call)
    }

    /// That a call may start under a key behind the one that did so last.
    fn check_behind(
        &self,
        holder: &Holder,
        turns: &HashMap<Id, Turn>,
        step: &Step,
        generation: Option<u32>,
    ) -> Result<(), Fault> {
        let is_other = Some(holder.call) != step.call;
        let holds = is_other && holder.holds(turns, step);
        require(!holds, || Fault::illegal("another call holds its business key"))?;
        if generation.is_none() && !self.are_counted {
            return Ok(());
        }
        let (before, generation) = (holder.generation, generation.unwrap_or(FIRST_GENERATION));
        let is_over = holder.is_over(self.has_unread);
        let may_stay = !(is_other && is_over == Some(true));
        require(generation > before || generation == before && may_stay, || {
            Fault::illegal("the tool would take it for what is gone")
        })?;
        require(generation == before || is_over != Some(false), || {
            Fault::illegal("the tool would not take it for the repeat that it may be")
        })
    }

    /// Takes a step of a call.
    pub fn apply(&mut self, turn: Id, call: &Call, step: &Step, said: Option<&Said>, is_over: bool) {
        let side_effect = call.side_effect;
        let Some(call) = step.call else { return };
        self.has_unread |= said.is_none() && matches!(step.kind, Kind::CallStarted | Kind::CallAsserted);
        if step.kind == Kind::CallStarted {
            if side_effect == SideEffectPolicy::Pure {
                return;
            }
            self.are_counted |= said.is_some_and(|said| said.generation.is_some());
            let Some(Key { id, generation }) = said.and_then(Key::of) else {
                return;
            };
            let known = self.holders.get(&id);
            let known = known.filter(|known| known.generation == generation);
            let holder = Holder {
                call,
                turn,
                side_effect,
                generation,
                standing: Standing::Running,
                is_tried_in_doubt: known.is_some_and(|known| known.call == call && known.is_in_doubt()),
                before: known.map_or(Doubt::None, |known| known.doubt_before(call)),
            };
            if let Some(before) = self.holders.insert(id, holder) {
                self.key_of.remove(&before.call);
            }
            self.key_of.insert(call, id);
            return;
        }
        let key = self.key_of.get(&call);
        if let Some(holder) = key.and_then(|key| self.holders.get_mut(key))
            && let Some(standing) = standing_after(step, said)
        {
            let twice_is_once = holder.side_effect == SideEffectPolicy::Idempotent;
            holder.standing = match (holder.standing, standing) {
                (Standing::InDoubt, Standing::Done(_)) if is_over && twice_is_once => Standing::FoundLate,
                // It was there, and somebody took it back by hand.
                (Standing::Stuck, Standing::Denied) => Standing::Gone,
                (_, standing) => standing,
            };
            // Said of the call, and so of all of its tries.
            holder.is_tried_in_doubt &= !matches!(step.kind, Kind::CallCompleted | Kind::CallAsserted);
        }
    }
}

impl Holder {
    fn holds(&self, turns: &HashMap<Id, Turn>, step: &Step) -> bool {
        match (self.standing, self.side_effect) {
            (Standing::Running | Standing::Stuck, _) => true,
            // Once its turn is over nobody runs it again, and twice is once.
            (Standing::InDoubt, SideEffectPolicy::Idempotent) => turns.contains_key(&self.turn),
            (Standing::InDoubt, _) | (Standing::Done(_), SideEffectPolicy::Irreversible) => true,
            (Standing::Done(at), _) => step.occurred_at.saturating_sub(at) < BUSINESS_KEY_HELD_US,
            (Standing::Failed | Standing::Gone | Standing::Denied | Standing::FoundLate, _) => false,
        }
    }

    /// Whether what was done, of a call that does not hold the key, is known to be gone or was done long ago; nothing where
    /// that cannot be told here.
    fn is_over(&self, has_unread: bool) -> Option<bool> {
        match self.standing {
            Standing::Gone | Standing::Done(_) => Some(true),
            // What could not be read may have been over, or in doubt.
            _ if has_unread => None,
            Standing::FoundLate => None,
            Standing::Failed if self.is_tried_in_doubt => Some(false),
            Standing::Failed => match self.before {
                Doubt::None => Some(true),
                Doubt::Settled => None,
                Doubt::Open => Some(false),
            },
            Standing::Running | Standing::InDoubt | Standing::Stuck | Standing::Denied => Some(false),
        }
    }

    /// Whether nobody knows of one of the tries of the call.
    fn is_in_doubt(&self) -> bool {
        self.is_tried_in_doubt || self.standing == Standing::InDoubt
    }

    /// What is in doubt for a call that starts behind this one, under the same generation. A person who settled it did so
    /// before that call took the key, or behind it: it took the key when it was proposed, and that is not read here.
    fn doubt_before(&self, call: Id) -> Doubt {
        if self.call == call {
            return self.before;
        }
        match self.standing {
            _ if self.is_in_doubt() => Doubt::Open,
            Standing::FoundLate => Doubt::Open,
            Standing::Denied => self.before.max(Doubt::Settled),
            _ => self.before,
        }
    }
}

/// What a step makes of the effect of its call; nothing if it says nothing of that.
fn standing_after(step: &Step, said: Option<&Said>) -> Option<Standing> {
    let done = Standing::Done(step.occurred_at);
    Some(match step.kind {
        Kind::CallCompleted => done,
        Kind::CallUnknown => Standing::InDoubt,
        Kind::CallFailed => Standing::Failed,
        Kind::CallUndone => Standing::Gone,
        Kind::CallAsserted if said.and_then(|said| said.outcome.as_deref()) == Some("completed") => done,
        Kind::CallAsserted => Standing::Denied,
        Kind::UndoingFailed if said.is_some_and(|said| said.exhausted == Some(true)) => Standing::Stuck,
        _ => return None,
    })
}

impl Key {
    /// A start that counts no generation is of the first one, and what the tool is given is the key. Every version of Ruche has
    /// written that, so a start without either names no key.
    fn of(said: &Said) -> Option<Self> {
        let text = said.business_key_id.as_ref().or(said.idempotency_key.as_ref())?;
        Some(Self {
            id: Uuid::try_parse(text).ok()?.into_bytes(),
            generation: said.generation.unwrap_or(FIRST_GENERATION),
        })
    }
}
