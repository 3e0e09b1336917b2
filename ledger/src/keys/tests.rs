use super::*;

fn seed() -> MasterSeed {
    let bytes: Vec<u8> = (1..=32).collect();
    MasterSeed::from_slice(&bytes).expect("32 bytes")
}

fn ledger() -> LedgerId {
    "018f0000-0000-7000-8000-000000000001".parse().expect("a uuid")
}

const ORIGIN: &str = "ledger.example/k3v9/e1";

#[test]
fn the_log_key_is_the_one_computed_elsewhere() {
    // Python: hmac and hashlib for HKDF (RFC 5869), cryptography for Ed25519.
    let expected = "433f90ade761e7dd277b3c8f69e762273bf5ab00f20b5bb748eaf57c3b60d196";
    assert_eq!(hex::encode(*seed().log_signing_seed(ORIGIN)), expected);
    let signer = seed().log_signer(ORIGIN).expect("a key name");
    let vkey = "ledger.example/k3v9/e1+fd558f6e+AWTmqHc1aYyMQ/Gno7UPDZDdyDcwFFZyIypgjX/WSy7I";
    assert_eq!(signer.verifier().to_string(), vkey);
}

#[test]
fn the_ledger_keys_are_the_ones_computed_elsewhere() {
    // Python, as above; the hashing under these keys is tested in `references`.
    let bytes = |text: &str| -> [u8; 32] {
        hex::decode(text)
            .expect("hexadecimal")
            .try_into()
            .expect("32 bytes")
    };
    let reference = bytes("d74056116338ae285b4b3d97b36034fde6304c30d0a4bd812668c320993456a1");
    assert_eq!(
        seed().reference_key(ledger()).session("a"),
        ReferenceKey::new(reference).session("a")
    );
    let idempotency = bytes("85e23b61f2a49e5786122e8fa5d46734cf49a50d75bb2c45eddfbe0af08b0af6");
    let claim = |hasher: &IdempotencyHasher| hasher.claim(crate::leaf::KeyLayer::Api, "key", &[b"request"]);
    assert_eq!(
        claim(&seed().idempotency_hasher(ledger())),
        claim(&IdempotencyHasher::new(idempotency))
    );
}

#[test]
fn the_key_of_passes_is_the_one_computed_elsewhere() {
    let expected = "318e3246a047df51ee649dec819fdc29d13cf6b5dd641494dd259d08850ab2a0";
    assert_eq!(hex::encode(*seed().pass_key()), expected);
}

#[test]
fn every_origin_and_ledger_has_its_own_keys() {
    let seed = seed();
    assert_ne!(seed.log_signing_seed("a/e1"), seed.log_signing_seed("a/e2"));
    let other: LedgerId = "018f0000-0000-7000-8000-000000000002".parse().expect("a uuid");
    assert_ne!(
        seed.reference_key(ledger()).session("a"),
        seed.reference_key(other).session("a")
    );
}

#[test]
fn what_is_no_seed_is_refused() {
    for bytes in [&[][..], &[1; 31], &[1; 33], &[0; 32]] {
        assert_eq!(MasterSeed::from_slice(bytes).map(|_| ()), Err(MasterSeedInvalid));
    }
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?}", seed()), "MasterSeed(secret)");
    let signer = seed().log_signer(ORIGIN).expect("a key name");
    assert_eq!(
        format!("{signer:?}"),
        format!("NoteSigner({})", signer.verifier())
    );
}
