//! Project automation, typed as `cargo xtask <command>`.
//!
//! Promises: a developer and the continuous integration run the same commands, each command does its own
//! set-up, and the exit code is that of the first step that failed.
//!
//! The life of a command:
//! 1. `.cargo/config.toml` turns `cargo xtask` into `cargo run --package xtask --`.
//! 2. [`arguments`] reads the command line; what follows a `--` belongs to the test harness.
//! 3. Commands that run tests start a private PostgreSQL ([`xtask::postgres`]) that ends with them.
//! 4. [`plan`] turns the command into a list of named steps. Nothing has run yet.
//! 5. [`steps::run`] runs them in order, stops at the first failure and prints one summary line per step.

mod arguments;
mod plan;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::postgres::Cluster;

use crate::arguments::Command;

fn main() -> ExitCode {
    let command = arguments::parse(std::env::args_os());
    match run(&command) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, String> {
    let root = root()?;
    let cluster = match command {
        Command::Test(_) => Some(Cluster::start()?),
        Command::Soak(soak) => {
            // Tests that run beside one another must not install it beside one another.
            if soak.postgres_kills + soak.postgres_cuts + soak.failovers + soak.outage_seconds > 0 {
                xtask::postgres::programs()?;
            }
            match soak.node_kills {
                0 => None,
                _ => Some(Cluster::start()?),
            }
        }
        Command::Golden(_) | Command::Lint => None,
    };
    let url = cluster.as_ref().map(|cluster| cluster.url.as_str());
    Ok(steps::run(&plan::for_command(command, &root, url)))
}

/// The workspace's root: the folder above this package's own, whose path cargo hands over when it runs us.
fn root() -> Result<PathBuf, &'static str> {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|package| PathBuf::from(package).parent().map(PathBuf::from))
        .ok_or("started without cargo; type `cargo xtask …` inside the repository")
}
