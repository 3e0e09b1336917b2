//! The records of an export, to be changed and made a faultless ledger again by who holds the key.

use std::collections::HashMap;
use std::path::Path;

use ruche_domain::event::descriptor;
use ruche_domain::ids::{EventId, LedgerId};
use ruche_domain::numbers::{Epoch, LeafIndex, StreamVersion};
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::leaf::{AppendRange, Leaf};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::payload::{StoredFragment, commit};
use ruche_ledger::store::Record;
use ruche_ledger::tree::Frontier;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger_bundle::{BundleWriter, Options, Report, Trust, verify_bundle};
use serde_json::Value;
use uuid::Uuid;

/// A record, and the append that it came in.
#[derive(Clone)]
pub struct Planted {
    pub leaf: Leaf,
    pub payload: Vec<StoredFragment>,
    pub append: u64,
    /// Whether a version of its stream is left out in front of it.
    pub skips: bool,
}

/// An epoch of which the records are changed.
#[derive(Clone)]
pub struct Work(pub Vec<Planted>);

impl Work {
    pub fn of(records: Vec<Record>) -> Self {
        let planted = records.into_iter().map(|record| Planted {
            append: record.leaf.append.first.0,
            leaf: record.leaf,
            payload: record.payload,
            skips: false,
        });
        Self(planted.collect())
    }

    /// Where the event of this type stands, the first being 0.
    pub fn at(&self, event_type: &str, number: usize) -> usize {
        let all = self.0.iter().enumerate();
        let mut fits = all.filter(|(_, record)| record.leaf.event.event_type == event_type);
        let found = fits.nth(number);
        found.unwrap_or_else(|| panic!("{event_type} {number}")).0
    }

    /// Changes what a record says, and commits to that.
    pub fn say(&mut self, at: usize, change: impl FnOnce(&mut Value)) -> usize {
        let bytes = self.0[at].payload[0].bytes().expect("nothing was erased");
        let mut said = serde_json::from_slice(bytes).expect("JSON");
        change(&mut said);
        self.set(at, serde_json::to_vec(&said).expect("JSON"));
        at
    }

    pub fn set(&mut self, at: usize, bytes: Vec<u8>) {
        let opening = [7; 32];
        let record = &mut self.0[at];
        record.leaf.payload.truncate(1);
        record.leaf.payload[0].stored_length = bytes.len() as u64;
        record.leaf.payload[0].commitment = commit(&opening, &bytes);
        record.payload = vec![StoredFragment::Present { opening, bytes }];
    }

    pub fn remove(&mut self, at: usize) {
        self.0.remove(at);
    }

    /// Puts a copy of a record somewhere, in an append of its own, with another type and payload where they are given.
    pub fn insert(&mut self, at: usize, like: usize, other: Option<(&str, Value)>) -> usize {
        let mut copy = self.0[like].clone();
        let number = self.0.len() as u128;
        copy.leaf.event.event_id = EventId(Uuid::from_u128(0x7000 << 64 | 0x8000 << 48 | number));
        copy.leaf.keys.clear();
        copy.append = u64::MAX - number as u64;
        self.0.insert(at, copy);
        if let Some((event_type, said)) = other {
            let current = descriptor(event_type).expect("a type of the catalogue");
            self.0[at].leaf.event.schema_version = current.schema_version;
            self.0[at].leaf.event.event_type = event_type.to_owned();
            self.set(at, said.to_string().into_bytes());
        }
        at
    }

    pub fn end(&self) -> usize {
        self.0.len()
    }

    /// Numbers, versions, ranges, times and links as if it had always been so.
    pub fn link(&mut self) {
        let (mut versions, mut first, mut before) = (HashMap::<String, u64>::new(), 0, None);
        for at in 0..self.0.len() {
            let is_first = at == 0 || self.0[at].append != self.0[at - 1].append;
            let append = self.0[at].append;
            if is_first {
                first = at;
            }
            let count = self.0[first..]
                .iter()
                .take_while(|record| record.append == append);
            let count = count.count() as u32;
            let recorded_at = at.checked_sub(1).map(|before| self.0[before].leaf.recorded_at);
            let skips = u64::from(self.0[at].skips);
            let leaf = &mut self.0[at].leaf;
            leaf.index = LeafIndex(at as u64);
            leaf.append = AppendRange {
                first: LeafIndex(first as u64),
                count,
            };
            if !is_first {
                leaf.keys.clear();
            }
            leaf.recorded_at = leaf.recorded_at.max(recorded_at.unwrap_or(leaf.recorded_at));
            let version = versions.entry(leaf.event.stream.to_string()).or_default();
            leaf.stream_version = StreamVersion(*version + skips);
            *version += 1 + skips;
            leaf.previous = before;
            before = Some(leaf_hash(&leaf.encode()));
        }
    }
}

/// The operator's ledger and key.
pub struct Operator {
    pub ledger: LedgerId,
    pub signer: NoteSigner,
    pub origin: String,
}

impl Operator {
    pub fn write(&self, work: &Work, folder: &Path) {
        let leaves: Vec<Vec<u8>> = work.0.iter().map(|record| record.leaf.encode()).collect();
        let mut tree = Frontier::new();
        for leaf in &leaves {
            tree.append(leaf_hash(leaf));
        }
        let head = TreeHead::new(&self.origin, tree.tree_root());
        let head = SignedTreeHead::sign(head, &self.signer).expect("the operator's own key");
        let mut writer = BundleWriter::create(folder, self.ledger).expect("a fresh folder");
        let key = self.signer.verifier();
        writer.begin_epoch(Epoch(1), &head, key).expect("the first epoch");
        for (leaf, record) in leaves.iter().zip(&work.0) {
            writer.record(leaf, &record.payload).expect("a record");
        }
        writer.end_epoch().expect("as many as the head says");
        writer.finish().expect("a folder");
    }

    pub fn verified(&self, work: &Work, folder: &Path) -> Report {
        self.write(work, folder);
        let trust = Trust::keys(vec![self.signer.verifier().clone()]);
        verify_bundle(folder, &trust, &Options::default(), &mut |_| {}).expect("an export")
    }
}
