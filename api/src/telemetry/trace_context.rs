//! W3C Trace Context: reading `traceparent`, and making it the parent of what happens here.

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use ruche_domain::envelope::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The caller's trace: exactly one `traceparent` of version 00 to fe, with ids that are not all zero. Anything else
/// is as if there were none, as the specification asks.
pub fn parse_traceparent(headers: &HeaderMap) -> Option<(TraceContext, u8)> {
    let mut values = headers.get_all("traceparent").iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut parts = text.trim().split('-');
    let version: [u8; 1] = lower_hex(parts.next()?)?;
    let trace_id: [u8; 16] = lower_hex(parts.next()?)?;
    let span_id: [u8; 8] = lower_hex(parts.next()?)?;
    let flags: [u8; 1] = lower_hex(parts.next()?)?;
    // Later versions may have further parts; version 00 has none.
    let known = version[0] != 0xff && (version[0] != 0 || parts.next().is_none());
    (known && trace_id != [0; 16] && span_id != [0; 8])
        .then_some((TraceContext { trace_id, span_id }, flags[0]))
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Makes the caller's span the parent of `span`. Without an exporter this does nothing.
pub fn adopt(span: &Span, trace: TraceContext, flags: u8) {
    let remote = SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(trace.span_id),
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    );
    // Refused only for a span that has begun or is disabled; then there is nothing to carry on.
    let _adopted = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

/// The trace that stands in leaves: our own span where traces are exported, so that one finds it in the collector;
/// the caller's span otherwise.
pub fn current(span: &Span, caller: Option<TraceContext>) -> Option<TraceContext> {
    let context = span.context();
    let ours = context.span().span_context().clone();
    if ours.is_valid() {
        return Some(TraceContext {
            trace_id: ours.trace_id().to_bytes(),
            span_id: ours.span_id().to_bytes(),
        });
    }
    caller
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(TraceContext, u8)> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        parse_traceparent(&headers)
    }

    #[test]
    fn a_traceparent_is_read_as_the_specification_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (trace, flags) = parse(text).expect("the example of the specification");
        assert_eq!(hex::encode(trace.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex::encode(trace.span_id), "00f067aa0ba902b7");
        assert_eq!(flags, 1);
        assert!(parse(&text.replacen("00-", "01-", 1)).is_some());
        assert!(parse(&format!("{}-more", text.replacen("00-", "01-", 1))).is_some());
        for bad in [
            &text.to_uppercase(),
            &text.replacen("00-", "ff-", 1),
            &format!("{text}-more"),
            &text[..text.len() - 1],
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn without_an_exporter_the_callers_span_stands_in_leaves() {
        let (trace, flags) = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let span = tracing::info_span!("request");
        adopt(&span, trace, flags);
        assert_eq!(current(&span, Some(trace)), Some(trace));
        assert_eq!(current(&span, None), None);
    }
}
