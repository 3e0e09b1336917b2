//! Tiles and tree heads beside the records.

use ruche_domain::numbers::{Epoch, LeafIndex, TreeSize};
use ruche_ledger::hash::Hash;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::StoreError;
use ruche_ledger::testing::ledger;
use ruche_ledger::tree::TreeRoot;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};

use super::{append, folder, open, open_ledger};

fn tile(width: u8) -> HashTile {
    HashTile {
        level: 0,
        index: 3,
        hashes: (0..width).map(|n| Hash([n; 32])).collect(),
    }
}

#[tokio::test]
async fn leaf_hashes_are_those_of_the_receipts() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let receipts = append(&store, 1, &a, 10).await;
    let hashes = store
        .leaf_hashes(ledger(1), Epoch(1), LeafIndex(1), 100)
        .await
        .unwrap();
    assert_eq!(hashes, receipts.iter().map(|r| r.leaf_hash).collect::<Vec<_>>());
    assert_eq!(
        store
            .leaf_hashes(ledger(1), Epoch(1), LeafIndex(4), 2)
            .await
            .unwrap(),
        hashes[3..5]
    );
    assert_eq!(
        store.leaf_hashes(ledger(1), Epoch(1), LeafIndex(11), 2).await,
        Ok(vec![])
    );
    assert_eq!(
        store.leaf_hashes(ledger(1), Epoch(2), LeafIndex(0), 2).await,
        Err(StoreError::NoSuchLedger)
    );
}

#[tokio::test]
async fn a_tile_grows_and_never_shrinks() {
    let dir = folder();
    let store = open(dir.path());
    open_ledger(&store, 1).await;
    assert_eq!(store.hash_tile(ledger(1), Epoch(1), 0, 3).await, Ok(None));
    for width in [3, 200, 7] {
        store
            .put_tiles(ledger(1), Epoch(1), vec![tile(width)])
            .await
            .unwrap();
    }
    assert_eq!(
        store.hash_tile(ledger(1), Epoch(1), 0, 3).await,
        Ok(Some(tile(200)))
    );
    assert_eq!(
        store.put_tiles(ledger(1), Epoch(9), vec![tile(1)]).await,
        Err(StoreError::NoSuchLedger)
    );
    assert_eq!(
        store.put_tiles(ledger(9), Epoch(1), vec![tile(1)]).await,
        Err(StoreError::NoSuchLedger)
    );
}

#[tokio::test]
async fn the_copy_of_a_tree_head_survives_and_does_not_go_back() {
    let dir = folder();
    let store = open(dir.path());
    open_ledger(&store, 1).await;
    let signer = MasterSeed::from_slice(&[1; 32])
        .unwrap()
        .log_signer("test.example/x/e1")
        .unwrap();
    let head = |size| {
        let root = TreeRoot {
            size: TreeSize(size),
            root: Hash([9; 32]),
        };
        SignedTreeHead::sign(TreeHead::new("test.example/x/e1", root), &signer).unwrap()
    };
    assert_eq!(store.tree_head(ledger(1), Epoch(1)).await, Ok(None));
    for size in [4, 9, 7] {
        store
            .put_tree_head(ledger(1), Epoch(1), &head(size))
            .await
            .unwrap();
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.tree_head(ledger(1), Epoch(1)).await, Ok(Some(head(9))));
}
