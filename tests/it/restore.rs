//! The drill of docs/operations/backup.md: a backup, a loss, a restore, and nothing promised is taken back.

use std::path::Path;

use reqwest::blocking::Client;
use ruche_tests::server::{Home, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const START: &str = "mutation Start($input: StartSessionInput!) { startSession(input: $input) {
    __typename ... on Refusal { code retryable } } }";

/// Serves, starts a session under this name, and tells the answer.
fn start_session(home: &Home, key: &str, name: &str) -> Value {
    let server = home.serve().expect("it serves");
    let input = json!({ "idempotencyKey": name, "externalId": name });
    let answer =
        graphql(&Client::new(), &server.url, key, START, json!({ "input": input })).expect("an answer");
    assert!(server.stop().expect("it stops"), "it ended well");
    answer["startSession"].clone()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_restored_ledger_takes_nothing_until_its_new_epoch_names_the_loss() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
    assert_eq!(
        start_session(&home, &key, "kept")["__typename"],
        "StartSessionPayload"
    );
    let backup = folder.path().join("backup.db");
    let server = home.serve().expect("it serves");
    home.run(&["backup", text(&backup)])
        .expect("a backup while the server runs");
    assert!(server.stop().expect("it stops"), "it ended well");
    assert_eq!(
        start_session(&home, &key, "lost")["__typename"],
        "StartSessionPayload"
    );

    home.run(&["restore", text(&backup), "--replace"])
        .expect("it is restored");
    let refused = start_session(&home, &key, "refused");
    assert_eq!(refused["code"], "UNAVAILABLE", "{refused}");
    let server = home.serve().expect("it serves");
    let ready = reqwest::blocking::get(format!("{}/ready", server.url)).expect("an answer");
    assert_eq!(ready.status(), reqwest::StatusCode::SERVICE_UNAVAILABLE);
    let ready: Value = serde_json::from_str(&ready.text().expect("a body")).expect("JSON");
    assert_eq!(
        ready,
        json!({ "ready": false, "closing": false, "store": "halted", "parked": 0 })
    );
    assert!(server.stop().expect("it stops"), "it ended well");

    let epochs = home
        .run(&["ledger", "new-epoch", "--restored", "--tenant", "acme"])
        .expect("a new epoch");
    assert_eq!(epochs.as_array().map(Vec::len), Some(2), "{epochs}");
    assert_eq!(
        start_session(&home, &key, "after")["__typename"],
        "StartSessionPayload"
    );

    let target = folder.path().join("export");
    let exported = home
        .run(&["export", "--tenant", "acme", text(&target)])
        .expect("it is exported");
    let mut verify = std::process::Command::new(&home.program);
    verify.args(["verify", text(&target), "--json"]);
    for key in exported["verifier_keys"].as_array().expect("keys") {
        verify.args(["--key", key.as_str().expect("a key")]);
    }
    let output = verify.output().expect("it verifies");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(2), "{report}");
    let findings: Vec<_> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| &f["kind"])
        .collect();
    assert_eq!(findings, ["RECORDS_LOST"], "{report}");
}
