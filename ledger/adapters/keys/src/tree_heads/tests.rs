use ruche_domain::numbers::TreeSize;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::tree::TreeRoot;
use ruche_ledger::tree_head::TreeHead;

use super::*;

const ORIGIN: &str = "test.example/abc/e1";

fn head_of(origin: &str, size: u64, root: u8) -> SignedTreeHead {
    let signer = MasterSeed::from_slice(&[1; 32])
        .unwrap()
        .log_signer(origin)
        .unwrap();
    let root = TreeRoot {
        size: TreeSize(size),
        root: Hash([root; 32]),
    };
    SignedTreeHead::sign(TreeHead::new(origin, root), &signer).unwrap()
}

fn head(size: u64) -> SignedTreeHead {
    head_of(ORIGIN, size, 9)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_tree_head_is_stored_and_found_after_a_restart() {
    let dir = folder();
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    assert_eq!(store.latest(ORIGIN).await, Ok(None));
    store.compare_and_swap(ORIGIN, None, &head(3)).await.unwrap();
    store
        .compare_and_swap(ORIGIN, Some(&head(3)), &head(5))
        .await
        .unwrap();
    let other = "test.example/abc/e2";
    store
        .compare_and_swap(other, None, &head_of(other, 1, 1))
        .await
        .unwrap();
    drop(store);
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    assert_eq!(store.latest(ORIGIN).await, Ok(Some(head(5))));
    let name = Hash::sha256(ORIGIN.as_bytes()).to_string();
    let stored = std::fs::read(dir.path().join(FOLDER).join(name)).unwrap();
    assert_eq!(stored, head(5).as_bytes());
    assert_eq!(
        std::fs::read_dir(dir.path().join(FOLDER)).unwrap().count(),
        3,
        "two tree heads and the lock"
    );
}

#[tokio::test]
async fn only_the_expected_tree_head_is_replaced() {
    let dir = folder();
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    let swapped = Err(TreeHeadStoreError::Swapped);
    assert_eq!(
        store.compare_and_swap(ORIGIN, Some(&head(1)), &head(2)).await,
        swapped
    );
    store.compare_and_swap(ORIGIN, None, &head(2)).await.unwrap();
    assert_eq!(store.compare_and_swap(ORIGIN, None, &head(3)).await, swapped);
    assert_eq!(
        store.compare_and_swap(ORIGIN, Some(&head(1)), &head(3)).await,
        swapped
    );
    assert_eq!(store.latest(ORIGIN).await, Ok(Some(head(2))));
}

#[tokio::test]
async fn a_promise_is_never_taken_back() {
    let dir = folder();
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    store.compare_and_swap(ORIGIN, None, &head(5)).await.unwrap();
    for contradiction in [
        head(4),
        head_of(ORIGIN, 5, 1),
        head_of("test.example/other", 9, 9),
    ] {
        let refused = store
            .compare_and_swap(ORIGIN, Some(&head(5)), &contradiction)
            .await;
        assert!(
            matches!(refused, Err(TreeHeadStoreError::Unavailable(_))),
            "{refused:?}"
        );
    }
    assert_eq!(store.latest(ORIGIN).await, Ok(Some(head(5))));
}

#[tokio::test]
async fn a_damaged_file_is_not_taken_for_none() {
    let dir = folder();
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    store.compare_and_swap(ORIGIN, None, &head(5)).await.unwrap();
    let path = dir
        .path()
        .join(FOLDER)
        .join(Hash::sha256(ORIGIN.as_bytes()).to_string());
    for damage in [
        &b""[..],
        b"not a note",
        head_of("test.example/other", 5, 9).as_bytes(),
    ] {
        std::fs::write(&path, damage).unwrap();
        assert!(matches!(
            store.latest(ORIGIN).await,
            Err(TreeHeadStoreError::Unavailable(_))
        ));
        let swap = store.compare_and_swap(ORIGIN, None, &head(6)).await;
        assert!(
            matches!(swap, Err(TreeHeadStoreError::Unavailable(_))),
            "{swap:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), damage);
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_in_nobodys_way() {
    let dir = folder();
    let store = TreeHeadFiles::open(dir.path()).unwrap();
    let name = format!("{}.new", Hash::sha256(ORIGIN.as_bytes()));
    std::fs::write(dir.path().join(FOLDER).join(name), b"half a tree h").unwrap();
    assert_eq!(store.latest(ORIGIN).await, Ok(None));
    store.compare_and_swap(ORIGIN, None, &head(5)).await.unwrap();
    assert_eq!(store.latest(ORIGIN).await, Ok(Some(head(5))));
}

#[tokio::test]
async fn of_two_sealers_one_wins() {
    let dir = folder();
    // Two stores as two processes have them: each with an open lock file of its own.
    let (a, b) = (
        TreeHeadFiles::open(dir.path()).unwrap(),
        TreeHeadFiles::open(dir.path()).unwrap(),
    );
    let mut last = None;
    for size in 1..=20 {
        let (ours, theirs) = (head_of(ORIGIN, size, 1), head_of(ORIGIN, size, 2));
        let (x, y) = tokio::join!(
            a.compare_and_swap(ORIGIN, last.as_ref(), &ours),
            b.compare_and_swap(ORIGIN, last.as_ref(), &theirs)
        );
        assert!(x.is_ok() != y.is_ok(), "{x:?} {y:?}");
        assert!([x, y].contains(&Err(TreeHeadStoreError::Swapped)));
        last = a.latest(ORIGIN).await.unwrap();
    }
}
