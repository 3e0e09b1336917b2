//! Nothing acknowledged is lost in a power cut, and the test can tell: without flushing, something is.

use std::path::Path;

use ruche_tests::power_cut::{Loss, compile_shim, cut};

const PROGRAM: &str = env!("CARGO_BIN_EXE_append-load");
/// Cuts of one run; `cargo xtask soak` sets more.
const CUTS_VARIABLE: &str = "RUCHE_SOAK_CUTS";
const CUTS: u64 = 100;

async fn cuts(synchronous: &str, count: u64, enough: impl Fn(&Loss) -> bool) -> Loss {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shim = compile_shim(folder.path()).expect("the shim compiles");
    let mut total = Loss::default();
    for seed in 0..count {
        let loss = cut(Path::new(PROGRAM), &shim, folder.path(), synchronous, seed)
            .await
            .unwrap_or_else(|error| panic!("cut {seed} with synchronous={synchronous}: {error}"));
        total.acknowledged += loss.acknowledged;
        total.lost += loss.lost;
        if enough(&total) {
            break;
        }
    }
    total
}

#[tokio::test]
async fn with_synchronous_full_nothing_acknowledged_is_lost() {
    let count = std::env::var(CUTS_VARIABLE).map_or(CUTS, |text| text.parse().expect("a number of cuts"));
    let total = cuts("full", count, |_| false).await;
    assert_eq!(total.lost, 0, "{total:?}");
    assert!(total.acknowledged as u64 >= count, "{total:?}");
}

#[tokio::test]
async fn with_synchronous_normal_the_test_sees_the_loss() {
    assert!(cuts("normal", 10, |total| total.lost > 0).await.lost > 0);
}

#[tokio::test]
async fn without_syncing_the_test_sees_the_loss() {
    assert!(cuts("off", 10, |total| total.lost > 0).await.lost > 0);
}
