//! Reading everything once: what start-up leaves out because it takes as long as there are records.

use std::path::Path;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Epoch, Position};
use ruche_ledger::hash::Hash;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::right_edge::{HashTile, RightEdge};
use ruche_ledger::store::{Record, StoreError};
use ruche_ledger::tile::TILE_WIDTH;
use rusqlite::Connection;

use crate::error::{OpenError, store_error};
use crate::{lookup, read, schema};

/// What a full check has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records, each with its leaf, its place in the chain and its payload.
    pub records: u64,
    /// Payload fragments that are neither there nor archived. Allowed: erasing removes them.
    pub payloads_missing: u64,
}

/// Reads every record of `ledger.db` in a data folder and checks it as a read does, with its place in the chain and the
/// stored tiles, also beside a running server. `progress` is told of each page: records read, records in all. Blocks on
/// the disk.
///
/// # Errors
/// `Stored(Corrupt)` naming the first place that is not what it was; others if the file cannot be read.
pub fn check_folder(data_dir: &Path, progress: &dyn Fn(u64, u64)) -> Result<Checked, OpenError> {
    let path = data_dir.join(crate::LEDGER_FILE);
    let conn = schema::open_reader(&path)?;
    Ok(every_record(&conn, progress)?)
}

/// Checks every record as a read does (canonical leaf, index, origin, payloads against their commitments), that each
/// leaf names the hash of the one before it, and that stored tiles hold the hashes of the leaves. A tile that is missing
/// is no fault: tiles are derived, and made again.
///
/// What a server appends meanwhile is left out. Each page is a read of its own: one view for all of them would keep the
/// server's log from starting over for as long as the check takes.
pub(crate) fn every_record(conn: &Connection, progress: &dyn Fn(u64, u64)) -> Result<Checked, StoreError> {
    let mut epochs = Vec::new();
    for ledger in lookup::ledgers(conn)? {
        let row = read::existing(conn, ledger)?;
        for epoch in lookup::epochs(conn, row.ledger_no)? {
            let size = lookup::epoch_size(conn, epoch.no)?;
            epochs.push((ledger, epoch, size));
        }
    }
    let total = epochs.iter().map(|(_, _, size)| size.0).sum();
    let mut checked = Checked::default();
    for (ledger, epoch, size) in epochs {
        let mut walk = Walk::new(epoch.epoch);
        while walk.edge.size() < size {
            let from = Position {
                epoch: epoch.epoch,
                index: walk.edge.size().next_index(),
            };
            let corrupt = |reason: String| StoreError::Corrupt {
                place: format!("ledger {ledger}, record {from}"),
                reason,
            };
            let left = usize::try_from(size.0 - walk.edge.size().0).unwrap_or(usize::MAX);
            let view = conn
                .unchecked_transaction()
                .map_err(|error| store_error("read", &error))?;
            let page = read::ledger(&view, ledger, from, left.min(READ_RECORDS_MAX))
                .map_err(|error| in_ledger(ledger, error))?;
            view.finish().map_err(|error| store_error("read", &error))?;
            let of_epoch = page.iter().filter(|record| record.position.epoch == epoch.epoch);
            let before = walk.edge.size();
            for record in of_epoch {
                let missing = record
                    .payload
                    .iter()
                    .filter(|fragment| matches!(fragment, StoredFragment::Missing));
                checked.payloads_missing += missing.count() as u64;
                checked.records += 1;
                let full = walk.add(record).map_err(|error| in_ledger(ledger, error))?;
                for tile in full {
                    compare(conn, &epoch, &tile).map_err(|error| in_ledger(ledger, error))?;
                }
            }
            if walk.edge.size() == before {
                return Err(corrupt(format!("it is missing, {size} are there")));
            }
            progress(checked.records, total);
        }
        for tile in walk.edge.tiles() {
            compare(conn, &epoch, &tile).map_err(|error| in_ledger(ledger, error))?;
        }
    }
    Ok(checked)
}

/// The same fault, with the ledger it is in: positions are those of one ledger.
fn in_ledger(ledger: LedgerId, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { place, reason } => StoreError::Corrupt {
            place: format!("ledger {ledger}, {place}"),
            reason,
        },
        other => other,
    }
}

/// The way through one epoch.
struct Walk {
    epoch: Epoch,
    edge: RightEdge,
    previous: Option<Hash>,
}

impl Walk {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            edge: RightEdge::new(),
            previous: None,
        }
    }

    /// Takes the next record. Gives the tiles that it fills.
    fn add(&mut self, record: &Record) -> Result<Vec<HashTile>, StoreError> {
        let expected = self.edge.size().next_index();
        let corrupt = |reason: String| StoreError::Corrupt {
            place: format!("record {}", record.position),
            reason,
        };
        if record.position.index != expected {
            return Err(corrupt(format!(
                "record {}:{expected} comes before it",
                self.epoch
            )));
        }
        if record.leaf.previous != self.previous {
            return Err(corrupt("it does not name the hash of the leaf before it".into()));
        }
        let hash = record.leaf_hash();
        self.previous = Some(hash);
        let mut full = Vec::new();
        self.edge.append(hash, |tile| full.push(tile));
        Ok(full)
    }
}

/// Compares a tile of the leaves with the stored one. That may be narrower, as sealing left it, or as wide as the records
/// that were appended and sealed meanwhile make it; never different.
fn compare(conn: &Connection, epoch: &lookup::EpochRow, tile: &HashTile) -> Result<(), StoreError> {
    let Some(stored) = read::hash_tile(conn, epoch.no, tile.level, tile.index)? else {
        return Ok(());
    };
    let wrong = stored.hashes.iter().zip(&tile.hashes).position(|(a, b)| a != b);
    let wrong = match wrong {
        None if stored.hashes.len() > tile.hashes.len() => {
            let of_level = lookup::epoch_size(conn, epoch.no)?.0 >> (u32::from(tile.level) * 8);
            let width = of_level.saturating_sub(tile.index * u64::from(TILE_WIDTH));
            (stored.hashes.len() as u64 > width).then_some(tile.hashes.len())
        }
        wrong => wrong,
    };
    match wrong {
        None => Ok(()),
        Some(n) => Err(StoreError::Corrupt {
            place: format!(
                "tile {} of level {} of epoch {}",
                tile.index, tile.level, epoch.epoch
            ),
            reason: format!("hash {n} is not that of the records"),
        }),
    }
}
