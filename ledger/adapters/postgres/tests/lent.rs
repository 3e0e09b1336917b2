//! What callers are told while others have all connections, and when there is no database to connect to.

use std::sync::Arc;

use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::numbers::Position;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::ledger;

use super::server::Private;
use super::support::{BLOCKED, open_with, soon, wait_for};
use super::{Noon, open_ledger, server, session};

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_is_overload_and_a_database_that_is_gone_is_not() {
    let Some(shared) = server() else { return };
    let private = Private::start(&shared, "", |_| ()).await;
    let url = private.url();
    let store = open_with(Arc::new(Noon), &url, |options| options.readers = 1).await;
    open_ledger(&*store, 1).await;
    let read = || {
        let store = Arc::clone(&store);
        async move { store.read_ledger(ledger(1), Position::START, 1).await }
    };
    let (holder, looks) = (session(&url).await, session(&url).await);
    holder
        .batch_execute("BEGIN; LOCK TABLE ruche.record IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let waits = tokio::spawn(read());
    wait_for(&looks, BLOCKED, 1).await;

    let refused = soon(read()).await.unwrap_err();
    let retry_after_ms = OVERLOADED_RETRY_AFTER_MS;
    assert_eq!(refused, StoreError::Overloaded { retry_after_ms });

    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(soon(waits).await.unwrap().unwrap().len(), 1);
    assert_eq!(soon(read()).await.unwrap().len(), 1);

    drop(private);
    // A session that the server ended in the middle of something is told so; the next one is not to be had.
    for _again in 0..3 {
        let refused = soon(read()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    }
}
