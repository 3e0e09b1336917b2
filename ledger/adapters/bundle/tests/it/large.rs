//! Trees of three levels of tiles.

use std::fs;

use ruche_ledger::verify::FindingKind;
use ruche_ledger_bundle::{Options, Progress, Trust, Verdict, verify_bundle};

use crate::support::large;

#[test]
fn three_levels_of_tiles_are_written_and_compared() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("export");
    let records = 65_536 + 256 + 3;
    let key = large::write(&folder, records);
    let trust = Trust::keys(vec![key.parse().unwrap()]);
    let mut seen = Vec::new();
    let report = verify_bundle(&folder, &trust, &Options::default(), &mut |progress| {
        seen.push(progress)
    })
    .unwrap();
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(
        seen.last(),
        Some(&Progress {
            records,
            records_total: records
        })
    );
    assert_eq!(seen.len(), 258);
    for (tile, place) in [
        ("tile/2/000.p/1", "1:0"),
        ("tile/1/000", "1:512"),
        ("tile/1/001.p/1", "1:65536"),
    ] {
        let path = folder.join("e1").join(tile);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        let at = if tile == "tile/1/000" { 2 * 32 + 5 } else { 31 };
        bytes[at] ^= 0x80;
        fs::write(&path, bytes).unwrap();
        let report = verify_bundle(&folder, &trust, &Options::default(), &mut |_| {}).unwrap();
        assert_eq!(report.findings.total(), 1, "{report:?}");
        assert_eq!(
            report.findings.by_kind()[&FindingKind::TileMismatch]
                .first
                .place(),
            place
        );
        fs::write(&path, before).unwrap();
    }
}
