//! Records as they are read back, checked before anybody sees them.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{READ_BYTES_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::archive::{self, ArchivedRange};
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::store::{EpochInfo, Record, StoreError};
use ruche_ledger::tree_head::SignedTreeHead;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows, params};

use crate::error::store_error;
use crate::lookup::{self, EpochRow, HeadRow};
use crate::rowid::{EpochNo, RecordId};

/// The head of a ledger that must exist.
pub(crate) fn existing(conn: &Connection, ledger: LedgerId) -> Result<HeadRow, StoreError> {
    lookup::head(conn, ledger)?.ok_or(StoreError::NoSuchLedger)
}

/// Epochs with their sizes; empty if there is no such ledger.
pub(crate) fn epochs(conn: &Connection, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
    let Some(row) = lookup::head(conn, ledger)? else {
        return Ok(Vec::new());
    };
    let mut infos = Vec::new();
    for epoch in lookup::epochs(conn, row.ledger_no)? {
        let open = epoch.no == row.epoch_no;
        let size = if open {
            row.head.size
        } else {
            lookup::epoch_size(conn, epoch.no)?
        };
        infos.push(EpochInfo {
            epoch: epoch.epoch,
            origin: epoch.origin,
            size,
        });
    }
    Ok(infos)
}

/// Records of a ledger from a position on, running on into the next epochs.
pub(crate) fn ledger(
    conn: &Connection,
    ledger: LedgerId,
    from: Position,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let row = existing(conn, ledger)?;
    let mut page = Page::new(limit);
    for epoch in lookup::epochs(conn, row.ledger_no)? {
        if epoch.epoch < from.epoch {
            continue;
        }
        let index = if epoch.epoch == from.epoch {
            from.index
        } else {
            LeafIndex(0)
        };
        page.epoch(conn, &epoch, index)?;
        if page.is_full() {
            break;
        }
    }
    Ok(page.records)
}

/// Records of a stream from a version on.
pub(crate) fn stream(
    conn: &Connection,
    ledger: LedgerId,
    stream: StreamId,
    from: StreamVersion,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let row = existing(conn, ledger)?;
    let Some(known) = lookup::stream(conn, row.ledger_no, &stream)? else {
        return Ok(Vec::new());
    };
    let Ok(first) = i64::try_from(from.0) else {
        return Ok(Vec::new());
    };
    let epochs = lookup::epochs(conn, row.ledger_no)?;
    let mut page = Page::new(limit);
    let failed = |e: rusqlite::Error| store_error("table record", &e);
    let sql =
        "SELECT id, leaf FROM record WHERE stream_no = ?1 AND stream_version >= ?2 ORDER BY stream_version";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params![known.no, first]).map_err(failed)?;
    let mut version = from;
    while !page.is_full()
        && let Some(row) = rows.next().map_err(failed)?
    {
        let id = RecordId(row.get(0).map_err(failed)?);
        let leaf: Vec<u8> = row.get(1).map_err(failed)?;
        let epoch = epochs
            .iter()
            .find(|epoch| epoch.no == id.epoch())
            .ok_or_else(|| StoreError::Corrupt {
                place: format!("stream {stream}"),
                reason: format!("record id {} is of another ledger", id.0),
            })?;
        let mut payloads = payload_statement(conn)?;
        let mut payloads = Payloads::query(&mut payloads, id, RecordId(id.0 + 1).fragment(0))?;
        let record = page.push(conn, epoch, id, leaf, &mut payloads)?;
        if record.leaf.event.stream != stream || record.leaf.stream_version != version {
            let found = format!(
                "{} version {}",
                record.leaf.event.stream, record.leaf.stream_version
            );
            let reason = format!(
                "version {version} leads to {}, a record of {found}",
                record.position
            );
            return Err(StoreError::Corrupt {
                place: format!("stream {stream}"),
                reason,
            });
        }
        version = version.next();
    }
    Ok(page.records)
}

/// Records that were read so far, within the bounds of one read.
struct Page {
    limit: usize,
    bytes: usize,
    records: Vec<Record>,
    /// What is archived of the epoch that was asked for last.
    archived: Option<(EpochNo, Vec<Arc<ArchivedRange>>)>,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(READ_RECORDS_MAX),
            bytes: 0,
            records: Vec::new(),
            archived: None,
        }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= READ_BYTES_MAX
    }

    /// Adds the records of an epoch from `index` on.
    fn epoch(&mut self, conn: &Connection, epoch: &EpochRow, index: LeafIndex) -> Result<(), StoreError> {
        let Some(first) = RecordId::new(epoch.no, index) else {
            return Ok(());
        };
        let failed = |e: rusqlite::Error| store_error("table record", &e);
        let sql = "SELECT id, leaf FROM record WHERE id >= ?1 AND id < ?2 ORDER BY id";
        let mut statement = conn.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement
            .query(params![first.0, epoch.no.end()])
            .map_err(failed)?;
        // Both tables are walked side by side, in the same order.
        let mut payloads = payload_statement(conn)?;
        let mut payloads = Payloads::query(&mut payloads, first, RecordId(epoch.no.end()).fragment(0))?;
        let mut expected = first;
        while !self.is_full()
            && let Some(row) = rows.next().map_err(failed)?
        {
            let id = RecordId(row.get(0).map_err(failed)?);
            if id != expected {
                let position = Position {
                    epoch: epoch.epoch,
                    index: expected.index(),
                };
                let reason = "it is missing and later ones are there".into();
                return Err(StoreError::Corrupt {
                    place: format!("record {position}"),
                    reason,
                });
            }
            expected = RecordId(id.0 + 1);
            let leaf = row.get(1).map_err(failed)?;
            self.push(conn, epoch, id, leaf, &mut payloads)?;
        }
        Ok(())
    }

    /// Adds a record, if it is what it says.
    fn push(
        &mut self,
        conn: &Connection,
        epoch: &EpochRow,
        id: RecordId,
        leaf_bytes: Vec<u8>,
        payloads: &mut Payloads<'_>,
    ) -> Result<&Record, StoreError> {
        let position = Position {
            epoch: epoch.epoch,
            index: id.index(),
        };
        let corrupt = |reason: String| StoreError::Corrupt {
            place: format!("record {position}"),
            reason,
        };
        let leaf = Leaf::decode(&leaf_bytes).map_err(|e| corrupt(e.to_string()))?;
        let fragments = leaf.payload.len();
        let mut payload = payloads.of(id, fragments)?;
        if payload.contains(&StoredFragment::Missing) {
            let category = leaf.event.stream.category;
            archive::tell_archived(position, category, &mut payload, self.archived_of(conn, epoch)?);
        }
        // Whoever has the archive at hand fills in what is there, so it counts as well.
        let stored = leaf
            .payload
            .iter()
            .zip(&payload)
            .map(|(commitment, fragment)| match fragment {
                StoredFragment::Missing => 0,
                StoredFragment::Present { .. } | StoredFragment::Archived(_) => commitment.stored_length,
            });
        self.bytes += leaf_bytes.len() + usize::try_from(stored.sum::<u64>()).unwrap_or(usize::MAX / 2);
        let record = Record::from_stored(position, leaf_bytes, payload)?;
        if record.leaf.origin != epoch.origin {
            return Err(corrupt(format!(
                "its origin is {}, not {}",
                record.leaf.origin, epoch.origin
            )));
        }
        self.records.push(record);
        Ok(self.records.last().expect("was pushed"))
    }

    /// What is archived of an epoch. Asked for where a payload is not there, which is seldom.
    fn archived_of(
        &mut self,
        conn: &Connection,
        epoch: &EpochRow,
    ) -> Result<&[Arc<ArchivedRange>], StoreError> {
        if self.archived.as_ref().is_none_or(|(no, _)| *no != epoch.no) {
            self.archived = Some((epoch.no, crate::archive::of_epoch(conn, epoch)?));
        }
        Ok(self.archived.as_ref().map_or(&[], |(_, ranges)| ranges))
    }
}

fn payload_statement(conn: &Connection) -> Result<CachedStatement<'_>, StoreError> {
    conn.prepare_cached("SELECT id, opening, bytes FROM payload WHERE id >= ?1 AND id < ?2 ORDER BY id")
        .map_err(|e| store_error("table payload", &e))
}

/// Payload fragments in the order of their records, one row ahead.
struct Payloads<'s> {
    rows: Rows<'s>,
    next: Option<(i64, StoredFragment)>,
}

impl<'s> Payloads<'s> {
    /// Fragments from those of `first` on, up to the id `end`.
    fn query(statement: &'s mut CachedStatement<'_>, first: RecordId, end: i64) -> Result<Self, StoreError> {
        let rows = statement
            .query(params![first.fragment(0), end])
            .map_err(|e| store_error("table payload", &e))?;
        let mut payloads = Self { rows, next: None };
        payloads.advance()?;
        Ok(payloads)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        let mut row = || {
            let Some(row) = self.rows.next()? else {
                return Ok(None);
            };
            Ok(Some((
                row.get(0)?,
                StoredFragment::Present {
                    opening: row.get(1)?,
                    bytes: row.get(2)?,
                },
            )))
        };
        self.next = row().map_err(|e: rusqlite::Error| store_error("table payload", &e))?;
        Ok(())
    }

    /// The fragments of a record that commits to `count`; those that are not there are missing, which is allowed.
    fn of(&mut self, id: RecordId, count: usize) -> Result<Vec<StoredFragment>, StoreError> {
        let mut payload = vec![StoredFragment::Missing; count];
        while let Some((fragment_id, _)) = &self.next {
            let (of, n) = RecordId::of_fragment(*fragment_id);
            if of > id {
                break;
            }
            // What stands between records belongs to no record that is read here.
            if of == id {
                let place = payload.get_mut(n).ok_or_else(|| StoreError::Corrupt {
                    place: format!("table payload, id {fragment_id}"),
                    reason: format!("fragment {n} of a record that commits to {count}"),
                })?;
                if let Some((_, fragment)) = self.next.take() {
                    *place = fragment;
                }
            }
            self.advance()?;
        }
        Ok(payload)
    }
}

/// Number of an epoch in the file, of a ledger that must exist.
pub(crate) fn epoch_no(conn: &Connection, ledger: LedgerId, epoch: Epoch) -> Result<EpochNo, StoreError> {
    let row = existing(conn, ledger)?;
    lookup::epoch_no(conn, row.ledger_no, epoch)?.ok_or(StoreError::NoSuchLedger)
}

/// The stored form of a hash tile.
pub(crate) fn hash_tile(
    conn: &Connection,
    no: EpochNo,
    level: u8,
    index: u64,
) -> Result<Option<HashTile>, StoreError> {
    let sql = "SELECT hashes FROM tile WHERE epoch_no = ?1 AND level = ?2 AND n = ?3";
    let bytes: Option<Vec<u8>> = conn
        .prepare_cached(sql)
        .and_then(|mut s| {
            s.query_row(params![no.0, level, index.cast_signed()], |row| row.get(0))
                .optional()
        })
        .map_err(|e| store_error("table tile", &e))?;
    Ok(bytes.map(|bytes| {
        // The schema refuses other lengths; what the hashes are worth, the root tells.
        let hashes = bytes.chunks_exact(32).filter_map(Hash::from_slice).collect();
        HashTile { level, index, hashes }
    }))
}

/// The stored copy of the last tree head of an epoch.
pub(crate) fn tree_head(conn: &Connection, no: EpochNo) -> Result<Option<SignedTreeHead>, StoreError> {
    let note: Option<Vec<u8>> = conn
        .prepare_cached("SELECT note FROM tree_head WHERE epoch_no = ?1")
        .and_then(|mut s| s.query_row([no.0], |row| row.get(0)).optional())
        .map_err(|e| store_error("table tree_head", &e))?;
    let Some(note) = note else { return Ok(None) };
    SignedTreeHead::parse(&note)
        .map(Some)
        .map_err(|e| StoreError::Corrupt {
            place: "table tree_head".into(),
            reason: e.to_string(),
        })
}
