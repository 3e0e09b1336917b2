//! Who waits for turns to get ready, and is told when one does.
//!
//! A thousand workers wait while something is appended a thousand times a second: if each looked at the read model
//! whenever it moves, nobody would get any further. So one watcher for each ledger (`watcher`) reads what is recorded, and
//! for each turn that may be claimed wakes one worker that may have it, and everybody who listens (`bells`). What it says
//! is a hint: whoever is woken looks for itself, and looks anyhow now and then, so that a hint that is lost costs time and
//! no turn.

mod bells;
mod watcher;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Clock;
use ruche_ledger::store::EventStore;
use ruche_projections::lanes;
use ruche_projections::runner::Runner;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::services::Shutdown;

use bells::{Bells, Kind};

/// Those who wait for turns, on this node. Their number is bounded by that of requests and subscriptions.
pub struct ReadyTurns {
    events: Arc<dyn EventStore>,
    runner: Arc<Runner>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    /// A ledger with an entry has a watcher.
    ledgers: Mutex<HashMap<LedgerId, Bells>>,
    /// Watchers that broke and are not watching again yet.
    broken: AtomicUsize,
}

/// One who waits. When it is dropped, a hint that it did not use goes to the next one.
pub struct Waiter {
    ready: Arc<ReadyTurns>,
    ledger: LedgerId,
    agent: String,
    number: u64,
    bell: Arc<Notify>,
}

impl ReadyTurns {
    /// Nobody waits yet.
    pub fn new(
        events: Arc<dyn EventStore>,
        runner: Arc<Runner>,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            events,
            runner,
            clock,
            shutdown,
            ledgers: Mutex::new(HashMap::new()),
            broken: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn of this agent, on a channel if one is given, in order to claim it: of all who wait so, one is told
    /// of each turn. What gets ready after this call is told, so look after it.
    pub fn wait_to_claim(self: &Arc<Self>, ledger: LedgerId, agent: &str, channel: Option<&str>) -> Waiter {
        self.wait(ledger, agent, channel, Kind::Claims)
    }

    /// Is told of every turn of this agent, on a channel if one is given, and takes none from those who claim.
    pub fn listen(self: &Arc<Self>, ledger: LedgerId, agent: &str, channel: Option<&str>) -> Waiter {
        self.wait(ledger, agent, channel, Kind::Listens)
    }

    /// Ledgers whose turns nobody is told of at the moment, since their watcher broke; they are found by looking.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    fn wait(self: &Arc<Self>, ledger: LedgerId, agent: &str, channel: Option<&str>, kind: Kind) -> Waiter {
        let agent = lanes::name_of_agent(agent);
        let mut ledgers = self.lock();
        let bells = match ledgers.entry(ledger) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let from = self.lanes_next(ledger);
                tokio::spawn(watcher::keep_watching(self.clone(), ledger, from));
                new.insert(Bells::default())
            }
        };
        let (number, bell) = bells.add(&agent, channel, kind);
        Waiter {
            ready: self.clone(),
            ledger,
            agent,
            number,
            bell,
        }
    }

    /// A panic elsewhere leaves whole entries only.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Bells>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Resolves when it is told of a turn, with true, or after `most`. Whoever waits again has looked for itself, so the
    /// hint before is used up.
    pub async fn told(&self, most: Duration) -> bool {
        self.change(|bells| bells.forget(&self.agent, self.number));
        let told = timeout(most, self.bell.notified()).await.is_ok();
        self.change(|bells| bells.woken(&self.agent, self.number));
        told
    }

    /// What it was told of last is taken, and nobody else need hear of it.
    pub fn served(self) {
        self.change(|bells| bells.forget(&self.agent, self.number));
    }

    fn change(&self, change: impl FnOnce(&mut Bells)) {
        if let Some(bells) = self.ready.lock().get_mut(&self.ledger) {
            change(bells);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // The watcher ends when it finds nobody.
        self.change(|bells| bells.remove(&self.agent, self.number));
    }
}

#[cfg(test)]
mod tests;
