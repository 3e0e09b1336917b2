use proptest::prelude::*;
use ruche_domain::limits::{DSSE_ENVELOPE_BYTES_MAX, DSSE_PAYLOAD_BYTES_MAX};

use super::{DsseError, Envelope, PrivateKey, PublicKey, pre_authentication_encoding};

const TYPE: &str = "http://example.com/HelloWorld";
/// The example of secure-systems-lab/dsse, `protocol.md`. Its signature is ECDSA: it is read here and not believed.
const PUBLISHED: &str = r#"{"payload": "aGVsbG8gd29ybGQ=",
 "payloadType": "http://example.com/HelloWorld",
 "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}"#;

fn alice() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

#[test]
fn the_published_vector() {
    let encoded = pre_authentication_encoding(TYPE, b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    let published = Envelope::parse(PUBLISHED).unwrap();
    assert_eq!(published.payload, b"hello world");
    assert_eq!(published.payload_type, TYPE);
    assert_eq!(published.signature[..3], [0x03, 0x72, 0x6a]);
    assert_eq!(
        published.verify(&alice().public(), TYPE),
        Err(DsseError::Signature)
    );
}

#[test]
fn what_was_signed_comes_back_and_nothing_else() {
    let envelope = alice().sign(TYPE, b"hello world").unwrap();
    let read = Envelope::parse(&envelope.to_json()).unwrap();
    assert_eq!(read, envelope);
    assert_eq!(read.key_hint(), Some(alice().public().id().as_str()));
    assert_eq!(read.verify(&alice().public(), TYPE), Ok(&b"hello world"[..]));
    let mallory = PrivateKey::from_seed(&[8; 32]).public();
    assert_eq!(read.verify(&mallory, TYPE), Err(DsseError::Signature));
    assert_eq!(
        read.verify(&alice().public(), "text/plain"),
        Err(DsseError::OtherType)
    );
}

#[test]
fn both_alphabets_are_read() {
    let envelope = alice().sign(TYPE, &[0xfb, 0xff, 0xfe]).unwrap();
    let text = envelope.to_json();
    assert!(text.contains("+//+"), "{text}");
    let url_safe = text.replace("+//+", "-__-");
    let read = Envelope::parse(&url_safe).unwrap();
    assert_eq!(read.verify(&alice().public(), TYPE), Ok(&[0xfb, 0xff, 0xfe][..]));
}

#[test]
fn what_is_no_envelope_is_refused() {
    let good = alice().sign(TYPE, b"x").unwrap().to_json();
    let signature = &good[good.find("{\"keyid").unwrap()..good.len() - 2];
    let unfit = [
        "{}".to_owned(),
        good.replace("payloadType", "type"),
        good.replace("\"signatures\"", "\"more\":1,\"signatures\""),
        good.replace(signature, ""),
        good.replace(signature, &format!("{signature},{signature}")),
        good.replace("\"sig\":\"", "\"sig\":\"AAAA"),
        good.replace("\"payload\":\"", "\"payload\":\"*"),
        good.replace("\"keyid\":\"", &format!("\"keyid\":\"{}", "a".repeat(64))),
    ];
    for text in unfit {
        let error = Envelope::parse(&text).unwrap_err();
        assert!(matches!(error, DsseError::Malformed(_)), "{text}: {error}");
    }
    let long = " ".repeat(DSSE_ENVELOPE_BYTES_MAX + 1);
    assert_eq!(
        Envelope::parse(&long),
        Err(DsseError::TooLong {
            limit: DSSE_ENVELOPE_BYTES_MAX
        })
    );
    let long = vec![b'x'; DSSE_PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(
        alice().sign(TYPE, &long),
        Err(DsseError::TooLong { .. })
    ));
    let longest = alice().sign(TYPE, &long[1..]).unwrap();
    assert!(
        Envelope::parse(&longest.to_json()).is_ok(),
        "the bounds fit each other"
    );
}

#[test]
fn weak_keys_and_second_spellings_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(
        PublicKey::from_bytes(&neutral),
        Err(DsseError::Key),
        "small order"
    );
    let mut second = [0xff; 32];
    second[0] = 0xf0; // y = 3 + p: the same point as y = 3.
    second[31] = 0x7f;
    assert_eq!(PublicKey::from_bytes(&second), Err(DsseError::Key));
    let key = alice().public();
    assert_eq!(PublicKey::from_hex(&key.to_hex()), Ok(key.clone()));
    assert_eq!(
        PublicKey::from_hex(&key.to_hex().to_uppercase()),
        Err(DsseError::Key)
    );
}

#[test]
fn a_private_key_is_not_printed() {
    assert!(!format!("{:?}", alice()).contains(&hex::encode([7_u8; 32])));
}

proptest! {
    /// Type, bytes and signature are bound together: whichever bit is flipped, nothing verifies.
    #[test]
    fn any_flipped_bit_is_refused(
        payload in prop::collection::vec(any::<u8>(), 0..64),
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let key = alice();
        let good = key.sign(TYPE, &payload).unwrap();
        let mut parts = [good.payload.clone(), good.payload_type.clone().into_bytes(), good.signature.to_vec()];
        let mut at = place.index(parts.iter().map(Vec::len).sum());
        for part in &mut parts {
            if at < part.len() {
                part[at] ^= 1 << bit;
                break;
            }
            at -= part.len();
        }
        let [payload, payload_type, signature] = parts;
        // A type that is no text any more cannot stand in an envelope.
        if let Ok(payload_type) = String::from_utf8(payload_type) {
            let signature = signature.try_into().expect("64 bytes stay 64 bytes");
            let bad = Envelope { payload_type, payload, signature, key_hint: None };
            prop_assert_eq!(bad.verify(&key.public(), TYPE), Err(DsseError::Signature));
        }
    }

    /// Bytes cannot move between the type and the payload.
    #[test]
    fn lengths_keep_the_parts_apart(a in "[a-z0-9 ]{0,12}", b in "[a-z0-9 ]{0,12}", c in "[a-z0-9 ]{0,12}", d in "[a-z0-9 ]{0,12}") {
        let one = pre_authentication_encoding(&a, b.as_bytes());
        let other = pre_authentication_encoding(&c, d.as_bytes());
        prop_assert_eq!(one == other, (a, b) == (c, d));
    }
}
