use super::*;
use crate::proof::inclusion_proof;
use crate::testdata;
use crate::tree::root_of;
use crate::tree_head::TreeHead;
use ruche_domain::numbers::TreeSize;

use crate::note::tests::signer;
use crate::tree::TreeRoot;

const ORIGIN: &str = "ledger.example/k3v9/e1";

/// A log of five records and the proof of the one at `index`.
fn proof(index: u64) -> (TlogProof, Vec<u8>) {
    let records: Vec<Vec<u8>> = (0..5)
        .map(|number| format!("record {number}").into_bytes())
        .collect();
    let leaves: Vec<Hash> = records.iter().map(|record| leaf_hash(record)).collect();
    let tree = TreeRoot {
        size: TreeSize(5),
        root: root_of(&leaves),
    };
    let tree_head =
        SignedTreeHead::sign(TreeHead::new(ORIGIN, tree), &signer(ORIGIN, 1)).expect("a tree head");
    let hashes = inclusion_proof(&mut &leaves[..], LeafIndex(index), tree.size).expect("a proof");
    let record = records[usize::try_from(index).expect("small")].clone();
    (
        TlogProof {
            extra: None,
            index: LeafIndex(index),
            hashes,
            tree_head,
        },
        record,
    )
}

#[test]
fn a_proof_is_written_and_read_and_holds() {
    let keys = [signer(ORIGIN, 1).verifier().clone()];
    for index in 0..5 {
        for extra in [None, Some(Vec::new()), Some(b"\0anything\xff".to_vec())] {
            let (mut proof, record) = proof(index);
            proof.extra = extra;
            let bytes = proof.encode();
            let read = TlogProof::parse(&bytes).expect("a proof");
            assert_eq!(read, proof);
            assert_eq!(read.encode(), bytes);
            assert_eq!(read.verify(&record, &keys).map(|verified| verified.len()), Ok(1));
            assert_eq!(
                read.verify(b"another record", &keys),
                Err(TlogProofError::Inclusion(ProofInvalid::RootMismatch))
            );
        }
    }
}

#[test]
fn a_proof_under_an_unknown_key_holds_nothing() {
    let (proof, record) = proof(2);
    let stranger = signer(ORIGIN, 2);
    assert!(matches!(
        proof.verify(&record, &[stranger.verifier().clone()]),
        Err(TlogProofError::TreeHead(_))
    ));
}

#[test]
fn malformed_files_are_refused_with_their_line() {
    let (mut proof, _) = proof(2);
    proof.extra = Some(vec![1]);
    let good = String::from_utf8(proof.encode()).expect("UTF-8");
    let hash = encode_base64(proof.hashes[0]);
    let long = format!("{hash}\n").repeat(61);
    let cases = [
        (String::new(), 1),
        ("c2sp.org/tlog-proof@v1".into(), 1),
        ("c2sp.org/tlog-proof@v1\n".into(), 2),
        (good.replace("@v1", "@v2"), 1),
        (good.replace("@v1\n", "@v1 \n"), 1),
        (format!("\n{good}"), 1),
        (good.replace('\n', "\r\n"), 1),
        (good.replace("extra AQ==", "extra AQ="), 2),
        (good.replace("extra AQ==", "extra AR=="), 2),
        (good.replace("extra AQ==", "extra"), 2),
        (good.replace("extra AQ==", "extra AQ==\nextra AQ=="), 3),
        (good.replace("index 2", "index 02"), 3),
        (good.replace("index 2", "index +2"), 3),
        (good.replace("index 2", "index  2"), 3),
        (good.replace("index 2", "index"), 3),
        (good.replace("index 2", "Index 2"), 3),
        (good.replace("index 2", "index 18446744073709551616"), 3),
        (good.replace("index 2\n", ""), 3),
        (good.replace(&hash, &hash[..43]), 4),
        (good.replace(&hash, "AAAA"), 4),
        (good.replace(&hash, &format!("{hash} ")), 4),
        (good.replace("\n\nledger", "\nledger"), 7),
        (good.replace(&format!("{hash}\n"), &format!("{hash}\n{long}")), 67),
    ];
    for (file, line) in cases {
        match TlogProof::parse(file.as_bytes()) {
            Err(TlogProofError::Line { line: found, .. }) => assert_eq!(found, line, "{file:?}"),
            other => panic!("{other:?} for {file:?}"),
        }
    }
    for cut in 0..good.len() {
        assert!(TlogProof::parse(&good.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    assert!(matches!(
        TlogProof::parse(format!("{good}\n").as_bytes()),
        Err(TlogProofError::TreeHead(_))
    ));
    assert!(matches!(
        TlogProof::parse(&vec![b'x'; TLOG_PROOF_BYTES_MAX + 1]),
        Err(TlogProofError::TooLong(_))
    ));
}

#[test]
fn the_sample_proofs_hold_and_no_changed_byte_does() {
    let Some(folder) = testdata::path("vectors/tlog-sample") else {
        return;
    };
    let vkeys = String::from_utf8(testdata::read(&folder.join("vkeys.txt"))).expect("UTF-8");
    let keys: Vec<VerifierKey> = vkeys.lines().map(|line| line.parse().expect("a key")).collect();
    let policy = format!("log {}\nwitness w {}\nquorum w\n", keys[0], keys[1]);
    let policy = Policy::parse(policy.as_bytes()).expect("a policy");
    for index in 0..40 {
        let leaf = testdata::read(&folder.join(format!("proofs/{index}.leaf")));
        let bytes = testdata::read(&folder.join(format!("proofs/{index}.tlog-proof")));
        let proof = TlogProof::parse(&bytes).expect("a proof");
        assert_eq!(proof.index, LeafIndex(index));
        assert_eq!(proof.encode(), bytes);
        assert_eq!(proof.verify(&leaf, &keys).map(|verified| verified.len()), Ok(2));
        let verdict = proof
            .verify_with_policy(&leaf, &policy)
            .expect("logged and witnessed");
        assert_eq!((verdict.log, verdict.cosignatures.len()), (&keys[0], 1));
        if index % 13 != 0 {
            continue;
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let holds = TlogProof::parse(&changed)
                .and_then(|proof| proof.verify_with_policy(&leaf, &policy).map(|_| ()));
            assert!(holds.is_err(), "{index}: byte {at}");
        }
    }
}
