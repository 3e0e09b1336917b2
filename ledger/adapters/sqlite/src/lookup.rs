//! Looking things up: the queries that writer and readers share. Each one is an index search, whatever the size.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Micros, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::leaf::Leaf;
use ruche_ledger::store::{LedgerHead, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::store_error;
use crate::rowid::{EpochNo, RecordId};

/// The head of a ledger with its numbers in this file.
#[derive(Clone, Debug)]
pub(crate) struct HeadRow {
    pub ledger_no: i64,
    pub epoch_no: EpochNo,
    pub head: LedgerHead,
}

/// An epoch with its number in this file.
#[derive(Clone, Debug)]
pub(crate) struct EpochRow {
    pub no: EpochNo,
    pub epoch: Epoch,
    pub origin: String,
}

/// A stream with its number in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRow {
    pub no: i64,
    pub version: StreamVersion,
}

/// The head of a ledger, as it stands in the file.
pub(crate) fn head(conn: &Connection, ledger: LedgerId) -> Result<Option<HeadRow>, StoreError> {
    // LEFT: a head whose epoch is missing must be found corrupt, not taken for no ledger.
    let sql = "SELECT h.ledger_no, h.epoch_no, e.epoch, e.origin, h.size, h.last_leaf_hash, h.last_recorded_at \
               FROM head h LEFT JOIN epoch e ON e.no = h.epoch_no WHERE h.ledger = ?1";
    let of_row = |row: &Row<'_>| {
        let head = LedgerHead {
            epoch: Epoch(row.get(2)?),
            origin: row.get(3)?,
            size: TreeSize(row.get::<_, i64>(4)?.cast_unsigned()),
            last_leaf_hash: Some(Hash(row.get(5)?)),
            last_recorded_at: Micros(row.get::<_, i64>(6)?.cast_unsigned()),
        };
        Ok(HeadRow {
            ledger_no: row.get(0)?,
            epoch_no: EpochNo(row.get(1)?),
            head,
        })
    };
    let row = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([&ledger.as_bytes()[..]], of_row).optional());
    row.map_err(|e| store_error("table head", &e))
}

/// The head of a ledger, compared with the records that it speaks of. Start-up does this for every ledger, the writer
/// whenever it takes up a ledger: nothing is written on top of what contradicts itself.
pub(crate) fn checked_head(conn: &Connection, ledger: LedgerId) -> Result<Option<HeadRow>, StoreError> {
    let Some(row) = head(conn, ledger)? else {
        return Ok(None);
    };
    let corrupt = |reason: String| {
        Err(StoreError::Corrupt {
            place: format!("head of ledger {ledger}"),
            reason,
        })
    };
    let head = &row.head;
    if epochs(conn, row.ledger_no)?.last().map(|last| last.no) != Some(row.epoch_no) {
        return corrupt(format!(
            "it is in epoch {}, which is not the last one",
            head.epoch
        ));
    }
    let last = conn
        .prepare_cached("SELECT id, leaf FROM record WHERE id < ?1 ORDER BY id DESC LIMIT 1")
        .and_then(|mut s| {
            s.query_row([row.epoch_no.end()], |r| Ok((RecordId(r.get(0)?), r.get(1)?)))
                .optional()
        });
    let last: Option<(RecordId, Vec<u8>)> = last.map_err(|e| store_error("table record", &e))?;
    let Some((id, leaf)) = last.filter(|(id, _)| id.epoch() == row.epoch_no) else {
        return corrupt(format!("it has {} records, none is stored", head.size));
    };
    if id.index().0 + 1 != head.size.0 {
        return corrupt(format!(
            "it has {} records, the last one stored has index {}",
            head.size,
            id.index()
        ));
    }
    if Some(leaf_hash(&leaf)) != head.last_leaf_hash {
        return corrupt(format!(
            "the stored leaf {} does not have the hash of the last leaf",
            id.index()
        ));
    }
    let leaf = match Leaf::decode(&leaf) {
        Ok(leaf) => leaf,
        Err(error) => return corrupt(format!("leaf {}: {error}", id.index())),
    };
    if leaf.origin != head.origin || leaf.recorded_at != head.last_recorded_at || leaf.index != id.index() {
        return corrupt(format!(
            "origin, index or recorded-at of leaf {} is another",
            id.index()
        ));
    }
    // The index must know the last record too: it is what decides versions of streams.
    let stream = stream(conn, row.ledger_no, &leaf.event.stream)?;
    if stream.map(|s| s.version) != Some(leaf.stream_version) {
        return corrupt(format!(
            "stream {} is not at the version of leaf {}",
            leaf.event.stream,
            id.index()
        ));
    }
    Ok(Some(row))
}

/// All ledgers.
pub(crate) fn ledgers(conn: &Connection) -> Result<Vec<LedgerId>, StoreError> {
    let ids = conn.prepare_cached("SELECT ledger FROM head").and_then(|mut s| {
        let ids = s.query_map([], |row| row.get::<_, [u8; 16]>(0).map(LedgerId::from_bytes))?;
        ids.collect::<rusqlite::Result<Vec<_>>>()
    });
    ids.map_err(|e| store_error("table head", &e))
}

/// Epochs of a ledger, in order.
pub(crate) fn epochs(conn: &Connection, ledger_no: i64) -> Result<Vec<EpochRow>, StoreError> {
    let sql = "SELECT no, epoch, origin FROM epoch WHERE ledger_no = ?1 ORDER BY epoch";
    let rows = conn.prepare_cached(sql).and_then(|mut s| {
        let rows = s.query_map([ledger_no], |row| {
            Ok(EpochRow {
                no: EpochNo(row.get(0)?),
                epoch: Epoch(row.get(1)?),
                origin: row.get(2)?,
            })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    rows.map_err(|e| store_error("table epoch", &e))
}

/// Number of an epoch in this file.
pub(crate) fn epoch_no(
    conn: &Connection,
    ledger_no: i64,
    epoch: Epoch,
) -> Result<Option<EpochNo>, StoreError> {
    let sql = "SELECT no FROM epoch WHERE ledger_no = ?1 AND epoch = ?2";
    let no = conn.prepare_cached(sql).and_then(|mut s| {
        s.query_row(params![ledger_no, epoch.0], |row| row.get(0).map(EpochNo))
            .optional()
    });
    no.map_err(|e| store_error("table epoch", &e))
}

/// Epoch of a number in this file, if it is one of this ledger.
pub(crate) fn epoch_of(conn: &Connection, ledger_no: i64, no: EpochNo) -> Result<Option<Epoch>, StoreError> {
    let sql = "SELECT epoch FROM epoch WHERE no = ?1 AND ledger_no = ?2";
    let epoch = conn.prepare_cached(sql).and_then(|mut s| {
        s.query_row(params![no.0, ledger_no], |row| row.get(0).map(Epoch))
            .optional()
    });
    epoch.map_err(|e| store_error("table epoch", &e))
}

/// Records that an epoch has stored.
pub(crate) fn epoch_size(conn: &Connection, no: EpochNo) -> Result<TreeSize, StoreError> {
    let last = conn
        .prepare_cached("SELECT max(id) FROM record WHERE id < ?1")
        .and_then(|mut s| s.query_row([no.end()], |row| row.get::<_, Option<i64>>(0)));
    let last = last.map_err(|e| store_error("table record", &e))?.map(RecordId);
    Ok(last
        .filter(|id| id.epoch() == no)
        .map_or(TreeSize(0), |id| TreeSize(id.index().0 + 1)))
}

/// A stream and the version of its last event.
pub(crate) fn stream(
    conn: &Connection,
    ledger_no: i64,
    stream: &StreamId,
) -> Result<Option<StreamRow>, StoreError> {
    let sql = "SELECT s.no, (SELECT max(r.stream_version) FROM record r WHERE r.stream_no = s.no) \
               FROM stream s WHERE s.ledger_no = ?1 AND s.name = ?2";
    let of_row = |row: &Row<'_>| {
        let version = StreamVersion(row.get::<_, i64>(1)?.cast_unsigned());
        Ok(StreamRow {
            no: row.get(0)?,
            version,
        })
    };
    let row = conn.prepare_cached(sql).and_then(|mut s| {
        s.query_row(params![ledger_no, stream.to_string()], of_row)
            .optional()
    });
    row.map_err(|e| store_error("table stream", &e))
}

/// The stored leaf of a record.
pub(crate) fn leaf(conn: &Connection, id: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
    let leaf = conn
        .prepare_cached("SELECT leaf FROM record WHERE id = ?1")
        .and_then(|mut s| s.query_row([id.0], |row| row.get(0)).optional());
    leaf.map_err(|e| store_error("table record", &e))
}

/// Leaf hashes of an epoch, computed from the stored leaves.
pub(crate) fn leaf_hashes(
    conn: &Connection,
    no: EpochNo,
    from: LeafIndex,
    limit: usize,
) -> Result<Vec<Hash>, StoreError> {
    let Some(first) = RecordId::new(no, from) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT id, leaf FROM record WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
    let rows = conn.prepare_cached(sql).and_then(|mut s| {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = s.query_map(params![first.0, no.end(), limit], |row| {
            Ok((row.get::<_, i64>(0)?, leaf_hash(row.get_ref(1)?.as_blob()?)))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    let rows = rows.map_err(|e| store_error("table record", &e))?;
    for (n, (id, _)) in rows.iter().enumerate() {
        if *id != first.0 + n as i64 {
            let reason = format!("record {} of the epoch is missing", from.0 + n as u64);
            return Err(StoreError::Corrupt {
                place: "table record".into(),
                reason,
            });
        }
    }
    Ok(rows.into_iter().map(|(_, hash)| hash).collect())
}
