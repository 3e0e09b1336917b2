//! A hundred good and a hundred mutated exports, made from seeds: the verifier in Rust and the one in Python answer
//! alike.

#[path = "../../../ledger/adapters/bundle/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ruche_ledger::testing::SeededRandom;
use ruche_ledger_bundle::{AtLeast, Options, verify_bundle};

use super::{python, text, verifier};
use support::good::{Shape, export};
use support::mutate::{self, Expected, Mutation, Work};
use support::{large, resigned};

const GOOD: u64 = 100;
const MUTATED: usize = 100;
const WORKERS: usize = 4;

/// An export on disk and what is known of it.
struct Case {
    name: String,
    arguments: Vec<String>,
    expected: Option<Expected>,
    /// Exit code that the library gives.
    library: i32,
}

impl Case {
    fn new(name: String, work: &Work, expected: Option<Expected>) -> Self {
        let mut arguments = vec![text(&work.folder).to_owned()];
        arguments.extend(
            work.export
                .keys()
                .into_iter()
                .flat_map(|key| ["--key".to_owned(), key]),
        );
        if let Some(head) = expected.as_ref().and_then(|expected| expected.since.as_ref()) {
            let kept = work.folder.with_extension("checkpoint");
            std::fs::write(&kept, head.as_bytes()).expect("writable");
            arguments.extend(["--since".to_owned(), text(&kept).to_owned()]);
        }
        if let Some(size) = expected.as_ref().and_then(|expected| expected.at_least) {
            arguments.extend(["--at-least".to_owned(), size.to_string()]);
        }
        let known = expected.as_ref();
        let options = Options {
            known_heads: known.and_then(|known| known.since.clone()).into_iter().collect(),
            at_least: known
                .and_then(|known| known.at_least)
                .map(AtLeast::Ledger)
                .into_iter()
                .collect(),
            ..Options::default()
        };
        let report = verify_bundle(&work.folder, &work.export.trust(), &options, &mut |_| {});
        let library = i32::from(report.expect("an export that can be read").verdict.exit_code());
        Self {
            name,
            arguments,
            expected,
            library,
        }
    }

    /// What is wrong with the answers, if anything.
    fn disagreement(&self) -> Option<String> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let (ours, theirs) = (verifier(&arguments), python(&arguments));
        let expected = self
            .expected
            .as_ref()
            .map_or(0, |expected| i32::from(expected.exit_code));
        let agree = ours.code == theirs.code
            && ours.verdict == theirs.verdict
            && ours.code == expected
            && ours.code == self.library;
        let is_named = self.expected.as_ref().is_none_or(|expected| {
            expected
                .any_of
                .iter()
                .any(|kind| ours.kinds.iter().any(|found| found == kind.name()))
        });
        (!agree || !is_named)
            .then(|| format!("{}: {expected} expected, {ours:?}, Python {theirs:?}", self.name))
    }
}

fn work(folder: &Path, seed: u64) -> Work {
    let random = SeededRandom::new(seed);
    Work {
        export: export(seed, Shape::any(&random)),
        folder: folder.to_owned(),
        random,
    }
}

fn good(folder: &Path, seed: u64) -> Case {
    let work = work(&folder.join(format!("good-{seed}")), seed);
    work.write();
    Case::new(format!("good {seed}"), &work, None)
}

/// The first export from a seed on that has a place for the mutation.
fn mutated(folder: &Path, name: &str, mutation: Mutation, seed: u64) -> Case {
    for seed in seed..seed + 1_000 {
        let folder = folder.join(format!("{name}-{seed}"));
        let mut work = work(&folder, seed);
        if let Some(expected) = mutation(&mut work) {
            return Case::new(format!("{name} {seed}"), &work, Some(expected));
        }
    }
    panic!("{name} was never applied");
}

#[test]
fn good_and_mutated_exports_get_the_same_answer_in_rust_and_in_python() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cases: Vec<Case> = (0..GOOD).map(|seed| good(folder.path(), seed)).collect();
    let mutations = mutate::ALL
        .iter()
        .chain(resigned::DEFECTS)
        .chain(resigned::REWRITTEN);
    let mutations = mutations.cycle().take(MUTATED).enumerate();
    cases.extend(mutations.map(|(number, (name, mutation))| {
        mutated(folder.path(), name, *mutation, GOOD + 1_000 * number as u64)
    }));
    let large_one = folder.path().join("large");
    let keys = large::write(&large_one, 2_000);
    let keys = keys
        .split_whitespace()
        .flat_map(|key| ["--key".to_owned(), key.to_owned()]);
    let arguments = std::iter::once(text(&large_one).to_owned()).chain(keys).collect();
    cases.push(Case {
        name: "large".to_owned(),
        arguments,
        expected: None,
        library: 0,
    });

    let (next, disagreements) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = case.disagreement();
                    disagreements.lock().expect("no worker panics").extend(found);
                }
            });
        }
    });
    let disagreements = disagreements.into_inner().expect("no worker panics");
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}
