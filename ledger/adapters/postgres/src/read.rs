//! Records as they are read back, checked before anybody sees them.

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{READ_BYTES_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{EpochInfo, LedgerHead, Receipt, Record, StoreError};
use tokio_postgres::{Client, Row};

use crate::cache::{self, number};
use crate::error::store_error;

/// The open end of a ledger.
pub(crate) async fn head(client: &Client, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
    let row = client
        .query_opt(
            "SELECT ledger, epoch, origin, size, last_leaf_hash, last_recorded_at FROM head WHERE ledger = $1",
            &[&ledger.0],
        )
        .await
        .map_err(|e| store_error("table head", &e))?;
    Ok(row.as_ref().map(cache::head).transpose()?.map(|(_, head)| head))
}

/// The head of a ledger that must exist.
pub(crate) async fn existing(client: &Client, ledger: LedgerId) -> Result<LedgerHead, StoreError> {
    head(client, ledger).await?.ok_or(StoreError::NoSuchLedger)
}

/// All ledgers with their last positions.
pub(crate) async fn heads(client: &Client) -> Result<Vec<(LedgerId, LedgerHead)>, StoreError> {
    let rows = client
        .query(
            "SELECT ledger, epoch, origin, size, last_leaf_hash, last_recorded_at FROM head",
            &[],
        )
        .await
        .map_err(|e| store_error("table head", &e))?;
    rows.iter().map(cache::head).collect()
}

/// Epochs with their sizes; empty if there is no such ledger. One statement, so one state of the database.
pub(crate) async fn epochs(client: &Client, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
    let rows = client
        .query(
            "SELECT e.epoch, e.origin, coalesce(h.size, (SELECT max(r.index) + 1 FROM record r \
             WHERE r.ledger = e.ledger AND r.epoch = e.epoch), 0) \
             FROM epoch e LEFT JOIN head h ON h.ledger = e.ledger AND h.epoch = e.epoch \
             WHERE e.ledger = $1 ORDER BY e.epoch",
            &[&ledger.0],
        )
        .await
        .map_err(|e| store_error("table epoch", &e))?;
    let infos = rows.iter().map(|row| EpochInfo {
        epoch: Epoch(number(row, 0) as u32),
        origin: row.get(1),
        size: TreeSize(number(row, 2)),
    });
    Ok(infos.collect())
}

/// Records of a ledger from a position on, running on into the next epochs.
pub(crate) async fn ledger(
    client: &Client,
    ledger: LedgerId,
    from: Position,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    existing(client, ledger).await?;
    let Ok(index) = i64::try_from(from.index.0) else {
        return Ok(Vec::new());
    };
    let rows = client
        .query(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND (epoch, index) >= ($2, $3) \
             ORDER BY epoch, index LIMIT $4",
            &[&ledger.0, &i64::from(from.epoch.0), &index, &page(limit)],
        )
        .await
        .map_err(|e| store_error("table record", &e))?;
    let leaves = leaves(&rows)?;
    let mut expected = from;
    for (position, ..) in &leaves {
        if position.epoch != expected.epoch {
            expected = Position {
                epoch: position.epoch,
                index: LeafIndex(0),
            };
        }
        if *position != expected {
            return Err(corrupt(expected, "it is missing and later ones are there".into()));
        }
        expected = position.next();
    }
    records(client, ledger, leaves).await
}

/// Records of a stream from a version on.
pub(crate) async fn stream(
    client: &Client,
    ledger: LedgerId,
    stream: StreamId,
    from: StreamVersion,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    existing(client, ledger).await?;
    let Ok(version) = i64::try_from(from.0) else {
        return Ok(Vec::new());
    };
    let rows = client
        .query(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND stream = $2 AND stream_version >= $3 \
             ORDER BY stream_version LIMIT $4",
            &[&ledger.0, &stream.to_string(), &version, &page(limit)],
        )
        .await
        .map_err(|e| store_error("table record", &e))?;
    let leaves = leaves(&rows)?;
    let mut version = from;
    for (position, _, leaf) in &leaves {
        if leaf.event.stream != stream || leaf.stream_version != version {
            let found = format!("{} version {}", leaf.event.stream, leaf.stream_version);
            let reason = format!("version {version} of {stream} leads to it, and it is {found}");
            return Err(corrupt(*position, reason));
        }
        version = version.next();
    }
    records(client, ledger, leaves).await
}

/// Version of the last event of a stream.
pub(crate) async fn stream_version(
    client: &Client,
    ledger: LedgerId,
    stream: StreamId,
) -> Result<Option<StreamVersion>, StoreError> {
    existing(client, ledger).await?;
    let row = client
        .query_opt(
            "SELECT version FROM stream_head WHERE ledger = $1 AND stream = $2",
            &[&ledger.0, &stream.to_string()],
        )
        .await
        .map_err(|e| store_error("table stream_head", &e))?;
    Ok(row.map(|row| StreamVersion(number(&row, 0))))
}

/// Receipts of records that are stored: `count` from `first` on.
pub(crate) async fn receipts(
    client: &Client,
    ledger: LedgerId,
    first: Position,
    count: u32,
) -> Result<Vec<Receipt>, StoreError> {
    let epoch = i64::from(first.epoch.0);
    let from = first.index.0.cast_signed();
    let rows = client
        .query(
            "SELECT epoch, index, leaf FROM record WHERE ledger = $1 AND epoch = $2 AND index >= $3 AND index < $4 \
             ORDER BY index",
            &[&ledger.0, &epoch, &from, &(from + i64::from(count))],
        )
        .await
        .map_err(|e| store_error("table record", &e))?;
    if rows.len() != count as usize {
        return Err(corrupt(
            first,
            format!("{} of its append's {count} records are there", rows.len()),
        ));
    }
    let receipt = |(position, bytes, leaf): (Position, Vec<u8>, Leaf)| Receipt {
        position,
        leaf_hash: ruche_ledger::hash::leaf_hash(&bytes),
        recorded_at: leaf.recorded_at,
    };
    Ok(leaves(&rows)?.into_iter().map(receipt).collect())
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(READ_RECORDS_MAX)).unwrap_or(i64::MAX)
}

type StoredLeaf = (Position, Vec<u8>, Leaf);

/// Decoded leaves of rows, as many as fit the bytes of one read.
fn leaves(rows: &[Row]) -> Result<Vec<StoredLeaf>, StoreError> {
    let (mut leaves, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        if bytes >= READ_BYTES_MAX {
            break;
        }
        let position = Position {
            epoch: Epoch(number(row, 0) as u32),
            index: LeafIndex(number(row, 1)),
        };
        let stored: Vec<u8> = row.get(2);
        let leaf = Leaf::decode(&stored).map_err(|e| corrupt(position, e.to_string()))?;
        let payload = leaf.payload.iter().map(|c| c.stored_length).sum::<u64>();
        bytes += stored.len() + usize::try_from(payload).unwrap_or(usize::MAX / 2);
        leaves.push((position, stored, leaf));
    }
    Ok(leaves)
}

/// Records of leaves, with the payload fragments that are there. One that is not was erased, which is allowed.
async fn records(
    client: &Client,
    ledger: LedgerId,
    leaves: Vec<StoredLeaf>,
) -> Result<Vec<Record>, StoreError> {
    let (epochs, indexes): (Vec<i64>, Vec<i64>) = leaves
        .iter()
        .map(|(position, ..)| (i64::from(position.epoch.0), position.index.0.cast_signed()))
        .unzip();
    let rows = client
        .query(
            "SELECT u.n, p.fragment, p.opening, p.bytes \
             FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS u(epoch, index, n) \
             JOIN payload p ON p.ledger = $1 AND p.epoch = u.epoch AND p.index = u.index",
            &[&ledger.0, &epochs, &indexes],
        )
        .await
        .map_err(|e| store_error("table payload", &e))?;
    let mut payloads: Vec<_> = leaves
        .iter()
        .map(|(.., leaf)| vec![StoredFragment::Missing; leaf.payload.len()])
        .collect();
    for row in rows {
        let (record, fragment) = (number(&row, 0) as usize - 1, row.get::<_, i16>(1));
        let place = usize::try_from(fragment)
            .ok()
            .and_then(|n| payloads[record].get_mut(n))
            .ok_or_else(|| corrupt(leaves[record].0, format!("it commits to no fragment {fragment}")))?;
        let opening = row
            .get::<_, &[u8]>(2)
            .try_into()
            .map_err(|_| corrupt(leaves[record].0, "an opening has 32 bytes".into()))?;
        *place = StoredFragment::Present {
            opening,
            bytes: row.get(3),
        };
    }
    leaves
        .into_iter()
        .zip(payloads)
        .map(|((position, bytes, _), payload)| Record::from_stored(position, bytes, payload))
        .collect()
}

fn corrupt(position: Position, reason: String) -> StoreError {
    StoreError::Corrupt {
        place: format!("record {position}"),
        reason,
    }
}
