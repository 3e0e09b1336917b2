//! The right edge of a tree in tiles: what a sealer must know to go on, and what it changes.
//!
//! At each level the edge holds the hashes of the one tile that is not full yet. Appending a leaf fills tiles; a full
//! tile becomes one hash of the level above. Shared by the sealer, the exporter and the verifier.

use ruche_domain::numbers::TreeSize;

use crate::hash::Hash;
use crate::tile::TILE_WIDTH;
use crate::tree::{Frontier, root_of};

const WIDTH: usize = TILE_WIDTH as usize;

/// A hash tile: full, or the widest partial one there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTile {
    /// Level L of C2SP tlog-tiles.
    pub level: u8,
    /// Number N of the tile at its level.
    pub index: u64,
    /// 1 to 256 hashes.
    pub hashes: Vec<Hash>,
}

/// The tiles that are not full, for one size of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RightEdge {
    size: u64,
    /// `levels[l]` holds the hashes of the partial tile at level l, fewer than 256.
    levels: Vec<Vec<Hash>>,
}

/// The partial tile that a tree of some size has at one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialTile {
    /// Its level.
    pub level: u8,
    /// Its number.
    pub index: u64,
    /// Its width, 1 to 255.
    pub width: usize,
}

/// The partial tiles of a tree of `size` leaves, one per level at most.
pub fn partial_tiles(size: TreeSize) -> impl Iterator<Item = PartialTile> {
    (0u8..8).filter_map(move |level| {
        let count = size.0 >> (8 * u32::from(level));
        let width = (count % WIDTH as u64) as usize;
        (width > 0).then_some(PartialTile {
            level,
            index: count / WIDTH as u64,
            width,
        })
    })
}

impl RightEdge {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` leaves from its partial tiles, in the order of [`partial_tiles`]. Whether they
    /// are the right hashes only [`RightEdge::root`], compared with a signed one, can tell.
    pub fn from_partial_tiles(size: TreeSize, tiles: impl IntoIterator<Item = HashTile>) -> Self {
        let mut edge = Self {
            size: size.0,
            levels: Vec::new(),
        };
        for tile in tiles {
            *edge.level(usize::from(tile.level)) = tile.hashes;
        }
        edge
    }

    /// Leaves so far.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Adds a leaf and tells each tile that it fills.
    pub fn append(&mut self, leaf: Hash, mut full: impl FnMut(HashTile)) {
        self.size += 1;
        let mut hash = leaf;
        let mut count = self.size;
        for level in 0.. {
            let tile = self.level(level);
            tile.push(hash);
            if tile.len() < WIDTH {
                return;
            }
            let hashes = std::mem::take(tile);
            hash = root_of(&hashes);
            count /= WIDTH as u64;
            let level = u8::try_from(level).expect("a tree of 2^64 leaves has 8 levels of tiles");
            full(HashTile {
                level,
                index: count - 1,
                hashes,
            });
        }
    }

    /// The partial tiles as they stand.
    pub fn tiles(&self) -> Vec<HashTile> {
        let hashes = |p: &PartialTile| self.levels.get(usize::from(p.level)).cloned().unwrap_or_default();
        partial_tiles(self.size())
            .map(|p| HashTile {
                level: p.level,
                index: p.index,
                hashes: hashes(&p),
            })
            .collect()
    }

    /// Root over all leaves so far; `None` if the tiles the edge was made from do not fit its size.
    pub fn root(&self) -> Option<Hash> {
        let mut nodes = Vec::new();
        for hashes in self.levels.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                // The largest power of two that still fits: the perfect subtrees from left to right.
                let (subtree, more) = rest.split_at(1 << rest.len().ilog2());
                nodes.push(root_of(subtree));
                rest = more;
            }
        }
        Some(Frontier::from_nodes(self.size(), &nodes).ok()?.root())
    }

    fn level(&mut self, level: usize) -> &mut Vec<Hash> {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        &mut self.levels[level]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn the_edge_agrees_with_the_frontier_and_survives_a_restart_at_every_size() {
        let (mut edge, mut frontier, mut full) = (RightEdge::new(), Frontier::new(), Vec::new());
        for n in 0u64..70_000 {
            let leaf = leaf_hash(&n.to_be_bytes());
            edge.append(leaf, |tile| full.push((tile.level, tile.index)));
            frontier.append(leaf);
            if n % 251 == 0 || n.is_multiple_of(256) || n > 65_530 && n < 65_545 {
                assert_eq!(edge.root(), Some(frontier.root()), "size {}", n + 1);
                assert_eq!(
                    RightEdge::from_partial_tiles(edge.size(), edge.tiles()).root(),
                    Some(frontier.root())
                );
            }
        }
        // ledger.md §7: size 70,000 has 273 full tiles at level 0, one at level 1.
        assert_eq!(full.iter().filter(|t| t.0 == 0).count(), 273);
        assert_eq!(full.iter().filter(|t| t.0 == 1).count(), 1);
        let partial: Vec<_> = partial_tiles(TreeSize(70_000))
            .map(|p| (p.level, p.index, p.width))
            .collect();
        assert_eq!(partial, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    }

    #[test]
    fn tiles_that_do_not_fit_the_size_give_no_root() {
        let tile = HashTile {
            level: 0,
            index: 0,
            hashes: vec![Hash([1; 32]); 2],
        };
        assert_eq!(RightEdge::from_partial_tiles(TreeSize(3), [tile]).root(), None);
    }
}
