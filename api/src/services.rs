//! What the network edge needs from the rest of Ruche: ports and use cases, no adapter. Built by the composition root.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use ruche_commands::Commands;
use ruche_domain::ports::{Clock, Random};
use ruche_ledger::guard::GuardedStore;
use ruche_ledger::seal::{Sealer, TreeStore};
use ruche_ledger::store::EventStore;
use ruche_projections::runner::Runner;
use tokio::sync::watch;

use crate::append_health::AppendHealth;
use crate::auth::{Access, Credential, Passes};
use crate::handed_out::HandedOut;
use crate::passed_over::PassedOver;
use crate::ready_turns::ReadyTurns;
use crate::rebuilds::Rebuilds;
use crate::replays::Replays;
use crate::seal_loop::SealProgress;

/// Everything that handlers and resolvers call. Shared by all of them.
pub struct Services {
    /// Records, whole: what is in an archive that is not at hand is refused.
    pub events: Arc<dyn EventStore>,
    /// The same records for who shows them: a payload whose archive is not at hand is told as archived.
    pub stored: Arc<dyn EventStore>,
    /// The same records as their guard sees them: it knows which ledgers take no appends.
    pub guard: Arc<GuardedStore>,
    /// Whether the store takes appends.
    pub append_health: Arc<AppendHealth>,
    /// Tiles and tree heads.
    pub trees: Arc<dyn TreeStore>,
    /// The promises, and the keys that they are signed with.
    pub sealer: Arc<Sealer>,
    /// The write side.
    pub commands: Arc<Commands>,
    /// The read models, and how far they are.
    pub runner: Arc<Runner>,
    /// Those who wait for turns to get ready.
    pub ready_turns: Arc<ReadyTurns>,
    /// Lanes that claims pass over.
    pub passed_over: PassedOver,
    /// Lanes that claims try, or got.
    pub handed_out: HandedOut,
    /// Who replays for those who ask.
    pub replays: Replays,
    /// Makes read models anew for those who ask.
    pub rebuilds: Arc<Rebuilds>,
    /// API keys.
    pub access: Arc<Access>,
    /// What browsers of people bring in place of them.
    pub passes: Passes,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// How far the ledgers are sealed.
    pub sealing: Arc<SealProgress>,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Reads `/metrics` on a deployment of many tenants, where no tenant's key may: the figures cover all of them.
    pub operator: Option<Credential>,
    /// Tells long-lived connections to end.
    pub shutdown: Shutdown,
}

/// Says when the process begins to close, and knows which long-lived connections have not ended yet.
#[derive(Clone)]
pub struct Shutdown {
    begun: watch::Receiver<bool>,
    open: Arc<watch::Sender<usize>>,
}

/// A long-lived connection. Closing waits until it is dropped.
pub struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Shutdown {
    /// A signal that has not come yet, and the sender of it. The sender lives as long as the process serves.
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, begun) = watch::channel(false);
        let open = Arc::new(watch::Sender::new(0));
        (sender, Self { begun, open })
    }

    /// Whether it began.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Resolves when it begins.
    pub async fn begun(&self) {
        let mut receiver = self.begun.clone();
        // A sender that is gone is a process that is closing.
        let _closing = receiver.wait_for(|begun| *begun).await;
    }

    /// Counts a connection that is told to end and takes its time for it.
    pub fn hold(&self) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.open.clone())
    }

    /// Resolves when no such connection is left.
    pub async fn ended(&self) {
        let mut open = self.open.subscribe();
        // The sender is our own, so it is not gone.
        let _none = open.wait_for(|open| *open == 0).await;
    }
}
