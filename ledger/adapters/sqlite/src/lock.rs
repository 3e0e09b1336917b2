//! The data lock: one process at a time has a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::schema::sync_dir;

/// File in the data folder that the lock is on. It stays when the lock is gone; only the lock itself counts.
const LOCK_FILE: &str = "lock";
/// Longest note that is read from the file of another holder.
const HOLDER_BYTES_MAX: u64 = 256;

/// Proof that this process alone has a data folder. Released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct DataLock {
    dir: PathBuf,
    /// The advisory lock hangs on this open file.
    _file: File,
}

impl DataLock {
    /// Takes the folder, creating it if it is not there. `what` names the holder to others, such as `ruche serve`.
    ///
    /// # Errors
    /// `Locked` naming the holder; `Io`.
    pub fn acquire(dir: &Path, what: &str) -> Result<Self, OpenError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { doing, path, source }
        };
        // Conversations are for the user who runs Ruche; a folder that is there already keeps its mode.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io("create", dir))?;
        // A folder that was made just now must outlive a power cut, as the records in it must.
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    holder: holder(&file),
                    path,
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::Io {
                    doing: "lock",
                    path,
                    source,
                });
            }
        }
        // The note is for people only. A crash between these lines leaves an empty or an old note and no lock.
        file.set_len(0).map_err(io("write", &path))?;
        file.rewind().map_err(io("write", &path))?;
        let note = format!("process {} ({what})\n", std::process::id());
        file.write_all(note.as_bytes()).map_err(io("write", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            _file: file,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn holder(file: &File) -> String {
    let mut note = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        // The holder has the lock and has not written its note yet, or wrote it in another encoding.
        _ => "another process".to_owned(),
    }
}
