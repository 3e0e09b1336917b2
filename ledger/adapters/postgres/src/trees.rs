//! Tiles and tree heads beside the records. Derived, so they need no lock: a wider tile or a larger head stays.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::store::StoreError;
use ruche_ledger::tree_head::SignedTreeHead;
use tokio_postgres::Client;

use crate::cache::number;
use crate::error::store_error;

/// Refuses an epoch that does not exist.
pub(crate) async fn check_epoch(client: &Client, ledger: LedgerId, epoch: Epoch) -> Result<(), StoreError> {
    let row = client
        .query_opt(
            "SELECT 1 FROM epoch WHERE ledger = $1 AND epoch = $2",
            &[&ledger.0, &i64::from(epoch.0)],
        )
        .await
        .map_err(|e| store_error("table epoch", &e))?;
    row.map(drop).ok_or(StoreError::NoSuchLedger)
}

/// Leaf hashes of an epoch, computed from the stored leaves.
pub(crate) async fn leaf_hashes(
    client: &Client,
    ledger: LedgerId,
    epoch: Epoch,
    from: LeafIndex,
    limit: usize,
) -> Result<Vec<Hash>, StoreError> {
    let Ok(first) = i64::try_from(from.0) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client
        .query(
            "SELECT index, leaf FROM record WHERE ledger = $1 AND epoch = $2 AND index >= $3 ORDER BY index LIMIT $4",
            &[&ledger.0, &i64::from(epoch.0), &first, &limit],
        )
        .await
        .map_err(|e| store_error("table record", &e))?;
    for (expected, row) in (from.0..).zip(&rows) {
        if number(row, 0) != expected {
            let reason = format!("record {epoch}:{expected} is missing");
            let place = "table record".into();
            return Err(StoreError::Corrupt { place, reason });
        }
    }
    Ok(rows.iter().map(|row| leaf_hash(row.get(1))).collect())
}

/// The stored form of a hash tile.
pub(crate) async fn hash_tile(
    client: &Client,
    ledger: LedgerId,
    epoch: Epoch,
    level: u8,
    index: u64,
) -> Result<Option<HashTile>, StoreError> {
    let row = client
        .query_opt(
            "SELECT hashes FROM tile WHERE ledger = $1 AND epoch = $2 AND level = $3 AND n = $4",
            &[
                &ledger.0,
                &i64::from(epoch.0),
                &i16::from(level),
                &index.cast_signed(),
            ],
        )
        .await
        .map_err(|e| store_error("table tile", &e))?;
    // The schema refuses other lengths; what the hashes are worth, the root tells.
    let hashes = |bytes: &[u8]| bytes.chunks_exact(32).filter_map(Hash::from_slice).collect();
    Ok(row.map(|row| HashTile {
        level,
        index,
        hashes: hashes(row.get(0)),
    }))
}

/// Stores hash tiles, each unless a wider form is there, all or none. One of the same width is replaced.
pub(crate) async fn put_tiles(
    client: &Client,
    ledger: LedgerId,
    epoch: Epoch,
    tiles: &[HashTile],
) -> Result<(), StoreError> {
    let levels: Vec<i16> = tiles.iter().map(|tile| i16::from(tile.level)).collect();
    let numbers: Vec<i64> = tiles.iter().map(|tile| tile.index.cast_signed()).collect();
    let hashes = |tile: &HashTile| tile.hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    let hashes: Vec<_> = tiles.iter().map(hashes).collect();
    client
        .execute(
            "INSERT INTO tile (ledger, epoch, level, n, hashes) \
             SELECT $1, $2, u.* FROM unnest($3::smallint[], $4::bigint[], $5::bytea[]) AS u(level, n, hashes) \
             ORDER BY level, n ON CONFLICT (ledger, epoch, level, n) DO UPDATE SET hashes = excluded.hashes \
             WHERE length(excluded.hashes) >= length(tile.hashes)",
            &[&ledger.0, &i64::from(epoch.0), &levels, &numbers, &hashes],
        )
        .await
        .map(drop)
        .map_err(|e| store_error("table tile", &e))
}

/// The stored copy of the last tree head of an epoch.
pub(crate) async fn tree_head(
    client: &Client,
    ledger: LedgerId,
    epoch: Epoch,
) -> Result<Option<SignedTreeHead>, StoreError> {
    let row = client
        .query_opt(
            "SELECT note FROM tree_head WHERE ledger = $1 AND epoch = $2",
            &[&ledger.0, &i64::from(epoch.0)],
        )
        .await
        .map_err(|e| store_error("table tree_head", &e))?;
    let parse = |row: tokio_postgres::Row| SignedTreeHead::parse(row.get::<_, &[u8]>(0));
    row.map(parse).transpose().map_err(|e| StoreError::Corrupt {
        place: "table tree_head".into(),
        reason: e.to_string(),
    })
}

/// Stores the copy of a tree head. A sealer that was overtaken does not put an older copy over a newer one.
pub(crate) async fn put_tree_head(
    client: &Client,
    ledger: LedgerId,
    epoch: Epoch,
    size: u64,
    note: &[u8],
) -> Result<(), StoreError> {
    client
        .execute(
            "INSERT INTO tree_head (ledger, epoch, size, note) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (ledger, epoch) DO UPDATE SET size = excluded.size, note = excluded.note \
             WHERE excluded.size >= tree_head.size",
            &[&ledger.0, &i64::from(epoch.0), &size.cast_signed(), &note],
        )
        .await
        .map(drop)
        .map_err(|e| store_error("table tree_head", &e))
}
