//! The drill of docs/operations/backup.md: a backup, a loss, a restore, and nothing promised is taken back, nor is the
//! place of anything that was acknowledged given twice.

mod database;
mod effects;
mod interrupted;
mod promised;
mod rehearsed;
mod rot;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::blocking::Client;
use ruche_api::cli::main_ledger;
use ruche_tests::server::{Home, graphql};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const START: &str = "mutation Start($input: StartSessionInput!) { startSession(input: $input) {
    __typename ... on StartSessionPayload { position } ... on Refusal { code retryable } } }";

/// A home with a tenant `acme`, a key of it, and a backup that ends with that key.
struct Drill {
    folder: TempDir,
    home: Home,
    key: String,
    backup: PathBuf,
}

impl Drill {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::embedded(PROGRAM, folder.path());
        Self::of(folder, home)
    }

    fn of(folder: TempDir, home: Home) -> Self {
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let backup = folder.path().join("backup.db");
        home.run(&["backup", text(&backup)]).expect("a backup");
        Self {
            folder,
            home,
            key,
            backup,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Value {
        self.home.run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    fn epochs(&self) -> usize {
        let shown = self.run(&["ledger", "show", "--tenant", "acme"]);
        shown.as_array().expect("epochs").len()
    }

    /// Exit code and kinds of findings of the verifier, on an export with the keys that it told.
    fn verified(&self, export: &str, since: Option<&Path>) -> (Option<i32>, Vec<String>) {
        let target = self.path(export);
        let exported = self.run(&["export", "--tenant", "acme", text(&target)]);
        let mut verify = Command::new(&self.home.program);
        verify.args(["verify", text(&target), "--json"]);
        for key in exported["verifier_keys"].as_array().expect("keys") {
            verify.args(["--key", key.as_str().expect("a key")]);
        }
        if let Some(since) = since {
            verify.args(["--since", text(since)]);
        }
        let output = verify.output().expect("it verifies");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let findings = report["findings"].as_array().expect("findings").iter();
        let kinds = findings.map(|finding| finding["kind"].as_str().expect("a kind").to_owned());
        (output.status.code(), kinds.collect())
    }
}

/// Serves, starts a session under this name, and tells the answer.
fn start_session(home: &Home, key: &str, name: &str) -> Value {
    let server = home.serve().expect("it serves");
    let answer = started(&server.url, key, name);
    assert!(server.stop().expect("it stops"), "it ended well");
    answer
}

pub fn started(url: &str, key: &str, name: &str) -> Value {
    let input = json!({ "idempotencyKey": name, "externalId": name });
    let answer = graphql(&Client::new(), url, key, START, json!({ "input": input }));
    answer.expect("an answer")["startSession"].clone()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The tree heads of a home that have been signed.
fn tree_heads(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.keys.join("tree-heads")).expect("a folder of tree heads");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.len() == 64));
    paths
}

/// Acknowledges a record that no tree head covers, and kills the server. While a folder stands where the next tree head
/// would be written, nothing can be signed.
fn acknowledge_unsealed(home: &Home, key: &str, name: &str) -> Value {
    let blocks: Vec<_> = tree_heads(home)
        .iter()
        .map(|head| head.with_extension("new"))
        .collect();
    for block in &blocks {
        fs::create_dir(block).expect("a new folder");
    }
    let server = home.serve().expect("it serves");
    let answer = started(&server.url, key, name);
    server.kill().expect("it is killed");
    for block in &blocks {
        fs::remove_dir(block).expect("a folder of our own");
    }
    assert_eq!(answer["__typename"], "StartSessionPayload", "{answer}");
    answer["position"].clone()
}

#[test]
fn the_place_of_a_record_that_was_acknowledged_and_not_sealed_is_never_given_again() {
    let drill = Drill::new();
    drill.run(&["export", "--tenant", "acme", text(&drill.path("before"))]);
    let lost = acknowledge_unsealed(&drill.home, &drill.key, "lost");
    let restored = drill.run(&["restore", text(&drill.backup), "--replace"]);
    assert_eq!(restored["ledgers"][0]["lost"], Value::Null, "no promise shows it");
    assert_eq!(drill.epochs(), 2);
    let after = start_session(&drill.home, &drill.key, "after");
    assert_eq!(after["__typename"], "StartSessionPayload", "{after}");
    let epoch = |position: &Value| {
        position
            .as_str()
            .and_then(|p| p.split(':').next())
            .map(str::to_owned)
    };
    assert_eq!(
        (epoch(&lost).as_deref(), epoch(&after["position"]).as_deref()),
        (Some("1"), Some("2")),
        "{lost} {after}"
    );
    // Nothing that an auditor was promised is gone, and record 0 and 1 of the new epoch say what happened.
    let kept = drill.path("before/e1/checkpoint");
    assert_eq!(drill.verified("after", Some(&kept)), (Some(0), Vec::new()));
    let mut bundles = fs::read_dir(drill.path("after/e2/tile/entries/000.p")).expect("entries");
    let bundle = bundles.next().expect("a bundle").expect("an entry").path();
    let entries = fs::read(bundle).expect("a bundle");
    let entries = String::from_utf8_lossy(&entries);
    assert!(entries.contains("infra.restore_completed"), "{entries}");
}

#[test]
fn every_tenant_goes_on_in_a_new_epoch_whether_its_promises_show_a_loss_or_not() {
    let drill = Drill::new();
    let other = drill.home.new_key("other", &["writer", "reader"]).expect("a key");
    let backup = drill.path("both.db");
    drill.run(&["backup", text(&backup)]);
    let lost = start_session(&drill.home, &drill.key, "lost");
    drill.run(&["export", "--tenant", "acme", text(&drill.path("before"))]);

    let restored = drill.run(&["restore", text(&backup), "--replace"]);
    let ledgers = restored["ledgers"].as_array().expect("ledgers");
    assert_eq!(ledgers.len(), 2, "{restored}");
    let with_loss: Vec<_> = ledgers.iter().filter(|of| !of["lost"].is_null()).collect();
    assert_eq!(with_loss.len(), 1, "{restored}");
    assert_eq!(with_loss[0]["lost"][1], lost["position"], "{restored}");
    for (key, name) in [(&drill.key, "after"), (&other, "after")] {
        let after = start_session(&drill.home, key, name);
        let position = after["position"].as_str().unwrap_or_default().to_owned();
        assert!(position.starts_with("2:"), "{after}");
    }
    // An auditor sees the loss with or without an older head, and once.
    let kept = drill.path("before/e1/checkpoint");
    let declared = vec!["RECORDS_LOST".to_owned()];
    assert_eq!(drill.verified("first", None), (Some(2), declared));
    let (code, kinds) = drill.verified("second", Some(&kept));
    assert_eq!(code, Some(2));
    assert!(kinds.contains(&"RECORDS_LOST".to_owned()), "{kinds:?}");
}

#[test]
fn a_database_that_was_put_back_by_hand_takes_nothing_until_its_new_epoch_names_the_loss() {
    let drill = Drill::new();
    let lost = start_session(&drill.home, &drill.key, "lost");
    assert_eq!(lost["__typename"], "StartSessionPayload");
    fs::copy(&drill.backup, drill.home.data.join("ledger.db")).expect("a copy by hand");
    for read in fs::read_dir(&drill.home.data).expect("the data folder") {
        let path = read.expect("an entry").path();
        if text(&path).contains("read-") {
            fs::remove_file(path).expect("a file of our own");
        }
    }

    let operator = drill.home.new_key("operators", &["reader"]).expect("a key");
    let arguments = ["--operator-key", operator.as_str()];
    let server = drill.home.serve_with(&arguments, &[]).expect("it serves");
    let refused = started(&server.url, &drill.key, "refused");
    assert_eq!(refused["code"], "UNAVAILABLE", "{refused}");
    // One ledger takes no node from the others, and nobody is told whose it is without the operator's key.
    let (status, ready) = server.ready().expect("an answer");
    let counts = json!({
        "ready": true, "closing": false, "store": "ok", "halted": 1, "behind": 0, "parked": 0, "unwatched": 0,
    });
    assert_eq!((status, &ready), (200, &counts));
    let ask = Client::new()
        .get(format!("{}/ready", server.url))
        .bearer_auth(&operator);
    let told = ask.send().and_then(|answer| answer.text()).expect("an answer");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let halted = &told["ledgers"]["halted"][0];
    assert_eq!(halted["ledger"], json!(main_ledger("acme").to_string()), "{told}");
    assert!(
        halted["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("was already signed")),
        "{told}"
    );
    assert!(server.stop().expect("it stops"), "it ended well");

    // A loss is not passed over under another reason, and nothing is closed without a yes.
    for (arguments, missing) in [(&["--yes"][..], "--restored"), (&["--restored"], "--yes")] {
        let all = [&["ledger", "new-epoch", "--tenant", "acme"], arguments].concat();
        let refused = drill.home.end_of(&all).expect("it runs");
        assert_eq!(refused.code, Some(1), "{arguments:?}");
        assert!(refused.said.contains(missing), "{arguments:?}: {}", refused.said);
    }
    drill.run(&["ledger", "new-epoch", "--restored", "--yes", "--tenant", "acme"]);
    assert_eq!(drill.epochs(), 2);
    let after = start_session(&drill.home, &drill.key, "after");
    assert_eq!(after["__typename"], "StartSessionPayload", "{after}");
    assert_eq!(
        drill.verified("export", None),
        (Some(2), vec!["RECORDS_LOST".to_owned()])
    );
}

#[test]
fn looking_at_a_ledger_signs_nothing() {
    let drill = Drill::new();
    acknowledge_unsealed(&drill.home, &drill.key, "unsealed");
    let promise = || fs::read(&tree_heads(&drill.home)[0]).expect("a tree head");
    let before = promise();
    let shown = drill.run(&["ledger", "show", "--tenant", "acme"]);
    drill.run(&["keys", "list", "--tenant", "acme"]);
    assert_eq!(drill.home.end_of(&["doctor"]).expect("it runs").code, Some(0));
    assert_eq!(promise(), before);
    assert!(
        shown[0]["sealed"].as_u64() < shown[0]["size"].as_u64(),
        "there was something to sign: {shown}"
    );
}

#[test]
fn a_command_that_needs_a_store_makes_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::embedded(PROGRAM, folder.path());
    let (export, backup) = (folder.path().join("export"), folder.path().join("backup"));
    for arguments in [
        &["export", "--tenant", "acme", text(&export)][..],
        &["ledger", "show", "--tenant", "acme"],
        &["keys", "list", "--tenant", "acme"],
        &["doctor"],
        &["rebuild"],
        &["ledger", "new-epoch", "--yes", "--tenant", "acme"],
        &["backup", text(&backup)],
    ] {
        let ended = home.end_of(arguments).expect("it runs");
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(
            ended.said.contains("no store here"),
            "{arguments:?}: {}",
            ended.said
        );
        let made = fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(made, 0, "{arguments:?} made something");
    }
}
