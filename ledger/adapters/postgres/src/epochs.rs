//! Opening an epoch: rare, and always under the lock of the head row.

use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, StreamVersion, TreeSize};
use ruche_domain::ports::Clock;
use ruche_ledger::LedgerError;
use ruche_ledger::sequencer::{Batch, may_open, open_epoch};
use ruche_ledger::store::{EpochOpening, LedgerHead, Receipt, StoreError};
use tokio_postgres::{Client, Error};

use crate::cache::{self, Cache};
use crate::error::{not_unique, store_error};
use crate::fence::{Commit, Line};
use crate::read;
use crate::served::ServerId;
use crate::session::Database;

/// Opens an epoch, on a connection of its own, and gives the server that it is on. Two openers of a new ledger both find no
/// row; the primary keys let one of them in.
///
/// # Errors
/// `EpochMoved` if the ledger is not as the opening expects. `Unavailable` says of an opening nothing for certain: look at
/// the ledger again. It says what end it expects, so trying it again is safe whatever happened.
pub(crate) async fn open(
    database: &Database,
    limit: Duration,
    clock: &dyn Clock,
    ledger: LedgerId,
    opening: EpochOpening,
) -> Result<(ServerId, Receipt), StoreError> {
    let line = Line::connect(database, limit).await?;
    let written = write_opening(&line.client, clock, ledger, opening);
    // A connection that is dropped with an open transaction takes it along.
    let batch = line.ask("open an epoch", written).await?;
    // Until here a crash leaves nothing. After it the epoch is open, and opening it again is refused by its expected end.
    match line.commit(line.client.batch_execute("COMMIT")).await {
        Commit::Durable(()) => Ok((line.client.server(), receipt(&batch))),
        Commit::Refused(error) => Err(store_error("open an epoch", &error)),
        Commit::Unknown => find_out(database, limit, ledger, &batch).await,
    }
}

/// Looks whether an opening without an answer stands. A head that is ours says so, once a fence has begun after it was
/// read; anything else says nothing for certain.
async fn find_out(
    database: &Database,
    limit: Duration,
    ledger: LedgerId,
    batch: &Batch,
) -> Result<(ServerId, Receipt), StoreError> {
    let line = Line::connect(database, limit).await?;
    let heads = line
        .ask("table head", read::heads(&line.client, Some(&[ledger])))
        .await?;
    if heads.iter().any(|(_, head)| *head == batch.head) {
        line.fence().await?;
        return Ok((line.client.server(), receipt(batch)));
    }
    Err(StoreError::Unavailable {
        reason: "it is not known whether the epoch was opened".into(),
    })
}

fn receipt(batch: &Batch) -> Receipt {
    let record = &batch.records[0];
    Receipt {
        position: record.position,
        leaf_hash: record.leaf_hash,
        recorded_at: batch.head.last_recorded_at,
    }
}

/// Everything of an opening but its commit.
async fn write_opening(
    client: &Client,
    clock: &dyn Clock,
    ledger: LedgerId,
    opening: EpochOpening,
) -> Result<Batch, StoreError> {
    let failed = |e: Error| store_error("open an epoch", &e);
    client.batch_execute("BEGIN").await.map_err(failed)?;
    let row = client
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
        .map_or_else(Micros::default, |head| head.last_recorded_at);
    let stream = opening.record.event.stream;
    let version = client
        .query_opt(
            "SELECT version FROM stream_head WHERE ledger = $1 AND stream = $2",
            &[&ledger.0, &stream.to_string()],
        )
        .await
        .map_err(failed)?;
    let mut known = Cache::new().read(
        ledger,
        LedgerHead {
            epoch: opening.epoch,
            origin: opening.origin.clone(),
            size: TreeSize(0),
            last_leaf_hash: None,
            last_recorded_at,
        },
    );
    let version = version.map(|row| StreamVersion(cache::number(&row, 0)));
    known.streams.insert(stream, version);
    let origin = opening.origin.clone();
    let Ok(batch) = open_epoch(opening, last_recorded_at, clock.now(), &mut known);
    match write(client, ledger, head.as_ref(), &batch).await {
        Ok(1) => Ok(batch),
        // Somebody else moved the head in spite of its lock, or made one where there was none.
        Ok(_) => Err(StoreError::EpochMoved),
        Err(error) => Err(match not_unique(&error) {
            Some("epoch_pkey" | "head_pkey") => StoreError::EpochMoved,
            Some("epoch_origin_key") => LedgerError::Invalid(format!("origin {origin} is in use")).into(),
            _ => failed(error),
        }),
    }
}

/// Writes an epoch with its record 0. Returns how many heads were moved or made.
async fn write(
    client: &Client,
    ledger: LedgerId,
    old: Option<&LedgerHead>,
    batch: &Batch,
) -> Result<u64, Error> {
    let (head, record) = (&batch.head, &batch.records[0]);
    let epoch = i64::from(head.epoch.0);
    client
        .execute(
            "INSERT INTO epoch (ledger, epoch, origin) VALUES ($1, $2, $3)",
            &[&ledger.0, &epoch, &head.origin],
        )
        .await?;
    let heads = write_head(client, ledger, old, head).await?;
    let (stream, version) = (record.stream.to_string(), record.stream_version.0.cast_signed());
    client
        .execute(
            "INSERT INTO record (ledger, epoch, index, stream, stream_version, leaf) VALUES ($1, $2, 0, $3, $4, $5)",
            &[&ledger.0, &epoch, &stream, &version, &record.leaf],
        )
        .await?;
    for (n, fragment) in (0_i16..).zip(&record.payload) {
        client
            .execute(
                "INSERT INTO payload (ledger, epoch, index, fragment, opening, bytes) VALUES ($1, $2, 0, $3, $4, $5)",
                &[&ledger.0, &epoch, &n, &&fragment.opening[..], &&fragment.bytes[..]],
            )
            .await?;
    }
    client
        .execute(
            "INSERT INTO stream_head (ledger, stream, version) VALUES ($1, $2, $3) \
             ON CONFLICT (ledger, stream) DO UPDATE SET version = excluded.version",
            &[&ledger.0, &stream, &version],
        )
        .await?;
    Ok(heads)
}

/// Moves the head that was found, or makes the one that was not.
async fn write_head(
    client: &Client,
    ledger: LedgerId,
    old: Option<&LedgerHead>,
    new: &LedgerHead,
) -> Result<u64, Error> {
    let epoch = i64::from(new.epoch.0);
    let hash: &[u8] = new.last_leaf_hash.as_ref().map_or(&[], |hash| &hash.0);
    let recorded_at = new.last_recorded_at.0.cast_signed();
    let Some(old) = old else {
        return client
            .execute(
                "INSERT INTO head (ledger, epoch, origin, size, last_leaf_hash, last_recorded_at) \
                 VALUES ($1, $2, $3, 1, $4, $5)",
                &[&ledger.0, &epoch, &new.origin, &hash, &recorded_at],
            )
            .await;
    };
    let (old_epoch, old_size) = (i64::from(old.epoch.0), old.size.0.cast_signed());
    client
        .execute(
            "UPDATE head SET epoch = $2, origin = $3, size = 1, last_leaf_hash = $4, last_recorded_at = $5 \
             WHERE ledger = $1 AND epoch = $6 AND size = $7",
            &[
                &ledger.0,
                &epoch,
                &new.origin,
                &hash,
                &recorded_at,
                &old_epoch,
                &old_size,
            ],
        )
        .await
}
