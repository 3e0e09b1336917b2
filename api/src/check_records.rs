//! Every record of a ledger read once, as reads and the verifier do, through the ports of its store: for an engine whose
//! files cannot be read beside it. One page at a time, so memory does not grow with the ledger.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::hash::Hash;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::right_edge::{HashTile, RightEdge};
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{EpochInfo, EventStore, LedgerHead, Record, StoreError};
use ruche_ledger::tile::TILE_WIDTH;

use crate::limits::LEDGERS_AT_ONCE_MAX;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records, each with its leaf, its place in the chain and its payload.
    pub records: u64,
    /// Payload fragments that leaves commit to and that are not there.
    pub payloads_missing: u64,
}

/// The stores of the ledgers that are checked.
pub struct RecordCheck {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// The tiles.
    pub trees: Arc<dyn TreeStore>,
}

/// The way through one epoch.
struct Walk {
    edge: RightEdge,
    previous: Option<Hash>,
    recorded_at: Micros,
}

impl RecordCheck {
    /// Records of ledgers, as many as there are now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn count(&self, ledgers: &[LedgerId]) -> Result<u64, StoreError> {
        let sizes = stream::iter(ledgers.to_vec()).map(|ledger| async move {
            let epochs = self.events.epochs(ledger).await?;
            Ok::<_, StoreError>(epochs.iter().map(|epoch| epoch.size.0).sum::<u64>())
        });
        let sizes = sizes.buffer_unordered(LEDGERS_AT_ONCE_MAX);
        sizes.try_fold(0, async |sum, size| Ok(sum + size)).await
    }

    /// Checks every record as a read does (canonical leaf, index, payloads against their commitments), its origin, that it
    /// names the hash of the leaf before it, that the last one is the one that the head names, and that stored tiles hold
    /// the hashes of the leaves. A tile that is missing is no fault: tiles are derived, and made again. What is appended
    /// meanwhile is left out. `progress` is told records read.
    ///
    /// # Errors
    /// `Corrupt` with the first place that is not what it was, others if the store cannot be read.
    pub async fn ledger(
        &self,
        ledger: LedgerId,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Checked, StoreError> {
        // Before the epochs: what they say is never less.
        let head = self.events.head(ledger).await?;
        let mut checked = Checked::default();
        let mut recorded_at = Micros(0);
        for epoch in self.events.epochs(ledger).await? {
            let walk = Walk {
                edge: RightEdge::new(),
                previous: None,
                recorded_at,
            };
            let mut read = |records, missing| {
                checked.records += records;
                checked.payloads_missing += missing;
                progress(checked.records);
            };
            let walk = self.epoch(ledger, &epoch, head.as_ref(), walk, &mut read);
            recorded_at = walk.await?;
        }
        Ok(checked)
    }

    async fn epoch(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        head: Option<&LedgerHead>,
        mut walk: Walk,
        read: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Micros, StoreError> {
        let last_of_head = head.filter(|head| head.epoch == epoch.epoch);
        while walk.edge.size() < epoch.size {
            let from = Position {
                epoch: epoch.epoch,
                index: walk.edge.size().next_index(),
            };
            let left = usize::try_from(epoch.size.0 - walk.edge.size().0).unwrap_or(usize::MAX);
            let page = self
                .events
                .read_ledger(ledger, from, left.min(READ_RECORDS_MAX))
                .await?;
            let of_epoch = page.iter().filter(|record| record.position.epoch == epoch.epoch);
            let (mut records, mut missing) = (0, 0);
            for record in of_epoch {
                for tile in walk.add(record, epoch)? {
                    self.compare(ledger, epoch, &tile).await?;
                }
                let is_last = |head: &&LedgerHead| head.size == walk.edge.size();
                if let Some(head) = last_of_head.filter(is_last)
                    && head.last_leaf_hash != walk.previous
                {
                    return Err(corrupt(record.position, "it is not the one that the head names"));
                }
                let is_missing = |fragment: &&StoredFragment| matches!(fragment, StoredFragment::Missing);
                missing += record.payload.iter().filter(is_missing).count() as u64;
                records += 1;
            }
            if records == 0 {
                let reason = format!("it is missing, {} are there", epoch.size);
                return Err(corrupt(from, &reason));
            }
            read(records, missing);
        }
        for tile in walk.edge.tiles() {
            self.compare(ledger, epoch, &tile).await?;
        }
        Ok(walk.recorded_at)
    }

    /// Compares a tile of the leaves with the stored one. That may be narrower, as sealing left it, or as wide as the
    /// records that were appended and sealed meanwhile make it; never different.
    async fn compare(&self, ledger: LedgerId, epoch: &EpochInfo, tile: &HashTile) -> Result<(), StoreError> {
        let (level, index) = (tile.level, tile.index);
        let Some(stored) = self.trees.hash_tile(ledger, epoch.epoch, level, index).await? else {
            return Ok(());
        };
        let mut wrong = stored.hashes.iter().zip(&tile.hashes).position(|(a, b)| a != b);
        if wrong.is_none() && stored.hashes.len() > tile.hashes.len() {
            let now = self.events.epochs(ledger).await?;
            let now = now.iter().find(|now| now.epoch == epoch.epoch);
            let of_level = now.map_or(0, |now| now.size.0) >> (u32::from(level) * 8);
            let width = of_level.saturating_sub(index * u64::from(TILE_WIDTH));
            wrong = (stored.hashes.len() as u64 > width).then_some(tile.hashes.len());
        }
        match wrong {
            None => Ok(()),
            Some(n) => Err(StoreError::Corrupt {
                place: format!("tile {index} of level {level} of epoch {}", epoch.epoch),
                reason: format!("hash {n} is not that of the records"),
            }),
        }
    }
}

impl Walk {
    /// Takes the next record. Gives the tiles that it fills.
    fn add(&mut self, record: &Record, epoch: &EpochInfo) -> Result<Vec<HashTile>, StoreError> {
        let (position, leaf) = (record.position, &record.leaf);
        if position.index != self.edge.size().next_index() {
            return Err(corrupt(position, "those before it are missing"));
        }
        if leaf.origin != epoch.origin {
            return Err(corrupt(position, "its leaf is of another origin"));
        }
        if leaf.previous != self.previous {
            return Err(corrupt(
                position,
                "it does not name the hash of the leaf before it",
            ));
        }
        if leaf.recorded_at < self.recorded_at {
            return Err(corrupt(position, "it was recorded before the one before it"));
        }
        let hash = record.leaf_hash();
        (self.previous, self.recorded_at) = (Some(hash), leaf.recorded_at);
        let mut full = Vec::new();
        self.edge.append(hash, |tile| full.push(tile));
        Ok(full)
    }
}

fn corrupt(position: Position, reason: &str) -> StoreError {
    StoreError::Corrupt {
        place: format!("record {position}"),
        reason: reason.to_owned(),
    }
}
