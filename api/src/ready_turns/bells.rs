//! Whom a ready turn wakes. Pure bookkeeping: what gets ready and who waits comes from outside.
//!
//! Each who waits has a bell of its own, so that nobody takes the hint of another: not a worker of one channel that of
//! another channel, and not a listener that of a worker. A turn is told to one worker that was told of none yet; where all
//! were told, all will look, and the one more turn is found by whoever comes next, since everybody looks first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

/// What somebody wants to be told for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To claim a turn: one is told of each.
    Claims,
    /// To know: all are told of each.
    Listens,
}

/// Those who wait for turns of a ledger, by the agent as the read model has it.
#[derive(Default)]
pub(super) struct Bells {
    agents: HashMap<String, Waiting>,
    next: u64,
}

/// Those who wait for turns of an agent.
#[derive(Default)]
struct Waiting {
    /// Those who were told last are last.
    claim: VecDeque<One>,
    listen: Vec<One>,
}

/// One who waits.
struct One {
    number: u64,
    /// Hears this channel only.
    channel: Option<String>,
    bell: Arc<Notify>,
    /// Channel of the turn that it was told of, before it woke.
    told: Option<String>,
    /// The same once it woke, while it looks.
    taken: Option<String>,
}

impl Bells {
    /// One more waits. Returns its number and its bell.
    pub fn add(&mut self, agent: &str, channel: Option<&str>, kind: Kind) -> (u64, Arc<Notify>) {
        let (number, bell) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        let one = One {
            number,
            channel: channel.map(str::to_owned),
            bell: bell.clone(),
            told: None,
            taken: None,
        };
        let waiting = self.agents.entry(agent.to_owned()).or_default();
        match kind {
            Kind::Claims => waiting.claim.push_back(one),
            Kind::Listens => waiting.listen.push(one),
        }
        (number, bell)
    }

    /// It woke, and looks now.
    pub fn woken(&mut self, agent: &str, number: u64) {
        if let Some(one) = self.one(agent, number) {
            one.taken = one.told.take().or(one.taken.take());
        }
    }

    /// What it woke for is used up. What it was told of since is not.
    pub fn forget(&mut self, agent: &str, number: u64) {
        if let Some(one) = self.one(agent, number) {
            one.taken = None;
        }
    }

    /// It waits no more. What it was told of and did not use is told to the next one.
    pub fn remove(&mut self, agent: &str, number: u64) {
        let Some(waiting) = self.agents.get_mut(agent) else {
            return;
        };
        waiting.listen.retain(|one| one.number != number);
        let at = waiting.claim.iter().position(|one| one.number == number);
        let gone = at.and_then(|at| waiting.claim.remove(at));
        for channel in gone.into_iter().flat_map(|one| [one.told, one.taken]).flatten() {
            waiting.tell_one(&channel);
        }
        if waiting.claim.is_empty() && waiting.listen.is_empty() {
            self.agents.remove(agent);
        }
    }

    /// A turn of an agent on a channel may be claimed.
    pub fn ring(&mut self, agent: &str, channel: &str) {
        let Some(waiting) = self.agents.get_mut(agent) else {
            return;
        };
        let listeners = waiting.listen.iter().filter(|one| one.hears(channel));
        listeners.for_each(|one| one.bell.notify_one());
        waiting.tell_one(channel);
    }

    /// Everybody looks: what got ready for a while is not known.
    pub fn ring_all(&mut self) {
        let all = self.agents.values();
        let all = all.flat_map(|waiting| waiting.claim.iter().chain(&waiting.listen));
        all.for_each(|one| one.bell.notify_one());
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    fn one(&mut self, agent: &str, number: u64) -> Option<&mut One> {
        let waiting = self.agents.get_mut(agent)?;
        waiting.claim.iter_mut().find(|one| one.number == number)
    }
}

impl Waiting {
    fn tell_one(&mut self, channel: &str) {
        let untold = |one: &One| one.told.is_none() && one.hears(channel);
        let at = self.claim.iter().position(untold);
        let Some(mut one) = at.and_then(|at| self.claim.remove(at)) else {
            return;
        };
        one.told = Some(channel.to_owned());
        one.bell.notify_one();
        self.claim.push_back(one);
    }
}

impl One {
    fn hears(&self, channel: &str) -> bool {
        self.channel.as_deref().is_none_or(|wanted| wanted == channel)
    }
}
