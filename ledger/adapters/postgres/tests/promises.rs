//! What is relied on without being read again: promises, halts, backups. Each is believed only once a standby has it.

use std::pin::pin;
use std::time::Duration;

use ruche_domain::numbers::{Epoch, Micros};
use ruche_ledger::halts::{Halt, Halts};
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::store::StoreError;
use ruche_ledger::testing::ledger;
use ruche_ledger_postgres::{BackupError, OpenError};
use tokio::time::interval;
use tokio_postgres::Client;

use super::many::{ORIGIN, at, signed, tree_heads};
use super::server::{Private, until};
use super::{open, open_ledger, server, session};

/// Between two looks for something to cancel.
const POLL: Duration = Duration::from_millis(10);

/// A server on which nobody wants to hear warnings, as the engine does all the same, and a session of its superuser.
async fn quiet(shared: &str) -> (Private, Client) {
    let private = Private::start(shared, "", |_| ()).await;
    let admin = session(&private.url()).await;
    let quiet = admin.batch_execute("ALTER ROLE ALL SET client_min_messages = error");
    quiet.await.unwrap();
    (private, admin)
}

/// What something gives whose waits for a standby are cancelled.
async fn cancelled<T>(admin: &Client, work: impl Future<Output = T>) -> T {
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let mut work = pin!(work);
    let (mut looks, mut waits) = (interval(POLL), 0);
    loop {
        tokio::select! {
            done = &mut work => {
                assert!(waits > 0, "nothing waited for a standby");
                return done;
            }
            _ = looks.tick() => waits += admin.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0),
        }
    }
}

fn unavailable<T: std::fmt::Debug>(answer: &Result<T, TreeHeadStoreError>) {
    assert!(
        matches!(answer, Err(TreeHeadStoreError::Unavailable(_))),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_no_standby_has_is_not_made_yet() {
    let Some(shared) = server() else { return };
    let (private, admin) = quiet(&shared).await;
    let heads = tree_heads(&private.url()).await;
    let (first, second) = (signed(ORIGIN, 1, 1), signed(ORIGIN, 2, 1));
    heads.compare_and_swap(ORIGIN, None, &first).await.unwrap();
    private.standbys("absent").await;
    let swap = heads.compare_and_swap(ORIGIN, Some(&first), &second);
    unavailable(&cancelled(&admin, swap).await);
    // A sealer looks again. It can be seen, and does not count.
    let size = "SELECT size FROM ruche_tree_heads.tree_head";
    assert_eq!(admin.query_one(size, &[]).await.unwrap().get::<_, i64>(0), 2);
    unavailable(&heads.latest(ORIGIN).await);
    unavailable(&heads.origins().await);
    // However often it is asked, few sessions of the server wait.
    unavailable(&heads.latest(ORIGIN).await);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0), 2);
    unavailable(&cancelled(&admin, heads.latest(ORIGIN)).await);
    // Of what was never promised there is nothing to lose.
    assert_eq!(heads.latest("test.example/b/e1").await, Ok(None));
    private.standbys("").await;
    until("the promise counts", || async {
        heads.latest(ORIGIN).await == Ok(Some(second.clone()))
    })
    .await;
    let again = heads.compare_and_swap(ORIGIN, Some(&first), &second).await;
    assert_eq!(again, Err(TreeHeadStoreError::Swapped));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_relied_on_is_not_done_before_a_standby_has_it() {
    let Some(shared) = server() else { return };
    let (private, admin) = quiet(&shared).await;
    let url = private.url();
    let store = open(&url).await;
    open_ledger(&*store, 1).await;
    let (database, halts) = (at(&url), at(&url).halts());
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    database.backup(&backup, &|_, _, _| ()).await.unwrap();
    private.standbys("absent").await;

    let halt = Halt {
        ledger: ledger(1),
        epoch: Epoch(1),
        reason: "behind what was promised".to_owned(),
    };
    let halted = cancelled(&admin, halts.halt(&halt)).await;
    assert!(
        matches!(halted, Err(StoreError::Unavailable { .. })),
        "{halted:?}"
    );
    let released = cancelled(&admin, halts.release(ledger(1))).await;
    assert!(
        matches!(released, Err(StoreError::Unavailable { .. })),
        "{released:?}"
    );
    let written = cancelled(&admin, database.try_to_write()).await;
    assert!(
        matches!(written, Err(OpenError::Unconfirmed { .. })),
        "{written:?}"
    );
    let other = folder.path().join("other");
    let copied = cancelled(&admin, database.backup(&other, &|_, _, _| ())).await;
    assert!(
        matches!(copied, Err(BackupError::Open(OpenError::Unconfirmed { .. }))),
        "{copied:?}"
    );
    assert!(!other.exists());
    let restored = database.restore(&backup, true, Micros(1), &|_, _, _| ());
    let restored = cancelled(&admin, restored).await;
    assert!(
        matches!(restored, Err(BackupError::Open(OpenError::Unconfirmed { .. }))),
        "{restored:?}"
    );
}
