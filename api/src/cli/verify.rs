//! `ruche verify`: the command line of `ruche-verify` inside the big binary, to the letter.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};

use super::{CliError, Common};
use crate::app::offline_verifier;

/// As `ruche-verify` takes them.
pub use crate::app::offline_verifier::Arguments as VerifyArgs;

/// Verifies an export or a proof. Exit codes are those of `ruche-verify`.
pub fn run(common: &Common, mut args: VerifyArgs) -> Result<ExitCode, CliError> {
    args.json |= common.json;
    Ok(offline_verifier::run(&args, "ruche verify"))
}

/// The verifier's command line under the name that it has here. It reads no store, so the options that say where the
/// store is are taken and not shown.
pub(super) fn as_subcommand(command: Command) -> Command {
    let help = command.get_after_help().map(ToString::to_string);
    let hidden = |id: &'static str, long: &'static str| Arg::new(id).long(long).hide(true);
    command
        .after_help(help.unwrap_or_default().replace("ruche-verify", "ruche verify"))
        .arg(hidden("data_dir", "data-dir").value_parser(value_parser!(PathBuf)))
        .arg(hidden("keys_dir", "keys-dir").value_parser(value_parser!(PathBuf)))
        .arg(hidden("deployment", "deployment"))
        .arg(hidden("database_url", "database-url"))
        .arg(hidden("database_read_url", "database-read-url"))
        .arg(hidden("tree_heads_url", "tree-heads-url"))
        .arg(hidden("database_wait", "database-wait").value_parser(value_parser!(u64)))
        .arg(hidden("database_readers", "database-readers").value_parser(value_parser!(u16)))
        .arg(hidden("nodes", "nodes").value_parser(value_parser!(u16)))
        .arg(hidden("config", "config").value_parser(value_parser!(PathBuf)))
}

/// Whether the call begins with `ruche verify`.
pub(super) fn is_called(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| first == "verify")
}
