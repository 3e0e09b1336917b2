//! A span as every encoding and dialect has it.

use std::sync::Arc;

use ruche_domain::envelope::TraceContext;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::attributes::Attributes;

/// One span. Its ids are ids: 16 and 8 bytes, not all zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Trace and own id.
    #[serde(skip)]
    pub id: TraceContext,
    /// The trace in hex.
    #[serde(skip)]
    pub trace_text: String,
    /// The span above it.
    pub parent: Option<[u8; 8]>,
    /// Whether the span above it is another process's, as far as the source says.
    #[serde(skip)]
    pub is_parent_remote: bool,
    /// Its name.
    pub name: String,
    /// When it began.
    pub start: Option<Micros>,
    /// When it ended.
    pub end: Option<Micros>,
    /// What the instrumentation says of it.
    pub attributes: Attributes,
    /// What happened during it.
    pub events: Vec<SpanEvent>,
    /// What went wrong; absent where nothing did. May be empty.
    pub error: Option<String>,
    /// Instrumentation that made it.
    pub scope: String,
    /// Process that it ran in.
    #[serde(skip)]
    pub resource: Arc<Attributes>,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpanEvent {
    /// Its name.
    pub name: String,
    /// When.
    pub at: Option<Micros>,
    /// More of it.
    pub attributes: Attributes,
}

impl Span {
    /// Trace and span in hex, which is what the span is known by.
    pub fn key(&self) -> String {
        format!("{}:{}", self.trace_text, hex::encode(self.id.span_id))
    }

    /// How long it took, µs.
    pub fn duration_us(&self) -> Option<u64> {
        self.end?.0.checked_sub(self.start?.0)
    }

    /// Whether no span of this process is above it.
    pub fn is_top(&self) -> bool {
        self.parent.is_none() || self.is_parent_remote
    }

    /// What went wrong, in a stable word.
    pub fn error_type(&self) -> Option<String> {
        let said = self.attributes.text("error.type");
        let exception = self.events.iter().find(|event| event.name == "exception");
        let exception = exception.and_then(|event| event.attributes.text("exception.type"));
        self.error.as_ref()?;
        Some(said.or(exception).unwrap_or("error").to_owned())
    }

    /// What went wrong, in words.
    pub fn error_text(&self) -> Option<String> {
        let told = self.error.as_deref().filter(|text| !text.is_empty());
        let exception = self.events.iter().find(|event| event.name == "exception");
        let exception = exception.and_then(|event| event.attributes.text("exception.message"));
        self.error.as_ref()?;
        told.or(exception).map(str::to_owned)
    }

    /// SHA-256 of what the span says, the same in every encoding.
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_vec(self).expect("spans have text keys and no failing serialisers");
        Digest(Sha256::digest(&text).into())
    }
}
