//! The command line: one file per command under `cli/`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ruche_domain::ids::{LedgerId, TenantId, uuid_v8};
use serde::Serialize;

use crate::app::App;
use crate::app::offline_verifier::is_moving;
use crate::limits::{RUNTIME_CLOSE_WAIT_MAX, TENANT_NAME_BYTES_MAX};
use crate::settings::{self, Settings};
use crate::telemetry::{LogFormat, Telemetry, TelemetrySettings};

mod approvals;
mod archive;
mod backup;
mod bi;
mod config;
mod bench;
mod client;
mod doctor;
mod error;
mod export;
mod import;
mod interventions;
mod keys;
mod ledger;
mod migrate;
mod projections;
mod query;
mod rebuild;
mod replay;
mod reviewer;
mod seed;
mod serve;
mod table;
mod verify;

pub use error::CliError;

/// The system of record for AI agents.
///
/// Without a command, `ruche` starts the demo: an embedded store in ./ruche-data with some hundred conversations, a
/// GraphQL API on http://127.0.0.1:4000/graphql, and a ready API key.
#[derive(Parser)]
#[command(name = "ruche", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
    /// Folders that the call itself names, and not the environment.
    #[arg(skip)]
    named: bench::Named,
}

const EXAMPLES: &str = "\
Examples:
  ruche                                     start the demo and serve it
  ruche keys new --tenant acme --role writer --role reader
  ruche serve --listen 127.0.0.1:4000
  ruche import --tenant acme --format tau-bench conversations.json
  ruche export --tenant acme --key-file auditor.vkey ./export
  ruche verify ./export --key \"$(cat auditor.vkey)\"";

/// Heading of what every command takes, apart from its own options.
const GLOBAL: &str = "Global options";

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    /// Folder of the embedded store
    #[arg(long, env = "RUCHE_DATA_DIR", default_value = "ruche-data", global = true, help_heading = GLOBAL)]
    pub data_dir: PathBuf,
    /// Folder of the master seed and of the last tree heads; apart from the data, never restored with it
    #[arg(long, env = "RUCHE_KEYS_DIR", default_value = "ruche-keys", global = true, help_heading = GLOBAL)]
    pub keys_dir: PathBuf,
    /// Folder of archives: payloads that left the store are read from there
    #[arg(long, env = "RUCHE_ARCHIVE_DIR", global = true, help_heading = GLOBAL)]
    pub archive_dir: Option<PathBuf>,
    /// Name of the deployment in origins, by custom a domain you own; chosen when the first ledger is made, and kept
    /// [default then: unnamed.ruche.example]
    #[arg(long, env = "RUCHE_DEPLOYMENT", global = true, help_heading = GLOBAL)]
    pub deployment: Option<String>,
    /// PostgreSQL database of the ledgers and read models, instead of the embedded store
    #[arg(long, env = "RUCHE_DATABASE_URL", hide_env_values = true, global = true, help_heading = GLOBAL)]
    pub database_url: Option<String>,
    /// The same database through a pgbouncer in transaction mode, for what only reads
    #[arg(long, env = "RUCHE_DATABASE_READ_URL", hide_env_values = true, global = true, help_heading = GLOBAL)]
    pub database_read_url: Option<String>,
    /// PostgreSQL database of the last tree heads, never restored with the other one; required where several nodes run
    #[arg(long, env = "RUCHE_TREE_HEADS_URL", hide_env_values = true, global = true, help_heading = GLOBAL)]
    pub tree_heads_url: Option<String>,
    /// Seconds to wait for a database that is not there yet
    #[arg(long, env = "RUCHE_DATABASE_WAIT", default_value = "60", global = true, help_heading = GLOBAL)]
    pub database_wait: u64,
    /// Connections of this node that read from the ledgers, and as many again for the read models; at least 8
    #[arg(long, env = "RUCHE_DATABASE_READERS", default_value = "8", value_parser = clap::value_parser!(u16).range(8..),
        global = true, help_heading = GLOBAL)]
    pub database_readers: u16,
    /// Nodes that run on the database, to be checked against its max_connections
    #[arg(long, env = "RUCHE_NODES", default_value = "1", global = true, help_heading = GLOBAL)]
    pub nodes: u16,
    /// File with settings; `ruche config default` prints one. The environment and the command line say more than it
    #[arg(long, env = settings::VARIABLE, value_name = "FILE", global = true, help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Print JSON instead of text; errors are one object with code, message and hint on standard error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

impl Common {
    /// How long to wait for a database.
    pub fn database_wait(&self) -> Duration {
        Duration::from_secs(self.database_wait)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API
    Serve(ServeArgs),
    /// Fill an empty store with made-up conversations and serve it (the default)
    Demo(ServeArgs),
    /// Read conversations from files into the ledger
    Import(import::ImportArgs),
    /// Write a ledger to a folder that auditors and transparency-log tools read
    Export(export::ExportArgs),
    /// Check an export offline, without a store or a server
    Verify(verify::VerifyArgs),
    /// Fill an empty ledger with the conversations of the demo
    Seed(seed::SeedArgs),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// See what waits for a decision, exactly as it will run, and decide with your own key
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// See what people are called for, most urgent first, and what to do about it
    Interventions(interventions::InterventionsArgs),
    /// Ask for a figure by agent, model, tool, outcome and time: cost, tokens, latency, errors
    #[command(after_help = query::EXAMPLES)]
    Query(query::QueryArgs),
    /// Write tables of sessions, calls, costs and others to files for other tools: CSV or Parquet
    #[command(subcommand, after_help = table::EXAMPLES)]
    Table(table::TableCommand),
    /// Say which users of PostgreSQL read the views of which tenant
    #[command(subcommand, after_help = bi::EXAMPLES)]
    Bi(bi::BiCommand),
    /// Go back to any position, or hold a range of the ledger against all rules, signatures and decisions among them
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// Make all read models anew from the ledgers, compare, and switch to them: on the store, or while a server runs
    Rebuild(rebuild::RebuildArgs),
    /// See and settle events that a read model cannot take in
    Projections(projections::ProjectionsArgs),
    /// Bring the databases up to date, as the user who owns them; nodes may then log in as somebody who owns nothing
    Migrate(migrate::MigrateArgs),
    /// See the settings there are, and whether they fit together
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look for what is wrong with this installation
    Doctor(doctor::DoctorArgs),
    /// Copy the store and check the copy, also while a server runs; keys and tree heads are not in it
    Backup(backup::BackupArgs),
    /// Take old payloads out of the store into an archive, and put them back
    #[command(subcommand)]
    Archive(archive::ArchiveCommand),
    /// Put a backup in the place of the store, and open the next epoch of every ledger in it
    Restore(backup::RestoreArgs),
    /// Look at a ledger, or open its next epoch
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Measure how fast an engine or a server takes events, beside the engine's own limit
    #[command(subcommand, after_help = bench::EXAMPLES)]
    Bench(bench::BenchCommand),
}

/// What `serve` and `demo` take.
#[derive(Args, Clone)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, env = "RUCHE_LISTEN", default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,
    /// Folder that somebody else owns, to which tree heads are written, one file per size of the tree
    #[arg(long, env = "RUCHE_PUBLISH_DIR")]
    pub publish_dir: Option<PathBuf>,
    /// URL of somebody else (https://… or http://…) to which tree heads are sent with PUT; the newest until it is taken
    #[arg(long, env = "RUCHE_PUBLISH_URL", hide_env_values = true)]
    pub publish_url: Option<String>,
    /// Key that reads /metrics where there are several tenants: `ruche_`, 32 hex digits, `_`, 64 hex digits, of your making
    #[arg(long, env = "RUCHE_OPERATOR_KEY", hide_env_values = true)]
    pub operator_key: Option<String>,
    /// Where to send traces (OTLP over HTTP), such as http://127.0.0.1:4318
    #[arg(long, env = "RUCHE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Seconds after the last telemetry of a session at which a call that was not seen to run counts as one that did not
    #[arg(long, env = "RUCHE_TELEMETRY_WAIT", default_value_t = 30)]
    pub telemetry_wait: u16,
    /// Log lines as JSON
    #[arg(long, env = "RUCHE_LOG_JSON")]
    pub log_json: bool,
    /// What is logged, such as `info,ruche_api=debug`
    #[arg(long, env = "RUCHE_LOG")]
    pub log: Option<String>,
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match read(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            let json = arguments.iter().any(|argument| argument == "--json");
            if verify::is_called(&arguments) {
                return crate::app::offline_verifier::wrong_call(&error, json);
            }
            // 2 has a meaning of its own where files are verified or imported. Help and version are no errors.
            return ExitCode::from(u8::from(error::report_call(&error, json)));
        }
    };
    let json = cli.common.json;
    match cli.dispatch() {
        Ok(code) => code,
        Err(error) => {
            error.report(json);
            ExitCode::from(1)
        }
    }
}

/// Without a command it is the demo, with everything that the environment says of it.
fn read(mut arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let cli = parse(&arguments)?;
    if cli.command.is_some() {
        return Ok(cli);
    }
    arguments.push("demo".into());
    parse(&arguments)
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command().mut_subcommand("verify", verify::as_subcommand);
    // An auditor's call reads no settings of a server.
    if let Some(path) = settings::file_of(arguments).filter(|_| !verify::is_called(arguments)) {
        let settings = Settings::read(&path);
        let settings = settings.map_err(|error| command.error(ErrorKind::Io, error))?;
        command = settings.as_defaults(command);
    }
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let is_named = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    let named = bench::Named {
        data_dir: is_named("data_dir"),
        keys_dir: is_named("keys_dir"),
        database_url: is_named("database_url"),
        database_read_url: is_named("database_read_url"),
        tree_heads_url: is_named("tree_heads_url"),
    };
    Ok(Cli { named, ..cli })
}

impl Cli {
    fn dispatch(self) -> Result<ExitCode, CliError> {
        let common = self.common;
        match self
            .command
            .expect("`read` puts in the demo where no command is given")
        {
            Command::Serve(args) => with_telemetry(&args.clone(), || block_on(serve::serve(common, args))),
            Command::Demo(args) => with_telemetry(&args.clone(), || block_on(serve::demo(common, args))),
            Command::Import(args) => block_on(import::run(common, args)),
            Command::Export(args) => block_on(export::run(common, args)),
            Command::Verify(args) => verify::run(&common, args),
            Command::Seed(args) => block_on(seed::run(common, args)),
            Command::Keys(command) => block_on(keys::run(common, command)),
            Command::Approvals(command) => block_on(approvals::run(common, command)),
            Command::Interventions(args) => block_on(interventions::run(common, args)),
            Command::Query(args) => block_on(query::run(common, args)),
            Command::Table(command) => block_on(table::run(common, command)),
            Command::Bi(command) => block_on(bi::run(common, command)),
            Command::Replay(command) => block_on(replay::run(common, command)),
            Command::Rebuild(args) => block_on(rebuild::run(common, args)),
            Command::Projections(args) => block_on(projections::run(common, args)),
            Command::Migrate(args) => block_on(migrate::run(common, args)),
            Command::Config(command) => block_on(config::run(common, command)),
            Command::Doctor(args) => block_on(doctor::run(common, args)),
            Command::Backup(args) => block_on(backup::backup(common, args)),
            Command::Archive(command) => block_on(archive::run(common, command)),
            Command::Restore(args) => block_on(backup::restore(common, args)),
            Command::Ledger(command) => block_on(ledger::run(common, command)),
            Command::Bench(command) => block_on(bench::run(common, self.named, command)),
        }
    }
}

/// Logs and traces of a server. Set up before the runtime, because the exporter's client brings its own.
fn with_telemetry(
    args: &ServeArgs,
    work: impl FnOnce() -> Result<ExitCode, CliError>,
) -> Result<ExitCode, CliError> {
    let settings = TelemetrySettings {
        format: if args.log_json {
            LogFormat::Json
        } else {
            LogFormat::Auto
        },
        filter: args.log.clone(),
        otlp_endpoint: args.otlp_endpoint.clone(),
    };
    let telemetry = Telemetry::install(&settings).map_err(|e| CliError::Usage(crate::error::chain(&e)))?;
    let done = work();
    telemetry.finish();
    done
}

fn block_on(work: impl Future<Output = Result<ExitCode, CliError>>) -> Result<ExitCode, CliError> {
    block_on_and_wait(work, RUNTIME_CLOSE_WAIT_MAX)
}

/// Does the work, and then waits so long for threads that hang in calls to the system. Dropping the runtime would wait
/// for ever, without anybody left to hear a second signal.
fn block_on_and_wait(
    work: impl Future<Output = Result<ExitCode, CliError>>,
    close_wait_max: Duration,
) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(close_wait_max);
    done
}

/// The tenant that people call `name`: its uuid if it is one, else a uuid made of the name, always the same.
pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap_or_else(|_| {
        let hash = ruche_ledger::hash::Hash::sha256(format!("ruche/tenant/v1\0{name}").as_bytes());
        TenantId(uuid_v8(hash.as_bytes()))
    })
}

/// Reads the name of a tenant from the command line.
fn tenant_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= TENANT_NAME_BYTES_MAX;
    // White space at an end is a slip of the keyboard that would make another tenant, which nobody could tell apart.
    if fits && text.trim() == text && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a tenant is a uuid or a name: 1 to {TENANT_NAME_BYTES_MAX} bytes, no control characters, no white space at its ends"
    ))
}

/// The tenant that people call `name`, which must have a ledger here.
///
/// # Errors
/// `NotFound` with how to make it, or what the store says.
async fn known_tenant(app: &App, name: &str) -> Result<TenantId, CliError> {
    let tenant = tenant(name);
    let head = app.events.head(LedgerId::main_of(tenant)).await;
    if head.map_err(crate::app::AppError::from)?.is_some() {
        return Ok(tenant);
    }
    Err(no_ledger(name))
}

/// The main ledger of the tenant that people call `name`.
pub fn main_ledger(name: &str) -> LedgerId {
    LedgerId::main_of(tenant(name))
}

/// What is said where a tenant has no ledger.
fn no_ledger(name: &str) -> CliError {
    CliError::NotFound(format!(
        "there is no tenant {name} here; `ruche keys new --tenant {name} --role reader` makes it"
    ))
}

/// Prints `value` as JSON, or the text that `text` makes of it. A reader that closed the pipe has read enough: the
/// work is done, and the exit code says how.
pub fn print<T: Serialize>(
    common: &Common,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let line = if common.json {
        escaped(&serde_json::to_string_pretty(value).map_err(io::Error::from)?)
    } else {
        text(value)
    };
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// JSON in which no character moves a cursor or turns the direction of writing: whoever looks at it on a screen sees
/// what a program reads. Such characters stand in strings only, where an escape means the same.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !is_moving(letter) {
            shown.push(letter);
        } else {
            // All of them lie in the basic plane.
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_a_screen_means_the_same_and_moves_nothing() {
        let value = serde_json::json!({ "a": "\u{9b}2J\u{202e}x\ny\u{e9}" });
        let shown = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            shown.contains(r"\u009b2J\u202ex\ny\u{e9}".replace(r"\u{e9}", "\u{e9}").as_str()),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_call_that_hangs_does_not_keep_the_process() {
        // Without the bound this waits for a sender that is dropped after it.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let work = async move {
            let _hung = tokio::task::spawn_blocking(move || {
                begin.send(()).unwrap();
                held.recv()
            });
            begun.await.unwrap();
            Ok(ExitCode::SUCCESS)
        };
        assert!(block_on_and_wait(work, Duration::from_millis(10)).is_ok());
        drop(hold);
    }
}
