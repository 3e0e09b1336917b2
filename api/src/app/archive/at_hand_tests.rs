//! What is said of a folder of archives in which something is gone or changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ruche_domain::numbers::Epoch;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger_bundle::ArchiveWriter;
use uuid::Uuid;

use super::*;

#[test]
fn an_archive_without_one_of_its_bundles_is_not_at_hand() {
    let root = tempfile::tempdir().unwrap();
    let ledger = LedgerId(Uuid::from_u128(1));
    let range = (LeafIndex(0), LeafIndex(512));
    let mut writer = ArchiveWriter::create(root.path(), ledger, (Epoch(1), "origin"), range).unwrap();
    let fragment = StoredFragment::Present {
        opening: [1; 32],
        bytes: b"{}".to_vec(),
    };
    for _ in 0..2 {
        writer.bundle(&vec![vec![fragment.clone()]; 256]).unwrap();
    }
    let range = writer.finish(b"a tree head").unwrap().range();
    let at_hand = ArchiveDir::at_hand(root.path());
    assert_eq!(at_hand.is_here(ledger, &range), Ok(true));
    assert_eq!(at_hand.check(ledger, &range), Ok(()));

    // What was changed shows where all of it is read.
    let path = root.path().join(&range.archive).join("e1/payload/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(at_hand.is_here(ledger, &range), Ok(true));
    let checked = at_hand.check(ledger, &range);
    assert!(matches!(checked, Err(StoreError::Corrupt { .. })), "{checked:?}");

    // What is gone shows at once.
    fs::remove_file(&path).unwrap();
    let is_here = at_hand.is_here(ledger, &range);
    assert!(matches!(is_here, Err(StoreError::Corrupt { .. })), "{is_here:?}");
    fs::remove_dir_all(root.path().join(&range.archive)).unwrap();
    assert_eq!(at_hand.is_here(ledger, &range), Ok(false));
}
