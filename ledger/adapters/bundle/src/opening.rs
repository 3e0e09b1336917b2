//! Record 0 of an epoch: what it says of the epoch, and of the one before.

use std::collections::BTreeMap;

use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::note::VerifierKey;
use ruche_ledger::payload::JSON;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::verify::{Finding, FindingKind, Findings};
use serde::Deserialize;

use crate::layout::Shelf;
use crate::payload_stream::{Fragment, PayloadStream};
use crate::reader::{Entries, EpochReader, ReadError};

/// What an opening record says, as far as a verifier compares it. Later schema versions may say more.
#[derive(Clone, Debug, Deserialize)]
pub struct OpeningFacts {
    /// Origin of the epoch.
    pub origin: String,
    /// Key that signs its tree heads.
    pub verifier_key: String,
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The epoch before.
    pub previous: Option<PreviousFacts>,
}

/// What it says of the epoch before.
#[derive(Clone, Debug, Deserialize)]
pub struct PreviousFacts {
    /// Its origin.
    pub origin: String,
    /// Size of its last tree head.
    pub tree_size: TreeSize,
    /// Root of its last tree head, hexadecimal.
    pub root: String,
    /// Its last tree head, the whole signed note.
    pub tree_head: String,
    /// First record that was lost in a restore.
    pub lost_from: Option<Position>,
    /// Last record that was lost in a restore.
    pub lost_to: Option<Position>,
}

/// What can be known of record 0 before the epoch is read.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Stream of record 0; `None` if entry 0 is not record 0 of an epoch. Then the record checker says so.
    pub stream: Option<StreamId>,
    /// Its payload.
    pub facts: Facts,
}

/// The payload of record 0.
#[derive(Clone, Debug)]
pub enum Facts {
    /// Not there, or not the committed one. The record checker says so.
    Unknown,
    /// Not what an opening record says.
    Garbled(String),
    /// What it says.
    Known(OpeningFacts),
}

impl Opening {
    const UNKNOWN: Self = Self {
        stream: None,
        facts: Facts::Unknown,
    };

    /// Reads record 0. The epoch's own check authenticates it later, with all other records.
    pub(crate) fn read(files: &EpochReader, size: TreeSize) -> Result<Self, ReadError> {
        let mut bytes = Vec::new();
        let Some(slot) = files.find(Shelf::Entries, 0, size) else {
            return Ok(Self::UNKNOWN);
        };
        files.read(slot, &mut bytes)?;
        let Some(leaf) = Entries(&bytes).next().and_then(|entry| Leaf::decode(entry).ok()) else {
            return Ok(Self::UNKNOWN);
        };
        if leaf.index.0 != 0 || leaf.event.event_type != "infra.ledger.opened" {
            return Ok(Self::UNKNOWN);
        }
        Ok(Self {
            stream: Some(leaf.event.stream),
            facts: Self::facts(files, size, &leaf)?,
        })
    }

    fn facts(files: &EpochReader, size: TreeSize, leaf: &Leaf) -> Result<Facts, ReadError> {
        let Some(slot) = files.find(Shelf::Payload, 0, size) else {
            return Ok(Facts::Unknown);
        };
        let Some(file) = files.payload(slot)? else {
            return Ok(Facts::Unknown);
        };
        let fail = |source| files.broken(slot, source);
        let mut stream = PayloadStream::new(file, Vec::new()).map_err(fail)?;
        let Some(committed) = leaf.payload.first() else {
            return Ok(Facts::Garbled("the opening record has no payload".to_owned()));
        };
        if committed.media_type != JSON {
            return Ok(Facts::Garbled(format!("its payload is {}", committed.media_type)));
        }
        match stream.next_fragment().map_err(fail)? {
            Fragment::Present { opening, bytes } if committed.opens(opening, bytes) => {
                Ok(match serde_json::from_slice(bytes) {
                    Ok(facts) => Facts::Known(facts),
                    Err(error) => Facts::Garbled(error.to_string()),
                })
            }
            Fragment::Present { .. } | Fragment::Missing | Fragment::Malformed => Ok(Facts::Unknown),
        }
    }

    /// What it says of the epoch before, if that can be read.
    #[must_use]
    pub fn previous(&self) -> Option<&PreviousFacts> {
        match &self.facts {
            Facts::Known(facts) => facts.previous.as_ref(),
            Facts::Unknown | Facts::Garbled(_) => None,
        }
    }

    /// Whether it fits the epoch that it opens.
    pub(crate) fn check(
        &self,
        epoch: Epoch,
        origin: &str,
        key: Option<&VerifierKey>,
        findings: &mut Findings,
    ) {
        let facts = match &self.facts {
            Facts::Known(facts) => facts,
            Facts::Unknown => return,
            Facts::Garbled(reason) => {
                findings.push(Finding::at(
                    FindingKind::OpeningRecordWrong,
                    epoch,
                    0,
                    reason.clone(),
                ));
                return;
            }
        };
        let mut wrong = |reason: String| {
            findings.push(Finding::at(FindingKind::OpeningRecordWrong, epoch, 0, reason));
        };
        if facts.epoch != epoch {
            wrong(format!("it opens epoch {}", facts.epoch));
        }
        if facts.origin != origin {
            wrong(format!("it opens {}", facts.origin));
        }
        if key.is_some_and(|key| key.to_string() != facts.verifier_key) {
            wrong(format!("it names the key {}", facts.verifier_key));
        }
        if epoch == Epoch::FIRST && facts.previous.is_some() {
            wrong("the first epoch has none before it".to_owned());
        }
    }
}

/// What is known of the epoch that an opening record calls the one before.
pub(crate) struct EpochEnd<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) origin: &'a str,
    /// Size of its exported tree head.
    pub(crate) size: TreeSize,
    /// The key that signed its tree head.
    pub(crate) key: Option<&'a VerifierKey>,
    /// Roots over its first records, by their number, as far as they could be read.
    pub(crate) roots: &'a BTreeMap<u64, Hash>,
}

impl PreviousFacts {
    /// Whether it is how the epoch before ended. `epoch` is the one that says so.
    pub(crate) fn check(&self, epoch: Epoch, end: &EpochEnd<'_>, findings: &mut Findings) {
        if self.origin != end.origin {
            let reason = format!(
                "epoch {} is {}, record 0 names {}",
                end.epoch, end.origin, self.origin
            );
            findings.push(Finding::at(FindingKind::EpochLinkBroken, epoch, 0, reason));
            return;
        }
        self.check_tree_head(epoch, end.key, findings);
        // A lost range is judged by itself; what is lost cannot be compared.
        if self.lost_from.is_some() || self.lost_to.is_some() {
            return;
        }
        let mut broken =
            |reason: String| findings.push(Finding::at(FindingKind::EpochLinkBroken, epoch, 0, reason));
        let root = end.roots.get(&self.tree_size.0);
        if self.tree_size != end.size {
            broken(format!(
                "epoch {} had {} records, {} are here",
                end.epoch, self.tree_size, end.size
            ));
        } else if root.is_some_and(|root| root.to_string() != self.root) {
            broken(format!(
                "the {} records of epoch {} have another root",
                self.tree_size, end.epoch
            ));
        }
    }

    /// Whether the tree head in record 0 says what the members beside it say, and is signed by `key` if that is known.
    pub(crate) fn check_tree_head(&self, epoch: Epoch, key: Option<&VerifierKey>, findings: &mut Findings) {
        let mut broken =
            |reason: String| findings.push(Finding::at(FindingKind::EpochLinkBroken, epoch, 0, reason));
        let head = match SignedTreeHead::parse(self.tree_head.as_bytes()) {
            Err(error) => return broken(format!("the tree head in record 0: {error}")),
            Ok(head) => head,
        };
        let said = head.head();
        let said = (said.origin.as_str(), said.size, said.root.to_string());
        if said != (self.origin.as_str(), self.tree_size, self.root.clone()) {
            broken("record 0 and the tree head in it do not agree".to_owned());
        }
        if let Some(Err(error)) = key.map(|key| head.verify(std::slice::from_ref(key)).map(|_| ())) {
            broken(format!("the tree head in record 0: {error}"));
        }
    }

    /// Reports what `epoch` declares as lost, and whether that can be: it begins right behind what is there of the last
    /// epoch before, so that every record is here or declared lost, and ends in the epoch before this one.
    pub(crate) fn check_loss(&self, epoch: Epoch, end: Option<&EpochEnd<'_>>, findings: &mut Findings) {
        let mut broken =
            |reason: String| findings.push(Finding::at(FindingKind::EpochLinkBroken, epoch, 0, reason));
        let Some((from, to)) = self.lost() else {
            if self.lost_from.is_some() || self.lost_to.is_some() {
                broken("record 0 says where lost records begin or where they end, and not both".to_owned());
            }
            return;
        };
        let there_up_to = end.map_or(Position::START, |end| Position::new(end.epoch.0, end.size.0));
        if from > there_up_to && end.is_some() {
            broken(format!(
                "records {there_up_to} to before {from} are neither here nor declared lost"
            ));
        }
        if from < there_up_to || from > to || u64::from(to.epoch.0) + 1 != u64::from(epoch.0) {
            broken(format!(
                "records {from} to {to} cannot be lost before epoch {epoch}"
            ));
        }
        let reason = format!("{from} to {to} were lost, says record {epoch}:0");
        findings.push(Finding::at(
            FindingKind::RecordsLost,
            from.epoch,
            from.index.0,
            reason,
        ));
    }

    /// First and last record that were lost in a restore.
    pub(crate) fn lost(&self) -> Option<(Position, Position)> {
        self.lost_from.zip(self.lost_to)
    }
}
