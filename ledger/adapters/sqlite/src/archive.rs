//! Payloads that leave the file for an archive, and come back.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::archive::{ArchivedRange, Attach, Detach, another_archive, not_all_back, noted_otherwise};
use ruche_ledger::hash::Hash;
use ruche_ledger::store::StoreError;
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::lookup::{self, EpochRow};
use crate::rowid::{EpochNo, RecordId};

/// What the writer does about archives.
pub(crate) enum ArchiveWork {
    /// Takes payloads out and notes where they are.
    Detach(Detach),
    /// Puts payloads back.
    Attach(Epoch, Vec<Attach>),
    /// Takes the note away, if so many fragments are there.
    Forget(ArchivedRange, u64),
}

impl ArchiveWork {
    /// Which epoch it is about.
    pub(crate) fn epoch(&self) -> Epoch {
        match self {
            Self::Detach(piece) => piece.range.epoch,
            Self::Attach(epoch, _) => *epoch,
            Self::Forget(range, _) => range.epoch,
        }
    }

    /// Bytes that it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Detach(piece) => piece.records.len() * size_of::<LeafIndex>(),
            Self::Attach(_, payloads) => payloads.iter().map(|payload| payload.bytes.len()).sum(),
            Self::Forget(..) => 0,
        }
    }
}

/// Does it, inside the writer's transaction. Nothing was written of what is refused.
pub(crate) fn write(conn: &Connection, no: EpochNo, work: &ArchiveWork) -> Result<(), StoreError> {
    match work {
        ArchiveWork::Detach(piece) => detach(conn, no, piece),
        ArchiveWork::Attach(_, payloads) => attach(conn, no, payloads),
        ArchiveWork::Forget(range, fragments) => forget(conn, no, range, *fragments),
    }
}

fn detach(conn: &Connection, no: EpochNo, piece: &Detach) -> Result<(), StoreError> {
    let range = &piece.range;
    let (first, behind) = (range.from.0.cast_signed(), range.to.0.cast_signed());
    let noted = conn
        .prepare_cached(
            "INSERT INTO archived_range VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (epoch_no, first) \
             DO UPDATE SET behind = max(behind, excluded.behind) \
             WHERE archive = excluded.archive AND digest = excluded.digest",
        )
        .and_then(|mut s| s.execute(params![no.0, first, behind, range.archive, &range.digest.0[..]]))
        .map_err(|e| store_error("table archived_range", &e))?;
    if noted == 0 {
        return Err(another_archive(range));
    }
    let take = || {
        let mut statement = conn.prepare_cached("DELETE FROM payload WHERE id >= ?1 AND id < ?2")?;
        for index in &piece.records {
            // The caller has read the record, so its index has an id.
            let Some(id) = RecordId::new(no, *index) else {
                continue;
            };
            statement.execute([id.fragment(0), RecordId(id.0 + 1).fragment(0)])?;
        }
        Ok(())
    };
    take().map_err(|e: rusqlite::Error| store_error("table payload", &e))
}

fn attach(conn: &Connection, no: EpochNo, payloads: &[Attach]) -> Result<(), StoreError> {
    let put = || {
        let sql = "INSERT INTO payload VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
        let mut statement = conn.prepare_cached(sql)?;
        for payload in payloads {
            let Some(id) = RecordId::new(no, payload.index) else {
                continue;
            };
            let id = id.fragment(usize::from(payload.fragment));
            statement.execute(params![id, &payload.opening[..], payload.bytes])?;
        }
        Ok(())
    };
    put().map_err(|e: rusqlite::Error| store_error("table payload", &e))
}

fn forget(conn: &Connection, no: EpochNo, range: &ArchivedRange, fragments: u64) -> Result<(), StoreError> {
    let ids = RecordId::new(no, range.from).zip(RecordId::new(no, range.to));
    let Some((first, behind)) = ids else {
        return Err(not_all_back(range, 0, fragments));
    };
    let found: i64 = conn
        .prepare_cached("SELECT count(*) FROM payload WHERE id >= ?1 AND id < ?2")
        .and_then(|mut s| s.query_row([first.fragment(0), behind.fragment(0)], |row| row.get(0)))
        .map_err(|e| store_error("table payload", &e))?;
    if found.cast_unsigned() != fragments {
        return Err(not_all_back(range, found.cast_unsigned(), fragments));
    }
    let (first, behind) = (range.from.0.cast_signed(), range.to.0.cast_signed());
    // What was counted is this range. Of a longer one, payloads behind it may be in the archive alone.
    let forgotten = conn
        .prepare_cached(
            "DELETE FROM archived_range \
             WHERE epoch_no = ?1 AND first = ?2 AND behind = ?3 AND archive = ?4 AND digest = ?5",
        )
        .and_then(|mut s| s.execute(params![no.0, first, behind, range.archive, &range.digest.0[..]]))
        .map_err(|e| store_error("table archived_range", &e))?;
    match forgotten {
        0 => Err(noted_otherwise(range)),
        _ => Ok(()),
    }
}

/// What is archived of a ledger, in order. Empty if there is no such ledger.
pub(crate) fn of_ledger(conn: &Connection, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError> {
    let Some(row) = lookup::head(conn, ledger)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for epoch in lookup::epochs(conn, row.ledger_no)? {
        all.extend(
            of_epoch(conn, &epoch)?
                .iter()
                .map(|range| ArchivedRange::clone(range)),
        );
    }
    Ok(all)
}

/// What is archived of an epoch, in order.
pub(crate) fn of_epoch(conn: &Connection, epoch: &EpochRow) -> Result<Vec<Arc<ArchivedRange>>, StoreError> {
    // A backup of an older version is read as it is.
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'archived_range')";
    let is_there: bool = conn
        .prepare_cached(is_there)
        .and_then(|mut s| s.query_row([], |row| row.get(0)))
        .map_err(|e| store_error("the schema", &e))?;
    if !is_there {
        return Ok(Vec::new());
    }
    let index = |number: i64| LeafIndex(number.cast_unsigned());
    let read = || {
        let sql =
            "SELECT first, behind, archive, digest FROM archived_range WHERE epoch_no = ?1 ORDER BY first";
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map([epoch.no.0], |row| {
            Ok(Arc::new(ArchivedRange {
                epoch: epoch.epoch,
                from: index(row.get(0)?),
                to: index(row.get(1)?),
                archive: row.get(2)?,
                digest: Hash(row.get(3)?),
            }))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|e| store_error("table archived_range", &e))
}
