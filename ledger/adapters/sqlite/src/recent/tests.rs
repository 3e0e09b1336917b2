//! Here a run begins after 8 records and moves a few rows with each commit, so that a crash meets every state of it.

use std::path::Path;
use std::sync::Arc;

use ruche_ledger::store::{AppendOutcome, EventStore, Receipt};
use ruche_ledger::testing::{Author, FixedClock, appended, check_ledger, ledger};

use super::*;
use crate::{DataLock, LEDGER_FILE, OpenError, SqliteOptions, SqliteStore};

fn try_open(dir: &Path) -> Result<SqliteStore, OpenError> {
    let lock = Arc::new(DataLock::acquire(dir, "test")?);
    SqliteStore::open(lock, Arc::new(FixedClock::at(1)), SqliteOptions::default())
}

fn open(dir: &Path) -> SqliteStore {
    try_open(dir).unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Keys in runs that are whole.
const STORED_KEYS: &str = "SELECT coalesce(sum(entries), 0) FROM key_run";

fn count(dir: &Path, sql: &str) -> i64 {
    Connection::open(dir.join(LEDGER_FILE))
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

async fn opened(store: &SqliteStore) -> Author {
    let author = Author::new(1);
    store
        .open_epoch(ledger(1), author.opening(ledger(1), 1, None))
        .await
        .unwrap();
    author
}

async fn append(store: &SqliteStore, author: &Author, key: u8, request: u8) -> AppendOutcome {
    let event = author.event(author.stream(1), "{}");
    store
        .append(ledger(1), author.append_keyed(key, request, vec![event]))
        .await
        .unwrap()
}

/// Every key up to `receipts.len()` stands for its append, and for no other request.
async fn all_known(store: &SqliteStore, author: &Author, receipts: &[Receipt]) {
    for (key, receipt) in receipts.iter().enumerate() {
        let again = append(store, author, key as u8, 1).await;
        let known = AppendOutcome::Appended {
            receipts: vec![*receipt],
            duplicate: true,
        };
        assert_eq!(again, known, "key {key} of {}", receipts.len());
        let other = append(store, author, key as u8, 2).await;
        assert!(
            matches!(other, AppendOutcome::KeyMismatch { .. }),
            "key {key}: {other:?}"
        );
    }
}

#[tokio::test]
async fn a_key_is_known_before_while_and_after_it_is_moved() {
    let dir = folder();
    let store = open(dir.path());
    let author = opened(&store).await;
    let mut receipts = Vec::new();
    for key in 0..60 {
        receipts.extend(appended(Ok(append(&store, &author, key, 1).await)));
        if key % 7 == 0 {
            all_known(&store, &author, &receipts).await;
        }
    }
    let moved = count(dir.path(), STORED_KEYS);
    assert!(moved >= 40, "{moved} keys were moved along the way");
    store.close().await.unwrap();
    assert_eq!(count(dir.path(), STORED_KEYS), 60);
    assert_eq!(count(dir.path(), "SELECT size FROM key_index"), 61);
    all_known(&open(dir.path()), &author, &receipts).await;
}

#[tokio::test]
async fn a_crash_at_any_commit_forgets_no_key() {
    let dir = folder();
    let store = open(dir.path());
    let author = opened(&store).await;
    let mut receipts = Vec::new();
    for key in 0..40 {
        receipts.extend(appended(Ok(append(&store, &author, key, 1).await)));
        // The files as they are now are what a kill would leave.
        let crashed = folder();
        for suffix in ["", "-wal"] {
            let name = format!("{LEDGER_FILE}{suffix}");
            std::fs::copy(dir.path().join(&name), crashed.path().join(&name)).unwrap();
        }
        let store = open(crashed.path());
        all_known(&store, &author, &receipts).await;
        appended(Ok(append(&store, &author, 200, 1).await));
        assert_eq!(check_ledger(&store, ledger(1)).await, receipts.len() as u64 + 2);
        store.close().await.unwrap();
        let keys = count(crashed.path(), STORED_KEYS);
        assert_eq!(keys, receipts.len() as i64 + 1);
    }
}

#[tokio::test]
async fn keys_of_a_store_of_the_first_schema_are_known() {
    let dir = folder();
    let store = open(dir.path());
    let author = opened(&store).await;
    let mut receipts = Vec::new();
    for key in 0..20 {
        receipts.extend(appended(Ok(append(&store, &author, key, 1).await)));
    }
    store.close().await.unwrap();
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    // The first schema had a table where the second has runs, and the same watermark.
    conn.execute_batch(
        "DROP TABLE key_run; DROP TABLE key_block; DROP TABLE archived_range; \
         CREATE TABLE idempotency (scope INTEGER, key_hash BLOB, record INTEGER, PRIMARY KEY (scope, key_hash)); \
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(conn);
    all_known(&open(dir.path()), &author, &receipts).await;
}

#[tokio::test]
async fn a_key_that_two_records_claim_is_found_at_the_start() {
    let dir = folder();
    let store = open(dir.path());
    let author = opened(&store).await;
    appended(Ok(append(&store, &author, 1, 1).await));
    store.close().await.unwrap();
    // What the runs say is taken back; what is left are the leaves, of which the last is doubled.
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    conn.execute_batch(
        "DELETE FROM key_index; DELETE FROM key_run; DELETE FROM key_block; \
         INSERT INTO epoch VALUES (2, 1, 7, 'another'); \
         INSERT INTO record SELECT 2 << 37, 99, 1, leaf FROM record WHERE id = (1 << 37) + 1",
    )
    .unwrap();
    let refused = Recent::load(&conn).err();
    assert!(matches!(refused, Some(StoreError::Corrupt { .. })), "{refused:?}");
}

fn memory() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    crate::schema::MIGRATIONS
        .iter()
        .for_each(|sql| conn.execute_batch(sql).unwrap());
    conn
}

#[test]
fn what_was_undone_was_never_there() {
    let conn = memory();
    let mut recent = Recent::load(&conn).unwrap();
    let key = |n: u8| (4, [n; 32]);
    let wrote = |recent: &mut Recent, n: u8| {
        recent.wrote(
            EpochNo(1),
            u64::from(n) + 1,
            1,
            [(key(n), RecordId(i64::from(n)))].into_iter(),
        );
    };
    wrote(&mut recent, 1);
    recent.committed();
    wrote(&mut recent, 2);
    let mark = recent.mark();
    wrote(&mut recent, 3);
    recent.undo_to(&mark);
    let find = |recent: &Recent, n| recent.find(&conn, &key(n)).unwrap();
    assert_eq!((find(&recent, 2), find(&recent, 3)), (vec![RecordId(2)], vec![]));
    recent.undo();
    assert_eq!((find(&recent, 1), find(&recent, 2)), (vec![RecordId(1)], vec![]));
    recent.committed();
    assert_eq!((recent.records, recent.sizes.get(&EpochNo(1))), (1, Some(&2)));
    // An undone move is done again.
    for n in 2..12 {
        wrote(&mut recent, n);
        recent.committed();
    }
    assert!(!recent.is_moved());
    recent.move_rows(&conn, 100).unwrap();
    recent.undo();
    assert!(!recent.is_moved());
    conn.execute_batch("DELETE FROM key_block; DELETE FROM key_run; DELETE FROM key_index")
        .unwrap();
    recent.move_rows(&conn, 100).unwrap();
    recent.committed();
    assert!(recent.is_moved());
    for n in 1..12 {
        assert_eq!(find(&recent, n).first(), Some(&RecordId(i64::from(n))), "key {n}");
    }
}
