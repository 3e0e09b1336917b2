//! Online backup.

use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{check_ledger, ledger};
use ruche_ledger_sqlite::LEDGER_FILE;

use super::{append, folder, open, open_ledger, tamper};

#[tokio::test]
async fn a_backup_is_a_whole_ledger_of_its_moment() {
    let (dir, copy) = (folder(), folder());
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    append(&store, 1, &a, 10).await;
    let target = copy.path().join(LEDGER_FILE);
    store.backup_to(&target).await.unwrap();
    append(&store, 1, &a, 5).await;
    let restored = open(copy.path());
    assert_eq!(check_ledger(&restored, ledger(1)).await, 11);
    assert_eq!(check_ledger(&store, ledger(1)).await, 16);
    let first = store.read_ledger(ledger(1), Position::START, 11).await;
    assert_eq!(first, restored.read_ledger(ledger(1), Position::START, 11).await);
    // An older backup is never overwritten.
    let refused = store.backup_to(&target).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_backup_of_a_bad_file_is_not_made() {
    let (dir, copy) = (folder(), folder());
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    append(&store, 1, &a, 3).await;
    tamper(dir.path(), "UPDATE head SET size = 2");
    let refused = store.backup_to(&copy.path().join(LEDGER_FILE)).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 0);
}
