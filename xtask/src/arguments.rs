//! The command line.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

const TEST_HELP: &str = "\
Examples:
  cargo xtask test                          everything
  cargo xtask test -p ruche-ledger          one package
  cargo xtask test tile -- --nocapture      tests with `tile` in their name, output shown

Variables:
  RUCHE_DATA   folder of test data; default: ../shared/data beside the repository. Tests that need absent data
               say \"skipped\" and pass, except under CI=true, where absence is a failure.";

const GOLDEN_HELP: &str = "\
A golden test compares what the code makes with a file under version control, and has `golden` in its name.
Under RUCHE_UPDATE_GOLDEN=1 it writes the file in place of comparing. Read the diff before committing it: a
changed golden file is a changed promise.

Examples:
  cargo xtask golden                        rewrite all golden files
  cargo xtask golden -p ruche-domain        those of one package";

const SOAK_HELP: &str = "\
The long form of the crash tests, of which `cargo xtask test` runs a slice: kills of the server under load and power cuts
of the store; kills of nodes on PostgreSQL, kills and power cuts of PostgreSQL itself, failovers of a cluster of three, and
a database that is away, is frozen, or whose read models are locked or slow; and read models made anew under load.
Every run starts from the same seeds; the one that failed is named in the message. Failovers need the Debian packages
patroni, etcd-server and etcd-client, which are installed where that is possible.

Examples:
  cargo xtask soak                          everything; about an hour
  cargo xtask soak --kills 20 --cuts 0 --node-kills 0 --postgres-kills 0 --postgres-cuts 0 --failovers 0 \
      --outage-seconds 0 --rebuild-records 0                    a short one";

const LINT_HELP: &str = "\
Steps: rustfmt, clippy and rustdoc without warnings, then cargo-deny for licences, bans and sources.
cargo-deny is a tool of its own: cargo install --locked --version 0.20.2 cargo-deny";

/// Project automation: the commands a developer and the continuous integration both type.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand, PartialEq, Eq)]
pub enum Command {
    /// Fetch what is needed and run the tests of the whole workspace
    ///
    /// One test more at a time than there are cores, or as many as RUST_TEST_THREADS says.
    #[command(after_help = TEST_HELP)]
    Test(TestArguments),
    /// Rewrite the golden files from what the code makes now
    #[command(after_help = GOLDEN_HELP)]
    Golden(TestArguments),
    /// Kill and power-cut tests, long
    #[command(after_help = SOAK_HELP)]
    Soak(SoakArguments),
    /// Format, clippy, rustdoc and dependency checks; any warning is a failure
    #[command(after_help = LINT_HELP)]
    Lint,
}

/// What is handed on to `cargo test`.
#[derive(Debug, Default, clap::Args, PartialEq, Eq)]
pub struct TestArguments {
    /// Arguments of `cargo test`; with -p the other packages are left out
    #[arg(
        value_name = "CARGO TEST ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub cargo: Vec<OsString>,
    /// What stood after `--`: arguments of the test harness.
    #[arg(skip)]
    pub harness: Vec<OsString>,
}

/// How long a soak is.
#[derive(Debug, Clone, clap::Args, PartialEq, Eq)]
pub struct SoakArguments {
    /// Kills of the server
    #[arg(long, default_value_t = 200)]
    pub kills: u64,
    /// Power cuts of the store
    #[arg(long, default_value_t = 1_000)]
    pub cuts: u64,
    /// Kills of either of two nodes on PostgreSQL
    #[arg(long, default_value_t = 200)]
    pub node_kills: u64,
    /// Kills of PostgreSQL
    #[arg(long, default_value_t = 100)]
    pub postgres_kills: u64,
    /// Power cuts of PostgreSQL
    #[arg(long, default_value_t = 30)]
    pub postgres_cuts: u64,
    /// Kills of the primary of a cluster that a store and two servers use
    #[arg(long, default_value_t = 10)]
    pub failovers: u64,
    /// Seconds that PostgreSQL is away or frozen, and a read model locked or slow
    #[arg(long, default_value_t = 30)]
    pub outage_seconds: u64,
    /// Records of a ledger whose read models are made anew while 64 clients read and write
    #[arg(long, default_value_t = 1_000_000)]
    pub rebuild_records: u64,
}

/// Reads the command line, program name first; prints help or the mistake and exits where there is nothing to do.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Command {
    try_parse(arguments).unwrap_or_else(|problem| problem.exit())
}

/// Splits at the first `--` before clap sees it, because clap would swallow it where `cargo test` needs it.
fn try_parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let mut arguments = arguments.into_iter();
    let ours: Vec<OsString> = arguments
        .by_ref()
        .take_while(|argument| argument != "--")
        .collect();
    let after_dashes: Vec<OsString> = arguments.collect();

    let mut command = Arguments::try_parse_from(ours)?.command;
    match &mut command {
        Command::Test(test) | Command::Golden(test) => test.harness = after_dashes,
        Command::Lint | Command::Soak(_) if after_dashes.is_empty() => {}
        Command::Lint | Command::Soak(_) => {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::UnknownArgument,
                "only `test` and `golden` hand arguments on to the test harness\n",
            ));
        }
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, clap::Error> {
        try_parse(line.split(' ').map(OsString::from))
    }

    fn test_arguments(cargo: &[&str], harness: &[&str]) -> TestArguments {
        let strings = |texts: &[&str]| texts.iter().map(OsString::from).collect();
        TestArguments {
            cargo: strings(cargo),
            harness: strings(harness),
        }
    }

    #[test]
    fn test_hands_flags_and_filters_to_cargo_and_the_rest_to_the_harness() {
        assert_eq!(
            read("xtask test -p ruche-ledger tile -- --nocapture").expect("a valid line"),
            Command::Test(test_arguments(&["-p", "ruche-ledger", "tile"], &["--nocapture"]))
        );
    }

    #[test]
    fn harness_arguments_alone_are_not_taken_for_cargos() {
        assert_eq!(
            read("xtask test -- --nocapture").expect("a valid line"),
            Command::Test(test_arguments(&[], &["--nocapture"]))
        );
    }

    #[test]
    fn each_command_has_help_and_unknown_ones_are_refused() {
        for line in [
            "xtask --help",
            "xtask test --help",
            "xtask golden --help",
            "xtask lint --help",
        ] {
            let help = read(line).expect_err("help is an early exit");
            assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
            assert_eq!(help.exit_code(), 0, "{line}");
        }
        for line in ["xtask", "xtask tset", "xtask lint --fix", "xtask lint -- --fix"] {
            assert_eq!(read(line).expect_err("a mistake").exit_code(), 2, "{line}");
        }
    }
}
