//! Bare inserts: what SQLite makes of the same rows without what makes them a ledger. The limit that benches compare with.
//!
//! A bare insert has the same tables, the same leaf and payload bytes and the same number of events in each transaction,
//! and no positions, versions, keys looked up, hashes, queue or answers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::Record;
use rusqlite::{Connection, params};

use crate::error::OpenError;
use crate::schema::MIGRATIONS;

/// Rows of one statement: the better of the two counts.
const ROWS: [u64; 2] = [1, 64];
/// Records of one stream, as far as its index is concerned.
const STREAM_RECORDS: u64 = 200;
/// Page cache of the connection, KiB.
const CACHE_KIB: i64 = 32 * 1_024;
/// Pages of the log after which it is copied into the file.
const CHECKPOINT_PAGES: i64 = 4_096;

/// What is inserted, and how.
#[derive(Clone, Copy, Debug)]
pub struct BareInserts<'a> {
    /// Stored records whose leaves and payloads are inserted again and again.
    pub records: &'a [Record],
    /// Events of one transaction.
    pub group: u64,
    /// Events of one append; each append has one idempotency key.
    pub batch: u64,
    /// Whether the keys are inserted into their table, too.
    pub keys: bool,
    /// When it is enough, for each of two ways to insert.
    pub until: Until,
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many events.
    Events(u64),
    /// After the transaction in which this time is over.
    Time(Duration),
}

/// What came of it, in the better of two ways: one row, or 64 rows in a statement.
#[derive(Clone, Copy, Debug)]
pub struct BareFigures {
    /// Events that were inserted.
    pub events: u64,
    /// In which time.
    pub took: Duration,
}

impl BareFigures {
    /// Events in a second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }
}

impl BareInserts<'_> {
    /// Inserts into a new file with this name, which is removed afterwards. Blocks on the disk.
    ///
    /// # Errors
    /// `Sqlite` with what was tried. There must be records, and they must have their payloads: else nothing is inserted
    /// and the figures have no events.
    pub fn run(&self, path: &Path) -> Result<BareFigures, OpenError> {
        let mut best: Option<BareFigures> = None;
        for rows in ROWS {
            let file = BareFile(path.with_extension(format!("{rows}.db")));
            // A process that was killed at this point before has left one.
            file.remove();
            let figures = self.inserts(&file.0, rows).map_err(|source| OpenError::Sqlite {
                doing: "insert barely into",
                path: file.0.clone(),
                source,
            })?;
            best = match best {
                Some(best) if best.rate() >= figures.rate() => Some(best),
                _ => Some(figures),
            };
        }
        Ok(best.unwrap_or(BareFigures {
            events: 0,
            took: Duration::ZERO,
        }))
    }

    fn inserts(&self, path: &Path, rows: u64) -> rusqlite::Result<BareFigures> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        conn.set_prepared_statement_cache_capacity(16);
        conn.execute_batch(MIGRATIONS[0])?;
        conn.execute(
            "INSERT INTO head VALUES (1, zeroblob(16), 1, 1, zeroblob(32), 0)",
            [],
        )?;
        let has_rows = !self.records.is_empty();
        let (started, mut next) = (Instant::now(), 1);
        while has_rows && !self.is_enough(next - 1, started.elapsed()) {
            let last = next + self.group.max(1);
            self.transaction(&conn, next, last, rows)?;
            next = last;
        }
        Ok(BareFigures {
            events: next - 1,
            took: started.elapsed(),
        })
    }

    fn is_enough(&self, events: u64, elapsed: Duration) -> bool {
        match self.until {
            Until::Events(enough) => events >= enough,
            Until::Time(enough) => elapsed >= enough,
        }
    }

    /// The events from `next` up to `last`, which is not among them.
    fn transaction(&self, conn: &Connection, next: u64, last: u64, rows: u64) -> rusqlite::Result<()> {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut at = next;
        while at < last {
            let now = if last - at >= rows { rows } else { 1 };
            self.rows(conn, at, now)?;
            at += now;
        }
        let mut keys = conn.prepare_cached("INSERT INTO idempotency VALUES (4, ?, ?)")?;
        let batch = self.batch.max(1);
        for at in (next..last).filter(|at| self.keys && at % batch == 0) {
            keys.execute(params![&key(at)[..], at.cast_signed()])?;
        }
        conn.prepare_cached("UPDATE head SET size = ? WHERE ledger_no = 1")?
            .execute([last.cast_signed()])?;
        conn.execute_batch("COMMIT")
    }

    fn rows(&self, conn: &Connection, at: u64, rows: u64) -> rusqlite::Result<()> {
        let values = |row: &str| vec![row; rows as usize].join(",");
        let (records, payloads) = (values("(?,?,?,?)"), values("(?,?,?)"));
        let mut records = conn.prepare_cached(&format!("INSERT INTO record VALUES {records}"))?;
        let mut payloads = conn.prepare_cached(&format!("INSERT INTO payload VALUES {payloads}"))?;
        for n in 0..rows {
            let (index, base) = (at + n, n as usize);
            let record = &self.records[index as usize % self.records.len()];
            let (opening, bytes) = match record.payload.first() {
                Some(StoredFragment::Present { opening, bytes }) => (opening, bytes.as_slice()),
                _ => (&[0; 32], &[][..]),
            };
            records.raw_bind_parameter(base * 4 + 1, index.cast_signed())?;
            records.raw_bind_parameter(base * 4 + 2, (index / STREAM_RECORDS).cast_signed())?;
            records.raw_bind_parameter(base * 4 + 3, (index % STREAM_RECORDS).cast_signed())?;
            records.raw_bind_parameter(base * 4 + 4, &record.leaf_bytes)?;
            payloads.raw_bind_parameter(base * 3 + 1, index.cast_signed() * 4)?;
            payloads.raw_bind_parameter(base * 3 + 2, &opening[..])?;
            payloads.raw_bind_parameter(base * 3 + 3, bytes)?;
        }
        records.raw_execute()?;
        payloads.raw_execute()?;
        Ok(())
    }
}

/// A key that is random as far as a B-tree can tell: SplitMix64 of the number of its record.
fn key(at: u64) -> [u8; 32] {
    let mut key = [0; 32];
    for (n, chunk) in key.chunks_mut(8).enumerate() {
        let mut z = (at * 4 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    key
}

/// A file of SQLite that goes when it is not needed any more.
struct BareFile(PathBuf);

impl BareFile {
    fn remove(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = self.0.clone().into_os_string();
            name.push(suffix);
            // Mostly not there: the last connection removes the log. What stays, stays in a folder of benches.
            let _ = std::fs::remove_file(name);
        }
    }
}

impl Drop for BareFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ruche_domain::numbers::{LeafIndex, Micros, Position, StreamVersion};
    use ruche_ledger::leaf::{AppendRange, Leaf};
    use ruche_ledger::testing::Author;

    use super::*;

    fn record() -> Record {
        let author = Author::new(1);
        let event = author.event(author.stream(1), "{}");
        let leaf = Leaf {
            origin: "test.example/1/e1".to_owned(),
            index: LeafIndex(1),
            previous: None,
            append: AppendRange {
                first: LeafIndex(1),
                count: 1,
            },
            event: event.event,
            stream_version: StreamVersion(0),
            recorded_at: Micros(1),
            keys: Vec::new(),
            payload: event.payload.iter().map(|f| f.commitment.clone()).collect(),
        };
        let payload = event.payload.into_iter().map(|f| StoredFragment::Present {
            opening: f.opening,
            bytes: f.bytes.into(),
        });
        Record {
            position: Position::new(1, 1),
            leaf_bytes: leaf.encode(),
            leaf,
            payload: payload.collect(),
        }
    }

    #[test]
    fn so_many_events_are_inserted_and_the_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let records = [record()];
        let inserts = BareInserts {
            records: &records,
            group: 70,
            batch: 10,
            keys: true,
            until: Until::Events(140),
        };
        let figures = inserts.run(&dir.path().join("bare.db")).unwrap();
        assert_eq!(figures.events, 140);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_transaction_has_its_rows_and_a_key_for_each_append() {
        let dir = tempfile::tempdir().unwrap();
        let records = [record()];
        let mut inserts = BareInserts {
            records: &records,
            group: 70,
            batch: 10,
            keys: true,
            until: Until::Events(70),
        };
        for (name, keys, expected) in [("with", true, 7), ("without", false, 0)] {
            inserts.keys = keys;
            let path = dir.path().join(name);
            inserts.inserts(&path, 64).unwrap();
            let conn = Connection::open(path).unwrap();
            let count = |table: &str| -> i64 {
                conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                    .unwrap()
            };
            assert_eq!(
                [count("record"), count("payload"), count("idempotency")],
                [70, 70, expected]
            );
        }
    }

    #[test]
    fn without_records_nothing_is_inserted() {
        let dir = tempfile::tempdir().unwrap();
        let inserts = BareInserts {
            records: &[],
            group: 1,
            batch: 1,
            keys: false,
            until: Until::Events(10),
        };
        assert_eq!(inserts.run(&dir.path().join("bare.db")).unwrap().events, 0);
    }

    #[test]
    fn keys_differ() {
        let keys: HashSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
    }
}
