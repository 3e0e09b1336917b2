use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::testdata;
use crate::tree::root_of;
use crate::tree::tests::{leaves, naive_root};

fn tree(leaves: &[Hash]) -> TreeRoot {
    TreeRoot {
        size: TreeSize(leaves.len() as u64),
        root: root_of(leaves),
    }
}

fn inclusion(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let size = TreeSize(leaves.len() as u64);
    inclusion_proof(&mut &*leaves, LeafIndex(index as u64), size).expect("an index in the tree")
}

fn consistency(leaves: &[Hash], old: usize) -> Vec<Hash> {
    let new = TreeSize(leaves.len() as u64);
    consistency_proof(&mut &*leaves, TreeSize(old as u64), new).expect("an older tree")
}

/// PATH of RFC 6962 §2.1.1, word by word.
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, sibling) = if index < k {
        (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(index - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962 §2.1.2, word by word.
fn naive_subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if known {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut proof, sibling) = if old <= k {
        (naive_subproof(old, &leaves[..k], known), naive_root(&leaves[k..]))
    } else {
        (
            naive_subproof(old - k, &leaves[k..], false),
            naive_root(&leaves[..k]),
        )
    };
    proof.push(sibling);
    proof
}

#[test]
fn every_proof_of_every_small_tree_is_that_of_the_rfc_and_verifies() {
    let all = leaves(66);
    for size in 1..=all.len() {
        let leaves = &all[..size];
        let new = tree(leaves);
        for index in 0..size {
            let proof = inclusion(leaves, index);
            assert_eq!(proof, naive_path(index, leaves), "{index} in {size}");
            assert_eq!(
                verify_inclusion(&leaves[index], LeafIndex(index as u64), &new, &proof),
                Ok(())
            );
        }
        for old in 1..=size {
            let proof = consistency(leaves, old);
            assert_eq!(proof, naive_subproof(old, leaves, true), "{old} to {size}");
            assert_eq!(verify_consistency(&tree(&leaves[..old]), &new, &proof), Ok(()));
        }
        assert_eq!(consistency(leaves, 0), []);
    }
}

#[test]
fn impossible_proofs_are_not_made() {
    let leaves = leaves(5);
    let nodes = &mut &leaves[..];
    let (index, size) = (LeafIndex(5), TreeSize(5));
    assert_eq!(
        inclusion_proof(nodes, index, size),
        Err(ProofRequestError::IndexOutside { index, size })
    );
    let (old, new) = (TreeSize(5), TreeSize(4));
    assert_eq!(
        consistency_proof(nodes, old, new),
        Err(ProofRequestError::SizesReversed { old, new })
    );
    let huge = TreeSize(u64::MAX);
    assert_eq!(
        inclusion_proof(nodes, LeafIndex(0), huge),
        Err(ProofRequestError::SizeTooLarge(huge))
    );
    assert_eq!(
        consistency_proof(nodes, old, huge),
        Err(ProofRequestError::SizeTooLarge(huge))
    );
    let outside = NodeOutside {
        level: 2,
        index: 1,
        leaves: 5,
    };
    assert_eq!(
        inclusion_proof(nodes, LeafIndex(0), TreeSize(9)),
        Err(ProofRequestError::Node(outside))
    );
    for (level, index) in [(0, 5), (63, 1), (64, 0), (200, 0), (1, u64::MAX)] {
        assert!(nodes.node(level, index).is_err());
    }
}

/// Answers every node with a hash of its coordinates: trees larger than any memory.
struct Imagined;

impl NodeReader for Imagined {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        Ok(Hash::sha256(format!("{level}/{index}").as_bytes()))
    }
}

#[test]
fn the_greatest_tree_keeps_to_the_bound() {
    for size in [TREE_SIZE_MAX, TREE_SIZE_MAX - 1] {
        for index in [0, 1, size / 2, size - 2, size - 1] {
            let proof = inclusion_proof(&mut Imagined, LeafIndex(index), TreeSize(size)).expect("a proof");
            assert!(proof.len() < PROOF_HASHES_MAX, "{index}: {}", proof.len());
        }
        let longest = [1, 2, 3, 5, size / 2, size - 1]
            .map(|old| {
                consistency_proof(&mut Imagined, TreeSize(old), TreeSize(size))
                    .expect("a proof")
                    .len()
            })
            .into_iter()
            .max();
        assert_eq!(longest, Some(PROOF_HASHES_MAX));
    }
}

#[test]
fn refusals_have_names() {
    let leaves = leaves(6);
    let (old, new) = (tree(&leaves[..3]), tree(&leaves));
    let inclusion = inclusion(&leaves, 2);
    let consistency = consistency(&leaves, 3);
    let (at, size) = (LeafIndex(2), new.size);
    let check =
        |leaf: &Hash, index, tree: &TreeRoot, proof: &[Hash]| verify_inclusion(leaf, index, tree, proof);
    assert_eq!(
        check(&leaves[1], at, &new, &inclusion),
        Err(ProofInvalid::RootMismatch)
    );
    let outside = ProofInvalid::IndexOutside {
        index: LeafIndex(6),
        size,
    };
    assert_eq!(check(&leaves[2], LeafIndex(6), &new, &inclusion), Err(outside));
    assert_eq!(
        check(&leaves[2], at, &new, &inclusion[..2]),
        Err(ProofInvalid::WrongLength(2))
    );
    let longer = [inclusion.clone(), vec![leaves[0]; 61]].concat();
    assert_eq!(
        check(&leaves[2], at, &new, &longer),
        Err(ProofInvalid::WrongLength(64))
    );
    let huge = TreeRoot {
        size: TreeSize(TREE_SIZE_MAX + 1),
        ..new
    };
    assert_eq!(
        check(&leaves[2], at, &huge, &inclusion),
        Err(ProofInvalid::SizeTooLarge(huge.size))
    );

    let rewritten = TreeRoot {
        root: leaves[0],
        ..old
    };
    assert_eq!(
        verify_consistency(&rewritten, &new, &consistency),
        Err(ProofInvalid::OldRootMismatch)
    );
    let other = TreeRoot {
        root: leaves[0],
        ..new
    };
    assert_eq!(
        verify_consistency(&old, &other, &consistency),
        Err(ProofInvalid::RootMismatch)
    );
    let reversed = ProofInvalid::SizesReversed {
        old: new.size,
        new: old.size,
    };
    assert_eq!(verify_consistency(&new, &old, &consistency), Err(reversed));
    assert_eq!(
        verify_consistency(&TreeRoot::EMPTY, &new, &[]),
        Err(ProofInvalid::OldTreeEmpty)
    );
    assert_eq!(
        verify_consistency(&TreeRoot::EMPTY, &TreeRoot::EMPTY, &[]),
        Err(ProofInvalid::OldTreeEmpty)
    );
    assert_eq!(
        verify_consistency(&old, &huge, &consistency),
        Err(ProofInvalid::SizeTooLarge(huge.size))
    );
    assert_eq!(
        verify_consistency(&new, &new, &consistency[..1]),
        Err(ProofInvalid::WrongLength(1))
    );
    assert_eq!(
        verify_consistency(&new, &other, &[]),
        Err(ProofInvalid::OldRootMismatch)
    );
    assert_eq!(
        verify_consistency(&old, &new, &[]),
        Err(ProofInvalid::WrongLength(0))
    );
}

/// A hash of a vector; `None` where it is not 32 bytes.
fn vector_hash(value: &Value) -> Option<Hash> {
    Hash::from_slice(&crate::note::decode_base64(value.as_str()?)?)
}

fn vector_proof(vector: &Value) -> Option<Vec<Hash>> {
    match &vector["proof"] {
        Value::Null => Some(Vec::new()),
        list => list.as_array()?.iter().map(vector_hash).collect(),
    }
}

#[test]
fn published_inclusion_vectors() {
    let Some(folder) = testdata::path("vectors/rfc6962-merkle/inclusion") else {
        return;
    };
    let files = testdata::json_files(&folder);
    let mut refused = 0;
    for file in &files {
        let vector = testdata::json(file);
        let accepted = (|| {
            let index = LeafIndex(vector["leafIdx"].as_u64()?);
            let size = TreeSize(vector["treeSize"].as_u64()?);
            let tree = TreeRoot {
                size,
                root: vector_hash(&vector["root"])?,
            };
            verify_inclusion(
                &vector_hash(&vector["leafHash"])?,
                index,
                &tree,
                &vector_proof(&vector)?,
            )
            .ok()
        })();
        let want_error = vector["wantErr"].as_bool().expect("wantErr");
        assert_eq!(accepted.is_none(), want_error, "{}", file.display());
        refused += usize::from(want_error);
    }
    assert!(
        refused > 0 && refused < files.len(),
        "{refused} of {} refused",
        files.len()
    );
    eprintln!(
        "inclusion: {} vectors, {refused} of them to be refused",
        files.len()
    );
}

#[test]
fn published_consistency_vectors() {
    let Some(folder) = testdata::path("vectors/rfc6962-merkle/consistency") else {
        return;
    };
    let files = testdata::json_files(&folder);
    let mut refused = 0;
    for file in &files {
        let vector = testdata::json(file);
        let size = |key: &str| vector[key].as_u64().map(TreeSize);
        // One vector has equal "roots" that are no hashes: the reference only compares them. Stand-ins that are
        // equal exactly when the texts are keep its meaning.
        let root = |key: &str| {
            let text = vector[key].as_str().expect("a root");
            vector_hash(&vector[key]).unwrap_or_else(|| Hash::sha256(text.as_bytes()))
        };
        let accepted = (|| {
            let old = TreeRoot {
                size: size("size1")?,
                root: root("root1"),
            };
            let new = TreeRoot {
                size: size("size2")?,
                root: root("root2"),
            };
            verify_consistency(&old, &new, &vector_proof(&vector)?).ok()
        })();
        let want_error = vector["wantErr"].as_bool().expect("wantErr");
        assert_eq!(accepted.is_none(), want_error, "{}", file.display());
        refused += usize::from(want_error);
    }
    assert!(
        refused > 0 && refused < files.len(),
        "{refused} of {} refused",
        files.len()
    );
    eprintln!(
        "consistency: {} vectors, {refused} of them to be refused",
        files.len()
    );
}

/// One way to spoil a list of hashes. Returns `None` where the list would stay the same.
fn mutated(proof: &[Hash], kind: usize, at: usize, bit: usize) -> Option<Vec<Hash>> {
    let mut list = proof.to_vec();
    let at = at.checked_rem(list.len().max(1))?;
    match kind {
        0 => list.get_mut(at)?.0[bit / 8 % 32] ^= 1 << (bit % 8),
        1 => drop((!list.is_empty()).then(|| list.remove(at))?),
        2 => list.insert(at, Hash::sha256(&[u8::try_from(bit % 256).expect("a byte")])),
        3 => list.push(*list.last().unwrap_or(&Hash::EMPTY_ROOT)),
        4 => list.reverse(),
        _ => list.get(at).is_some().then(|| list.swap(at, 0))?,
    }
    (list != proof).then_some(list)
}

proptest! {
    #[test]
    fn no_mutated_proof_verifies(
        size in 1_usize..700,
        index in 0_usize..700,
        kind in 0_usize..6,
        at in 0_usize..64,
        bit in 0_usize..256,
    ) {
        let leaves = leaves(size);
        let index = index % size;
        let new = tree(&leaves);
        let proof = inclusion(&leaves, index);
        prop_assert_eq!(verify_inclusion(&leaves[index], LeafIndex(index as u64), &new, &proof), Ok(()));
        if let Some(bad) = mutated(&proof, kind, at, bit) {
            prop_assert!(verify_inclusion(&leaves[index], LeafIndex(index as u64), &new, &bad).is_err());
        }
        let elsewhere = (index + 1 + at) % size;
        if elsewhere != index {
            prop_assert!(verify_inclusion(&leaves[index], LeafIndex(elsewhere as u64), &new, &proof).is_err());
        }

        let old = tree(&leaves[..=index]);
        let proof = consistency(&leaves, index + 1);
        prop_assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
        if let Some(bad) = mutated(&proof, kind, at, bit) {
            prop_assert!(verify_consistency(&old, &new, &bad).is_err());
        }
    }

    #[test]
    fn a_log_that_changed_a_leaf_cannot_prove_consistency(size in 2_usize..200, old in 1_usize..200, at in 0_usize..200) {
        let leaves = leaves(size);
        let old = 1 + (old - 1) % (size - 1);
        let mut rewritten = leaves.clone();
        rewritten[at % old] = Hash::sha256(b"another leaf");
        let proof = consistency(&rewritten, old);
        prop_assert!(verify_consistency(&tree(&leaves[..old]), &tree(&rewritten), &proof).is_err());
    }
}
