//! What is refused, how, and that it changes nothing: exporters send again or give up by what they are told.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruche_api::limits::OTLP_BODY_BYTES_MAX;

use super::*;

const TRACE: &str = "5b8efff798038103d269b633813fc60c";
/// Bytes of the compressed zeros, many times as many without compression.
const BOMB_BYTES: usize = 64 * OTLP_BODY_BYTES_MAX;

fn span(trace: &str, id: &str, parent: &str) -> Value {
    json!({ "traceId": trace, "spanId": id, "parentSpanId": parent, "name": "chat m", "startTimeUnixNano":
        "1544712660000000000", "endTimeUnixNano": 1_544_712_661_000_000_000_u64, "unknownMember": { "a": [1, null] },
        "attributes": [{ "key": "gen_ai.operation.name", "value": { "stringValue": "chat" } },
            { "key": "gen_ai.request.model", "value": { "stringValue": "m" } },
            { "key": "gen_ai.usage.input_tokens", "value": { "intValue": "7" } }] })
}

fn body(spans: &[Value]) -> Vec<u8> {
    let scope = json!({ "scope": { "name": "test" }, "spans": spans });
    json!({ "resourceSpans": [{ "scopeSpans": [scope] }] })
        .to_string()
        .into_bytes()
}

fn zipped(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..times {
        encoder.write_all(bytes).expect("memory takes it");
    }
    encoder.finish().expect("memory takes it")
}

fn llm_calls(world: &World) -> Value {
    world.usage()["counts"]["llmCalls"].clone()
}

#[test]
fn spans_whose_ids_are_none_are_refused_by_themselves() {
    let world = World::new();
    let good = span(TRACE, "00000000000000aa", "");
    let bad = [
        span(TRACE, "00000000000000", ""),
        span(TRACE, "0000000000000000", ""),
        span("00000000000000000000000000000000", "00000000000000ab", ""),
        span("5b8e", "00000000000000ac", ""),
        span(TRACE, "not hex at all!!", ""),
        span(TRACE, "00000000000000ad", "00"),
    ];
    let mut all = bad.to_vec();
    all.insert(3, good);
    for _ in 0..2 {
        let answered = world.send("/v1/traces", JSON, body(&all));
        assert_eq!((answered.status, answered.media_type.as_str()), (200, JSON));
        let partial = &answered.json()["partialSuccess"];
        assert_eq!(partial["rejectedSpans"], bad.len().to_string());
        let message = partial["errorMessage"].as_str().expect("a message");
        assert!(message.contains("span id has 8 bytes"), "{message}");
        assert_eq!(llm_calls(&world), "1", "the good one is there, once");
    }
}

#[test]
fn one_id_for_two_spans_is_told_and_the_first_stands() {
    let world = World::new();
    let first = span(TRACE, "00000000000000aa", "");
    assert_eq!(
        world
            .send("/v1/traces", JSON, body(std::slice::from_ref(&first)))
            .body,
        b"{}"
    );
    let before = world.position();
    let mut other = first.clone();
    other["name"] = json!("another");
    let answered = world.send("/v1/traces", JSON, body(&[other]));
    assert_eq!(answered.json()["partialSuccess"]["rejectedSpans"], "1");
    // Nor is what it shares with others recorded: the question that it came with.
    let mut asks = first.clone();
    let question = json!([{ "role": "user", "parts": [{ "type": "text", "content": "Where is it?" }] }]);
    let attributes = asks["attributes"].as_array_mut().expect("a list");
    attributes
        .push(json!({ "key": "gen_ai.input.messages", "value": { "stringValue": question.to_string() } }));
    let answered = world.send("/v1/traces", JSON, body(&[asks]));
    assert_eq!(answered.json()["partialSuccess"]["rejectedSpans"], "1");
    assert_eq!(world.send("/v1/traces", JSON, body(&[first])).body, b"{}");
    assert_eq!(world.position(), before);
    // Another credential of the tenant sends the same telemetry, and it is the same.
    let again = world.send_as(
        &world.key,
        "/v1/traces",
        &[("content-type", JSON)],
        body(&[span(TRACE, "00000000000000aa", "")]),
    );
    assert_eq!((again.status, again.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(world.position(), before);
}

#[test]
fn a_body_of_logs_on_the_path_of_traces_is_refused_whole() {
    let world = World::new();
    let before = world.position();
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "timeUnixNano": "1544712660300000000",
        "body": { "stringValue": "a line" } }] }] }] });
    let as_json = logs.to_string().into_bytes();
    // The same, written by hand: records of logs have the number that spans have.
    let record: &[u8] = &[0x2a, 0x08, 0x0a, 0x06, b'a', b' ', b'l', b'i', b'n', b'e'];
    let scope = [&[0x12, record.len() as u8], record].concat();
    let of_resource = [&[0x12, scope.len() as u8][..], &scope].concat();
    let as_protobuf = [&[0x0a, of_resource.len() as u8][..], &of_resource].concat();
    for (media_type, body) in [(JSON, as_json.clone()), (PROTOBUF, as_protobuf)] {
        let answered = world.send("/v1/traces", media_type, body);
        assert_eq!((answered.status, answered.media_type.as_str()), (400, media_type));
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert!(text.contains("/v1/logs"), "{text}");
        assert_eq!(answered.retry_after, None, "sending it again cannot help");
    }
    assert_eq!(
        world.send("/v1/logs", JSON, as_json).body,
        b"{}",
        "a line of a log is not kept"
    );
    assert_eq!(world.position(), before);
}

#[test]
fn a_bomb_of_compressed_zeros_is_refused_and_costs_little_memory() {
    let world = World::new();
    let before = world.position();
    let mebibyte = vec![0_u8; 1_048_576];
    let bomb = zipped(&mebibyte, BOMB_BYTES / mebibyte.len());
    assert!(bomb.len() < OTLP_BODY_BYTES_MAX, "it is let in for its size");
    let rest = world.server.resident_bytes_max().expect("the system tells");
    let gzip = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    for _ in 0..3 {
        let answered = world.send_as(&world.writer, "/v1/traces", &gzip, bomb.clone());
        assert_eq!((answered.status, answered.media_type.as_str()), (413, PROTOBUF));
    }
    let peak = world.server.resident_bytes_max().expect("the system tells");
    let room = 8 * OTLP_BODY_BYTES_MAX as u64;
    assert!(
        peak - rest < room,
        "{} bytes of memory for {BOMB_BYTES}",
        peak - rest
    );
    assert_eq!(world.position(), before);
}

#[test]
fn a_bomb_of_empty_spans_is_refused_before_it_is_decoded() {
    let world = World::new();
    let before = world.position();
    // Two bytes each in the body, some hundreds in memory.
    let spans = [0x12_u8, 0x00].repeat(4_000_000);
    let nested = |field: u8, content: Vec<u8>| {
        let mut length = content.len();
        let mut bytes = vec![field];
        while length > 0x7f {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    };
    let body = zipped(&nested(0x0a, nested(0x12, spans)), 1);
    let rest = world.server.resident_bytes_max().expect("the system tells");
    let gzip = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    assert_eq!(
        world.send_as(&world.writer, "/v1/traces", &gzip, body).status,
        413
    );
    let peak = world.server.resident_bytes_max().expect("the system tells");
    assert!(
        peak - rest < 4 * OTLP_BODY_BYTES_MAX as u64,
        "{} bytes of memory",
        peak - rest
    );
    assert_eq!(world.position(), before);
}

#[test]
fn compressed_bodies_are_taken_in_both_encodings() {
    let world = World::new();
    let gzip = [("content-type", JSON), ("content-encoding", "gzip")];
    let body = zipped(&body(&[span(TRACE, "00000000000000aa", "")]), 1);
    let answered = world.send_as(&world.writer, "/otel/v1/traces", &gzip, body);
    assert_eq!((answered.status, answered.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(llm_calls(&world), "1");
    let empty = world.send_as(
        &world.writer,
        "/v1/traces",
        &[("content-type", PROTOBUF), ("content-encoding", "gzip")],
        zipped(b"", 1),
    );
    assert_eq!((empty.status, empty.body.len()), (200, 0));
}

#[test]
fn every_refusal_has_the_status_and_the_body_that_exporters_read() {
    let world = World::new();
    let good = body(&[span(TRACE, "00000000000000aa", "")]);
    let refused = |key: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answered = world.send_as(key, "/v1/traces", headers, body.to_vec());
        assert_eq!(answered.media_type, JSON);
        let code = answered.json()["code"].clone();
        (answered.status, code)
    };
    let json_type = [("content-type", JSON)];
    assert_eq!(refused("nonsense", &json_type, &good), (401, json!(16)));
    assert_eq!(refused(&world.reader, &json_type, &good), (403, json!(7)));
    assert_eq!(refused(&world.writer, &json_type, b"{"), (400, json!(3)));
    assert_eq!(
        refused(&world.writer, &[("content-type", "text/plain")], &good),
        (415, json!(3))
    );
    let deflate = [("content-type", JSON), ("content-encoding", "deflate")];
    assert_eq!(refused(&world.writer, &deflate, &good), (415, json!(3)));
    let no_gzip = [("content-type", JSON), ("content-encoding", "gzip")];
    assert_eq!(refused(&world.writer, &no_gzip, &good), (400, json!(3)));
    assert_eq!(llm_calls(&world), "0", "nothing was recorded");
    let metrics = world.send("/v1/metrics", PROTOBUF, b"whatever".to_vec());
    assert_eq!((metrics.status, metrics.body.len()), (200, 0));
    assert_eq!(world.send("/v1/traces", PROTOBUF, vec![0xff]).status, 400);
}
