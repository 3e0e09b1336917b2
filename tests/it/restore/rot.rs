//! Bytes that changed on the disk are found by whoever reads everything: `backup`, `restore` and `doctor --full`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ruche_tests::data;

use super::{Drill, start_session, text};

/// Changes one byte of a file in every place where `needle` stands: pages that are free now may have it, too.
fn flip(file: &Path, needle: &[u8]) {
    let mut bytes = fs::read(file).expect("a file of our own");
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "{} stands there", needle.escape_ascii());
    for place in places {
        bytes[place + needle.len() / 2] ^= 1;
    }
    fs::write(file, bytes).expect("a file of our own");
}

/// What reads everything tells this place, and what only looks at heads does not.
fn is_found(drill: &Drill, place: &str) {
    let quick = drill.home.end_of(&["doctor"]).expect("it runs");
    assert_eq!(quick.code, Some(0), "{}", quick.json);
    let full = drill.home.end_of(&["doctor", "--full"]).expect("it runs");
    assert_eq!(full.code, Some(1), "{}", full.json);
    assert!(full.json.to_string().contains(place), "{}", full.json);
    let target = drill.path("rotten.db");
    let backup = drill.home.end_of(&["backup", text(&target)]).expect("it runs");
    assert_eq!(backup.code, Some(1));
    assert!(backup.said.contains(place), "{}", backup.said);
    assert!(!target.exists(), "a copy of rot is no backup");
}

fn import(drill: &Drill) {
    let example = data::of_repository("docs/import/example.json");
    let import = ["import", "--tenant", "acme", "--format", "tau-bench"];
    drill.run(&[&import[..], &[text(&example)]].concat());
}

#[test]
fn a_changed_payload_is_told_with_its_record() {
    let drill = Drill::new();
    import(&drill);
    assert_eq!(
        drill.home.end_of(&["doctor", "--full"]).expect("it runs").code,
        Some(0)
    );
    flip(&drill.home.data.join("ledger.db"), b"Done: the money");
    is_found(&drill, "does not open its commitment");
}

#[test]
fn a_changed_full_tile_is_told_with_its_number() {
    let drill = Drill::new();
    drill.run(&["seed", "--tenant", "many", "--sessions", "20"]);
    drill.run(&["export", "--tenant", "many", text(&drill.path("many"))]);
    let tile = fs::read(drill.path("many/e1/tile/0/000")).expect("a full tile");
    assert_eq!(tile.len(), 256 * 32);
    flip(&drill.home.data.join("ledger.db"), &tile[..64]);
    is_found(&drill, "tile 0 of level 0");
}

#[test]
fn a_backup_that_changed_is_not_restored_and_the_store_stays() {
    let drill = Drill::new();
    import(&drill);
    let backup = drill.path("good.db");
    drill.run(&["backup", text(&backup)]);
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&backup), 0o600, "payloads are in it");
    flip(&backup, b"Done: the money");
    let before = fs::read(drill.home.data.join("ledger.db")).expect("the store");
    let ended = drill.home.end_of(&["restore", "--replace", text(&backup)]);
    let ended = ended.expect("it runs");
    assert_eq!(ended.code, Some(1));
    assert!(ended.said.contains("commitment"), "{}", ended.said);
    assert_eq!(fs::read(drill.home.data.join("ledger.db")).ok(), Some(before));
    let copies = fs::read_dir(&drill.home.data).expect("the data folder");
    let copies = copies.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().contains("restore")
    });
    assert_eq!(copies.count(), 0, "no copy is left, nothing is put aside");
    assert_eq!(
        start_session(&drill.home, &drill.key, "goes on")["__typename"],
        "StartSessionPayload"
    );
    drill.run(&["restore", "--replace", text(&drill.backup)]);
    assert_eq!(mode(&drill.home.data.join("ledger.db")), 0o600);
}
