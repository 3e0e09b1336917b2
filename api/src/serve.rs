//! The server process: the loops that tend ledgers ([`crate::tending`]), and the HTTP edge.
//!
//! Shutdown loses nothing: no new connections, requests in flight are finished, the loops seal and apply once more,
//! the writer's queue is emptied, the lock is released. A second signal ends the process at once; what was
//! acknowledged is durable even then.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ruche_ledger::writer_life;
use tokio::net::TcpListener;
use tokio::signal::unix::{self, Signal, SignalKind};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::app::{App, AppError};
use crate::auth::Credential;
use crate::connections::{self, ConnectionLimits};
use crate::limits::{METRICS_UPKEEP_INTERVAL, SOCKETS_CLOSE_WAIT_MAX};
use crate::publish::Publisher;
use crate::services::Shutdown;
use crate::{figures, http};

/// What `serve` is told.
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where every tree head goes besides.
    pub publisher: Publisher,
    /// Key that reads `/metrics` of all tenants.
    pub operator: Option<Credential>,
    /// Time after the last telemetry of a session at which what follows from it is derived.
    pub telemetry_wait: Duration,
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
    /// Going on would write beside what was restored, or beside a node that does not go with this one.
    #[error(
        "the connection that kept the database for this node was cut, and then a backup was restored into it, or a node \
         came that keeps other tree heads. Start this node again if it is to go on with what is there now"
    )]
    Lost,
    /// Its ledgers would take no appends until this process ends.
    #[error(
        "a writer of the ledgers broke again and again, so this process ended: start it again, and report what its log says \
         of the panic. Nothing that was acknowledged is lost"
    )]
    Writer,
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
    let loops = tokio::spawn(app.tending(settings.publisher).run(stopped));
    tracing::info!(%address, "serving");
    let first_signal = signal();
    let (lost, broken, ended) = (app.lost(), app.writer_given_up(), Arc::new(Mutex::new(None)));
    let why = Arc::clone(&ended);
    let end = move |error: ServeError| *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    let router = http::router(services, settings.telemetry_wait);
    let server = connections::serve(listener, router, ConnectionLimits::default(), async move {
        tokio::select! {
            () = first_signal => {
                tracing::info!("closing: finishing what was begun; a second signal ends at once");
            }
            () = lost => {
                end(ServeError::Lost);
                tracing::error!("closing: the database was restored, or is somebody else's");
            }
            () = broken => {
                end(ServeError::Writer);
                tracing::error!("closing: {}", writer_life::GIVEN_UP);
            }
        }
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
    let closed = app.close().await;
    let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ended {
        Some(ended) => {
            if let Err(error) = closed {
                tracing::warn!(error = %crate::error::chain(&error), "closing failed");
            }
            Err(ended)
        }
        None => Ok(closed?),
    }
}

/// Folds samples into histograms even if nobody ever asks for them: until then each one is held in memory.
async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
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
