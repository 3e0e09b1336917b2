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
    let moved = count(dir.path(), "SELECT count(*) FROM idempotency");
    assert!(moved >= 40, "{moved} keys were moved along the way");
    store.close().await.unwrap();
    assert_eq!(count(dir.path(), "SELECT count(*) FROM idempotency"), 60);
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
        let keys = count(crashed.path(), "SELECT count(*) FROM idempotency");
        assert_eq!(keys, receipts.len() as i64 + 1);
    }
}

#[tokio::test]
async fn a_key_that_two_records_claim_is_found_at_the_start() {
    let dir = folder();
    let store = open(dir.path());
    let author = opened(&store).await;
    appended(Ok(append(&store, &author, 1, 1).await));
    store.close().await.unwrap();
    // What the table says is taken back; what is left are the leaves, of which the last is doubled.
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    conn.execute_batch(
        "DELETE FROM key_index; DELETE FROM idempotency; \
         INSERT INTO epoch VALUES (2, 1, 7, 'another'); \
         INSERT INTO record SELECT 2 << 37, 99, 1, leaf FROM record WHERE id = (1 << 37) + 1",
    )
    .unwrap();
    let refused = Recent::load(&conn).err();
    assert!(matches!(refused, Some(StoreError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn a_key_that_the_table_has_for_another_record_is_an_error_and_for_the_same_is_not() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(include_str!(
        "../../../../../migrations/sqlite/ledger/0001_ledger.sql"
    ))
    .unwrap();
    let mut recent = Recent::load(&conn).unwrap();
    let run = |record| Run {
        keys: vec![((4, [1; 32]), RecordId(record))],
        ..Run::default()
    };
    for _ in 0..2 {
        recent.run = run(77);
        recent.move_rows(&conn, 10).unwrap();
    }
    recent.run = run(78);
    let refused = recent.move_rows(&conn, 10);
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn what_was_undone_was_never_there() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(include_str!(
        "../../../../../migrations/sqlite/ledger/0001_ledger.sql"
    ))
    .unwrap();
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
    assert_eq!(
        (recent.get(&key(2)), recent.get(&key(3))),
        (Some(RecordId(2)), None)
    );
    recent.undo();
    assert_eq!(
        (recent.get(&key(1)), recent.get(&key(2))),
        (Some(RecordId(1)), None)
    );
    recent.committed();
    assert_eq!((recent.records, recent.sizes.get(&EpochNo(1))), (1, Some(&2)));
    // An undone move is done again.
    for n in 2..12 {
        wrote(&mut recent, n);
        recent.committed();
    }
    let before = recent.run.keys_moved;
    recent.move_some(&conn).unwrap();
    recent.undo();
    assert_eq!(recent.run.keys_moved, before);
}
