//! `ruche bench read`: where the data set is, and who asks it.

use std::time::Duration;

use clap::Args;

use super::{BenchError, CliError, Common, Named, Temporary, keys_beside, label, up_to};
use crate::app::{self, App};
use crate::bench::drive::Load;
use crate::bench::pace::{Schedule, Stop};
use crate::bench::read::report::ReadReport;
use crate::bench::read::{ReadBench, ServerPlace, StoryName};
use crate::cli::{main_ledger, tenant};
use crate::limits::{
    BENCH_CALLERS_MAX, BENCH_QUESTIONS_RATE_MAX, BENCH_READ_EVENTS_MAX, BENCH_READ_EVENTS_MIN,
    BENCH_SECONDS_MAX,
};

/// What is asked of how many events.
#[derive(Args)]
pub struct ReadArgs {
    /// Events of the data set; the session that reaches them is told to its end
    #[arg(long, default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(BENCH_READ_EVENTS_MIN..=BENCH_READ_EVENTS_MAX))]
    events: u64,
    /// Another seed makes another data set
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Callers at the same time; connections, where a server is asked
    #[arg(long, default_value_t = 4, value_parser = up_to(BENCH_CALLERS_MAX))]
    callers: u64,
    /// Time that is measured for each kind of question, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=BENCH_SECONDS_MAX))]
    seconds: u64,
    /// Time before it that is not measured, seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=BENCH_SECONDS_MAX))]
    warm_up: u64,
    /// Make an open loop with so many questions in a second; latency then counts from when a question was due
    #[arg(long, value_name = "QUESTIONS_PER_S",
        value_parser = clap::value_parser!(u64).range(1..=BENCH_QUESTIONS_RATE_MAX))]
    rate: Option<u64>,
    /// Have each read model follow by itself before all follow together, to see what each costs
    #[arg(long, conflicts_with = "url")]
    by_projection: bool,
    /// Ask a server that runs on the data set, such as http://127.0.0.1:4000; nothing is made
    #[arg(long, requires = "key")]
    url: Option<String>,
    /// API key of the data set's tenant with the role reader
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl ReadArgs {
    fn bench(&self) -> ReadBench {
        // The name holds what the data set is made of, so that another one is another tenant.
        let tenant_name = format!("bench-read-{}-{}", self.events, self.seed);
        ReadBench {
            story: StoryName {
                seed: self.seed,
                events: self.events,
            },
            tenant: tenant(&tenant_name),
            tenant_name,
            callers: self.callers as usize,
            rate: self.rate,
            load: Load {
                warm_up: Duration::from_secs(self.warm_up),
                measured: Duration::from_secs(self.seconds),
                schedule: self.rate.map(|rate| Schedule::new(rate, 1)),
            },
            by_projection: self.by_projection,
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    common: Common,
    named: Named,
    args: &ReadArgs,
    stop: &Stop,
) -> Result<ReadReport, CliError> {
    let bench = args.bench();
    if let (Some(url), Some(key)) = (&args.url, &args.key) {
        let server = ServerPlace::new(url, key).map_err(|error| CliError::Usage(error.0))?;
        return Ok(bench.run_at(server, stop).await?);
    }
    let (common, temporary) = place(named.only(common), named)?;
    let is_there = match &common.database_url {
        Some(url) => app::has_ledgers(url).await?,
        None => app::files_must_exist(&common).is_ok(),
    };
    let app = App::open(&common, "ruche bench").await?;
    let asked = on_app(&app, &common, &bench, is_there, stop).await;
    if temporary.is_some() && common.database_url.is_none() {
        // Nobody reads it again, so it is not sealed.
        drop(app);
        return asked;
    }
    app.close().await?;
    let mut report = asked?;
    report.data_dir = common.database_url.is_none().then_some(common.data_dir);
    report.keys_dir = temporary.is_none().then_some(common.keys_dir);
    Ok(report)
}

async fn on_app(
    app: &App,
    common: &Common,
    bench: &ReadBench,
    is_there: bool,
    stop: &Stop,
) -> Result<ReadReport, CliError> {
    let head = app.events.head(main_ledger(&bench.tenant_name)).await;
    let head = head.map_err(|error| BenchError::because("the ledger of the data set", &error))?;
    if is_there && head.is_none() {
        return Err(CliError::Usage(format!(
            "there are ledgers already, and none of the tenant {}: a data set has a store of its own, as a ledger is \
             append-only. Name an empty folder or database, or the --events and --seed of the data set that is there",
            bench.tenant_name
        )));
    }
    let mut report = bench.run_on(app, stop).await?;
    let stored = app.stored(common).await?;
    report.engine = Some(stored.engine);
    report.stored_bytes = Some(stored.bytes);
    Ok(report)
}

/// A folder of its own, or the one or the database that the call names. Keys are temporary where nothing names them and the
/// records are in a database.
fn place(common: Common, named: Named) -> Result<(Common, Option<Temporary>), CliError> {
    if common.database_url.is_some() && named.data_dir {
        return Err(CliError::Usage(
            "--data-dir and --database-url name two places for the data set: give one".to_owned(),
        ));
    }
    if common.database_url.is_some() && named.keys_dir {
        return Ok((common, None));
    }
    if common.database_url.is_none() && named.data_dir {
        let keys_dir = match named.keys_dir {
            true => common.keys_dir,
            false => keys_beside(&common.data_dir)?,
        };
        return Ok((Common { keys_dir, ..common }, None));
    }
    let temporary = Temporary::new(&label())?;
    let common = Common {
        data_dir: temporary.0.join("data"),
        keys_dir: temporary.0.join("keys"),
        ..common
    };
    Ok((common, Some(temporary)))
}
