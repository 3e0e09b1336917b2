//! What an operator can do who holds the ledger's key: change records and sign again.

use std::collections::HashMap;

use ruche_domain::numbers::{LeafIndex, StreamVersion};
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::leaf::{AppendRange, Leaf};
use ruche_ledger::tree::Frontier;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};

use super::good::{Export, Stored};

/// The leaves of an epoch.
pub fn leaves(records: &[Stored]) -> Vec<Leaf> {
    records
        .iter()
        .map(|record| Leaf::decode(&record.leaf).expect("a good record"))
        .collect()
}

/// Puts the changed leaf in the place of the old one and links those behind it again.
pub fn replace(records: &mut [Stored], at: usize, leaf: &Leaf) {
    records[at].leaf = leaf.encode();
    chain(records, at + 1);
}

/// Links the records from `from` on to the ones before them.
pub fn chain(records: &mut [Stored], from: usize) {
    for at in from.max(1)..records.len() {
        let mut leaf = Leaf::decode(&records[at].leaf).expect("a good record");
        leaf.previous = Some(leaf_hash(&records[at - 1].leaf));
        records[at].leaf = leaf.encode();
    }
}

/// Makes a valid epoch of any of its records: numbers, ranges, versions and links as if the others had never been.
/// `versions` are those of the streams at the end of the epochs before.
pub fn renumber(records: &mut [Stored], mut versions: HashMap<String, u64>) {
    for (at, record) in records.iter_mut().enumerate() {
        let mut leaf = Leaf::decode(&record.leaf).expect("a good record");
        leaf.index = LeafIndex(at as u64);
        leaf.append = AppendRange {
            first: leaf.index,
            count: 1,
        };
        let version = versions.entry(leaf.event.stream.to_string()).or_default();
        leaf.stream_version = StreamVersion(*version);
        *version += 1;
        record.leaf = leaf.encode();
    }
    chain(records, 1);
}

/// Versions that the streams will have next, at the end of the first `epochs` epochs.
pub fn versions(export: &Export, epochs: usize) -> HashMap<String, u64> {
    let mut versions = HashMap::new();
    for leaf in export.epochs[..epochs]
        .iter()
        .flat_map(|epoch| leaves(&epoch.records))
    {
        versions.insert(leaf.event.stream.to_string(), leaf.stream_version.0 + 1);
    }
    versions
}

/// Signs the tree head over the records that an epoch has now.
pub fn sign(export: &mut Export, epoch: usize) {
    let origin = export.epochs[epoch].origin.clone();
    let signer = export.signer(&origin);
    let mut tree = Frontier::new();
    for record in &export.epochs[epoch].records {
        tree.append(leaf_hash(&record.leaf));
    }
    let head = TreeHead::new(&origin, tree.tree_root());
    export.epochs[epoch].head = SignedTreeHead::sign(head, &signer).expect("the operator's own key");
}
