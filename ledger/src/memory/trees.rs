//! Tiles and tree heads in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position};

use super::MemoryStore;
use crate::hash::Hash;
use crate::right_edge::HashTile;
use crate::seal::{TreeHeadStore, TreeHeadStoreError, TreeStore};
use crate::store::{Record, StoreError};
use crate::tree_head::SignedTreeHead;

impl MemoryStore {
    /// Loses all tiles and copies of tree heads, for tests: they are derived and must come back.
    pub fn forget_trees(&self) {
        for state in self.lock().values_mut() {
            state.tiles.clear();
            state.tree_heads.clear();
        }
    }
}

#[async_trait]
impl TreeStore for MemoryStore {
    async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError> {
        let ledgers = self.lock();
        let state = ledgers.get(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let from = Position { epoch, index: from };
        let to = Position {
            epoch: epoch.next(),
            index: LeafIndex(0),
        };
        Ok(state
            .records
            .range(from..to)
            .take(limit)
            .map(|(_, record): (_, &Record)| record.leaf_hash())
            .collect())
    }

    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        Ok(self
            .lock()
            .get(&ledger)
            .and_then(|state| state.tiles.get(&(epoch, level, index)).cloned()))
    }

    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError> {
        Ok(self
            .lock()
            .get(&ledger)
            .and_then(|state| state.tree_heads.get(&epoch).cloned()))
    }

    async fn put_tiles(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        tiles: Vec<HashTile>,
    ) -> Result<(), StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        for tile in tiles {
            let stored = state
                .tiles
                .entry((epoch, tile.level, tile.index))
                .or_insert_with(|| tile.clone());
            if stored.hashes.len() <= tile.hashes.len() {
                *stored = tile;
            }
        }
        Ok(())
    }

    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        state.tree_heads.insert(epoch, head.clone());
        Ok(())
    }
}

/// A tree head of the same size is another form of the same promise (further signatures) or a fork.
fn may_follow(stored: &SignedTreeHead, new: &SignedTreeHead) -> bool {
    let (stored, new) = (stored.head(), new.head());
    stored.size < new.size || stored.size == new.size && stored.root == new.root
}

/// Tree heads in memory, for tests.
#[derive(Default)]
pub struct MemoryTreeHeads(Mutex<HashMap<String, SignedTreeHead>>);

#[async_trait]
impl TreeHeadStore for MemoryTreeHeads {
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(origin)
            .cloned())
    }

    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(heads.keys().cloned().collect())
    }

    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError> {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = heads.get(origin);
        if stored != expected || stored.is_some_and(|stored| !may_follow(stored, new)) {
            return Err(TreeHeadStoreError::Swapped);
        }
        heads.insert(origin.to_owned(), new.clone());
        Ok(())
    }
}
