//! What a verification found.

use std::collections::{BTreeMap, HashSet};

use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_ledger::store::Record;
use ruche_ledger::verify::{Finding, FindingKind, Findings};
use serde::Serialize;

use super::FINDINGS_TOLD_MAX;
use crate::error::ReplayError;

/// A record whose stored bytes contradict each other.
pub(super) const RECORD_UNREADABLE: &str = "RECORD_UNREADABLE";
/// An append of a lane that the machine does not decide so.
pub(super) const ILLEGAL_TRANSITION: &str = "ILLEGAL_TRANSITION";
/// An append of a lane that could not be judged.
pub(super) const JUDGEMENT_STOPPED: &str = "JUDGEMENT_STOPPED";
/// Tree heads of the epoch in which the budget ended.
const HEADS: &str = "tree heads of the epoch in which the budget ended, and what they sign";
/// An idempotency key that stands for two appends.
pub(super) const KEY_REPEATED: &str = "IDEMPOTENCY_KEY_REPEATED";

/// Names of faults that only a replay finds, with what they say. The others are those of `ruche-verify`.
pub const NAMES: &[(&str, &str)] = &[
    (
        RECORD_UNREADABLE,
        "the stored bytes of a record contradict each other",
    ),
    (
        ILLEGAL_TRANSITION,
        "an append of a lane that its machine does not decide so",
    ),
    (KEY_REPEATED, "an idempotency key that stands for a second append"),
    (
        JUDGEMENT_STOPPED,
        "the program failed at an append of a lane that nobody would write; what follows in the lane is not decided again",
    ),
];

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Stable name.
    pub name: &'static str,
    /// The record, if it is about one.
    pub position: Option<Position>,
    /// The epoch, if it is about one.
    pub epoch: Option<u32>,
    /// What was found, for people. Not stable.
    pub detail: String,
}

impl Fault {
    pub(super) fn at(name: &'static str, position: Position, detail: impl Into<String>) -> Self {
        Self {
            name,
            position: Some(position),
            epoch: Some(position.epoch.0),
            detail: detail.into(),
        }
    }

    pub(super) fn of_epoch(kind: FindingKind, epoch: Epoch, detail: impl Into<String>) -> Self {
        Self {
            name: kind.name(),
            position: None,
            epoch: Some(epoch.0),
            detail: detail.into(),
        }
    }

    pub(super) fn unreadable(position: Position, reason: String) -> Self {
        Self::at(RECORD_UNREADABLE, position, reason)
    }

    pub(super) fn missing(position: Position) -> Self {
        Self::at(FindingKind::TailMissing.name(), position, "records end here")
    }
}

impl From<&Finding> for Fault {
    fn from(finding: &Finding) -> Self {
        let position = finding.epoch.zip(finding.index);
        Self {
            name: finding.kind.name(),
            position: position.map(|(epoch, index)| Position::new(epoch.0, index)),
            epoch: finding.epoch.map(|epoch| epoch.0),
            detail: finding.detail.clone(),
        }
    }
}

/// A tree head that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeadChecked {
    /// Epoch.
    pub epoch: u32,
    /// Where it is kept: `promised` or `beside the records`.
    pub kept: &'static str,
    /// Records that it signs.
    pub size: u64,
}

/// What was decided again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Appends of lanes that the machine decides exactly so.
    pub appends: u64,
    /// Idempotency keys that stand for one append.
    pub keys: u64,
    /// Votes that reviewers signed, refused ones among them.
    pub votes: u64,
}

/// What the verification cannot say anything about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCovered {
    /// What, and why.
    pub what: &'static str,
    /// How often.
    pub count: u64,
    /// The first record.
    pub first: Position,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first record of the range.
    pub from: Position,
    /// The last record of the range, which ends an append.
    pub to: Position,
    /// Records of the range.
    pub records: u64,
    /// Records that were read, those before the range among them.
    pub records_read: u64,
    /// What is wrong, the first hundred, in the order in which it was found.
    pub findings: Vec<Fault>,
    /// How often each name was found.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was decided again in the range.
    pub decided: Decided,
    /// The tree heads that cover records of the range.
    pub tree_heads: Vec<HeadChecked>,
    /// Records of the range that no tree head signs yet.
    pub unsealed: u64,
    /// What nothing is said about.
    pub not_covered: Vec<NotCovered>,
    /// The first record that was not looked at, where the budget ended before the range did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Position>,
}

impl Report {
    /// How many findings there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Exit code, as that of `ruche-verify`: 0 if all is well, 2 if something is wrong, 3 if payloads are missing only.
    pub fn exit_code(&self) -> u8 {
        let missing = [FindingKind::PayloadMissing, FindingKind::PayloadNotChecked].map(FindingKind::name);
        match (
            self.counts.is_empty(),
            self.counts.keys().all(|name| missing.contains(name)),
        ) {
            (true, _) => 0,
            (false, false) => 2,
            (false, true) => 3,
        }
    }
}

/// A report in the making.
pub(super) struct Collected {
    report: Report,
    /// What was found at which record, told in full or not.
    found: HashSet<(&'static str, Position)>,
    /// Greatest size that a tree head signs, of each epoch of the range.
    signed: BTreeMap<Epoch, u64>,
    sizes: BTreeMap<Epoch, u64>,
}

impl Collected {
    pub fn new(from: Position, to: Position) -> Self {
        Self {
            report: Report {
                from,
                to,
                records: 0,
                records_read: 0,
                findings: Vec::new(),
                counts: BTreeMap::new(),
                decided: Decided::default(),
                tree_heads: Vec::new(),
                unsealed: 0,
                not_covered: Vec::new(),
                next: None,
            },
            found: HashSet::new(),
            signed: BTreeMap::new(),
            sizes: BTreeMap::new(),
        }
    }

    /// Whether a record is in the range.
    pub fn covers(&self, position: Position) -> bool {
        self.report.from <= position && position <= self.report.to
    }

    /// Whether an epoch has records in the range.
    pub fn covers_epoch(&self, epoch: Epoch) -> bool {
        self.report.from.epoch <= epoch && epoch <= self.report.to.epoch
    }

    pub fn push(&mut self, fault: Fault) {
        let covered = match (fault.position, fault.epoch) {
            (Some(position), _) => self.covers(position),
            (None, Some(epoch)) => self.covers_epoch(Epoch(epoch)),
            (None, None) => true,
        };
        if !covered {
            return;
        }
        // Two judges that were written apart look at each turn. What both find is one thing.
        if let Some(position) = fault.position
            && !self.found.insert((fault.name, position))
        {
            return;
        }
        *self.report.counts.entry(fault.name).or_default() += 1;
        if self.report.findings.len() < FINDINGS_TOLD_MAX {
            self.report.findings.push(fault);
        }
    }

    pub fn take(&mut self, findings: &Findings) {
        for finding in findings.kept() {
            self.push(finding.into());
        }
    }

    pub fn read(&mut self, record: &Record) {
        let position = record.position;
        self.sizes.insert(position.epoch, position.index.0 + 1);
        if self.covers(position) {
            self.report.records += 1;
            let is_vote = matches!(
                record.leaf.event.event_type.as_str(),
                "approval.voted" | "approval.vote_refused"
            );
            self.report.decided.votes += u64::from(is_vote);
        }
    }

    pub fn decided(&mut self, position: Position, count: impl FnOnce(&mut Decided)) {
        if self.covers(position) {
            count(&mut self.report.decided);
        }
    }

    pub fn head(&mut self, epoch: Epoch, checked: HeadChecked) {
        let signed = self.signed.entry(epoch).or_default();
        *signed = checked.size.max(*signed);
        self.report.tree_heads.push(checked);
    }

    pub fn not_covered(&mut self, what: &'static str, position: Position) {
        if !self.covers(position) {
            return;
        }
        let known = self
            .report
            .not_covered
            .iter_mut()
            .find(|known| known.what == what);
        match known {
            Some(known) => known.count += 1,
            None => self.report.not_covered.push(NotCovered {
                what,
                count: 1,
                first: position,
            }),
        }
    }

    /// What the tree heads of an epoch sign behind this many records was not read, so they are not judged. Those may be more
    /// than the range has; it is of the range that nothing is said.
    pub fn heads_are_not_covered(&mut self, epoch: Epoch, size: TreeSize) {
        let last = Position::new(epoch.0, size.0.saturating_sub(1));
        self.not_covered(HEADS, last.min(self.report.to));
    }

    /// The budget ended before this record, which begins an append: the range ends in front of it. What the tree heads of its
    /// epoch sign behind it was not read, so they are not judged. `before` is the last record of the epoch before, whose tree
    /// heads were.
    ///
    /// # Errors
    /// `OutOfBudget` where nothing of the range was looked at.
    pub fn end_at(&mut self, at: Position, before: Option<Position>) -> Result<(), ReplayError> {
        let in_epoch = at.index.0.checked_sub(1);
        let last = in_epoch.map(|index| Position::new(at.epoch.0, index)).or(before);
        let Some(last) = last.filter(|last| self.report.from <= *last) else {
            return Err(ReplayError::OutOfBudget { at });
        };
        if in_epoch.is_some() {
            self.not_covered(HEADS, last);
            self.sizes.remove(&at.epoch);
        }
        self.report.to = last;
        self.report.next = Some(at);
        Ok(())
    }

    pub fn report(mut self, records_read: u64) -> Report {
        for (epoch, size) in &self.sizes {
            if !self.covers_epoch(*epoch) {
                continue;
            }
            let signed = self.signed.get(epoch).copied().unwrap_or_default();
            let first = if *epoch == self.report.from.epoch {
                self.report.from.index.0
            } else {
                0
            };
            self.report.unsealed += size.saturating_sub(signed.max(first));
        }
        self.report.records_read = records_read;
        self.report
    }
}
