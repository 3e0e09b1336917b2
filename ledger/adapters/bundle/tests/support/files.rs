//! The files of an export, as somebody sees them who has a hex editor and no key.

use std::fs;
use std::path::{Path, PathBuf};

use ruche_ledger::testing::SeededRandom;

use super::below;

/// All files below a folder, in order.
pub fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(all(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// Files that are not empty and whose path below the folder contains `part`.
pub fn with(folder: &Path, part: &str) -> Vec<PathBuf> {
    let relative = |path: &Path| {
        path.strip_prefix(folder)
            .expect("below the folder")
            .display()
            .to_string()
    };
    let is_full = |path: &PathBuf| fs::metadata(path).expect("a file").len() > 0;
    all(folder)
        .into_iter()
        .filter(|path| relative(path).contains(part) && is_full(path))
        .collect()
}

/// Changes one byte.
pub fn flip(path: &Path, at: usize, random: &SeededRandom) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1 + below(random, 255) as u8;
    fs::write(path, bytes).expect("writable");
}

/// Where the entries of a bundle stand: first byte of the leaf, and the byte behind it.
pub fn entries(bundle: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bundle.len() {
        let end = at + 2 + usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]]));
        found.push((at + 2, end));
        at = end;
    }
    found
}

/// Takes one entry out of a bundle and leaves everything else as it was.
pub fn cut(path: &Path, number: usize) {
    let mut bytes = fs::read(path).expect("a bundle");
    let (start, end) = entries(&bytes)[number];
    bytes.drain(start - 2..end);
    fs::write(path, bytes).expect("writable");
}
