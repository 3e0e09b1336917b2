//! Reading a leaf, field by field, in the order of the format.

use ruche_domain::envelope::{ACFEvent, Actor, ActorKind, Classification, Provenance, TraceContext};
use ruche_domain::ids::{CallId, CorrelationId, EventId, SessionId, SubjectId, TurnId};
use ruche_domain::limits::{
    EVENT_TYPE_BYTES_MAX, FRAGMENTS_PER_RECORD_MAX, KEYS_PER_APPEND_MAX, MEDIA_TYPE_BYTES_MAX,
    ORIGIN_BYTES_MAX,
};
use ruche_domain::numbers::{LeafIndex, Micros, SchemaVersion, StreamVersion};
use ruche_domain::stream::{STREAM_BYTES_MAX, StreamId};
use uuid::Uuid;

use super::{AppendRange, FIELDS, FORMAT_VERSION, KeyClaim, KeyLayer, Leaf};
use crate::cbor::{CborError, Reader};
use crate::error::LeafError;
use crate::hash::Hash;
use crate::payload::{Algorithm, Commitment};

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
        check_text(field, text, max)?;
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
        let trace = TraceContext {
            trace_id: self.fixed("trace")?,
            span_id: self.fixed("trace")?,
        };
        check_trace(&trace)?;
        Ok(Some(trace))
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
        check_keyed(&c)?;
        Ok(c)
    }
}

/// Whether this reader would take a leaf with this event and these commitments, wherever it is sequenced and if it is
/// short enough. Every append asks it of every event, so it looks at the few values that a type does not bound, and does
/// not encode, read and compare; debug builds and `leaf/tests.rs` hold it against that.
///
/// # Errors
/// As the reader's.
pub(crate) fn check<'a>(event: &ACFEvent, payload: impl Iterator<Item = &'a Commitment>) -> Result<()> {
    check_text("event type", &event.event_type, EVENT_TYPE_BYTES_MAX)?;
    event.trace.as_ref().map_or(Ok(()), check_trace)?;
    for commitment in payload {
        check_text("payload", &commitment.media_type, MEDIA_TYPE_BYTES_MAX)?;
        check_keyed(commitment)?;
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str, max: usize) -> Result<()> {
    if text.is_empty() || text.len() > max {
        return wrong(field, format!("{} bytes, 1 to {max} are allowed", text.len()));
    }
    Ok(())
}

fn check_trace(trace: &TraceContext) -> Result<()> {
    if trace.trace_id == [0; 16] || trace.span_id == [0; 8] {
        return wrong("trace", "all-zero ids are invalid (W3C Trace Context)");
    }
    Ok(())
}

fn check_keyed(c: &Commitment) -> Result<()> {
    let keyed = [
        c.key_reference.is_some(),
        c.salt.is_some(),
        c.key_commitment.is_some(),
    ];
    if keyed != [c.algorithm == Algorithm::Encrypted; 3] {
        return wrong(
            "payload",
            "key reference, salt and key commitment stand with algorithm 1 and only there",
        );
    }
    Ok(())
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

fn stream(f: &mut Fields<'_>) -> Result<StreamId> {
    let text = f.text("stream", STREAM_BYTES_MAX)?;
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
