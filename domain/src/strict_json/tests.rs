use super::*;
use serde_json::json;

fn exact(text: &str) -> Result<Value, JsonFault> {
    read(text.as_bytes(), 1_000_000, Profile::Exact)
}

/// Refused, for this reason, there.
fn refused(bytes: &[u8], kind: JsonFaultKind, pointer: &str) {
    let fault = read(bytes, 1_000_000, Profile::Exact).expect_err(&String::from_utf8_lossy(bytes));
    assert_eq!(
        (fault.kind, fault.pointer.as_str()),
        (kind, pointer),
        "{}",
        String::from_utf8_lossy(bytes)
    );
}

#[test]
fn plain_values_are_read() {
    let text = " {\"a\" : [1, -2.5e3, true, false, null, \"x\\u00e9\\ud83d\\ude00\\n\"], \"\":{} }\r\n\t";
    assert_eq!(
        exact(text),
        Ok(json!({"a": [1, -2500.0, true, false, null, "xé😀\n"], "": {}}))
    );
    assert_eq!(exact(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn nothing_is_not_a_value() {
    refused(b"", JsonFaultKind::Empty, "");
    refused(b" \n", JsonFaultKind::Empty, "");
}

#[test]
fn size_is_looked_at_first() {
    let fault = read(b"\xff\xff\xff", 2, Profile::Exact).unwrap_err();
    assert_eq!((fault.kind, fault.offset), (JsonFaultKind::TooLarge, 2));
    assert_eq!(read(b"12", 2, Profile::Exact), Ok(json!(12)));
}

#[test]
fn invalid_utf8_is_found_where_it_stands() {
    refused(b"\xff", JsonFaultKind::InvalidUtf8, "");
    refused(b"{\"a\":[0,\"x\xc3\x28\"]}", JsonFaultKind::InvalidUtf8, "/a/1");
    refused(b"{\"a\xff\":1}", JsonFaultKind::InvalidUtf8, "");
    refused(b"[1]\xff", JsonFaultKind::InvalidUtf8, "");
    refused(b"[12\xff", JsonFaultKind::InvalidUtf8, "");
    refused(b"[-\xff", JsonFaultKind::InvalidUtf8, "/0");
    refused(b"[\"\\u00\xff", JsonFaultKind::InvalidUtf8, "/0");
    // Overlong and surrogate encodings are not UTF-8 either.
    refused(b"\"\xc0\x80\"", JsonFaultKind::InvalidUtf8, "");
    refused(b"\"\xed\xa0\x80\"", JsonFaultKind::InvalidUtf8, "");
    // The first fault of the text goes first.
    refused(b"{\"a\":1,\"a\":\"\xff\"}", JsonFaultKind::DuplicateKey, "/a");
}

#[test]
fn nul_is_refused_raw_and_escaped() {
    refused(b"\"a\0b\"", JsonFaultKind::Nul, "");
    refused(b"[1,\0]", JsonFaultKind::Nul, "/1");
    refused(b"1\0", JsonFaultKind::Nul, "");
    refused(br#"{"a":["\u0000"]}"#, JsonFaultKind::Nul, "/a/0");
    refused(br#"{"a\u0000":1}"#, JsonFaultKind::Nul, "");
}

#[test]
fn lone_surrogates_are_refused() {
    for text in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\udfff\ud800""#,
    ] {
        refused(text.as_bytes(), JsonFaultKind::LoneSurrogate, "");
    }
    assert_eq!(exact(r#""\uD834\uDD1E""#), Ok(json!("𝄞")));
}

#[test]
fn duplicate_keys_are_found_after_unescaping() {
    refused(br#"{"a":1,"b":2,"a":3}"#, JsonFaultKind::DuplicateKey, "/a");
    refused(
        br#"{"x":{"a/~":1,"\u0061\/~":2}}"#,
        JsonFaultKind::DuplicateKey,
        "/x/a~1~0",
    );
    refused(br#"[{"":1,"":2}]"#, JsonFaultKind::DuplicateKey, "/0/");
    assert!(exact(r#"{"a":1,"A":2,"a ":3}"#).is_ok());
    // é in one and in two characters are two names.
    assert!(exact("{\"\u{e9}\":1,\"e\u{301}\":2}").is_ok());
}

#[test]
fn depth_is_bounded() {
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(exact(&nest(JSON_DEPTH_MAX)).is_ok());
    refused(
        nest(JSON_DEPTH_MAX + 1).as_bytes(),
        JsonFaultKind::TooDeep,
        &"/0".repeat(JSON_DEPTH_MAX),
    );
    refused(
        "[".repeat(900_000).as_bytes(),
        JsonFaultKind::TooDeep,
        &"/0".repeat(JSON_DEPTH_MAX),
    );
    refused(
        "{\"a\":".repeat(900).as_bytes(),
        JsonFaultKind::TooDeep,
        &"/a".repeat(JSON_DEPTH_MAX),
    );
}

#[test]
fn integers_survive_or_are_refused() {
    for good in [
        "0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "9007199254740993",
    ] {
        assert_eq!(exact(good).unwrap().to_string(), good);
    }
    for bad in [
        "18446744073709551616",
        "-9223372036854775809",
        "100000000000000000000000",
    ] {
        refused(
            format!("[{bad}]").as_bytes(),
            JsonFaultKind::IntegerOutOfRange,
            "/0",
        );
    }
    let minus_zero = exact("-0").unwrap();
    assert_eq!(minus_zero, serde_json::from_str::<Value>("-0").unwrap());
}

#[test]
fn the_convenience_form_stops_at_2_to_the_53() {
    let read = |text: &str| {
        read(text.as_bytes(), 100, Profile::Convenience).map_err(|fault| (fault.kind, fault.pointer))
    };
    assert_eq!(
        read("[9007199254740992,-9007199254740992]"),
        Ok(json!([9007199254740992u64, -9007199254740992i64]))
    );
    for bad in ["9007199254740993", "-9007199254740993", "18446744073709551615"] {
        assert_eq!(
            read(&format!("[1,{bad}]")),
            Err((JsonFaultKind::IntegerOutOfRange, "/1".to_owned()))
        );
    }
}

#[test]
fn floats_survive_or_are_refused() {
    for good in [
        "0.1",
        "1.0",
        "-0.0",
        "1.50",
        "0.00",
        "0e5",
        "1e2",
        "1E+2",
        "12.5e-3",
        "0.0035475000000000003",
        "1e308",
        "5e-324",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "9007199254740993e-20",
        "0e999999999999999999999",
        "123456789012345.6",
        "100000000000000000000.0",
        "1e22",
        "0.30000000000000004",
        "98.70",
    ] {
        let value = exact(good).unwrap_or_else(|fault| panic!("{good}: {fault}"));
        assert_eq!(value, serde_json::from_str::<Value>(good).unwrap());
        assert_eq!(value.as_f64(), Some(good.parse::<f64>().unwrap()), "{good}");
    }
    for bad in [
        "1e309",
        "-1e309",
        "1e-400",
        "4e-324",
        "0.1000000000000000055511151231257827",
        "9007199254740993.0",
        "0.300000000000000041",
        "1.00000000000000000001",
        "1e99999999999999999999",
        "123456789.1234567891",
        "1.7976931348623158e308",
    ] {
        refused(bad.as_bytes(), JsonFaultKind::NumberNotExact, "");
    }
}

#[test]
fn long_numbers_are_refused() {
    let zeros = |n: usize| format!("1.{}", "0".repeat(n));
    assert!(exact(&zeros(JSON_NUMBER_BYTES_MAX - 2)).is_ok());
    refused(
        zeros(JSON_NUMBER_BYTES_MAX - 1).as_bytes(),
        JsonFaultKind::NumberTooLong,
        "",
    );
    refused("9".repeat(500_000).as_bytes(), JsonFaultKind::NumberTooLong, "");
}

#[test]
fn other_texts_are_not_json() {
    for bad in [
        "tru",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "--1",
        "1-1",
        "1.2.3",
        "0x10",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "\"\n\"",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "]",
        "}",
        ",",
        ":",
        "// x",
        "/* */1",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{b}",
    ] {
        let fault = exact(bad).expect_err(bad);
        let kinds = [JsonFaultKind::Syntax, JsonFaultKind::TrailingData];
        assert!(kinds.contains(&fault.kind), "{bad}: {fault}");
        assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
    }
    refused(b"1 2", JsonFaultKind::TrailingData, "");
    refused(b"{}{}", JsonFaultKind::TrailingData, "");
    refused(br#"{"a":{"b":[1,2,x]}}"#, JsonFaultKind::Syntax, "/a/b/2");
}

#[test]
fn a_fault_reads_well() {
    let fault = exact(r#"{"a":1,"a":2}"#).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the object has this name twice at \"/a\" (byte 7)"
    );
}
