//! Reading every row of a backup, in memory that does not grow with it: the tables are in the order of their keys, and are
//! walked through side by side.
//!
//! What is in no such order is compared by a sum: streams and keys stand in the leaves, too. Over all records, and over
//! all rows of their tables, the hashes of what should be the same are added up.

use std::io;
use std::ops::Range;
use std::path::Path;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position};
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::{KeyClaim, Leaf};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::Record;

use crate::backup::Checked;
use crate::backup_file::{
    ARCHIVED_RANGE, EPOCH, HEAD, IDEMPOTENCY, PAYLOAD, RECORD, STREAM_HEAD, Section, Survey, TABLES, broken,
};
use crate::backup_rows::{Row, Rows};

/// Records after which progress is told.
const TOLD_EVERY: u64 = 256;

/// Checks every record as a read does (canonical leaf, index, origin, payloads against their commitments), that each leaf
/// names the hash of the one before it, that positions are dense, and that epochs, heads, versions of streams and
/// idempotency keys are those of the records. `progress` is told records read.
///
/// # Errors
/// `InvalidData` or `UnexpectedEof` if the file is no good backup, others if it cannot be read.
pub(crate) fn check(path: &Path, survey: &Survey, progress: &dyn Fn(u64)) -> io::Result<Checked> {
    let rows = |table: usize| {
        let section = Section::open(path, survey.begins[table])?;
        Rows::of(section, TABLES[table].columns.split(',').count())
    };
    let mut walk = Walk {
        records: Table::of(rows(RECORD)?)?,
        payloads: Table::of(rows(PAYLOAD)?)?,
        checked: Checked::default(),
        streams: Sum::default(),
        keys: Sum::default(),
        archived: Vec::new(),
        progress,
    };
    if survey.begins[ARCHIVED_RANGE] > 0 {
        let mut ranges = rows(ARCHIVED_RANGE)?;
        while let Some(row) = ranges.next()? {
            let range = (row.ledger()?, row.epoch(1)?, row.number(2)?..row.number(3)?);
            walk.archived.push(range);
        }
    }
    let (mut epochs, mut heads) = (Table::of(rows(EPOCH)?)?, Table::of(rows(HEAD)?)?);
    while let Some(first) = epochs.take()? {
        let ledger = first.ledger()?;
        let head = heads.take()?.filter(|head| head.ledger().ok() == Some(ledger));
        let head = head.ok_or_else(|| in_ledger(ledger, "it has epochs and no head"))?;
        let last = walk.ledger(ledger, first, &mut epochs)?;
        let (position, leaf_hash, recorded_at) = last;
        let agrees = head.epoch(1)? == position.epoch.0
            && head.number(3)? == position.index.0 + 1
            && head.hash(4)? == leaf_hash
            && head.number(5)? == recorded_at.0;
        if !agrees {
            return Err(in_ledger(ledger, "its head is not that of its last record"));
        }
    }
    for (left, what) in [
        (heads.is_over(), "head"),
        (walk.records.is_over(), "record"),
        (walk.payloads.is_over(), "payload"),
    ] {
        if !left {
            return Err(broken(format!(
                "there is a {what} that no epoch has, or out of order"
            )));
        }
    }
    if streams(rows(STREAM_HEAD)?, walk.checked.records)? != walk.streams {
        return Err(broken("versions of streams are not those of the records"));
    }
    if keys(rows(IDEMPOTENCY)?)? != walk.keys {
        return Err(broken("idempotency keys are not those of the records"));
    }
    Ok(walk.checked)
}

fn in_ledger(ledger: LedgerId, reason: impl std::fmt::Display) -> io::Error {
    broken(format!("ledger {ledger}: {reason}"))
}

/// Rows with a look at the next one.
struct Table {
    rows: Rows,
    next: Option<Row>,
}

impl Table {
    fn of(mut rows: Rows) -> io::Result<Self> {
        let next = rows.next()?;
        Ok(Self { rows, next })
    }

    fn take(&mut self) -> io::Result<Option<Row>> {
        let Some(row) = self.next.take() else {
            return Ok(None);
        };
        self.next = self.rows.next()?;
        Ok(Some(row))
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }

    fn of_ledger(&mut self, ledger: LedgerId) -> io::Result<Option<Row>> {
        match &self.next {
            Some(next) if next.ledger()? == ledger => self.take(),
            _ => Ok(None),
        }
    }

    /// The next row if it is of this ledger and epoch and, if it is said, of this record.
    fn of_place(&mut self, ledger: LedgerId, epoch: u32, index: Option<u64>) -> io::Result<Option<Row>> {
        let Some(next) = &self.next else {
            return Ok(None);
        };
        let is_of_epoch = next.ledger()? == ledger && next.epoch(1)? == epoch;
        let is_of_record = match index {
            Some(index) => next.number(2)? == index,
            None => true,
        };
        match is_of_epoch && is_of_record {
            true => self.take(),
            false => Ok(None),
        }
    }
}

/// The last record of a ledger: where it is, its hash, and when it was recorded.
type Last = (Position, Hash, Micros);

struct Walk<'a> {
    records: Table,
    payloads: Table,
    checked: Checked,
    streams: Sum,
    keys: Sum,
    /// Records whose payloads are in archives.
    archived: Vec<(LedgerId, u32, Range<u64>)>,
    progress: &'a dyn Fn(u64),
}

impl Walk<'_> {
    /// All epochs of a ledger, of which `row` is the first.
    fn ledger(&mut self, ledger: LedgerId, mut row: Row, epochs: &mut Table) -> io::Result<Last> {
        let (mut before, mut recorded_at) = (0, Micros(0));
        loop {
            // A restore may have passed numbers over: they were promised, and what was in them is lost.
            let number = row.epoch(1)?;
            if number <= before {
                return Err(in_ledger(ledger, format!("epoch {number} is not in order")));
            }
            let last = self.epoch(ledger, number, row.text(2)?, recorded_at)?;
            let Some(next) = epochs.of_ledger(ledger)? else {
                return Ok(last);
            };
            row = next;
            (before, recorded_at) = (number, last.2);
        }
    }

    fn epoch(&mut self, ledger: LedgerId, epoch: u32, origin: &str, since: Micros) -> io::Result<Last> {
        let (mut last, mut index) = (None::<Last>, 0);
        while let Some(row) = self.records.of_place(ledger, epoch, None)? {
            let position = Position {
                epoch: Epoch(epoch),
                index: LeafIndex(index),
            };
            if row.number(2)? != index {
                return Err(in_ledger(ledger, format!("record {position} is missing")));
            }
            let record = self.record(ledger, position, row)?;
            let leaf = &record.leaf;
            let fault = if leaf.origin != origin {
                Some("its leaf is of another origin")
            } else if leaf.previous != last.map(|(_, hash, _)| hash) {
                Some("it does not name the hash of the leaf before it")
            } else if leaf.recorded_at < last.map_or(since, |(.., at)| at) {
                Some("it was recorded before the one before it")
            } else {
                None
            };
            if let Some(fault) = fault {
                return Err(in_ledger(ledger, format!("record {position}: {fault}")));
            }
            last = Some((position, record.leaf_hash(), leaf.recorded_at));
            index += 1;
        }
        last.ok_or_else(|| in_ledger(ledger, format!("record {epoch}:0 is missing")))
    }

    fn record(&mut self, ledger: LedgerId, position: Position, mut row: Row) -> io::Result<Record> {
        let corrupt = |reason: String| in_ledger(ledger, format!("record {position}: {reason}"));
        let stored = row.take(5);
        let leaf = Leaf::decode(&stored).map_err(|error| corrupt(error.to_string()))?;
        let mut payload = vec![StoredFragment::Missing; leaf.payload.len()];
        let place = (position.epoch.0, Some(position.index.0));
        while let Some(mut fragment) = self.payloads.of_place(ledger, place.0, place.1)? {
            let number = fragment.small(3)?;
            let stored = payload.get_mut(usize::from(number));
            let stored = stored.ok_or_else(|| corrupt(format!("it commits to no fragment {number}")))?;
            let opening = fragment.bytes(4).try_into();
            *stored = StoredFragment::Present {
                opening: opening.map_err(|_| corrupt("an opening has 32 bytes".into()))?,
                bytes: fragment.take(5),
            };
        }
        let missing = payload.iter().filter(|of| matches!(of, StoredFragment::Missing));
        let (epoch, index) = (position.epoch.0, position.index.0);
        let holds = |(of, within, range): &(LedgerId, u32, Range<u64>)| {
            (*of, *within) == (ledger, epoch) && range.contains(&index)
        };
        if !self.archived.iter().any(holds) {
            self.checked.payloads_missing += missing.count() as u64;
        }
        let record = Record::from_stored(position, stored, payload);
        let record = record.map_err(|error| in_ledger(ledger, error))?;
        let (stream, version) = (row.text(3)?, row.number(4)?);
        if leaf.event.stream.to_string() != stream || leaf.stream_version.0 != version {
            return Err(corrupt("it is found under another stream or version".into()));
        }
        self.streams.add_version(ledger, stream, version);
        for claim in &leaf.keys {
            let (first, count) = (leaf.append.first.0, leaf.append.count);
            self.keys
                .add_key(ledger, claim_of(claim), position.epoch.0, first, count);
        }
        self.checked.records += 1;
        if self.checked.records.is_multiple_of(TOLD_EVERY) {
            (self.progress)(self.checked.records);
        }
        Ok(record)
    }
}

fn claim_of(claim: &KeyClaim) -> (u64, &[u8], &[u8]) {
    (claim.layer as u64, &claim.key, &claim.request)
}

/// All versions of all streams, up to those that are said to be the last. More than there are records are not counted.
fn streams(mut rows: Rows, records: u64) -> io::Result<Sum> {
    let (mut sum, mut left) = (Sum::default(), records);
    while let Some(row) = rows.next()? {
        let versions = row.number(2)?.saturating_add(1);
        left = left
            .checked_sub(versions)
            .ok_or_else(|| broken("streams have more versions than there are records"))?;
        for version in 0..versions {
            sum.add_version(row.ledger()?, row.text(1)?, version);
        }
    }
    Ok(sum)
}

fn keys(mut rows: Rows) -> io::Result<Sum> {
    let mut sum = Sum::default();
    while let Some(row) = rows.next()? {
        let claim = (u64::from(row.small(1)?), row.bytes(2), row.bytes(3));
        sum.add_key(row.ledger()?, claim, row.epoch(4)?, row.number(5)?, row.count(6)?);
    }
    Ok(sum)
}

/// A sum of hashes: the same for the same things in any order. Each of them is there once: the tables have unique keys.
#[derive(Default, PartialEq, Eq)]
struct Sum(u128);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let hash = Hash::sha256(bytes);
        let (half, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
        self.0 = self.0.wrapping_add(u128::from_be_bytes(*half));
    }

    fn add_version(&mut self, ledger: LedgerId, stream: &str, version: u64) {
        let parts = [ledger.0.as_bytes(), stream.as_bytes(), &version.to_be_bytes()[..]];
        self.add(&parts.concat());
    }

    fn add_key(&mut self, ledger: LedgerId, claim: (u64, &[u8], &[u8]), epoch: u32, first: u64, count: u32) {
        let (layer, key, request) = claim;
        let parts = [
            &ledger.0.as_bytes()[..],
            &layer.to_be_bytes(),
            key,
            request,
            &epoch.to_be_bytes(),
            &first.to_be_bytes(),
            &count.to_be_bytes(),
        ];
        self.add(&parts.concat());
    }
}
