//! Preloaded libraries that stand between a process and its disk.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shim whose source is `below` the folder of this crate, compiled into `folder` with the C compiler that the build
/// needs anyway.
///
/// # Errors
/// When it does not compile.
pub fn compile(below: &str, folder: &Path) -> io::Result<PathBuf> {
    let shim = folder.join("shim.so");
    let status = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(below))
        .arg("-ldl")
        .status()?;
    if status.success() {
        Ok(shim)
    } else {
        Err(io::Error::other(format!("cc: {status}")))
    }
}
