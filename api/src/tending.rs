//! Which ledgers this node tends: seals, publishes, follows for the read models, fires
//! timers of lanes. On one node all of them; on many, those
//! that its leases say, and the others' loops rest here.
//!
//! A lease saves work and decides nothing: two nodes that seal or follow the same ledger for a moment get in each
//! other's way and no further, because every promise and every step is a compare-and-swap.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{LEASE_MS, LEASE_RENEWAL_MS};
use ruche_ledger::guard::GuardedStore;
use ruche_ledger::lease::Leases;
use ruche_ledger::seal::Sealer;
use ruche_ledger::store::EventStore;
use ruche_projections::runner::Runner;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::project_loop;
use crate::publish::Publisher;
use crate::seal_loop::{SealLoop, SealProgress};
use crate::timer_loop::Timers;

const LEASE: Duration = Duration::from_millis(LEASE_MS);
const RENEWAL: Duration = Duration::from_millis(LEASE_RENEWAL_MS);

/// What the loops need.
pub struct Tending {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// Signs tree heads.
    pub sealer: Arc<Sealer>,
    /// Follows for the read models.
    pub runner: Arc<Runner>,
    /// Fires what is due in lanes.
    pub timers: Timers,
    /// Where tree heads go.
    pub publisher: Publisher,
    /// How far sealing is.
    pub sealing: Arc<SealProgress>,
    /// Stops appends to a ledger that cannot be sealed any more.
    pub guard: Arc<GuardedStore>,
    /// Who tends what.
    pub leases: Arc<dyn Leases>,
    /// How often new ledgers are looked for. Their first records are sealed that much later, once.
    pub interval: Duration,
}

/// The loops of ledgers, as they are now.
#[derive(Default)]
struct Loops {
    tasks: JoinSet<()>,
    /// Stops the loops of a ledger that is known. They end by themselves.
    stops: HashMap<LedgerId, (Part, watch::Sender<bool>)>,
}

/// What this node does for a ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Seals and follows it.
    Tends,
    /// Looks how far another node is, for those who wait here.
    Observes,
}

impl Tending {
    /// Runs the loops of every ledger, of new ones as they come, until told to stop; then ends them and gives the leases
    /// back.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut loops = Loops::default();
        let mut held = HashSet::new();
        let (mut renewed, mut asked) = (None, HashSet::new());
        while !*stop.borrow() {
            match self.events.ledgers().await {
                Ok(ledgers) => {
                    let known: HashSet<LedgerId> = ledgers.iter().copied().collect();
                    let due = renewed.is_none_or(|at: Instant| at.elapsed() >= RENEWAL);
                    if due || known != asked {
                        // Counted from before the question: the answer may have been long on its way.
                        let before = Instant::now();
                        match timeout(RENEWAL, self.leases.tend(&ledgers)).await {
                            Ok(Ok(leases)) => {
                                (held, renewed) = (leases, Some(before));
                                asked = known;
                            }
                            Ok(Err(error)) => not_renewed(&error.to_string()),
                            Err(_) => not_renewed("no answer in time"),
                        }
                    }
                    if renewed.is_none_or(|at| at.elapsed() >= LEASE) {
                        held.clear();
                    }
                    if let Err(error) = self.guard.look().await {
                        tracing::warn!(%error, "whether other nodes halted ledgers cannot be seen");
                    }
                    gauge!("ruche_tended_ledgers").set(held.len() as f64);
                    self.assign(&mut loops, &ledgers, &held);
                }
                Err(error) => tracing::error!(%error, "the ledgers cannot be listed"),
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        loops.end().await;
        if let Err(error) = self.leases.leave().await {
            tracing::warn!(%error, "leases are not given back; they run out");
        }
    }

    /// Starts and stops loops so that each ledger gets what this node has to do for it.
    fn assign(&self, loops: &mut Loops, ledgers: &[LedgerId], held: &HashSet<LedgerId>) {
        loops.reap();
        for &ledger in ledgers {
            let part = if held.contains(&ledger) {
                Part::Tends
            } else {
                Part::Observes
            };
            if loops.stops.get(&ledger).is_some_and(|(now, _)| *now == part) {
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            if let Some((_, before)) = loops.stops.insert(ledger, (part, stop)) {
                before.send_replace(true);
            }
            match part {
                Part::Tends => self.tend(&mut loops.tasks, ledger, stopped),
                Part::Observes => {
                    // How far another node has sealed, this one does not know.
                    self.sealing.forget(ledger);
                    loops
                        .tasks
                        .spawn(project_loop::observe(self.runner.clone(), ledger, stopped));
                }
            }
        }
    }

    fn tend(&self, tasks: &mut JoinSet<()>, ledger: LedgerId, stopped: watch::Receiver<bool>) {
        let (heads, publishing) = self.publisher.open();
        tasks.spawn(publishing);
        let sealing = SealLoop {
            sealer: self.sealer.clone(),
            ledger,
            heads,
            progress: self.sealing.clone(),
            guard: self.guard.clone(),
        };
        tasks.spawn(sealing.run(stopped.clone()));
        tasks.spawn(self.timers.clone().run(ledger, stopped.clone()));
        tasks.spawn(project_loop::run(self.runner.clone(), ledger, stopped));
    }
}

fn not_renewed(error: &str) {
    counter!("ruche_lease_failures_total").increment(1);
    tracing::warn!(error, "leases are not renewed");
}

impl Loops {
    /// Takes out the loops that have ended, so that they do not gather.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a loop ended badly");
            }
        }
    }

    async fn end(mut self) {
        for (_, stop) in self.stops.values() {
            stop.send_replace(true);
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a loop ended badly");
            }
        }
    }
}
