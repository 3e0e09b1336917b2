//! Opening an epoch: rare, and always under the lock of the head row.

use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Clock;
use ruche_ledger::sequencer::{Batch, may_open, open_epoch};
use ruche_ledger::store::{EpochOpening, Receipt, StoreError};
use tokio_postgres::{Client, Transaction};

use crate::cache::{self, Known};
use crate::error::store_error;

/// Opens an epoch. Two openers of a new ledger both find no row; the primary key lets one of them in.
pub(crate) async fn open(
    client: &mut Client,
    clock: &dyn Clock,
    ledger: LedgerId,
    opening: EpochOpening,
) -> Result<Receipt, StoreError> {
    let failed = |e: tokio_postgres::Error| store_error("open an epoch", &e);
    let tx = client.transaction().await.map_err(failed)?;
    let row = tx
        .query_opt(
            "SELECT ledger, epoch, origin, size, last_leaf_hash, last_recorded_at FROM head WHERE ledger = $1 FOR UPDATE",
            &[&ledger.0],
        )
        .await
        .map_err(failed)?;
    let head = row.as_ref().map(cache::head).transpose()?.map(|(_, head)| head);
    if !may_open(head.as_ref(), &opening) {
        return Err(StoreError::EpochMoved);
    }
    let last_recorded_at = head
        .as_ref()
        .map_or_else(Default::default, |head| head.last_recorded_at);
    let stream = opening.record.event.stream;
    let version = tx
        .query_opt(
            "SELECT version FROM stream_head WHERE ledger = $1 AND stream = $2",
            &[&ledger.0, &stream.to_string()],
        )
        .await
        .map_err(failed)?;
    let mut known = Known::new(ruche_ledger::store::LedgerHead {
        epoch: opening.epoch,
        origin: opening.origin.clone(),
        size: ruche_domain::numbers::TreeSize(0),
        last_leaf_hash: None,
        last_recorded_at,
    });
    let version = version.map(|row| ruche_domain::numbers::StreamVersion(cache::number(&row, 0)));
    known.streams.insert(stream, version);
    let Ok(batch) = open_epoch(opening, last_recorded_at, clock.now(), &mut known);
    write(&tx, ledger, &batch).await.map_err(|e| {
        if e.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION) {
            StoreError::EpochMoved
        } else {
            failed(e)
        }
    })?;
    // Until here a crash leaves nothing. After it the epoch is open, and opening it again is refused by its expected end.
    tx.commit().await.map_err(failed)?;
    let record = &batch.records[0];
    Ok(Receipt {
        position: record.position,
        leaf_hash: record.leaf_hash,
        recorded_at: batch.head.last_recorded_at,
    })
}

async fn write(tx: &Transaction<'_>, ledger: LedgerId, batch: &Batch) -> Result<(), tokio_postgres::Error> {
    let (head, record) = (&batch.head, &batch.records[0]);
    let epoch = i64::from(head.epoch.0);
    let hash = &record.leaf_hash.0[..];
    tx.execute(
        "INSERT INTO epoch (ledger, epoch, origin) VALUES ($1, $2, $3)",
        &[&ledger.0, &epoch, &head.origin],
    )
    .await?;
    tx.execute(
        "INSERT INTO head (ledger, epoch, origin, size, last_leaf_hash, last_recorded_at) VALUES ($1, $2, $3, 1, $4, $5) \
         ON CONFLICT (ledger) DO UPDATE SET epoch = excluded.epoch, origin = excluded.origin, size = 1, \
         last_leaf_hash = excluded.last_leaf_hash, last_recorded_at = excluded.last_recorded_at \
         WHERE head.epoch < excluded.epoch",
        &[&ledger.0, &epoch, &head.origin, &hash, &head.last_recorded_at.0.cast_signed()],
    )
    .await?;
    let (stream, version) = (record.stream.to_string(), record.stream_version.0.cast_signed());
    tx.execute(
        "INSERT INTO record (ledger, epoch, index, stream, stream_version, leaf) VALUES ($1, $2, 0, $3, $4, $5)",
        &[&ledger.0, &epoch, &stream, &version, &record.leaf],
    )
    .await?;
    for (n, fragment) in (0_i16..).zip(&record.payload) {
        tx.execute(
            "INSERT INTO payload (ledger, epoch, index, fragment, opening, bytes) VALUES ($1, $2, 0, $3, $4, $5)",
            &[&ledger.0, &epoch, &n, &&fragment.opening[..], &fragment.bytes],
        )
        .await?;
    }
    tx.execute(
        "INSERT INTO stream_head (ledger, stream, version) VALUES ($1, $2, $3) \
         ON CONFLICT (ledger, stream) DO UPDATE SET version = excluded.version",
        &[&ledger.0, &stream, &version],
    )
    .await?;
    Ok(())
}
