//! Project automation, typed as `cargo xtask <command>`.
//!
//! Promises: a developer and the continuous integration run the same commands, each command does its own
//! set-up, and the exit code is that of the first step that failed.
//!
//! The life of a command:
//! 1. `.cargo/config.toml` turns `cargo xtask` into `cargo run --package xtask --`.
//! 2. [`arguments`] reads the command line; what follows a `--` belongs to the test harness.
//! 3. [`plan`] turns the command into a list of named steps. Nothing has run yet.
//! 4. [`steps::run`] runs them in order, stops at the first failure and prints one summary line per step.

mod arguments;
mod plan;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = arguments::parse(std::env::args_os());
    match root() {
        Ok(root) => steps::run(&plan::for_command(&command, &root)),
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: the folder above this package's own, whose path cargo hands over when it runs us.
fn root() -> Result<PathBuf, &'static str> {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|package| PathBuf::from(package).parent().map(PathBuf::from))
        .ok_or("started without cargo; type `cargo xtask …` inside the repository")
}
