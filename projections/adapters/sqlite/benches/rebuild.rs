//! How fast read models are made from a ledger: `cargo bench -p ruche-projections-sqlite`.
//!
//! The ledger is in memory, and every record is checked when it is read (leaf decoded and encoded again, payload opened)
//! as an engine on disk does it, so the figure holds everything but the reading of the file. Beside it stands what bare
//! inserts of the same rows reach in the same run.

mod shared;

use std::sync::Arc;
use std::time::Instant;

use ruche_domain::numbers::Position;
use ruche_ledger::store::EventStore;
use ruche_projections::rebuild::RebuildProgress;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Feed;
use ruche_projections_sqlite::{OnDifference, SqliteReadStore};
use shared::{Checked, SESSIONS, Watch, print, report};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let feed = Feed::default();
    let ledger = feed.filled(1, SESSIONS).await;
    let events = feed.end(ledger).await.index.0 + 1;
    let checked: Arc<dyn EventStore> = Arc::new(Checked(feed.store.clone()));
    let dir = tempfile::tempdir()?;
    let models = SqliteReadStore::open(dir.path())?;

    let started = Watch::start();
    let mut from = Position::START;
    while let Some(last) = checked.read_ledger(ledger, from, 1_000).await?.last() {
        from = last.position.next();
    }
    report("reading and checking the ledger", events, started);

    let runner = Runner::new(checked.clone(), Arc::new(models.clone()) as Arc<dyn ReadStore>);
    let started = Watch::start();
    runner.catch_up(ledger).await?;
    report("catching up, eight projections", events, started);
    let lags = runner.lag(ledger).await?;
    assert!(
        lags.iter().all(|lag| lag.is_gapless() && lag.records == 0),
        "{lags:?}"
    );

    let started = Watch::start();
    let rebuilt = models
        .rebuild(checked, OnDifference::Keep, &RebuildProgress::default())
        .await?;
    report("rebuilding, comparing and switching", events, started);
    assert!(rebuilt.switched && rebuilt.differences.is_empty(), "{rebuilt:?}");

    bare_inserts(&models, dir.path(), events)?;
    Ok(())
}

/// Inserts the same rows, each by a prepared statement with its values bound, in transactions of a thousand, without
/// counting anything: the limit of the engine for these rows.
fn bare_inserts(
    models: &SqliteReadStore,
    dir: &std::path::Path,
    events: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let made = rusqlite::Connection::open(models.path())?;
    let empty = SqliteReadStore::open(&dir.join("bare"))?.path();
    let conn = rusqlite::Connection::open(empty)?;
    conn.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8192;",
    )?;
    let (mut rows, mut seconds) = (0, 0.0);
    for table in ruche_projections::tables() {
        let mut select = made.prepare(&format!("SELECT * FROM {table}"))?;
        let columns = select.column_count();
        let values = select.query_map([], |row| {
            (0..columns)
                .map(|n| row.get::<_, rusqlite::types::Value>(n))
                .collect()
        })?;
        let values: Vec<Vec<rusqlite::types::Value>> = values.collect::<Result<_, _>>()?;
        let marks = vec!["?"; columns].join(", ");
        let mut insert = conn.prepare(&format!("INSERT INTO {table} VALUES ({marks})"))?;
        let started = Instant::now();
        for batch in values.chunks(1_000) {
            conn.execute_batch("BEGIN")?;
            for row in batch {
                insert.execute(rusqlite::params_from_iter(row))?;
            }
            conn.execute_batch("COMMIT")?;
        }
        seconds += started.elapsed().as_secs_f64();
        rows += values.len();
    }
    print(&format!(
        "bare inserts of the same {rows} rows: {seconds:.2} s, {:.0} events/s",
        events as f64 / seconds
    ));
    Ok(())
}
