//! The in-memory engine: the readable reference of what an `EventStore` does. For tests; nothing survives it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Epoch, Position, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::StreamId;

use crate::archive::{ArchivedRange, tell_archived};
use crate::leaf::KeyLayer;
use crate::payload::StoredFragment;
use crate::right_edge::HashTile;
use crate::sequencer::{self, Batch, Decision, Heads, KeyEntry, Sequencer, may_open};
use crate::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use crate::tree_head::SignedTreeHead;
use crate::wake::Wakeups;

mod archive;
mod trees;

pub use trees::MemoryTreeHeads;

/// Ledgers in memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    ledgers: Mutex<HashMap<LedgerId, Ledger>>,
    wakeups: Wakeups,
}

#[derive(Default)]
struct Ledger {
    head: Option<LedgerHead>,
    epochs: BTreeMap<Epoch, EpochInfo>,
    records: BTreeMap<Position, Record>,
    streams: HashMap<StreamId, Vec<Position>>,
    keys: HashMap<(KeyLayer, [u8; 32]), KeyEntry>,
    tiles: HashMap<(Epoch, u8, u64), HashTile>,
    tree_heads: HashMap<Epoch, SignedTreeHead>,
    archived: Vec<Arc<ArchivedRange>>,
}

impl Heads for &Ledger {
    type Error = Infallible;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, Infallible> {
        let count = self.streams.get(stream).map_or(0, Vec::len) as u64;
        Ok(count.checked_sub(1).map(StreamVersion))
    }

    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, Infallible> {
        Ok(self.keys.get(&(layer, *key)).copied())
    }
}

impl Ledger {
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        // Every record is checked before the first one is stored: all or none.
        let mut records = Vec::with_capacity(batch.records.len());
        for r in batch.records {
            let fragment = |f: crate::payload::Fragment| StoredFragment::Present {
                opening: f.opening,
                bytes: f.bytes.into(),
            };
            let payload = r.payload.into_iter().map(fragment).collect();
            records.push(Record::from_stored(r.position, r.leaf, payload)?);
        }
        for record in records {
            self.streams
                .entry(record.leaf.event.stream)
                .or_default()
                .push(record.position);
            self.records.insert(record.position, record);
        }
        self.keys.extend(batch.keys);
        let head = &batch.head;
        let info = EpochInfo {
            epoch: head.epoch,
            origin: head.origin.clone(),
            size: head.size,
        };
        self.epochs.insert(head.epoch, info);
        self.head = Some(batch.head);
        Ok(())
    }

    /// A record as it is read.
    fn read(&self, record: &Record) -> Record {
        let mut record = record.clone();
        let category = record.leaf.event.stream.category;
        tell_archived(record.position, category, &mut record.payload, &self.archived);
        record
    }

    fn receipts(&self, first: Position, count: u32) -> Vec<Receipt> {
        self.records
            .range(first..)
            .take(count as usize)
            .map(|(_, r)| r.receipt())
            .collect()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ledgers: Mutex::default(),
            wakeups: Wakeups::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let mut ledgers = self.lock();
        let state = ledgers.get_mut(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let head = state.head.clone().ok_or(StoreError::NoSuchLedger)?;
        let mut known = &*state;
        let mut sequencer = Sequencer::new(head, self.clock.now(), &mut known);
        let Ok(decision) = sequencer.decide(&request);
        let batch = sequencer.finish();
        Ok(match decision {
            Decision::Append(receipts) => {
                let last = batch
                    .head
                    .last_position()
                    .expect("a batch with records has a last one");
                state.commit(batch)?;
                self.wakeups.publish(ledger, last);
                AppendOutcome::Appended {
                    receipts,
                    duplicate: false,
                }
            }
            Decision::Duplicate { first, count } => AppendOutcome::Appended {
                receipts: state.receipts(first, count),
                duplicate: true,
            },
            Decision::KeyMismatch { layer } => AppendOutcome::KeyMismatch { layer },
            Decision::Conflict {
                stream,
                expected,
                actual,
            } => AppendOutcome::Conflict {
                stream,
                expected,
                actual,
            },
        })
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        opening.check()?;
        let mut ledgers = self.lock();
        let state = ledgers.entry(ledger).or_default();
        if !may_open(state.head.as_ref(), &opening) {
            return Err(StoreError::EpochMoved);
        }
        let last_recorded_at = state
            .head
            .as_ref()
            .map_or_else(Default::default, |h| h.last_recorded_at);
        let Ok(batch) = sequencer::open_epoch(opening, last_recorded_at, self.clock.now(), &mut &*state);
        let position = batch.records[0].position;
        state.commit(batch)?;
        self.wakeups.publish(ledger, position);
        Ok(state.records[&position].receipt())
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        Ok(self.lock().get(&ledger).and_then(|state| state.head.clone()))
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        Ok(self
            .lock()
            .get(&ledger)
            .map_or_else(Vec::new, |state| state.epochs.values().cloned().collect()))
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        Ok(self.lock().keys().copied().collect())
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let ledgers = self.lock();
        let state = ledgers.get(&ledger).ok_or(StoreError::NoSuchLedger)?;
        Ok(state
            .records
            .range(from..)
            .take(limit.min(READ_RECORDS_MAX))
            .map(|(_, r)| state.read(r))
            .collect())
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let ledgers = self.lock();
        let state = ledgers.get(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let positions = state.streams.get(&stream).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(from.0).unwrap_or(usize::MAX).min(positions.len());
        let wanted = positions[from..].iter().take(limit.min(READ_RECORDS_MAX));
        Ok(wanted
            .map(|position| state.read(&state.records[position]))
            .collect())
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        let ledgers = self.lock();
        let mut state = ledgers.get(&ledger).ok_or(StoreError::NoSuchLedger)?;
        let Ok(version) = state.stream_version(&stream);
        Ok(version)
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        Ok(self.wakeups.wait_for(ledger, position).await?)
    }
}
