//! What the disk below a folder does, apart from any engine.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of one write.
const WRITE_BYTES: usize = 4_096;

/// Flushes in a second: 4 KiB appended to a file, then `fdatasync`, one after the other. Blocks.
///
/// # Errors
/// When the folder cannot be written to.
pub fn flush_rate(folder: &Path, time: Duration) -> io::Result<f64> {
    let path = folder.join("bench-flush");
    let rate = flushes(&path, time);
    std::fs::remove_file(&path)?;
    rate
}

fn flushes(path: &Path, time: Duration) -> io::Result<f64> {
    let mut file = File::create(path)?;
    let (started, mut flushes) = (Instant::now(), 0_u64);
    while flushes == 0 || started.elapsed() < time {
        file.write_all(&[1; WRITE_BYTES])?;
        file.sync_data()?;
        flushes += 1;
    }
    Ok(flushes as f64 / started.elapsed().as_secs_f64())
}

/// Bytes of the files in a folder, those in folders below it aside.
///
/// # Errors
/// When the folder cannot be read.
pub fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?.metadata()?;
        bytes += if entry.is_file() { entry.len() } else { 0 };
    }
    Ok(bytes)
}

/// Type of the file system that holds a folder, such as `ext4`; `None` where the system does not say it.
pub fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    of_mounts(&mounts, &folder)
}

/// Whether files of this type are gone with the power, so that flushing them costs nothing.
pub fn is_memory(file_system: &str) -> bool {
    matches!(file_system, "tmpfs" | "ramfs")
}

/// The type of the deepest mount above the folder; of several at one place the last one, which hides the others.
/// The fields are those of proc_pid_mountinfo(5).
fn of_mounts(mounts: &str, folder: &Path) -> Option<String> {
    let mut found: Option<(PathBuf, String)> = None;
    for line in mounts.lines() {
        let Some((mount, system)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(place), Some(name)) = (mount.split(' ').nth(4), system.split(' ').next()) else {
            continue;
        };
        let place = PathBuf::from(place.replace("\\040", " "));
        let is_deeper = found
            .as_ref()
            .is_none_or(|(other, _)| place.as_os_str().len() >= other.as_os_str().len());
        if folder.starts_with(&place) && is_deeper {
            found = Some((place, name.to_owned()));
        }
    }
    found.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /tmp rw shared:2 - tmpfs tmpfs rw
23 22 8:2 / /tmp/my\\040disk rw - xfs /dev/sdb rw
24 21 8:3 / /data rw - ext4 /dev/sdc rw
25 24 0:31 / /data rw - btrfs /dev/sdd rw";

    #[test]
    fn the_deepest_and_last_mount_holds_a_folder() {
        for (folder, system) in [
            ("/home/me", "ext4"),
            ("/tmp", "tmpfs"),
            ("/tmpfile", "ext4"),
            ("/tmp/bench", "tmpfs"),
            ("/tmp/my disk/bench", "xfs"),
            ("/data/bench", "btrfs"),
        ] {
            let found = of_mounts(MOUNTS, Path::new(folder));
            assert_eq!(found.as_deref(), Some(system), "{folder}");
        }
        assert_eq!(of_mounts("", Path::new("/tmp")), None);
        assert!(is_memory("tmpfs") && !is_memory("ext4"));
    }

    #[test]
    fn flushes_are_counted_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(flush_rate(folder.path(), Duration::ZERO).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(flush_rate(&folder.path().join("absent"), Duration::ZERO).is_err());
    }
}
