//! From messages of the protocol to spans and log records.

use std::sync::Arc;

use base64::Engine as _;
use prost::Message;
use ruche_commands::otlp::{Attributes, LogRecord, Span, SpanEvent};
use ruche_domain::envelope::TraceContext;
use ruche_domain::numbers::Micros;

use super::answer::{Encoding, Rejected};
use super::wire;

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const KNOWN_REMOTE: u32 = 0x300;

/// What a body holds: what can be used, and what is refused by itself.
#[derive(Debug)]
pub struct Read<T> {
    /// What can be used.
    pub good: Vec<T>,
    /// How many cannot, and why.
    pub rejected: Rejected,
}

impl<T> Default for Read<T> {
    fn default() -> Self {
        Self {
            good: Vec::new(),
            rejected: Rejected::default(),
        }
    }
}

/// The spans of a body.
///
/// # Errors
/// Why it is no body of traces, for people.
pub fn read_traces(encoding: Encoding, body: &[u8]) -> Result<Read<Span>, String> {
    let no_spans = |why: String| format!("{why}. Only spans are taken here; logs go to /v1/logs");
    let traces: wire::Traces = decode(encoding, body).map_err(no_spans)?;
    if traces.resource_logs.is_some() || traces.resource_metrics.is_some() {
        return Err(no_spans("this is a body of logs or metrics".to_owned()));
    }
    let mut read = Read::default();
    let mut without_ids = 0;
    for of_resource in traces.resource_spans {
        let resource = Arc::new(attributes(of_resource.resource.unwrap_or_default().attributes));
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.unwrap_or_default().name;
            for span in of_scope.spans {
                without_ids += usize::from(span.trace_id.is_empty() && span.span_id.is_empty());
                match self::span(span, &scope, &resource) {
                    Ok(span) => read.good.push(span),
                    Err(why) => read.rejected.add(why),
                }
            }
        }
    }
    // Logs and spans have the same numbers, so a body of logs reads as spans: none of which has an id.
    if without_ids > 0 && read.good.is_empty() {
        return Err(no_spans("none of these has a trace id and a span id".to_owned()));
    }
    Ok(read)
}

/// The log records of a body.
///
/// # Errors
/// Why it is no body of logs, for people.
pub fn read_logs(encoding: Encoding, body: &[u8]) -> Result<Read<LogRecord>, String> {
    let no_logs = |why: String| format!("{why}. Only logs are taken here; spans go to /v1/traces");
    let logs: wire::Logs = decode(encoding, body).map_err(no_logs)?;
    if logs.resource_spans.is_some() || logs.resource_metrics.is_some() {
        return Err(no_logs("this is a body of spans or metrics".to_owned()));
    }
    let mut read = Read::default();
    for of_resource in logs.resource_logs {
        let resource = Arc::new(attributes(of_resource.resource.unwrap_or_default().attributes));
        for of_scope in of_resource.scope_logs {
            let scope = of_scope.scope.unwrap_or_default().name;
            for record in of_scope.log_records {
                match log_record(record, &scope, &resource) {
                    Ok(record) => read.good.push(record),
                    Err(why) => read.rejected.add(why),
                }
            }
        }
    }
    Ok(read)
}

fn log_record(record: wire::LogRecord, scope: &str, resource: &Arc<Attributes>) -> Result<LogRecord, String> {
    // A record need not be written in a span; one that says so says in which.
    let has_trace = !record.trace_id.is_empty() && !record.span_id.is_empty();
    let trace = has_trace.then(|| {
        Ok::<_, String>(TraceContext {
            trace_id: self::id(&record.trace_id, "trace id")?,
            span_id: self::id(&record.span_id, "span id")?,
        })
    });
    let attributes = attributes(record.attributes);
    let body = json(record.body);
    // Never the body: any line of a log may be a word that is a name of an event.
    let named = attributes.text("event.name");
    let name = Some(record.event_name).filter(|name| !name.is_empty());
    let at_ns = [record.time_unix_nano, record.observed_time_unix_nano];
    let at_ns = at_ns.into_iter().find(|at| *at > 0).unwrap_or(0);
    Ok(LogRecord {
        trace: trace.transpose()?,
        name: name.or_else(|| named.map(str::to_owned)).unwrap_or_default(),
        at: micros(at_ns),
        at_ns,
        attributes,
        body,
        scope: scope.to_owned(),
        resource: resource.clone(),
    })
}

fn decode<T: Message + Default + serde::de::DeserializeOwned>(
    encoding: Encoding,
    body: &[u8],
) -> Result<T, String> {
    match encoding {
        Encoding::Protobuf => T::decode(body).map_err(|error| error.to_string()),
        Encoding::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
    }
}

fn span(span: wire::Span, scope: &str, resource: &Arc<Attributes>) -> Result<Span, String> {
    let id = TraceContext {
        trace_id: self::id(&span.trace_id, "trace id")?,
        span_id: self::id(&span.span_id, "span id")?,
    };
    let parent = Some(&span.parent_span_id).filter(|id| !id.is_empty());
    let parent = parent
        .map(|parent| self::id(parent, "parent span id"))
        .transpose()?;
    let status = span.status.unwrap_or_default();
    let event = |event: wire::Event| SpanEvent {
        name: event.name,
        at: micros(event.time_unix_nano),
        attributes: attributes(event.attributes),
    };
    Ok(Span {
        id,
        trace_text: hex::encode(id.trace_id),
        parent,
        is_parent_remote: span.flags & KNOWN_REMOTE == KNOWN_REMOTE,
        name: span.name,
        start: micros(span.start_time_unix_nano),
        end: micros(span.end_time_unix_nano),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        error: (status.code == 2).then_some(status.message),
        scope: scope.to_owned(),
        resource: resource.clone(),
    })
}

fn id<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], String> {
    let id: [u8; N] = bytes
        .try_into()
        .map_err(|_| format!("a {what} has {N} bytes, not {}", bytes.len()))?;
    if id == [0; N] {
        return Err(format!("a {what} is not all zero"));
    }
    Ok(id)
}

fn micros(nanos: u64) -> Option<Micros> {
    (nanos > 0).then_some(Micros(nanos / 1_000))
}

fn attributes(values: Vec<wire::KeyValue>) -> Attributes {
    values
        .into_iter()
        .map(|pair| (pair.key, json(pair.value)))
        .collect()
}

fn json(value: Option<wire::AnyValue>) -> serde_json::Value {
    use serde_json::Value;
    match value.and_then(|value| value.value) {
        None => Value::Null,
        Some(wire::Value::Text(text)) => text.into(),
        Some(wire::Value::Bool(value)) => value.into(),
        Some(wire::Value::Int(number)) => number.into(),
        Some(wire::Value::Double(number)) => number.into(),
        Some(wire::Value::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        Some(wire::Value::Array(list)) => list.values.into_iter().map(|value| json(Some(value))).collect(),
        Some(wire::Value::Map(list)) => {
            let pairs = list.values.into_iter();
            Value::Object(pairs.map(|pair| (pair.key, json(pair.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of one span with so many lists in each other.
    fn nested(encoding: Encoding, lists: usize) -> Vec<u8> {
        let mut value = wire::AnyValue::default();
        for _ in 0..lists {
            let list = wire::ArrayValue { values: vec![value] };
            value = wire::AnyValue {
                value: Some(wire::Value::Array(list)),
            };
        }
        let span = wire::Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            attributes: vec![wire::KeyValue {
                key: "deep".to_owned(),
                value: Some(value),
            }],
            ..wire::Span::default()
        };
        let of_scope = wire::ScopeSpans {
            spans: vec![span],
            ..wire::ScopeSpans::default()
        };
        let body = wire::Traces {
            resource_spans: vec![wire::ResourceSpans {
                scope_spans: vec![of_scope],
                ..wire::ResourceSpans::default()
            }],
            ..wire::Traces::default()
        };
        match encoding {
            Encoding::Protobuf => body.encode_to_vec(),
            Encoding::Json => {
                let open = r#"{"arrayValue":{"values":["#.repeat(lists);
                let close = "]}}".repeat(lists);
                let ids = r#""traceId":"01010101010101010101010101010101","spanId":"0101010101010101""#;
                let attribute = format!(r#"{{"key":"deep","value":{open}{{}}{close}}}"#);
                let span = format!(r#"{{{ids},"attributes":[{attribute}]}}"#);
                format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#).into_bytes()
            }
        }
    }

    #[test]
    fn what_is_nested_too_deeply_to_be_decoded_refuses_the_whole_body() {
        let deepest = |encoding| {
            let taken = |lists: &usize| read_traces(encoding, &nested(encoding, *lists)).is_ok();
            (0..100).take_while(taken).last()
        };
        let found = [Encoding::Json, Encoding::Protobuf].map(deepest);
        // The guide says these numbers.
        assert_eq!(found, [Some(39), Some(47)]);
    }
}
