//! The contract that every engine is held to.

use std::cell::Cell;
use std::sync::Arc;

use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{archives, contract};
use ruche_ledger_sqlite::{DataLock, SqliteOptions, SqliteStore};

use super::folder;

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_keeps_the_contract() {
    let root = folder();
    let count = Cell::new(0);
    contract::run(|clock| {
        count.set(count.get() + 1);
        let dir = root.path().join(count.get().to_string());
        let lock = Arc::new(DataLock::acquire(&dir, "test").unwrap());
        let store = SqliteStore::open(lock, clock, SqliteOptions::default()).unwrap();
        async move { Arc::new(store) as Arc<dyn EventStore> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_keeps_the_contract_about_archives() {
    let root = folder();
    let count = Cell::new(0);
    archives::run(|clock| {
        count.set(count.get() + 1);
        let dir = root.path().join(count.get().to_string());
        let lock = Arc::new(DataLock::acquire(&dir, "test").unwrap());
        let store = SqliteStore::open(lock, clock, SqliteOptions::default()).unwrap();
        async move { Arc::new(store) as Arc<dyn archives::Engine> }
    })
    .await;
}
