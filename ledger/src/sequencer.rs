//! The batch sequencer: checks expectations and idempotency keys, gives positions and links leaves.
//!
//! One, pure, for all engines. An engine collects requests, offers what it knows of streams and keys through
//! [`Heads`], lets each request be decided in order, and stores the finished [`Batch`] in one commit. Nothing that a
//! batch contains is true before that commit; if it fails, the batch is thrown away whole and the engine's caches with
//! it.

use std::collections::HashMap;

use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;

use crate::hash::{Hash, leaf_hash};
use crate::leaf::{self, AppendRange, KeyClaim, KeyLayer, Place};
use crate::payload::Fragment;
use crate::store::{AppendRequest, EpochOpening, ExpectedVersion, LedgerHead, PreparedEvent, Receipt};

/// Room for a leaf as most are, bytes.
const LEAF_BYTES_USUAL: usize = 512;

/// What an idempotency key that was used before stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Keyed hash of the request.
    pub request: [u8; 32],
    /// First record of the append.
    pub first: Position,
    /// Records of the append.
    pub count: u32,
}

/// What the engine knows of the ledger at the head that the sequencer was given. Must be exact for that head.
pub trait Heads {
    /// The engine's own error.
    type Error;

    /// Version of the last event of a stream.
    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, Self::Error>;

    /// The entry of a key, if it was used.
    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, Self::Error>;
}

/// What was decided about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its records are in the batch; the receipts hold once the batch is durable.
    Append(Vec<Receipt>),
    /// It repeats an append, perhaps one of this very batch: answer with that one's receipts after the commit.
    Duplicate {
        /// First record of the earlier append.
        first: Position,
        /// Records of the earlier append.
        count: u32,
    },
    /// A key stands for another request.
    KeyMismatch {
        /// Layer of the key.
        layer: KeyLayer,
    },
    /// An expectation does not hold.
    Conflict {
        /// Which stream.
        stream: StreamId,
        /// What was expected.
        expected: ExpectedVersion,
        /// What is.
        actual: Option<StreamVersion>,
    },
}

/// A record that has got its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencedRecord {
    /// Place in the ledger.
    pub position: Position,
    /// Bytes to store.
    pub leaf: Vec<u8>,
    /// Their leaf hash.
    pub leaf_hash: Hash,
    /// Stream of the event.
    pub stream: StreamId,
    /// Its version there.
    pub stream_version: StreamVersion,
    /// Payload fragments to store beside it.
    pub payload: Vec<Fragment>,
}

/// Everything one commit has to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Size of the epoch that the batch was built on: the head must still be here.
    pub base: TreeSize,
    /// The head after the commit.
    pub head: LedgerHead,
    /// Records in order.
    pub records: Vec<SequencedRecord>,
    /// New version of each stream that the batch writes.
    pub streams: HashMap<StreamId, StreamVersion>,
    /// Keys that the batch claims.
    pub keys: HashMap<(KeyLayer, [u8; 32]), KeyEntry>,
}

/// Decides requests one after the other on a head.
pub struct Sequencer<'a, H> {
    known: &'a mut H,
    now: Micros,
    batch: Batch,
}

impl<'a, H: Heads> Sequencer<'a, H> {
    /// On top of `head`. `now` is raised to the last recorded-at: recorded-at never decreases although clocks do.
    pub fn new(head: LedgerHead, now: Micros, known: &'a mut H) -> Self {
        let now = now.max(head.last_recorded_at);
        let base = head.size;
        let batch = Batch {
            base,
            head,
            records: Vec::new(),
            streams: HashMap::new(),
            keys: HashMap::new(),
        };
        Self { known, now, batch }
    }

    /// Decides one request. Keys come before expectations, each in the order given.
    ///
    /// # Errors
    /// The engine's own, from [`Heads`]; the batch is then unusable.
    pub fn decide(&mut self, request: &AppendRequest) -> Result<Decision, H::Error> {
        if let Some(decision) = self.check_keys(&request.keys)? {
            return Ok(decision);
        }
        for e in &request.expectations {
            let actual = self.stream_version(&e.stream)?;
            if !e.version.holds(actual) {
                return Ok(Decision::Conflict {
                    stream: e.stream,
                    expected: e.version,
                    actual,
                });
            }
        }
        let first = self.batch.head.next_position();
        let count = u32::try_from(request.events.len()).expect("EVENTS_PER_APPEND_MAX fits 32 bits");
        for key in &request.keys {
            let entry = KeyEntry {
                request: key.request,
                first,
                count,
            };
            self.batch.keys.insert((key.layer, key.key), entry);
        }
        let mut receipts = Vec::with_capacity(request.events.len());
        let append = AppendRange {
            first: first.index,
            count,
        };
        let mut keys = request.keys.as_slice();
        for event in &request.events {
            receipts.push(self.link(event, append, std::mem::take(&mut keys))?);
        }
        Ok(Decision::Append(receipts))
    }

    /// What the engine has to commit.
    pub fn finish(self) -> Batch {
        self.batch
    }

    fn check_keys(&mut self, keys: &[KeyClaim]) -> Result<Option<Decision>, H::Error> {
        for claim in keys {
            let entry = match self.batch.keys.get(&(claim.layer, claim.key)) {
                Some(entry) => Some(*entry),
                None => self.known.key(claim.layer, &claim.key)?,
            };
            match entry {
                Some(entry) if entry.request == claim.request => {
                    return Ok(Some(Decision::Duplicate {
                        first: entry.first,
                        count: entry.count,
                    }));
                }
                Some(_) => return Ok(Some(Decision::KeyMismatch { layer: claim.layer })),
                None => {}
            }
        }
        Ok(None)
    }

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, H::Error> {
        match self.batch.streams.get(stream) {
            Some(version) => Ok(Some(*version)),
            None => self.known.stream_version(stream),
        }
    }

    fn link(
        &mut self,
        prepared: &PreparedEvent,
        append: AppendRange,
        keys: &[KeyClaim],
    ) -> Result<Receipt, H::Error> {
        let stream = prepared.event.stream;
        let stream_version = self
            .stream_version(&stream)?
            .map_or(StreamVersion::FIRST, StreamVersion::next);
        let position = self.batch.head.next_position();
        let place = Place {
            origin: &self.batch.head.origin,
            index: position.index,
            previous: self.batch.head.last_leaf_hash,
            append,
            stream_version,
            recorded_at: self.now,
        };
        let mut leaf = Vec::with_capacity(LEAF_BYTES_USUAL);
        let commitments = prepared.payload.iter().map(|fragment| &fragment.commitment);
        leaf::encode(&mut leaf, &place, &prepared.event, keys, commitments);
        let leaf_hash = leaf_hash(&leaf);
        self.batch.head.size = TreeSize(position.index.0 + 1);
        self.batch.head.last_leaf_hash = Some(leaf_hash);
        self.batch.head.last_recorded_at = self.now;
        self.batch.streams.insert(stream, stream_version);
        let payload = prepared.payload.clone();
        self.batch.records.push(SequencedRecord {
            position,
            leaf,
            leaf_hash,
            stream,
            stream_version,
            payload,
        });
        Ok(Receipt {
            position,
            leaf_hash,
            recorded_at: self.now,
        })
    }
}

/// The batch that opens an epoch: record 0, without a previous leaf.
///
/// # Errors
/// The engine's own, from [`Heads`].
pub fn open_epoch<H: Heads>(
    opening: EpochOpening,
    last_recorded_at: Micros,
    now: Micros,
    known: &mut H,
) -> Result<Batch, H::Error> {
    let head = LedgerHead {
        epoch: opening.epoch,
        origin: opening.origin,
        size: TreeSize(0),
        last_leaf_hash: None,
        last_recorded_at,
    };
    let mut sequencer = Sequencer::new(head, now, known);
    let append = AppendRange {
        first: LeafIndex(0),
        count: 1,
    };
    sequencer.link(&opening.record, append, &[])?;
    Ok(sequencer.finish())
}

/// Whether an opening continues the ledger whose open end is `head`.
pub fn may_open(head: Option<&LedgerHead>, opening: &EpochOpening) -> bool {
    let (end, next) = match head {
        None => (None, Epoch::FIRST),
        Some(head) => (head.last_position(), head.epoch.next()),
    };
    // A restore may skip numbers: epochs that were opened after the backup and lost are never used again.
    end == opening.expected_end && opening.epoch >= next
}

#[cfg(test)]
mod tests;
