//! Whether the records of a bundle are those under a signed tree head, from their hashes and the stored tiles.

use std::collections::HashMap;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::hash::Hash;
use ruche_ledger::proof::{
    NodeReader, PROOF_HASHES_MAX, ProofRequestError, inclusion_proof, verify_inclusion,
};
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::StoreError;
use ruche_ledger::tile::TILE_WIDTH;
use ruche_ledger::tree::{TreeRoot, root_of};

use super::WIDTH;

/// Levels of the tree in one tile, and in one bundle.
const LEVELS: u8 = 8;

/// The tree above the bundles of an epoch, as far as it was looked at.
pub(super) struct Tree<'a> {
    pub(super) trees: &'a dyn TreeStore,
    pub(super) ledger: LedgerId,
    pub(super) epoch: Epoch,
    pub(super) root: TreeRoot,
    pub(super) nodes: HashMap<(u8, u64), Hash>,
}

/// A node that has to be fetched before the proof can be made.
struct Missing(u8, u64);

/// Nodes inside of the bundle are computed, those above it are known or missing.
struct Nodes<'a> {
    known: &'a HashMap<(u8, u64), Hash>,
    bundle: u64,
    leaves: &'a [Hash],
}

impl NodeReader for Nodes<'_> {
    type Error = Missing;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Missing> {
        if level < LEVELS && index >> (LEVELS - level) == self.bundle {
            let first = ((index << level) % WIDTH) as usize;
            return Ok(root_of(&self.leaves[first..first + (1 << level)]));
        }
        self.known
            .get(&(level, index))
            .copied()
            .ok_or(Missing(level, index))
    }
}

impl Tree<'_> {
    /// Proves with its 256 leaf hashes that a bundle is in the tree: the path of its first leaf goes over all others.
    pub(super) async fn has(&mut self, bundle: u64, leaves: &[Hash]) -> Result<bool, StoreError> {
        let index = LeafIndex(bundle * WIDTH);
        for _ in 0..=PROOF_HASHES_MAX {
            let known = &self.nodes;
            let made = inclusion_proof(
                &mut Nodes {
                    known,
                    bundle,
                    leaves,
                },
                index,
                self.root.size,
            );
            match made {
                Ok(proof) => return Ok(verify_inclusion(&leaves[0], index, &self.root, &proof).is_ok()),
                Err(ProofRequestError::Node(Missing(level, index))) => {
                    let Some(hash) = self.fetch(level, index).await? else {
                        return Ok(false);
                    };
                    self.nodes.insert((level, index), hash);
                }
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// A node from the tile that has the hashes below it.
    async fn fetch(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        let (shelf, inside) = (level / LEVELS, level % LEVELS);
        let first = index << inside;
        let tile = self
            .trees
            .hash_tile(self.ledger, self.epoch, shelf, first / WIDTH)
            .await?;
        let first = (first % u64::from(TILE_WIDTH)) as usize;
        let hashes = tile
            .as_ref()
            .and_then(|tile| tile.hashes.get(first..first + (1 << inside)));
        Ok(hashes.map(root_of))
    }
}
