//! How fast read models are made from a ledger: `cargo bench -p ruche-projections-sqlite`.
//!
//! The ledger is in memory, and every record is checked when it is read (leaf decoded and encoded again, payload opened)
//! as an engine on disk does it, so the figure holds everything but the reading of the file. Beside it stands what bare
//! inserts of the same rows reach in the same run.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Feed;
use ruche_projections_sqlite::{OnDifference, SqliteReadStore};

/// Sessions of 65 events each.
const SESSIONS: u64 = 4_000;

/// Checks every record as an engine on disk does.
struct Checked(Arc<dyn EventStore>);

#[async_trait]
impl EventStore for Checked {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.0.append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.0.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.0.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.0.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.0.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.0.read_ledger(ledger, from, limit).await?;
        records
            .into_iter()
            .map(|r| Record::from_stored(r.position, r.leaf_bytes, r.payload))
            .collect()
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.read_stream(ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.0.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.0.wait_for(ledger, position).await
    }
}

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
    let rebuilt = models.rebuild(checked, OnDifference::Keep).await?;
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

/// Time and processor time of one stage. On a busy machine the second one says more.
struct Watch {
    started: Instant,
    cpu: Option<f64>,
}

impl Watch {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_seconds(),
        }
    }
}

/// Processor time of this process so far, where the system tells it in hundredths of seconds (Linux).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn report(what: &str, events: u64, watch: Watch) {
    let seconds = watch.started.elapsed().as_secs_f64();
    let rate = events as f64 / seconds;
    let cpu = cpu_seconds()
        .zip(watch.cpu)
        .map_or_else(String::new, |(end, start)| {
            let cpu = end - start;
            format!(
                "; {cpu:.2} s of processor, {:.0} events/s of one core",
                events as f64 / cpu
            )
        });
    print(&format!(
        "{what}: {events} events in {seconds:.2} s, {rate:.0} events/s{cpu}"
    ));
}

fn print(line: &str) {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes())
        .expect("a terminal takes a line");
}
