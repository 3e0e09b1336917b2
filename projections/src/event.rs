//! An event as projections see it: the record, and its payload read once for all of them.

use ruche_domain::envelope::ACFEvent;
use ruche_domain::error::DomainError;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::Category;
use ruche_ledger::store::Record;

use crate::bounds;
use crate::projection::PoisonReason;

/// Bits of the index in a packed position.
const INDEX_BITS: u32 = 40;
/// Greatest epoch of a packed position, so that it is never negative.
const EPOCH_MAX: u32 = (1 << 23) - 1;

/// A position in one integer column, in the same order: `epoch << 40 | index`.
///
/// # Errors
/// An epoch above 8 million or an index above 10^12; no engine gets there.
pub fn pack(position: Position) -> Result<i64, PoisonReason> {
    let fits = position.epoch.0 <= EPOCH_MAX && position.index.0 < 1 << INDEX_BITS;
    if !fits {
        return Err(PoisonReason::TooLarge("a position"));
    }
    Ok(i64::from(position.epoch.0) << INDEX_BITS | position.index.0.cast_signed())
}

/// The position that an integer column holds.
pub fn unpack(packed: i64) -> Position {
    let packed = packed.cast_unsigned();
    let epoch = u32::try_from(packed >> INDEX_BITS).unwrap_or(u32::MAX);
    Position::new(epoch, packed & ((1 << INDEX_BITS) - 1))
}

/// What is known of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Read.
    Present(Box<AgentEvent>),
    /// Bytes and opening are gone.
    Erased,
    /// The bytes are there and this program cannot read them.
    Unreadable(DomainError),
}

/// A record and its payload.
#[derive(Clone, Debug)]
pub struct ProjectedEvent {
    /// Whose event it is.
    pub ledger: LedgerId,
    /// The record as stored.
    pub record: Record,
    /// Its payload, read.
    pub payload: Payload,
}

impl ProjectedEvent {
    /// Reads the payload of a record.
    pub fn new(ledger: LedgerId, record: Record) -> Self {
        let header = &record.leaf.event;
        let payload = match record.payload_bytes() {
            None => Payload::Erased,
            Some(bytes) => match AgentEvent::from_payload(&header.event_type, header.schema_version, bytes) {
                Ok(AgentEvent::Simulated(inner)) => Payload::Present(inner),
                Ok(event) => Payload::Present(Box::new(event)),
                Err(error) => Payload::Unreadable(error),
            },
        };
        Self {
            ledger,
            record,
            payload,
        }
    }

    /// The envelope.
    pub fn header(&self) -> &ACFEvent {
        &self.record.leaf.event
    }

    /// Event type without the `sim.` of simulations.
    pub fn event_type(&self) -> &str {
        let name = self.header().event_type.as_str();
        name.strip_prefix("sim.").unwrap_or(name)
    }

    /// The part of the event type before its first dot.
    pub fn family(&self) -> &str {
        self.event_type().split('.').next().unwrap_or_default()
    }

    /// What happened; nothing where the payload was erased. A simulated event counts as what it simulates.
    ///
    /// # Errors
    /// The payload is there and cannot be read.
    pub fn agent(&self) -> Result<Option<&AgentEvent>, PoisonReason> {
        match &self.payload {
            Payload::Present(event) => Ok(Some(event)),
            Payload::Erased => Ok(None),
            Payload::Unreadable(error) => Err(PoisonReason::Payload(error.clone())),
        }
    }

    /// Whether bytes and opening of the payload are gone.
    pub fn is_erased(&self) -> bool {
        self.payload == Payload::Erased
    }

    /// Whose event it is, as a key.
    pub fn ledger_key(&self) -> [u8; 16] {
        *self.ledger.as_bytes()
    }

    /// The lane whose stream the event stands in, as a key.
    pub fn lane_key(&self) -> Option<[u8; 16]> {
        let stream = &self.header().stream;
        (stream.category == Category::Lane).then(|| stream.id.into_bytes())
    }

    /// The position, packed.
    ///
    /// # Errors
    /// It does not fit.
    pub fn place(&self) -> Result<i64, PoisonReason> {
        pack(self.record.position)
    }

    /// When it happened; where that is no time of a calendar, when the ledger took it.
    ///
    /// # Errors
    /// Those of [`Self::recorded_at`].
    pub fn occurred_at(&self) -> Result<i64, PoisonReason> {
        bounds::time(Some(self.header().occurred_at)).map_or_else(|| self.recorded_at(), Ok)
    }

    /// A time that the payload tells; where it tells none that can be held, when the event happened.
    ///
    /// # Errors
    /// Those of [`Self::recorded_at`].
    pub fn time_or_occurred(&self, told: Option<Micros>) -> Result<i64, PoisonReason> {
        bounds::time(told).map_or_else(|| self.occurred_at(), Ok)
    }

    /// When the ledger took it.
    ///
    /// # Errors
    /// Later than the year 294,246: the clock of the ledger was wrong, whatever the client sent.
    pub fn recorded_at(&self) -> Result<i64, PoisonReason> {
        let time = self.record.leaf.recorded_at.0;
        i64::try_from(time).map_err(|_| PoisonReason::TooLarge("a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_positions_keep_their_order() {
        let positions = [
            Position::new(1, 0),
            Position::new(1, 1),
            Position::new(1, (1 << 40) - 1),
            Position::new(2, 0),
            Position::new((1 << 23) - 1, (1 << 40) - 1),
        ];
        let packed: Vec<i64> = positions.iter().map(|p| pack(*p).unwrap()).collect();
        assert!(packed.is_sorted());
        assert!(packed.iter().all(|p| *p > 0));
        assert!(
            packed
                .iter()
                .zip(positions)
                .all(|(packed, p)| unpack(*packed) == p)
        );
        assert!(pack(Position::new(1, 1 << 40)).is_err());
        assert!(pack(Position::new(1 << 23, 0)).is_err());
    }
}
