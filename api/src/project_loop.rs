//! The following loop: keeps the read models of one ledger up to date until told to stop. And the looking loop, of a
//! ledger that another node follows.
//!
//! The runner decides what to do about a failing event; this loop only waits between tries and never gives up on a
//! store that may come back. A run that is dropped half-way is safe: its step was committed or it was not, and the
//! next run asks.

use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_projections::runner::{RunError, Runner};
use tokio::sync::watch;
use tokio::time::timeout;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Between two looks at how far another node is, while somebody waits for it here.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The same while nobody waits: what is told of read models that are parked is that old at most. Long, because it is spent
/// for every ledger of all others.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// Between two looks whether a person had something go on that is held, by a node that does not follow the ledger or by
/// the command line.
const HELD_INTERVAL: Duration = Duration::from_secs(5);

/// Looks how far another node is with one ledger.
pub async fn observe(runner: Arc<Runner>, ledger: LedgerId, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = match runner.observe(ledger).await {
            Ok(()) => LOOK_INTERVAL,
            Err(error) => {
                tracing::warn!(%ledger, error = %crate::error::chain(&error), "the read models cannot be looked at");
                RETRY_FIRST
            }
        };
        let next = async {
            tokio::time::sleep(pause).await;
            // Over when somebody waits, or when it is time anyway.
            drop(timeout(IDLE_INTERVAL, runner.progress().wanted(ledger)).await);
        };
        tokio::select! {
            () = next => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Follows one ledger.
pub async fn run(runner: Arc<Runner>, ledger: LedgerId, mut stop: watch::Receiver<bool>) {
    let mut retry = RETRY_FIRST;
    loop {
        let started = tokio::time::Instant::now();
        let error: RunError = tokio::select! {
            ended = runner.follow(ledger) => match ended {
                Err(error) => error,
            },
            () = look_again(&runner, ledger) => return,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        metrics::counter!("ruche_projection_failures_total").increment(1);
        tracing::error!(%ledger, error = %crate::error::chain(&error), retryable = error.is_retryable(),
            "the read models do not follow");
        // Whoever ran for a while had recovered: this is a new trouble.
        if started.elapsed() > RETRY_LONGEST {
            retry = RETRY_FIRST;
        }
        // What cannot be retried waits for a person; the longest pause keeps it visible in the log.
        retry = if error.is_retryable() {
            RETRY_LONGEST.min(retry * 2)
        } else {
            RETRY_LONGEST
        };
        tokio::select! {
            () = tokio::time::sleep(retry) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Looks at what is held for as long as it is awaited.
async fn look_again(runner: &Runner, ledger: LedgerId) {
    loop {
        tokio::time::sleep(HELD_INTERVAL).await;
        runner.look_again(ledger);
    }
}
