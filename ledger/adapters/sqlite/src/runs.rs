//! Idempotency keys in sorted runs: a log-structured merge tree with 16 bytes for each key.
//!
//! An entry is the first 8 bytes of a key and the record that claims it; whether it is the key that is looked for, the
//! leaf of that record says. Runs are written from memory ([`super::recent`]) and merged, `FANOUT` of about the same
//! size into one, a few blocks with each commit. The commit that ends a merge is larger: it writes the filter as one row
//! (1.5 bytes for each key: 6 MB at four million) and frees the rows of the runs that were replaced. A key that was
//! never used, which is nearly every key, costs one cache line of each run's filter and no page.
//!
//! Memory: 1.5 bytes for each key (filters). A crash between any two commits loses nothing: a run counts once its row
//! in `key_run` is there, which is in the commit of its last block.

use std::collections::VecDeque;
use std::sync::Arc;

use ruche_ledger::leaf::{KeyClaim, Leaf};
use ruche_ledger::store::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

use self::filter::Filter;
use self::merge::Merge;
use crate::error::store_error;
use crate::lookup;
use crate::rowid::RecordId;

mod filter;
mod merge;

/// Entries of a block: as many as a page of 4 KiB holds without overflow.
const BLOCK_ENTRIES: usize = if cfg!(test) { 3 } else { 240 };
/// Runs of one tier that are merged into one. Also the ratio of the sizes of neighbouring tiers.
const FANOUT: usize = if cfg!(test) { 3 } else { 8 };
/// Entries up to which a run is of the lowest tier.
const TIER_ENTRIES: u64 = if cfg!(test) { 16 } else { 131_072 };
/// Tiers that are merged. A run of the last tier has hundreds of millions of keys.
const TIERS_MERGED: u32 = 4;
/// Entries merged for each new key: more than tiers, so that merges keep up with appends.
const MERGED_PER_KEY: usize = 8;
/// Entries merged with each commit besides.
const MERGED_MIN: usize = if cfg!(test) { 2 } else { 16 };
/// Bits of the number of a block in its run.
const BLOCK_BITS: u32 = 24;

/// The first 8 bytes of a key, and the `record.id` of the first record of its append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(pub u64, pub i64);

impl Entry {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.1.to_be_bytes());
        bytes
    }
}

/// What stands for a key in runs. Keys are keyed hashes, so nobody can choose it.
pub(crate) fn fingerprint(key: &[u8; 32]) -> u64 {
    u64::from_be_bytes(*key.first_chunk().expect("a key has 32 bytes"))
}

/// A stored run that is whole.
pub(crate) struct Run {
    no: i64,
    entries: u64,
    filter: Filter,
    /// Fingerprint of the first entry of each block.
    firsts: Vec<u64>,
}

/// All stored runs, and the work on them. The writer's own; changed together with its transactions.
pub(crate) struct Runs {
    runs: Vec<Run>,
    next_no: i64,
    /// The run that is being written from memory.
    from_memory: Option<Merge>,
    /// The merge of stored runs that goes on.
    merge: Option<Merge>,
    /// Runs without a row whose blocks are to be deleted, and how many blocks they have.
    garbage: VecDeque<(i64, usize)>,
    open: Open,
}

/// What the open transaction did.
#[derive(Default)]
struct Open {
    worked: bool,
    from_memory: Option<Run>,
    merged: Option<Run>,
    /// Blocks deleted of the first of `garbage`.
    deleted: usize,
}

impl Runs {
    /// The runs of a file.
    pub(crate) fn load(conn: &Connection) -> Result<Self, StoreError> {
        let mut rows = conn
            .prepare_cached("SELECT no, entries, filter, firsts FROM key_run ORDER BY no")
            .map_err(|e| failed(&e))?;
        let mut rows = rows.query([]).map_err(|e| failed(&e))?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next().map_err(|e| failed(&e))? {
            let no: i64 = row.get(0).map_err(|e| failed(&e))?;
            let bytes = |at| {
                row.get_ref(at)
                    .and_then(|v| Ok(v.as_blob()?))
                    .map_err(|e| failed(&e))
            };
            let filter =
                Filter::from_bytes(bytes(2)?).ok_or_else(|| corrupt(format!("filter of run {no}")))?;
            let firsts = bytes(3)?.as_chunks::<8>().0;
            runs.push(Run {
                no,
                entries: row.get::<_, i64>(1).map_err(|e| failed(&e))?.cast_unsigned(),
                filter,
                firsts: firsts.iter().map(|first| u64::from_be_bytes(*first)).collect(),
            });
        }
        let garbage = garbage(conn, &runs).map_err(|e| failed(&e))?;
        let used = runs
            .iter()
            .map(|run| run.no)
            .chain(garbage.iter().map(|(no, _)| *no));
        Ok(Self {
            next_no: used.max().unwrap_or(0) + 1,
            runs,
            from_memory: None,
            merge: None,
            garbage,
            open: Open::default(),
        })
    }

    /// Records that may claim the key: all that do, and hardly ever another.
    pub(crate) fn find(&self, conn: &Connection, key: &[u8; 32]) -> Result<Vec<RecordId>, StoreError> {
        let fingerprint = fingerprint(key);
        let mut found = Vec::new();
        for run in self.runs.iter().filter(|run| run.filter.may_hold(fingerprint)) {
            // Equal fingerprints may begin at the end of one block and go on in the next.
            let behind = run.firsts.partition_point(|first| *first < fingerprint);
            let mut block = behind.saturating_sub(1);
            while run.firsts.get(block).is_some_and(|first| *first <= fingerprint) {
                let entries = read_block(conn, run.no, block)?;
                let from = entries.partition_point(|entry| entry.0 < fingerprint);
                let equal = entries[from..].iter().take_while(|entry| entry.0 == fingerprint);
                found.extend(equal.map(|entry| RecordId(entry.1)));
                block += 1;
            }
        }
        Ok(found)
    }

    /// Begins to write a run. The one before must be whole. No entries, no run.
    pub(crate) fn begin(&mut self, entries: Arc<[Entry]>) {
        debug_assert!(self.is_written(), "the run before is not whole");
        if !entries.is_empty() {
            let no = self.take_no();
            self.from_memory = Some(Merge::of_memory(no, entries));
        }
    }

    /// Whether what was given to [`Runs::begin`] is whole and durable.
    pub(crate) fn is_written(&self) -> bool {
        self.from_memory.is_none()
    }

    /// Writes up to `entries` of the run from memory, as part of the open transaction. True if nothing is left.
    pub(crate) fn write_some(&mut self, conn: &Connection, entries: usize) -> Result<bool, StoreError> {
        if self.open.from_memory.is_none()
            && let Some(merge) = &mut self.from_memory
        {
            self.open.worked = true;
            self.open.from_memory = merge.step(conn, entries)?;
        }
        Ok(self.from_memory.is_none() || self.open.from_memory.is_some())
    }

    /// Merges and deletes a little, in proportion to the keys that are `new`, as part of the open transaction.
    pub(crate) fn merge_some(&mut self, conn: &Connection, new: usize) -> Result<(), StoreError> {
        let entries = MERGED_MIN + new * MERGED_PER_KEY;
        self.delete_some(conn, entries.div_ceil(BLOCK_ENTRIES))?;
        if self.merge.is_none() {
            self.merge = self.next_merge();
        }
        if self.open.merged.is_none()
            && let Some(merge) = &mut self.merge
        {
            self.open.worked = true;
            self.open.merged = merge.step(conn, entries)?;
        }
        Ok(())
    }

    fn delete_some(&mut self, conn: &Connection, blocks: usize) -> Result<(), StoreError> {
        let Some((no, end)) = self.garbage.front() else {
            return Ok(());
        };
        // Always the last blocks that are left, so that a restart finds how many there are.
        let from = end.saturating_sub(blocks);
        conn.prepare_cached("DELETE FROM key_block WHERE id >= ?1 AND id < ?2")
            .and_then(|mut s| s.execute([block_id(*no, from), block_id(*no, *end)]))
            .map_err(|e| failed(&e))?;
        self.open.deleted = end - from;
        Ok(())
    }

    /// The smallest tier that is full, if one is.
    fn next_merge(&mut self) -> Option<Merge> {
        let full = |tier: &u32| {
            let runs: Vec<_> = self.runs.iter().filter(|run| run.tier() == *tier).collect();
            (runs.len() >= FANOUT).then_some(runs)
        };
        let runs = (0..TIERS_MERGED).find_map(|tier| full(&tier))?;
        let merge = Merge::of_runs(self.next_no, &runs);
        self.next_no += 1;
        Some(merge)
    }

    fn take_no(&mut self) -> i64 {
        self.next_no += 1;
        self.next_no - 1
    }

    /// Forgets what the open transaction did: it was undone.
    pub(crate) fn undo(&mut self) {
        if std::mem::take(&mut self.open).worked {
            self.from_memory = self.from_memory.take().map(Merge::restarted);
            self.merge = self.merge.take().map(Merge::restarted);
        }
    }

    /// Takes over what the open transaction did: it is durable.
    pub(crate) fn committed(&mut self) {
        let open = std::mem::take(&mut self.open);
        if let Some((_, blocks)) = self.garbage.front_mut() {
            *blocks -= open.deleted;
            if *blocks == 0 {
                self.garbage.pop_front();
            }
        }
        if let Some(run) = open.from_memory {
            self.runs.push(run);
            self.from_memory = None;
        }
        if let Some(run) = open.merged {
            let replaced = self.merge.take().map_or(Vec::new(), |merge| merge.replaces);
            self.runs
                .retain(|run| replaced.iter().all(|(no, _)| *no != run.no));
            self.runs.push(run);
            self.garbage.extend(replaced);
        }
    }
}

impl Run {
    /// 0 for the smallest runs, and one more for each time that they are `FANOUT` times larger.
    fn tier(&self) -> u32 {
        (self.entries / TIER_ENTRIES)
            .checked_ilog(FANOUT as u64)
            .map_or(0, |tier| tier + 1)
    }

    fn insert(&self, conn: &Connection) -> rusqlite::Result<()> {
        let firsts: Vec<u8> = self.firsts.iter().flat_map(|first| first.to_be_bytes()).collect();
        conn.prepare_cached("INSERT OR REPLACE INTO key_run VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                self.no,
                self.entries.cast_signed(),
                self.filter.to_bytes(),
                firsts
            ])?;
        Ok(())
    }
}

/// Key of a block in its table.
fn block_id(run: i64, block: usize) -> i64 {
    run << BLOCK_BITS | block as i64
}

fn read_block(conn: &Connection, run: i64, block: usize) -> Result<Vec<Entry>, StoreError> {
    let entries = conn
        .prepare_cached("SELECT entries FROM key_block WHERE id = ?1")
        .and_then(|mut s| {
            s.query_row([block_id(run, block)], |row| {
                let (entries, _) = row.get_ref(0)?.as_blob()?.as_chunks::<16>();
                let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
                let entry = |bytes: &[u8; 16]| Entry(number(&bytes[..8]), number(&bytes[8..]).cast_signed());
                Ok(entries.iter().map(entry).collect())
            })
            .optional()
        })
        .map_err(|e| failed(&e))?;
    entries.ok_or_else(|| corrupt(format!("block {block} of run {run} is missing")))
}

/// Runs of `key_block` that have no row: they were being written, or were replaced, when a process died.
fn garbage(conn: &Connection, runs: &[Run]) -> rusqlite::Result<VecDeque<(i64, usize)>> {
    let mut garbage = VecDeque::new();
    let mut next = conn.prepare_cached("SELECT min(id) FROM key_block WHERE id >= ?1")?;
    let mut last = conn.prepare_cached("SELECT max(id) FROM key_block WHERE id < ?1")?;
    let mut from = 0;
    while let Some(id) = next.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
        let no = id >> BLOCK_BITS;
        from = block_id(no + 1, 0);
        if !runs.iter().any(|run| run.no == no) {
            let last: i64 = last.query_row([from], |row| row.get(0))?;
            garbage.push_back((no, (last - block_id(no, 0)) as usize + 1));
        }
    }
    Ok(garbage)
}

/// Two records may have keys with the same fingerprint, but never the same key: that would be a fork.
fn check_distinct(conn: &Connection, fingerprint: u64, a: RecordId, b: RecordId) -> Result<(), StoreError> {
    let (of_a, of_b) = (claims(conn, fingerprint, a)?, claims(conn, fingerprint, b)?);
    for (ledger_no, claim) in &of_a {
        let same = |(other_no, other): &(i64, KeyClaim)| {
            (other_no, other.layer, other.key) == (ledger_no, claim.layer, claim.key)
        };
        if of_b.iter().any(same) {
            let layer = claim.layer.name();
            return Err(corrupt(format!(
                "records {} and {} claim the same {layer} key",
                a.0, b.0
            )));
        }
    }
    Ok(())
}

/// Keys with a fingerprint that a record claims, with the number of its ledger.
fn claims(conn: &Connection, print: u64, id: RecordId) -> Result<Vec<(i64, KeyClaim)>, StoreError> {
    let leaf = lookup::leaf(conn, id)?.ok_or_else(|| corrupt(format!("record {} is missing", id.0)))?;
    let leaf = Leaf::decode(&leaf).map_err(|e| corrupt(format!("record {}: {e}", id.0)))?;
    let ledger_no: i64 = conn
        .prepare_cached("SELECT ledger_no FROM epoch WHERE no = ?1")
        .and_then(|mut s| s.query_row([id.epoch().0], |row| row.get(0)))
        .map_err(|e| store_error("table epoch", &e))?;
    let claims = leaf
        .keys
        .into_iter()
        .filter(|claim| fingerprint(&claim.key) == print);
    Ok(claims.map(|claim| (ledger_no, claim)).collect())
}

fn failed(error: &rusqlite::Error) -> StoreError {
    store_error("tables key_block and key_run", error)
}

fn corrupt(reason: String) -> StoreError {
    StoreError::Corrupt {
        place: "tables key_block and key_run".into(),
        reason,
    }
}

#[cfg(test)]
mod tests;
