//! Rules of the export format that no random mutation meets often, each with exactly the finding it has.

use std::fs;
use std::path::Path;
use std::process::Command;

use ruche_domain::numbers::TreeSize;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::note::Note;
use ruche_ledger::testing::SeededRandom;
use ruche_ledger::tree::TREE_SIZE_MAX;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};
use ruche_ledger::verify::FindingKind::{self, *};
use ruche_ledger_bundle::{Options, ReadError, Report, Trust, verify_bundle};
use serde_json::json;

use crate::support::good::{Shape, export};
use crate::support::mutate::Work;
use crate::support::resigned;

const SHAPE: Shape = Shape {
    epochs: 2,
    appends: 40,
    events_max: 3,
};

fn work() -> (tempfile::TempDir, Work) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("export");
    (
        parent,
        Work {
            export: export(3, SHAPE),
            folder,
            random: SeededRandom::new(3),
        },
    )
}

fn report(work: &Work, trust: &Trust) -> Report {
    verify_bundle(&work.folder, trust, &Options::default(), &mut |_| {}).unwrap()
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.by_kind().keys().copied().collect()
}

/// What is found after a change to the files of a good export, with the auditor's keys and without any.
fn after(change: impl FnOnce(&Path)) -> (Vec<FindingKind>, Vec<FindingKind>) {
    let (_parent, work) = work();
    work.write();
    change(&work.folder);
    (
        kinds(&report(&work, &work.export.trust())),
        kinds(&report(&work, &Trust::nobody())),
    )
}

#[test]
fn without_a_manifest_it_is_no_export() {
    let (_parent, work) = work();
    work.write();
    fs::remove_file(work.folder.join("manifest.json")).unwrap();
    let refused = verify_bundle(
        &work.folder,
        &work.export.trust(),
        &Options::default(),
        &mut |_| {},
    );
    assert!(
        matches!(refused, Err(ReadError::NotAnExport { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_manifest_without_epochs_says_otherwise_than_nothing() {
    let found = after(|folder| {
        fs::remove_dir_all(folder.join("e1")).unwrap();
        fs::remove_dir_all(folder.join("e2")).unwrap();
    });
    assert_eq!(found, (vec![ManifestMismatch], vec![ManifestMismatch]));
}

#[test]
fn the_key_in_the_export_is_looked_at_only_where_the_auditor_brings_none() {
    let key = |text: &'static str| after(move |folder| fs::write(folder.join("e1/key.vkey"), text).unwrap());
    assert_eq!(key("nonsense"), (vec![], vec![FileMalformed]));
    let found = after(|folder| fs::remove_file(folder.join("e1/key.vkey")).unwrap());
    assert_eq!(found, (vec![], vec![FileMissing]));
    let found = after(|folder| {
        fs::copy(folder.join("e2/key.vkey"), folder.join("e1/key.vkey")).unwrap();
    });
    assert_eq!(found, (vec![], vec![OriginMismatch]));
    let found = after(|folder| {
        let origin = fs::read_to_string(folder.join("e1/checkpoint"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        let thief = MasterSeed::from_slice(&[9; 32])
            .unwrap()
            .log_signer(&origin)
            .unwrap();
        fs::write(folder.join("e1/key.vkey"), thief.verifier().to_string()).unwrap();
    });
    assert_eq!(found, (vec![], vec![TreeHeadSignatureInvalid]));
}

#[test]
fn files_that_the_size_does_not_ask_for_are_findings_and_other_names_are_not() {
    let stray = |path: &'static str| {
        after(move |folder| {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), "x").unwrap();
        })
        .0
    };
    assert_eq!(stray("e1/tile/0/000.p/1"), [FileMalformed]);
    assert_eq!(stray("e1/tile/1/007"), [FileMalformed]);
    assert_eq!(stray("e1/payload/009.p/3"), [FileMalformed]);
    assert_eq!(stray("e1/tile/entries/000.p/1"), [SurplusRecords]);
    assert_eq!(stray("e1/tile/entries/009"), [SurplusRecords]);
    for ignored in [
        "README.md",
        "e1/notes",
        "e1/tile/entries/README",
        "e1/tile/0/00",
        "e03/checkpoint",
        "e0/x",
    ] {
        assert_eq!(stray(ignored), [], "{ignored}");
    }
}

#[test]
fn a_pipe_or_a_folder_in_the_place_of_a_file_does_not_hang_the_verifier() {
    let found = after(|folder| {
        fs::remove_file(folder.join("e1/checkpoint")).unwrap();
        fs::create_dir(folder.join("e1/checkpoint")).unwrap();
    });
    assert_eq!(found.0, [TreeHeadMalformed]);
    let found = after(|folder| {
        fs::remove_file(folder.join("e1/checkpoint")).unwrap();
        let made = Command::new("mkfifo")
            .arg(folder.join("e1/checkpoint"))
            .status()
            .unwrap();
        assert!(made.success());
    });
    assert_eq!(found.0, [TreeHeadMalformed]);
}

#[test]
fn sizes_beyond_all_files_end_at_once() {
    let (_parent, mut work) = work();
    let head = work.export.epochs[1].head.head().clone();
    let signer = work.export.signer(&head.origin);
    let head = TreeHead {
        size: TreeSize(TREE_SIZE_MAX),
        ..head
    };
    work.export.epochs[1].head = SignedTreeHead::sign(head, &signer).unwrap();
    work.write();
    let report = report(&work, &work.export.trust());
    assert!(report.has(TailMissing) && report.has(FileMissing), "{report:?}");
    assert!(report.findings.total() < 20, "{report:?}");
}

#[test]
fn a_tree_head_with_extension_lines_or_of_another_origin_is_refused() {
    let (_parent, mut work) = work();
    let head = work.export.epochs[0].head.head().clone();
    let signer = work.export.signer(&head.origin);
    let extended = TreeHead {
        extension_lines: vec!["more".into()],
        ..head.clone()
    };
    work.export.epochs[0].head = SignedTreeHead::sign(extended, &signer).unwrap();
    work.write();
    let found = kinds(&report(&work, &work.export.trust()));
    assert_eq!(found, [TreeHeadMalformed]);

    let foreign = TreeHead {
        origin: "other.example/x/e1".into(),
        ..head
    }
    .to_text();
    let note = Note::new(foreign.clone(), vec![signer.sign(&foreign).unwrap()]).unwrap();
    fs::write(work.folder.join("e1/checkpoint"), note.to_text()).unwrap();
    for trust in [work.export.trust(), Trust::nobody()] {
        let report = report(&work, &trust);
        assert!(
            report.has(OriginMismatch) && report.has(ForeignRecord),
            "{report:?}"
        );
    }
}

#[test]
fn a_restore_that_names_what_it_lost_is_records_lost_and_nothing_else() {
    let (_parent, mut work) = work();
    let promised = work.export.epochs[0].head.head().size.0;
    let first = &mut work.export.epochs[0];
    first.head = first.earlier[2].clone();
    let stored = first.head.head().size.0;
    assert!(stored < promised);
    resigned::opening(&mut work, RecordsLost, |facts| {
        facts["previous"]["lost_from"] = json!(format!("1:{stored}"));
        facts["previous"]["lost_to"] = json!(format!("1:{}", promised - 1));
    });
    let found = report(&work, &work.export.trust());
    assert_eq!(kinds(&found), [RecordsLost], "{found:?}");
    assert_eq!(
        found.findings.by_kind()[&RecordsLost].first.place(),
        format!("1:{stored}")
    );
    assert_eq!(found.verdict.exit_code(), 2);
}

/// Three epochs, of which a restore lost the second and the end of the first; the third says what `change` makes of it.
fn lost_epoch(change: impl FnOnce(&mut serde_json::Value)) -> (tempfile::TempDir, Work, Trust) {
    let parent = tempfile::tempdir().unwrap();
    let mut work = Work {
        export: export(5, Shape { epochs: 3, ..SHAPE }),
        folder: parent.path().join("export"),
        random: SeededRandom::new(5),
    };
    let all_keys = work.export.trust();
    let last = work.export.epochs[1].head.head().size.0 - 1;
    work.export.epochs.remove(1);
    let first = &mut work.export.epochs[0];
    first.head = first.earlier[2].clone();
    let stored = first.head.head().size.0;
    resigned::opening(&mut work, RecordsLost, |facts| {
        facts["previous"]["lost_from"] = json!(format!("1:{stored}"));
        facts["previous"]["lost_to"] = json!(format!("2:{last}"));
        change(&mut facts["previous"]);
    });
    (parent, work, all_keys)
}

#[test]
fn a_restore_that_names_lost_epochs_is_records_lost_once_and_nothing_else() {
    let (_parent, work, all_keys) = lost_epoch(|_| {});
    for trust in [work.export.trust(), all_keys] {
        let found = report(&work, &trust);
        assert_eq!(kinds(&found), [RecordsLost], "{found:?}");
        assert_eq!(found.findings.total(), 1);
        let stored = work.export.epochs[0].head.head().size;
        assert_eq!(
            found.findings.by_kind()[&RecordsLost].first.place(),
            format!("1:{stored}")
        );
        assert_eq!(found.verdict.exit_code(), 2);
    }
}

/// A backup ends between two tree heads: what lies between the checkpoint and the loss would be hidden from everybody.
#[test]
fn records_that_are_neither_there_nor_declared_lost_break_the_link() {
    let (_parent, work, _) = lost_epoch(|previous| {
        let from = previous["lost_from"].as_str().unwrap();
        let index: u64 = from.strip_prefix("1:").unwrap().parse().unwrap();
        previous["lost_from"] = json!(format!("1:{}", index + 1));
    });
    assert_eq!(
        kinds(&report(&work, &work.export.trust())),
        [EpochLinkBroken, RecordsLost]
    );
}

#[test]
fn a_last_epoch_that_the_auditor_has_a_key_of_is_missed() {
    let (_parent, mut work) = work();
    let all_keys = work.export.trust();
    work.export.epochs.pop();
    work.write();
    assert_eq!(kinds(&report(&work, &work.export.trust())), []);
    let found = report(&work, &all_keys);
    assert_eq!(kinds(&found), [EpochMissing], "{found:?}");
    assert_eq!(found.verdict.exit_code(), 2);
}

#[test]
fn epochs_outside_the_lost_range_are_missing_and_a_range_that_cannot_be_lost_breaks_the_link() {
    let (_parent, work, _) = lost_epoch(|previous| previous["lost_from"] = json!("2:1"));
    assert_eq!(
        kinds(&report(&work, &work.export.trust())),
        [EpochMissing, EpochLinkBroken, RecordsLost]
    );
    for (member, place) in [
        ("lost_from", "1:0"),
        ("lost_to", "1:99"),
        ("lost_to", "4294967295:0"),
    ] {
        let (_parent, work, _) = lost_epoch(|previous| previous[member] = json!(place));
        let found = report(&work, &work.export.trust());
        assert!(
            found.has(EpochLinkBroken) && found.has(RecordsLost),
            "{member} {place}: {found:?}"
        );
    }
}

#[test]
fn the_last_promise_of_a_lost_epoch_is_checked_with_the_key_that_the_auditor_brought() {
    let forged = |previous: &mut serde_json::Value| {
        let head = SignedTreeHead::parse(previous["tree_head"].as_str().unwrap().as_bytes()).unwrap();
        let thief = MasterSeed::from_slice(&[9; 32]).unwrap();
        let signer = thief.log_signer(&head.head().origin).unwrap();
        let head = SignedTreeHead::sign(head.head().clone(), &signer).unwrap();
        previous["tree_head"] = json!(head.note().to_text());
    };
    let (_parent, work, all_keys) = lost_epoch(forged);
    assert_eq!(kinds(&report(&work, &work.export.trust())), [RecordsLost]);
    let found = report(&work, &all_keys);
    assert_eq!(kinds(&found), [EpochLinkBroken, RecordsLost], "{found:?}");
}
