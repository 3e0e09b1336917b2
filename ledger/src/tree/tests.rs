use proptest::prelude::*;

use super::*;
use crate::hash::leaf_hash;
use crate::testdata;

/// `count` different leaf hashes.
pub(crate) fn leaves(count: usize) -> Vec<Hash> {
    (0..count)
        .map(|number| leaf_hash(format!("leaf {number}").as_bytes()))
        .collect()
}

/// The definition of RFC 6962 §2.1, word by word: an oracle that shares nothing with the code under test.
pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
    use sha2::{Digest, Sha256};
    match leaves {
        [] => Hash(Sha256::digest(b"").into()),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let (left, right) = (naive_root(&leaves[..k]), naive_root(&leaves[k..]));
            Hash(Sha256::digest([&[1_u8][..], &left.0, &right.0].concat()).into())
        }
    }
}

#[test]
fn reference_leaves_and_roots() {
    let Some(path) = testdata::path("vectors/rfc6962-merkle/reference-roots.json") else {
        return;
    };
    let reference = testdata::json(&path);
    let texts = |key: &str| -> Vec<String> {
        let list = reference[key].as_array().expect("a list");
        list.iter()
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let mut frontier = Frontier::new();
    let roots = texts("root_by_size");
    assert_eq!(roots.len(), 9);
    assert_eq!(frontier.root().to_string(), roots[0]);
    for (index, (leaf, hash)) in texts("leaves_hex").iter().zip(texts("leaf_hashes")).enumerate() {
        let hashed = leaf_hash(&hex::decode(leaf).expect("hexadecimal"));
        assert_eq!(hashed.to_string(), hash);
        frontier.append(hashed);
        assert_eq!(frontier.root().to_string(), roots[index + 1]);
    }
    assert_eq!(frontier.size(), TreeSize(8));
}

#[test]
fn every_small_tree_has_the_root_of_the_definition() {
    let leaves = leaves(300);
    let mut frontier = Frontier::new();
    for size in 0..=leaves.len() {
        assert_eq!(frontier.root(), naive_root(&leaves[..size]), "size {size}");
        if let Some(leaf) = leaves.get(size) {
            frontier.append(*leaf);
        }
    }
}

#[test]
fn stored_nodes_must_fit_the_size() {
    let frontier = {
        let mut frontier = Frontier::new();
        leaves(7).into_iter().for_each(|leaf| frontier.append(leaf));
        frontier
    };
    let nodes = frontier.nodes();
    assert_eq!(nodes.len(), 3);
    assert_eq!(
        Frontier::from_nodes(TreeSize(8), &nodes),
        Err(FrontierError::NodeCount {
            size: 8,
            expected: 1,
            found: 3
        })
    );
    assert_eq!(
        Frontier::from_nodes(TreeSize(TREE_SIZE_MAX + 1), &nodes[..1]),
        Err(FrontierError::SizeTooLarge(TREE_SIZE_MAX + 1))
    );
    assert_eq!(Frontier::from_nodes(TreeSize(0), &[]), Ok(Frontier::new()));
    assert_ne!(
        Frontier::from_nodes(TreeSize(7), &[nodes[1], nodes[0], nodes[2]]),
        Ok(frontier)
    );
}

#[test]
fn a_frontier_of_the_greatest_size_has_a_root() {
    let nodes = leaves(62);
    let mut frontier = Frontier::from_nodes(TreeSize(TREE_SIZE_MAX - 1), &nodes).expect("62 nodes");
    assert_eq!(frontier.nodes(), nodes);
    let fold = |nodes: &[Hash], last: Hash| {
        nodes
            .iter()
            .rev()
            .fold(last, |right, left| node_hash(left, &right))
    };
    assert_eq!(frontier.root(), fold(&nodes[..61], nodes[61]));
    frontier.append(leaf_hash(b"the last one"));
    assert_eq!(frontier.size(), TreeSize(TREE_SIZE_MAX));
    assert_eq!(frontier.root(), fold(&nodes, leaf_hash(b"the last one")));
}

proptest! {
    #[test]
    fn a_restored_frontier_goes_on_as_if_nothing_had_happened(size in 0_usize..2_000, cut in 0_usize..2_000) {
        let cut = cut.min(size);
        let leaves = leaves(size);
        let mut frontier = Frontier::new();
        leaves[..cut].iter().for_each(|leaf| frontier.append(*leaf));
        let mut restored = Frontier::from_nodes(frontier.size(), &frontier.nodes()).expect("its own nodes");
        prop_assert_eq!(&restored, &frontier);
        leaves[cut..].iter().for_each(|leaf| restored.append(*leaf));
        prop_assert_eq!(restored.root(), naive_root(&leaves));
        prop_assert_eq!(root_of(&leaves), naive_root(&leaves));
    }
}
