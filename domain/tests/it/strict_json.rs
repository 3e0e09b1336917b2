//! The strict reader against `serde_json`: equal in what it accepts, stricter in nothing that it does not name.

use proptest::prelude::*;
use ruche_domain::strict_json::{JsonFaultKind, Profile, read};
use serde_json::Value;

use crate::sample::anything;

const MAX: usize = 1 << 20;

/// Accepted texts are read as `serde_json` reads them; refused ones are refused by it too, or for a reason of ours.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(bytes);
    match read(bytes, MAX, Profile::Exact) {
        Ok(value) => {
            let theirs =
                theirs.map_err(|error| TestCaseError::fail(format!("serde_json refuses: {error}")))?;
            prop_assert_eq!(&value, &theirs);
            // Equality of numbers is not equality of text: 1.0 and 1 differ, -0.0 and 0.0 do not.
            prop_assert_eq!(value.to_string(), theirs.to_string());
        }
        Err(fault) => match fault.kind {
            JsonFaultKind::Nul
            | JsonFaultKind::DuplicateKey
            | JsonFaultKind::TooDeep
            | JsonFaultKind::IntegerOutOfRange
            | JsonFaultKind::NumberNotExact
            | JsonFaultKind::NumberTooLong => {}
            _ => prop_assert!(theirs.is_err(), "serde_json accepts what we call {fault}"),
        },
    }
    Ok(())
}

/// Texts that look like JSON: tokens in any order.
fn token_soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\",
            " ",
            "\n",
            "true",
            "false",
            "null",
            "nul",
            "-",
            "+",
            ".",
            "e",
            "E",
            "0",
            "1",
            "9",
            "00",
            "\"a\"",
            "\"a\":",
            "\"\\u0061\":",
            "\"b\":1,",
            "\\u",
            "d800",
            "\\ud83d\\ude00",
            "\\ud800",
            "\\udc00",
            "\\u0000",
            "\u{0}",
            "\u{1f}",
            "\u{7f}",
            "é",
            "\u{feff}",
            "1e5",
            "1.5",
            "-0",
            "18446744073709551615",
            "18446744073709551616",
            "1e400",
            "5e-324",
            "0.1",
            "[[[[[[[[[[",
            "]]]]]]]]]]",
        ])
        .prop_map(|token| token.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
}

/// A valid text with one byte changed, removed or doubled.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    (anything(), any::<prop::sample::Index>(), any::<u8>(), 0..3).prop_map(|(value, index, byte, how)| {
        let mut bytes = serde_json::to_vec(&value).expect("JSON");
        let at = index.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, bytes[at]),
        }
        bytes
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,22})",
        "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,22}",
        "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?[eE][+-]?[0-9]{1,3}",
        "[0-9.eE+-]{1,12}",
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
    ]
}

/// Digits without leading and trailing zeros, and the power of ten: one spelling for one decimal number.
fn decimal(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let (whole, fraction) = mantissa
        .trim_start_matches('-')
        .split_once('.')
        .unwrap_or((mantissa.trim_start_matches('-'), ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let exponent: i64 = exponent.parse().expect("a small exponent");
    let power = exponent - fraction.len() as i64
        + (significant.len() - significant.trim_end_matches('0').len()) as i64;
    let significant = significant.trim_end_matches('0').to_owned();
    if significant.is_empty() {
        (negative, significant, 0)
    } else {
        (negative, significant, power)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_json_writes_is_read_the_same(value in anything(), pretty: bool) {
        let bytes = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("JSON");
        prop_assert_eq!(read(&bytes, MAX, Profile::Exact), Ok(value));
        check(&bytes)?;
    }

    #[test]
    fn soup_is_judged_as_serde_json_does(bytes in token_soup()) {
        check(&bytes)?;
    }

    #[test]
    fn mutants_are_judged_as_serde_json_does(bytes in mutant()) {
        check(&bytes)?;
    }

    #[test]
    fn numbers_survive_exactly_or_are_refused(text in number()) {
        check(text.as_bytes())?;
        let Ok(theirs) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
        // `{:?}` and integers print the shortest text that reads back, so equality of decimals is survival.
        let survives = decimal(&theirs.to_string()) == decimal(&text);
        let ours = read(text.as_bytes(), MAX, Profile::Exact);
        match ours {
            Ok(_) => prop_assert!(survives, "{text} became {theirs}"),
            Err(fault) => {
                // An integer that only a float can hold is refused even if that float is exact.
                let plain = !text.contains(['.', 'e', 'E']);
                let refused = if plain { JsonFaultKind::IntegerOutOfRange } else { JsonFaultKind::NumberNotExact };
                prop_assert_eq!(fault.kind, refused);
                prop_assert!(plain || !survives, "{} was refused, but is {}", text, theirs);
            }
        }
    }

    #[test]
    fn a_duplicate_is_found_wherever_it_is(name in "[^\u{0}]{0,5}", before in 0usize..5, depth in 0usize..6) {
        let quoted = serde_json::to_string(&name).expect("JSON");
        let members: String = (0..before).map(|n| format!("\"other member {n}\":{n},")).collect();
        let object = format!("{{{quoted}:1,{members}{quoted}:2}}");
        let text = format!("{}{object}{}", "[".repeat(depth), "]".repeat(depth));
        let fault = read(text.as_bytes(), MAX, Profile::Exact).expect_err("two of one name");
        prop_assert_eq!(fault.kind, JsonFaultKind::DuplicateKey);
        // The pointer leads to the member in the reading that keeps one of them.
        let lenient: Value = serde_json::from_str(&text).expect("serde_json keeps the last");
        prop_assert_eq!(lenient.pointer(&fault.pointer), Some(&Value::from(2)));
    }
}

/// Folder of developers' data, or `None` where it is absent and need not be there.
#[allow(clippy::disallowed_methods, reason = "test data is read in place")]
fn data() -> Option<std::path::PathBuf> {
    let default = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("RUCHE_DATA").map_or_else(default, Into::into);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{} is absent",
        folder.display()
    );
    eprintln!("skipped: {} is absent", folder.display());
    None
}

#[test]
#[allow(clippy::disallowed_methods, reason = "test data is read in place")]
fn real_conversations_are_read_as_serde_json_does() {
    let Some(data) = data() else { return };
    let files = [
        "tau-bench-airline/gpt-4o-airline.json",
        "agentdojo-gpt-4o-mini/agentdojo-gpt-4o-mini-2024-07-18.jsonl",
        "tau2-runtime-events-mock/results.json",
        "tau2-runtime-events-mock/runtime_events.jsonl",
    ];
    for file in files {
        let text = std::fs::read(data.join(file)).unwrap_or_else(|problem| panic!("{file}: {problem}"));
        let values: Vec<&[u8]> = match file.ends_with(".jsonl") {
            true => text
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .collect(),
            false => vec![&text],
        };
        for (number, value) in values.iter().enumerate() {
            let ours = read(value, text.len(), Profile::Exact);
            let ours = ours.unwrap_or_else(|fault| panic!("{file}, value {number}: {fault}"));
            assert_eq!(
                ours,
                serde_json::from_slice::<Value>(value).expect("JSON"),
                "{file}, value {number}"
            );
        }
    }
}
