//! Idempotency keys that their table does not have yet.
//!
//! A key is a random number, so putting each one into a B-tree at once would dirty a page of it for each append: half
//! of all pages that a commit writes, and on a ledger of a million records nearly all that a checkpoint writes. But a
//! key is durable already: it stands in the first leaf of its append, in the same commit. So the table is filled
//! later, in runs sorted by key, a little with each commit; until then the keys are kept here. `key_index` says up to
//! where the table has the keys of an epoch, and a start reads the few leaves behind that.

use std::collections::HashMap;

use ruche_ledger::leaf::Leaf;
use ruche_ledger::store::StoreError;
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::insert::Insert;
use crate::rowid::{EpochNo, RecordId};

/// Records (or keys, if there are more) after which a run begins: enough that several keys of a run fall on one page of
/// a table of a million. Twice as many leaves have to be read at a start after a crash.
const RUN_RECORDS: usize = if cfg!(test) { 8 } else { 65_536 };
/// Rows moved with each commit, besides those in proportion to what it writes.
const MOVED_MIN: usize = if cfg!(test) { 1 } else { 4 };

/// A key and what `idempotency.scope` it belongs to.
pub(crate) type ScopedKey = (i64, [u8; 32]);

/// Keys that only the leaves and this process know. The writer's own; changed together with its transactions.
pub(crate) struct Recent {
    insert: Insert,
    /// Keys claimed since the last run began, those of the open transaction among them.
    active: HashMap<ScopedKey, RecordId>,
    /// Epochs that got records since the last run began, with their committed sizes.
    sizes: HashMap<EpochNo, u64>,
    /// Committed records since the last run began.
    records: usize,
    /// The run that is being moved into the table.
    run: Run,
    /// What the open transaction did.
    open: Open,
}

/// Keys sorted as the table is, then the epochs that have no others. Read-only but for its progress.
#[derive(Default)]
struct Run {
    keys: Vec<(ScopedKey, RecordId)>,
    keys_moved: usize,
    sizes: Vec<(EpochNo, u64)>,
    sizes_moved: usize,
}

#[derive(Default)]
struct Open {
    claimed: Vec<ScopedKey>,
    /// Epoch, its size, how many records it got.
    grown: Vec<(EpochNo, u64, usize)>,
    keys_moved: usize,
    sizes_moved: usize,
}

/// A point of the open transaction to go back to.
pub(crate) struct Mark(usize, usize);

impl Recent {
    /// The keys that the leaves have and the table may not have.
    pub(crate) fn load(conn: &Connection) -> Result<Self, StoreError> {
        let mut recent = Self {
            insert: Insert::upsert(
                "idempotency",
                3,
                // A key that is there for the same record was moved before a crash, and nothing changes. One that is
                // there for another record breaks NOT NULL: an error, like every fork.
                "ON CONFLICT (scope, key_hash) DO UPDATE SET record = iif(record = excluded.record, record, NULL)",
            ),
            active: HashMap::new(),
            sizes: HashMap::new(),
            records: 0,
            run: Run::default(),
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

    /// The record of a key, if the key is one of these.
    pub(crate) fn get(&self, key: &ScopedKey) -> Option<RecordId> {
        self.active.get(key).copied().or_else(|| {
            let at = self.run.keys.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
            Some(self.run.keys[at].1)
        })
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

    /// Moves a part of the run into the table, as part of the open transaction: so much that the run is done when the
    /// next one is due.
    pub(crate) fn move_some(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let records = self.open.grown.iter().map(|(.., records)| records).sum::<usize>();
        let new = records.max(self.open.claimed.len());
        let rows = self.run.keys.len() + self.run.sizes.len();
        self.move_rows(conn, MOVED_MIN + (new * rows).div_ceil(RUN_RECORDS))
    }

    fn move_rows(&mut self, conn: &Connection, rows: usize) -> Result<(), StoreError> {
        let keys = &self.run.keys[self.run.keys_moved..];
        let keys = &keys[..keys.len().min(rows)];
        self.insert
            .all(conn, keys, |s, at, ((scope, key), record)| {
                s.raw_bind_parameter(at + 1, scope)?;
                s.raw_bind_parameter(at + 2, &key[..])?;
                s.raw_bind_parameter(at + 3, record.0)
            })
            .map_err(|e| store_error("table idempotency", &e))?;
        self.open.keys_moved = keys.len();
        if self.run.keys_moved + keys.len() < self.run.keys.len() {
            return Ok(());
        }
        // All keys of the run are in the table as of this commit, so it may be said.
        let sizes = &self.run.sizes[self.run.sizes_moved..];
        let sizes = &sizes[..sizes.len().min(rows - keys.len())];
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
    }

    /// Takes over what the open transaction did: it is durable.
    pub(crate) fn committed(&mut self) {
        let open = std::mem::take(&mut self.open);
        for (epoch, size, records) in open.grown {
            self.sizes.insert(epoch, size);
            self.records += records;
        }
        self.run.keys_moved += open.keys_moved;
        self.run.sizes_moved += open.sizes_moved;
        if self.run.is_moved() && self.records.max(self.active.len()) >= RUN_RECORDS {
            self.begin_run();
        }
    }

    fn begin_run(&mut self) {
        let mut keys: Vec<_> = self.active.drain().collect();
        keys.sort_unstable();
        self.run = Run {
            keys,
            keys_moved: 0,
            sizes: self.sizes.drain().collect(),
            sizes_moved: 0,
        };
        self.records = 0;
    }

    /// Moves everything, in one transaction of its own, so that the next start has no leaf to read.
    pub(crate) fn move_all(&mut self, conn: &Connection) -> Result<(), StoreError> {
        while !self.run.is_moved() || self.records > 0 {
            if self.run.is_moved() {
                self.begin_run();
            }
            let failed = |e: rusqlite::Error| store_error("table idempotency", &e);
            conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
            self.move_rows(conn, self.run.keys.len() + self.run.sizes.len())?;
            // A crash here or before leaves the keys to the next start.
            conn.execute_batch("COMMIT").map_err(failed)?;
            self.committed();
        }
        Ok(())
    }
}

impl Run {
    fn is_moved(&self) -> bool {
        self.keys_moved == self.keys.len() && self.sizes_moved == self.sizes.len()
    }
}

#[cfg(test)]
mod tests;
