//! Idempotency keys that no stored run has yet.
//!
//! A key is a random number, so putting each one into a B-tree at once would dirty a page of it for each append. But a
//! key is durable already: it stands in the first leaf of its append, in the same commit. So keys are collected here
//! and written in sorted runs ([`crate::runs`]), a little with each commit. `key_index` says up to where runs have the
//! keys of an epoch, and a start reads the few leaves behind that.

use std::collections::HashMap;
use std::sync::Arc;

use ruche_ledger::leaf::Leaf;
use ruche_ledger::store::StoreError;
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::rowid::{EpochNo, RecordId};
use crate::runs::{Entry, Runs, fingerprint};

/// Records (or keys, if there are more) after which a run begins: few enough that a start after a crash, which reads
/// twice as many leaves, is quick, and many enough that runs are few.
const RUN_RECORDS: usize = if cfg!(test) { 8 } else { 65_536 };
/// Keys moved into a run with each commit, besides those in proportion to what it writes.
const MOVED_MIN: usize = if cfg!(test) { 1 } else { 4 };

/// A key and the scope (`known::scope`) that it belongs to.
pub(crate) type ScopedKey = (i64, [u8; 32]);

/// Keys that only the leaves and this process know. The writer's own; changed together with its transactions.
pub(crate) struct Recent {
    /// Keys that are stored.
    runs: Runs,
    /// Keys claimed since the last run began, those of the open transaction among them.
    active: HashMap<ScopedKey, RecordId>,
    /// Epochs that got records since the last run began, with their committed sizes.
    sizes: HashMap<EpochNo, u64>,
    /// Committed records since the last run began.
    records: usize,
    /// The keys that are being written as a run, or were last.
    run: Run,
    /// What the open transaction did.
    open: Open,
}

/// Sorted keys, and the epochs whose records have no others. Read-only but for its progress.
struct Run {
    entries: Arc<[Entry]>,
    sizes: Vec<(EpochNo, u64)>,
    sizes_moved: usize,
}

#[derive(Default)]
struct Open {
    claimed: Vec<ScopedKey>,
    /// Epoch, its size, how many records it got.
    grown: Vec<(EpochNo, u64, usize)>,
    sizes_moved: usize,
}

/// A point of the open transaction to go back to.
pub(crate) struct Mark(usize, usize);

impl Recent {
    /// The stored runs, and the keys that the leaves have and no run may have.
    pub(crate) fn load(conn: &Connection) -> Result<Self, StoreError> {
        let mut recent = Self {
            runs: Runs::load(conn)?,
            active: HashMap::new(),
            sizes: HashMap::new(),
            records: 0,
            run: Run::empty(),
            open: Open::default(),
        };
        let failed = |e: rusqlite::Error| store_error("table key_index", &e);
        let sql = "SELECT e.no, e.ledger_no, coalesce(k.size, 0) FROM epoch e LEFT JOIN key_index k ON k.epoch_no = e.no";
        let mut epochs = conn.prepare_cached(sql).map_err(failed)?;
        let mut epochs = epochs.query([]).map_err(failed)?;
        while let Some(row) = epochs.next().map_err(failed)? {
            let no = EpochNo(row.get(0).map_err(failed)?);
            recent.load_epoch(conn, no, row.get(1).map_err(failed)?, row.get(2).map_err(failed)?)?;
        }
        Ok(recent)
    }

    fn load_epoch(
        &mut self,
        conn: &Connection,
        no: EpochNo,
        ledger_no: i64,
        from: i64,
    ) -> Result<(), StoreError> {
        let failed = |e: rusqlite::Error| store_error("table record", &e);
        let sql = "SELECT id, leaf FROM record WHERE id >= ?1 AND id < ?2 ORDER BY id";
        let mut leaves = conn.prepare_cached(sql).map_err(failed)?;
        let first = RecordId(no.start() + from);
        let mut leaves = leaves.query(params![first.0, no.end()]).map_err(failed)?;
        while let Some(row) = leaves.next().map_err(failed)? {
            let id = RecordId(row.get(0).map_err(failed)?);
            let corrupt = |reason: String| StoreError::Corrupt {
                place: format!("record {} of epoch number {}", id.index(), no.0),
                reason,
            };
            let bytes = row
                .get_ref(1)
                .and_then(|leaf| Ok(leaf.as_blob()?))
                .map_err(failed)?;
            for claim in Leaf::decode(bytes).map_err(|e| corrupt(e.to_string()))?.keys {
                let key = (crate::known::scope(ledger_no, claim.layer), claim.key);
                if self.active.insert(key, id).is_some() {
                    return Err(corrupt(format!(
                        "another record claims its {} key too",
                        claim.layer.name()
                    )));
                }
            }
            self.records += 1;
            self.sizes.insert(no, id.index().0 + 1);
        }
        Ok(())
    }

    /// Records that may claim the key: the one that does, if one does, and hardly ever another. Their leaves decide.
    pub(crate) fn find(&self, conn: &Connection, key: &ScopedKey) -> Result<Vec<RecordId>, StoreError> {
        if let Some(id) = self.active.get(key) {
            return Ok(vec![*id]);
        }
        let print = fingerprint(&key.1);
        let entries = &self.run.entries;
        let from = entries.partition_point(|entry| entry.0 < print);
        let equal = entries[from..].iter().take_while(|entry| entry.0 == print);
        let mut found: Vec<_> = equal.map(|entry| RecordId(entry.1)).collect();
        found.extend(self.runs.find(conn, &key.1)?);
        Ok(found)
    }

    /// Notes what the open transaction wrote: records of an epoch, up to `size`, and the keys in their leaves.
    pub(crate) fn wrote(
        &mut self,
        epoch: EpochNo,
        size: u64,
        records: usize,
        keys: impl Iterator<Item = (ScopedKey, RecordId)>,
    ) {
        for (key, id) in keys {
            self.active.insert(key, id);
            self.open.claimed.push(key);
        }
        self.open.grown.push((epoch, size, records));
    }

    /// Writes a part of the run, as part of the open transaction: so much that it is whole when the next one is due.
    /// Merges stored runs in the same proportion.
    pub(crate) fn move_some(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let records = self.open.grown.iter().map(|(.., records)| records).sum::<usize>();
        let new = records.max(self.open.claimed.len());
        let rows = self.run.entries.len() + self.run.sizes.len();
        self.move_rows(conn, MOVED_MIN + (new * rows).div_ceil(RUN_RECORDS))?;
        self.runs.merge_some(conn, self.open.claimed.len())
    }

    fn move_rows(&mut self, conn: &Connection, rows: usize) -> Result<(), StoreError> {
        if !self.runs.write_some(conn, rows)? {
            return Ok(());
        }
        // All keys of the run are stored as of this commit, so it may be said.
        let sizes = &self.run.sizes[self.run.sizes_moved..];
        let sizes = &sizes[..sizes.len().min(rows)];
        let sql =
            "INSERT INTO key_index VALUES (?1, ?2) ON CONFLICT (epoch_no) DO UPDATE SET size = excluded.size";
        let put = || {
            let mut statement = conn.prepare_cached(sql)?;
            for (epoch, size) in sizes {
                statement.execute(params![epoch.0, size.cast_signed()])?;
            }
            Ok(())
        };
        put().map_err(|e: rusqlite::Error| store_error("table key_index", &e))?;
        self.open.sizes_moved = sizes.len();
        Ok(())
    }

    /// Where the open transaction is now.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.open.claimed.len(), self.open.grown.len())
    }

    /// Forgets what was noted since a mark: the savepoint was undone.
    pub(crate) fn undo_to(&mut self, mark: &Mark) {
        for key in self.open.claimed.drain(mark.0..) {
            self.active.remove(&key);
        }
        self.open.grown.truncate(mark.1);
    }

    /// Forgets what the open transaction did: it was undone.
    pub(crate) fn undo(&mut self) {
        self.undo_to(&Mark(0, 0));
        self.open = Open::default();
        self.runs.undo();
    }

    /// Takes over what the open transaction did: it is durable.
    pub(crate) fn committed(&mut self) {
        let open = std::mem::take(&mut self.open);
        for (epoch, size, records) in open.grown {
            self.sizes.insert(epoch, size);
            self.records += records;
        }
        self.run.sizes_moved += open.sizes_moved;
        self.runs.committed();
        if self.is_moved() && self.records.max(self.active.len()) >= RUN_RECORDS {
            self.begin_run();
        }
    }

    fn begin_run(&mut self) {
        let keys = self.active.drain();
        let mut entries: Vec<_> = keys
            .map(|((_, key), id)| Entry(fingerprint(&key), id.0))
            .collect();
        entries.sort_unstable();
        self.run = Run {
            entries: entries.into(),
            sizes: self.sizes.drain().collect(),
            sizes_moved: 0,
        };
        self.runs.begin(Arc::clone(&self.run.entries));
        self.records = 0;
    }

    fn is_moved(&self) -> bool {
        self.runs.is_written() && self.run.sizes_moved == self.run.sizes.len()
    }

    /// Moves everything, in one transaction of its own, so that the next start has no leaf to read.
    pub(crate) fn move_all(&mut self, conn: &Connection) -> Result<(), StoreError> {
        while !self.is_moved() || self.records > 0 {
            if self.is_moved() {
                self.begin_run();
            }
            let failed = |e: rusqlite::Error| store_error("table key_index", &e);
            conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
            // One more than there are entries: the step behind the last one finishes the run.
            self.move_rows(conn, self.run.entries.len() + self.run.sizes.len() + 1)?;
            // A crash here or before leaves the keys to the next start.
            conn.execute_batch("COMMIT").map_err(failed)?;
            self.committed();
        }
        Ok(())
    }
}

impl Run {
    fn empty() -> Self {
        Self {
            entries: Arc::from([]),
            sizes: Vec::new(),
            sizes_moved: 0,
        }
    }
}

#[cfg(test)]
mod tests;
