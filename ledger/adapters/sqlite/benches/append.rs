//! Durable append with full semantics, and bare inserts of the same bytes in the same run.
//!
//! `cargo bench -p ruche-ledger-sqlite --bench append -- [--dir DIR] [--quick] [--flat] [--only CxB]`
//!
//! `--quick` takes a fifth of the events and a tenth of the large ledger; `--flat` measures only what size costs, on a
//! ledger of `--records` (a million unless said); `--only 8x100` measures one shape and nothing else.
//!
//! Every append expects its stream's version and claims an idempotency key. The ratio to bare inserts is what binds; a
//! bare insert has the same tables, the same leaf and payload bytes and the same number of events in each transaction,
//! and no positions, versions, keys looked up, hashes, queue or answers. It is given with and without a table of keys,
//! since the engine writes keys into runs, behind their appends (module `recent`).

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
use ruche_domain::ids::{EventId, LedgerId, SessionId};
use ruche_domain::numbers::{Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, PreparedEvent, Record,
};
use ruche_ledger::testing::{Author, SeededRandom, ledger};
use ruche_ledger_sqlite::{BareInserts, DataLock, SqliteOptions, SqliteStore, Until};
use uuid::Uuid;

/// Events of a stream before the caller goes on with a new one.
const STREAM_EVENTS: u64 = 200;

struct Now;

impl Clock for Now {
    fn now(&self) -> Micros {
        Micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64)
    }
}

/// The clock also counts: the writer asks for the time once for each ledger in a commit.
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
    let (dir, only) = (value("--dir"), value("--only"));
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("ruche-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let scale = if quick { 1 } else { 5 };
    println!(
        "flushes of the disk: {:.0}/s (4 KiB appended, fdatasync)",
        flush_rate(&dir)
    );
    let shapes = [
        (1, 1, 2_000),
        (8, 1, 8_000),
        (32, 1, 30_000),
        (128, 1, 40_000),
        (8, 10, 60_000),
        (8, 100, 150_000),
    ];
    let shapes = if args.iter().any(|arg| arg == "--flat") {
        &[]
    } else {
        &shapes[..]
    };
    for &(callers, batch, events) in shapes {
        if only.is_some_and(|only| *only != format!("{callers}x{batch}")) {
            continue;
        }
        let name = format!("{callers} x {batch}");
        let store_dir = dir.join(format!("{callers}-{batch}"));
        let bench = Bench::new(&store_dir);
        let run = bench.run(callers, batch, events * scale, 0);
        run.print(&name);
        let sample = bench.sample();
        bench.close();
        let bare = |keys| {
            let inserts = BareInserts {
                records: &sample,
                group: run.group(),
                batch,
                keys,
                until: Until::Events(events * scale),
            };
            inserts.run(&store_dir.join("bare.db")).unwrap().rate()
        };
        let (all, keyless) = (bare(true), bare(false));
        println!(
            "{name:>9}  bare {all:>8.0} events/s, {keyless:>8.0} without keys; ratio {:.0} %, {:.0} %",
            100.0 * run.rate() / all,
            100.0 * run.rate() / keyless
        );
        std::fs::remove_dir_all(&store_dir).unwrap();
    }
    if only.is_none() {
        let records = value("--records").map_or(1_000_000, |records| records.parse().unwrap());
        flat(&dir.join("flat"), if quick { records / 10 } else { records });
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Cost of 32 x 1 on a ledger of 10,000 records and on one of `records`.
fn flat(dir: &Path, records: u64) {
    let bench = Bench::new(dir);
    bench.run(128, 1, 10_000, 1);
    let small = bench.best("at 10 k", 10);
    bench.run(128, 1, records - 70_000, 2).print("filling");
    let large = bench.best(&format!("at {} k", records / 1_000), 20);
    println!("    cost  {:.2} times that at 10 k records", small / large);
    let (started, mut from, mut read) = (Instant::now(), Position::START, 0);
    while read < 200_000 {
        let records = bench
            .runtime
            .block_on(bench.store.read_ledger(ledger(1), from, 1_000))
            .unwrap();
        let Some(last) = records.last() else { break };
        from = last.position.next();
        read += records.len();
    }
    println!(
        "    read  {:.0} records/s, each checked, one reader",
        read as f64 / started.elapsed().as_secs_f64()
    );
    bench.close();
    let started = Instant::now();
    let bench = Bench::reopen(dir);
    println!(
        "    open  {:.1} ms with {records} records",
        started.elapsed().as_secs_f64() * 1e3
    );
    bench.close();
}

struct Bench {
    store: Arc<SqliteStore>,
    commits: Arc<Counting>,
    runtime: tokio::runtime::Runtime,
}

struct Run {
    events: u64,
    commits: u64,
    took: Duration,
    used: Used,
    /// Microseconds of each append, sorted.
    latencies: Vec<u32>,
}

impl Bench {
    fn new(dir: &Path) -> Self {
        let bench = Self::reopen(dir);
        let opening = Author::new(1).opening(ledger(1), 1, None);
        bench
            .runtime
            .block_on(bench.store.open_epoch(ledger(1), opening))
            .unwrap();
        bench
    }

    fn reopen(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let commits = Arc::new(Counting(AtomicU64::new(0)));
        let lock = Arc::new(DataLock::acquire(dir, "bench").unwrap());
        let store = SqliteStore::open(lock, commits.clone(), SqliteOptions::default()).unwrap();
        Self {
            store: Arc::new(store),
            commits,
            runtime,
        }
    }

    /// `round` keeps streams and keys of several runs on one ledger apart.
    fn run(&self, callers: u64, batch: u64, events: u64, round: u64) -> Run {
        let appends = events / callers / batch;
        let commits = self.commits.0.load(Ordering::Relaxed);
        let (started, used) = (Instant::now(), Used::now());
        let mut latencies = self.runtime.block_on(async {
            let callers: Vec<_> = (0..callers)
                .map(|n| tokio::spawn(caller(self.store.clone(), round << 32 | n, appends, batch)))
                .collect();
            let mut all = Vec::new();
            for caller in callers {
                all.extend(caller.await.unwrap());
            }
            all
        });
        let (took, used) = (started.elapsed(), Used::now().since(used));
        latencies.sort_unstable();
        let commits = self.commits.0.load(Ordering::Relaxed) - commits;
        Run {
            events: appends * callers * batch,
            commits,
            took,
            used,
            latencies,
        }
    }

    /// Rate of the best of three runs: whatever else the machine does only makes them slower.
    fn best(&self, name: &str, round: u64) -> f64 {
        let mut rates: Vec<_> = (0..3)
            .map(|n| {
                let run = self.run(32, 1, 20_000, round + n);
                run.print(name);
                run.rate()
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        rates[2]
    }

    /// Stored records to insert barely.
    fn sample(&self) -> Vec<Record> {
        self.runtime
            .block_on(self.store.read_ledger(ledger(1), Position::new(1, 1), 1_000))
            .unwrap()
    }

    fn close(self) {
        self.runtime.block_on(self.store.close()).unwrap();
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
             {} events/commit; {:.1} us CPU and {:.1} KiB written each",
            self.rate(),
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999),
            at(1.0),
            self.group(),
            self.used.cpu_micros as f64 / self.events as f64,
            self.used.written_bytes as f64 / 1_024.0 / self.events as f64
        );
    }
}

/// What the process has taken from the machine; other load hardly changes it. Zeros where there is no /proc.
#[derive(Clone, Copy)]
struct Used {
    cpu_micros: u64,
    written_bytes: u64,
}

impl Used {
    fn now() -> Self {
        let number = |file: &str, at: usize| -> u64 {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.split_whitespace()
                .nth(at)
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        // Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms; wchar of proc_pid_io(5).
        let ticks = number("/proc/self/stat", 13) + number("/proc/self/stat", 14);
        Self {
            cpu_micros: ticks * 10_000,
            written_bytes: number("/proc/self/io", 3),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            cpu_micros: self.cpu_micros - before.cpu_micros,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// One caller: appends, each behind the one before, as a client does.
async fn caller(store: Arc<SqliteStore>, n: u64, appends: u64, batch: u64) -> Vec<u32> {
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
        let request =
            AppendRequest::new(vec![Expectation { stream, version }], events, vec![key(&random)]).unwrap();
        let outcome = store.append(LedgerId(Uuid::from_u128(1)), request).await;
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

fn key(random: &SeededRandom) -> KeyClaim {
    let mut key = [0; 32];
    ruche_domain::ports::Random::fill(random, &mut key);
    KeyClaim {
        layer: KeyLayer::Api,
        key,
        request: key,
    }
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
    let mut payload = format!(
        r#"{{"message_ordinal":{},"role":"user","text":""#,
        random.next() % 1_000
    )
    .into_bytes();
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
    let mut file = File::create(dir.join("flush")).unwrap();
    let (started, mut flushes) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[1; 4_096]).unwrap();
        file.sync_data().unwrap();
        flushes += 1;
    }
    f64::from(flushes) / started.elapsed().as_secs_f64()
}
