//! The last signed tree head of each log, in files that are not restored with the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::oneshot;
use ruche_ledger::hash::Hash;
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::tree_head::SignedTreeHead;

use crate::files;

/// Folder inside the keys folder.
const FOLDER: &str = "tree-heads";
/// File that is locked while a tree head is compared and swapped.
const LOCK_FILE: &str = "lock";
/// Longest tree head that is read: three short lines and a few signatures.
const TREE_HEAD_BYTES_MAX: u64 = 65_536;
/// Waits for the lock: together five seconds. It is held for a few flushes at most.
const LOCK_ATTEMPTS_MAX: u32 = 500;
/// Milliseconds of one wait.
const LOCK_WAIT_MS: u64 = 10;

type Work = Box<dyn FnOnce(&Folder) + Send>;

/// One file for each log, named by the SHA-256 of its origin. Files are read and written by one thread of this process;
/// a lock on the folder keeps other processes apart.
pub struct TreeHeadFiles {
    /// Never longer than there are callers waiting: each gives one piece of work and waits for it.
    work: mpsc::Sender<Work>,
}

impl TreeHeadFiles {
    /// Whether tree heads stand in the keys folder `dir`. Makes nothing.
    pub fn are_in(dir: &Path) -> bool {
        let entries = std::fs::read_dir(dir.join(FOLDER));
        entries.is_ok_and(|entries| entries.flatten().any(|entry| is_tree_head(&entry.path())))
    }

    /// The tree heads in the keys folder `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// `Unavailable` if the folder cannot be used.
    pub fn open(dir: &Path) -> Result<Self, TreeHeadStoreError> {
        let dir = dir.join(FOLDER);
        files::create_private_dir(&dir).map_err(|e| unavailable("create", &dir, &e))?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path);
        let lock = lock.map_err(|e| unavailable("open", &lock_path, &e))?;
        // The folder's own name must survive a power cut before the first promise is put into it.
        for dir in [Some(&*dir), dir.parent()].into_iter().flatten() {
            files::sync_dir(dir).map_err(|e| unavailable("make durable", dir, &e))?;
        }
        let folder = Folder { dir, lock };
        let (work, works) = mpsc::channel::<Work>();
        thread::Builder::new()
            .name("ruche-tree-heads".into())
            // Ends when the last sender is gone.
            .spawn(move || works.into_iter().for_each(|work| work(&folder)))
            .map_err(|e| TreeHeadStoreError::Unavailable(format!("start a thread: {e}")))?;
        Ok(Self { work })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, TreeHeadStoreError> + Send + 'static,
    ) -> Result<T, TreeHeadStoreError> {
        let gone = || TreeHeadStoreError::Unavailable("the thread of the tree heads died".into());
        let (answer, answered) = oneshot::channel();
        // A caller that went away does not hear the answer; what was done stands.
        let work: Work = Box::new(move |folder| drop(answer.send(work(folder))));
        self.work.send(work).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl TreeHeadStore for TreeHeadFiles {
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        let origin = origin.to_owned();
        self.run(move |folder| folder.latest(&origin)).await
    }

    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        self.run(Folder::origins).await
    }

    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError> {
        let (origin, expected, new) = (origin.to_owned(), expected.cloned(), new.clone());
        self.run(move |folder| folder.compare_and_swap(&origin, expected.as_ref(), &new))
            .await
    }
}

/// The folder, as the one thread has it.
struct Folder {
    dir: PathBuf,
    lock: File,
}

impl Folder {
    fn path(&self, origin: &str) -> PathBuf {
        self.dir.join(Hash::sha256(origin.as_bytes()).to_string())
    }

    fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError> {
        let path = self.path(origin);
        let bytes = files::read(&path, TREE_HEAD_BYTES_MAX).map_err(|e| unavailable("read", &path, &e))?;
        let Some(bytes) = bytes else { return Ok(None) };
        // A file that cannot be read is never taken for none: that would let an older history be signed.
        let head = SignedTreeHead::parse(&bytes).map_err(|e| unavailable("read", &path, &e))?;
        if head.head().origin != origin {
            return Err(unavailable(
                "use",
                &path,
                &format!("it is the tree head of {}", head.head().origin),
            ));
        }
        Ok(Some(head))
    }

    fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError> {
        let failed = |e: std::io::Error| unavailable("list", &self.dir, &e);
        let mut origins = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !is_tree_head(&path) {
                continue;
            }
            let bytes =
                files::read(&path, TREE_HEAD_BYTES_MAX).map_err(|e| unavailable("read", &path, &e))?;
            let Some(bytes) = bytes else { continue };
            let head = SignedTreeHead::parse(&bytes).map_err(|e| unavailable("read", &path, &e))?;
            origins.push(head.head().origin.clone());
        }
        Ok(origins)
    }

    fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError> {
        let _locked = self.locked()?;
        let path = self.path(origin);
        let stored = self.latest(origin)?;
        if stored.as_ref().map(SignedTreeHead::as_bytes) != expected.map(SignedTreeHead::as_bytes) {
            return Err(TreeHeadStoreError::Swapped);
        }
        if new.head().origin != origin {
            return Err(unavailable(
                "write",
                &path,
                &format!("the new tree head is of {}", new.head().origin),
            ));
        }
        if let Some(stored) = &stored {
            let (old, new) = (stored.head().tree_root(), new.head().tree_root());
            if new.size < old.size || (new.size == old.size && new.root != old.root) {
                let reason = format!(
                    "a tree head over {} records was promised, {} contradicts it",
                    old.size, new.size
                );
                return Err(unavailable("write", &path, &reason));
            }
        }
        let temporary = path.with_extension("new");
        // Left by a crash of an earlier swap that made no promise.
        files::remove_if_there(&temporary).map_err(|e| unavailable("remove", &temporary, &e))?;
        files::write_new(&temporary, new.as_bytes()).map_err(|e| unavailable("write", &temporary, &e))?;
        // A crash here leaves the old tree head; the new one was shown to nobody.
        std::fs::rename(&temporary, &path).map_err(|e| unavailable("replace", &path, &e))?;
        // A crash here leaves the old or the new one, whole; the sealer reads it again before it signs anything.
        files::sync_dir(&self.dir).map_err(|e| unavailable("make durable", &self.dir, &e))
        // From here on the promise survives a power cut, and may be published.
    }

    /// Keeps other processes out until the guard is dropped. The kernel lets go of the lock if this process dies.
    fn locked(&self) -> Result<Locked<'_>, TreeHeadStoreError> {
        for _ in 0..LOCK_ATTEMPTS_MAX {
            match self.lock.try_lock() {
                Ok(()) => return Ok(Locked(&self.lock)),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(LOCK_WAIT_MS)),
                Err(TryLockError::Error(error)) => return Err(unavailable("lock", &self.dir, &error)),
            }
        }
        Err(unavailable("lock", &self.dir, &"another process holds it"))
    }
}

struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // If this fails, the next to lock the same open file succeeds all the same, and others are kept out.
        drop(self.0.unlock());
    }
}

/// Whether the file's name is the SHA-256 of an origin: beside these are the lock and what a crash left of a swap.
fn is_tree_head(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn unavailable(doing: &str, path: &Path, error: &dyn std::fmt::Display) -> TreeHeadStoreError {
    TreeHeadStoreError::Unavailable(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
