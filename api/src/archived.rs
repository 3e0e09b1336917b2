//! A store of ledgers that reads from archives what is not in the store any more.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::archive::{ArchivedRange, Bundle, must_be_here};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use ruche_ledger::tile::TILE_WIDTH;

mod bundles;

use bundles::blocking;

pub use bundles::{ArchivedBundles, Lent};

/// Fills in payloads from archives that are at hand.
pub struct ArchivedStore {
    inner: Arc<dyn EventStore>,
    bundles: Option<Arc<ArchivedBundles>>,
    /// Whether a record is refused whose payload is archived and not at hand.
    refuses: bool,
}

impl ArchivedStore {
    /// For whoever decides or derives something: it never gets a record without a payload that there is elsewhere.
    pub fn refusing(inner: Arc<dyn EventStore>, bundles: Option<Arc<ArchivedBundles>>) -> Self {
        Self {
            inner,
            bundles,
            refuses: true,
        }
    }

    /// For whoever shows records: what is not at hand is told as archived.
    pub fn telling(inner: Arc<dyn EventStore>, bundles: Option<Arc<ArchivedBundles>>) -> Self {
        Self {
            inner,
            bundles,
            refuses: false,
        }
    }

    async fn filled(&self, ledger: LedgerId, mut records: Vec<Record>) -> Result<Vec<Record>, StoreError> {
        if records.iter().all(|record| record.archived_in().is_none()) {
            return Ok(records);
        }
        if let Some(bundles) = &self.bundles {
            for (range, number) in wanted(&records) {
                let Some(lent) = bundles.bundle(ledger, &range, number).await? else {
                    continue;
                };
                let put = blocking(move || {
                    put(&mut records, &range, number, lent.bundle())?;
                    Ok(records)
                });
                records = put.await?;
            }
        }
        if self.refuses {
            must_be_here(&records)?;
        }
        Ok(records)
    }
}

/// The archive that a record has payloads in, and the number of its bundle.
fn place(record: &Record) -> Option<(&Arc<ArchivedRange>, u64)> {
    let range = record.payload.iter().find_map(|fragment| match fragment {
        StoredFragment::Archived(range) => Some(range),
        StoredFragment::Present { .. } | StoredFragment::Missing => None,
    });
    range.map(|range| (range, record.position.index.0 / u64::from(TILE_WIDTH)))
}

/// Bundles that records have payloads in, in their order.
fn wanted(records: &[Record]) -> Vec<(Arc<ArchivedRange>, u64)> {
    let places = records.iter().filter_map(place);
    let mut wanted: Vec<_> = places
        .map(|(range, number)| (Arc::clone(range), number))
        .collect();
    wanted.dedup();
    wanted
}

/// Puts the payloads of a bundle into the records that have some in it, each checked against its leaf.
fn put(
    records: &mut [Record],
    range: &Arc<ArchivedRange>,
    number: u64,
    bundle: &Bundle,
) -> Result<(), StoreError> {
    for record in records {
        if place(record) == Some((range, number)) {
            let nth = usize::try_from(record.position.index.0 % u64::from(TILE_WIDTH)).unwrap_or_default();
            take(record, bundle.get(nth), range)?;
        }
    }
    Ok(())
}

/// Puts the fragments of one record in their places.
fn take(
    record: &mut Record,
    fragments: Option<&Vec<StoredFragment>>,
    range: &ArchivedRange,
) -> Result<(), StoreError> {
    let corrupt = |reason: &str| StoreError::Corrupt {
        place: format!("archive {}, record {}", range.archive, record.position),
        reason: reason.to_owned(),
    };
    let fragments = fragments
        .filter(|fragments| fragments.len() == record.payload.len())
        .ok_or_else(|| corrupt("it has other fragments than the leaf commits to"))?;
    for ((commitment, stored), found) in record.leaf.payload.iter().zip(&mut record.payload).zip(fragments) {
        if stored.archived_in().is_none() {
            continue;
        }
        if let StoredFragment::Present { opening, bytes } = found
            && !commitment.opens(opening, bytes)
        {
            return Err(corrupt("a fragment does not open its commitment"));
        }
        stored.clone_from(found);
    }
    Ok(())
}

#[async_trait]
impl EventStore for ArchivedStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.inner.append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.inner.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.inner.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.inner.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.inner.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.read_ledger(ledger, from, limit).await?;
        self.filled(ledger, records).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.read_stream(ledger, stream, from, limit).await?;
        self.filled(ledger, records).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.inner.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.inner.wait_for(ledger, position).await
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::memory::MemoryStore;
    use ruche_ledger::testing::contract;

    use super::*;

    #[tokio::test]
    async fn a_store_with_archives_keeps_the_contract() {
        contract::run(|clock| async move {
            Arc::new(ArchivedStore::refusing(Arc::new(MemoryStore::new(clock)), None)) as Arc<dyn EventStore>
        })
        .await;
    }
}
