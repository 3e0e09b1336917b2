//! Durable append with full semantics, and bare inserts of the same bytes in the same run.
//!
//! `cargo bench -p ruche-ledger-postgres --bench append -- [--url URL] [--dir DIR] [--quick] [--only CxB]`
//!
//! The server is that of `--url` or `RUCHE_TEST_POSTGRES`; it must flush, and databases are made in it that go with it.
//! `--dir` names a folder on the server's disk, whose flushes are measured. `--quick` takes a fifth of the events;
//! `--only 8x100` measures one shape and nothing else.
//!
//! Every append expects its stream's version and claims an idempotency key. The ratio to bare inserts is what binds; a
//! bare insert fills the same tables (records, payloads, keys) over as many connections as the engine has writers, with
//! the same leaf and payload bytes and the same number of events in each transaction, and no positions, versions, keys
//! looked up, hashes, queue or answers. Once with one statement over arrays, once with binary COPY.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and stops when it fails"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::ids::{EventId, SessionId};
use ruche_domain::numbers::{Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, PreparedEvent, Record,
};
use ruche_ledger::testing::{Author, SeededRandom, ledger};
use ruche_ledger_postgres::{BareInserts, Database, PostgresOptions, PostgresStore, Until, Way};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// Events of a stream before the caller goes on with a new one.
const STREAM_EVENTS: u64 = 200;

struct Now;

impl Clock for Now {
    fn now(&self) -> Micros {
        Micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64)
    }
}

/// The clock also counts: a writer asks for the time once for each ledger in a commit.
struct Counting(AtomicU64);

impl Clock for Counting {
    fn now(&self) -> Micros {
        self.0.fetch_add(1, Ordering::Relaxed);
        Now.now()
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    let url = value("--url").cloned();
    let Some(url) = url.or_else(|| std::env::var("RUCHE_TEST_POSTGRES").ok()) else {
        println!("skipped: neither --url nor RUCHE_TEST_POSTGRES names a server");
        return;
    };
    let (dir, only) = (value("--dir"), value("--only"));
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let scale = if quick { 1 } else { 5 };
    for (callers, batch, events) in [
        (1, 1, 1_000),
        (8, 1, 4_000),
        (32, 1, 10_000),
        (128, 1, 20_000),
        (8, 10, 30_000),
        (8, 100, 80_000),
    ] {
        if only.is_some_and(|only| *only != format!("{callers}x{batch}")) {
            continue;
        }
        let (name, events) = (format!("{callers} x {batch}"), events * scale);
        let flushes = flush_rate(&dir);
        let bench = Bench::new(&url, &name);
        let run = bench.run(callers, batch, events);
        run.print(&name);
        let sample = Arc::new(bench.sample());
        let options = PostgresOptions::new(&url);
        let database = Database::parse(&options).unwrap();
        let bare = |way| {
            let bare = BareInserts {
                records: Arc::clone(&sample),
                group: run.group(),
                batch,
                keys: true,
                connections: options.writers,
                until: Until::Events(events),
            };
            bench
                .runtime
                .block_on(bare.run_one(&database, way))
                .unwrap()
                .rate()
        };
        let (unnest, copy) = (bare(Way::Unnest), bare(Way::Copy));
        println!(
            "{name:>9}  bare {unnest:>8.0} events/s by arrays, {copy:>8.0} by COPY; ratio {:.0} %, {:.0} %; \
             disk {flushes:.0} flushes/s (4 KiB appended, fdatasync)",
            100.0 * run.rate() / unnest,
            100.0 * run.rate() / copy
        );
        bench.runtime.block_on(bench.store.close()).unwrap();
    }
}

/// Makes an empty database and returns its URL.
async fn database(server: &str, name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("ruche_bench_{}_{name}", std::process::id());
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let (address, _) = server.rsplit_once('/').unwrap();
    format!("{address}/{name}")
}

async fn open(clock: Arc<dyn Clock>, url: &str) -> Arc<PostgresStore> {
    let store = PostgresStore::open(clock, PostgresOptions::new(url)).await;
    Arc::new(store.unwrap())
}

struct Bench {
    store: Arc<PostgresStore>,
    commits: Arc<Counting>,
    runtime: Runtime,
}

struct Run {
    events: u64,
    commits: u64,
    took: Duration,
    /// Microseconds of each append, sorted.
    latencies: Vec<u32>,
}

impl Bench {
    fn new(server: &str, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let commits = Arc::new(Counting(AtomicU64::new(0)));
        let store = runtime.block_on(async {
            let url = database(server, name).await;
            let store = open(commits.clone(), &url).await;
            let opening = Author::new(1).opening(ledger(1), 1, None);
            store.open_epoch(ledger(1), opening).await.unwrap();
            store
        });
        Self {
            store,
            commits,
            runtime,
        }
    }

    fn run(&self, callers: u64, batch: u64, events: u64) -> Run {
        let appends = events / callers / batch;
        let commits = self.commits.0.load(Ordering::Relaxed);
        let started = Instant::now();
        let mut latencies = self.runtime.block_on(async {
            let callers: Vec<_> = (0..callers)
                .map(|n| tokio::spawn(caller(self.store.clone(), n, appends, batch)))
                .collect();
            let mut all = Vec::new();
            for caller in callers {
                all.extend(caller.await.unwrap());
            }
            all
        });
        let took = started.elapsed();
        latencies.sort_unstable();
        Run {
            events: appends * callers * batch,
            commits: self.commits.0.load(Ordering::Relaxed) - commits,
            took,
            latencies,
        }
    }

    /// Stored records to insert barely.
    fn sample(&self) -> Vec<Record> {
        self.runtime
            .block_on(self.store.read_ledger(ledger(1), Position::new(1, 1), 1_000))
            .unwrap()
    }
}

impl Run {
    fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    /// Events in a commit, on average.
    fn group(&self) -> u64 {
        (self.events as f64 / self.commits as f64).round().max(1.0) as u64
    }

    fn print(&self, name: &str) {
        let at = |q: f64| f64::from(self.latencies[(q * (self.latencies.len() - 1) as f64) as usize]) / 1e3;
        println!(
            "{name:>9}  {:>8.0} events/s; ms p50 {:.2}, p95 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}; \
             {} events/commit",
            self.rate(),
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999),
            at(1.0),
            self.group()
        );
    }
}

/// One caller: appends, each behind the one before, as a client does.
async fn caller(store: Arc<PostgresStore>, n: u64, appends: u64, batch: u64) -> Vec<u32> {
    let random = SeededRandom::new(n);
    let mut latencies = Vec::with_capacity(appends as usize);
    let mut stream = StreamId::new(Category::Observed, Uuid::nil());
    let mut next = 0;
    for i in 0..appends {
        if i == 0 || next >= STREAM_EVENTS {
            stream = StreamId::new(Category::Observed, id(&random));
            next = 0;
        }
        let started = Instant::now();
        let events = (0..batch).map(|_| event(&random, stream)).collect();
        let version = next.checked_sub(1).map_or(ExpectedVersion::NoStream, |v| {
            ExpectedVersion::Exact(StreamVersion(v))
        });
        let key = key(&random);
        let claim = KeyClaim {
            layer: KeyLayer::Api,
            key,
            request: key,
        };
        let request = AppendRequest::new(vec![Expectation { stream, version }], events, vec![claim]).unwrap();
        let outcome = store.append(ledger(1), request).await;
        assert!(
            matches!(outcome, Ok(AppendOutcome::Appended { duplicate: false, .. })),
            "{outcome:?}"
        );
        latencies.push(started.elapsed().as_micros() as u32);
        next += batch;
    }
    latencies
}

fn id(random: &SeededRandom) -> Uuid {
    Uuid::from_u64_pair(random.next(), random.next())
}

fn key(random: &SeededRandom) -> [u8; 32] {
    let mut key = [0; 32];
    ruche_domain::ports::Random::fill(random, &mut key);
    key
}

/// An event with a payload of 600 bytes, as an observed message has.
fn event(random: &SeededRandom, stream: StreamId) -> PreparedEvent {
    let mut entropy = [0; 10];
    ruche_domain::ports::Random::fill(random, &mut entropy);
    let event_id = EventId::v7(Now.now().as_millis(), entropy);
    let mut event = ACFEvent::new(
        event_id,
        stream,
        "message.received",
        SchemaVersion(1),
        Now.now(),
        Actor::SYSTEM,
    );
    event.session = Some(SessionId(stream.id));
    let ordinal = random.next() % 1_000;
    let mut payload = format!(r#"{{"message_ordinal":{ordinal},"role":"user","text":""#).into_bytes();
    while payload.len() < 598 {
        payload.push(b'a' + (payload.len() % 26) as u8);
    }
    payload.extend(b"\"}");
    PreparedEvent {
        event,
        payload: vec![Fragment::plain(random, JSON, payload).unwrap()],
    }
}

/// What the disk can flush in a second, one small write each.
fn flush_rate(dir: &Path) -> f64 {
    let path = dir.join(format!("ruche-bench-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let (started, mut flushes) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[1; 4_096]).unwrap();
        file.sync_data().unwrap();
        flushes += 1;
    }
    let rate = f64::from(flushes) / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path).unwrap();
    rate
}
