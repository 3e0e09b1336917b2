//! Reading records page by page, up to a position.

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Micros, Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{EventStore, Record};

use crate::budget::Budget;
use crate::error::ReplayError;

/// The record at a position.
pub(crate) async fn record_at(
    store: &dyn EventStore,
    ledger: LedgerId,
    position: Position,
) -> Result<Record, ReplayError> {
    let page = store.read_ledger(ledger, position, 1).await?;
    let found = page.into_iter().find(|record| record.position == position);
    found.ok_or(ReplayError::NoRecord(position))
}

/// All records of a stream that the store shows.
pub(crate) async fn stream(
    store: &dyn EventStore,
    ledger: LedgerId,
    stream: StreamId,
    budget: &Budget,
) -> Result<Vec<Record>, ReplayError> {
    let mut records: Vec<Record> = Vec::new();
    let mut from = StreamVersion::FIRST;
    loop {
        let page = store.read_stream(ledger, stream, from, READ_RECORDS_MAX).await?;
        let Some(last) = page.last() else {
            return Ok(records);
        };
        from = last.leaf.stream_version.next();
        budget.go_on(&page)?;
        records.extend(page);
    }
}

/// The last record that the ledger took at a time or before it; nothing where it took none by then. Recorded-at never
/// decreases in a ledger, so few records are read.
///
/// # Errors
/// If the ledger cannot be read.
pub async fn position_at(
    store: &dyn EventStore,
    ledger: LedgerId,
    time: Micros,
) -> Result<Option<Position>, ReplayError> {
    let mut found = None;
    for epoch in store.epochs(ledger).await? {
        // Of the records below `low` all are at that time or before it, of those from `high` on none is.
        let (mut low, mut high) = (0, epoch.size.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let position = Position {
                epoch: epoch.epoch,
                index: LeafIndex(middle),
            };
            if record_at(store, ledger, position).await?.leaf.recorded_at <= time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(last) = low.checked_sub(1) else { break };
        found = Some(Position {
            epoch: epoch.epoch,
            index: LeafIndex(last),
        });
        if low < epoch.size.0 {
            break;
        }
    }
    Ok(found)
}
