//! Opening: reopening, the data lock, and files that are refused.

use std::process::Command;
use std::sync::Arc;

use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::{appended, check_ledger, ledger};
use ruche_ledger_sqlite::{DataLock, LEDGER_FILE, OpenError};
use rusqlite::Connection;

use super::{append, at, folder, id, open, open_ledger, tamper, try_open};

#[tokio::test]
async fn a_reopened_ledger_goes_on_where_it_ended() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let first = appended(
        store
            .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
            .await,
    );
    drop(store);
    let store = open(dir.path());
    // Known from before the start, so nobody waits.
    store.wait_for(ledger(1), at(1)).await.unwrap();
    let again = store
        .append(ledger(1), a.append_keyed(1, 1, vec![a.event(a.stream(1), "{}")]))
        .await;
    let ruche_ledger::store::AppendOutcome::Appended {
        receipts,
        duplicate: true,
    } = again.unwrap()
    else {
        panic!("the key is remembered")
    };
    assert_eq!(receipts, first);
    let next = append(&store, 1, &a, 1).await;
    assert_eq!(next[0].position, at(2));
    assert_eq!(check_ledger(&store, ledger(1)).await, 3);
}

#[tokio::test]
async fn a_ledger_that_was_not_closed_is_whole_when_opened_again() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    append(&store, 1, &a, 20).await;
    // A copy of the files while the store is open: what a process that is killed leaves behind.
    let copy = folder();
    for suffix in ["", "-wal"] {
        let name = format!("{LEDGER_FILE}{suffix}");
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    assert_eq!(check_ledger(&open(copy.path()), ledger(1)).await, 21);
}

const LOCK_FOLDER: &str = "RUCHE_TEST_LOCK_FOLDER";

/// Not a test of its own: the second process of the next one.
#[test]
fn second_process() {
    if let Some(dir) = std::env::var_os(LOCK_FOLDER) {
        match DataLock::acquire(dir.as_ref(), "second") {
            Err(error @ OpenError::Locked { .. }) => eprintln!("refused: {error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_folder() {
    let dir = folder();
    let lock = Arc::new(DataLock::acquire(dir.path(), "ruche serve").unwrap());
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "start::second_process", "--nocapture"])
        .env(LOCK_FOLDER, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.success(), "{said}");
    let holder = format!("process {} (ruche serve)", std::process::id());
    assert!(said.contains("refused: ") && said.contains(&holder), "{said}");
    drop(lock);
    DataLock::acquire(dir.path(), "next").unwrap();
}

#[test]
fn files_of_others_and_of_newer_versions_are_refused_untouched() {
    let dir = folder();
    let path = dir.path().join(LEDGER_FILE);
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE notes (text TEXT)")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        try_open(dir.path()),
        Err(OpenError::Foreign { found: 0, .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::write(&path, [b'x'; 8_192]).unwrap();
    assert!(matches!(try_open(dir.path()), Err(OpenError::Sqlite { .. })));

    let dir = folder();
    drop(open(dir.path()));
    tamper(dir.path(), "PRAGMA user_version = 99");
    assert!(matches!(
        try_open(dir.path()),
        Err(OpenError::Newer {
            found: 99,
            known: 3,
            ..
        })
    ));
}

/// What is done to a ledger of records 0 to 5, and a word of what opening it says.
const REFUSED: [(&str, &str); 8] = [
    (
        "DELETE FROM record WHERE id = {5}",
        "the last one stored has index 4",
    ),
    ("DELETE FROM record", "none is stored"),
    (
        "UPDATE head SET size = size - 1",
        "the last one stored has index 5",
    ),
    (
        "UPDATE head SET size = size + 1",
        "the last one stored has index 5",
    ),
    (
        "UPDATE head SET last_leaf_hash = zeroblob(32)",
        "hash of the last leaf",
    ),
    (
        "UPDATE record SET leaf = CAST(leaf || x'00' AS BLOB) WHERE id = {5}",
        "hash of the last leaf",
    ),
    (
        "UPDATE record SET stream_version = 77 WHERE id = {5}",
        "not at the version",
    ),
    (
        "UPDATE head SET last_recorded_at = last_recorded_at + 1",
        "recorded-at",
    ),
];

#[tokio::test]
async fn a_head_that_contradicts_its_records_is_refused() {
    for (sql, expected) in REFUSED {
        let dir = folder();
        let store = open(dir.path());
        let a = open_ledger(&store, 1).await;
        append(&store, 1, &a, 5).await;
        store.close().await.unwrap();
        tamper(dir.path(), &sql.replace("{5}", &id(5)));
        match try_open(dir.path()).map(drop) {
            Err(OpenError::Stored(StoreError::Corrupt { place, reason })) => {
                assert!(place.starts_with("head of ledger"), "{place}");
                assert!(reason.contains(expected), "{sql}: {reason}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}
