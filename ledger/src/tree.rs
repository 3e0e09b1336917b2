//! The RFC 6962 tree while it grows.
//!
//! A tree of n leaves is a row of perfect subtrees, one for each bit that is set in n, the largest on the left.
//! Their roots are all one needs to append and to know the root: at most 63 hashes, whatever n is.

use ruche_domain::numbers::TreeSize;

use crate::hash::{Hash, node_hash};

/// Most leaves a tree can have. Such a tree has 62 levels above its leaves, and a consistency proof at most one hash
/// more than levels: the 63 of [`crate::proof::PROOF_HASHES_MAX`]. At a million records a second it takes 146,000
/// years to fill.
pub const TREE_SIZE_MAX: u64 = 1 << 62;

/// A size and the root the tree has at that size: what a tree head says, without who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeRoot {
    /// Number of leaves.
    pub size: TreeSize,
    /// Hash over all of them.
    pub root: Hash,
}

impl TreeRoot {
    /// The tree without leaves.
    pub const EMPTY: Self = Self {
        size: TreeSize(0),
        root: Hash::EMPTY_ROOT,
    };
}

/// The right edge of a growing tree (a compact range from leaf 0).
///
/// Appending allocates nothing and costs one node hash on average. [`Frontier::nodes`] and
/// [`Frontier::from_nodes`] store and restore it: a node that restarts does not read the leaves again.
#[derive(Clone)]
pub struct Frontier {
    size: u64,
    /// Root of the perfect subtree of 2^level leaves, for each level whose bit is set in `size`.
    /// The other entries are left over from smaller sizes and mean nothing.
    by_level: [Hash; 63],
}

/// Stored nodes do not make a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// The number of nodes must be the number of bits set in the size.
    #[error("a tree of {size} leaves has {expected} frontier nodes, not {found}")]
    NodeCount {
        /// Size that was given.
        size: u64,
        /// Nodes such a tree has.
        expected: u32,
        /// Nodes that were given.
        found: usize,
    },
    /// The size is beyond [`TREE_SIZE_MAX`].
    #[error("{0} leaves are more than a tree can have")]
    SizeTooLarge(u64),
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            by_level: [Hash::EMPTY_ROOT; 63],
        }
    }

    /// The frontier of a tree of `size` leaves from its nodes, as [`Frontier::nodes`] lists them.
    ///
    /// # Errors
    /// When the number of nodes does not fit the size. Whether they are the right hashes only
    /// [`Frontier::root`], compared with a signed one, can tell.
    pub fn from_nodes(size: TreeSize, nodes: &[Hash]) -> Result<Self, FrontierError> {
        let TreeSize(size) = size;
        if size > TREE_SIZE_MAX {
            return Err(FrontierError::SizeTooLarge(size));
        }
        let expected = size.count_ones();
        if nodes.len() != expected as usize {
            return Err(FrontierError::NodeCount {
                size,
                expected,
                found: nodes.len(),
            });
        }
        let mut frontier = Self { size, ..Self::new() };
        for (level, node) in levels(size).rev().zip(nodes) {
            frontier.by_level[level] = *node;
        }
        Ok(frontier)
    }

    /// Adds one leaf.
    ///
    /// # Panics
    /// When the tree has [`TREE_SIZE_MAX`] leaves, which no machine lives to see.
    pub fn append(&mut self, leaf: Hash) {
        assert!(self.size < TREE_SIZE_MAX, "a tree of 2^62 leaves");
        let mut node = leaf;
        let mut level = 0;
        // Like a binary counter: each set bit below the first clear one is carried into it.
        while self.size >> level & 1 == 1 {
            node = node_hash(&self.by_level[level], &node);
            level += 1;
        }
        self.by_level[level] = node;
        self.size += 1;
    }

    /// Number of leaves appended so far.
    #[must_use]
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Root over all leaves appended so far (RFC 6962 §2.1, MTH).
    #[must_use]
    pub fn root(&self) -> Hash {
        levels(self.size)
            .map(|level| self.by_level[level])
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or(Hash::EMPTY_ROOT)
    }

    /// Size and root together.
    #[must_use]
    pub fn tree_root(&self) -> TreeRoot {
        TreeRoot {
            size: self.size(),
            root: self.root(),
        }
    }

    /// Roots of the perfect subtrees, from the left (largest) to the right, one per bit set in the size.
    #[must_use]
    pub fn nodes(&self) -> Vec<Hash> {
        levels(self.size)
            .rev()
            .map(|level| self.by_level[level])
            .collect()
    }
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Frontier {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
            && levels(self.size).all(|level| self.by_level[level] == other.by_level[level])
    }
}

impl Eq for Frontier {}

impl std::fmt::Debug for Frontier {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Frontier")
            .field("size", &self.size)
            .field("nodes", &self.nodes())
            .finish()
    }
}

/// Root over the leaf hashes `leaves`.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.append(*leaf);
    }
    frontier.root()
}

/// Levels of the perfect subtrees of a tree of `size` leaves, the smallest (rightmost) first.
fn levels(size: u64) -> impl DoubleEndedIterator<Item = usize> {
    (0..63_usize).filter(move |level| size >> level & 1 == 1)
}

#[cfg(test)]
pub(crate) mod tests;
