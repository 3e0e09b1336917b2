//! The sealing loop: every ledger that moved gets a signed tree head within a second.
//!
//! One task per ledger, asleep until a record stands behind the last sealed one. A tree head that was not made is made
//! at the next try: nothing depends on this loop but how soon a record is `SEALED`.

use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::SEAL_INTERVAL_MS;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::seal::{SealError, Sealer};
use ruche_ledger::tree_head::SignedTreeHead;
use tokio::sync::watch;

use crate::publish::Publisher;

/// Pause after a failure, so that a broken store is not hammered. Doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(SEAL_INTERVAL_MS);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Seals one ledger until told to stop, and once more then, so that nothing acknowledged stays unsealed.
pub async fn run(
    sealer: Arc<Sealer>,
    ledger: LedgerId,
    publisher: Publisher,
    mut stop: watch::Receiver<bool>,
) {
    let mut retry = RETRY_FIRST;
    loop {
        let pause = match seal(&sealer, ledger, &publisher).await {
            Ok(sealed) => {
                retry = RETRY_FIRST;
                let next = sealed.map_or(Position::START, |(epoch, head)| Position {
                    epoch,
                    index: LeafIndex(head.head().size.0),
                });
                tokio::select! {
                    waited = sealer.events.wait_for(ledger, next) => match waited {
                        // The pause gathers what is being appended now under one signature.
                        Ok(()) => Duration::from_millis(SEAL_INTERVAL_MS),
                        Err(error) => {
                            tracing::warn!(%ledger, %error, "cannot wait for records to seal");
                            retry
                        }
                    },
                    _ = stop.wait_for(|stop| *stop) => Duration::ZERO,
                }
            }
            Err(error) => {
                metrics::counter!("ruche_seal_failures_total").increment(1);
                tracing::error!(%ledger, error = %crate::error::chain(&error), "the ledger is not sealed");
                let pause = retry;
                retry = RETRY_LONGEST.min(retry * 2);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if let Err(error) = seal(&sealer, ledger, &publisher).await {
        tracing::error!(%ledger, error = %crate::error::chain(&error), "the last records are not sealed");
    }
}

async fn seal(
    sealer: &Sealer,
    ledger: LedgerId,
    publisher: &Publisher,
) -> Result<Option<(ruche_domain::numbers::Epoch, SignedTreeHead)>, SealError> {
    let Some(epoch) = sealer.events.epochs(ledger).await?.pop().map(|open| open.epoch) else {
        return Ok(None);
    };
    let head = match sealer.seal_epoch(ledger, epoch).await {
        // Another sealer was first: its tree head is as good.
        Err(SealError::TreeHeads(ruche_ledger::seal::TreeHeadStoreError::Swapped)) => {
            metrics::counter!("ruche_seal_races_lost_total").increment(1);
            sealer.seal_epoch(ledger, epoch).await?
        }
        other => other?,
    };
    metrics::counter!("ruche_tree_heads_total").increment(1);
    publisher.publish(&head).await;
    Ok(Some((epoch, head)))
}
