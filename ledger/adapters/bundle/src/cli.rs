//! The command line of `ruche-verify`: checks an export of a ledger offline, without a server, a database or the
//! network. `ruche verify` is the same command line inside the big binary.

mod arguments;
mod show;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use ruche_ledger::note::{NOTE_BYTES_MAX, VerifierKey};
use ruche_ledger::policy::{POLICY_BYTES_MAX, Policy};
use ruche_ledger::tlog_proof::TLOG_PROOF_BYTES_MAX;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::verify::TrustedReviewers;

use crate::report::Report;
use crate::trust::Trust;
use crate::verify::{Options, Progress, verify_bundle};
use crate::{ProofInputError, verify_proof};
use arguments::Task;
use show::Show;

pub use arguments::Arguments;
pub use show::{harmless, is_moving};

/// Exit code of a run that gave no verdict.
const COULD_NOT_RUN: u8 = 1;
/// Longest leaf that is read: as long as an entry bundle can hold.
const LEAF_FILE_BYTES_MAX: usize = 65_535;
/// Longest file of reviewers' keys that is read: some thousand people.
const REVIEWER_KEYS_BYTES_MAX: usize = 1024 * 1024;

/// Why there is no verdict: what was tried, and what came in the way.
type Failure = Box<dyn std::error::Error>;

/// Reads the arguments of the process and does what they say. The exit code is in the help text.
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => run(&arguments, "ruche-verify"),
        Err(error) => wrong_call(&error, std::env::args_os().any(|argument| argument == "--json")),
    }
}

/// Answers a call that is none, or that asks for help. `json` as the arguments say it, which could not be read.
pub fn wrong_call(error: &clap::Error, json: bool) -> ExitCode {
    // Exit code 2 would mean that a ledger was tampered with. Help and version are no errors.
    let code = if error.use_stderr() { COULD_NOT_RUN } else { 0 };
    // Whoever closed the pipe does not want to know; the exit code still tells.
    let _ = if json && error.use_stderr() {
        report_failure("", error.to_string().trim_end(), true)
    } else {
        error.print()
    };
    code.into()
}

/// Verifies, and reports on standard output. `program` is what the caller typed. The exit code is in the help text.
pub fn run(arguments: &Arguments, program: &str) -> ExitCode {
    match verdict(arguments) {
        Ok(code) => code.into(),
        Err(failure) => {
            // With nowhere to write to there is nobody to tell.
            let _ = report_failure(program, &chain(failure.as_ref()), arguments.json);
            COULD_NOT_RUN.into()
        }
    }
}

fn report_failure(program: &str, message: &str, json: bool) -> io::Result<()> {
    if json {
        let answer = serde_json::json!({
            "verdict": "COULD_NOT_RUN", "exit_code": COULD_NOT_RUN, "message": message, "findings": [],
        });
        return writeln!(io::stdout(), "{answer:#}");
    }
    writeln!(io::stderr(), "{program} could not run: {message}")
}

fn verdict(arguments: &Arguments) -> Result<u8, Failure> {
    let trust = trust(arguments)?;
    let report = match arguments.task() {
        Task::Export(folder) => verify_export(folder, &trust, arguments)?,
        Task::Proof { proof, leaf } => {
            let proof_bytes = read(proof, TLOG_PROOF_BYTES_MAX)?;
            let leaf_bytes = read(leaf, LEAF_FILE_BYTES_MAX)?;
            verify_proof(&proof_bytes, &leaf_bytes, &trust).map_err(|error| {
                let (path, hint) = match error {
                    ProofInputError::Proof(_) => (proof, proof_hint()),
                    ProofInputError::Leaf(_) => (leaf, leaf_hint(leaf, &leaf_bytes)),
                };
                Failure::from(format!("{}; {hint}", naming(path, error)))
            })?
        }
    };
    let mut text = Vec::new();
    if arguments.json {
        serde_json::to_writer_pretty(&mut text, &report.to_json())?;
        writeln!(text)?;
    } else {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Show { colour }.report(&report, &mut text)?;
    }
    let mut out = io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        // Whoever closed the pipe has read enough (`| head -1`); the exit code still tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        // Otherwise a verdict that did not reach anybody is none.
        written => written?,
    }
    Ok(report.verdict.exit_code())
}

fn verify_export(folder: &Path, trust: &Trust, arguments: &Arguments) -> Result<Report, Failure> {
    let mut options = Options {
        at_least: arguments.at_least.clone(),
        archives: arguments.archive.clone(),
        ..Options::default()
    };
    for path in &arguments.since {
        let head = SignedTreeHead::parse(&read(path, NOTE_BYTES_MAX)?);
        options
            .known_heads
            .push(head.map_err(|error| naming(path, error))?);
    }
    if let Some(path) = &arguments.reviewer_keys {
        let bytes = read(path, REVIEWER_KEYS_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| naming(path, error))?;
        let trusted = TrustedReviewers::parse(text).map_err(|error| naming(path, error))?;
        options.reviewers = Some(trusted);
    }
    let bar = progress_bar();
    let report = verify_bundle(
        folder,
        trust,
        &options,
        &mut |Progress {
                  records,
                  records_total,
              }| {
            bar.set_length(records_total);
            bar.set_position(records);
        },
    );
    bar.finish_and_clear();
    Ok(report?)
}

fn proof_hint() -> String {
    "it is what GraphQL gives as `tlogProof`, as text: its first line is c2sp.org/tlog-proof@v1".to_owned()
}

/// What to try with a file that holds no leaf. Leaves are CBOR, which is never text alone.
fn leaf_hint(path: &Path, bytes: &[u8]) -> String {
    if bytes.is_ascii() && !bytes.is_empty() {
        let path = path.display();
        return format!(
            "it is text, perhaps the base64 that GraphQL gives: try `base64 -d {path}` and give its output"
        );
    }
    "it is what GraphQL gives as `leaf`, decoded with `base64 -d`".to_owned()
}

/// Draws on stderr, and nothing where stderr is no terminal.
fn progress_bar() -> ProgressBar {
    let style = "{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is constant and well formed");
    ProgressBar::new(0).with_style(style)
}

fn trust(arguments: &Arguments) -> Result<Trust, Failure> {
    // A file of keys, one in a line, given as one argument is as good as several.
    let keys = arguments.key.iter().flat_map(|text| text.split_whitespace());
    let keys = keys.map(|text| {
        text.parse::<VerifierKey>()
            .map_err(|error| Failure::from(format!("--key {text}: {error}")))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() && !arguments.key.is_empty() {
        // An empty variable or file must not turn into "trust what the export brings".
        return Err("--key is empty: a key was meant to be brought, and there is none".into());
    }
    let Some(path) = &arguments.policy else {
        return Ok(Trust::keys(keys));
    };
    let policy = Policy::parse(&read(path, POLICY_BYTES_MAX)?).map_err(|error| naming(path, error))?;
    let trust = Trust::policy(policy, &keys);
    if trust.is_nobody() {
        return Err(format!("{}: the policy names no log; add --key", path.display()).into());
    }
    Ok(trust)
}

/// Reads a file that the auditor named.
fn read(path: &PathBuf, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| naming(path, error))?;
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| naming(path, error))?;
    if bytes.len() > bytes_max {
        return Err(format!("{} is longer than {bytes_max} bytes", path.display()).into());
    }
    Ok(bytes)
}

fn naming(path: &Path, error: impl std::error::Error) -> Failure {
    format!("{}: {}", path.display(), chain(&error)).into()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
