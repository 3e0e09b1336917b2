//! Good exports verify.

use proptest::prelude::*;
use ruche_ledger::testing::SeededRandom;
use ruche_ledger_bundle::{Options, Report, Trust, Verdict, verify_bundle};

use crate::support::good::{Export, Shape, export};

/// Writes and verifies.
pub fn verified(export: &Export, trust: &Trust, options: &Options) -> Report {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("export");
    export.write(&folder);
    verify_bundle(&folder, trust, options, &mut |_| {}).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_good_export_verifies(seed: u64) {
        let export = export(seed, Shape::any(&SeededRandom::new(seed)));
        let report = verified(&export, &export.trust(), &Options::default());
        prop_assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);
        prop_assert_eq!(report.records, export.size());
        let report = verified(&export, &Trust::nobody(), &Options::default());
        prop_assert_eq!(report.verdict, Verdict::SelfConsistent, "{:?}", report.findings);
    }
}
