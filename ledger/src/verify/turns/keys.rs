//! Business keys: two calls of one tool under one key do not both bring their effect about. A start says its key, hashed
//! (`idempotency_key`); which call holds it follows from what became of the calls, by the table of `docs/tool-calls.md`.
//!
//! Memory: some 120 bytes for each key whose effect stands or may still come to stand.

use std::collections::HashMap;

use ruche_domain::limits::BUSINESS_KEY_HELD_US;
use ruche_domain::side_effect::SideEffectPolicy;

use super::table::{Kind, Said};
use super::{Fault, Id, Step, Turn, require};

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
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    call: Id,
    turn: Id,
    side_effect: SideEffectPolicy,
    standing: Standing,
}

/// Who holds which key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    holders: HashMap<Id, Holder>,
    /// The key of each call that holds one.
    key_of: HashMap<Id, Id>,
}

impl Keys {
    /// That no other call holds the key of a start.
    pub fn check(&self, turns: &HashMap<Id, Turn>, step: &Step, said: &Said) -> Result<(), Fault> {
        let holder = key(said).and_then(|key| self.holders.get(&key));
        // What changes nothing is no effect that others could bring about as well.
        let holder = holder.filter(|_| said.side_effect != Some(SideEffectPolicy::Pure));
        let Some(holder) = holder.filter(|holder| Some(holder.call) != step.call) else {
            return Ok(());
        };
        let holds = match (holder.standing, holder.side_effect) {
            (Standing::Running | Standing::Stuck, _) => true,
            // Once its turn is over nobody runs it again, and twice is once.
            (Standing::InDoubt, SideEffectPolicy::Idempotent) => turns.contains_key(&holder.turn),
            (Standing::InDoubt, _) | (Standing::Done(_), SideEffectPolicy::Irreversible) => true,
            (Standing::Done(at), _) => step.occurred_at.saturating_sub(at) < BUSINESS_KEY_HELD_US,
        };
        require(!holds, || Fault::illegal("another call holds its business key")).map_err(Fault::of_call)
    }

    /// Takes a step of a call.
    pub fn apply(&mut self, turn: Id, side_effect: SideEffectPolicy, step: &Step, said: Option<&Said>) {
        let Some(call) = step.call else { return };
        if step.kind == Kind::CallStarted {
            if let Some(key) = said
                .and_then(key)
                .filter(|_| side_effect != SideEffectPolicy::Pure)
            {
                let standing = Standing::Running;
                let holder = Holder {
                    call,
                    turn,
                    side_effect,
                    standing,
                };
                if let Some(before) = self.holders.insert(key, holder) {
                    self.key_of.remove(&before.call);
                }
                self.key_of.insert(call, key);
            }
            return;
        }
        let Some(standing) = standing_after(step, said) else {
            return;
        };
        match standing {
            Some(standing) => {
                let key = self.key_of.get(&call);
                if let Some(holder) = key.and_then(|key| self.holders.get_mut(key)) {
                    holder.standing = standing;
                }
            }
            None => {
                if let Some(key) = self.key_of.remove(&call) {
                    self.holders.remove(&key);
                }
            }
        }
    }
}

/// What a step makes of the effect of its call, `Some(None)` if it frees the key; `None` if it says nothing of that.
fn standing_after(step: &Step, said: Option<&Said>) -> Option<Option<Standing>> {
    let done = Some(Standing::Done(step.occurred_at));
    Some(match step.kind {
        Kind::CallCompleted => done,
        Kind::CallUnknown => Some(Standing::InDoubt),
        Kind::CallFailed | Kind::CallUndone => None,
        Kind::CallAsserted if said.and_then(|said| said.outcome.as_deref()) == Some("completed") => done,
        Kind::CallAsserted => None,
        Kind::UndoingFailed if said.is_some_and(|said| said.exhausted == Some(true)) => Some(Standing::Stuck),
        _ => return None,
    })
}

/// 32 hex digits, as a start says its key.
fn key(said: &Said) -> Option<Id> {
    let text = said.idempotency_key.as_deref()?;
    uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes)
}
