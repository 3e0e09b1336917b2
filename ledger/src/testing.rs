//! Tests for every engine (feature `testing`): one contract suite, a store that injects faults, fakes for the ports.
//!
//! An engine calls [`contract::run`] with a way to make an empty store, and [`check_ledger`] whenever it wants a whole
//! ledger judged.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::{EpochReason, InfraLedgerOpened};
use ruche_domain::ids::{EventId, LedgerId};
use ruche_domain::numbers::{Epoch, Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::{Clock, Random};
use ruche_domain::stream::{Category, StreamId};
use uuid::Uuid;

use crate::hash::Hash;
use crate::leaf::{KeyClaim, KeyLayer};
use crate::payload::{Fragment, JSON};
use crate::store::{
    AppendOutcome, AppendRequest, EpochOpening, EventStore, Expectation, ExpectedVersion, PreparedEvent,
    Receipt, StoreError,
};

#[allow(clippy::unwrap_used, reason = "a panic here is the finding of a test")]
pub mod contract;
pub mod faults;
pub mod archives;
pub mod watched;

/// A clock that stands still until it is moved.
#[derive(Default)]
pub struct FixedClock(pub AtomicU64);

impl FixedClock {
    /// A clock at `micros`.
    pub fn at(micros: u64) -> Self {
        Self(AtomicU64::new(micros))
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }
}

/// Reproducible bytes: SplitMix64 from a seed. Not secure.
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().expect("no holder of the seed panics");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// Makes valid requests without ceremony.
pub struct Author {
    random: SeededRandom,
}

impl Author {
    /// The author of `seed`: same seed, same ids and openings.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SeededRandom::new(seed),
        }
    }

    /// A stream of the session category.
    pub fn stream(&self, n: u128) -> StreamId {
        StreamId::new(Category::Session, Uuid::from_u128(n))
    }

    /// An event with `text` as its JSON payload.
    pub fn event(&self, stream: StreamId, text: &str) -> PreparedEvent {
        self.typed_event(stream, "message.received", text.as_bytes().to_vec())
    }

    /// An event of any type.
    pub fn typed_event(&self, stream: StreamId, event_type: &str, payload: Vec<u8>) -> PreparedEvent {
        let mut id = [0u8; 10];
        self.random.fill(&mut id);
        let event = ACFEvent::new(
            EventId::v7(1_700_000_000_000, id),
            stream,
            event_type,
            SchemaVersion(1),
            Micros(1_700_000_000_000_000),
            Actor::SYSTEM,
        );
        let payload = Fragment::plain(&self.random, JSON, payload).expect("test payloads are small");
        PreparedEvent {
            event,
            payload: vec![payload],
        }
    }

    /// A request without expectations and keys.
    pub fn append(&self, events: Vec<PreparedEvent>) -> AppendRequest {
        AppendRequest::new(vec![], events, vec![]).expect("within the limits")
    }

    /// A request that expects its stream to be at a version.
    pub fn append_expecting(&self, expected: ExpectedVersion, events: Vec<PreparedEvent>) -> AppendRequest {
        let stream = events[0].event.stream;
        let expectation = Expectation {
            stream,
            version: expected,
        };
        AppendRequest::new(vec![expectation], events, vec![]).expect("within the limits")
    }

    /// A request under an idempotency key.
    pub fn append_keyed(&self, key: u8, request: u8, events: Vec<PreparedEvent>) -> AppendRequest {
        AppendRequest::new(vec![], events, vec![claim(key, request)]).expect("within the limits")
    }

    /// The opening of an epoch, whose payload says as little as it may.
    pub fn opening(&self, ledger: LedgerId, epoch: u32, expected_end: Option<Position>) -> EpochOpening {
        let stream = StreamId::new(Category::Ledger, ledger.0);
        let origin = format!("test.example/{}/e{epoch}", ledger.0.as_simple());
        let said = InfraLedgerOpened::new(
            "test.example".to_owned(),
            origin.clone(),
            String::new(),
            Epoch(epoch),
            EpochReason::Created,
        );
        let payload = AgentEvent::from(said).to_payload();
        EpochOpening {
            origin,
            expected_end,
            epoch: Epoch(epoch),
            record: self.typed_event(stream, "infra.ledger.opened", payload),
        }
    }
}

/// A claim of an API key; both hashes are the byte repeated.
pub fn claim(key: u8, request: u8) -> KeyClaim {
    KeyClaim {
        layer: KeyLayer::Api,
        key: [key; 32],
        request: [request; 32],
    }
}

/// The ledger with this number.
pub fn ledger(n: u128) -> LedgerId {
    LedgerId(Uuid::from_u128(n))
}

/// The receipts of an append that must have succeeded.
pub fn appended(outcome: Result<AppendOutcome, StoreError>) -> Vec<Receipt> {
    match outcome {
        Ok(AppendOutcome::Appended {
            receipts,
            duplicate: false,
        }) => receipts,
        other => panic!("not appended: {other:?}"),
    }
}

/// Reads a whole ledger and judges it without the sequencer: dense indexes, chain, append ranges, stream versions,
/// time, payloads. Returns how many records it has.
///
/// # Panics
/// With the position and the rule that is broken.
pub async fn check_ledger(store: &dyn EventStore, ledger: LedgerId) -> u64 {
    let mut model = Judge::default();
    let mut from = Position::START;
    loop {
        let records = store
            .read_ledger(ledger, from, 100)
            .await
            .expect("the ledger can be read");
        let Some(last) = records.last() else { break };
        from = last.position.next();
        for record in &records {
            model.record(record);
        }
    }
    assert_eq!(model.open_append, 0, "the ledger ends inside an append");
    let head = store
        .head(ledger)
        .await
        .expect("the head can be read")
        .expect("the ledger exists");
    assert_eq!(head.last_position(), model.last, "the head is the last record");
    assert_eq!(
        head.last_leaf_hash, model.last_hash,
        "the head knows the last leaf hash"
    );
    for (stream, version) in &model.streams {
        let stored = store
            .stream_version(ledger, *stream)
            .await
            .expect("streams can be read");
        assert_eq!(stored, Some(*version), "version of {stream}");
    }
    model.count
}

#[derive(Default)]
struct Judge {
    count: u64,
    last: Option<Position>,
    last_hash: Option<Hash>,
    last_time: Micros,
    origin: String,
    open_append: u64,
    streams: std::collections::HashMap<StreamId, StreamVersion>,
    ids: std::collections::HashSet<EventId>,
}

impl Judge {
    fn record(&mut self, record: &crate::store::Record) {
        let (at, leaf) = (record.position, &record.leaf);
        let new_epoch = self.last.is_none_or(|last| at.epoch != last.epoch);
        if new_epoch {
            assert_eq!(at.index.0, 0, "{at}: an epoch starts at 0");
            assert_ne!(
                leaf.origin, self.origin,
                "{at}: an epoch has an origin of its own"
            );
            self.origin.clone_from(&leaf.origin);
            self.last_hash = None;
        } else {
            assert_eq!(Some(at), self.last.map(Position::next), "{at}: indexes are dense");
        }
        assert_eq!(leaf.origin, self.origin, "{at}: origin");
        assert_eq!(leaf.previous, self.last_hash, "{at}: chain");
        if self.open_append == 0 {
            assert_eq!(
                leaf.append.first, at.index,
                "{at}: an append starts at its first record"
            );
            self.open_append = u64::from(leaf.append.count);
        }
        let end = leaf.append.first.0 + u64::from(leaf.append.count);
        assert_eq!(end - at.index.0, self.open_append, "{at}: append range");
        self.open_append -= 1;
        assert!(leaf.recorded_at >= self.last_time, "{at}: time");
        assert!(self.ids.insert(leaf.event.event_id), "{at}: event id repeats");
        let expected = self
            .streams
            .get(&leaf.event.stream)
            .map_or(StreamVersion::FIRST, |v| v.next());
        assert_eq!(
            leaf.stream_version, expected,
            "{at}: version of {}",
            leaf.event.stream
        );
        self.streams.insert(leaf.event.stream, leaf.stream_version);
        self.last = Some(at);
        self.last_hash = Some(record.leaf_hash());
        self.last_time = leaf.recorded_at;
        self.count += 1;
    }
}
