//! Streams that commands looked at lately, as they were read: a command on a long lane reads what is new, and not all of it.
//!
//! # Why nothing wrong is decided on it
//!
//! - A stream only grows, and what stands at a version stands there for ever. So what is kept may be short, and is never
//!   another past than the store's.
//! - It is never believed to be all: each load asks the store for what is behind it, beginning with the last record that is
//!   kept. Where the store has another one there, as after a restore into a new epoch, all of it is read anew. A leaf's
//!   hash covers the leaf before, so one record vouches for those in front of it.
//! - The append names the versions that the decision was made on, as ever. A ledger that takes no appends is read as ever.
//!
//! A payload that is erased stays in memory until its stream is dropped from here, after [`RECENT_STREAM_US_MAX`] at the
//! latest; nothing erases payloads yet, and whoever does has to call [`Recent::forget`].

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{
    RECENT_STREAM_BYTES_MAX, RECENT_STREAM_EVENTS_MIN, RECENT_STREAM_US_MAX, RECENT_STREAMS_BYTES_MAX,
    RECENT_STREAMS_MAX,
};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::StreamId;

use crate::command::PastEvent;

/// Bytes that an event takes beside its payload, which is there as stored, as read, and as the machine of lanes takes it.
const EVENT_BYTES: usize = 2_048;
const COPIES_OF_PAYLOAD: usize = 3;

/// The first events of a stream, in order. Shared with whoever decides on them.
pub(super) type Kept = Arc<Vec<Arc<PastEvent>>>;

type Key = (LedgerId, StreamId);

/// Streams of all ledgers, those that were used last.
pub(super) struct Recent(Mutex<Streams>);

struct Streams {
    by_use: LruCache<Key, Stream>,
    bytes: usize,
}

struct Stream {
    events: Kept,
    bytes: usize,
    /// When the first of them was read.
    since: Micros,
}

impl Recent {
    /// Nothing is kept yet.
    pub fn new() -> Self {
        let streams_max = NonZeroUsize::new(RECENT_STREAMS_MAX).expect("a bound is no zero");
        Self(Mutex::new(Streams {
            by_use: LruCache::new(streams_max),
            bytes: 0,
        }))
    }

    /// What is kept of a stream.
    pub fn get(&self, ledger: LedgerId, stream: StreamId, now: Micros) -> Kept {
        let mut streams = self.lock();
        let known = streams.by_use.get(&(ledger, stream));
        match known.map(|known| (known.events.clone(), known.since)) {
            Some((events, since)) if now.0.saturating_sub(since.0) <= RECENT_STREAM_US_MAX => events,
            Some(_) => {
                streams.remove((ledger, stream));
                Kept::default()
            }
            None => Kept::default(),
        }
    }

    /// Keeps what was read behind `kept`. A short stream is read as fast as it is looked up.
    pub fn put(&self, key: Key, kept: Kept, fresh: Vec<Arc<PastEvent>>, now: Micros) {
        let short = kept.len() + fresh.len() < RECENT_STREAM_EVENTS_MIN;
        if fresh.is_empty() || short {
            return;
        }
        let added: usize = fresh.iter().map(|event| bytes_of(event)).sum();
        let mut streams = self.lock();
        let stream = match streams.remove(key) {
            // Somebody else was here with the same or more. Both are right; the shorter one is forgotten.
            Some(other) if other.events.len() != kept.len() => {
                if other.events.len() >= kept.len() + fresh.len() {
                    return streams.insert(key, other);
                }
                Stream::of(&kept, fresh, now)
            }
            Some(mut same) => {
                // Not the last one that holds it: then it is copied, which is a list of pointers.
                drop(kept);
                Arc::make_mut(&mut same.events).extend(fresh);
                same.bytes += added;
                same
            }
            None => Stream::of(&kept, fresh, now),
        };
        streams.insert(key, stream);
    }

    /// Keeps nothing of a stream.
    pub fn forget(&self, ledger: LedgerId, stream: StreamId) {
        self.lock().remove((ledger, stream));
    }

    /// The lock is held for moves of whole entries only.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn of(kept: &Kept, fresh: Vec<Arc<PastEvent>>, since: Micros) -> Self {
        let events: Vec<Arc<PastEvent>> = kept.iter().cloned().chain(fresh).collect();
        let bytes = events.iter().map(|event| bytes_of(event)).sum();
        Self {
            events: Arc::new(events),
            bytes,
            since,
        }
    }
}

impl Streams {
    fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = self.by_use.pop(&key)?;
        self.bytes -= stream.bytes;
        Some(stream)
    }

    fn insert(&mut self, key: Key, stream: Stream) {
        if stream.bytes > RECENT_STREAM_BYTES_MAX {
            return;
        }
        self.bytes += stream.bytes;
        if let Some((_, before)) = self.by_use.push(key, stream) {
            self.bytes -= before.bytes;
        }
        while self.bytes > RECENT_STREAMS_BYTES_MAX
            && let Some((_, oldest)) = self.by_use.pop_lru()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

fn bytes_of(event: &PastEvent) -> usize {
    EVENT_BYTES + COPIES_OF_PAYLOAD * event.recorded.payload.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use ruche_domain::event::AgentEvent;
    use ruche_domain::events::TurnCommitted;
    use ruche_domain::numbers::StreamVersion;
    use ruche_domain::stream::Category;
    use uuid::Uuid;

    use super::*;
    use crate::testing::{TEST_NOW, past_event};

    fn key(n: u128) -> Key {
        (
            LedgerId(Uuid::from_u128(1)),
            StreamId::new(Category::Lane, Uuid::from_u128(n)),
        )
    }

    /// Events of a stream from a version on, each with a payload of so many bytes.
    fn events(n: u128, from: usize, count: usize, bytes: usize) -> Vec<Arc<PastEvent>> {
        let event = |version: usize| {
            let fact = AgentEvent::from(TurnCommitted::default());
            let mut event = past_event(key(n).1, fact, StreamVersion(version as u64), version as u64);
            event.recorded.payload = Some(vec![b' '; bytes]);
            Arc::new(event)
        };
        (from..from + count).map(event).collect()
    }

    fn put(recent: &Recent, n: u128, count: usize, bytes: usize) {
        recent.put(key(n), Kept::default(), events(n, 0, count, bytes), TEST_NOW);
    }

    fn kept(recent: &Recent, n: u128) -> usize {
        recent.get(key(n).0, key(n).1, TEST_NOW).len()
    }

    #[test]
    fn what_is_kept_grows_and_never_shrinks() {
        let recent = Recent::new();
        put(&recent, 1, RECENT_STREAM_EVENTS_MIN - 1, 9);
        assert_eq!(kept(&recent, 1), 0, "it is too short");
        put(&recent, 1, 40, 9);
        let seen = recent.get(key(1).0, key(1).1, TEST_NOW);
        recent.put(key(1), seen.clone(), events(1, 40, 2, 9), TEST_NOW);
        assert_eq!(
            (kept(&recent, 1), seen.len()),
            (42, 40),
            "who decides on it sees what it was"
        );
        // Somebody who saw less comes late.
        recent.put(key(1), seen.clone(), events(1, 40, 1, 9), TEST_NOW);
        assert_eq!(kept(&recent, 1), 42);
        recent.put(key(1), seen, events(1, 40, 9, 9), TEST_NOW);
        let last = recent
            .get(key(1).0, key(1).1, TEST_NOW)
            .last()
            .map(|last| last.version);
        assert_eq!((kept(&recent, 1), last), (49, Some(StreamVersion(48))));
        recent.forget(key(1).0, key(1).1);
        assert_eq!((kept(&recent, 1), recent.lock().bytes), (0, 0));
    }

    #[test]
    fn it_is_bounded_in_bytes_in_streams_and_in_time() {
        let recent = Recent::new();
        put(&recent, 1, 33, RECENT_STREAM_BYTES_MAX / 33);
        assert_eq!(kept(&recent, 1), 0, "one stream is not all there is");
        for n in 1..=20 {
            put(
                &recent,
                n,
                40,
                (RECENT_STREAM_BYTES_MAX / 40 - EVENT_BYTES) / COPIES_OF_PAYLOAD,
            );
            assert_eq!(kept(&recent, 1), 40, "what is used stays");
            let streams = recent.lock();
            let bytes: usize = streams.by_use.iter().map(|(_, stream)| stream.bytes).sum();
            assert_eq!(bytes, streams.bytes);
            assert!(bytes <= RECENT_STREAMS_BYTES_MAX, "{bytes}");
        }
        assert_eq!(kept(&recent, 2), 0, "what is not used goes");
        let later = Micros(TEST_NOW.0 + RECENT_STREAM_US_MAX + 1);
        assert_eq!(recent.get(key(20).0, key(20).1, later).len(), 0);
        for n in 0..RECENT_STREAMS_MAX as u128 + 9 {
            put(&recent, 100 + n, RECENT_STREAM_EVENTS_MIN, 0);
        }
        let streams = recent.lock();
        let bytes: usize = streams.by_use.iter().map(|(_, stream)| stream.bytes).sum();
        assert_eq!(
            (bytes, streams.by_use.len() <= RECENT_STREAMS_MAX),
            (streams.bytes, true)
        );
    }
}
