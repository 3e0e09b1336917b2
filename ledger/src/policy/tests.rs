use proptest::prelude::*;
use ruche_domain::numbers::TreeSize;

use super::*;
use crate::hash::Hash;
use crate::note::tests::{signer, witness};
use crate::note::{NoteError, VerifierKeyError};
use crate::tree::TreeRoot;
use crate::tree_head::TreeHead;

const ORIGIN: &str = "log.example/1";

fn log_key() -> String {
    signer(ORIGIN, 1).verifier().to_string()
}

fn witness_key(number: u8) -> String {
    witness(&format!("witness.example/{number}"), 100 + number)
        .verifier()
        .to_string()
}

/// A tree head of the log, cosigned by the witnesses with these numbers.
fn cosigned(by: impl IntoIterator<Item = u8>) -> SignedTreeHead {
    let tree = TreeRoot {
        size: TreeSize(3),
        root: Hash([3; 32]),
    };
    let head = SignedTreeHead::sign(TreeHead::new(ORIGIN, tree), &signer(ORIGIN, 1)).expect("a tree head");
    let text = head.note().text().to_owned();
    let lines = by.into_iter().map(|number| {
        witness(&format!("witness.example/{number}"), 100 + number)
            .cosign(&text, 7)
            .expect("a signature")
    });
    head.with_signatures(lines).expect("a tree head")
}

/// The example of C2SP tlog-policy, with keys.
fn example() -> String {
    let mut text = format!("# comment\n\nlog {}\n", log_key());
    for (number, name) in (1..).zip(["X1", "X2", "X3", "Y1", "Y2", "Y3"]) {
        text.push_str(&format!(
            "\twitness  {name} {} https://{name}.example/ \n",
            witness_key(number)
        ));
    }
    text + "group X-witnesses 2 X1 X2 X3\n\
        group Y-witnesses any Y1 Y2 Y3\n  # another comment\n\
        group X-and-Y all X-witnesses Y-witnesses\n\
        quorum X-and-Y\n"
}

#[test]
fn the_example_of_the_specification() {
    let policy = Policy::parse(example().as_bytes()).expect("a policy");
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 6));
    assert_eq!(
        policy.url_of(&policy.witnesses()[4]),
        Some(&b"https://Y2.example/"[..])
    );
    assert_eq!(policy.url_of(&policy.logs()[0]), None);
    assert_eq!(policy.url_of(signer("stranger", 9).verifier()), None);
    // Every set of witnesses: two of the first three and one of the others.
    for set in 0_u8..64 {
        let by: Vec<u8> = (1..=6).filter(|number| set >> (number - 1) & 1 == 1).collect();
        let enough =
            by.iter().filter(|number| **number <= 3).count() >= 2 && by.iter().any(|number| *number > 3);
        let head = cosigned(by.clone());
        match policy.evaluate(&head) {
            Ok(verdict) => {
                assert!(enough, "{by:?}");
                assert_eq!(
                    (verdict.log, verdict.cosignatures.len()),
                    (&policy.logs()[0], by.len())
                );
            }
            Err(error) => {
                assert!(!enough, "{by:?}");
                assert_eq!(error, PolicyError::QuorumMissed { cosigned: by.len() });
            }
        }
    }
}

#[test]
fn witnesses_that_the_policy_does_not_name_do_not_count() {
    let policy = Policy::parse(example().as_bytes()).expect("a policy");
    assert_eq!(
        policy.evaluate(&cosigned([1, 7, 8, 9])),
        Err(PolicyError::QuorumMissed { cosigned: 1 })
    );
    assert!(policy.evaluate(&cosigned([9, 1, 3, 6])).is_ok());
}

#[test]
fn no_witness_replaces_the_log() {
    let other = format!("log {}\nquorum none\n", signer("log.example/2", 2).verifier());
    let policy = Policy::parse(other.as_bytes()).expect("a policy");
    assert!(matches!(
        policy.evaluate(&cosigned([])),
        Err(PolicyError::TreeHead(_))
    ));

    let only_witness = format!("witness w {}\nquorum w\n", witness_key(1));
    let policy = Policy::parse(only_witness.as_bytes()).expect("a policy");
    let not_signed = TreeHeadError::NotSignedByLog {
        origin: ORIGIN.into(),
    };
    assert_eq!(
        policy.evaluate(&cosigned([1])),
        Err(PolicyError::TreeHead(not_signed))
    );
    let known = policy.with_log(signer(ORIGIN, 1).verifier().clone());
    assert!(known.evaluate(&cosigned([1])).is_ok());
    assert_eq!(
        known.evaluate(&cosigned([])),
        Err(PolicyError::QuorumMissed { cosigned: 0 })
    );
    assert_eq!(
        known
            .clone()
            .with_log(signer(ORIGIN, 1).verifier().clone())
            .logs()
            .len(),
        1
    );

    let empty = Policy::parse(b"quorum none\n").expect("a policy");
    let untrusted = TreeHeadError::Note(NoteError::NoTrustedSignature);
    assert_eq!(
        empty.evaluate(&cosigned([1])),
        Err(PolicyError::TreeHead(untrusted))
    );
}

#[test]
fn a_bad_cosignature_by_a_named_witness_rejects_the_tree_head() {
    let policy = Policy::parse(example().as_bytes()).expect("a policy");
    let head = cosigned([1, 2, 4]);
    let bad = witness("witness.example/3", 103)
        .cosign("another text\n", 7)
        .expect("a signature");
    let head = head.with_signatures([bad]).expect("a tree head");
    let invalid = NoteError::SignatureInvalid {
        name: "witness.example/3".into(),
    };
    assert_eq!(
        policy.evaluate(&head),
        Err(PolicyError::TreeHead(TreeHeadError::Note(invalid)))
    );
}

#[test]
fn names_and_urls_are_octets() {
    let mut text = format!("log {} \u{212a}://\n", log_key()).into_bytes();
    text.extend(b"witness \xff\xfe ");
    text.extend(witness_key(1).bytes());
    text.extend(b" \x80\n# \xc0\nquorum \xff\xfe\n");
    let policy = Policy::parse(&text).expect("a policy");
    assert_eq!(policy.url_of(&policy.witnesses()[0]), Some(&b"\x80"[..]));
    assert!(policy.evaluate(&cosigned([1])).is_ok());
    // A Kelvin sign is not a K.
    let kelvin = format!("witness \u{212a} {}\nquorum K\n", witness_key(1));
    assert_eq!(problem(&kelvin), (2, PolicyLineProblem::NameUnknown));
}

/// The line that is refused, and why.
fn problem(text: &str) -> (usize, PolicyLineProblem) {
    match Policy::parse(text.as_bytes()) {
        Err(PolicyParseError::Line { line, problem }) => (line, problem),
        other => panic!("{other:?} for {text:?}"),
    }
}

#[test]
fn lines_that_cannot_stand_in_a_policy() {
    use PolicyLineProblem as P;
    let (l, w1, w2) = (log_key(), witness_key(1), witness_key(2));
    let log_as_witness = witness(ORIGIN, 1).verifier().to_string();
    let witnesses = format!("witness a {w1}\nwitness b {w2}\n");
    let renamed = signer("log.example/renamed", 1).verifier().to_string();
    let cases = [
        ("quorum none\r\n".into(), 1, P::ControlCharacter),
        ("# \x0b\nquorum none\n".into(), 1, P::ControlCharacter),
        ("#\x7f\nquorum none\n".into(), 1, P::ControlCharacter),
        ("quorum none\0\n".into(), 1, P::ControlCharacter),
        ("\nlogs x\n".into(), 2, P::Keyword),
        ("Quorum none\n".into(), 1, P::Keyword),
        ("quorum\u{a0}none\n".into(), 1, P::Keyword),
        ("quorum none # really\n".into(), 1, P::WordCount),
        ("quorum\n".into(), 1, P::WordCount),
        ("log\n".into(), 1, P::WordCount),
        (format!("log {l} u v\n"), 1, P::WordCount),
        ("witness a\n".into(), 1, P::WordCount),
        (format!("witness a {w1} u v\n"), 1, P::WordCount),
        (format!("{witnesses}group g all\n"), 3, P::WordCount),
        ("log x\n".into(), 1, P::Key(VerifierKeyError::Format)),
        (
            "log \u{fffd}+00000000+\n".into(),
            1,
            P::Key(VerifierKeyError::Format),
        ),
        (format!("log {w1}\n"), 1, P::KeyKind),
        (format!("witness a {l}\n"), 1, P::KeyKind),
        (format!("log {l}\nlog {l}\n"), 2, P::KeyDuplicate),
        (format!("log {l}\nlog {renamed}\n"), 2, P::KeyDuplicate),
        (format!("witness a {w1}\nwitness b {w1}\n"), 2, P::KeyDuplicate),
        (format!("witness none {w1}\n"), 1, P::NameTaken),
        (format!("witness a {w1}\nwitness a {w2}\n"), 2, P::NameTaken),
        (format!("{witnesses}group a any b\n"), 3, P::NameTaken),
        (format!("{witnesses}group none any b\n"), 3, P::NameTaken),
        (
            format!("{witnesses}group g any a\ngroup g any b\n"),
            4,
            P::NameTaken,
        ),
        ("quorum a\n".into(), 1, P::NameUnknown),
        (format!("quorum a\nwitness a {w1}\n"), 1, P::NameUnknown),
        (format!("{witnesses}group g any c\n"), 3, P::NameUnknown),
        (format!("{witnesses}group g any g\n"), 3, P::NameUnknown),
        (format!("{witnesses}group g any none\n"), 3, P::NameUnknown),
        (format!("{witnesses}group g any a a\n"), 3, P::MemberTwice),
        (
            format!("{witnesses}group g any a\ngroup h any b a\n"),
            4,
            P::MemberTwice,
        ),
        (
            format!("{witnesses}group g any a\ngroup h any g b\ngroup i any g\n"),
            5,
            P::MemberTwice,
        ),
        (format!("{witnesses}group g 0 a b\n"), 3, P::Threshold),
        (format!("{witnesses}group g 3 a b\n"), 3, P::Threshold),
        (format!("{witnesses}group g 01 a b\n"), 3, P::Threshold),
        (format!("{witnesses}group g +1 a b\n"), 3, P::Threshold),
        (format!("{witnesses}group g most a b\n"), 3, P::Threshold),
        (
            format!("{witnesses}group g 99999999999999999999 a b\n"),
            3,
            P::Threshold,
        ),
        ("quorum none\nquorum none\n".into(), 2, P::QuorumTwice),
    ];
    for (text, line, expected) in cases {
        let text: String = text;
        assert_eq!(problem(&text), (line, expected), "{text:?}");
    }
    // A witness may use the key of a log: C2SP forbids duplicates among logs and among witnesses.
    assert!(Policy::parse(format!("log {l}\nwitness a {log_as_witness}\nquorum a\n").as_bytes()).is_ok());
}

#[test]
fn whole_files_that_are_no_policy() {
    let error = |file: &[u8]| Policy::parse(file).expect_err("no policy");
    assert_eq!(error(b""), PolicyParseError::QuorumMissing);
    assert_eq!(error(b"# nothing\n"), PolicyParseError::QuorumMissing);
    assert_eq!(error(b"quorum none"), PolicyParseError::Unterminated);
    assert_eq!(
        error(&vec![b'\n'; POLICY_BYTES_MAX + 1]),
        PolicyParseError::TooLong(POLICY_BYTES_MAX + 1)
    );
}

#[test]
fn as_many_items_as_the_specification_asks_for_and_not_without_end() {
    let witnesses = |count: usize| -> String {
        (0..count)
            .map(|number| {
                let mut seed = [9; 32];
                seed[..8].copy_from_slice(&number.to_be_bytes());
                let kind = SignatureKind::CosignatureV1;
                let witness = crate::note::NoteSigner::from_seed("w", kind, &seed).expect("a name");
                format!("witness w{number} {}\n", witness.verifier())
            })
            .collect()
    };
    assert!(Policy::parse((witnesses(POLICY_ITEMS_MAX) + "quorum none\n").as_bytes()).is_ok());
    let (line, expected) = problem(&(witnesses(POLICY_ITEMS_MAX + 1) + "quorum none\n"));
    assert_eq!(
        (line, expected),
        (POLICY_ITEMS_MAX + 1, PolicyLineProblem::TooMany)
    );
}

proptest! {
    #[test]
    fn strange_policies_never_panic(text in "((log|witness|group|quorum|#|none|any|all|1|a|b)[ \t\n]){0,30}") {
        if let Ok(policy) = Policy::parse(text.as_bytes()) {
            prop_assert!(policy.logs().is_empty());
        }
    }
}
