//! Nothing acknowledged is lost in a power cut, and the test can tell: without flushing, something is.

use std::path::Path;

use ruche_tests::power_cut::{Loss, cut};
use ruche_tests::shim;

const PROGRAM: &str = env!("CARGO_BIN_EXE_append-load");
/// Cuts of one run; `cargo xtask soak` sets more.
const CUTS_VARIABLE: &str = "RUCHE_SOAK_CUTS";
const CUTS: u64 = 100;

async fn cuts(synchronous: &str, count: u64, enough: impl Fn(&Loss) -> bool) -> Loss {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shim = shim::compile("power-cut/shim.c", folder.path()).expect("the shim compiles");
    let mut total = Loss::default();
    for seed in 0..count {
        let loss = cut(Path::new(PROGRAM), &shim, folder.path(), synchronous, seed)
            .await
            .unwrap_or_else(|error| panic!("cut {seed} with synchronous={synchronous}: {error}"));
        total.acknowledged += loss.acknowledged;
        total.lost += loss.lost;
        total.promises_broken += loss.promises_broken;
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
    assert!(!total.is_any(), "{total:?}");
    assert!(total.acknowledged as u64 >= count, "{total:?}");
}

#[tokio::test]
async fn with_synchronous_normal_the_test_sees_the_loss() {
    assert!(cuts("normal", 10, Loss::is_any).await.is_any());
}

#[tokio::test]
async fn without_syncing_the_test_sees_the_loss() {
    assert!(cuts("off", 10, Loss::is_any).await.is_any());
}
