//! How many messages a body holds, counted before it is decoded: an empty one takes two bytes in a body and hundreds in
//! memory, so a small body of nothing else would take all there is.

use super::answer::Encoding;

/// Nesting of messages that is looked at; the decoder takes no deeper ones.
const DEPTH_MAX: usize = 100;

/// Messages of a body, as far as `limit`: whoever has more is told so.
pub fn has_more_than(encoding: Encoding, body: &[u8], limit: usize) -> bool {
    match encoding {
        Encoding::Json => objects(body) > limit,
        Encoding::Protobuf => {
            let mut left = limit;
            !within(body, Kind::Body, 0, &mut left)
        }
    }
}

/// Objects of a JSON text; braces in strings are none.
fn objects(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in text {
        match (in_string, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{') => count += 1,
            _ => {}
        }
    }
    count
}

/// Messages that hold others. Spans and log records have the same places in their bodies.
#[derive(Clone, Copy)]
enum Kind {
    Body,
    OfResource,
    OfScope,
    Item,
    Attributes,
    Event,
    Pair,
    Value,
    Values,
}

impl Kind {
    const fn below(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Body, 1) => Self::OfResource,
            (Self::OfResource, 1) => Self::Attributes,
            (Self::OfResource, 2) => Self::OfScope,
            (Self::OfScope, 2) => Self::Item,
            // 9 and 11 of a span, 6 and the body of a log record. The name of a span, also 5, counts as no message.
            (Self::Item, 6 | 9) | (Self::Attributes, 1) | (Self::Event, 3) => Self::Pair,
            (Self::Item, 11) => Self::Event,
            (Self::Item, 5) | (Self::Pair, 2) => Self::Value,
            (Self::Value, 5 | 6) => Self::Values,
            (Self::Values, 1) => Self::Value,
            _ => return None,
        })
    }
}

/// Whether no more than `left` messages are below this one. What cannot be read is left to the decoder.
fn within(mut bytes: &[u8], kind: Kind, depth: usize, left: &mut usize) -> bool {
    while let Some((field, content)) = next(&mut bytes) {
        let Some((content, below)) = content.zip(kind.below(field)) else {
            continue;
        };
        if *left == 0 {
            return false;
        }
        *left -= 1;
        // Lists of pairs are counted as lists of values: a pair is at least as large as its value.
        if depth < DEPTH_MAX && !within(content, below, depth + 1, left) {
            return false;
        }
    }
    true
}

/// The number of the next field, with its bytes if it has a length.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = varint(bytes)?;
    let length = match tag & 7 {
        0 => {
            varint(bytes)?;
            return Some((tag >> 3, None));
        }
        1 => 8,
        5 => 4,
        2 => usize::try_from(varint(bytes)?).ok()?,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, (tag & 7 == 2).then_some(content)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::wire;
    use super::*;

    #[test]
    fn messages_are_counted_in_both_encodings() {
        let pair = wire::KeyValue {
            key: "k".to_owned(),
            value: Some(wire::AnyValue {
                value: Some(wire::Value::Array(wire::ArrayValue {
                    values: vec![wire::AnyValue { value: None }; 3],
                })),
            }),
        };
        let span = wire::Span {
            trace_id: vec![1; 16],
            flags: 0x100,
            start_time_unix_nano: 7,
            attributes: vec![pair],
            ..wire::Span::default()
        };
        let traces = wire::Traces {
            resource_spans: vec![wire::ResourceSpans {
                resource: None,
                scope_spans: vec![wire::ScopeSpans {
                    scope: None,
                    spans: vec![span, wire::Span::default()],
                }],
            }],
            ..wire::Traces::default()
        };
        // Resource, scope, two spans, a pair, its value, a list with three values.
        let body = traces.encode_to_vec();
        assert!(!has_more_than(Encoding::Protobuf, &body, 10));
        assert!(has_more_than(Encoding::Protobuf, &body, 9));
        let text = br#"{"a":[{},{"b":"{{\"{"}]}"#;
        assert!(!has_more_than(Encoding::Json, text, 3) && has_more_than(Encoding::Json, text, 2));
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_decoder() {
        for bytes in [&[0xff][..], &[0x0a, 0x7f, 0x00], &[0x0b], &[0x0a, 0x01, 0xff]] {
            assert!(!has_more_than(Encoding::Protobuf, bytes, 5), "{bytes:?}");
        }
    }
}
