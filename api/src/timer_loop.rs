//! The loop of timers: what is due in the lanes of a ledger happens, though nobody asks for work.
//!
//! The read model of lanes says where something is due; the lane's own stream says whether it is, and the version of that
//! stream lets it happen once, however many nodes try. So this loop keeps nothing that counts: a node that dies is
//! followed by the next one that tends the ledger, and a restart finds what is due as it was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use ruche_commands::governed::FireTimers;
use ruche_commands::{CommandContext, CommandError, Commands};
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::ids::{LaneId, LedgerId, TenantId};
use ruche_domain::numbers::{LeafIndex, Micros, Position};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_projections::lanes::{self, Due};
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStoreError;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::limits::{
    TIMER_IDLE_WAIT_MAX, TIMER_LANES_AT_ONCE_MAX, TIMER_LANES_PER_LOOK_MAX, TIMER_LANES_RESTING_MAX,
    TIMER_LOOK_INTERVAL, TIMER_RETRY_MAX,
};

/// The name of the read model that is followed.
const LANES: &str = "lanes";

/// What the loops of all ledgers need.
#[derive(Clone)]
pub struct Timers {
    /// Fires.
    pub commands: Arc<Commands>,
    /// The read models, and how far they are.
    pub runner: Arc<Runner>,
    /// Says what is due.
    pub clock: Arc<dyn Clock>,
    /// Makes the keys of the commands.
    pub random: Arc<dyn Random>,
}

/// A lane that is left alone for a while: it was fired, or would not fire, and the read model does not know yet.
struct Resting {
    until: Instant,
    pause: Duration,
}

impl Timers {
    /// Fires what is due in a ledger until told to stop.
    pub async fn run(self, ledger: LedgerId, mut stop: watch::Receiver<bool>) {
        let mut resting = HashMap::new();
        loop {
            let looked_at = self.position(ledger);
            let pause = match self.look(ledger, &mut resting).await {
                Ok(pause) => pause,
                Err(error) => {
                    counter!("ruche_timer_failures_total").increment(1);
                    tracing::warn!(%ledger, error = %crate::error::chain(&error), "no lane can be looked for");
                    TIMER_RETRY_MAX
                }
            };
            let next = async {
                // What is appended meanwhile is looked at together.
                sleep(TIMER_LOOK_INTERVAL).await;
                let moved = self.moved(ledger, looked_at);
                // Over when the read model moved, or when it is time.
                drop(timeout(pause.saturating_sub(TIMER_LOOK_INTERVAL), moved).await);
            };
            tokio::select! {
                () = next => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Where the read model of lanes stands.
    fn position(&self, ledger: LedgerId) -> Option<Position> {
        let states = self.runner.progress().states(ledger);
        let state = states.iter().find(|state| state.projection == LANES)?;
        state.checkpoint.position
    }

    /// Resolves when it has moved on.
    async fn moved(&self, ledger: LedgerId, from: Option<Position>) {
        let next = from.map_or(Position::START, |at| Position {
            index: LeafIndex(at.index.0 + 1),
            ..at
        });
        let progress = self.runner.progress();
        if progress.wait_for(ledger, &[LANES], next).await.is_err() {
            // Parked: it does not move before a person has looked.
            std::future::pending::<()>().await;
        }
    }

    /// Fires what is due, and says how long nothing else will be.
    async fn look(
        &self,
        ledger: LedgerId,
        resting: &mut HashMap<LaneId, Resting>,
    ) -> Result<Duration, ReadStoreError> {
        let store = self.runner.store();
        let (now, started) = (self.clock.now(), Instant::now());
        // Lanes that rest take nobody's place: among so many are as many others as one look fires.
        let lanes_max = TIMER_LANES_PER_LOOK_MAX + resting.len().min(TIMER_LANES_RESTING_MAX);
        let found = lanes::timers(&**store, ledger, now, lanes_max).await?;
        let known: HashSet<LaneId> = found.due.iter().map(|due| due.lane).collect();
        resting.retain(|lane, rest| rest.until + TIMER_RETRY_MAX > started && known.contains(lane));
        let rests = |due: &&Due| resting.get(&due.lane).is_some_and(|rest| rest.until > started);
        let awake = found.due.iter().filter(|due| !rests(due)).map(|due| due.lane);
        let due: Vec<LaneId> = awake.take(TIMER_LANES_PER_LOOK_MAX).collect();
        let mut last = None;
        let mut came = stream::iter(due)
            .map(move |lane| async move { (lane, self.fire(ledger, lane).await) })
            .buffer_unordered(TIMER_LANES_AT_ONCE_MAX);
        while let Some((lane, came)) = came.next().await {
            if came.is_some() {
                resting.remove(&lane);
                last = last.max(came);
                continue;
            }
            let before = resting
                .get(&lane)
                .map_or(TIMER_LOOK_INTERVAL, |rest| rest.pause * 2);
            let pause = before.min(TIMER_RETRY_MAX);
            let until = Instant::now() + pause;
            resting.insert(lane, Resting { until, pause });
        }
        drop(came);
        if let Some(position) = last {
            // So that what just fired is not found again. Not more than a courtesy, so bounded shortly.
            let known = self.runner.progress().wait_for(ledger, &[LANES], position);
            drop(timeout(TIMER_RETRY_MAX, known).await);
            return Ok(Duration::ZERO);
        }
        let later = found.next.map_or(TIMER_IDLE_WAIT_MAX, |at| until(now, at));
        let waking = resting
            .values()
            .map(|rest| rest.until.saturating_duration_since(started));
        Ok(waking
            .min()
            .map_or(later, |waking| later.min(waking))
            .min(TIMER_IDLE_WAIT_MAX))
    }

    /// Fires what is due in a lane. Returns the last record; nothing if nothing happened, whether for a fault, which is
    /// logged, or because it was fired before.
    async fn fire(&self, ledger: LedgerId, lane: LaneId) -> Option<Position> {
        // A key of its own each time: what fires once is the timer of the lane at its version.
        let key = format!("timers/{}", event_id(&*self.clock, &*self.random));
        let context = CommandContext {
            ledger,
            ..CommandContext::new(TenantId(ledger.0), Actor::SYSTEM, Provenance::Attested, key)
        };
        match self.commands.execute(&context, &FireTimers { lane }).await {
            Ok(receipt) => {
                counter!("ruche_timer_appends_total").increment(1);
                receipt.position()
            }
            Err(CommandError::IllegalTransition { .. } | CommandError::Contention { .. }) => {
                counter!("ruche_timer_races_lost_total").increment(1);
                tracing::debug!(%ledger, %lane, "nothing is due any more");
                None
            }
            Err(error) => {
                counter!("ruche_timer_failures_total").increment(1);
                tracing::warn!(%ledger, %lane, error = %crate::error::chain(&error), "a timer does not fire");
                None
            }
        }
    }
}

/// How long it is until then.
fn until(now: Micros, at: Micros) -> Duration {
    Duration::from_micros(at.0.saturating_sub(now.0))
}

#[cfg(test)]
mod tests;
