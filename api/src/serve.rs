//! The server process: tasks per ledger that seal, publish tree heads and follow for the read models, and the HTTP edge.
//!
//! Shutdown loses nothing: no new connections, requests in flight are finished, the loops seal and apply once more,
//! the writer's queue is emptied, the lock is released. A second signal ends the process at once; what was
//! acknowledged is durable even then.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ruche_domain::ids::LedgerId;
use tokio::net::TcpListener;
use tokio::signal::unix::{self, Signal, SignalKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::{App, AppError};
use crate::auth::Credential;
use crate::connections::{self, ConnectionLimits};
use crate::limits::{METRICS_UPKEEP_INTERVAL, SOCKETS_CLOSE_WAIT_MAX};
use crate::publish::Publisher;
use crate::seal_loop::{SealLoop, SealProgress};
use crate::services::Shutdown;
use crate::{figures, http, project_loop};

/// How often new ledgers are looked for. Their first records are sealed that much later, once.
const LEDGERS_INTERVAL: Duration = Duration::from_millis(250);

/// What `serve` is told.
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where every tree head goes besides.
    pub publisher: Publisher,
    /// Key that reads `/metrics` of all tenants.
    pub operator: Option<Credential>,
}

/// Why the server did not start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}. Is another ruche serving there? Try --listen 127.0.0.1:0")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Metrics can be installed once per process.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Closing failed.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Serves until a signal comes. `ready` is told the address once requests are answered.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(app: App, settings: Settings, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let address = settings.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::Listen { address, source })?;
    let metrics = PrometheusBuilder::new()
        .set_buckets(&figures::DURATIONS)?
        .install_recorder()?;
    figures::describe();
    let (stop, shutdown) = Shutdown::channel();
    let (stop_loops, stopped) = watch::channel(false);
    let upkeep = tokio::spawn(keep_up(metrics.clone()));
    let services = Arc::new(app.services(metrics, settings.operator, shutdown.clone()));
    let loops = tokio::spawn(follow_ledgers(LoopParts::of(&app, settings.publisher), stopped));
    tracing::info!(%address, "serving");
    let first_signal = signal();
    let router = http::router(services);
    let server = connections::serve(listener, router, ConnectionLimits::default(), async move {
        first_signal.await;
        tracing::info!("closing: finishing what was begun; a second signal ends at once");
        tokio::spawn(async {
            signal().await;
            // Everything acknowledged is durable; only answers in flight are lost.
            std::process::exit(130);
        });
        // The loops run until the last request is answered; connections that never end are told to.
        stop.send_replace(true);
    });
    ready(address);
    server.await;
    if timeout(SOCKETS_CLOSE_WAIT_MAX, shutdown.ended()).await.is_err() {
        tracing::warn!("closing although WebSocket connections have not ended");
    }
    stop_loops.send_replace(true);
    if let Err(error) = loops.await {
        tracing::error!(%error, "a loop ended badly");
    }
    upkeep.abort();
    Ok(app.close().await?)
}

/// Folds samples into histograms even if nobody ever asks for them: until then each one is held in memory.
async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

/// What the loops of one ledger need.
struct LoopParts {
    events: Arc<dyn ruche_ledger::store::EventStore>,
    sealer: Arc<ruche_ledger::seal::Sealer>,
    runner: Arc<ruche_projections::runner::Runner>,
    publisher: Publisher,
    sealing: Arc<SealProgress>,
}

impl LoopParts {
    fn of(app: &App, publisher: Publisher) -> Self {
        Self {
            events: app.events.clone(),
            sealer: app.sealer.clone(),
            runner: app.runner.clone(),
            publisher,
            sealing: app.sealing.clone(),
        }
    }
}

/// Starts the loops of every ledger, of new ones as they come, and waits for all of them at the end.
async fn follow_ledgers(parts: LoopParts, mut stop: watch::Receiver<bool>) {
    let mut known: HashSet<LedgerId> = HashSet::new();
    let mut tasks = JoinSet::new();
    loop {
        match parts.events.ledgers().await {
            Ok(ledgers) => {
                for ledger in ledgers {
                    if known.insert(ledger) {
                        let (heads, publishing) = parts.publisher.open();
                        tasks.spawn(publishing);
                        let sealing = SealLoop {
                            sealer: parts.sealer.clone(),
                            ledger,
                            heads,
                            progress: parts.sealing.clone(),
                        };
                        tasks.spawn(sealing.run(stop.clone()));
                        tasks.spawn(project_loop::run(parts.runner.clone(), ledger, stop.clone()));
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the ledgers cannot be listed"),
        }
        tokio::select! {
            () = tokio::time::sleep(LEDGERS_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a loop ended badly");
        }
    }
}

/// SIGINT or SIGTERM. Heard from the call on, not only once it is waited for: whoever is told the address may send a
/// signal at once.
fn signal() -> impl Future<Output = ()> {
    let hear = |kind, name: &str| {
        let heard = unix::signal(kind);
        heard
            .inspect_err(|error| tracing::warn!(%error, "{name} is not heard"))
            .ok()
    };
    let mut terminate = hear(SignalKind::terminate(), "SIGTERM");
    let mut interrupt = hear(SignalKind::interrupt(), "SIGINT");
    async move {
        tokio::select! {
            () = coming(&mut terminate) => {}
            () = coming(&mut interrupt) => {}
        }
    }
}

/// Waits for a signal; one that is not heard never comes.
async fn coming(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
