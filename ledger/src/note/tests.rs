use proptest::prelude::*;

use super::*;
use crate::testdata;

/// Key and note that the Go package sumdb/note publishes as its example.
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/// Seed of that key.
const GO_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";

/// The example of C2SP signed-note. Its text holds an empty line.
const C2SP_NOTE: &str = "Ognuno sta solo sul cuor della terra\n\
    trafitto da un raggio di sole:\n\
    \n\
    ed è subito sera.\n\
    \n\
    — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";

pub(crate) fn signer(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name, SignatureKind::Ed25519, &[seed; 32]).expect("a key name")
}

pub(crate) fn witness(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name, SignatureKind::CosignatureV1, &[seed; 32]).expect("a key name")
}

fn note(text: &str, signatures: &[NoteSignature]) -> Note {
    Note::new(text.to_owned(), signatures.to_vec()).expect("a note")
}

fn line(name: &str, key_id: u32, bytes: &[u8]) -> NoteSignature {
    NoteSignature {
        name: name.to_owned(),
        key_id,
        bytes: bytes.to_vec(),
    }
}

#[test]
fn the_note_of_the_go_package_verifies_and_is_made_again() {
    let key: VerifierKey = GO_VKEY.parse().expect("a key");
    let parsed = Note::parse(GO_NOTE.as_bytes()).expect("a note");
    let trusted = [key];
    let verified = parsed.verify(&trusted).expect("signed by a trusted key");
    assert_eq!(
        verified,
        [VerifiedSignature {
            key: &trusted[0],
            cosigned_at_s: None
        }]
    );

    let seed: [u8; 32] = decode_base64(GO_SEED)
        .expect("base64")
        .try_into()
        .expect("32 bytes");
    let signer = NoteSigner::from_seed("PeterNeumann", SignatureKind::Ed25519, &seed).expect("a name");
    assert_eq!(signer.verifier().to_string(), GO_VKEY);
    let made = note(parsed.text(), &[signer.sign(parsed.text()).expect("a signature")]);
    assert_eq!(made.to_text(), GO_NOTE);
}

#[test]
fn the_example_of_the_specification_parses() {
    let parsed = Note::parse(C2SP_NOTE.as_bytes()).expect("a note");
    assert!(parsed.text().starts_with("Ognuno") && parsed.text().ends_with("\n\ned è subito sera.\n"));
    let [signature] = parsed.signatures() else {
        panic!("one signature")
    };
    assert_eq!(
        (signature.name(), signature.key_id()),
        ("quasimodo.example/salvatore", 0x367b_a04b)
    );
    assert_eq!(signature.bytes().len(), 64);
    assert_eq!(parsed.to_text(), C2SP_NOTE);
    let other = signer("quasimodo.example/salvatore", 1);
    assert_eq!(
        parsed.verify(&[other.verifier().clone()]),
        Err(NoteError::NoTrustedSignature)
    );
}

#[test]
fn every_changed_byte_of_a_note_is_noticed() {
    let trusted = [GO_VKEY.parse().expect("a key")];
    for at in 0..GO_NOTE.len() {
        for change in [0x01, 0x20, 0x80] {
            let mut bytes = GO_NOTE.as_bytes().to_vec();
            bytes[at] ^= change;
            assert!(
                Note::parse(&bytes)
                    .and_then(|note| note.verify(&trusted).map(|_| ()))
                    .is_err(),
                "byte {at}"
            );
        }
        assert!(Note::parse(&GO_NOTE.as_bytes()[..at]).is_err(), "cut at {at}");
    }
}

/// Notes that must not be read, each with the reason.
#[test]
fn hostile_notes_are_refused() {
    let alice = signer("alice", 1);
    let good = note("text\n", &[alice.sign("text\n").expect("a signature")]).to_text();
    let (_, sig) = good.split_once("\n\n").expect("a note");
    let payload = sig.trim_end().rsplit_once(' ').expect("a line").1;
    assert!(Note::parse(good.as_bytes()).is_ok());

    let malformed = |number| NoteError::SignatureLine(number);
    let block = NoteError::NoSignatureBlock;
    let cases: Vec<(&str, String, NoteError)> = vec![
        ("nothing", String::new(), block.clone()),
        ("only newlines", "\n\n".into(), block.clone()),
        ("no signatures", "text\n\n".into(), block.clone()),
        ("no empty line", format!("text\n{sig}"), block.clone()),
        ("no text", sig.into(), block.clone()),
        ("no text but an empty line", format!("\n{sig}"), block.clone()),
        ("last line cut", good.trim_end().into(), block.clone()),
        ("an empty line behind", format!("{good}\n"), block),
        (
            "an empty line between signatures",
            format!("text\n\n{sig}\nx\n"),
            malformed(1),
        ),
        ("text behind", format!("{good}x\n"), malformed(2)),
        (
            "carriage returns",
            good.replace('\n', "\r\n"),
            NoteError::ControlCharacter,
        ),
        (
            "a tab",
            good.replace("text", "te\tt"),
            NoteError::ControlCharacter,
        ),
        (
            "a zero byte",
            good.replace("text", "te\0t"),
            NoteError::ControlCharacter,
        ),
        (
            "an escape sequence",
            good.replace("text", "\u{1b}[2Jtext"),
            NoteError::ControlCharacter,
        ),
        ("a hyphen for the dash", good.replace('—', "-"), malformed(1)),
        ("an en dash", good.replace('—', "–"), malformed(1)),
        ("a space before the dash", good.replace('—', " —"), malformed(1)),
        ("no space behind the dash", good.replace("— ", "—"), malformed(1)),
        (
            "two spaces behind the dash",
            good.replace("— ", "—  "),
            malformed(1),
        ),
        (
            "a no-break space behind the dash",
            good.replace("— ", "—\u{a0}"),
            malformed(1),
        ),
        ("no name", good.replace(" alice ", "  "), malformed(1)),
        (
            "a plus in the name",
            good.replace("alice", "al+ice"),
            malformed(1),
        ),
        (
            "an ideographic space in the name",
            good.replace("alice", "al\u{3000}ice"),
            malformed(1),
        ),
        (
            "two spaces behind the name",
            good.replace("alice ", "alice  "),
            malformed(1),
        ),
        (
            "no signature",
            good.replace(&format!(" {payload}"), ""),
            malformed(1),
        ),
        ("an empty signature", good.replace(payload, ""), malformed(1)),
        ("only a key id", good.replace(payload, "AAAAAA=="), malformed(1)),
        ("less than a key id", good.replace(payload, "AAAA"), malformed(1)),
        ("no padding", good.replace("=\n", "\n"), malformed(1)),
        ("too much padding", good.replace("=\n", "==\n"), malformed(1)),
        ("bits left over", good.replace(payload, "AAAAAAB="), malformed(1)),
        (
            "the URL alphabet",
            good.replace(payload, "AAAA__--AAA="),
            malformed(1),
        ),
        (
            "a space behind the signature",
            good.replace("=\n", "= \n"),
            malformed(1),
        ),
        (
            "a name beyond the limit",
            good.replace("alice", &"a".repeat(KEY_NAME_BYTES_MAX + 1)),
            malformed(1),
        ),
        (
            "65 signatures",
            format!("text\n\n{}", sig.repeat(65)),
            NoteError::TooManySignatures,
        ),
        (
            "a megabyte",
            format!("{}{good}", "x".repeat(NOTE_BYTES_MAX)),
            NoteError::TooLong(NOTE_BYTES_MAX + good.len()),
        ),
    ];
    assert!(cases.len() >= 25);
    for (what, bytes, error) in cases {
        assert_eq!(Note::parse(bytes.as_bytes()), Err(error), "{what}");
    }
    for bad in [&b"te\xfft\n\n"[..], b"te\xc0\xaft\n\n", b"te\xed\xa0\x80t\n\n"] {
        assert_eq!(
            Note::parse(&[bad, sig.as_bytes()].concat()),
            Err(NoteError::NotUtf8)
        );
    }
}

/// Notes that are well formed, but say something else to a reader who trusts alice (and perhaps bob).
#[test]
fn who_has_signed_is_decided_by_trusted_keys_alone() {
    let (alice, bob, mallory) = (signer("alice", 1), signer("bob", 2), signer("alice", 3));
    let text = "text\n";
    let by = |signer: &NoteSigner| signer.sign(text).expect("a signature");
    let keys = [alice.verifier().clone(), bob.verifier().clone()];
    let names = |signatures: &[NoteSignature]| -> Result<Vec<String>, NoteError> {
        let verified = note(text, signatures)
            .verify(&keys)?
            .into_iter()
            .map(|signature| signature.key.name().to_owned());
        Ok(verified.collect())
    };
    let invalid = |name: &str| {
        Err(NoteError::SignatureInvalid {
            name: name.to_owned(),
        })
    };
    let alice_id = alice.verifier().key_id();
    let other_text = alice.sign("other\n").expect("a signature");
    let lengthened = line("alice", alice_id, &[by(&alice).bytes(), &[0]].concat());
    let shortened = line("alice", alice_id, &by(&alice).bytes()[..63]);
    let renamed = line("bob", alice_id, by(&alice).bytes());
    let colliding = line("alice", alice_id, by(&mallory).bytes());

    assert_eq!(names(&[by(&alice)]), Ok(vec!["alice".into()]));
    assert_eq!(
        names(&[by(&bob), by(&alice)]),
        Ok(vec!["bob".into(), "alice".into()])
    );
    assert_eq!(
        names(&[by(&mallory), by(&alice)]),
        Ok(vec!["alice".into()]),
        "same name, other id"
    );
    assert_eq!(
        names(&[renamed.clone(), by(&alice)]),
        Ok(vec!["alice".into()]),
        "same id, other name"
    );
    assert_eq!(
        names(&[by(&alice), by(&alice)]),
        Ok(vec!["alice".into()]),
        "a repeated line"
    );
    assert_eq!(names(&[by(&mallory)]), Err(NoteError::NoTrustedSignature));
    assert_eq!(names(&[renamed]), Err(NoteError::NoTrustedSignature));
    assert_eq!(
        names(std::slice::from_ref(&colliding)),
        invalid("alice"),
        "an id made to collide"
    );
    assert_eq!(names(std::slice::from_ref(&other_text)), invalid("alice"));
    assert_eq!(
        names(&[by(&alice), other_text.clone()]),
        invalid("alice"),
        "a bad repetition behind a good line"
    );
    assert_eq!(
        names(&[by(&bob), other_text]),
        invalid("alice"),
        "one good signature does not save a bad one"
    );
    assert_eq!(names(&[lengthened]), invalid("alice"));
    assert_eq!(names(&[shortened]), invalid("alice"));
    assert_eq!(names(&[by(&alice), colliding]), invalid("alice"));
    assert_eq!(
        note(text, &[by(&alice)]).verify(&[]),
        Err(NoteError::NoTrustedSignature)
    );
    let twice = [keys[0].clone(), keys[0].clone()];
    assert_eq!(
        note(text, &[by(&alice)])
            .verify(&twice)
            .map(|verified| verified.len()),
        Ok(1)
    );
}

#[test]
fn a_megabyte_and_64_signatures_are_read() {
    let alice = signer("alice", 1);
    let text = format!("{}\n", "x".repeat(1 << 19));
    let mut signatures: Vec<_> = (0..63).map(|number| line("grease", number, &[7; 100])).collect();
    signatures.push(alice.sign(&text).expect("a signature"));
    let bytes = note(&text, &signatures).to_text();
    let read = Note::parse(bytes.as_bytes()).expect("a note");
    assert_eq!(
        read.verify(&[alice.verifier().clone()])
            .map(|verified| verified.len()),
        Ok(1)
    );
    signatures.push(line("grease", 63, &[7; 100]));
    assert_eq!(
        Note::new(text.clone(), signatures),
        Err(NoteError::TooManySignatures)
    );
    assert_eq!(Note::new(text, Vec::new()), Err(NoteError::NoSignatureBlock));
    assert_eq!(
        Note::new("x".into(), vec![line("a", 1, &[1])]),
        Err(NoteError::TextUnterminated)
    );
    assert_eq!(
        Note::new("x\ry\n".into(), vec![line("a", 1, &[1])]),
        Err(NoteError::ControlCharacter)
    );
    let long = "x".repeat(NOTE_BYTES_MAX) + "\n";
    assert!(matches!(
        Note::new(long, vec![line("a", 1, &[1])]),
        Err(NoteError::TooLong(_))
    ));
}

#[test]
fn a_cosignature_covers_its_time() {
    let witness = witness("witness.example/w1", 5);
    let text = "log.example\n1\nAAAA\n";
    let keys = [witness.verifier().clone()];
    let signature = witness.cosign(text, 1_700_000_000).expect("a signature");
    assert_eq!(signature.bytes().len(), 72);
    let verified = note(text, std::slice::from_ref(&signature))
        .verify(&keys)
        .expect("a cosignature");
    assert_eq!(
        verified,
        [VerifiedSignature {
            key: &keys[0],
            cosigned_at_s: Some(1_700_000_000)
        }]
    );

    let mut later = signature.bytes().to_vec();
    later[7] += 1;
    let later = line(witness.verifier().name(), witness.verifier().key_id(), &later);
    let invalid = Err(NoteError::SignatureInvalid {
        name: "witness.example/w1".into(),
    });
    assert_eq!(note(text, &[later]).verify(&keys), invalid);
    let short = line(
        witness.verifier().name(),
        witness.verifier().key_id(),
        &signature.bytes()[..7],
    );
    assert_eq!(note(text, &[short]).verify(&keys), invalid);

    assert_eq!(witness.cosign(text, 1 << 63), Err(SignerError::Time(1 << 63)));
    assert!(witness.cosign(text, i64::MAX as u64).is_ok());
    assert_eq!(witness.sign(text), Err(SignerError::Kind));
    assert_eq!(signer("log", 1).cosign(text, 1), Err(SignerError::Kind));
}

#[test]
fn a_log_key_and_a_witness_key_of_one_seed_do_not_stand_for_each_other() {
    let (log, witness) = (signer("same", 9), witness("same", 9));
    assert_eq!(log.verifier().public_key(), witness.verifier().public_key());
    assert_ne!(log.verifier().key_id(), witness.verifier().key_id());
    // A text that reads like a cosigned message, signed as a log, is no cosignature of the rest.
    let signature = log.sign("cosignature/v1\ntime 7\nrest\n").expect("a signature");
    let forged = [&7_u64.to_be_bytes()[..], signature.bytes()].concat();
    let as_log = note("rest\n", &[line("same", log.verifier().key_id(), &forged)]);
    assert!(as_log.verify(&[log.verifier().clone()]).is_err());
}

#[test]
fn the_sample_log_is_signed_by_its_two_keys() {
    let Some(folder) = testdata::path("vectors/tlog-sample") else {
        return;
    };
    let vkeys = String::from_utf8(testdata::read(&folder.join("vkeys.txt"))).expect("UTF-8");
    let keys: Vec<VerifierKey> = vkeys.lines().map(|line| line.parse().expect("a key")).collect();
    assert_eq!(
        keys.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
            + "\n",
        vkeys
    );
    for name in ["checkpoint", "checkpoint.1", "checkpoint.20", "checkpoint.40"] {
        let bytes = testdata::read(&folder.join(name));
        let note = Note::parse(&bytes).expect("a note");
        assert_eq!(note.to_text().as_bytes(), bytes);
        let verified = note.verify(&keys).expect("both signatures");
        let kinds: Vec<_> = verified.iter().map(|signature| signature.key.kind()).collect();
        assert_eq!(
            kinds,
            [SignatureKind::Ed25519, SignatureKind::CosignatureV1],
            "{name}"
        );
        assert!(verified[1].cosigned_at_s.is_some());
    }
}

/// The same notes as another implementation sees them.
mod against_signed_note {
    use signed_note::{Note as Theirs, Signer as _, StandardSigner, StandardVerifier, VerifierList};

    use super::*;

    const SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    fn their_keys(vkey: &str) -> VerifierList {
        VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).expect("a key"))])
    }

    proptest! {
        #[test]
        fn each_verifies_what_the_other_signed(body in "[^\\x00-\\x1f]{0,40}(\n[^\\x00-\\x1f]{0,40}){0,5}", seed: [u8; 32]) {
            let text = format!("{body}\n");
            let ours = NoteSigner::from_seed("log.example/é", SignatureKind::Ed25519, &seed).expect("a name");
            let bytes = note(&text, &[ours.sign(&text).expect("a signature")]).to_text();
            let theirs = Theirs::from_bytes(bytes.as_bytes()).expect("a note");
            prop_assert_eq!(theirs.text(), text.as_bytes());
            prop_assert!(theirs.verify(&their_keys(&ours.verifier().to_string())).is_ok());

            let signer = StandardSigner::new(SKEY).expect("a key");
            let mut theirs = Theirs::new(text.as_bytes(), &[]).expect("a note");
            theirs.add_sigs(&[&signer]).expect("a signature");
            let read = Note::parse(&theirs.to_bytes()).expect("a note");
            prop_assert_eq!(read.text(), &text);
            let key: VerifierKey = GO_VKEY.parse().expect("a key");
            prop_assert_eq!(signer.key_id(), key.key_id());
            prop_assert!(read.verify(&[key]).is_ok());
        }

        #[test]
        fn what_we_read_they_read_alike(bytes in "[a\n—+ =A]{0,60}", tail in "(\n— [ab]{1,3} AAAAA[AB]{2}=){0,3}\n?") {
            let bytes = format!("{bytes}{tail}");
            // We are stricter: whatever we take, they must take and understand the same way.
            if let Ok(ours) = Note::parse(bytes.as_bytes()) {
                let theirs = Theirs::from_bytes(bytes.as_bytes()).expect("a note for them too");
                prop_assert_eq!(theirs.text(), ours.text().as_bytes());
                prop_assert_eq!(theirs.to_bytes(), bytes.as_bytes());
                prop_assert_eq!(ours.to_text(), bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn strange_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_eq!(note.to_text().into_bytes(), bytes);
        }
    }
}
