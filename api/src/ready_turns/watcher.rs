//! The watcher of a ledger: reads what is recorded as long as somebody waits for its turns, and tells of those that may be
//! claimed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::counter;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{LaneId, LedgerId};
use ruche_domain::limits::SUBSCRIPTION_PAGE_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Micros, Position};
use ruche_ledger::store::Record;
use ruche_projections::lanes;
use tokio::time::{Instant, sleep, timeout};

use super::ReadyTurns;
use crate::limits::{
    READY_LANES_KNOWN_MAX, READY_LATER_MAX, READY_LOOK_INTERVAL, READY_RETRY, READY_WATCH_RETRY_MAX,
};

/// The read model that says which turns are ready.
const LANES: &str = "lanes";

/// Watches a ledger as long as somebody waits for its turns. A watcher that breaks is followed by another one, which does
/// not look again at what broke the first; so everybody is woken once, to look for what it did not tell.
pub(super) async fn keep_watching(ready: Arc<ReadyTurns>, ledger: LedgerId, from: Position) {
    let shutdown = ready.shutdown.clone();
    let (mut next, mut pause) = (from, READY_RETRY);
    loop {
        let began = Instant::now();
        let watcher = Watcher {
            ready: ready.clone(),
            ledger,
            next,
            known: HashMap::new(),
            later: BinaryHeap::new(),
        };
        if AssertUnwindSafe(watcher.run()).catch_unwind().await.is_ok() {
            return;
        }
        counter!("ruche_ready_watch_failures_total").increment(1);
        tracing::error!(%ledger, "the watcher of ready turns broke; they are found by looking until there is another");
        // Whoever ran for a while had recovered: this is a new trouble.
        if began.elapsed() > READY_WATCH_RETRY_MAX {
            pause = READY_RETRY;
        }
        ready.broken.fetch_add(1, Ordering::Relaxed);
        let closing = tokio::select! {
            () = sleep(pause) => false,
            () = shutdown.begun() => true,
        };
        ready.broken.fetch_sub(1, Ordering::Relaxed);
        if closing {
            return;
        }
        pause = READY_WATCH_RETRY_MAX.min(pause * 2);
        next = ready.lanes_next(ledger);
        // Behind the position: what gets ready from there on is told.
        if let Some(bells) = ready.lock().get_mut(&ledger) {
            bells.ring_all();
        }
    }
}

/// An agent, as the read model has it, and a channel.
type Where = (String, String);

/// Reads what a ledger records.
struct Watcher {
    ready: Arc<ReadyTurns>,
    ledger: LedgerId,
    /// The first record that was not looked at.
    next: Position,
    /// A lane has the same agent and channel for ever.
    known: HashMap<LaneId, Where>,
    /// Turns that may be claimed later only, the soonest first.
    later: BinaryHeap<Reverse<(Micros, Where)>>,
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
        let is_over = ledgers.get(&self.ledger).is_none_or(super::Bells::is_empty);
        if is_over {
            ledgers.remove(&self.ledger);
        }
        is_over
    }

    /// Waits until the read model has something new or a turn may be claimed by now, and tells of it.
    async fn look(&mut self) {
        // What is appended meanwhile is looked at together.
        sleep(READY_LOOK_INTERVAL).await;
        let progress = self.ready.runner.progress();
        let most = READY_RETRY.min(self.until_due());
        let moved = timeout(most, progress.wait_for(self.ledger, &[LANES], self.next)).await;
        // Parked: it does not move before a person has looked, and meanwhile turns are found by looking.
        let fails = match moved {
            Ok(Ok(())) => self.tell().await.is_none(),
            Ok(Err(_)) => true,
            Err(_) => false,
        };
        self.tell_due();
        if fails {
            sleep(READY_RETRY.min(self.until_due())).await;
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
                self.next = record.position.next();
            }
        }
        Some(())
    }

    async fn tell_of(&mut self, record: &Record) -> Option<()> {
        let lane = LaneId(record.leaf.event.stream.id);
        if !self.known.contains_key(&lane) {
            let store = self.ready.runner.store().clone();
            let found = warn(lanes::by_id(&*store, self.ledger, lane).await, self.ledger)?;
            let Some(agent) = found.as_ref().and_then(|lane| lane.agent.clone()) else {
                return Some(());
            };
            if self.known.len() >= READY_LANES_KNOWN_MAX {
                self.known.clear();
            }
            let channel = found.and_then(|lane| lane.channel).unwrap_or_default();
            self.known.insert(lane, (agent, channel));
        }
        let place = &self.known[&lane];
        let not_before = not_before(record).filter(|at| *at > self.ready.clock.now());
        match not_before {
            Some(at) if self.later.len() < READY_LATER_MAX => {
                self.later.push(Reverse((at, place.clone())));
            }
            // Whoever is told finds out that it has to wait.
            _ => self.ring(place),
        }
        Some(())
    }

    fn tell_due(&mut self) {
        let now = self.ready.clock.now();
        while let Some(Reverse((at, _))) = self.later.peek()
            && *at <= now
            && let Some(Reverse((_, place))) = self.later.pop()
        {
            self.ring(&place);
        }
    }

    /// How long it is until a turn may be claimed that may not yet.
    fn until_due(&self) -> Duration {
        let Some(Reverse((at, _))) = self.later.peek() else {
            return Duration::MAX;
        };
        Duration::from_micros(at.0.saturating_sub(self.ready.clock.now().0))
    }

    fn ring(&self, (agent, channel): &Where) {
        if let Some(bells) = self.ready.lock().get_mut(&self.ledger) {
            bells.ring(agent, channel);
        }
    }
}

impl ReadyTurns {
    /// The first position that the read model has not taken in.
    pub(super) fn lanes_next(&self, ledger: LedgerId) -> Position {
        let states = self.runner.progress().states(ledger);
        let state = states.iter().find(|state| state.projection == LANES);
        let at = state.and_then(|state| state.checkpoint.position);
        at.map_or(Position::START, |at| Position {
            index: LeafIndex(at.index.0 + 1),
            ..at
        })
    }
}

/// From when the turn may be claimed; nothing where that is gone.
fn not_before(record: &Record) -> Option<Micros> {
    let event = &record.leaf.event;
    let bytes = record.payload_bytes()?;
    match AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).ok()? {
        AgentEvent::TurnReadied(readied) => Some(readied.not_before),
        _ => None,
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
