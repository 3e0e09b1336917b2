//! What a pure crate may ask of the world: the time and randomness. Implemented in `api`, faked in tests.

use crate::ids::EventId;
use crate::numbers::Micros;

/// The wall clock of the process.
pub trait Clock: Send + Sync {
    /// Now, microseconds since 1970 UTC. May jump backwards; the ledger never lets recorded-at decrease.
    fn now(&self) -> Micros;
}

/// A cryptographically secure source of random bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// A fresh UUIDv7 event id.
pub fn event_id(clock: &dyn Clock, random: &dyn Random) -> EventId {
    let mut bytes = [0u8; 10];
    random.fill(&mut bytes);
    EventId::v7(clock.now().as_millis(), bytes)
}
