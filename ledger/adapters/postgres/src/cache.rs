//! What a writer remembers of its ledgers: exact for the heads that it knows, and worth nothing once those have moved.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash as Hashable;
use std::mem;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Micros, StreamVersion, TreeSize};
use ruche_domain::stream::StreamId;
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::KeyLayer;
use ruche_ledger::sequencer::{Heads, KeyEntry};
use ruche_ledger::store::{LedgerHead, StoreError};
use tokio_postgres::Row;

/// Streams of all ledgers of a writer whose version is remembered; the same number again may be kept of those used
/// before. An entry has 48 bytes and one of the table; a table is filled between 7/16 and 7/8, so 65,536 of them take up
/// to 49 * 65,536 * 16 / 7 = 7.3 MB, and both generations 14.7 MB.
const STREAMS_CACHED: usize = 65_536;
const _: () = assert!(size_of::<((Reading, StreamId), Option<StreamVersion>)>() == 48);
/// Ledgers whose head is remembered; the same again. An entry has 128 bytes, one of the table and an origin of at most 128
/// bytes, so both generations take up to 2 * 4,096 * (129 * 16 / 7 + 128) = 3.5 MB.
const HEADS_CACHED: usize = 4_096;
const _: () = assert!(size_of::<(LedgerId, (Reading, LedgerHead))>() <= 128);

/// Number of a time that a head was read. What is remembered under it is exact for that head and for those that this
/// writer moved it to; once the head is read again, it is never found again and makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reading(u64);

/// What is remembered.
pub(crate) struct Cache {
    heads: Generations<LedgerId, (Reading, LedgerHead)>,
    streams: Generations<(Reading, StreamId), Option<StreamVersion>>,
    readings: u64,
}

/// All that one group of requests asks of its ledger, as it is at a head, or as it is guessed to be.
pub(crate) struct Known {
    pub reading: Reading,
    pub head: LedgerHead,
    /// The streams that are asked about; `None` for one that does not exist.
    pub streams: HashMap<StreamId, Option<StreamVersion>>,
    /// Their keys. Absent: not used, as far as anybody looked.
    pub keys: HashMap<(KeyLayer, [u8; 32]), KeyEntry>,
    /// Whether the rest is guessed that nearly always holds: that keys are new, and that streams are absent which are
    /// expected to be. The statement that appends finds out what does not hold, of what it appends.
    pub guesses: bool,
    /// Streams that were guessed to be absent.
    pub guessed: Vec<StreamId>,
}

impl Heads for Known {
    type Error = Infallible;

    fn stream_version(&mut self, stream: &StreamId) -> Result<Option<StreamVersion>, Infallible> {
        let version = self.streams.get(stream);
        Ok(*version.expect("the streams of a request are looked up before it is decided"))
    }

    fn key(&mut self, layer: KeyLayer, key: &[u8; 32]) -> Result<Option<KeyEntry>, Infallible> {
        Ok(self.keys.get(&(layer, *key)).copied())
    }
}

impl Known {
    pub(crate) fn new(reading: Reading, head: LedgerHead) -> Self {
        Self {
            reading,
            head,
            streams: HashMap::new(),
            keys: HashMap::new(),
            guesses: false,
            guessed: Vec::new(),
        }
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self::of(HEADS_CACHED, STREAMS_CACHED)
    }

    fn of(heads: usize, streams: usize) -> Self {
        Self {
            heads: Generations::new(heads),
            streams: Generations::new(streams),
            readings: 0,
        }
    }

    /// A ledger as it was left.
    pub(crate) fn known(&mut self, ledger: LedgerId) -> Option<Known> {
        let (reading, head) = self.heads.get(&ledger)?;
        Some(Known::new(*reading, head.clone()))
    }

    /// Remembers a head that was read, and nothing else of its ledger.
    pub(crate) fn read(&mut self, ledger: LedgerId, head: LedgerHead) -> Known {
        self.readings += 1;
        let reading = Reading(self.readings);
        self.heads.insert(ledger, (reading, head.clone()));
        Known::new(reading, head)
    }

    /// What is remembered of a stream: its version, `None` if it does not exist.
    pub(crate) fn stream(&mut self, reading: Reading, stream: StreamId) -> Option<Option<StreamVersion>> {
        self.streams.get(&(reading, stream)).copied()
    }

    /// Remembers the version of a stream.
    pub(crate) fn learn(&mut self, reading: Reading, stream: StreamId, version: Option<StreamVersion>) {
        self.streams.insert((reading, stream), version);
    }

    /// Takes over what a batch has made true.
    pub(crate) fn moved(
        &mut self,
        ledger: LedgerId,
        reading: Reading,
        head: LedgerHead,
        streams: HashMap<StreamId, StreamVersion>,
    ) {
        self.heads.insert(ledger, (reading, head));
        for (stream, version) in streams {
            self.learn(reading, stream, Some(version));
        }
    }

    /// Forgets a ledger.
    pub(crate) fn forget(&mut self, ledger: LedgerId) {
        self.heads.remove(&ledger);
    }
}

/// Two generations of entries. A full young one becomes the old one, and the old one is forgotten; what is used moves to
/// the young one. Holds at most twice `entries_max`, at a constant cost for each use.
pub(crate) struct Generations<K, V> {
    entries_max: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hashable + Eq + Clone, V> Generations<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(key.clone(), value);
        }
        self.young.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.entries_max {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// A row of `head`.
pub(crate) fn head(row: &Row) -> Result<(LedgerId, LedgerHead), StoreError> {
    let head = LedgerHead {
        epoch: Epoch(number(row, 1) as u32),
        origin: row.get(2),
        size: TreeSize(number(row, 3)),
        last_leaf_hash: Some(hash(row, 4)?),
        last_recorded_at: Micros(number(row, 5)),
    };
    Ok((LedgerId(row.get(0)), head))
}

/// A column that is never negative.
pub(crate) fn number(row: &Row, at: usize) -> u64 {
    row.get::<_, i64>(at).cast_unsigned()
}

pub(crate) fn hash(row: &Row, at: usize) -> Result<Hash, StoreError> {
    Hash::from_slice(row.get(at)).ok_or_else(|| corrupt("a hash has 32 bytes"))
}

pub(crate) fn stream(name: &str) -> Result<StreamId, StoreError> {
    name.parse().map_err(|_| corrupt("the name of a stream"))
}

pub(crate) fn layer(number: i16) -> Result<KeyLayer, StoreError> {
    u64::try_from(number)
        .ok()
        .and_then(KeyLayer::from_code)
        .ok_or_else(|| corrupt("a layer of a key"))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt {
        place: "the tables of the ledger".into(),
        reason: format!("{what} cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::testing::ledger;
    use uuid::Uuid;

    use super::*;

    fn head(size: u64) -> LedgerHead {
        LedgerHead {
            epoch: Epoch(1),
            origin: "test.example/l/e1".into(),
            size: TreeSize(size),
            last_leaf_hash: Some(Hash([size as u8; 32])),
            last_recorded_at: Micros(0),
        }
    }

    fn stream(n: u128) -> StreamId {
        StreamId::new(ruche_domain::stream::Category::Session, Uuid::from_u128(n))
    }

    #[test]
    fn one_bound_holds_over_all_ledgers_and_what_is_used_stays() {
        let mut cache = Cache::of(4, 8);
        for n in 0..100 {
            let known = cache.read(ledger(n), head(1));
            for s in 0..20 {
                cache.learn(known.reading, stream(s), None);
                cache.learn(known.reading, stream(1_000), Some(StreamVersion(3)));
                assert_eq!(
                    cache.stream(known.reading, stream(1_000)),
                    Some(Some(StreamVersion(3)))
                );
            }
            assert!(cache.streams.young.len() + cache.streams.old.len() <= 16);
            assert!(cache.heads.young.len() + cache.heads.old.len() <= 8);
        }
        assert!(cache.known(ledger(99)).is_some());
        assert!(cache.known(ledger(0)).is_none());
    }

    #[test]
    fn what_was_known_of_a_head_that_moved_is_never_found_again() {
        let mut cache = Cache::of(4, 8);
        let before = cache.read(ledger(1), head(1)).reading;
        cache.learn(before, stream(1), None);
        cache.moved(
            ledger(1),
            before,
            head(2),
            HashMap::from([(stream(2), StreamVersion(0))]),
        );
        assert_eq!(cache.known(ledger(1)).map(|known| known.head), Some(head(2)));
        assert_eq!(cache.stream(before, stream(1)), Some(None));
        assert_eq!(cache.stream(before, stream(2)), Some(Some(StreamVersion(0))));
        cache.forget(ledger(1));
        assert!(cache.known(ledger(1)).is_none());
        let after = cache.read(ledger(1), head(9)).reading;
        assert_eq!(cache.stream(after, stream(1)), None);
        assert_eq!(cache.stream(after, stream(2)), None);
    }
}
