//! What callers are told while others have all connections, and when there is no database to connect to.

use std::sync::Arc;

use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::ledger;
use ruche_ledger_postgres::PostgresStore;

use super::proxy::{Fault, On, Proxy};
use super::server::{Private, until};
use super::support::{BLOCKED, open_with, soon, wait_for};
use super::{Noon, database, open_ledger, server, session};

/// A pool with one connection for readers.
async fn one_reader(url: &str) -> Arc<PostgresStore> {
    open_with(Arc::new(Noon), url, |options| options.readers = 1).await
}

async fn read(store: Arc<PostgresStore>) -> Result<usize, StoreError> {
    let records = store.read_ledger(ledger(1), Position::START, 1).await;
    records.map(|records| records.len())
}

/// What a reader is told while another one has the only connection.
async fn refused_meanwhile(store: &Arc<PostgresStore>, url: &str) -> StoreError {
    let (holder, looks) = (session(url).await, session(url).await);
    holder
        .batch_execute("BEGIN; LOCK TABLE ruche.record IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let waits = tokio::spawn(read(store.clone()));
    wait_for(&looks, BLOCKED, 1).await;
    let refused = soon(read(store.clone())).await.unwrap_err();
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(soon(waits).await.unwrap(), Ok(1));
    assert_eq!(soon(read(store.clone())).await, Ok(1));
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_is_overload_and_a_database_that_is_gone_is_not() {
    let Some(shared) = server() else { return };
    let mut private = Private::start(&shared, "", |_| ()).await;
    let url = private.url();
    let store = one_reader(&url).await;
    open_ledger(&*store, 1).await;
    let retry_after_ms = OVERLOADED_RETRY_AFTER_MS;
    let overload = StoreError::Overloaded { retry_after_ms };
    assert_eq!(refused_meanwhile(&store, &url).await, overload);

    private.down();
    // A session that the server ended in the middle of something is told so; the next one is not to be had.
    for _again in 0..3 {
        let refused = soon(read(store.clone())).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    }

    private.up().await;
    soon(async { while read(store.clone()).await.is_err() {} }).await;
    let refused = refused_meanwhile(&store, &url).await;
    assert_eq!(refused, overload, "that it was gone once is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_a_read_whose_caller_hung_up() {
    let Some(shared) = server() else { return };
    let url = database(&shared).await;
    let proxy = Proxy::start(&url).await;
    let store = one_reader(&proxy.url(&url)).await;
    open_ledger(&*store, 1).await;
    proxy.arm(On::Run("FROM record"), Fault::Hold);
    let hung_up = tokio::spawn(read(store.clone()));
    until("it hangs", || async { proxy.happened() == 1 }).await;
    hung_up.abort();
    let retry_after_ms = OVERLOADED_RETRY_AFTER_MS;
    let refused = soon(read(store.clone())).await;
    assert_eq!(refused, Err(StoreError::Overloaded { retry_after_ms }));
    proxy.release();
    soon(async { while read(store.clone()).await.is_err() {} }).await;
}
