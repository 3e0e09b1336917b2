//! Writing what the sequencer decided, inside the writer's transaction.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::Fragment;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::sequencer::{Batch, SequencedRecord};
use ruche_ledger::store::{Receipt, StoreError};
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::insert::Insert;
use crate::known::{Known, scope};
use crate::lookup::{self, HeadRow, StreamRow};
use crate::rowid::{EpochNo, RecordId};

/// Compiled texts of the inserts on the append path, and the number that the next new stream gets.
pub(crate) struct Tables {
    record: Insert,
    payload: Insert,
    stream: Insert,
    /// Loaded with the caches and dropped with them.
    next_stream_no: Option<i64>,
}

/// How the head row gets to the end of a batch.
pub(crate) enum HeadMove {
    /// The ledger is new.
    Create(LedgerId),
    /// From exactly this epoch and size.
    From(EpochNo, u64),
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            record: Insert::new("record", 4),
            payload: Insert::new("payload", 3),
            stream: Insert::new("stream", 3),
            next_stream_no: None,
        }
    }

    /// Forgets what an undone transaction may have changed.
    pub(crate) fn forget(&mut self) {
        self.next_stream_no = None;
    }

    /// Writes a batch of one ledger and moves its head. After an error the transaction (or savepoint) must be undone.
    pub(crate) fn write(
        &mut self,
        known: &mut Known<'_>,
        epoch_no: EpochNo,
        from: HeadMove,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let conn = known.conn;
        let last = batch.head.size.0 - 1;
        if RecordId::new(epoch_no, LeafIndex(last)).is_none() {
            return Err(StoreError::Unavailable {
                reason: format!("epoch {} of the ledger is full", batch.head.epoch),
            });
        }
        let record_id = |position: Position| {
            RecordId::new(epoch_no, position.index).expect("the last index of the batch has an id")
        };
        let stream_nos = self.streams(known, batch)?;
        let rows: Vec<_> = batch.records.iter().zip(stream_nos).collect();
        let insert = |e: rusqlite::Error| store_error("table record", &e);
        self.record
            .all(
                conn,
                &rows,
                |s, at, (record, stream_no): &(&SequencedRecord, i64)| {
                    s.raw_bind_parameter(at + 1, record_id(record.position).0)?;
                    s.raw_bind_parameter(at + 2, stream_no)?;
                    s.raw_bind_parameter(at + 3, record.stream_version.0.cast_signed())?;
                    s.raw_bind_parameter(at + 4, &record.leaf)
                },
            )
            .map_err(insert)?;
        let fragments = batch
            .records
            .iter()
            .flat_map(|r| r.payload.iter().enumerate().map(move |(n, f)| (r, n, f)));
        let fragments: Vec<_> = fragments.collect();
        self.payload
            .all(
                conn,
                &fragments,
                |s, at, (record, n, fragment): &(&SequencedRecord, usize, &Fragment)| {
                    s.raw_bind_parameter(at + 1, record_id(record.position).fragment(*n))?;
                    s.raw_bind_parameter(at + 2, &fragment.opening[..])?;
                    s.raw_bind_parameter(at + 3, &fragment.bytes[..])
                },
            )
            .map_err(|e| store_error("table payload", &e))?;
        move_head(known, epoch_no, from, batch)?;
        // The keys are stored with their leaves; runs get them later.
        let ledger_no = known.ledger_no;
        let keys = batch.keys.iter().map(|((layer, key), entry)| {
            let key = (scope(ledger_no, *layer), *key);
            (key, record_id(entry.first))
        });
        known
            .recent
            .wrote(epoch_no, batch.head.size.0, batch.records.len(), keys);
        Ok(())
    }

    /// Numbers of the streams of the batch's records, in their order. New streams are given one and stored.
    fn streams(&mut self, known: &mut Known<'_>, batch: &Batch) -> Result<Vec<i64>, StoreError> {
        let mut new = Vec::new();
        for (stream, version) in &batch.streams {
            let no = match known.stream(stream)? {
                Some(row) => row.no,
                None => {
                    let no = self.next_stream_no(known.conn)?;
                    new.push((stream.to_string(), no));
                    no
                }
            };
            known.streams.insert(
                (known.ledger_no, *stream),
                Some(StreamRow {
                    no,
                    version: *version,
                }),
            );
        }
        new.sort_unstable();
        self.stream
            .all(known.conn, &new, |s, at, (name, no)| {
                s.raw_bind_parameter(at + 1, known.ledger_no)?;
                s.raw_bind_parameter(at + 2, name)?;
                s.raw_bind_parameter(at + 3, no)
            })
            .map_err(|e| store_error("table stream", &e))?;
        let mut nos = Vec::with_capacity(batch.records.len());
        let mut last: Option<(StreamId, i64)> = None;
        for record in &batch.records {
            let no = match last {
                Some((stream, no)) if stream == record.stream => no,
                _ => {
                    known
                        .stream(&record.stream)?
                        .expect("was looked up or made above")
                        .no
                }
            };
            last = Some((record.stream, no));
            nos.push(no);
        }
        Ok(nos)
    }

    fn next_stream_no(&mut self, conn: &Connection) -> Result<i64, StoreError> {
        let no = match self.next_stream_no {
            Some(no) => no,
            // Every stream has a record from the commit that made it, so the records know the greatest number.
            None => conn
                .prepare_cached("SELECT coalesce(max(stream_no), 0) + 1 FROM record")
                .and_then(|mut s| s.query_row([], |row| row.get(0)))
                .map_err(|e| store_error("table record", &e))?,
        };
        self.next_stream_no = Some(no + 1);
        Ok(no)
    }
}

/// Moves the head from where the batch was built on, or not at all.
fn move_head(known: &Known<'_>, epoch_no: EpochNo, from: HeadMove, batch: &Batch) -> Result<(), StoreError> {
    let head = &batch.head;
    let failed = |e: rusqlite::Error| store_error("table head", &e);
    let hash = head.last_leaf_hash.expect("a batch that is written has a record");
    let (size, recorded_at) = (head.size.0.cast_signed(), head.last_recorded_at.0.cast_signed());
    let changed = match from {
        HeadMove::Create(ledger) => known
            .conn
            .prepare_cached("INSERT INTO head VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
            .and_then(|mut s| {
                let id = &ledger.as_bytes()[..];
                s.execute(params![
                    known.ledger_no,
                    id,
                    epoch_no.0,
                    size,
                    &hash.0[..],
                    recorded_at
                ])
            })
            .map_err(failed)?,
        HeadMove::From(from_epoch, from_size) => known
            .conn
            .prepare_cached(
                "UPDATE head SET epoch_no = ?1, size = ?2, last_leaf_hash = ?3, last_recorded_at = ?4 \
                 WHERE ledger_no = ?5 AND epoch_no = ?6 AND size = ?7",
            )
            .and_then(|mut s| {
                let from_size = from_size.cast_signed();
                let ledger_no = known.ledger_no;
                s.execute(params![
                    epoch_no.0,
                    size,
                    &hash.0[..],
                    recorded_at,
                    ledger_no,
                    from_epoch.0,
                    from_size
                ])
            })
            .map_err(failed)?,
    };
    if changed == 1 {
        return Ok(());
    }
    // The write lock is held since before the head was read, so nobody can have moved it: the file is not what it was.
    let reason = format!("{changed} rows moved to size {size}, one was expected");
    Err(StoreError::Corrupt {
        place: "table head".into(),
        reason,
    })
}

/// Writes the row of a new epoch.
pub(crate) fn insert_epoch(
    conn: &Connection,
    no: EpochNo,
    ledger_no: i64,
    epoch: Epoch,
    origin: &str,
) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO epoch VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut s| s.execute(params![no.0, ledger_no, epoch.0, origin]))
        .map_err(|e| store_error("table epoch", &e))?;
    Ok(())
}

/// Receipts of records that are stored: `count` from `first` on.
pub(crate) fn receipts(
    conn: &Connection,
    row: &HeadRow,
    first: Position,
    count: u32,
) -> Result<Vec<Receipt>, StoreError> {
    let missing = |index| StoreError::Corrupt {
        place: format!("record {}:{index}", first.epoch),
        reason: "it belongs to an append and is missing".into(),
    };
    let no = if first.epoch == row.head.epoch {
        Some(row.epoch_no)
    } else {
        lookup::epoch_no(conn, row.ledger_no, first.epoch)?
    };
    let mut receipts = Vec::with_capacity(count as usize);
    let mut position = first;
    for _ in 0..count {
        let id = no
            .and_then(|no| RecordId::new(no, position.index))
            .ok_or_else(|| missing(position.index))?;
        let bytes = lookup::leaf(conn, id)?.ok_or_else(|| missing(position.index))?;
        let leaf = Leaf::decode(&bytes).map_err(|e| StoreError::Corrupt {
            place: format!("record {position}"),
            reason: e.to_string(),
        })?;
        let leaf_hash = ruche_ledger::hash::leaf_hash(&bytes);
        receipts.push(Receipt {
            position,
            leaf_hash,
            recorded_at: leaf.recorded_at,
        });
        position = position.next();
    }
    Ok(receipts)
}

/// Stores hash tiles, each unless a wider form is there. One of the same width is replaced, so that a wrong one heals.
pub(crate) fn put_tiles(conn: &Connection, no: EpochNo, tiles: &[HashTile]) -> Result<(), StoreError> {
    let sql = "INSERT INTO tile VALUES (?1, ?2, ?3, ?4) ON CONFLICT (epoch_no, level, n) \
               DO UPDATE SET hashes = excluded.hashes WHERE length(excluded.hashes) >= length(hashes)";
    let put = || {
        let mut statement = conn.prepare_cached(sql)?;
        for tile in tiles {
            let hashes = tile.hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
            statement.execute(params![no.0, tile.level, tile.index.cast_signed(), hashes])?;
        }
        Ok(())
    };
    put().map_err(|e: rusqlite::Error| store_error("table tile", &e))
}

/// Stores the copy of a tree head.
pub(crate) fn put_tree_head(
    conn: &Connection,
    no: EpochNo,
    size: u64,
    note: &[u8],
) -> Result<(), StoreError> {
    // A sealer that was overtaken must not put an older copy over a newer one.
    let sql = "INSERT INTO tree_head VALUES (?1, ?2, ?3) ON CONFLICT (epoch_no) \
               DO UPDATE SET size = excluded.size, note = excluded.note WHERE excluded.size >= size";
    conn.prepare_cached(sql)
        .and_then(|mut s| s.execute(params![no.0, size.cast_signed(), note]))
        .map_err(|e| store_error("table tree_head", &e))?;
    Ok(())
}
