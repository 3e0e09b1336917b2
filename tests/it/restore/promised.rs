//! What was promised is kept track of apart from the data: seeds, names, ledgers and records that are gone.

use std::fs;

use serde_json::Value;

use super::{Drill, acknowledge_unsealed, start_session, text};

#[test]
fn what_a_backup_had_under_no_tree_head_is_exported_after_the_restore() {
    let drill = Drill::new();
    let unsealed = acknowledge_unsealed(&drill.home, &drill.key, "unsealed");
    let backup = drill.path("unsealed.db");
    drill.run(&["backup", text(&backup)]);
    start_session(&drill.home, &drill.key, "lost");
    let restored = drill.run(&["restore", text(&backup), "--replace"]);
    let lost_from = restored["ledgers"][0]["lost"][0].as_str().expect("a lost range");
    let index = |position: &str| -> u64 {
        position
            .split(':')
            .nth(1)
            .expect("epoch:index")
            .parse()
            .expect("a number")
    };
    let last = index(unsealed.as_str().expect("a position"));
    assert_eq!(index(lost_from), last + 1, "what was in the backup is not lost");
    assert_eq!(
        drill.verified("export", None),
        (Some(2), vec!["RECORDS_LOST".to_owned()])
    );
    let leaves = drill.path("export").join("e1/checkpoint");
    let size = fs::read_to_string(leaves).expect("a checkpoint");
    assert_eq!(size.lines().nth(1), Some(&*(last + 1).to_string()), "{size}");
}

#[test]
fn a_missing_seed_is_never_replaced_and_another_one_gives_no_keys_away() {
    let drill = Drill::new();
    let seed = drill.home.keys.join("master.seed");
    let kept = fs::read(&seed).expect("the seed");
    fs::remove_file(&seed).expect("our own file");
    for command in [
        &["keys", "new", "--tenant", "acme", "--role", "reader"][..],
        &["ledger", "show", "--tenant", "acme"],
    ] {
        let refused = drill.home.end_of(command).expect("it runs");
        assert_eq!(refused.code, Some(1), "{}", refused.said);
        assert!(refused.said.contains("put master.seed back"), "{}", refused.said);
        assert!(!seed.exists(), "{command:?} made a seed");
    }
    // Another deployment's, put there by mistake.
    fs::write(&seed, format!("{}\n", "5a".repeat(32))).expect("a file of our own");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&seed, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    let target = drill.path("false-keys");
    let shown = drill.run(&["ledger", "show", "--tenant", "acme"]);
    assert_eq!(shown[0]["verifier_key"], Value::Null, "{shown}");
    let export = ["export", "--tenant", "acme", text(&target)];
    let refused = drill.home.end_of(&export).expect("it runs");
    assert_eq!(refused.code, Some(1), "{} {}", refused.json, refused.said);
    assert!(
        refused.said.contains("is not signed by the key"),
        "{}",
        refused.said
    );
    assert!(!target.exists());
    fs::write(&seed, kept).expect("our own file");
    assert_eq!(drill.verified("export", None), (Some(0), Vec::new()));
}

#[test]
fn a_keys_folder_in_the_data_folder_is_not_put_aside_with_it() {
    let drill = Drill::new();
    let keys = drill.home.data.join("keys");
    fs::rename(&drill.home.keys, &keys).expect("our own folder");
    let restore = [
        "--keys-dir",
        text(&keys),
        "restore",
        text(&drill.backup),
        "--replace",
    ];
    let mut ruche = std::process::Command::new(&drill.home.program);
    let ended = ruche
        .arg("--data-dir")
        .arg(&drill.home.data)
        .args(restore)
        .output();
    let ended = ended.expect("it runs");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        String::from_utf8_lossy(&ended.stderr).contains("is in the data folder"),
        "{ended:?}"
    );
    assert!(keys.join("master.seed").exists() && drill.home.data.join("ledger.db").exists());
}

#[test]
fn a_ledger_that_is_gone_is_named() {
    let drill = Drill::new();
    let made = drill.home.new_key("beta", &["reader"]);
    made.expect("a key");
    let shown = drill.run(&["ledger", "show", "--tenant", "beta"]);
    let origin = shown[0]["origin"].as_str().expect("an origin");
    let restored = drill.run(&["restore", text(&drill.backup), "--replace"]);
    assert_eq!(restored["lost_ledgers"], Value::from(vec![origin]));
    let doctor = drill.home.end_of(&["doctor"]).expect("it runs");
    assert_eq!(doctor.code, Some(1));
    let is_named =
        |finding: &Value| finding["state"] == "wrong" && finding["check"] == format!("ledger {origin}");
    assert!(
        doctor.json.as_array().expect("findings").iter().any(is_named),
        "{}",
        doctor.json
    );
    // The way out that it names.
    drill.run(&["ledger", "new-epoch", "--restored", "--yes", "--tenant", "beta"]);
    let doctor = drill.home.end_of(&["doctor"]).expect("it runs");
    assert_eq!(doctor.code, Some(0), "{}", doctor.json);
}

#[test]
fn the_name_of_the_deployment_is_chosen_once() {
    let drill = Drill::new();
    let other = [
        "--deployment",
        "other.example",
        "keys",
        "new",
        "--tenant",
        "beta",
        "--role",
        "reader",
    ];
    let refused = drill.home.end_of(&other).expect("it runs");
    assert_eq!(refused.code, Some(1), "{}", refused.json);
    assert!(
        refused.said.contains("unnamed.ruche.example") && refused.said.contains("other.example"),
        "{}",
        refused.said
    );
    drill
        .home
        .new_key("beta", &["reader"])
        .expect("a key under the name that was chosen");
    let shown = drill.run(&["ledger", "show", "--tenant", "beta"]);
    let origin = shown[0]["origin"].as_str().expect("an origin");
    assert!(origin.starts_with("unnamed.ruche.example/"), "{origin}");
}
