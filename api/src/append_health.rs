//! Whether the store takes appends, as `/ready` says it.
//!
//! What was refused is remembered, and `/ready` then tries the store itself: a node that is not ready gets no more
//! appends, so it must find out without them that there is room again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ruche_ledger::store::{AppendOutcome, StoreError};
use tokio::sync::Semaphore;

/// Bytes of the try: more than a file system gives a file for nothing.
const TRY_BYTES: usize = 1_048_576;

/// Writes something durably where records are written, and leaves nothing behind.
#[async_trait]
pub trait WriteTest: Send + Sync {
    /// Tries it.
    ///
    /// # Errors
    /// What the system says: no room, for one.
    async fn try_to_write(&self) -> io::Result<()>;
}

/// Tries the disk of a folder.
pub struct FolderTest {
    folder: PathBuf,
    /// One try at a time. A thread that hangs in it keeps the turn.
    turn: Arc<Semaphore>,
}

impl FolderTest {
    /// Of the folder that holds the store.
    pub fn new(folder: PathBuf) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { folder, turn }
    }
}

#[async_trait]
impl WriteTest for FolderTest {
    async fn try_to_write(&self) -> io::Result<()> {
        let turn = self.turn.clone().acquire_owned().await.expect("nobody closes it");
        let folder = self.folder.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            try_to_write(&folder)
        });
        tried.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

/// What the last append said of the store, and how the store is tried.
pub struct AppendHealth {
    test: Arc<dyn WriteTest>,
    refused: AtomicBool,
}

impl AppendHealth {
    /// Of a store that takes appends until one says otherwise.
    pub fn new(test: Arc<dyn WriteTest>) -> Self {
        Self {
            test,
            refused: AtomicBool::new(false),
        }
    }

    /// Remembers what became of an append. What is wrong with the request alone says nothing of the store.
    pub fn note(&self, outcome: &Result<AppendOutcome, StoreError>) {
        match outcome {
            Ok(AppendOutcome::Appended { duplicate: false, .. }) => {
                self.refused.store(false, Ordering::Relaxed)
            }
            Ok(AppendOutcome::Unknown) | Err(StoreError::Unavailable { .. }) => {
                self.refused.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Tries the store if the last append was refused.
    ///
    /// # Errors
    /// What the system says: no room, for one. Once it can be written again, the store counts as good.
    pub async fn look(&self) -> io::Result<()> {
        if !self.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.test.try_to_write().await?;
        self.refused.store(false, Ordering::Relaxed);
        Ok(())
    }
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    let path = folder.join("ready-try.tmp");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; TRY_BYTES])?;
        file.sync_all()
    });
    // Also what was written in part: on a full disk it is in the way. That it could not be made is told below.
    let removed = fs::remove_file(&path);
    written?;
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<AppendOutcome, StoreError> {
        Err(StoreError::Unavailable {
            reason: "the disk is full".to_owned(),
        })
    }

    #[tokio::test]
    async fn a_store_that_refuses_is_told_until_its_disk_can_be_written() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        let health = AppendHealth::new(Arc::new(FolderTest::new(folder.clone())));
        assert!(health.look().await.is_ok(), "nothing was refused yet");
        health.note(&refused());
        for _again in 0..2 {
            assert!(health.look().await.is_err());
        }
        // What is wrong with a request says nothing of the store.
        health.note(&Err(StoreError::NoSuchLedger));
        assert!(health.look().await.is_err());
        fs::create_dir(&folder).unwrap();
        assert!(health.look().await.is_ok());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
        assert!(health.look().await.is_ok(), "it is not tried for nothing");
    }

    #[tokio::test]
    async fn an_append_that_gets_through_is_proof_enough() {
        let health = AppendHealth::new(Arc::new(FolderTest::new("/nowhere".into())));
        health.note(&Ok(AppendOutcome::Unknown));
        assert!(health.look().await.is_err());
        health.note(&Ok(AppendOutcome::Appended {
            receipts: Vec::new(),
            duplicate: false,
        }));
        assert!(health.look().await.is_ok());
    }
}
