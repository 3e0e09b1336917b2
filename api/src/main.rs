//! The `ruche` binary. Everything is in the library, so that tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ruche_api::cli::run()
}
