use uuid::Uuid;

use super::*;

fn ledger() -> LedgerId {
    LedgerId(Uuid::from_u128(7))
}

/// A writer with one bundle, in which the first record has a payload or not.
fn writer(root: &Path, first: StoredFragment) -> ArchiveWriter {
    let range = (LeafIndex(0), LeafIndex(WIDTH));
    let mut writer =
        ArchiveWriter::create(root, ledger(), (Epoch(1), "example.org/e1"), range).expect("a folder");
    let mut bundle = vec![vec![StoredFragment::Missing]; usize::from(TILE_WIDTH)];
    bundle[0] = vec![first];
    writer.bundle(&bundle).expect("a bundle");
    writer
}

fn payload() -> StoredFragment {
    StoredFragment::Present {
        opening: [1; 32],
        bytes: b"{}".to_vec(),
    }
}

#[test]
fn what_is_given_up_never_had_the_name_of_an_archive() {
    let root = tempfile::tempdir().expect("a folder");
    let full = writer(root.path(), payload());
    assert!(!full.is_empty());
    let empty = writer(root.path(), StoredFragment::Missing);
    assert!(empty.is_empty());
    let names = || fs::read_dir(root.path()).expect("entries").count();
    assert_eq!(names(), 1, "only what is partial");
    empty.give_up().expect("it is removed");
    assert_eq!(names(), 0);
}
#[test]
fn an_archive_is_flushed_file_by_file_and_a_missing_one_is_told() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = writer(root.path(), payload())
        .finish(b"a tree head")
        .expect("an archive");
    archive.flush().expect("it is flushed");
    for path in [PathBuf::from(CHECKPOINT), bundle_path(Epoch(1), 0)] {
        let path = archive.folder.join(path);
        fs::remove_file(&path).expect("it is removed");
        let error = archive.flush().expect_err("a file is missing");
        assert!(
            matches!(&error, ArchiveError::Io { path: told, .. } if *told == path),
            "{error:?}"
        );
        fs::write(&path, b"").expect("it is there");
    }
}
