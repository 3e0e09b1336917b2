//! The `ruche-verify` binary as this package's own, so that tests know where it is.

use std::process::ExitCode;

fn main() -> ExitCode {
    ruche_ledger_bundle::cli::main()
}
