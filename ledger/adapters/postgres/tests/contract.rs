//! The contract that every engine is held to.

use std::sync::Arc;

use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{archives, contract};
use ruche_ledger_postgres::{PostgresOptions, PostgresStore};

use super::{database, server};

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_keeps_the_contract() {
    let Some(server) = server() else { return };
    contract::run(|clock| {
        let server = server.clone();
        async move {
            let url = database(&server).await;
            let store = PostgresStore::open(clock, PostgresOptions::new(url)).await;
            Arc::new(store.unwrap()) as Arc<dyn EventStore>
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_keeps_the_contract_about_archives() {
    let Some(server) = server() else { return };
    archives::run(|clock| {
        let server = server.clone();
        async move {
            let url = database(&server).await;
            let store = PostgresStore::open(clock, PostgresOptions::new(url)).await;
            Arc::new(store.unwrap()) as Arc<dyn archives::Engine>
        }
    })
    .await;
}
