//! Payloads that leave the memory for an archive, and come back.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Position};

use super::MemoryStore;
use crate::archive::{
    ArchiveStore, ArchivedRange, Attach, Detach, another_archive, not_all_back, noted_otherwise,
};
use crate::payload::StoredFragment;
use crate::store::StoreError;

#[async_trait]
impl ArchiveStore for MemoryStore {
    async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError> {
        let ledgers = self.lock();
        let ranges = ledgers.get(&ledger).map(|state| state.archived.iter());
        let mut ranges: Vec<_> = ranges
            .into_iter()
            .flatten()
            .map(|range| ArchivedRange::clone(range))
            .collect();
        ranges.sort_by_key(|range| (range.epoch, range.from));
        Ok(ranges)
    }

    async fn detach(&self, ledger: LedgerId, piece: Detach) -> Result<(), StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let range = piece.range;
        let place = |known: &&mut Arc<ArchivedRange>| (known.epoch, known.from) == (range.epoch, range.from);
        match state.archived.iter_mut().find(place) {
            Some(known) if (&known.archive, known.digest) != (&range.archive, range.digest) => {
                return Err(another_archive(&range));
            }
            Some(known) if known.to < range.to => *known = Arc::new(range.clone()),
            Some(_) => {}
            None => state.archived.push(Arc::new(range.clone())),
        }
        for index in piece.records {
            let position = Position {
                epoch: range.epoch,
                index,
            };
            if let Some(record) = state.records.get_mut(&position) {
                record.payload.fill(StoredFragment::Missing);
            }
        }
        Ok(())
    }

    async fn attach(&self, ledger: LedgerId, epoch: Epoch, payloads: Vec<Attach>) -> Result<(), StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        for Attach {
            index,
            fragment,
            opening,
            bytes,
        } in payloads
        {
            let record = state.records.get_mut(&Position { epoch, index });
            let place = record.and_then(|record| record.payload.get_mut(usize::from(fragment)));
            if let Some(place @ StoredFragment::Missing) = place {
                *place = StoredFragment::Present { opening, bytes };
            }
        }
        Ok(())
    }

    async fn forget(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        fragments: u64,
    ) -> Result<(), StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let position = |index| Position {
            epoch: range.epoch,
            index,
        };
        let records = state.records.range(position(range.from)..position(range.to));
        let found = records
            .flat_map(|(_, record)| &record.payload)
            .filter_map(StoredFragment::bytes);
        let found = found.count() as u64;
        if found != fragments {
            return Err(not_all_back(range, found, fragments));
        }
        // What was counted is this range. Of a longer one, payloads behind it may be in the archive alone.
        let noted = state.archived.iter().position(|known| **known == *range);
        match noted {
            None => Err(noted_otherwise(range)),
            Some(noted) => {
                state.archived.remove(noted);
                Ok(())
            }
        }
    }
}
