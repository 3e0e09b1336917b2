//! The records of an export, to be changed and made a faultless ledger again by who holds the keys.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ruche_domain::approval::{STATEMENT_TYPE, Statement};
use ruche_domain::event::descriptor;
use ruche_domain::ids::{EventId, LedgerId, SessionId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_ledger::dsse::{Envelope, PrivateKey};
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::leaf::{AppendRange, Leaf};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::payload::{StoredFragment, commit};
use ruche_ledger::store::Record;
use ruche_ledger::tree::Frontier;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger_bundle::{BundleWriter, Options, Report, Trust, verify_bundle};
use ruche_ledger_keys::MasterSeedFile;
use serde_json::Value;
use uuid::Uuid;

/// Which record it is, wherever it comes to stand.
pub type Mark = u64;

/// A record, and the append that it came in.
#[derive(Clone)]
pub struct Planted {
    pub mark: Mark,
    pub leaf: Leaf,
    pub payload: Vec<StoredFragment>,
    pub append: u64,
    /// Whether a version of its stream is left out in front of it.
    pub skips: bool,
    /// What is done to its leaf when everything else of it is as it should be.
    pub bend: Option<fn(&mut Leaf)>,
    /// The hash of its leaf in the ledger that was copied: reviewers signed it.
    pub was: Hash,
}

impl Planted {
    pub fn is(&self, event_type: &str) -> bool {
        self.leaf.event.event_type == event_type
    }

    /// What it says.
    pub fn said(&self) -> Value {
        let bytes = self.payload[0].bytes().expect("nothing was erased");
        serde_json::from_slice(bytes).expect("JSON")
    }
}

/// An epoch of which the records are changed.
#[derive(Clone)]
pub struct Work {
    pub records: Vec<Planted>,
    /// Reviewers who do as the operator wants.
    pub reviewers: Arc<Vec<PrivateKey>>,
    /// What was put in, the last one at the end.
    pub inserted: Vec<Mark>,
    /// Sessions that have a fault already.
    pub taken: HashSet<SessionId>,
}

impl Work {
    pub fn of(records: Vec<Record>, reviewers: Vec<PrivateKey>) -> Self {
        let planted = records.into_iter().map(|record| Planted {
            mark: record.position.index.0,
            append: record.leaf.append.first.0,
            was: record.leaf_hash(),
            leaf: record.leaf,
            payload: record.payload,
            skips: false,
            bend: None,
        });
        Self {
            records: planted.collect(),
            reviewers: Arc::new(reviewers),
            inserted: Vec::new(),
            taken: HashSet::new(),
        }
    }

    /// Where the event of this type stands, the first being 0.
    pub fn at(&self, event_type: &str, number: usize) -> usize {
        let all = self.records.iter().enumerate();
        let mut fits = all.filter(|(_, record)| record.is(event_type));
        let found = fits.nth(number);
        found.unwrap_or_else(|| panic!("{event_type} {number}")).0
    }

    /// Where a record stands now.
    pub fn place(&self, mark: Mark) -> usize {
        let found = self.records.iter().position(|record| record.mark == mark);
        found.expect("the record was not taken out")
    }

    /// Changes what a record says, and commits to that.
    pub fn say(&mut self, at: usize, change: impl FnOnce(&mut Value)) -> usize {
        let mut said = self.records[at].said();
        change(&mut said);
        self.set(at, serde_json::to_vec(&said).expect("JSON"));
        at
    }

    pub fn set(&mut self, at: usize, bytes: Vec<u8>) {
        let opening = [7; 32];
        let record = &mut self.records[at];
        record.leaf.payload.truncate(1);
        record.leaf.payload[0].stored_length = bytes.len() as u64;
        record.leaf.payload[0].commitment = commit(&opening, &bytes);
        record.payload = vec![StoredFragment::Present { opening, bytes }];
    }

    pub fn remove(&mut self, at: usize) {
        self.records.remove(at);
    }

    /// Two records of which each is an append change places.
    pub fn swap(&mut self, a: usize, b: usize) {
        let times = [a, b].map(|at| self.records[at].leaf.recorded_at);
        self.records.swap(a, b);
        (self.records[a].leaf.recorded_at, self.records[b].leaf.recorded_at) = (times[0], times[1]);
    }

    /// Puts a copy of a record somewhere, in an append of its own, with another type and payload where they are given.
    pub fn insert(&mut self, at: usize, like: usize, other: Option<(&str, Value)>) -> usize {
        let mut copy = self.records[like].clone();
        let mark = u64::MAX - self.inserted.len() as u64;
        copy.leaf.event.event_id = EventId(Uuid::from_u128(0x7000 << 64 | 0x8000 << 48 | u128::from(!mark)));
        copy.leaf.keys.clear();
        (copy.mark, copy.append) = (mark, mark);
        self.inserted.push(mark);
        self.records.insert(at, copy);
        if let Some((event_type, said)) = other {
            let current = descriptor(event_type).expect("a type of the catalogue");
            self.records[at].leaf.event.schema_version = current.schema_version;
            self.records[at].leaf.event.event_type = event_type.to_owned();
            self.set(at, said.to_string().into_bytes());
        }
        at
    }

    /// The first record of the append that a record came in.
    pub fn front(&self, at: usize) -> usize {
        let before = self.records[..at].iter().rev();
        at - before
            .take_while(|record| record.append == self.records[at].append)
            .count()
    }

    /// The first record behind the append that a record came in.
    pub fn behind(&self, at: usize) -> usize {
        let rest = self.records[at..].iter();
        at + rest
            .take_while(|record| record.append == self.records[at].append)
            .count()
    }

    pub fn end(&self) -> usize {
        self.records.len()
    }

    /// Numbers, versions, ranges, times, links and votes as if it had always been so.
    pub fn link(&mut self) {
        let (mut versions, mut first, mut before) = (HashMap::<String, u64>::new(), 0, None);
        let mut requests = BTreeMap::new();
        for at in 0..self.records.len() {
            let is_first = at == 0 || self.records[at].append != self.records[at - 1].append;
            if is_first {
                first = at;
            }
            let count = (self.behind(at) - first) as u32;
            let recorded_at = at.checked_sub(1);
            let recorded_at = recorded_at.map(|before| self.records[before].leaf.recorded_at);
            self.sign_again(at, &requests);
            let record = &mut self.records[at];
            let (skips, leaf) = (u64::from(record.skips), &mut record.leaf);
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
            record.bend.into_iter().for_each(|bend| bend(leaf));
            let hash = leaf_hash(&leaf.encode());
            if leaf.event.event_type == "approval.requested" {
                requests.insert(leaf.event.stream.id, (at, hash));
            }
            before = Some(hash);
        }
    }

    /// A vote names the leaf of its request and its place, which are others now. Whoever gave it gives it again.
    fn sign_again(&mut self, at: usize, requests: &BTreeMap<Uuid, (usize, Hash)>) {
        let record = &self.records[at];
        let request = requests.get(&record.leaf.event.stream.id);
        let Some((request, hash)) = request.filter(|_| record.is("approval.voted")) else {
            return;
        };
        let was = self.records[*request].was;
        if was == *hash {
            return;
        }
        self.vote(at, |statement| {
            if statement.request.leaf_hash.0 == was.0 {
                statement.request.position = Position::new(1, *request as u64);
                statement.request.leaf_hash = Digest(hash.0);
            }
        });
    }

    /// Changes what is signed in a vote, if it is of one of the reviewers.
    pub fn vote(&mut self, at: usize, change: impl FnOnce(&mut Statement)) {
        if let Some((number, mut statement)) = self.statement(at) {
            change(&mut statement);
            let reviewers = self.reviewers.clone();
            self.sign(at, &statement, &reviewers[number]);
        }
    }

    /// What is signed in a vote, and by which of the reviewers.
    pub fn statement(&self, at: usize) -> Option<(usize, Statement)> {
        let said = self.records[at].said();
        let envelope = Envelope::parse(said["signature"].as_str()?).ok()?;
        let signed = |key: &PrivateKey| {
            envelope
                .verify(&key.public(), STATEMENT_TYPE)
                .ok()
                .map(<[u8]>::to_vec)
        };
        let mut reviewers = self.reviewers.iter().enumerate();
        let (number, signed) = reviewers.find_map(|(number, key)| Some((number, signed(key)?)))?;
        Some((number, Statement::parse(&signed).expect("a statement")))
    }

    /// A vote is signed by somebody.
    pub fn sign(&mut self, at: usize, statement: &Statement, key: &PrivateKey) {
        let envelope = key.sign(STATEMENT_TYPE, &statement.to_bytes());
        let envelope = envelope.expect("a document").to_json();
        self.say(at, |said| said["signature"] = envelope.into());
    }
}

/// The operator's ledger and key.
pub struct Operator {
    pub ledger: LedgerId,
    pub signer: NoteSigner,
    pub origin: String,
}

impl Operator {
    /// Whoever runs the ledger of these records.
    pub fn of(ledger: LedgerId, records: &[Record], seed: &MasterSeedFile) -> Self {
        let origin = records[0].leaf.origin.clone();
        Self {
            ledger,
            signer: seed.seed().log_signer(&origin).expect("an origin"),
            origin,
        }
    }

    /// The tree head over these records.
    pub fn head(&self, work: &Work) -> SignedTreeHead {
        let mut tree = Frontier::new();
        for record in &work.records {
            tree.append(leaf_hash(&record.leaf.encode()));
        }
        let head = TreeHead::new(&self.origin, tree.tree_root());
        SignedTreeHead::sign(head, &self.signer).expect("the operator's own key")
    }

    pub fn write(&self, work: &Work, folder: &Path) {
        self.write_under(&self.head(work), work, folder);
    }

    /// Writes records beside a tree head of others.
    pub fn write_under(&self, head: &SignedTreeHead, work: &Work, folder: &Path) {
        let mut writer = BundleWriter::create(folder, self.ledger).expect("a fresh folder");
        let key = self.signer.verifier();
        writer.begin_epoch(Epoch(1), head, key).expect("the first epoch");
        for record in &work.records {
            writer
                .record(&record.leaf.encode(), &record.payload)
                .expect("a record");
        }
        writer.end_epoch().expect("as many as the head says");
        writer.finish().expect("a folder");
    }

    pub fn verified(&self, work: &Work, folder: &Path) -> Report {
        self.write(work, folder);
        let trust = Trust::keys(vec![self.signer.verifier().clone()]);
        verify_bundle(folder, &trust, &Options::default(), &mut |_| {}).expect("an export")
    }

    /// That an export is what these records are once they are linked.
    pub fn assert_same(&self, work: &Work, export: &Path) {
        let theirs = fs::read(export.join("e1/checkpoint")).expect("a tree head");
        let is_same = self.head(work).as_bytes() == theirs;
        assert!(is_same, "what is linked again is what was exported");
    }
}
