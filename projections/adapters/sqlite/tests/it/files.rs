//! The contract of stores, and what is special about files.

use ruche_domain::ids::LedgerId;
use ruche_projections::rebuild::{OnDifference, RebuildProgress};
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
                known: 27,
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
    assert!(
        models
            .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
            .await
            .unwrap()
            .switched
    );
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

/// No question of analysts reads a table from its beginning: each reads one range of a key, or of the index of turns that
/// were superseded.
#[tokio::test]
async fn figures_are_found_by_their_time() {
    let (_, sqlite, _) = projected(1).await;
    let conn = rusqlite::Connection::open(sqlite.models.path()).unwrap();
    let questions = ruche_projections::testing::analytics::questions().await;
    assert!(questions.len() > 40);
    // Planned as it is run: what stands in the text is known then, and values are not.
    for (metric, sql, _) in questions {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let (mut rows, mut steps) = (plan.raw_query(), Vec::<String>::new());
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        let first = steps.first().map(String::as_str).unwrap_or_default();
        let by_time = ["bucket>?", "ended_at>?", "decided_at>?"].map(|from| {
            let column = from.trim_end_matches(">?");
            format!("{from} AND {column}<?")
        });
        assert!(
            by_time.iter().any(|range| first.contains(range.as_str())),
            "{metric:?}: {steps:?}\n{sql}"
        );
        assert!(
            !steps.iter().any(|step| step.starts_with("SCAN")),
            "{metric:?}: {steps:?}\n{sql}"
        );
    }
}

/// Pages that people look at most are found by an index, and nothing of another session, person or name is read for them.
#[tokio::test]
async fn pages_are_found_by_an_index() {
    let (_, sqlite, _) = projected(1).await;
    let conn = rusqlite::Connection::open(sqlite.models.path()).unwrap();
    for page in ruche_projections::testing::pages::pages().await {
        let sql = &page.sql;
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let (mut rows, mut steps) = (plan.raw_query(), Vec::<String>::new());
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        let what = page.what;
        assert!(
            steps.iter().any(|step| step.contains(page.on_sqlite)),
            "{what}: {steps:?}\n{sql}"
        );
        // What ends a fact is the first of two rows, which are sought in indexes.
        let of_two = |step: &str| matches!(step, "SCAN one" | "SCAN every");
        let is_scan = |(n, step): (usize, &String)| {
            let sorts = step.contains("TEMP B-TREE FOR ORDER") && !of_two(&steps[n - 1]);
            sorts || step.starts_with("SCAN") && !of_two(step)
        };
        assert!(!steps.iter().enumerate().any(is_scan), "{what}: {steps:?}\n{sql}");
    }
}
