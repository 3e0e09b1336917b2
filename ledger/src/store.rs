//! Ports: what the rest of Ruche asks of a store of records. Engines implement them under `adapters/`.
//!
//! The contract is written for two parties. Implementations MUST: make an append atomic and durable before they
//! answer `Appended`; give indexes that are dense and in commit order; refuse with `Overloaded` rather than queue
//! without bound; never drop, change or reorder a record. Callers MUST NOT: take an error for proof that nothing was
//! stored unless the error says so; guess after `Unknown` (ask again with the same idempotency key).

use std::collections::HashSet;

use async_trait::async_trait;
use ruche_domain::envelope::ACFEvent;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits as limit;
use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;

use crate::archive::ArchivedRange;
use crate::error::LedgerError;
use crate::hash::{Hash, leaf_hash};
use crate::leaf::{self, AppendRange, KeyClaim, KeyLayer, Leaf};
use crate::payload::{self, Fragment, StoredFragment};

/// Type of the event that opens an epoch.
pub const OPENING_EVENT: &str = "infra.ledger.opened";

/// What a stream must be like for an append to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// The stream has no event yet.
    NoStream,
    /// The last event of the stream has exactly this version.
    Exact(StreamVersion),
}

impl ExpectedVersion {
    /// Whether a stream at `actual` is as expected.
    pub fn holds(self, actual: Option<StreamVersion>) -> bool {
        match self {
            Self::NoStream => actual.is_none(),
            Self::Exact(version) => actual == Some(version),
        }
    }
}

/// Expected version of one stream. The stream need not be written in the append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Which stream.
    pub stream: StreamId,
    /// What it must be like.
    pub version: ExpectedVersion,
}

/// An event ready to be sequenced: everything that needs no lock has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedEvent {
    /// Envelope as the author decided it.
    pub event: ACFEvent,
    /// Payload fragments with their commitments.
    pub payload: Vec<Fragment>,
}

impl PreparedEvent {
    /// Refuses an event whose record could not be read back: what is stored must pass the decoder.
    ///
    /// # Errors
    /// `LimitExceeded`; `Leaf` naming the field; `Invalid` for a commitment that its own bytes do not open.
    pub fn check(&self, keys: &[KeyClaim]) -> Result<(), LedgerError> {
        payload::check_count(self.payload.len())?;
        check(
            self.event.event_type.len(),
            limit::EVENT_TYPE_BYTES_MAX,
            "event type",
            "bytes",
        )?;
        let encoded = self.largest_leaf(keys);
        check(encoded.len(), limit::LEAF_BYTES_MAX, "leaf", "bytes")?;
        let commitments = || self.payload.iter().map(|f| &f.commitment);
        leaf::check(&self.event, commitments())?;
        debug_assert!(
            Leaf::decode(&encoded).is_ok_and(|leaf| leaf.event == self.event
                && leaf.keys == keys
                && leaf.payload.iter().eq(commitments())),
            "a leaf that is not read back"
        );
        let lengths_fit = self
            .payload
            .iter()
            .all(|f| f.commitment.stored_length == f.bytes.len() as u64);
        // The hash is made beside the bytes, by `Fragment::plain`; hashing again would double the cost of an append.
        debug_assert!(
            self.payload
                .iter()
                .all(|f| f.commitment.opens(&f.opening, &f.bytes)),
            "a commitment is wrong"
        );
        if !lengths_fit {
            return Err(LedgerError::Invalid(
                "a commitment is not that of its payload".into(),
            ));
        }
        Ok(())
    }

    /// The bytes of the leaf with the largest numbers that sequencing could add.
    fn largest_leaf(&self, keys: &[KeyClaim]) -> Vec<u8> {
        const ORIGIN: [u8; limit::ORIGIN_BYTES_MAX] = [b'o'; limit::ORIGIN_BYTES_MAX];
        let index = LeafIndex(u64::MAX - u64::from(u32::MAX));
        let place = leaf::Place {
            origin: str::from_utf8(&ORIGIN).expect("letters are UTF-8"),
            index,
            previous: Some(Hash([0xff; 32])),
            append: AppendRange {
                first: index,
                count: u32::MAX,
            },
            stream_version: StreamVersion(u64::MAX),
            recorded_at: Micros(u64::MAX),
        };
        let mut out = Vec::with_capacity(limit::LEAF_BYTES_MAX);
        leaf::encode(
            &mut out,
            &place,
            &self.event,
            keys,
            self.payload.iter().map(|f| &f.commitment),
        );
        out
    }
}

/// One atomic append. Build with [`AppendRequest::new`], which checks the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// All must hold, else nothing is written. A stream that is not named may be at any version.
    pub expectations: Vec<Expectation>,
    /// In the order they will stand in the ledger.
    pub events: Vec<PreparedEvent>,
    /// Idempotency keys that stand for this append.
    pub keys: Vec<KeyClaim>,
}

impl AppendRequest {
    /// A request within the limits of `ruche_domain::limits`.
    ///
    /// # Errors
    /// `LimitExceeded` for size and count; `Invalid` for no events, a stream expected twice or a key claimed twice.
    pub fn new(
        expectations: Vec<Expectation>,
        events: Vec<PreparedEvent>,
        keys: Vec<KeyClaim>,
    ) -> Result<Self, LedgerError> {
        check(events.len(), limit::EVENTS_PER_APPEND_MAX, "append", "events")?;
        check(
            expectations.len(),
            limit::EXPECTATIONS_PER_APPEND_MAX,
            "append",
            "expectations",
        )?;
        check(
            keys.len(),
            limit::KEYS_PER_APPEND_MAX,
            "append",
            "idempotency keys",
        )?;
        if events.is_empty() {
            return Err(LedgerError::Invalid("an append has at least one event".into()));
        }
        for (n, e) in expectations.iter().enumerate() {
            if expectations[..n].iter().any(|other| other.stream == e.stream) {
                return Err(LedgerError::Invalid(format!(
                    "stream {} is expected twice",
                    e.stream
                )));
            }
        }
        for (n, key) in keys.iter().enumerate() {
            if keys[..n]
                .iter()
                .any(|other| (other.layer, other.key) == (key.layer, key.key))
            {
                return Err(LedgerError::Invalid(format!(
                    "a key of layer {} is claimed twice",
                    key.layer.name()
                )));
            }
        }
        let request = Self {
            expectations,
            events,
            keys,
        };
        check(
            request.payload_bytes(),
            limit::APPEND_BYTES_MAX,
            "append",
            "bytes",
        )?;
        let mut ids = HashSet::with_capacity(request.events.len());
        for (n, event) in request.events.iter().enumerate() {
            if event.event.event_type == OPENING_EVENT {
                return Err(LedgerError::Invalid(format!(
                    "{OPENING_EVENT} opens an epoch and is never appended"
                )));
            }
            if !ids.insert(event.event.event_id) {
                return Err(LedgerError::Invalid(format!(
                    "event {} stands twice",
                    event.event.event_id
                )));
            }
            event.check(if n == 0 { request.keys.as_slice() } else { &[] })?;
        }
        Ok(request)
    }

    /// Stored payload bytes of all events.
    pub fn payload_bytes(&self) -> usize {
        self.events
            .iter()
            .flat_map(|e| &e.payload)
            .map(|f| f.bytes.len())
            .sum()
    }
}

fn check(value: usize, limit: usize, what: &'static str, unit: &'static str) -> Result<(), LedgerError> {
    if value > limit {
        Err(LedgerError::limit(what, value, limit, unit))
    } else {
        Ok(())
    }
}

/// Where one event came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Place in the ledger, fixed for ever.
    pub position: Position,
    /// RFC 6962 leaf hash of the record.
    pub leaf_hash: Hash,
    /// When the ledger took it.
    pub recorded_at: Micros,
}

/// Answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The events are durable.
    Appended {
        /// One per event, in order.
        receipts: Vec<Receipt>,
        /// True if an earlier append with the same idempotency key is being repeated and nothing was written now.
        duplicate: bool,
    },
    /// An expectation does not hold; nothing was written. Reload and decide again.
    Conflict {
        /// The first stream that is not as expected.
        stream: StreamId,
        /// What was expected.
        expected: ExpectedVersion,
        /// Version of its last event.
        actual: Option<StreamVersion>,
    },
    /// An idempotency key stands for another request; nothing was written.
    KeyMismatch {
        /// Layer of the key.
        layer: KeyLayer,
    },
    /// It cannot be said whether the events were written. Ask again with the same idempotency key.
    Unknown,
}

/// The open end of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerHead {
    /// The open epoch.
    pub epoch: Epoch,
    /// Its origin.
    pub origin: String,
    /// Records in it.
    pub size: TreeSize,
    /// Leaf hash of the last record; absent only while the epoch is being opened.
    pub last_leaf_hash: Option<Hash>,
    /// Recorded-at of the last record of the ledger.
    pub last_recorded_at: Micros,
}

impl LedgerHead {
    /// Position of the last record, if there is one.
    pub fn last_position(&self) -> Option<Position> {
        let index = self.size.0.checked_sub(1)?;
        Some(Position {
            epoch: self.epoch,
            index: LeafIndex(index),
        })
    }

    /// Position that the next record will get.
    pub fn next_position(&self) -> Position {
        Position {
            epoch: self.epoch,
            index: self.size.next_index(),
        }
    }
}

/// One epoch of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its number.
    pub epoch: Epoch,
    /// Its origin.
    pub origin: String,
    /// Records in it.
    pub size: TreeSize,
}

/// Opening of an epoch: its origin and its record 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOpening {
    /// Origin of the new epoch.
    pub origin: String,
    /// End of the ledger that the opener saw; `None` for a ledger that does not exist yet. If the ledger has moved
    /// meanwhile, the opening is refused, so that record 0 never names a head that is not the last one.
    pub expected_end: Option<Position>,
    /// Number of the new epoch.
    pub epoch: Epoch,
    /// `infra.ledger.opened`.
    pub record: PreparedEvent,
}

impl EpochOpening {
    /// Refuses an opening whose record could not be read back.
    ///
    /// # Errors
    /// As [`PreparedEvent::check`]; `Invalid` for an origin that cannot stand in a leaf.
    pub fn check(&self) -> Result<(), LedgerError> {
        if self.origin.is_empty() {
            return Err(LedgerError::Invalid("an epoch has an origin".into()));
        }
        check(self.origin.len(), limit::ORIGIN_BYTES_MAX, "origin", "bytes")?;
        self.record.check(&[])
    }
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in its ledger.
    pub position: Position,
    /// The bytes that are hashed.
    pub leaf_bytes: Vec<u8>,
    /// What they say.
    pub leaf: Leaf,
    /// One per commitment, in order.
    pub payload: Vec<StoredFragment>,
}

impl Record {
    /// A record of stored bytes, checked against itself: canonical leaf, index as stored, a fragment per commitment,
    /// every present fragment opening its commitment. An engine returns nothing that fails here.
    ///
    /// # Errors
    /// `StoreError::Corrupt` naming position and fault.
    pub fn from_stored(
        position: Position,
        leaf_bytes: Vec<u8>,
        payload: Vec<StoredFragment>,
    ) -> Result<Self, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            place: format!("record {position}"),
            reason,
        };
        let leaf = Leaf::decode(&leaf_bytes).map_err(|e| corrupt(e.to_string()))?;
        if leaf.index != position.index {
            return Err(corrupt(format!("the leaf says index {}", leaf.index)));
        }
        if leaf.payload.len() != payload.len() {
            return Err(corrupt(format!(
                "{} fragments for {} commitments",
                payload.len(),
                leaf.payload.len()
            )));
        }
        for (n, (commitment, fragment)) in leaf.payload.iter().zip(&payload).enumerate() {
            if let StoredFragment::Present { opening, bytes } = fragment
                && !commitment.opens(opening, bytes)
            {
                return Err(corrupt(format!(
                    "payload fragment {n} does not open its commitment"
                )));
            }
        }
        Ok(Self {
            position,
            leaf_bytes,
            leaf,
            payload,
        })
    }

    /// RFC 6962 leaf hash.
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.leaf_bytes)
    }

    /// The event's own payload (fragment 0), if it is there.
    pub fn payload_bytes(&self) -> Option<&[u8]> {
        self.payload.first().and_then(StoredFragment::bytes)
    }

    /// The archive that has a fragment of the payload which is not here.
    pub fn archived_in(&self) -> Option<&ArchivedRange> {
        self.payload.iter().find_map(StoredFragment::archived_in)
    }

    /// Where it stands, as its author was told.
    pub fn receipt(&self) -> Receipt {
        Receipt {
            position: self.position,
            leaf_hash: self.leaf_hash(),
            recorded_at: self.leaf.recorded_at,
        }
    }
}

/// Why a store could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue is full, or others use all connections; nothing was written. Try again after the hint.
    #[error("too much is waiting for the ledger; try again in {retry_after_ms} ms")]
    Overloaded {
        /// Milliseconds.
        retry_after_ms: u64,
    },
    /// No such ledger or epoch; nothing was written.
    #[error("no such ledger")]
    NoSuchLedger,
    /// The request is not one that can be stored; nothing was written.
    #[error(transparent)]
    Refused(#[from] LedgerError),
    /// Another opener was first, or the ledger moved; nothing was written.
    #[error("the ledger moved while its epoch was being opened")]
    EpochMoved,
    /// The store cannot be reached or is closing; nothing was written. Try again later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// For the operator's log, not for clients.
        reason: String,
    },
    /// The payload of a record is in an archive that is not at hand here. Nothing was written; it helps to name the folder
    /// of archives, or to restore that archive.
    #[error(
        "the payload of record {position} is in the archive {archive}, which is not at hand: name the folder that it is in \
         with --archive-dir (RUCHE_ARCHIVE_DIR), or put it back with `ruche archive restore`"
    )]
    Archived {
        /// The first such record of what was asked for.
        position: Position,
        /// Name of the archive.
        archive: String,
    },
    /// Stored bytes contradict each other. Stop and verify; trying again does not help.
    #[error("{place} is corrupt: {reason}")]
    Corrupt {
        /// Which record, table or file.
        place: String,
        /// What contradicts what.
        reason: String,
    },
}

impl From<crate::wake::Closed> for StoreError {
    fn from(closed: crate::wake::Closed) -> Self {
        Self::Unavailable {
            reason: closed.to_string(),
        }
    }
}

impl StoreError {
    /// Whether the same request can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::Unavailable { .. } | Self::EpochMoved => true,
            Self::NoSuchLedger | Self::Refused(_) | Self::Archived { .. } | Self::Corrupt { .. } => false,
        }
    }
}

/// A store of ledgers.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Appends atomically and durably. If two answers apply, the first of this list is given: `Overloaded`,
    /// `NoSuchLedger`, duplicate or `KeyMismatch` (keys in the order given), `Conflict` (expectations in order).
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError>;

    /// Opens an epoch with its record 0, atomically; the epoch before it takes no more records.
    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError>;

    /// The open end of a ledger; `None` if there is no such ledger.
    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError>;

    /// Epochs of a ledger in order; empty if there is no such ledger.
    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError>;

    /// All ledgers, in no particular order.
    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError>;

    /// Up to `limit` records from `from` on, in order, running on into the next epochs. Empty at the end.
    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError>;

    /// Up to `limit` records of a stream from `from` on, in order.
    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError>;

    /// Version of the last event of a stream.
    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError>;

    /// Resolves once a record stands at or behind `position`. A wake-up only: read again afterwards.
    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError>;
}
