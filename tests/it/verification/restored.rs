//! A database that comes back from a backup after whole epochs were written and promised: the export tells what is
//! lost, once, and says nothing else.

use std::process::Command;

use ruche_tests::data;
use ruche_tests::server::Home;
use serde_json::Value;

use super::{PROGRAM, VERIFIER, text};

/// The findings of a verifier with their places.
fn findings(program: &mut Command, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = program.args(arguments).arg("--json").output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let findings = report["findings"].as_array().expect("findings").iter();
    let place = |finding: &Value| serde_json::json!([finding["kind"], finding["epoch"], finding["index"]]);
    (output.status.code(), findings.map(place).collect())
}

#[test]
fn whole_epochs_that_a_restore_lost_are_told_once_with_their_first_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::embedded(PROGRAM, folder.path());
    let run = |arguments: &[&str]| home.run(arguments).unwrap_or_else(|error| panic!("{error}"));
    run(&["keys", "new", "--tenant", "acme", "--role", "reader"]);
    let backup = folder.path().join("ledger.backup");
    run(&["backup", text(&backup)]);

    let example = data::of_repository("docs/import/example.json");
    run(&[
        "import",
        "--tenant",
        "acme",
        "--format",
        "tau-bench",
        text(&example),
    ]);
    run(&["ledger", "new-epoch", "--yes", "--tenant", "acme"]);
    let lost = run(&["ledger", "new-epoch", "--yes", "--tenant", "acme"]);
    assert_eq!(lost.as_array().map(Vec::len), Some(3));

    run(&["restore", "--replace", text(&backup)]);
    let opened = run(&["ledger", "show", "--tenant", "acme"]);
    let epochs = |of: &Value, member: &str| -> Vec<Value> {
        of.as_array()
            .expect("epochs")
            .iter()
            .map(|epoch| epoch[member].clone())
            .collect()
    };
    assert_eq!(
        epochs(&opened, "epoch"),
        [1, 4],
        "the numbers of lost epochs are never used again"
    );
    let stored = opened[0]["size"].as_u64().expect("a size");

    let export = folder.path().join("export");
    let told = run(&["export", "--tenant", "acme", text(&export)]);
    let mut keys: Vec<String> = told["verifier_keys"]
        .as_array()
        .expect("keys")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let declared = (Some(2), vec![serde_json::json!(["RECORDS_LOST", 1, stored])]);
    // With the keys of what is here, with those of all epochs that ever were, and without any.
    let all: Vec<String> = epochs(&lost, "verifier_key")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    keys.sort();
    let with_lost = keys.iter().chain(&all[1..]).cloned().collect();
    for keys in [keys, with_lost, Vec::new()] {
        let mut arguments = vec![text(&export)];
        arguments.extend(keys.iter().flat_map(|key| ["--key", key]));
        assert_eq!(findings(&mut Command::new(VERIFIER), &arguments), declared);
        let script = data::of_repository("docs/formats/verify.py");
        assert_eq!(
            findings(Command::new("python3").arg("-B").arg(script), &arguments),
            declared
        );
    }
}
