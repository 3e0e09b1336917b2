//! Tiles and tree heads beside the records. Derived, so they need no lock: a wider tile or a larger head stays. They are
//! made from leaves that were held until they were durable, so they are not held again.

use futures_util::future::try_join;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position};
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::store::StoreError;
use ruche_ledger::tree_head::SignedTreeHead;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use crate::cache::number;
use crate::error::store_error;
use crate::reading::Reader;
use crate::served::ServerId;

async fn epoch_row(client: &Client, ledger: LedgerId, epoch: i64) -> Result<Option<Row>, Error> {
    client
        .query_typed_opt(
            "SELECT 1 FROM epoch WHERE ledger = $1 AND epoch = $2",
            &[(&ledger.0, Type::UUID), (&epoch, Type::INT8)],
        )
        .await
}

/// Refuses an epoch that does not exist.
pub(crate) async fn check_epoch(client: &Client, ledger: LedgerId, epoch: Epoch) -> Result<(), StoreError> {
    let row = epoch_row(client, ledger, i64::from(epoch.0)).await;
    let row = row.map_err(|e| store_error("table epoch", &e))?;
    row.map(drop).ok_or(StoreError::NoSuchLedger)
}

impl Reader {
    /// Leaf hashes of an epoch, computed from the stored leaves.
    pub(crate) async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError> {
        let number_of_epoch = i64::from(epoch.0);
        let first = i64::try_from(from.0).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters = [
            (&ledger.0 as _, Type::UUID),
            (&number_of_epoch as _, Type::INT8),
            (&first as _, Type::INT8),
            (&limit as _, Type::INT8),
        ];
        let (server, rows) = self
            .of_epoch(
                ledger,
                epoch,
                "table record",
                "SELECT index, leaf FROM record WHERE ledger = $1 AND epoch = $2 AND index >= $3 ORDER BY index LIMIT $4",
                &parameters,
            )
            .await?;
        for (expected, row) in (from.0..).zip(&rows) {
            if number(row, 0) != expected {
                let reason = format!("record {epoch}:{expected} is missing");
                let place = "table record".into();
                return Err(StoreError::Corrupt { place, reason });
            }
        }
        // What is made of them is signed.
        let last = rows.last().map(|row| Position::new(epoch.0, number(row, 0)));
        self.hold(server, ledger, last).await?;
        Ok(rows.iter().map(|row| leaf_hash(row.get(1))).collect())
    }

    /// The stored form of a hash tile.
    pub(crate) async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        let (number, n, stored_level) = (i64::from(epoch.0), index.cast_signed(), i16::from(level));
        let parameters = [
            (&ledger.0 as _, Type::UUID),
            (&number as _, Type::INT8),
            (&stored_level as _, Type::INT2),
            (&n as _, Type::INT8),
        ];
        let (_, rows) = self
            .of_epoch(
                ledger,
                epoch,
                "table tile",
                "SELECT hashes FROM tile WHERE ledger = $1 AND epoch = $2 AND level = $3 AND n = $4",
                &parameters,
            )
            .await?;
        // The schema refuses other lengths; what the hashes are worth, the root tells.
        let hashes = |bytes: &[u8]| bytes.chunks_exact(32).filter_map(Hash::from_slice).collect();
        Ok(rows.first().map(|row| HashTile {
            level,
            index,
            hashes: hashes(row.get(0)),
        }))
    }

    /// The stored copy of the last tree head of an epoch.
    pub(crate) async fn tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
    ) -> Result<Option<SignedTreeHead>, StoreError> {
        let number = i64::from(epoch.0);
        let parameters = [(&ledger.0 as _, Type::UUID), (&number as _, Type::INT8)];
        let query = "SELECT note FROM tree_head WHERE ledger = $1 AND epoch = $2";
        let (_, rows) = self
            .of_epoch(ledger, epoch, "table tree_head", query, &parameters)
            .await?;
        let parse = |row: &Row| SignedTreeHead::parse(row.get::<_, &[u8]>(0));
        let parsed = rows.first().map(parse).transpose();
        parsed.map_err(|e| StoreError::Corrupt {
            place: "table tree_head".into(),
            reason: e.to_string(),
        })
    }

    /// Rows of an epoch that must exist, and the server that they were read on.
    async fn of_epoch(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        place: &str,
        query: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<(Option<ServerId>, Vec<Row>), StoreError> {
        let reading = self.of(ledger).await?;
        let client = reading.client();
        let both = try_join(
            epoch_row(client, ledger, i64::from(epoch.0)),
            client.query_typed(query, parameters),
        );
        let (there, rows) = reading.run(place, both).await?;
        let server = reading.let_go();
        there.map(|_| (server, rows)).ok_or(StoreError::NoSuchLedger)
    }
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
        .execute_typed(
            "INSERT INTO tile (ledger, epoch, level, n, hashes) \
             SELECT $1, $2, u.* FROM unnest($3, $4, $5) AS u(level, n, hashes) \
             ORDER BY level, n ON CONFLICT (ledger, epoch, level, n) DO UPDATE SET hashes = excluded.hashes \
             WHERE length(excluded.hashes) >= length(tile.hashes)",
            &[
                (&ledger.0, Type::UUID),
                (&i64::from(epoch.0), Type::INT8),
                (&levels, Type::INT2_ARRAY),
                (&numbers, Type::INT8_ARRAY),
                (&hashes, Type::BYTEA_ARRAY),
            ],
        )
        .await
        .map(drop)
        .map_err(|e| store_error("table tile", &e))
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
        .execute_typed(
            "INSERT INTO tree_head (ledger, epoch, size, note) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (ledger, epoch) DO UPDATE SET size = excluded.size, note = excluded.note \
             WHERE excluded.size >= tree_head.size",
            &[
                (&ledger.0, Type::UUID),
                (&i64::from(epoch.0), Type::INT8),
                (&size.cast_signed(), Type::INT8),
                (&note, Type::BYTEA),
            ],
        )
        .await
        .map(drop)
        .map_err(|e| store_error("table tree_head", &e))
}
