//! `ruche-verify`: checks an export of a ledger offline. Everything is in the library, so that `ruche verify` shares it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ruche_ledger_bundle::cli::main()
}
