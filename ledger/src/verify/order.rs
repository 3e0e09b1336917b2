//! Order: which place each record of an epoch has, and what must hold between neighbours.

use std::collections::BTreeMap;

use ruche_domain::numbers::{Epoch, TreeSize};
use ruche_domain::stream::Category;

use super::History;
use super::finding::{Finding, FindingKind, Findings};
use super::view::{LeafView, StreamKey};
use crate::hash::Hash;

/// What a record means to the rules about event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `infra.ledger.opened`.
    Opening,
    /// `tool.started`.
    Intent,
    /// `tool.completed`, `tool.failed`, `tool.outcome_unknown`.
    Outcome,
    /// Everything else.
    Other,
}

impl Role {
    fn of(event_type: &str) -> Self {
        match event_type {
            "infra.ledger.opened" => Self::Opening,
            "tool.started" => Self::Intent,
            "tool.completed" | "tool.failed" | "tool.outcome_unknown" => Self::Outcome,
            _ => Self::Other,
        }
    }
}

/// A readable leaf of this log.
#[derive(Clone, Copy, Debug)]
struct Claim {
    index: u64,
    previous: Option<[u8; 32]>,
    append: (u64, u32),
    stream: StreamKey,
    stream_version: u64,
    recorded_at: u64,
    role: Role,
    call: Option<[u8; 16]>,
}

impl Claim {
    /// The lane that it stands in, if it stands in one.
    fn lane(&self) -> Option<[u8; 16]> {
        (self.stream.category() == Category::Lane).then(|| self.stream.bytes())
    }
}

/// An entry of the log: its hash, and what it claims if it is a leaf of this log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    hash: Hash,
    claim: Option<Claim>,
}

impl Entry {
    /// Not a leaf, or one of another log.
    pub(super) const fn unreadable(hash: Hash) -> Self {
        Self { hash, claim: None }
    }

    pub(super) fn of(view: &LeafView<'_>, hash: Hash) -> Self {
        let claim = Claim {
            index: view.index,
            previous: view.previous.copied(),
            append: (view.append_first, view.append_count),
            stream: view.stream,
            stream_version: view.stream_version,
            recorded_at: view.recorded_at,
            role: Role::of(view.event_type),
            call: view.call.copied(),
        };
        Self {
            hash,
            claim: Some(claim),
        }
    }

    fn index(&self) -> Option<u64> {
        self.claim.as_ref().map(|claim| claim.index)
    }
}

/// The order of one epoch.
#[derive(Debug)]
pub(super) struct Order {
    epoch: Epoch,
    size: u64,
    /// Index that the next record should have.
    expected: u64,
    /// An entry that did not have the expected index. What is wrong shows with the next one.
    waiting: Option<Entry>,
    /// Places that hold the record of another place: place to index. 16 bytes and a tree's overhead for each.
    displaced: BTreeMap<u64, u64>,
    /// Hash of the entry before; `None` where that is not known and a link to it cannot be judged.
    before: Option<Hash>,
    /// Range of the append that the record before came in; `None` where that is not known.
    append: Option<(u64, u32)>,
}

impl Order {
    pub(super) const fn new(epoch: Epoch, size: TreeSize) -> Self {
        // A range that ends at record 0 makes record 0 start a range of its own.
        let append = Some((0, 0));
        Self {
            epoch,
            size: size.0,
            expected: 0,
            waiting: None,
            displaced: BTreeMap::new(),
            before: None,
            append,
        }
    }

    /// Index of the next entry if nothing is wrong with those so far.
    pub(super) const fn next_index(&self) -> u64 {
        self.expected.saturating_add(self.waiting.is_some() as u64)
    }

    /// Takes the next entry.
    pub(super) fn entry(&mut self, entry: Entry, history: &mut History, findings: &mut Findings) {
        if let Some(waiting) = self.waiting.take() {
            self.resolve(waiting, Some(&entry), history, findings);
        }
        match entry.claim {
            Some(claim) if claim.index == self.expected => self.place(entry.hash, &claim, history, findings),
            _ => self.waiting = Some(entry),
        }
    }

    /// Goes on behind records that cannot be read.
    pub(super) fn skip(&mut self, count: u64, history: &mut History, findings: &mut Findings) {
        if let Some(waiting) = self.waiting.take() {
            self.resolve(waiting, None, history, findings);
        }
        self.expected = self.expected.saturating_add(count);
        self.forget();
    }

    /// Judges an entry that does not have the expected index, knowing the one behind it.
    fn resolve(
        &mut self,
        entry: Entry,
        next: Option<&Entry>,
        history: &mut History,
        findings: &mut Findings,
    ) {
        let place = self.expected;
        let next = next.and_then(Entry::index);
        let Some(claim) = entry.claim else {
            // Already reported. It stands in the place of a record, unless that record follows.
            if next != Some(place) {
                self.expected = place.saturating_add(1);
                self.before = Some(entry.hash);
                self.append = None;
            }
            return;
        };
        let behind = claim.index.saturating_add(1);
        let goes_on = next == Some(behind) || next.is_none() && behind == self.size;
        let is_next_swapped = claim.index == place.saturating_add(1);
        if claim.index > place && claim.index < self.size && goes_on {
            self.report_gap(place, claim.index, findings);
            history.forget(Some(self.epoch));
            self.expected = claim.index;
            self.forget();
            self.place(entry.hash, &claim, history, findings);
        } else if next == Some(place) && !is_next_swapped {
            let reason = format!("record {} stands in front of it", claim.index);
            self.report(FindingKind::RecordOutOfPlace, place, reason, findings);
        } else {
            self.displace(place, claim.index, findings);
        }
    }

    fn report_gap(&self, first: u64, end: u64, findings: &mut Findings) {
        let kind = if first == 0 {
            FindingKind::FirstRecordMissing
        } else {
            FindingKind::RecordMissing
        };
        let reason = match end - first {
            1 => format!("record {first} is not there"),
            count => format!("records {first} to {} are not there, {count} records", end - 1),
        };
        self.report(kind, first, reason, findings);
    }

    /// The place holds the record of another place.
    fn displace(&mut self, place: u64, index: u64, findings: &mut Findings) {
        if self.displaced.get(&index) == Some(&place) {
            self.displaced.remove(&index);
            for (here, there) in [(index, place), (place, index)] {
                self.report(
                    FindingKind::RecordsSwapped,
                    here,
                    format!("holds record {there}"),
                    findings,
                );
            }
        } else {
            self.displaced.insert(place, index);
        }
        self.expected = place.saturating_add(1);
        self.forget();
    }

    /// What stood before is not known any more.
    fn forget(&mut self) {
        self.before = None;
        self.append = None;
    }

    /// Judges a record that stands in its place.
    fn place(&mut self, hash: Hash, claim: &Claim, history: &mut History, findings: &mut Findings) {
        let index = claim.index;
        if let Some(before) = self.before
            && claim.previous != Some(before.0)
        {
            let reason = "the leaf names another record before it".to_owned();
            self.report(FindingKind::ChainBroken, index, reason, findings);
        }
        self.check_append(claim, findings);
        if claim.recorded_at < history.last_recorded_at {
            let reason = format!(
                "{} µs before the record before",
                history.last_recorded_at - claim.recorded_at
            );
            self.report(FindingKind::TimeReversed, index, reason, findings);
        }
        history.last_recorded_at = claim.recorded_at;
        self.check_stream(claim, history, findings);
        self.check_role(claim, history, findings);
        self.before = Some(hash);
        self.expected = index.saturating_add(1);
    }

    fn check_append(&mut self, claim: &Claim, findings: &mut Findings) {
        if let Some((first, count)) = self.append {
            let is_inside = claim.index - first < u64::from(count);
            let fits = if is_inside {
                claim.append == (first, count)
            } else {
                claim.append.0 == claim.index
            };
            if !fits {
                let reason = format!(
                    "append {} + {} after {first} + {count}",
                    claim.append.0, claim.append.1
                );
                self.report(FindingKind::AppendBroken, claim.index, reason, findings);
            }
        }
        self.append = Some(claim.append);
    }

    fn check_stream(&self, claim: &Claim, history: &mut History, findings: &mut Findings) {
        let last = history.streams.insert(claim.stream, claim.stream_version);
        // A version of 2^64 - 1 has no successor.
        let expected = last.map_or(Some(0), |last| last.checked_add(1));
        if expected == Some(claim.stream_version) {
            return;
        }
        let is_explained =
            history.has_holes && expected.is_some_and(|expected| claim.stream_version > expected);
        if !is_explained {
            let last = last.map_or_else(|| "no version".to_owned(), |last| format!("version {last}"));
            let reason = format!(
                "{} has version {} after {last}",
                claim.stream.id(),
                claim.stream_version
            );
            self.report(FindingKind::StreamBroken, claim.index, reason, findings);
        }
    }

    fn check_role(&self, claim: &Claim, history: &mut History, findings: &mut Findings) {
        if (claim.role == Role::Opening) != (claim.index == 0) {
            let reason = if claim.index == 0 {
                "another event than"
            } else {
                "a further"
            };
            let reason = format!("{reason} infra.ledger.opened");
            self.report(FindingKind::OpeningRecordWrong, claim.index, reason, findings);
        }
        match (claim.role, claim.call) {
            (Role::Intent, Some(call)) => match claim.lane() {
                Some(lane) => {
                    history.started_calls.insert(call, Some(lane));
                }
                None => {
                    history.started_calls.entry(call).or_insert(None);
                }
            },
            (Role::Outcome, call) => {
                let start = call.and_then(|call| history.started_calls.get(&call));
                // Elsewhere any start will do: what was only observed may come from several places.
                let is_started =
                    start.is_some_and(|in_lane| claim.lane().is_none() || *in_lane == claim.lane());
                if !is_started && !history.has_holes {
                    let call = call.map_or_else(|| "without an id".to_owned(), hex::encode);
                    let reason = format!("call {call} was not started");
                    self.report(FindingKind::EffectWithoutIntent, claim.index, reason, findings);
                }
            }
            (Role::Intent, None) | (Role::Opening | Role::Other, _) => {}
        }
    }

    /// Judges the end of the epoch.
    pub(super) fn end(mut self, history: &mut History, findings: &mut Findings) {
        if let Some(waiting) = self.waiting.take() {
            self.resolve(waiting, None, history, findings);
        }
        for (place, index) in &self.displaced {
            self.report(
                FindingKind::RecordOutOfPlace,
                *place,
                format!("holds record {index}"),
                findings,
            );
        }
        if self.expected < self.size {
            let reason = format!("the tree head says {}, the records end here", self.size);
            self.report(FindingKind::TailMissing, self.expected, reason, findings);
        } else if let Some((first, count)) = self.append
            && first.saturating_add(count.into()) > self.expected
            && self.expected > 0
        {
            let reason = format!("append {first} + {count} goes on behind the end of the epoch");
            self.report(FindingKind::AppendBroken, self.expected - 1, reason, findings);
        }
    }

    fn report(&self, kind: FindingKind, index: u64, detail: String, findings: &mut Findings) {
        findings.push(Finding::at(kind, self.epoch, index, detail));
    }
}
