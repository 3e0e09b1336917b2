//! Published test vectors, read in place (tests only).

#![allow(
    clippy::disallowed_methods,
    reason = "vectors are files, and where they stand is in the environment"
)]

use std::path::{Path, PathBuf};

/// A file or folder below `RUCHE_DATA`. Without the data the test is skipped and says so; in CI it fails.
pub(crate) fn path(below: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RUCHE_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(below);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{} is absent",
        path.display()
    );
    eprintln!("skipped: {} absent", path.display());
    None
}

/// Bytes of a file below a path that [`path`] gave.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All JSON files below a folder, in order.
pub(crate) fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
