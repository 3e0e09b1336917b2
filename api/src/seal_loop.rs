//! The sealing loop: every ledger that moved gets a signed tree head within a second.
//!
//! One task per ledger, asleep until a record stands behind the last sealed one. A tree head that was not made is made
//! at the next try: nothing depends on this loop but how soon a record is `SEALED`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::SEAL_INTERVAL_MS;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::hash::Hash;
use ruche_ledger::seal::{SealError, Sealer};
use ruche_ledger::tree_head::SignedTreeHead;
use tokio::sync::watch;

/// Pause after a failure, so that a broken store is not hammered. Doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(SEAL_INTERVAL_MS);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Seals one ledger until told to stop, and once more then, so that nothing acknowledged stays unsealed.
pub async fn run(
    sealer: Arc<Sealer>,
    ledger: LedgerId,
    publish_dir: Option<PathBuf>,
    mut stop: watch::Receiver<bool>,
) {
    let mut retry = RETRY_FIRST;
    loop {
        let pause = match seal(&sealer, ledger, publish_dir.as_ref()).await {
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
    if let Err(error) = seal(&sealer, ledger, publish_dir.as_ref()).await {
        tracing::error!(%ledger, error = %crate::error::chain(&error), "the last records are not sealed");
    }
}

async fn seal(
    sealer: &Sealer,
    ledger: LedgerId,
    publish_dir: Option<&PathBuf>,
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
    if let Some(dir) = publish_dir {
        publish(dir, &head).await;
    }
    Ok(Some((epoch, head)))
}

/// Writes the tree head to the folder of somebody else, as `<hex SHA-256 of the origin>/checkpoint`, the layout that
/// C2SP tlog-witness gives to those who watch many logs. A failure is told and tried again with the next tree head.
async fn publish(dir: &std::path::Path, head: &SignedTreeHead) {
    let dir = dir.join(Hash::sha256(head.head().origin.as_bytes()).to_string());
    let (new, path) = (dir.join("checkpoint.new"), dir.join("checkpoint"));
    let written = async {
        tokio::fs::create_dir_all(&dir).await?;
        tokio::fs::write(&new, head.as_bytes()).await?;
        // Readers see the old tree head or the new one, never a part.
        tokio::fs::rename(&new, &path).await
    };
    if let Err(error) = written.await {
        metrics::counter!("ruche_publish_failures_total").increment(1);
        tracing::error!(path = %path.display(), %error, "the tree head is not published");
    }
}
