//! The leaf: the header of a record, as stored, hashed and proven. Layout: `docs/formats/record.md`.
//!
//! One fixed-position array of deterministic CBOR. Encoding is total and decoding accepts exactly what encoding
//! produces, so "re-encode and compare" holds for every leaf that this module returns.

mod decode;

pub(crate) use decode::check;

use ruche_domain::envelope::{ACFEvent, Actor, TraceContext};
use ruche_domain::limits::LEAF_BYTES_MAX;
use ruche_domain::numbers::{LeafIndex, Micros, StreamVersion};
use ruche_domain::stream::STREAM_BYTES_MAX;

use crate::cbor::Writer;
use crate::error::LeafError;
use crate::hash::{Hash, leaf_hash};
use crate::payload::Commitment;

/// Format version of leaves written today.
pub const FORMAT_VERSION: u64 = 1;
/// Items of the array of format version 1.
const FIELDS: usize = 28;

/// Which idempotency layer a key belongs to (design §5). The number stands in leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyLayer {
    /// One API call.
    Api = 0,
    /// One message of a turn.
    Turn = 1,
    /// One effect of a tool.
    Tool = 2,
}

impl KeyLayer {
    /// The layer of a stored number.
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Api, Self::Turn, Self::Tool]
            .into_iter()
            .find(|layer| *layer as u64 == code)
    }

    /// Name in errors and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Turn => "turn",
            Self::Tool => "tool",
        }
    }
}

/// An idempotency key as it stands in a leaf: keyed hashes only, never the client's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyClaim {
    /// Layer that the key protects.
    pub layer: KeyLayer,
    /// Keyed hash of layer and key.
    pub key: [u8; 32],
    /// Keyed hash of the request that the key stands for.
    pub request: [u8; 32],
}

/// Which records came in one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendRange {
    /// Index of the first record of the append.
    pub first: LeafIndex,
    /// How many records it has.
    pub count: u32,
}

/// A whole leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Origin of the epoch; a leaf belongs to one log only.
    pub origin: String,
    /// Index in the epoch.
    pub index: LeafIndex,
    /// Leaf hash of the record before; absent for index 0 only.
    pub previous: Option<Hash>,
    /// The append it came in.
    pub append: AppendRange,
    /// Who, when, why.
    pub event: ACFEvent,
    /// Version of the event in its stream.
    pub stream_version: StreamVersion,
    /// When the ledger took it; never decreases within a ledger.
    pub recorded_at: Micros,
    /// Idempotency keys of the append, on its first record only.
    pub keys: Vec<KeyClaim>,
    /// One commitment per payload fragment.
    pub payload: Vec<Commitment>,
}

impl Leaf {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.encode_into(&mut out);
        out
    }

    /// Appends the stored bytes to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let place = Place {
            origin: &self.origin,
            index: self.index,
            previous: self.previous,
            append: self.append,
            stream_version: self.stream_version,
            recorded_at: self.recorded_at,
        };
        encode(out, &place, &self.event, &self.keys, self.payload.iter());
    }

    /// The leaf of stored bytes.
    ///
    /// # Errors
    /// `LeafError` naming the field. Bytes that this encoder would not write are always refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLong(bytes.len()));
        }
        let leaf = decode::leaf(bytes)?;
        // The reader already refuses every other spelling; comparing proves it for these very bytes.
        let mut again = Vec::with_capacity(bytes.len());
        leaf.encode_into(&mut again);
        if again != bytes {
            return Err(LeafError::NotCanonical);
        }
        Ok(leaf)
    }

    /// RFC 6962 leaf hash of the stored bytes.
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}

/// What sequencing adds to an event.
pub(crate) struct Place<'a> {
    pub(crate) origin: &'a str,
    pub(crate) index: LeafIndex,
    pub(crate) previous: Option<Hash>,
    pub(crate) append: AppendRange,
    pub(crate) stream_version: StreamVersion,
    pub(crate) recorded_at: Micros,
}

/// Appends the stored bytes of a leaf to `out`.
pub(crate) fn encode<'a>(
    out: &mut Vec<u8>,
    place: &Place<'_>,
    e: &ACFEvent,
    keys: &[KeyClaim],
    payload: impl ExactSizeIterator<Item = &'a Commitment>,
) {
    let mut w = Writer(out);
    w.array(FIELDS);
    w.uint(FORMAT_VERSION);
    w.text(place.origin);
    w.uint(place.index.0);
    optional(
        &mut w,
        place.previous.as_ref().map(Hash::as_bytes).map(|h| &h[..]),
    );
    w.array(2);
    w.uint(place.append.first.0);
    w.uint(u64::from(place.append.count));
    w.bytes(e.event_id.as_bytes());
    w.text(e.stream.write(&mut [0; STREAM_BYTES_MAX]));
    w.uint(place.stream_version.0);
    w.text(&e.event_type);
    w.uint(u64::from(e.schema_version.0));
    w.uint(place.recorded_at.0);
    w.uint(e.occurred_at.0);
    actor(&mut w, Some(e.actor));
    actor(&mut w, e.on_behalf_of);
    w.uint(u64::from(e.provenance.code()));
    w.uint(u64::from(e.classification.code()));
    optional(&mut w, e.session.as_ref().map(|id| &id.as_bytes()[..]));
    optional(&mut w, e.turn.as_ref().map(|id| &id.as_bytes()[..]));
    optional(&mut w, e.call.as_ref().map(|id| &id.as_bytes()[..]));
    optional(&mut w, e.subject.as_ref().map(|id| &id.as_bytes()[..]));
    optional(&mut w, e.correlation_id.as_ref().map(|id| &id.as_bytes()[..]));
    optional(&mut w, e.causation_id.as_ref().map(|id| &id.as_bytes()[..]));
    trace(&mut w, e.trace);
    optional(&mut w, e.config_digest.as_ref().map(|d| &d[..]));
    optional(&mut w, e.policy_digest.as_ref().map(|d| &d[..]));
    w.array(keys.len());
    for key in keys {
        w.array(3);
        w.uint(key.layer as u64);
        w.bytes(&key.key);
        w.bytes(&key.request);
    }
    w.array(payload.len());
    for c in payload {
        commitment(&mut w, c);
    }
    w.array(0);
}

fn optional(w: &mut Writer<'_>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => w.bytes(bytes),
        None => w.array(0),
    }
}

fn actor(w: &mut Writer<'_>, actor: Option<Actor>) {
    let Some(actor) = actor else { return w.array(0) };
    w.array(2);
    w.uint(u64::from(actor.kind.code()));
    optional(w, actor.reference.as_ref().map(|id| &id.as_bytes()[..]));
}

fn trace(w: &mut Writer<'_>, trace: Option<TraceContext>) {
    let Some(trace) = trace else { return w.array(0) };
    w.array(2);
    w.bytes(&trace.trace_id);
    w.bytes(&trace.span_id);
}

fn commitment(w: &mut Writer<'_>, c: &Commitment) {
    w.array(7);
    w.uint(c.algorithm as u64);
    w.text(&c.media_type);
    w.uint(c.stored_length);
    w.bytes(&c.commitment);
    optional(w, c.key_reference.as_ref().map(|b| &b[..]));
    optional(w, c.salt.as_ref().map(|b| &b[..]));
    optional(w, c.key_commitment.as_ref().map(|b| &b[..]));
}

#[cfg(test)]
mod tests;
