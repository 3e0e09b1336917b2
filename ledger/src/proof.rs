//! Inclusion and consistency proofs: making them and checking them.
//!
//! An inclusion proof shows that a leaf stands at an index of the tree with a given root. A consistency proof
//! shows that a later tree begins with all the leaves of an earlier one, unchanged. Both are short lists of
//! hashes; a reader who holds a signed tree head needs nothing else, and does not have to trust who made them.
//!
//! Makers ask a [`NodeReader`] for perfect subtrees, so that the same code works from leaf hashes in memory and
//! from tiles on a disk. Checkers are the loops of RFC 9162 §2.1.3.2 and §2.1.4.2.

use ruche_domain::numbers::{LeafIndex, TreeSize};

use crate::hash::{Hash, node_hash};
use crate::tree::{TREE_SIZE_MAX, TreeRoot};

/// Most hashes in a proof: C2SP tlog-witness takes no more, and trees of up to [`TREE_SIZE_MAX`] leaves need no more.
pub const PROOF_HASHES_MAX: usize = 63;

/// A source of the tree's stored hashes.
///
/// Implementations MUST answer with the hash of leaves `index * 2^level .. (index + 1) * 2^level`, all of which
/// are in the tree. Callers MUST NOT take an answer for true: a proof is worth what its check says.
pub trait NodeReader {
    /// Why a node cannot be had.
    type Error;

    /// The root of the perfect subtree number `index` among those of 2^`level` leaves.
    ///
    /// # Errors
    /// When the node is not in the tree or cannot be read.
    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// A node was asked for that the leaves in memory do not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node {index} of level {level} is not in a tree of {leaves} leaves")]
pub struct NodeOutside {
    /// Level that was asked for.
    pub level: u8,
    /// Index that was asked for.
    pub index: u64,
    /// Leaves there are.
    pub leaves: usize,
}

/// All leaf hashes of a tree: every node is computed when asked for.
impl NodeReader for &[Hash] {
    type Error = NodeOutside;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, NodeOutside> {
        let outside = NodeOutside {
            level,
            index,
            leaves: self.len(),
        };
        let width = 1_usize.checked_shl(level.into()).ok_or(outside)?;
        let start = usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_mul(width))
            .ok_or(outside)?;
        let end = start.checked_add(width).ok_or(outside)?;
        Ok(crate::tree::root_of(self.get(start..end).ok_or(outside)?))
    }
}

/// Why no proof can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRequestError<E> {
    /// The record is not in the tree yet.
    #[error("index {index} is not in a tree of {size} leaves")]
    IndexOutside {
        /// Index that was asked for.
        index: LeafIndex,
        /// Size of the tree.
        size: TreeSize,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} leaves is not older than one of {new}")]
    SizesReversed {
        /// Size given as the old one.
        old: TreeSize,
        /// Size given as the new one.
        new: TreeSize,
    },
    /// The size is beyond [`TREE_SIZE_MAX`].
    #[error("{0} leaves are more than a tree can have")]
    SizeTooLarge(TreeSize),
    /// A node could not be read.
    #[error("a node of the tree could not be read")]
    Node(#[source] E),
}

/// Makes the proof that the record at `index` is in the tree of `size` leaves (RFC 6962 §2.1.1, PATH):
/// the sibling of the leaf first, the child of the root last.
///
/// # Errors
/// When there is no such record in that tree, or a node cannot be read.
pub fn inclusion_proof<R: NodeReader>(
    nodes: &mut R,
    index: LeafIndex,
    size: TreeSize,
) -> Result<Vec<Hash>, ProofRequestError<R::Error>> {
    if size.0 > TREE_SIZE_MAX {
        return Err(ProofRequestError::SizeTooLarge(size));
    }
    if index.0 >= size.0 {
        return Err(ProofRequestError::IndexOutside { index, size });
    }
    let mut siblings = Vec::new();
    let (mut start, mut end) = (0, size.0);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index.0 < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    hash_spans(nodes, &siblings)
}

/// Makes the proof that the tree of `new` leaves begins with that of `old` leaves (RFC 6962 §2.1.2, SUBPROOF).
///
/// It is empty when the sizes are equal and when `old` is 0.
///
/// # Errors
/// When `old` is larger than `new`, or a node cannot be read.
pub fn consistency_proof<R: NodeReader>(
    nodes: &mut R,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<Hash>, ProofRequestError<R::Error>> {
    if new.0 > TREE_SIZE_MAX {
        return Err(ProofRequestError::SizeTooLarge(new));
    }
    if old.0 > new.0 {
        return Err(ProofRequestError::SizesReversed { old, new });
    }
    if old.0 == 0 {
        return Ok(Vec::new());
    }
    let mut spans = Vec::new();
    let (mut start, mut end) = (0, new.0);
    while old.0 < end {
        let middle = start + split(end - start);
        if old.0 <= middle {
            spans.push((middle, end));
            end = middle;
        } else {
            spans.push((start, middle));
            start = middle;
        }
    }
    // The span left over ends where the old tree ends. If it is the whole old tree, the checker has its root.
    if start > 0 {
        spans.push((start, end));
    }
    hash_spans(nodes, &spans)
}

/// Largest power of two smaller than `length`, which is at least 2 (the k of RFC 6962 §2.1).
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// Hashes of the spans, the last found (deepest) first, as proofs list them.
fn hash_spans<R: NodeReader>(
    nodes: &mut R,
    spans: &[(u64, u64)],
) -> Result<Vec<Hash>, ProofRequestError<R::Error>> {
    spans
        .iter()
        .rev()
        .map(|(start, end)| span_hash(nodes, *start, *end))
        .collect()
}

/// MTH(D[start:end]) for a span that the recursion of RFC 6962 meets: `start` is a multiple of the largest power
/// of two in the length, so that the perfect subtrees of the span are stored nodes.
fn span_hash<R: NodeReader>(
    nodes: &mut R,
    start: u64,
    end: u64,
) -> Result<Hash, ProofRequestError<R::Error>> {
    let mut end = end;
    let mut right: Option<Hash> = None;
    // From the smallest perfect subtree, on the right, to the largest.
    while end > start {
        let level = (end - start).trailing_zeros();
        let width = 1_u64 << level;
        let level = u8::try_from(level).expect("trailing zeros of a u64 are at most 63");
        let left = nodes
            .node(level, (end - width) >> level)
            .map_err(ProofRequestError::Node)?;
        right = Some(match right {
            Some(right) => node_hash(&left, &right),
            None => left,
        });
        end -= width;
    }
    Ok(right.unwrap_or(Hash::EMPTY_ROOT))
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofInvalid {
    /// The index is not in a tree of this size.
    #[error("index {index} is not in a tree of {size} leaves")]
    IndexOutside {
        /// Index of the record.
        index: LeafIndex,
        /// Size of the tree.
        size: TreeSize,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} leaves is not older than one of {new}")]
    SizesReversed {
        /// Size given as the old one.
        old: TreeSize,
        /// Size given as the new one.
        new: TreeSize,
    },
    /// Every tree extends the empty one: there is nothing to prove, and nothing proved.
    #[error("consistency with the empty tree proves nothing")]
    OldTreeEmpty,
    /// The size is beyond [`TREE_SIZE_MAX`].
    #[error("{0} leaves are more than a tree can have")]
    SizeTooLarge(TreeSize),
    /// Too few or too many hashes for these sizes.
    #[error("the proof has the wrong number of hashes ({0})")]
    WrongLength(usize),
    /// The leaf and the proof lead to another root: the record is not there, or not this record.
    #[error("the proof does not lead to the root")]
    RootMismatch,
    /// The proof does not lead to the old root: what the old tree recorded was changed.
    #[error("the proof does not lead to the old root")]
    OldRootMismatch,
}

/// Checks that the record with `leaf` hash stands at `index` of `tree` (RFC 9162 §2.1.3.2).
///
/// # Errors
/// When it does not, or the proof does not show it.
pub fn verify_inclusion(
    leaf: &Hash,
    index: LeafIndex,
    tree: &TreeRoot,
    proof: &[Hash],
) -> Result<(), ProofInvalid> {
    let size = tree.size;
    if size.0 > TREE_SIZE_MAX {
        return Err(ProofInvalid::SizeTooLarge(size));
    }
    if index.0 >= size.0 {
        return Err(ProofInvalid::IndexOutside { index, size });
    }
    let wrong_length = ProofInvalid::WrongLength(proof.len());
    if proof.len() > PROOF_HASHES_MAX {
        return Err(wrong_length);
    }
    let (mut node, mut last) = (index.0, size.0 - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            climb_past_missing_siblings(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if hash == tree.root {
        Ok(())
    } else {
        Err(ProofInvalid::RootMismatch)
    }
}

/// Checks that `new` begins with all the leaves of `old` (RFC 9162 §2.1.4.2).
///
/// # Errors
/// When it does not, or the proof does not show it. An empty `old` is refused: a caller who starts from
/// nothing has no promise to check.
pub fn verify_consistency(old: &TreeRoot, new: &TreeRoot, proof: &[Hash]) -> Result<(), ProofInvalid> {
    if new.size.0 > TREE_SIZE_MAX {
        return Err(ProofInvalid::SizeTooLarge(new.size));
    }
    if old.size.0 > new.size.0 {
        return Err(ProofInvalid::SizesReversed {
            old: old.size,
            new: new.size,
        });
    }
    if old.size.0 == 0 {
        return Err(ProofInvalid::OldTreeEmpty);
    }
    let wrong_length = ProofInvalid::WrongLength(proof.len());
    if old.size == new.size {
        return match (proof.is_empty(), old.root == new.root) {
            (false, _) => Err(wrong_length),
            (true, false) => Err(ProofInvalid::OldRootMismatch),
            (true, true) => Ok(()),
        };
    }
    if proof.len() > PROOF_HASHES_MAX {
        return Err(wrong_length);
    }
    // An old tree that is one perfect subtree starts the climb itself; otherwise the proof's first hash does.
    let (seed, path) = if old.size.0.is_power_of_two() {
        (&old.root, proof)
    } else {
        proof.split_first().ok_or(wrong_length)?
    };
    let shift = (old.size.0 - 1).trailing_ones();
    let (mut node, mut last) = ((old.size.0 - 1) >> shift, (new.size.0 - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            climb_past_missing_siblings(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old_hash != old.root {
        return Err(ProofInvalid::OldRootMismatch);
    }
    if new_hash != new.root {
        return Err(ProofInvalid::RootMismatch);
    }
    Ok(())
}

/// On the right edge of the tree a node may have no sibling; it then stands for its parent. Both numbers move
/// up until the node is a right child again.
fn climb_past_missing_siblings(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests;
