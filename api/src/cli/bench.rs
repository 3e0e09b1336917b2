//! `ruche bench`: how fast an engine or a server is, and how near to its limit.

mod read;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use ruche_domain::limits::{APPEND_BYTES_MAX, EVENTS_PER_APPEND_MAX, PAYLOAD_BYTES_MAX};
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Common, main_ledger, print};
use crate::app::{self, App};
use crate::bench::BenchError;
use crate::bench::api::ApiBench;
use crate::bench::append::AppendBench;
use crate::bench::drive::Load;
use crate::bench::fabric::{FabricBench, FabricReport};
use crate::bench::pace::{Schedule, Stop};
use crate::bench::read::report::ReadReport;
use crate::bench::report::{Report, Shape};
use crate::limits::{
    BENCH_CALLERS_MAX, BENCH_ENGINES_MAX, BENCH_LANES_MAX, BENCH_LEDGERS_MAX, BENCH_PAYLOAD_BYTES_MIN,
    BENCH_RATE_EVENTS_MAX, BENCH_SECONDS_MAX, BENCH_STREAMS_MAX,
};

/// Exit code where appends failed, and the others were measured.
const SOME_FAILED: u8 = 2;

/// What the keys folder of a store that a bench made is called, behind the name of its data folder. It stands beside it:
/// a copy of a data folder must not hold keys.
const KEYS_SUFFIX: &str = "-keys";

/// What the help ends with.
pub const EXAMPLES: &str = "\
Reading the result:
  Absolute rates depend on the disk, so its flushes per second stand beside them. What can be compared is the ratio to
  bare inserts: the same rows, written by the same engine in the same run without anything that makes them a ledger.
  Without --rate the loop is closed: each caller waits for its answer, and slow answers mean fewer appends. With --rate
  it is open: appends are due by the clock, and latency counts from then (corrected for coordinated omission).

Ledgers are append-only:
  What a bench appends is there for ever. `append` makes a temporary folder and removes it, unless --data-dir names
  another, which must be empty, or --database-url a database of PostgreSQL, which must have no ledgers. What the
  environment names is ignored. In a database the ledgers stay; their keys are in a temporary folder and go, unless
  --keys-dir names one. Bare inserts go into a schema ruche_bench_<random> of the same database, which is dropped.
  `api` appends to the ledger of the key: give it a key of a tenant of its own.
  `read` makes a data set in a temporary folder, or in the folder or database that the call names; there it stays, and the
  next call with the same --events and --seed asks it again. With --url it appends nothing.

Examples:
  ruche bench append                                       32 callers, one event each, for 10 s
  ruche bench append --callers 8 --batch 100               large appends
  ruche bench append --callers 128 --rate 10000            latency at 10,000 events/s
  ruche bench append --data-dir /mnt/disk/bench --json     on another disk; for a program
  ruche bench append --database-url postgres://127.0.0.1/bench --json   on PostgreSQL
  ruche bench append --database-url $DB --tree-heads-url $HEADS --engines 2   two nodes, one ledger
  ruche bench api --url http://127.0.0.1:4000 --key \"$KEY\" --connections 256
  ruche bench api --url http://127.0.0.1:4000 --key \"$KEY\" --rate 5000 --read-lag   how far read models are behind
  ruche bench fabric --url http://127.0.0.1:4000 --key \"$KEY\" --agents 1000 --lanes 10000 --rate 200
  ruche bench read --events 100000                         make 100,000 events, then ask for pages, figures and memory
  ruche bench read --events 1000000 --data-dir /mnt/disk/read --rate 50     the same data set again, at 50 questions/s";

/// What to measure.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Append in this process, on the engine
    Append(AppendArgs),
    /// Append over HTTP, to a server that runs
    Api(ApiArgs),
    /// Take turns, run tools and answer, as many agents do, on a server that runs
    Fabric(FabricArgs),
    /// Ask read models of many events, and check the answers
    Read(read::ReadArgs),
}

#[derive(Args)]
struct LoadArgs {
    /// Events of each append
    #[arg(long, default_value_t = 1, value_parser = up_to(EVENTS_PER_APPEND_MAX))]
    batch: u64,
    /// Bytes of the payload of each event
    #[arg(long, default_value_t = 600, value_parser = payload_bytes())]
    payload_bytes: u64,
    /// Time that is measured, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=BENCH_SECONDS_MAX))]
    seconds: u64,
    /// Time before it that is not measured, seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=BENCH_SECONDS_MAX))]
    warm_up: u64,
    /// Make an open loop with so many events in a second; latency then counts from when an append was due
    #[arg(long, value_name = "EVENTS_PER_S",
        value_parser = clap::value_parser!(u64).range(1..=BENCH_RATE_EVENTS_MAX))]
    rate: Option<u64>,
}

/// Appends in this process.
#[derive(Args)]
pub struct AppendArgs {
    /// Callers at the same time
    #[arg(long, default_value_t = 32, value_parser = up_to(BENCH_CALLERS_MAX))]
    callers: u64,
    #[command(flatten)]
    load: LoadArgs,
    /// Ledgers, which the callers share out among themselves
    #[arg(long, default_value_t = 1, value_parser = up_to(BENCH_LEDGERS_MAX))]
    ledgers: u64,
    /// Streams in all, each of one caller [default: a new one for each caller after every 200 events]
    #[arg(long, value_parser = up_to(BENCH_STREAMS_MAX))]
    streams: Option<u64>,
    /// Nodes in this process that share out the callers, each with connections of its own to the one database; more than one
    /// goes with --database-url and --tree-heads-url
    #[arg(long, default_value_t = 1, value_parser = up_to(BENCH_ENGINES_MAX))]
    engines: u64,
    /// Claim an idempotency key with each append (the default)
    #[arg(long, overrides_with = "no_keys")]
    keys: bool,
    /// Claim no idempotency keys
    #[arg(long)]
    no_keys: bool,
    /// Append to the store in --data-dir or --database-url even if it has ledgers. They stay as they are; the ledgers of the bench are
    /// beside them for ever, as a ledger is append-only
    #[arg(long)]
    into_existing: bool,
}

/// Appends over HTTP.
#[derive(Args)]
pub struct ApiArgs {
    /// Address of the server, such as http://127.0.0.1:4000
    #[arg(long)]
    url: String,
    /// API key with the role writer. What is appended stays in the ledger of its tenant for ever
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: String,
    /// Connections at the same time, each with one request under way
    #[arg(long, default_value_t = 32, value_parser = up_to(BENCH_CALLERS_MAX))]
    connections: u64,
    #[command(flatten)]
    load: LoadArgs,
    /// Look at the read models all along: append an event, ask for read models that hold it, and tell how long that took. The key needs
    /// the role reader as well
    #[arg(long)]
    read_lag: bool,
}

/// Agents at work.
#[derive(Args)]
pub struct FabricArgs {
    /// Address of the server, such as http://127.0.0.1:4000
    #[arg(long)]
    url: String,
    /// API key with the role admin, which registers two tools. Turns stay in the ledger of its tenant for ever
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: String,
    /// Agents, each with a connection of its own
    #[arg(long, default_value_t = 100, value_parser = up_to(BENCH_CALLERS_MAX))]
    agents: u64,
    /// Names that the agents go by, shared out evenly: agents of one name claim turns of the same lanes. Without it each has its own
    #[arg(long, value_parser = up_to(BENCH_CALLERS_MAX))]
    names: Option<u64>,
    /// Lanes that always have a turn that waits or runs, shared out among the agents
    #[arg(long, default_value_t = 1_000, value_parser = up_to(BENCH_LANES_MAX))]
    lanes: u64,
    /// Bytes of each text: message, arguments, result, answer
    #[arg(long, default_value_t = 200, value_parser = payload_bytes())]
    text_bytes: u64,
    /// Time that is measured, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=BENCH_SECONDS_MAX))]
    seconds: u64,
    /// Time before it that is not measured, seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=BENCH_SECONDS_MAX))]
    warm_up: u64,
    /// Make an open loop with so many turns in a second; latency of a turn then counts from when it was due
    #[arg(long, value_name = "TURNS_PER_S",
        value_parser = clap::value_parser!(u64).range(1..=BENCH_RATE_EVENTS_MAX))]
    rate: Option<u64>,
}

fn up_to(max: usize) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=max as u64)
}

fn payload_bytes() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(BENCH_PAYLOAD_BYTES_MIN as u64..=PAYLOAD_BYTES_MAX as u64)
}

/// Which places the call itself names. What the environment names is the store of a server, and no place for a bench.
#[derive(Clone, Copy, Default)]
pub struct Named {
    /// `--data-dir`.
    pub data_dir: bool,
    /// `--keys-dir`.
    pub keys_dir: bool,
    /// `--database-url`.
    pub database_url: bool,
    /// `--database-read-url`.
    pub database_read_url: bool,
    /// `--tree-heads-url`.
    pub tree_heads_url: bool,
}

impl Named {
    /// Without the databases that the environment names: they are those of a server.
    fn only(self, common: Common) -> Common {
        Common {
            database_url: common.database_url.filter(|_| self.database_url),
            database_read_url: common.database_read_url.filter(|_| self.database_read_url),
            tree_heads_url: common.tree_heads_url.filter(|_| self.tree_heads_url),
            ..common
        }
    }
}

impl LoadArgs {
    fn shape(&self) -> Result<Shape, CliError> {
        if self.batch * self.payload_bytes > APPEND_BYTES_MAX as u64 {
            return Err(CliError::Usage(format!(
                "{} events of {} bytes are more than the {APPEND_BYTES_MAX} bytes that an append may have; give a smaller \
                 --batch or --payload-bytes",
                self.batch, self.payload_bytes
            )));
        }
        Ok(Shape {
            batch: self.batch as usize,
            payload_bytes: self.payload_bytes as usize,
            rate_events_per_s: self.rate,
            load: Load {
                warm_up: Duration::from_secs(self.warm_up),
                measured: Duration::from_secs(self.seconds),
                schedule: self.rate.map(|rate| Schedule::new(rate, self.batch)),
            },
        })
    }
}

/// Runs the command.
pub async fn run(common: Common, named: Named, command: BenchCommand) -> Result<ExitCode, CliError> {
    let stop = stop_on_signal()?;
    let report = match command {
        BenchCommand::Append(args) => append(common.clone(), named, &args, &stop).await?,
        BenchCommand::Api(args) => api(args, &stop).await?,
        BenchCommand::Fabric(args) => {
            let report = fabric(&args, &stop).await?;
            print(&common, &report, FabricReport::text)?;
            return Ok(ended_with(report.errors));
        }
        BenchCommand::Read(args) => {
            let report = read::run(common.clone(), named, &args, &stop).await?;
            print(&common, &report, ReadReport::text)?;
            return Ok(ended_with(report.errors));
        }
    };
    print(&common, &report, Report::text)?;
    Ok(ended_with(report.errors))
}

fn ended_with(errors: u64) -> ExitCode {
    match errors {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(SOME_FAILED),
    }
}

async fn fabric(args: &FabricArgs, stop: &Stop) -> Result<FabricReport, CliError> {
    if args.lanes < args.agents {
        return Err(CliError::Usage(format!(
            "{} lanes for {} agents: some would have nothing to do; give more --lanes",
            args.lanes, args.agents
        )));
    }
    let names = args.names.unwrap_or(args.agents);
    if names > args.agents {
        return Err(CliError::Usage(format!(
            "{names} names for {} agents: nobody would claim turns of some; give more --agents",
            args.agents
        )));
    }
    let load = Load {
        warm_up: Duration::from_secs(args.warm_up),
        measured: Duration::from_secs(args.seconds),
        schedule: args.rate.map(|rate| Schedule::new(rate, 1)),
    };
    let bench = FabricBench::new(
        (&args.url, &args.key),
        (args.agents as usize, names as usize, args.lanes as usize),
        args.text_bytes as usize,
        (args.rate, load),
    );
    let bench = bench.map_err(|error| CliError::Usage(error.0))?;
    Ok(bench.run(&*app::random(), stop).await?)
}

/// SIGINT or SIGTERM ends the run; what was measured is told.
fn stop_on_signal() -> Result<Stop, CliError> {
    let stop = Stop::default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.set();
    });
    Ok(stop)
}

async fn api(args: ApiArgs, stop: &Stop) -> Result<Report, CliError> {
    let connections = args.connections as usize;
    let bench = ApiBench::new(
        &args.url,
        &args.key,
        connections,
        args.load.shape()?,
        args.read_lag,
    );
    let bench = bench.map_err(|error| CliError::Usage(error.0))?;
    Ok(bench.run(&*app::random(), stop).await?)
}

async fn append(common: Common, named: Named, args: &AppendArgs, stop: &Stop) -> Result<Report, CliError> {
    let label = label();
    let bench = AppendBench {
        callers: args.callers as usize,
        shape: args.load.shape()?,
        ledgers: ledgers(&label, args)?,
        streams: streams(args)?,
        keys: !args.no_keys,
    };
    let common = named.only(common);
    if args.engines > 1 && (common.database_url.is_none() || common.tree_heads_url.is_none()) {
        return Err(CliError::Usage(
            "--engines is of nodes on one database: give --database-url and --tree-heads-url with it"
                .to_owned(),
        ));
    }
    let (common, temporary) = match common.database_url.clone() {
        Some(url) => place_in_database(common, &url, named, args, &label).await?,
        None => place(common, named, args, &label)?,
    };
    let mut nodes = Vec::new();
    for _ in 0..args.engines {
        nodes.push(App::open(&common, "ruche bench").await?);
    }
    let limit = nodes[0].limit(&common).await?;
    let measured = bench.run(&nodes, &*limit, stop).await;
    drop(limit);
    if temporary.is_some() && (common.database_url.is_none() || !named.keys_dir) {
        // Nobody reads it again, so it is not sealed.
        drop(nodes);
        return Ok(measured?);
    }
    for node in nodes {
        node.close().await?;
    }
    let mut report = measured?;
    if let Some(engine) = &mut report.engine {
        engine.data_dir = common.database_url.is_none().then_some(common.data_dir);
        engine.keys_dir = Some(common.keys_dir);
    }
    Ok(report)
}

/// What tells the ledgers of this bench from those of all others.
fn label() -> String {
    let mut bytes = [0; 6];
    app::random().fill(&mut bytes);
    format!("bench-{}", hex::encode(bytes))
}

fn ledgers(label: &str, args: &AppendArgs) -> Result<Vec<(String, ruche_domain::ids::LedgerId)>, CliError> {
    if args.ledgers > args.callers {
        return Err(CliError::Usage(format!(
            "{} ledgers for {} callers: some would get nothing; give more --callers",
            args.ledgers, args.callers
        )));
    }
    let name = |n| match args.ledgers {
        1 => label.to_owned(),
        _ => format!("{label}-{n}"),
    };
    let names = (1..=args.ledgers).map(name);
    Ok(names.map(|name| (name.clone(), main_ledger(&name))).collect())
}

fn streams(args: &AppendArgs) -> Result<Option<usize>, CliError> {
    match args.streams {
        Some(streams) if streams < args.callers => Err(CliError::Usage(format!(
            "{streams} streams for {} callers: two callers of one stream only refuse each other; give more --streams or \
             fewer --callers",
            args.callers
        ))),
        streams => Ok(streams.map(|streams| streams as usize)),
    }
}

/// Where the bench appends: a folder of its own, or the one that the call names, if that has no store or may have one.
fn place(
    common: Common,
    named: Named,
    args: &AppendArgs,
    label: &str,
) -> Result<(Common, Option<Temporary>), CliError> {
    if !named.data_dir {
        if args.into_existing {
            return Err(CliError::Usage(
                "--into-existing goes with --data-dir or --database-url, which name the store on the command line".to_owned(),
            ));
        }
        let temporary = Temporary::new(label)?;
        let common = Common {
            data_dir: temporary.0.join("data"),
            keys_dir: temporary.0.join("keys"),
            ..common
        };
        return Ok((common, Some(temporary)));
    }
    let has_store = app::files_must_exist(&common).is_ok();
    if has_store && !args.into_existing {
        return Err(CliError::Usage(format!(
            "there is a store in {}, and a ledger is append-only: what a bench appends cannot be taken out again. Name \
             an empty folder, or say --into-existing to make ledgers for the bench beside those that are there",
            common.data_dir.display()
        )));
    }
    // The tree heads of a bench are no promises of this deployment.
    let keys_dir = match has_store || named.keys_dir {
        true => common.keys_dir.clone(),
        false => keys_beside(&common.data_dir)?,
    };
    Ok((Common { keys_dir, ..common }, None))
}

/// Where a bench on a database appends: in the database that the call names, if that has no ledgers or may have some. The
/// folders are temporary, but for that of the keys where the call names it.
async fn place_in_database(
    common: Common,
    url: &str,
    named: Named,
    args: &AppendArgs,
    label: &str,
) -> Result<(Common, Option<Temporary>), CliError> {
    if named.data_dir {
        return Err(CliError::Usage(
            "--data-dir and --database-url name two places for the ledgers of the bench: give one".to_owned(),
        ));
    }
    let has_ledgers = app::has_ledgers(url).await?;
    if has_ledgers && !args.into_existing {
        return Err(CliError::Usage(
            "the database has ledgers, and a ledger is append-only: what a bench appends cannot be taken out again. \
             Name an empty database, or say --into-existing to make ledgers for the bench beside those that are there"
                .to_owned(),
        ));
    }
    // With another seed the verifier keys of the ledgers that are there would be false.
    if has_ledgers && !named.keys_dir {
        return Err(CliError::Usage(
            "--into-existing on a database goes with --keys-dir, which names the keys of its ledgers, and with \
             --tree-heads-url if their tree heads are in a database"
                .to_owned(),
        ));
    }
    let temporary = Temporary::new(label)?;
    let keys_dir = match named.keys_dir {
        true => common.keys_dir.clone(),
        false => temporary.0.join("keys"),
    };
    let common = Common {
        data_dir: temporary.0.join("data"),
        keys_dir,
        ..common
    };
    Ok((common, Some(temporary)))
}

fn keys_beside(data_dir: &Path) -> Result<PathBuf, CliError> {
    let Some(name) = data_dir.file_name() else {
        return Err(CliError::Usage(format!(
            "--data-dir {} has no name to call the folder of keys by; name that with --keys-dir",
            data_dir.display()
        )));
    };
    let mut name = name.to_owned();
    name.push(KEYS_SUFFIX);
    Ok(data_dir.with_file_name(name))
}

/// A folder that goes with the bench. A process that is killed leaves it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(label: &str) -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("ruche-{label}"));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| CliError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "the folder of the bench is not removed");
    }
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        Self::Failed(error.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_beside_the_data_of_a_bench() {
        let beside = |data_dir: &str| keys_beside(Path::new(data_dir)).ok();
        assert_eq!(beside("/mnt/bench"), Some("/mnt/bench-keys".into()));
        assert_eq!(beside("bench/"), Some("bench-keys".into()));
        assert_eq!(beside("/"), None);
    }
}
