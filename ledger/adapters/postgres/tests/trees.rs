//! Tiles beside the records.

use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::hash::Hash;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{appended, ledger};

use super::{database, open, open_ledger, server};

#[tokio::test]
async fn leaf_hashes_are_those_of_the_receipts_and_tiles_never_shrink() {
    let Some(server) = server() else { return };
    let store = open(&database(&server).await).await;
    let author = open_ledger(&*store, 1).await;
    let events = (0..10)
        .map(|n| author.event(author.stream(n % 3), "{}"))
        .collect();
    let receipts = appended(store.append(ledger(1), author.append(events)).await);
    let hashes = store
        .leaf_hashes(ledger(1), Epoch(1), LeafIndex(1), 100)
        .await
        .unwrap();
    assert_eq!(hashes, receipts.iter().map(|r| r.leaf_hash).collect::<Vec<_>>());
    assert_eq!(
        store.leaf_hashes(ledger(1), Epoch(2), LeafIndex(0), 2).await,
        Err(StoreError::NoSuchLedger)
    );
    let tile = |width: u8, seed: u8| HashTile {
        level: 0,
        index: 3,
        hashes: (0..width).map(|n| Hash([n ^ seed; 32])).collect(),
    };
    for (put, then) in [
        (tile(2, 0), tile(2, 0)),
        (tile(5, 0), tile(5, 0)),
        (tile(4, 0), tile(5, 0)),
        (tile(5, 9), tile(5, 9)),
    ] {
        store.put_tiles(ledger(1), Epoch(1), vec![put]).await.unwrap();
        assert_eq!(store.hash_tile(ledger(1), Epoch(1), 0, 3).await, Ok(Some(then)));
    }
}
