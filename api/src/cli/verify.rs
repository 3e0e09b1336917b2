//! `ruche verify`: the command line of `ruche-verify` inside the big binary, to the letter.

use std::process::ExitCode;

use super::{CliError, Common};
use crate::app::offline_verifier;

/// As `ruche-verify` takes them.
pub use crate::app::offline_verifier::Arguments as VerifyArgs;

/// Verifies an export or a proof. Exit codes are those of `ruche-verify`.
pub fn run(common: &Common, mut args: VerifyArgs) -> Result<ExitCode, CliError> {
    args.json |= common.json;
    Ok(offline_verifier::run(&args))
}
