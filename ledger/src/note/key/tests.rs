use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::testdata;

const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a text")).expect("hexadecimal")
}

/// What a reader with this public key says to this signature. The first answer is of `verify_strict` alone; the
/// second is ours, which also refuses weak keys and keys in another spelling when they are read.
fn answers(key: &[u8], message: &[u8], signature: &[u8]) -> (bool, bool) {
    let Ok(key) = <&[u8; 32]>::try_from(key) else {
        return (false, false);
    };
    let strict = VerifyingKey::from_bytes(key).is_ok_and(|key| {
        Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
    });
    let ours = VerifierKey::new("key", SignatureKind::Ed25519, key)
        .is_ok_and(|key| key.verify_bytes(message, signature).is_some());
    (strict, ours)
}

#[test]
fn wycheproof() {
    let Some(path) = testdata::path("vectors/wycheproof-ed25519/ed25519_test.half.json") else {
        return;
    };
    let vectors = testdata::json(&path);
    let mut counts = (0, 0);
    for group in vectors["testGroups"].as_array().expect("groups") {
        let key = unhex(&group["publicKey"]["pk"]);
        for test in group["tests"].as_array().expect("tests") {
            let valid = test["result"] == "valid";
            let answers = answers(&key, &unhex(&test["msg"]), &unhex(&test["sig"]));
            assert_eq!(
                answers,
                (valid, valid),
                "tcId {} {}",
                test["tcId"],
                test["comment"]
            );
            if valid { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    eprintln!(
        "wycheproof: {} valid and {} invalid signatures",
        counts.0, counts.1
    );
}

/// Verifiers differ on these signatures by right. A ledger's readers must not: the answers are frozen, and a new
/// version of the library that gives others does not get in.
#[test]
fn cctv_edge_cases_are_answered_as_they_always_were() {
    let Some(path) = testdata::path("vectors/cctv-ed25519/ed25519vectors.half.json") else {
        return;
    };
    let frozen: BTreeSet<u64> = include_str!("../../testdata/cctv-ed25519-accepted.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.parse().expect("a number"))
        .collect();
    let (mut strict, mut ours, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for vector in testdata::json(&path).as_array().expect("a list") {
        let number = vector["number"].as_u64().expect("a number");
        let message = vector["msg"].as_str().expect("a text").as_bytes();
        let answers = answers(&unhex(&vector["key"]), message, &unhex(&vector["sig"]));
        seen.insert(number);
        if answers.0 {
            strict.insert(number);
        }
        if answers.1 {
            ours.insert(number);
        }
    }
    assert_eq!(strict, frozen.intersection(&seen).copied().collect());
    assert_eq!(
        ours, strict,
        "reading the key first refuses nothing that verify_strict accepts"
    );
    assert!(!strict.is_empty());
    eprintln!("cctv: {} of {} accepted", strict.len(), seen.len());
}

#[test]
fn a_vkey_prints_as_it_was_read() {
    let key: VerifierKey = VKEY.parse().expect("a key");
    assert_eq!(
        (key.name(), key.key_id(), key.kind()),
        ("PeterNeumann", 0xc74f_20a3, SignatureKind::Ed25519)
    );
    assert_eq!(key.to_string(), VKEY);
    assert_eq!(format!("{key:?}"), format!("VerifierKey({VKEY})"));
}

#[test]
fn parts_and_manglings_of_a_vkey_are_refused() {
    for start in 0..VKEY.len() {
        for end in start..=VKEY.len() {
            let part = &VKEY[start..end];
            assert!(part == VKEY || part.parse::<VerifierKey>().is_err(), "{part}");
        }
    }
    for at in 0..VKEY.len() {
        for change in [1, 0x20, 0x40] {
            let mut bytes = VKEY.as_bytes().to_vec();
            bytes[at] ^= change;
            let mangled = String::from_utf8(bytes).expect("ASCII");
            assert!(mangled.parse::<VerifierKey>().is_err(), "{mangled}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_vkey_has_a_name() {
    let point = |bytes: [u8; 32]| VerifierKey::new("a", SignatureKind::Ed25519, &bytes);
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(point(identity), Err(VerifierKeyError::Weak));
    assert_eq!(point([0; 32]), Err(VerifierKeyError::Weak));
    // y = 2 is on no point of the curve.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(point(no_point), Err(VerifierKeyError::Point));
    // y = p + 3 is another spelling of y = 3, which is on a point of the prime-order kind or eight times it.
    let mut three = [0; 32];
    three[0] = 3;
    let mut again = [0xff; 32];
    (again[0], again[31]) = (0xed + 3, 0x7f);
    assert!(point(three).is_ok());
    assert_eq!(point(again), Err(VerifierKeyError::Point));

    let cases = [
        ("", VerifierKeyError::Format),
        ("a+00000000", VerifierKeyError::Format),
        ("a+00000000+", VerifierKeyError::Format),
        ("a+00000000+AQ==", VerifierKeyError::Format),
        ("a+00000000+A", VerifierKeyError::Format),
        (
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWAA==",
            VerifierKeyError::Format,
        ),
        (
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq_LDE4izWy10TW",
            VerifierKeyError::Format,
        ),
        (
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::Kind(0x65),
        ),
        ("PeterNeumann+c74f20a3+BhpC", VerifierKeyError::Kind(0x06)),
        (
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::KeyId,
        ),
        (
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::KeyId,
        ),
        (
            "PeterNeumann++ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::KeyId,
        ),
        (
            "PeterNeumanm+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::KeyId,
        ),
        (
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::Name,
        ),
        (
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            VerifierKeyError::Name,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
    let key: VerifierKey = VKEY.parse().expect("a key");
    for name in [
        "",
        "a b",
        "a+b",
        "a\u{a0}b",
        "a\u{2003}",
        "a\tb",
        "a\n",
        &"a".repeat(513),
    ] {
        let renamed = VerifierKey::new(name, SignatureKind::Ed25519, key.public_key());
        assert_eq!(renamed, Err(VerifierKeyError::Name), "{name:?}");
    }
}
