//! The leaf: the header of a record, as stored, hashed and proven. Layout: `docs/formats/record.md`.
//!
//! One fixed-position array of deterministic CBOR. Encoding is total and decoding accepts exactly what encoding
//! produces, so "re-encode and compare" holds for every leaf that this module returns.

use ruche_domain::envelope::{ACFEvent, Actor, ActorKind, Classification, Provenance, TraceContext};
use ruche_domain::ids::{CallId, CorrelationId, EventId, SessionId, SubjectId, TurnId};
use ruche_domain::limits::{
    EVENT_TYPE_BYTES_MAX, FRAGMENTS_PER_RECORD_MAX, KEYS_PER_APPEND_MAX, LEAF_BYTES_MAX,
    MEDIA_TYPE_BYTES_MAX, ORIGIN_BYTES_MAX,
};
use ruche_domain::numbers::{LeafIndex, Micros, SchemaVersion, StreamVersion};
use uuid::Uuid;

use crate::cbor::{CborError, Reader, Writer};
use crate::error::LeafError;
use crate::hash::{Hash, leaf_hash};
use crate::payload::{Algorithm, Commitment};

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
        let e = &self.event;
        let mut w = Writer(out);
        w.array(FIELDS);
        w.uint(FORMAT_VERSION);
        w.text(&self.origin);
        w.uint(self.index.0);
        optional(&mut w, self.previous.as_ref().map(Hash::as_bytes).map(|h| &h[..]));
        w.array(2);
        w.uint(self.append.first.0);
        w.uint(u64::from(self.append.count));
        w.bytes(e.event_id.as_bytes());
        w.text(&e.stream.to_string());
        w.uint(self.stream_version.0);
        w.text(&e.event_type);
        w.uint(u64::from(e.schema_version.0));
        w.uint(self.recorded_at.0);
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
        w.array(self.keys.len());
        for key in &self.keys {
            w.array(3);
            w.uint(key.layer as u64);
            w.bytes(&key.key);
            w.bytes(&key.request);
        }
        w.array(self.payload.len());
        for c in &self.payload {
            commitment(&mut w, c);
        }
        w.array(0);
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

/// Reading, field by field, in the order of the format.
mod decode {
    use super::*;

    struct Fields<'a>(Reader<'a>);

    type Result<T> = std::result::Result<T, LeafError>;

    fn wrong<T>(field: &'static str, reason: impl Into<String>) -> Result<T> {
        Err(LeafError::Field {
            field,
            reason: reason.into(),
        })
    }

    impl<'a> Fields<'a> {
        fn cbor<T>(
            &mut self,
            field: &'static str,
            read: impl FnOnce(&mut Reader<'a>) -> std::result::Result<T, CborError>,
        ) -> Result<T> {
            read(&mut self.0).map_err(|source| LeafError::Cbor { field, source })
        }

        fn uint(&mut self, field: &'static str) -> Result<u64> {
            self.cbor(field, Reader::uint)
        }

        fn uint32(&mut self, field: &'static str) -> Result<u32> {
            let value = self.uint(field)?;
            u32::try_from(value).or_else(|_| wrong(field, format!("{value} is larger than 32 bits")))
        }

        fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str> {
            let text = self.cbor(field, Reader::text)?;
            if text.is_empty() || text.len() > max {
                return wrong(field, format!("{} bytes, 1 to {max} are allowed", text.len()));
            }
            Ok(text)
        }

        fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
            let bytes = self.cbor(field, Reader::bytes)?;
            bytes
                .try_into()
                .or_else(|_| wrong(field, format!("{} bytes, {N} are expected", bytes.len())))
        }

        fn optional<const N: usize>(&mut self, field: &'static str) -> Result<Option<[u8; N]>> {
            if self.cbor(field, Reader::absent)? {
                Ok(None)
            } else {
                self.fixed(field).map(Some)
            }
        }

        fn array(&mut self, field: &'static str, len: usize) -> Result<()> {
            match self.cbor(field, Reader::array)? {
                found if found == len as u64 => Ok(()),
                found => wrong(field, format!("{found} items, {len} are expected")),
            }
        }

        fn list(&mut self, field: &'static str, max: usize) -> Result<usize> {
            match self.cbor(field, Reader::array)? {
                found if found <= max as u64 => Ok(found as usize),
                found => wrong(field, format!("{found} items, at most {max} are allowed")),
            }
        }

        fn actor(&mut self, field: &'static str) -> Result<Option<Actor>> {
            if self.cbor(field, Reader::absent)? {
                return Ok(None);
            }
            self.array(field, 2)?;
            let code = self.uint(field)?;
            let Some(kind) = ActorKind::from_code(code) else {
                return wrong(field, format!("no actor kind {code}"));
            };
            let reference = self.optional(field)?.map(Uuid::from_bytes);
            Ok(Some(Actor { kind, reference }))
        }

        fn trace(&mut self) -> Result<Option<TraceContext>> {
            if self.cbor("trace", Reader::absent)? {
                return Ok(None);
            }
            self.array("trace", 2)?;
            let trace_id: [u8; 16] = self.fixed("trace")?;
            let span_id: [u8; 8] = self.fixed("trace")?;
            if trace_id == [0; 16] || span_id == [0; 8] {
                return wrong("trace", "all-zero ids are invalid (W3C Trace Context)");
            }
            Ok(Some(TraceContext { trace_id, span_id }))
        }

        fn key(&mut self) -> Result<KeyClaim> {
            self.array("idempotency", 3)?;
            let code = self.uint("idempotency")?;
            let Some(layer) = KeyLayer::from_code(code) else {
                return wrong("idempotency", format!("no layer {code}"));
            };
            Ok(KeyClaim {
                layer,
                key: self.fixed("idempotency")?,
                request: self.fixed("idempotency")?,
            })
        }

        fn commitment(&mut self) -> Result<Commitment> {
            const FIELD: &str = "payload";
            self.array(FIELD, 7)?;
            let code = self.uint(FIELD)?;
            let Some(algorithm) = Algorithm::from_code(code) else {
                return wrong(FIELD, format!("no algorithm {code}"));
            };
            let c = Commitment {
                algorithm,
                media_type: self.text(FIELD, MEDIA_TYPE_BYTES_MAX)?.to_owned(),
                stored_length: self.uint(FIELD)?,
                commitment: self.fixed(FIELD)?,
                key_reference: self.optional(FIELD)?,
                salt: self.optional(FIELD)?,
                key_commitment: self.optional(FIELD)?,
            };
            let keyed = [
                c.key_reference.is_some(),
                c.salt.is_some(),
                c.key_commitment.is_some(),
            ];
            if keyed != [algorithm == Algorithm::Encrypted; 3] {
                return wrong(
                    FIELD,
                    "key reference, salt and key commitment stand with algorithm 1 and only there",
                );
            }
            Ok(c)
        }
    }

    pub(super) fn leaf(bytes: &[u8]) -> Result<Leaf> {
        let mut f = Fields(Reader::new(bytes));
        // The length of the array belongs to the version, so the version is judged first.
        let fields = f.cbor("format version", Reader::array)?;
        let version = f.uint("format version")?;
        if version != FORMAT_VERSION {
            return Err(LeafError::Version(version));
        }
        if fields != FIELDS as u64 {
            return wrong("format version", format!("{fields} items, {FIELDS} are expected"));
        }
        let origin = f.text("origin", ORIGIN_BYTES_MAX)?.to_owned();
        let index = LeafIndex(f.uint("index")?);
        let previous = f.optional("previous")?.map(Hash);
        if previous.is_none() != (index.0 == 0) {
            return wrong("previous", "absent in record 0 and only there");
        }
        let append = append_range(&mut f, index)?;
        let (event_id, stream) = (EventId::from_bytes(f.fixed("event id")?), stream(&mut f)?);
        let stream_version = StreamVersion(f.uint("stream version")?);
        let event_type = f.text("event type", EVENT_TYPE_BYTES_MAX)?.to_owned();
        let schema_version = SchemaVersion(f.uint32("schema version")?);
        let recorded_at = Micros(f.uint("recorded at")?);
        let occurred_at = Micros(f.uint("occurred at")?);
        let Some(actor) = f.actor("actor")? else {
            return wrong("actor", "is required");
        };
        let event = ACFEvent {
            event_id,
            stream,
            event_type,
            schema_version,
            occurred_at,
            actor,
            on_behalf_of: f.actor("on behalf of")?,
            provenance: coded(&mut f, "provenance", Provenance::from_code)?,
            classification: coded(&mut f, "classification", Classification::from_code)?,
            session: f.optional("session")?.map(SessionId::from_bytes),
            turn: f.optional("turn")?.map(TurnId::from_bytes),
            call: f.optional("call")?.map(CallId::from_bytes),
            subject: f.optional("subject")?.map(SubjectId::from_bytes),
            correlation_id: f.optional("correlation id")?.map(CorrelationId::from_bytes),
            causation_id: f.optional("causation id")?.map(EventId::from_bytes),
            trace: f.trace()?,
            config_digest: f.optional("config digest")?,
            policy_digest: f.optional("policy digest")?,
        };
        let keys = f.list("idempotency", KEYS_PER_APPEND_MAX)?;
        let keys = (0..keys).map(|_| f.key()).collect::<Result<Vec<_>>>()?;
        if !keys.is_empty() && append.first != index {
            return wrong("idempotency", "stands on the first record of an append only");
        }
        let fragments = f.list("payload", FRAGMENTS_PER_RECORD_MAX)?;
        let payload = (0..fragments)
            .map(|_| f.commitment())
            .collect::<Result<Vec<_>>>()?;
        f.array("extensions", 0)?;
        f.0.end().map_err(|source| LeafError::Cbor {
            field: "extensions",
            source,
        })?;
        Ok(Leaf {
            origin,
            index,
            previous,
            append,
            event,
            stream_version,
            recorded_at,
            keys,
            payload,
        })
    }

    fn append_range(f: &mut Fields<'_>, index: LeafIndex) -> Result<AppendRange> {
        f.array("append", 2)?;
        let range = AppendRange {
            first: LeafIndex(f.uint("append")?),
            count: f.uint32("append")?,
        };
        let end = range.first.0.checked_add(u64::from(range.count));
        match end {
            Some(end) if range.first <= index && index.0 < end => Ok(range),
            _ => wrong("append", "does not contain the record itself"),
        }
    }

    fn stream(f: &mut Fields<'_>) -> Result<ruche_domain::stream::StreamId> {
        let text = f.text("stream", 64)?;
        text.parse()
            .or_else(|_| wrong("stream", "is not <category>-<32 lower-case hex digits>"))
    }

    fn coded<T>(f: &mut Fields<'_>, field: &'static str, of: fn(u64) -> Option<T>) -> Result<T> {
        let code = f.uint(field)?;
        match of(code) {
            Some(value) => Ok(value),
            None => wrong(field, format!("no value {code}")),
        }
    }
}

#[cfg(test)]
mod tests;
