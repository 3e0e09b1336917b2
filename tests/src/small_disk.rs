//! A file system of a few megabytes that a test fills, and makes room on again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Bytes of one write of the file that fills it; the last ones are smaller.
const FILL_BYTES: usize = 65_536;

/// A mounted file system. Gone when dropped; whoever has files on it ends before.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one in memory. Needs the right to mount, as root has it outside of most containers.
    ///
    /// # Errors
    /// What could not be done.
    pub fn mount(bytes: u64) -> Result<Self, String> {
        let folder = TempDir::with_prefix("ruche-disk-").map_err(|e| format!("no temporary folder: {e}"))?;
        // Others may look into it: the server of a database does not run as root.
        let options = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "ruche-small-disk"])
            .arg(folder.path());
        let ended = mount.output().map_err(|e| format!("cannot start mount: {e}"))?;
        if ended.status.success() {
            return Ok(Self { folder });
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(format!("no small file system can be mounted: {}", said.trim()))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Writes a file until there is no room for another byte.
    ///
    /// # Errors
    /// When the system refuses for another reason.
    pub fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.ballast())?;
        let mut next = FILL_BYTES;
        loop {
            match file.write(&vec![1; next]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull && next > 1 => next /= 2,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes that file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failed test something may still have files open.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !unmounted.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("{} is still mounted: {unmounted:?}", self.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_until_room_is_made() {
        let Ok(disk) = SmallDisk::mount(1_048_576) else {
            // Whoever needs one says what that means; here there is nothing to look at.
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"));
            return;
        };
        let file = disk.path().join("file");
        disk.fill().expect("it becomes full");
        let refused = fs::write(&file, "x").expect_err("no room");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.make_room().expect("it has room");
        fs::write(&file, "x").expect("room for a byte");
    }
}
