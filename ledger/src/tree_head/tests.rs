use super::*;
use crate::note::tests::{signer, witness};
use crate::testdata;

const ORIGIN: &str = "ledger.example/k3v9/e1";

fn head() -> TreeHead {
    TreeHead::new(
        ORIGIN,
        TreeRoot {
            size: TreeSize(7),
            root: Hash([0xab; 32]),
        },
    )
}

/// Puts a text under a valid signature of the log, as a log with other software would.
fn signed(text: &str) -> Vec<u8> {
    let signature = signer(ORIGIN, 1).sign(text).expect("a signature");
    Note::new(text.to_owned(), vec![signature])
        .expect("a note")
        .to_text()
        .into_bytes()
}

#[test]
fn a_tree_head_reads_as_the_specification_says() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let head = TreeHead::parse(text).expect("a tree head");
    assert_eq!(
        (head.origin.as_str(), head.size),
        ("example.com/behind-the-sofa", TreeSize(20_852_163))
    );
    assert_eq!(
        head.root.to_string(),
        "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    );
    assert!(head.extension_lines.is_empty());
    assert_eq!(head.to_text(), text);

    let extended = format!("{text}anything\n with spaces \n");
    let head = TreeHead::parse(&extended).expect("a tree head");
    assert_eq!(head.extension_lines, ["anything", " with spaces "]);
    assert_eq!(head.to_text(), extended);

    let empty = TreeHead::new(ORIGIN, TreeRoot::EMPTY);
    assert_eq!(TreeHead::parse(&empty.to_text()), Ok(empty));
}

#[test]
fn other_texts_are_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let cases = [
        (String::new(), TreeHeadError::Lines),
        ("a\n1\n".into(), TreeHeadError::Lines),
        (format!("a\n1\n{root}"), TreeHeadError::Lines),
        (format!("\n1\n{root}\n"), TreeHeadError::Lines),
        (format!("a\n1\n{root}\n\n"), TreeHeadError::Lines),
        (format!("a\n1\n{root}\n\nb\n"), TreeHeadError::Lines),
        (format!("a\rb\n1\n{root}\n"), TreeHeadError::Text),
        (format!("a\n1\n{root}\nb\0\n"), TreeHeadError::Text),
        (format!("a\n\n{root}\n"), TreeHeadError::Size),
        (format!("a\n01\n{root}\n"), TreeHeadError::Size),
        (format!("a\n00\n{root}\n"), TreeHeadError::Size),
        (format!("a\n+1\n{root}\n"), TreeHeadError::Size),
        (format!("a\n-1\n{root}\n"), TreeHeadError::Size),
        (format!("a\n 1\n{root}\n"), TreeHeadError::Size),
        (format!("a\n1 \n{root}\n"), TreeHeadError::Size),
        (format!("a\n1e3\n{root}\n"), TreeHeadError::Size),
        (format!("a\n0x1\n{root}\n"), TreeHeadError::Size),
        (format!("a\n١\n{root}\n"), TreeHeadError::Size),
        (format!("a\n4611686018427387905\n{root}\n"), TreeHeadError::Size),
        (format!("a\n18446744073709551616\n{root}\n"), TreeHeadError::Size),
        ("a\n1\n\n".into(), TreeHeadError::Root),
        ("a\n1\nAAAA\n".into(), TreeHeadError::Root),
        (format!("a\n1\n{}\n", &root[..43]), TreeHeadError::Root),
        (format!("a\n1\n{}J=\n", &root[..42]), TreeHeadError::Root),
        (format!("a\n1\n {root}\n"), TreeHeadError::Root),
        (format!("a\n1\n{root} \n"), TreeHeadError::Root),
        (format!("a\n1\n{}\n", root.replace('/', "_")), TreeHeadError::Root),
        (
            "a\n1\n0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62\n".into(),
            TreeHeadError::Root,
        ),
        (format!("a\n0\n{root}\n"), TreeHeadError::EmptyRoot),
    ];
    for (text, error) in cases {
        assert_eq!(TreeHead::parse(&text), Err(error), "{text:?}");
    }
    assert!(TreeHead::parse(&format!("a\n4611686018427387904\n{root}\n")).is_ok());
}

#[test]
fn a_signed_tree_head_is_kept_byte_for_byte() {
    let log = signer(ORIGIN, 1);
    let made = SignedTreeHead::sign(head(), &log).expect("a tree head");
    assert_eq!(made.as_bytes(), signed(&head().to_text()));
    let read = SignedTreeHead::parse(made.as_bytes()).expect("a tree head");
    assert_eq!(read, made);
    assert_eq!(read.head(), &head());
    assert_eq!(
        read.head().tree_root(),
        TreeRoot {
            size: TreeSize(7),
            root: Hash([0xab; 32])
        }
    );
    assert_eq!(
        read.verify(&[log.verifier().clone()])
            .map(|verified| verified.len()),
        Ok(1)
    );
}

#[test]
fn only_the_log_itself_makes_a_tree_head_true() {
    let (log, other, witness) = (
        signer(ORIGIN, 1),
        signer("ledger.example/other/e1", 2),
        witness("w", 3),
    );
    let keys = [
        log.verifier().clone(),
        other.verifier().clone(),
        witness.verifier().clone(),
    ];
    let text = head().to_text();
    let note = |signatures| {
        let note = Note::new(text.clone(), signatures).expect("a note");
        SignedTreeHead::parse(note.to_text().as_bytes()).expect("a tree head")
    };
    let by_log = log.sign(&text).expect("a signature");
    let by_other = other.sign(&text).expect("a signature");
    let by_witness = witness.cosign(&text, 7).expect("a signature");
    let not_signed = Err(TreeHeadError::NotSignedByLog {
        origin: ORIGIN.into(),
    });

    assert!(note(vec![by_log.clone()]).verify(&keys).is_ok());
    assert_eq!(
        note(vec![by_other.clone(), by_log.clone(), by_witness.clone()])
            .verify(&keys)
            .map(|v| v.len()),
        Ok(3)
    );
    assert_eq!(note(vec![by_witness.clone()]).verify(&keys), not_signed);
    assert_eq!(note(vec![by_other]).verify(&keys), not_signed);
    let untrusted = Err(TreeHeadError::Note(NoteError::NoTrustedSignature));
    assert_eq!(note(vec![by_log.clone()]).verify(&keys[1..]), untrusted);
    assert_eq!(
        SignedTreeHead::sign(head(), &other),
        Err(TreeHeadError::ForeignOrigin {
            key: other.verifier().name().into(),
            origin: ORIGIN.into()
        })
    );

    let cosigned = note(vec![by_log])
        .with_signatures([by_witness.clone(), by_witness])
        .expect("a tree head");
    assert_eq!(
        cosigned.note().signatures().len(),
        2,
        "the same line again adds nothing"
    );
    assert_eq!(SignedTreeHead::parse(cosigned.as_bytes()), Ok(cosigned.clone()));
    assert_eq!(cosigned.verify(&keys).map(|v| v.len()), Ok(2));
}

#[test]
fn what_could_not_be_read_back_is_not_signed() {
    let log = signer(ORIGIN, 1);
    let with = |change: fn(&mut TreeHead)| {
        let mut changed = head();
        change(&mut changed);
        SignedTreeHead::sign(changed, &log)
    };
    assert_eq!(
        with(|head| head.extension_lines.push(String::new())),
        Err(TreeHeadError::Lines)
    );
    assert_eq!(
        with(|head| head.extension_lines.push("a\nb".into())),
        Err(TreeHeadError::Text)
    );
    assert_eq!(
        with(|head| head.size = TreeSize(TREE_SIZE_MAX + 1)),
        Err(TreeHeadError::Size)
    );
    assert_eq!(
        with(|head| head.size = TreeSize(0)),
        Err(TreeHeadError::EmptyRoot)
    );
    let witness = witness(ORIGIN, 1);
    assert_eq!(
        SignedTreeHead::sign(head(), &witness),
        Err(TreeHeadError::Signer(SignerError::Kind))
    );
}

#[test]
fn a_signature_does_not_make_a_text_a_tree_head() {
    assert_eq!(
        SignedTreeHead::parse(&signed("a\n01\nAAAA\n")),
        Err(TreeHeadError::Size)
    );
    assert_eq!(SignedTreeHead::parse(&signed("\n\n\n")), Err(TreeHeadError::Size));
    assert_eq!(
        SignedTreeHead::parse(b"a\n"),
        Err(TreeHeadError::Note(NoteError::NoSignatureBlock))
    );
}

#[test]
fn the_sample_log_has_the_roots_of_its_entries() {
    let Some(folder) = testdata::path("vectors/tlog-sample") else {
        return;
    };
    let bytes = testdata::read(&folder.join("tile/entries/000.p/40"));
    let leaves: Vec<Hash> = crate::tile::decode_entries(&bytes, 40)
        .expect("a bundle")
        .into_iter()
        .map(crate::hash::leaf_hash)
        .collect();
    for size in [1_u64, 20, 40] {
        let signed = SignedTreeHead::parse(&testdata::read(&folder.join(format!("checkpoint.{size}"))));
        let head = signed.expect("a tree head").head().clone();
        let count = usize::try_from(size).expect("small");
        assert_eq!(
            (head.size, head.root),
            (TreeSize(size), crate::tree::root_of(&leaves[..count]))
        );
        assert_eq!(head.origin, "ledger.example/sample");
    }
}

#[test]
fn another_implementation_reads_ours() {
    let signed = SignedTreeHead::sign(head(), &signer(ORIGIN, 1)).expect("a tree head");
    let note = signed_note::Note::from_bytes(signed.as_bytes()).expect("a note");
    let text = [note.text(), b"\n"].concat();
    let theirs = tlog_tiles::Checkpoint::from_bytes(&text)
        .or_else(|_| tlog_tiles::Checkpoint::from_bytes(note.text()))
        .expect("a checkpoint");
    assert_eq!(
        (theirs.origin(), theirs.size(), theirs.hash().0),
        (ORIGIN, 7, [0xab; 32])
    );
}
