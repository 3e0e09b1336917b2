//! The writer: whole exports or none.

use std::fs;

use ruche_domain::numbers::Epoch;
use ruche_ledger::verify::FindingKind;
use ruche_ledger_bundle::{BundleWriter, Options, WriteError, verify_bundle};

use crate::support::files;
use crate::support::good::{Shape, export};

const SHAPE: Shape = Shape {
    epochs: 1,
    appends: 300,
    events_max: 3,
};

#[test]
fn a_folder_that_is_not_empty_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("export");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "").unwrap();
    let refused = BundleWriter::create(&target, export(1, SHAPE).ledger);
    assert!(matches!(refused, Err(WriteError::NotEmpty { .. })), "{refused:?}");
    let refused = BundleWriter::create(&target.join("mine"), export(1, SHAPE).ledger);
    assert!(matches!(refused, Err(WriteError::NotEmpty { .. })), "{refused:?}");
    assert_eq!(files::all(parent.path()), [target.join("mine")]);
}

#[test]
fn an_empty_folder_and_one_that_is_not_there_are_taken() {
    let parent = tempfile::tempdir().unwrap();
    let export = export(1, SHAPE);
    for name in ["a/b/c", "empty"] {
        let target = parent.path().join(name);
        if name == "empty" {
            fs::create_dir(&target).unwrap();
        }
        export.write(&target);
        let report = verify_bundle(&target, &export.trust(), &Options::default(), &mut |_| {}).unwrap();
        assert_eq!(report.verdict.exit_code(), 0, "{report:?}");
    }
    assert!(
        files::all(parent.path())
            .iter()
            .all(|path| !path.display().to_string().contains(".partial"))
    );
}

#[test]
fn an_export_that_is_not_finished_has_no_name() {
    let parent = tempfile::tempdir().unwrap();
    let (target, export) = (parent.path().join("export"), export(1, SHAPE));
    let epoch = &export.epochs[0];
    let mut writer = BundleWriter::create(&target, export.ledger).unwrap();
    writer
        .begin_epoch(Epoch(1), &epoch.head, export.signer(&epoch.origin).verifier())
        .unwrap();
    for record in &epoch.records {
        writer.record(&record.leaf, &record.payload).unwrap();
    }
    let whole = writer.end_epoch().unwrap();
    assert!(
        whole.fits_tree_head && whole.records == epoch.records.len() as u64,
        "{whole:?}"
    );
    // What a process that dies here leaves behind.
    let partial = parent.path().join("export.partial");
    assert!(
        partial.join("e1/checkpoint").exists() && !partial.join("manifest.json").exists() && !target.exists()
    );
    let second = BundleWriter::create(&target, export.ledger);
    assert!(
        matches!(second, Err(WriteError::Unfinished { .. })),
        "two exports do not mix: {second:?}"
    );
    drop(writer);
    assert_eq!(
        files::all(parent.path()),
        Vec::<std::path::PathBuf>::new(),
        "an error cleans up"
    );
}

#[test]
fn records_that_the_tree_head_does_not_cover_are_refused_and_epochs_keep_their_order() {
    let parent = tempfile::tempdir().unwrap();
    let (target, export) = (parent.path().join("export"), export(1, SHAPE));
    let epoch = &export.epochs[0];
    let signer = export.signer(&epoch.origin);
    let head = epoch
        .earlier
        .iter()
        .find(|head| head.head().size < epoch.head.head().size)
        .unwrap();
    let mut writer = BundleWriter::create(&target, export.ledger).unwrap();
    writer.begin_epoch(Epoch(2), head, signer.verifier()).unwrap();
    let mut written = epoch
        .records
        .iter()
        .map(|record| writer.record(&record.leaf, &record.payload));
    let refused = written.find_map(Result::err);
    assert!(
        matches!(refused, Some(WriteError::TooManyRecords { .. })),
        "{refused:?}"
    );
    writer.end_epoch().unwrap();
    let refused = writer.begin_epoch(Epoch(2), head, signer.verifier());
    assert!(
        matches!(refused, Err(WriteError::EpochOrder { last: 2, found: 2 })),
        "{refused:?}"
    );
    // The number that is left out is a finding.
    writer.finish().unwrap();
    let report = verify_bundle(&target, &export.trust(), &Options::default(), &mut |_| {}).unwrap();
    assert!(
        report.has(FindingKind::EpochMissing) && !report.has(FindingKind::ManifestMismatch),
        "{report:?}"
    );
}

#[test]
fn a_damaged_ledger_is_exported_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let (target, export) = (parent.path().join("export"), export(1, SHAPE));
    let epoch = &export.epochs[0];
    let mut writer = BundleWriter::create(&target, export.ledger).unwrap();
    writer
        .begin_epoch(Epoch(1), &epoch.head, export.signer(&epoch.origin).verifier())
        .unwrap();
    for record in &epoch.records[..256] {
        writer.record(&record.leaf, &record.payload).unwrap();
    }
    assert!(!writer.end_epoch().unwrap().fits_tree_head);
    writer.finish().unwrap();
    let report = verify_bundle(&target, &export.trust(), &Options::default(), &mut |_| {}).unwrap();
    assert_eq!(
        report.findings.by_kind()[&FindingKind::TailMissing].first.place(),
        "1:256",
        "{report:?}"
    );
}
