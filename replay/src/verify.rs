//! R1: a range of a ledger held against the rules. Nothing is believed that can be worked out again.
//!
//! # What is done
//!
//! 1. All records up to the end of the range are read, once, because what is right in the range depends on them. What is
//!    wrong before the range is not reported.
//! 2. The record checker, which the offline verifier uses too, judges bytes, chain, appends, streams, commitments and
//!    reviewers' votes.
//! 3. `heads` judges the signed tree heads that cover the range: signature and root.
//! 4. `decisions` lets the machine of lanes decide every append again, from nothing but the records before it.
//! 5. `keys` looks whether an idempotency key stands for one append and one request.
//!
//! Memory: that of the record checker, and the state of all lanes. Time: each record is looked at once, and a decision
//! about a lane does not depend on how long the lane is (`settled`).
//!
//! Nothing here believes a record because it is there: whoever can write to the database can write any, well formed and
//! hashed. So there is none that a verification stops at (`sound`), and none that it does not come to an end of.

mod decisions;
mod heads;
mod intents;
mod keys;
mod settled;
mod sound;
mod report;

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{EVENTS_PER_APPEND_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{LeafIndex, Position, TreeSize};
use ruche_ledger::seal::{LogKeys, TreeHeadStore, TreeStore};
use ruche_ledger::store::{EpochInfo, EventStore, Record, StoreError};
use ruche_ledger::verify::{Findings, RecordChecker};

use crate::budget::Budget;
use crate::error::ReplayError;
use crate::read::record_at;
use crate::read_only::ReadOnlyLedger;

pub use report::{Decided, Fault, HeadChecked, NAMES, NotCovered, Report};

use decisions::Decisions;
use heads::Heads;
use keys::Keys;
use report::Collected;

/// Findings that a report tells in full; of the others it has the number.
pub const FINDINGS_TOLD_MAX: usize = 100;

/// A range of a ledger, ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first record; that of the ledger if absent.
    pub from: Option<Position>,
    /// The last record; that of the ledger if absent. The range goes on to the end of its append.
    pub to: Option<Position>,
}

/// Where a ledger is, with what its tree heads are checked.
pub struct Verification {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// Leaf hashes, and the copies of tree heads beside the records.
    pub trees: Arc<dyn TreeStore>,
    /// The promises.
    pub heads: Arc<dyn TreeHeadStore>,
    /// The keys that tree heads have to be signed with.
    pub keys: Arc<dyn LogKeys>,
}

/// What goes along with the records.
struct Walk {
    collected: Collected,
    checker: RecordChecker,
    decisions: Decisions,
    keys: Keys,
    /// The record that was read last ends its append: nothing is judged by half of one.
    ends_append: bool,
    /// Records since the last one that did.
    since: usize,
}

impl Verification {
    /// Verifies a range, as far as the budget goes: the report says where it ended. `progress` is told how many records
    /// were read, and of how many.
    ///
    /// # Errors
    /// If the stores cannot be read, if there is no such range, or if the budget ended before it began.
    pub async fn verify(
        &self,
        ledger: LedgerId,
        range: Range,
        budget: &Budget,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Report, ReplayError> {
        let (from, to) = self.ends(ledger, range).await?;
        let mut epochs = self.events.epochs(ledger).await?;
        epochs.retain(|epoch| epoch.epoch <= to.epoch);
        if let Some(last) = epochs.last_mut() {
            last.size = TreeSize(to.index.0 + 1);
        }
        let total: u64 = epochs.iter().map(|epoch| epoch.size.0).sum();
        let mut walk = Walk {
            collected: Collected::new(from, to),
            checker: RecordChecker::new(),
            decisions: Decisions::default(),
            keys: Keys::default(),
            ends_append: true,
            since: 0,
        };
        let (mut read, mut before) = (0, None);
        for epoch in &epochs {
            let mut told = |records| {
                read += records;
                progress(read, total);
            };
            let ended = self.epoch(ledger, epoch, &mut walk, budget, &mut told).await?;
            if let Some(at) = ended {
                walk.collected.end_at(at, before)?;
                break;
            }
            let last = epoch.size.0.checked_sub(1);
            before = last.map(|last| Position::new(epoch.epoch.0, last));
        }
        let mut findings = Findings::keeping(usize::MAX);
        walk.checker.end(&mut findings);
        walk.collected.take(&findings);
        walk.decisions.end(&mut walk.collected);
        Ok(walk.collected.report(read))
    }

    /// First and last record of a range.
    async fn ends(&self, ledger: LedgerId, range: Range) -> Result<(Position, Position), ReplayError> {
        let head = self.events.head(ledger).await?.ok_or(StoreError::NoSuchLedger)?;
        let last = head
            .last_position()
            .ok_or(ReplayError::NoRecord(Position::START))?;
        let to = range.to.unwrap_or(last);
        let from = range.from.unwrap_or(Position::START);
        if from > to {
            return Err(ReplayError::EmptyRange { from, to });
        }
        // A record that cannot be read is a finding of the walk; one that is not there makes no range.
        for end in [from, to] {
            match record_at(&*self.events, ledger, end).await {
                Err(ReplayError::NoRecord(position)) => return Err(ReplayError::NoRecord(position)),
                Ok(record) if end == to => {
                    let index = LeafIndex(end_of_append(&record) - 1);
                    return Ok((from, Position { index, ..to }.min(last.max(to))));
                }
                Ok(_) | Err(ReplayError::Store(StoreError::Corrupt { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((from, to))
    }

    /// Goes through an epoch. Returns the first record that was not looked at, where the budget ended before it.
    async fn epoch(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        walk: &mut Walk,
        budget: &Budget,
        read: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Option<Position>, ReplayError> {
        let store = ReadOnlyLedger::new(self.events.clone());
        let mut heads = Heads::load(self, ledger, epoch).await?;
        walk.checker.begin_epoch(epoch.epoch, &epoch.origin, epoch.size);
        let (mut next, mut limit) = (0, READ_RECORDS_MAX);
        while next < epoch.size.0 {
            let from = Position {
                epoch: epoch.epoch,
                index: LeafIndex(next),
            };
            if budget.is_spent() && walk.ends_append {
                return Ok(Some(from));
            }
            let left = usize::try_from(epoch.size.0 - next).unwrap_or(limit);
            let left = left.min(budget.page(READ_RECORDS_MAX));
            let page = match store.read_ledger(ledger, from, limit.min(left)).await {
                Ok(page) => page,
                // One of the page contradicts itself; which, is found out one by one.
                Err(StoreError::Corrupt { .. }) if limit > 1 => {
                    limit = 1;
                    continue;
                }
                Err(StoreError::Corrupt { reason, .. }) => {
                    walk.unreadable(from, reason);
                    heads.lose();
                    (next, limit) = (next + 1, READ_RECORDS_MAX);
                    read(1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let of_epoch: Vec<Record> = page
                .into_iter()
                .filter(|r| r.position.epoch == epoch.epoch)
                .collect();
            let Some(last) = of_epoch.last() else {
                walk.collected.push(Fault::missing(from));
                break;
            };
            next = last.position.index.0 + 1;
            budget.spend(&of_epoch);
            for record in &of_epoch {
                // A page of decisions may take longer than there is time for.
                if walk.ends_append && budget.is_over() {
                    return Ok(Some(record.position));
                }
                heads.leaf(walk.record(record));
                read(1);
            }
        }
        let mut findings = Findings::keeping(usize::MAX);
        walk.checker.end_epoch(&mut findings);
        walk.collected.take(&findings);
        heads.end((self, budget), ledger, &mut walk.collected).await?;
        Ok(None)
    }
}

impl Walk {
    fn record(&mut self, record: &Record) -> ruche_ledger::hash::Hash {
        let mut findings = Findings::keeping(usize::MAX);
        let hash = self.checker.record(record, &mut findings);
        self.collected.take(&findings);
        self.collected.read(record);
        self.keys.take(record, &mut self.collected);
        self.decisions.take(record, &mut self.collected);
        self.since += 1;
        let is_last = record.position.index.0 + 1 >= end_of_append(record);
        // Records that say so of more are no append.
        self.ends_append = is_last || self.since >= EVENTS_PER_APPEND_MAX;
        if self.ends_append {
            self.since = 0;
        }
        hash
    }

    fn unreadable(&mut self, position: Position, reason: String) {
        let mut findings = Findings::keeping(usize::MAX);
        self.checker.skip_records(1, &mut findings);
        self.collected.take(&findings);
        self.collected.push(Fault::unreadable(position, reason));
        self.decisions.lose(position);
        (self.ends_append, self.since) = (true, 0);
    }
}

/// The index behind the append of a record, as the record says; not more than an append can have.
fn end_of_append(record: &Record) -> u64 {
    let append = record.leaf.append;
    let most = record
        .position
        .index
        .0
        .saturating_add(EVENTS_PER_APPEND_MAX as u64);
    append.first.0.saturating_add(u64::from(append.count)).min(most)
}

#[cfg(test)]
mod tests;
