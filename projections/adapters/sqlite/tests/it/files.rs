//! The contract of stores, and what is special about files.

use ruche_domain::ids::LedgerId;
use ruche_projections::rebuild::OnDifference;
use ruche_projections::sessions::{self, SessionFilter};
use ruche_projections::store::ReadStore;
use ruche_projections::testing::contract;
use ruche_projections::testing::world::World;
use ruche_projections_sqlite::{OpenError, SqliteReadStore, compare};

use crate::common::{Sqlite, fresh};

/// A world whose data folder is known, and a ledger with some sessions in it.
async fn projected(sessions: u64) -> (World, Sqlite, LedgerId) {
    let sqlite = Sqlite::new();
    let mut world = World::new(fresh).await;
    world.models = std::sync::Arc::new(sqlite.models.clone());
    let ledger = world.projected(1, sessions).await;
    (world, sqlite, ledger)
}

async fn sessions_of(models: &SqliteReadStore, ledger: LedgerId) -> u64 {
    let counted = sessions::totals(models, ledger, &SessionFilter::default()).await;
    counted.expect("it can be read").0
}

#[tokio::test]
async fn the_contract_holds() {
    contract::run(&Sqlite::new().models).await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let (world, sqlite, ledger) = projected(2).await;
    let before = sqlite.models.status(ledger, "sessions").await.unwrap();
    assert!(before.checkpoint.applied > 100);
    let Sqlite { dir, models } = sqlite;
    drop((models, world));
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!(models.status(ledger, "sessions").await.unwrap(), before);
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read-1.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE theirs (a INTEGER); PRAGMA application_id = 7;")
        .unwrap();
    drop(other);
    let error = SqliteReadStore::open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { found: 7, .. }), "{error}");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA application_id = 1383420516; PRAGMA user_version = 99;")
        .unwrap();
    drop(conn);
    let error = SqliteReadStore::open(dir.path()).err().unwrap();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 99,
                known: 17,
                ..
            }
        ),
        "{error}"
    );
}

/// The comparison of files finds nothing between a copy of the old generation and the rebuilt one.
#[tokio::test]
async fn a_rebuilt_file_equals_the_old_one_and_takes_its_place() {
    let (world, sqlite, ledger) = projected(3).await;
    let old = sqlite.models.path();
    let kept = sqlite.dir.path().join("kept.db");
    let conn = rusqlite::Connection::open(&old).unwrap();
    conn.execute("VACUUM INTO $1", [kept.to_str().unwrap()]).unwrap();
    drop(conn);
    assert!(world.rebuilt().await.switched);
    assert_eq!(sqlite.models.generation(), 2);
    assert_eq!(compare(&kept, &sqlite.models.path()).unwrap(), []);
    assert!(!old.exists(), "the old files are gone");
    let Sqlite { dir, models } = sqlite;
    let feed = world.feed_store();
    drop((models, world));
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!((models.generation(), sessions_of(&models, ledger).await), (2, 3));
    assert!(models.rebuild(feed, OnDifference::Keep).await.unwrap().switched);
}

#[tokio::test]
async fn a_rebuilt_file_that_is_not_taken_is_thrown_away() {
    let (world, sqlite, _) = projected(1).await;
    let conn = rusqlite::Connection::open(sqlite.models.path()).unwrap();
    conn.execute("DELETE FROM tool", []).unwrap();
    drop(conn);
    assert!(!world.rebuilt().await.switched);
    assert_eq!(sqlite.models.generation(), 1);
    assert!(!sqlite.dir.path().join("read-2.db").exists());
}

/// What is left of a rebuild that died is removed at the next start, and the current generation is untouched.
#[tokio::test]
async fn leftovers_of_a_dead_rebuild_are_removed() {
    let (world, sqlite, ledger) = projected(1).await;
    let Sqlite { dir, models } = sqlite;
    drop((models, world));
    for name in ["read-2.db", "read-2.db-wal", "read-generation.next"] {
        std::fs::write(dir.path().join(name), b"half a file").unwrap();
    }
    let models = SqliteReadStore::open(dir.path()).unwrap();
    assert_eq!(models.generation(), 1);
    assert!(!dir.path().join("read-2.db").exists());
    assert_eq!(sessions_of(&models, ledger).await, 1);
}
