//! TCP connections: taken, bounded, and closed when their clients are too slow.
//!
//! The life of a connection:
//! 1. It is accepted and takes a place; without a free one it is closed at once, so that nothing queues.
//! 2. HTTP/1 and HTTP/2 are told apart by the first bytes. Whoever sends no whole head in time is closed: the first one
//!    is timed here, later ones by hyper; a quiet HTTP/2 connection must answer pings.
//! 3. Whoever does not read is closed once its answer has waited too long without a byte of progress, see [`moving`].
//!    This holds for upgraded connections, too.
//! 4. An upgraded connection (WebSocket) gives its place back and is bounded and timed by `http/graphql/socket`.
//!    Closing waits for it by way of [`Shutdown`](crate::services::Shutdown).
//! 5. When the process closes, what was begun is finished, within a bound.

mod moving;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use metrics::{counter, gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::figures::Held;
use crate::limits::{
    ACCEPT_RETRY, CONNECTIONS_CLOSE_WAIT_MAX, CONNECTIONS_MAX, HEAD_WAIT_MAX, HTTP2_HEAD_BYTES_MAX,
    HTTP2_PING_INTERVAL, HTTP2_PING_WAIT_MAX, HTTP2_STREAMS_MAX, WRITE_WAIT_MAX,
};
use moving::Moving;

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open connections; one more is closed unanswered.
    pub connections_max: usize,
    /// Longest wait for a whole request head.
    pub head_wait_max: Duration,
    /// Longest time without progress while bytes wait to be written.
    pub write_wait_max: Duration,
    /// Longest wait for connections to end once it is told to stop.
    pub close_wait_max: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            head_wait_max: HEAD_WAIT_MAX,
            write_wait_max: WRITE_WAIT_MAX,
            close_wait_max: CONNECTIONS_CLOSE_WAIT_MAX,
        }
    }
}

/// Serves until `stop` resolves, and then finishes what was begun.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection is not accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let connection = Connection {
                    router: router.clone(),
                    head_wait_max: limits.head_wait_max,
                    _place: place,
                    _counted: Held::new(gauge!("ruche_connections")),
                };
                let stream = Moving::new(stream, limits.write_wait_max);
                tokio::spawn(connection.run(stream, graceful.watcher()));
            }
            Err(_) => counter!("ruche_connections_refused_total").increment(1),
        }
    }
    // No new ones: whoever comes now is told so by the system, and not left waiting.
    drop(listener);
    if timeout(limits.close_wait_max, graceful.shutdown()).await.is_err() {
        let seconds = limits.close_wait_max.as_secs();
        tracing::warn!(seconds, "closing although connections have not ended");
    }
}

struct Connection {
    router: Router,
    head_wait_max: Duration,
    _place: OwnedSemaphorePermit,
    _counted: Held,
}

impl Connection {
    async fn run(self, stream: Moving<TcpStream>, watcher: Watcher) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_wait_max);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_WAIT_MAX)
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HTTP2_HEAD_BYTES_MAX)
            // Extended CONNECT: WebSockets over HTTP/2.
            .enable_connect_protocol();
        let begun = Arc::new(AtomicBool::new(false));
        let service = {
            let (router, begun) = (self.router.clone(), begun.clone());
            hyper::service::service_fn(move |request: http::Request<Incoming>| {
                begun.store(true, Ordering::Relaxed);
                let answered = router.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
            })
        };
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(watcher.watch(served.into_owned()));
        // hyper times heads once it knows which HTTP it is; until then nobody else does.
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = sleep(self.head_wait_max) => {
                if !begun.load(Ordering::Relaxed) {
                    counter!("ruche_slow_heads_total").increment(1);
                    return;
                }
                served.await
            }
        };
        if let Err(error) = ended {
            // Clients go away and send nonsense as they please; that is no trouble of ours.
            tracing::debug!(error, "a connection ended badly");
        }
    }
}

#[cfg(test)]
mod tests;
