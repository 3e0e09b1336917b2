//! A backup is of one moment, is told from rot, and is loaded whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position};
use ruche_ledger::archive::{ArchiveStore, ArchivedRange, Detach};
use ruche_ledger::hash::Hash;
use ruche_ledger::store::{AppendOutcome, EventStore, StoreError};
use ruche_ledger::testing::{Author, check_ledger, ledger};
use ruche_ledger_postgres::{BackupError, Checked, Database, OpenError, PostgresOptions, PostgresStore};
use tempfile::TempDir;

use super::support::wait_for;
use super::{database, open, open_ledger, server, session};

/// A database with two ledgers: streams with several versions, keys, and a ledger that goes on in a later epoch.
struct Stored {
    url: String,
    folder: TempDir,
}

impl Stored {
    async fn new(server: &str) -> Self {
        let url = database(server).await;
        let store = open(&url).await;
        for n in 1..=2 {
            let author = open_ledger(&*store, n).await;
            for key in 1..=3 {
                let events = vec![
                    author.event(author.stream(1), "{\"n\":1}"),
                    author.event(author.stream(u128::from(key)), "{}"),
                ];
                let appended = store.append(ledger(n), author.append_keyed(key, key, events));
                assert!(matches!(appended.await, Ok(AppendOutcome::Appended { .. })));
            }
        }
        let end = store.head(ledger(2)).await.unwrap().unwrap().last_position();
        let later = Author::new(9).opening(ledger(2), 4, end);
        store.open_epoch(ledger(2), later).await.unwrap();
        store.close().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { url, folder }
    }

    fn database(&self) -> Database {
        Database::parse(&PostgresOptions::new(&self.url)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn backup(&self, name: &str) -> Result<Checked, BackupError> {
        self.database().backup(&self.path(name), &|_, _, _| ()).await
    }
}

async fn restore(into: &Database, file: &Path, replace: bool) -> Result<Option<String>, BackupError> {
    let loaded = into.restore(file, replace, Micros(7), &|_, _, _| ()).await?;
    Ok(loaded.put_aside)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_knows_what_is_archived() {
    let Some(server) = server() else { return };
    let stored = Stored::new(&server).await;
    let old = open(&stored.url).await;
    let range = ArchivedRange {
        epoch: Epoch(1),
        from: LeafIndex(0),
        to: LeafIndex(4),
        archive: "one-e1-0-4".to_owned(),
        digest: Hash([5; 32]),
    };
    let records = vec![LeafIndex(1), LeafIndex(3)];
    let piece = Detach {
        range: range.clone(),
        records,
    };
    old.detach(ledger(1), piece).await.unwrap();
    let checked = stored.backup("good").await.unwrap();
    assert_eq!((checked.records, checked.payloads_missing), (15, 0));
    let empty = database(&server).await;
    let target = Database::parse(&PostgresOptions::new(&empty)).unwrap();
    restore(&target, &stored.path("good"), false).await.unwrap();
    let new = open(&empty).await;
    assert_eq!(new.archived(ledger(1)).await, Ok(vec![range]));
    assert_eq!(new.archived(ledger(2)).await, Ok(vec![]));
    for n in 1..=2 {
        let all = |store: Arc<PostgresStore>| async move {
            store.read_ledger(ledger(n), Position::START, 99).await
        };
        assert_eq!(all(new.clone()).await, all(old.clone()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_what_was_there_and_waits_for_its_epochs() {
    let Some(server) = server() else { return };
    let stored = Stored::new(&server).await;
    let checked = stored.backup("good").await.unwrap();
    assert_eq!((checked.records, checked.payloads_missing), (15, 0));
    let empty = database(&server).await;
    let target = Database::parse(&PostgresOptions::new(&empty)).unwrap();
    assert_eq!(restore(&target, &stored.path("good"), false).await.unwrap(), None);

    let (old, new) = (open(&stored.url).await, open(&empty).await);
    for n in 1..=2 {
        assert_eq!(
            check_ledger(&*new, ledger(n)).await,
            check_ledger(&*old, ledger(n)).await
        );
        let (of_old, of_new) = (old.head(ledger(n)).await, new.head(ledger(n)).await);
        assert_eq!(of_old, of_new);
    }
    // A key that was used is known.
    let author = Author::new(1);
    let again = author.append_keyed(
        1,
        1,
        vec![
            author.event(author.stream(1), "{\"n\":1}"),
            author.event(author.stream(1), "{}"),
        ],
    );
    let again = new.append(ledger(1), again).await;
    assert!(
        matches!(again, Ok(AppendOutcome::Appended { duplicate: true, .. })),
        "{again:?}"
    );
    let pending = target.take_restore().await.unwrap().unwrap();
    assert_eq!(
        pending.ends,
        [(ledger(1), Position::new(1, 6)), (ledger(2), Position::new(4, 0))]
    );
    // Nothing is copied that does not stand yet.
    let copy = target.backup(&stored.path("pending"), &|_, _, _| ()).await;
    assert!(matches!(copy, Err(BackupError::Pending)), "{copy:?}");
    // It is not finished before every ledger is in its next epoch.
    let early = pending.finish().await;
    assert!(
        matches!(early, Err(OpenError::RestorePending { ledgers: 2 })),
        "{early:?}"
    );
    let pending = target.take_restore().await.unwrap().unwrap();
    for (ledger, end) in &pending.ends {
        let next = author.opening(*ledger, end.epoch.0 + 1, Some(*end));
        new.open_epoch(*ledger, next).await.unwrap();
    }
    // Another node waits, and finds that it is done.
    let other = target.clone();
    let waiting = tokio::spawn(async move { other.take_restore().await });
    pending.finish().await.unwrap();
    assert!(waiting.await.unwrap().unwrap().is_none());
    assert!(!target.restore_is_pending().await.unwrap());
    // Whoever waited had the lock of nodes for a moment, until the server has seen that the connection is gone.
    let owner = session(&empty).await;
    let unlocked = "SELECT CASE WHEN count(*) = 0 THEN 1 ELSE 0 END::bigint FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_for(&owner, unlocked, 1).await;
    // What is there is put aside, if that is meant.
    let refused = restore(&target, &stored.path("good"), false).await;
    assert!(matches!(refused, Err(BackupError::LedgersThere)), "{refused:?}");
    let aside = restore(&target, &stored.path("good"), true).await.unwrap();
    assert_eq!(aside.as_deref(), Some("ruche_before_7"));
    let kept = owner
        .query_one("SELECT count(*) FROM ruche_before_7.record", &[])
        .await;
    assert_eq!(kept.unwrap().get::<_, i64>(0), 17);
}

/// A restore keeps nodes away by a lock, which a node whose connection was cut does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_a_restore_gives_no_place_twice() {
    let Some(server) = server() else { return };
    let stored = Stored::new(&server).await;
    let (node, author) = (open(&stored.url).await, Author::new(5));
    let append = |n, stream| {
        let request = author.append(vec![author.event(author.stream(stream), "{}")]);
        node.append(ledger(n), request)
    };
    // It knows the end of ledger 2, which is in the backup, and that of ledger 1, which is not.
    append(2, 21).await.unwrap();
    stored.backup("good").await.unwrap();
    append(1, 22).await.unwrap();
    let file = stored.path("good");
    restore(&stored.database(), &file, true).await.unwrap();
    for n in [1, 2] {
        let before = append(n, 23).await;
        assert!(
            matches!(before, Err(StoreError::Unavailable { .. })),
            "ledger {n}: {before:?}"
        );
    }
    // Once the next epoch is open there is nothing that could be given twice.
    let other = open(&stored.url).await;
    for n in [1, 2] {
        let head = other.head(ledger(n)).await.unwrap().unwrap();
        let next = Author::new(8).opening(ledger(n), head.epoch.0 + 1, head.last_position());
        other.open_epoch(ledger(n), next).await.unwrap();
        let after = append(n, 24).await.unwrap();
        let AppendOutcome::Appended { receipts, .. } = after else {
            panic!("ledger {n}: {after:?}");
        };
        assert_eq!(receipts[0].position, Position::new(head.epoch.0 + 1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_is_no_backup() {
    let Some(server) = server() else { return };
    for (change, said) in [
        (
            "UPDATE payload SET bytes = 'x' WHERE fragment = 0 AND index = 2",
            "commitment",
        ),
        (
            "UPDATE record SET leaf = set_byte(leaf, 60, 1) WHERE index = 1",
            "record 1:1",
        ),
        (
            "UPDATE record SET stream_version = 99 WHERE index = 6",
            "another stream or version",
        ),
        ("DELETE FROM record WHERE index = 3", "record 1:3 is missing"),
        ("DELETE FROM epoch WHERE epoch = 4", "head"),
        ("DELETE FROM head WHERE epoch = 4", "no head"),
        ("UPDATE head SET size = size + 1", "its head"),
        ("UPDATE stream_head SET version = version + 1", "streams"),
        ("DELETE FROM stream_head", "streams"),
        ("UPDATE idempotency SET first = first + 1", "idempotency keys"),
        ("DELETE FROM idempotency WHERE count = 2", "idempotency keys"),
        (
            "INSERT INTO payload VALUES (gen_random_uuid(), 1, 0, 0, sha256(''), '')",
            "",
        ),
    ] {
        let stored = Stored::new(&server).await;
        let owner = session(&stored.url).await;
        owner
            .batch_execute(&format!("SET search_path = ruche; {change}"))
            .await
            .unwrap();
        let made = stored.backup("rotten").await;
        let Err(BackupError::Broken { reason, .. }) = made else {
            panic!("{change}: {made:?}");
        };
        assert!(reason.contains(said), "{change}: {reason}");
        let left = std::fs::read_dir(stored.folder.path()).unwrap().count();
        assert_eq!(left, 0, "{change}: a copy of rot is no backup");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_of_one_moment() {
    let Some(server) = server() else { return };
    let stored = Stored::new(&server).await;
    let store = open(&stored.url).await;
    let (stop, mut taken) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), 0);
    let load = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let (author, mut appended) = (Author::new(5), 0_u64);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let request = author.append(vec![author.event(author.stream(1), "{}")]);
                store.append(ledger(1), request).await?;
                appended += 1;
            }
            Ok::<_, StoreError>(appended)
        }
    });
    for n in 0..10 {
        let checked = stored.backup(&format!("copy-{n}")).await.unwrap();
        assert!(checked.records >= taken, "later copies have no less");
        taken = checked.records;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(load.await.unwrap().unwrap() > 0);
    assert!(taken > 15, "records came in meanwhile");
}
