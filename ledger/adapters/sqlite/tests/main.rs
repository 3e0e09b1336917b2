//! The SQLite engine as its callers see it, and what it makes of a file that somebody changed.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod contract;
mod concurrent;
mod queue;
mod start;
mod tampered;
mod trees;
mod writer;
mod backup;

use std::path::Path;
use std::sync::Arc;

use ruche_domain::numbers::{Micros, Position};
use ruche_domain::ports::Clock;
use ruche_ledger::store::{EventStore, Receipt};
use ruche_ledger::testing::{Author, appended, ledger};
use ruche_ledger_sqlite::{DataLock, LEDGER_FILE, OpenError, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

/// A clock that need not move: recorded-at may stay the same.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Micros {
        Micros(1_700_000_000_000_000)
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn try_open(dir: &Path) -> Result<SqliteStore, OpenError> {
    let lock = DataLock::acquire(dir, "test")?;
    SqliteStore::open(Arc::new(lock), Arc::new(Noon), SqliteOptions::default())
}

fn open(dir: &Path) -> SqliteStore {
    try_open(dir).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Opens the ledger with number `n`.
async fn open_ledger(store: &dyn EventStore, n: u128) -> Author {
    let author = Author::new(n as u64);
    store
        .open_epoch(ledger(n), author.opening(ledger(n), 1, None))
        .await
        .unwrap();
    author
}

/// Appends `count` events to stream 1 of ledger `n`, one by one.
async fn append(store: &dyn EventStore, n: u128, author: &Author, count: usize) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for i in 0..count {
        let event = author.event(author.stream(1), &format!("{{\"n\":{i}}}"));
        receipts.extend(appended(
            store.append(ledger(n), author.append(vec![event])).await,
        ));
    }
    receipts
}

/// Changes the file behind the engine's back.
fn tamper(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join(LEDGER_FILE)).unwrap();
    conn.execute_batch(sql).unwrap();
}

/// SQL for the id of a record of epoch number 1.
fn id(index: u64) -> String {
    format!("((1 << 37) | {index})")
}

fn at(index: u64) -> Position {
    Position::new(1, index)
}
