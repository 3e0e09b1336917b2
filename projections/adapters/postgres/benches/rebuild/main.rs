//! How fast read models are made from a ledger on PostgreSQL: `cargo bench -p ruche-projections-postgres -- [--url URL]
//! [--sessions N] [--live EVENTS_PER_SECOND] [--only-live]`.
//!
//! The server is that of `--url` or `RUCHE_TEST_POSTGRES`; a database is made in it that goes with it. The ledger is in
//! memory, as in the bench of the other engine, and with it the figure holds everything but reading it from a disk.
//! Beside it stand how many statements and transactions an event costs, and what COPY of the same rows reaches.
//! `--live` appends so many events a second for ten seconds, follows them, and tells how long each append took to be in
//! all read models.

#![expect(clippy::unwrap_used, reason = "a bench stops when it fails")]

#[path = "../../../sqlite/benches/shared/mod.rs"]
mod shared;
mod counted;
mod live;

use std::sync::Arc;
use std::time::Instant;

use deadpool_postgres::{Manager, Pool, Runtime};
use futures_util::{SinkExt, TryStreamExt};
use ruche_ledger::store::EventStore;
use ruche_projections::rebuild::{OnDifference, RebuildProgress};
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::testing::Feed;
use ruche_projections_postgres::{PostgresReadStore, migrate};
use shared::{Checked, SESSIONS, Watch, print, report};
use tokio_postgres::{Client, NoTls};

use counted::{Counted, Server};

/// Connections for read models, as `ruche` has with its default settings.
const CONNECTIONS: usize = 12;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    let url = value("--url").cloned();
    let Some(url) = url.or_else(|| std::env::var("RUCHE_TEST_POSTGRES").ok()) else {
        print("skipped: neither --url nor RUCHE_TEST_POSTGRES names a server");
        return;
    };
    let number = |name: &str| value(name).map(|text| text.parse::<u64>().unwrap());
    if !args.iter().any(|arg| arg == "--only-live") {
        rebuild(
            &database(&url, "rebuild").await,
            number("--sessions").unwrap_or(SESSIONS),
        )
        .await;
    }
    if let Some(rate) = number("--live") {
        live::run(models(&database(&url, "live").await).await, rate).await;
    }
}

async fn rebuild(url: &str, sessions: u64) {
    let feed = Feed::default();
    let ledger = feed.filled(1, sessions).await;
    let events = feed.end(ledger).await.index.0 + 1;
    let checked: Arc<dyn EventStore> = Arc::new(Checked(feed.store.clone()));
    let models = models(url).await;
    let server = Server::new(connect(url).await).await;

    let counted = Arc::new(Counted::new(models.clone()));
    let runner = Runner::new(checked.clone(), counted.clone() as Arc<dyn ReadStore>);
    let before = server.look().await;
    let started = Watch::start();
    runner.catch_up(ledger).await.unwrap();
    report("catching up, eight projections", events, started);
    server.tell(before, events).await;
    counted.tell(events);
    let lags = runner.lag(ledger).await.unwrap();
    assert!(
        lags.iter().all(|lag| lag.is_gapless() && lag.records == 0),
        "{lags:?}"
    );

    let before = server.look().await;
    let started = Watch::start();
    let rebuilt = models
        .rebuild(checked, OnDifference::Keep, &RebuildProgress::default())
        .await
        .unwrap();
    report("rebuilding, comparing and switching", events, started);
    server.tell(before, events).await;
    assert!(rebuilt.switched && rebuilt.differences.is_empty(), "{rebuilt:?}");

    bare_copy(&connect(url).await, rebuilt.generation, events).await;
}

/// Copies the same rows into empty tables with the same indexes, each table in one COPY in the binary format, over one
/// connection, without counting anything: the limit of the engine for these rows.
async fn bare_copy(client: &Client, generation: u32, events: u64) {
    let made = format!("ruche_read_{generation}");
    client
        .batch_execute("CREATE SCHEMA bare; SET synchronous_commit = off")
        .await
        .unwrap();
    let (mut rows, mut seconds) = (0, 0.0);
    for table in ruche_projections::tables() {
        let like = format!("CREATE TABLE bare.{table} (LIKE {made}.{table} INCLUDING ALL)");
        client.batch_execute(&like).await.unwrap();
        let out = client
            .copy_out(&format!("COPY {made}.{table} TO STDOUT BINARY"))
            .await
            .unwrap();
        let chunks: Vec<bytes::Bytes> = out.try_collect().await.unwrap();
        let started = Instant::now();
        let sink = client
            .copy_in(&format!("COPY bare.{table} FROM STDIN BINARY"))
            .await
            .unwrap();
        let mut sink = std::pin::pin!(sink);
        for chunk in chunks {
            sink.feed(chunk).await.unwrap();
        }
        rows += sink.finish().await.unwrap();
        seconds += started.elapsed().as_secs_f64();
    }
    let rate = events as f64 / seconds;
    print(&format!(
        "bare COPY of the same {rows} rows: {seconds:.2} s, {rate:.0} events/s"
    ));
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes an empty database and returns its URL.
async fn database(server: &str, what: &str) -> String {
    let name = format!("ruche_bench_{what}_{}", std::process::id());
    let make = format!("CREATE DATABASE {name}");
    connect(server).await.batch_execute(&make).await.unwrap();
    let (place, _) = server.rsplit_once('/').unwrap();
    format!("{place}/{name}")
}

async fn models(url: &str) -> PostgresReadStore {
    migrate(&mut connect(url).await).await.unwrap();
    let manager = Manager::new(url.parse().unwrap(), NoTls);
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1);
    PostgresReadStore::open(pool.build().unwrap()).await.unwrap()
}
