//! A restore that stops half-way: what was decided is finished by the next start, and nothing is appended before.

use std::fs;

use serde_json::Value;

use super::{Drill, start_session, started, text, tree_heads};

/// A restore that put the database in its place and could open no epoch: a tree head could not be read. Returns the tree
/// head's file and what was in it.
fn stopped_before_the_epochs(drill: &Drill) -> (std::path::PathBuf, Vec<u8>) {
    let head = tree_heads(&drill.home).remove(0);
    let promise = fs::read(&head).expect("a tree head");
    fs::write(&head, "nothing").expect("a file of our own");
    let ended = drill
        .home
        .end_of(&["restore", text(&drill.backup), "--replace"])
        .expect("it runs");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(drill.home.data.join("restore.json").exists());
    (head, promise)
}

fn is_finished(drill: &Drill) {
    let after = start_session(&drill.home, &drill.key, "after");
    let position = after["position"].as_str().unwrap_or_default().to_owned();
    assert!(position.starts_with("2:"), "{after}");
    assert!(!drill.home.data.join("restore.json").exists());
    assert_eq!(drill.epochs(), 2);
    assert_eq!(
        drill.verified("export", None),
        (Some(2), vec!["RECORDS_LOST".to_owned()])
    );
}

#[test]
fn a_start_between_the_rename_and_the_epochs_opens_them_before_anything_is_appended() {
    let drill = Drill::new();
    start_session(&drill.home, &drill.key, "lost");
    let (head, promise) = stopped_before_the_epochs(&drill);
    let refused = drill
        .home
        .end_of(&["ledger", "show", "--tenant", "acme"])
        .expect("it runs");
    assert_eq!(refused.code, Some(1));
    assert!(refused.said.contains("interrupted"), "{}", refused.said);
    // What keeps the epoch from being opened is still there: every append is refused.
    let server = drill.home.serve().expect("it serves");
    let answer = started(&server.url, &drill.key, "refused");
    assert_eq!(answer["code"], "UNAVAILABLE", "{answer}");
    server.kill().expect("it is killed");
    fs::write(head, promise).expect("a file of our own");
    is_finished(&drill);
}

#[test]
fn a_start_between_the_decision_and_the_rename_finishes_the_restore() {
    let drill = Drill::new();
    start_session(&drill.home, &drill.key, "lost");
    let (head, promise) = stopped_before_the_epochs(&drill);
    fs::write(head, promise).expect("a file of our own");
    // Back to where the marker stands and the old store has its name.
    let data = &drill.home.data;
    let marker: Value =
        serde_json::from_slice(&fs::read(data.join("restore.json")).expect("the marker")).expect("JSON");
    let of_marker = |name: &str| data.join(marker[name].as_str().expect("a name"));
    fs::rename(data.join("ledger.db"), of_marker("copy")).expect("a file of our own");
    let aside = of_marker("aside").join("ledger.db");
    fs::rename(aside, data.join("ledger.db")).expect("a file of our own");
    is_finished(&drill);
    assert!(of_marker("aside").join("ledger.db").exists());
}
