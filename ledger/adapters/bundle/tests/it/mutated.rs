//! Mutated exports are caught, each by its own name.

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use ruche_ledger::testing::SeededRandom;
use ruche_ledger_bundle::{AtLeast, Options, Report, Trust, Verdict, verify_bundle};

use crate::support::good::{Shape, export};
use crate::support::mutate::{self, Expected, Mutation, Work};
use crate::support::resigned;

/// The export of the seed, mutated; `None` if it has no place for that.
fn mutated(seed: u64, mutation: Mutation) -> Option<(tempfile::TempDir, Work, Expected)> {
    let random = SeededRandom::new(seed);
    let export = export(seed, Shape::any(&random));
    let parent = tempfile::tempdir().unwrap();
    let mut work = Work {
        export,
        folder: parent.path().join("export"),
        random,
    };
    let expected = mutation(&mut work)?;
    Some((parent, work, expected))
}

fn verified(work: &Work, trust: &Trust, expected: &Expected) -> Report {
    let options = Options {
        known_heads: expected.since.iter().cloned().collect(),
        at_least: expected.at_least.iter().copied().map(AtLeast::Ledger).collect(),
        ..Options::default()
    };
    verify_bundle(&work.folder, trust, &options, &mut |_| {}).unwrap()
}

/// Runs each mutation on many exports.
fn check(mutations: &[(&str, Mutation)], also: impl Fn(&Work, &Expected) -> Result<(), TestCaseError>) {
    let mut failures = Vec::new();
    for (name, mutation) in mutations {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 24,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&any::<u64>(), |seed| {
            let Some((_parent, work, expected)) = mutated(seed, *mutation) else {
                return Ok(());
            };
            let report = verified(&work, &work.export.trust(), &expected);
            let is_named = expected.any_of.iter().any(|kind| report.has(*kind));
            prop_assert!(is_named, "{:?} in {:?}", expected.any_of, report.findings);
            prop_assert_eq!(
                report.verdict.exit_code(),
                expected.exit_code,
                "{:?}",
                report.findings
            );
            also(&work, &expected)
        });
        if let Err(error) = outcome {
            failures.push(format!("{name}: {error}"));
        }
        let applied = (0..200).any(|seed| mutated(seed, *mutation).is_some());
        assert!(applied, "{name} was never applied");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_change_without_the_key_is_caught_and_named() {
    check(mutate::ALL, |work, _| {
        let nobody = Expected {
            any_of: Vec::new(),
            exit_code: 0,
            since: None,
            at_least: None,
        };
        let report = verified(work, &Trust::nobody(), &nobody);
        prop_assert!(
            !matches!(report.verdict, Verdict::Verified | Verdict::SelfConsistent),
            "{:?}",
            report
        );
        Ok(())
    });
}

#[test]
fn a_defect_is_caught_and_named_although_the_operator_signed_it() {
    check(resigned::DEFECTS, |_, _| Ok(()));
}

#[test]
fn a_rewritten_history_is_caught_by_who_remembers_and_by_nobody_else() {
    check(resigned::REWRITTEN, |work, _| {
        let forgotten = Expected {
            any_of: Vec::new(),
            exit_code: 0,
            since: None,
            at_least: None,
        };
        let report = verified(work, &work.export.trust(), &forgotten);
        prop_assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);
        Ok(())
    });
}
