//! Writes exports for other verifiers to try: `make-exports DIR [COUNT [SEED]]` writes COUNT good and COUNT mutated ones
//! and `expected.json`; `make-exports DIR --large RECORDS` writes one large good export to measure with.
//!
//! `expected.json` has a member for each export folder: `exit_code` is what `ruche-verify` answers when given the
//! `keys`, `mutation` says what was done (absent for good ones), `findings` which kinds were found. Histories that the
//! operator rewrote without a fault are written as well; given `since`, a file beside them with a tree head that was
//! kept, or `at_least`, a size that was known, the answer is `exit_code_then`, with `findings_then`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ruche_ledger::testing::SeededRandom;
use ruche_ledger_bundle::{Options, verify_bundle};
use serde_json::{Map, Value, json};

use support::good::{Shape, export};
use support::mutate::{self, Expected, Mutation, Work};
use support::{large, resigned};

/// Exports of each sort, unless said otherwise.
const COUNT: u64 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [folder, "--large", records] => {
            let keys = large::write(Path::new(folder), records.parse()?);
            writeln!(std::io::stdout(), "{keys}")?;
            Ok(())
        }
        [folder] => make(Path::new(folder), COUNT, 0),
        [folder, count] => make(Path::new(folder), count.parse()?, 0),
        [folder, count, seed] => make(Path::new(folder), count.parse()?, seed.parse()?),
        _ => Err("usage: make-exports DIR [COUNT [SEED]] | make-exports DIR --large RECORDS".into()),
    }
}

fn make(folder: &Path, count: u64, seed: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut expected = Map::new();
    for number in 0..count {
        let name = format!("good-{number:03}");
        let work = work(folder.join(&name), seed + number);
        work.write();
        expected.insert(name, verified(&work, None)?);
    }
    let mutations: Vec<_> = mutate::ALL.iter().chain(resigned::DEFECTS).collect();
    let mut tried = seed + count;
    for number in 0..count {
        let (mutation, mutate) = mutations[(number as usize) % mutations.len()];
        let name = format!("mutated-{number:03}-{mutation}");
        let (work, _) = mutated(&folder.join(&name), *mutate, &mut tried);
        expected.insert(name, verified(&work, Some(mutation))?);
    }
    for (mutation, mutate) in resigned::REWRITTEN {
        let name = format!("rewritten-{mutation}");
        let (work, remembered) = mutated(&folder.join(&name), *mutate, &mut tried);
        let mut answer = verified(&work, Some(mutation))?;
        let findings: Vec<_> = remembered.any_of.iter().map(|kind| kind.name()).collect();
        answer["exit_code_then"] = json!(remembered.exit_code);
        answer["findings_then"] = json!(findings);
        answer["at_least"] = json!(remembered.at_least);
        if let Some(head) = remembered.since {
            let kept = format!("{name}.checkpoint");
            fs::write(folder.join(&kept), head.as_bytes())?;
            answer["since"] = json!(kept);
        }
        expected.insert(name, answer);
    }
    fs::write(
        folder.join("expected.json"),
        serde_json::to_vec_pretty(&Value::Object(expected))?,
    )?;
    Ok(())
}

fn work(folder: PathBuf, seed: u64) -> Work {
    let random = SeededRandom::new(seed);
    Work {
        export: export(seed, Shape::any(&random)),
        folder,
        random,
    }
}

/// The next export that has a place for the mutation.
fn mutated(folder: &Path, mutate: Mutation, tried: &mut u64) -> (Work, Expected) {
    loop {
        let mut work = work(folder.to_owned(), *tried);
        *tried += 1;
        if let Some(expected) = mutate(&mut work) {
            return (work, expected);
        }
        if folder.exists() {
            fs::remove_dir_all(folder).expect("written a moment ago");
        }
    }
}

fn verified(work: &Work, mutation: Option<&str>) -> Result<Value, Box<dyn Error>> {
    let report = verify_bundle(
        &work.folder,
        &work.export.trust(),
        &Options::default(),
        &mut |_| {},
    )?;
    let findings: Vec<_> = report.findings.by_kind().keys().map(|kind| kind.name()).collect();
    let mut answer = json!({
        "exit_code": report.verdict.exit_code(), "keys": work.export.keys(), "findings": findings,
    });
    if let Some(mutation) = mutation {
        answer["mutation"] = json!(mutation);
    }
    Ok(answer)
}
