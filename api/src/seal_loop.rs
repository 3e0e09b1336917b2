//! The sealing loop: every ledger that moved gets a signed tree head within a second.
//!
//! One task per ledger, asleep until a record stands behind the last sealed one. A tree head that was not made is made
//! at the next try: nothing depends on this loop but how soon a record is `SEALED`. It waits for nobody outside: tree
//! heads are handed to a task of their own (`publish`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::SEAL_INTERVAL_MS;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::guard::GuardedStore;
use ruche_ledger::seal::{SealError, Sealer, TreeHeadStoreError};
use tokio::sync::watch;

use crate::publish::Heads;

/// Pause after a failure, so that a broken store is not hammered. Doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(SEAL_INTERVAL_MS);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How far the loops of all ledgers are, for whoever watches.
#[derive(Default)]
pub struct SealProgress(Mutex<HashMap<LedgerId, Sealing>>);

/// How far a ledger is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The first record that is not sealed, there or not yet.
    pub next: Position,
    /// Since when there is one; nothing while all are sealed.
    pub unsealed_since: Option<Instant>,
}

impl SealProgress {
    /// How far the ledger is; nothing before its loop looked at it.
    pub fn of(&self, ledger: LedgerId) -> Option<Sealing> {
        self.lock().get(&ledger).copied()
    }

    /// Since when the longest waiting record of all ledgers waits. Known also while no store answers.
    pub fn oldest_unsealed(&self) -> Option<Instant> {
        let ledgers = self.lock();
        ledgers
            .values()
            .filter_map(|sealing| sealing.unsealed_since)
            .min()
    }

    /// Another node seals the ledger now.
    pub fn forget(&self, ledger: LedgerId) {
        self.lock().remove(&ledger);
    }

    fn sealed(&self, ledger: LedgerId, next: Position) {
        let sealing = Sealing {
            next,
            unsealed_since: None,
        };
        self.lock().insert(ledger, sealing);
    }

    /// There are records to seal, or it is not known that there are none.
    fn unsealed(&self, ledger: LedgerId) {
        let mut ledgers = self.lock();
        let sealing = ledgers.entry(ledger).or_insert(Sealing {
            next: Position::START,
            unsealed_since: None,
        });
        sealing.unsealed_since.get_or_insert_with(Instant::now);
    }

    /// The map is whole after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Sealing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sealing of one ledger.
pub struct SealLoop {
    /// Signs.
    pub sealer: Arc<Sealer>,
    /// What is sealed.
    pub ledger: LedgerId,
    /// Where tree heads are published from.
    pub heads: Heads,
    /// Where others see how far this is.
    pub progress: Arc<SealProgress>,
    /// Stops appends to a ledger that cannot be sealed any more.
    pub guard: Arc<GuardedStore>,
}

impl SealLoop {
    /// Seals until told to stop, and once more then, so that nothing acknowledged stays unsealed.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let ledger = self.ledger;
        let mut retry = RETRY_FIRST;
        let mut halted = false;
        loop {
            let pause = match self.seal().await {
                Ok(next) => {
                    retry = RETRY_FIRST;
                    self.progress.sealed(ledger, next);
                    // By this loop, or by one on a node that tended the ledger before. An operator has opened the next
                    // epoch, or found what was promised.
                    let is_halted = halted || self.guard.is_halted_everywhere(ledger);
                    halted = is_halted && !self.release().await;
                    tokio::select! {
                        // Nothing is appended to wait for while it stays halted.
                        () = tokio::time::sleep(RETRY_FIRST), if halted => Duration::ZERO,
                        () = self.guard.seen_halted_everywhere(ledger), if !halted => Duration::ZERO,
                        waited = self.sealer.events.wait_for(ledger, next) => match waited {
                            // The pause gathers what is being appended now under one signature.
                            Ok(()) => {
                                self.progress.unsealed(ledger);
                                Duration::from_millis(SEAL_INTERVAL_MS)
                            }
                            Err(error) => {
                                tracing::warn!(%ledger, %error, "cannot wait for records to seal");
                                retry
                            }
                        },
                        _ = stop.wait_for(|stop| *stop) => Duration::ZERO,
                    }
                }
                // Two races lost in a row: another node seals it, and this one looks again soon.
                Err(SealError::TreeHeads(TreeHeadStoreError::Swapped)) => {
                    tracing::debug!(%ledger, "another node seals the ledger at the same time");
                    RETRY_FIRST
                }
                Err(error) => {
                    self.progress.unsealed(ledger);
                    counter!("ruche_seal_failures_total").increment(1);
                    let reason = crate::error::chain(&error);
                    tracing::error!(%ledger, error = %reason, "the ledger is not sealed");
                    if error.halts_appends() {
                        halted |= self.halt(reason).await;
                    }
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
        if halted {
            // What other nodes know of stands where they look. What they were not told, this one keeps no longer than its loop:
            // whoever seals the ledger from now on finds out for itself.
            self.guard.release(ledger);
        }
        match self.seal().await {
            // Another node seals it.
            Ok(_) | Err(SealError::TreeHeads(TreeHeadStoreError::Swapped)) => {}
            Err(error) => {
                tracing::error!(%ledger, error = %crate::error::chain(&error), "the last records are not sealed");
            }
        }
    }

    /// Returns whether it was not halted before on this node.
    async fn halt(&self, reason: String) -> bool {
        match self.guard.halt_everywhere(self.ledger, reason).await {
            Ok(is_new) => is_new,
            Err(error) => {
                // The next round says it again.
                tracing::error!(ledger = %self.ledger, %error, "other nodes are not told to take no appends");
                true
            }
        }
    }

    /// Returns whether all nodes take appends again. That what stands is sealed says little: a copy that ends just where it
    /// was sealed last, and whose next epoch was open before, is whole and superseded.
    async fn release(&self) -> bool {
        if let Err(error) = self.sealer.may_go_on(self.ledger).await {
            tracing::error!(ledger = %self.ledger, error = %crate::error::chain(&error), "the ledger stays halted");
            return false;
        }
        match self.guard.release_everywhere(self.ledger).await {
            Ok(()) => {
                tracing::warn!(ledger = %self.ledger, "the ledger is sealed again, and takes appends");
                true
            }
            Err(error) => {
                tracing::error!(ledger = %self.ledger, %error, "the ledger is sealed again, and stays halted");
                false
            }
        }
    }

    /// Seals what is there and hands over the tree head. Returns the first position that it does not cover.
    async fn seal(&self) -> Result<Position, SealError> {
        let epochs = self.sealer.events.epochs(self.ledger).await?;
        let Some(epoch) = epochs.last().map(|open| open.epoch) else {
            return Ok(Position::START);
        };
        let head = match self.sealer.seal_epoch(self.ledger, epoch).await {
            // Another sealer was first: its tree head is as good.
            Err(SealError::TreeHeads(TreeHeadStoreError::Swapped)) => {
                counter!("ruche_seal_races_lost_total").increment(1);
                self.sealer.seal_epoch(self.ledger, epoch).await?
            }
            other => other?,
        };
        counter!("ruche_tree_heads_total").increment(1);
        self.heads.put(&head);
        Ok(Position {
            epoch,
            index: LeafIndex(head.head().size.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use ruche_domain::ids::TenantId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_longest_waiting_record_is_known_without_a_store() {
        let progress = SealProgress::default();
        let ledger = |number| LedgerId::main_of(TenantId(Uuid::from_u128(number)));
        progress.sealed(ledger(1), Position::START);
        assert_eq!(progress.oldest_unsealed(), None);
        progress.unsealed(ledger(2));
        let first = progress.oldest_unsealed();
        assert!(first.is_some());
        progress.unsealed(ledger(1));
        progress.unsealed(ledger(2));
        assert_eq!(progress.oldest_unsealed(), first);
        progress.sealed(ledger(2), Position::START);
        assert!(progress.oldest_unsealed() >= first);
        progress.sealed(ledger(1), Position::START);
        assert_eq!(progress.oldest_unsealed(), None);
    }
}
