//! Who waits for turns to get ready, and is told when one does.
//!
//! A thousand workers wait while something is appended a thousand times a second: if each looked at the read model
//! whenever it moves, nobody would get any further. So one watcher for each ledger reads what is recorded, and wakes one
//! worker of the agent for each turn that gets ready. What it says is a hint: whoever is woken looks for itself, and
//! looks anyhow now and then, so that a hint that is lost costs time and no turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::{LaneId, LedgerId};
use ruche_domain::limits::SUBSCRIPTION_PAGE_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::store::{EventStore, Record};
use ruche_projections::lanes;
use ruche_projections::runner::Runner;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::limits::{READY_LANES_KNOWN_MAX, READY_LOOK_INTERVAL, READY_RETRY};
use crate::services::Shutdown;

/// The read model that says which turns are ready.
const LANES: &str = "lanes";

/// Those who wait for turns, on this node.
pub struct ReadyTurns {
    events: Arc<dyn EventStore>,
    runner: Arc<Runner>,
    shutdown: Shutdown,
    ledgers: Mutex<HashMap<LedgerId, Agents>>,
}

/// Agents that somebody waits for, by the name in the read model. A ledger with an entry has a watcher.
type Agents = HashMap<String, Waiters>;

struct Waiters {
    count: usize,
    bell: Arc<Notify>,
}

/// One who waits. When it is dropped, a hint that it did not use goes to the next one.
pub struct Waiter {
    ready: Arc<ReadyTurns>,
    ledger: LedgerId,
    agent: String,
    bell: Arc<Notify>,
    pass_on: bool,
}

impl ReadyTurns {
    /// Nobody waits yet.
    pub fn new(events: Arc<dyn EventStore>, runner: Arc<Runner>, shutdown: Shutdown) -> Self {
        Self {
            events,
            runner,
            shutdown,
            ledgers: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for turns of this agent from now on: what gets ready after this call is told, so look after it.
    pub fn wait_for(self: &Arc<Self>, ledger: LedgerId, agent: &str) -> Waiter {
        let agent = lanes::name_of_agent(agent);
        let mut ledgers = self.lock();
        let agents = ledgers.entry(ledger).or_insert_with(|| {
            let watcher = Watcher {
                ready: self.clone(),
                ledger,
                next: self.lanes_next(ledger),
                agent_of: HashMap::new(),
            };
            tokio::spawn(watcher.run());
            HashMap::new()
        });
        let waiters = agents.entry(agent.clone()).or_insert_with(|| Waiters {
            count: 0,
            bell: Arc::new(Notify::new()),
        });
        waiters.count += 1;
        Waiter {
            bell: waiters.bell.clone(),
            ready: self.clone(),
            ledger,
            agent,
            pass_on: true,
        }
    }

    /// The first position that the read model has not taken in.
    fn lanes_next(&self, ledger: LedgerId) -> Position {
        let states = self.runner.progress().states(ledger);
        let state = states.iter().find(|state| state.projection == LANES);
        let at = state.and_then(|state| state.checkpoint.position);
        at.map_or(Position::START, |at| Position {
            index: LeafIndex(at.index.0 + 1),
            ..at
        })
    }

    /// A panic elsewhere leaves whole entries only.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Agents>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Resolves when a turn of the agent got ready that nobody else was told of, or after `most`.
    pub async fn told(&self, most: Duration) {
        // Late is as good as told: whoever waits looks in any case.
        drop(timeout(most, self.bell.notified()).await);
    }

    /// Nothing is left to hand on: what it was woken for is taken.
    pub fn served(mut self) {
        self.pass_on = false;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut ledgers = self.ready.lock();
        let Some(agents) = ledgers.get_mut(&self.ledger) else {
            return;
        };
        let Some(waiters) = agents.get_mut(&self.agent) else {
            return;
        };
        waiters.count -= 1;
        if waiters.count == 0 {
            // The watcher ends when it finds no agent.
            agents.remove(&self.agent);
        } else if self.pass_on {
            waiters.bell.notify_one();
        }
    }
}

/// Reads what a ledger records as long as somebody waits for its turns.
struct Watcher {
    ready: Arc<ReadyTurns>,
    ledger: LedgerId,
    /// The first record that was not looked at.
    next: Position,
    /// A lane has the same agent for ever.
    agent_of: HashMap<LaneId, String>,
}

impl Watcher {
    async fn run(mut self) {
        let shutdown = self.ready.shutdown.clone();
        loop {
            tokio::select! {
                () = self.look() => {}
                () = shutdown.begun() => return,
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Nobody waits for the ledger any more. Whoever comes next starts another watcher.
    fn is_over(&self) -> bool {
        let mut ledgers = self.ready.lock();
        let is_over = ledgers.get(&self.ledger).is_none_or(HashMap::is_empty);
        if is_over {
            ledgers.remove(&self.ledger);
        }
        is_over
    }

    /// Waits until the read model has something new, and tells of the turns in it.
    async fn look(&mut self) {
        // What is appended meanwhile is looked at together.
        sleep(READY_LOOK_INTERVAL).await;
        let progress = self.ready.runner.progress();
        let moved = timeout(READY_RETRY, progress.wait_for(self.ledger, &[LANES], self.next)).await;
        let Ok(moved) = moved else {
            return;
        };
        // Parked: it does not move before a person has looked, and meanwhile turns are found by looking.
        if moved.is_err() || self.tell().await.is_none() {
            sleep(READY_RETRY).await;
        }
    }

    /// Tells of what the read model has taken in; nothing where records could not be read.
    async fn tell(&mut self) -> Option<()> {
        let events = self.ready.events.clone();
        let known = self.ready.lanes_next(self.ledger);
        while self.next < known {
            let read = events.read_ledger(self.ledger, self.next, SUBSCRIPTION_PAGE_RECORDS_MAX);
            let records = warn(read.await, self.ledger)?;
            if records.is_empty() {
                break;
            }
            for record in records.iter().take_while(|record| record.position < known) {
                if record.leaf.event.event_type == "turn.readied" {
                    self.tell_of(record).await?;
                }
            }
            self.next = records.last()?.position.next().min(known);
        }
        Some(())
    }

    async fn tell_of(&mut self, record: &Record) -> Option<()> {
        let lane = LaneId(record.leaf.event.stream.id);
        let agent = match self.agent_of.get(&lane) {
            Some(agent) => agent,
            None => {
                let store = self.ready.runner.store().clone();
                let found = warn(lanes::by_id(&*store, self.ledger, lane).await, self.ledger)?;
                let Some(agent) = found.and_then(|lane| lane.agent) else {
                    return Some(());
                };
                if self.agent_of.len() >= READY_LANES_KNOWN_MAX {
                    self.agent_of.clear();
                }
                self.agent_of.entry(lane).or_insert(agent)
            }
        };
        let ledgers = self.ready.lock();
        let waiters = ledgers.get(&self.ledger).and_then(|agents| agents.get(agent));
        if let Some(waiters) = waiters {
            waiters.bell.notify_one();
        }
        Some(())
    }
}

fn warn<T, E: std::error::Error>(result: Result<T, E>, ledger: LedgerId) -> Option<T> {
    result
        .inspect_err(|error| {
            let error = crate::error::chain(error);
            tracing::warn!(%ledger, error, "nobody is told of ready turns; they are found by looking");
        })
        .ok()
}
