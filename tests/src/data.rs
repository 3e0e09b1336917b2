//! Test data, read in place: never copied into the repository.

use std::path::{Path, PathBuf};

/// A file of the data folder (`RUCHE_DATA`, or `../shared/data` beside the repository). `None`, told plainly, where
/// it is absent.
///
/// # Panics
/// Under `CI=true`, where absent data is a failure.
pub fn file(path: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("RUCHE_DATA").map_or_else(default, PathBuf::from);
    let file = folder.join(path);
    if file.is_file() {
        return Some(file);
    }
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!is_ci, "{} is absent", file.display());
    eprintln!("skipped: {} is absent", file.display());
    None
}

/// A file of the repository.
pub fn of_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
