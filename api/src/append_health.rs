//! Whether the store takes appends, as `/ready` says it.
//!
//! What was refused is remembered, and `/ready` then tries the store itself: a node that is not ready gets no more
//! appends, so it must find out without them that there is room again. Appends that get no answer at all, on a disk that
//! hangs, refuse nothing: when none had one for a time, the store is tried as well.
//!
//! `/ready` asks for no key, so it can be asked at any rate, and a try may hang: on a server that waits for its standby,
//! or on a disk. So there is one try at a time, and all who ask share what it says, but that all is well only if it began
//! behind the refusal. One that hangs goes on hanging, and gets a single other one beside it after a time: a server that froze
//! may have been replaced by another.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ruche_ledger::store::{AppendOutcome, StoreError};
use ruche_ledger::writer_life::{GIVEN_UP, WriterLife};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::limits::{READY_SILENCE_MAX, READY_TRY_AGAIN, READY_TRY_SHARED, READY_TRY_WAIT_MAX};

/// Tries that there may be at a time, each with a file of its own.
const TRIES: usize = 2;
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
    /// Which files are being written.
    taken: Arc<[AtomicBool; TRIES]>,
}

impl FolderTest {
    /// Of the folder that holds the store.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            taken: Arc::default(),
        }
    }
}

#[async_trait]
impl WriteTest for FolderTest {
    async fn try_to_write(&self) -> io::Result<()> {
        let (folder, taken) = (self.folder.clone(), Arc::clone(&self.taken));
        let tried = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone long before this ends: the file is its own until then.
            let free = taken.iter().position(|one| !one.swap(true, Ordering::SeqCst));
            let place = free.ok_or_else(|| io::Error::other("earlier tries to write hang"))?;
            let tried = try_to_write(&folder.join(format!("ready-try-{place}.tmp")));
            taken[place].store(false, Ordering::SeqCst);
            tried
        });
        tried.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

/// What the last append said of the store, and how the store is tried.
pub struct AppendHealth {
    test: Arc<dyn WriteTest>,
    writers: Arc<WriterLife>,
    appends: Mutex<Appends>,
    tries: Mutex<Tries>,
    /// How long what a try said is good for.
    shared_for: Duration,
}

/// What appends say of the store.
#[derive(Default)]
struct Appends {
    /// When the last one was refused or its outcome unknown, if none was stored since.
    refused: Option<Instant>,
    /// Those without an answer yet.
    unanswered: usize,
    /// Since when the store has answered none. Stays when their callers hang up, until it answers one or can be written.
    silent: Option<Instant>,
}

/// Counts an append for as long as somebody waits for its answer.
pub struct Unanswered<'a>(&'a AppendHealth);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        // A caller that hung up had no answer, so how long the store has been silent stays as it is.
        lock(&self.0.appends).unanswered -= 1;
    }
}

#[derive(Default)]
struct Tries {
    /// The try that is under way, or the last one.
    last: Option<Try>,
    /// One that hangs beside it.
    hanging: Option<Try>,
}

/// A try to write, as all who wait for it see it.
#[derive(Clone)]
struct Try {
    begun: Instant,
    said: watch::Receiver<Option<Said>>,
    task: AbortHandle,
}

#[derive(Clone)]
struct Said {
    at: Instant,
    what: Result<(), String>,
}

impl Try {
    fn begin(test: Arc<dyn WriteTest>) -> Self {
        let (say, said) = watch::channel(None);
        // A task of its own: a session that waits for a standby goes on waiting on the server when its caller gives up,
        // and the next caller would leave another one there.
        let task = tokio::spawn(async move {
            let what = test.try_to_write().await.map_err(|error| error.to_string());
            say.send_replace(Some(Said {
                at: Instant::now(),
                what,
            }));
        });
        Self {
            begun: Instant::now(),
            said,
            task: task.abort_handle(),
        }
    }

    fn is_under_way(&self) -> bool {
        // Not if its task is gone without a word.
        self.said.borrow().is_none() && self.said.has_changed().is_ok()
    }

    fn is_good_for(&self, shared_for: Duration) -> bool {
        let said = self.said.borrow();
        said.as_ref().is_some_and(|said| said.at.elapsed() < shared_for)
    }

    fn said_no(&self) -> bool {
        self.said.borrow().as_ref().is_some_and(|said| said.what.is_err())
    }

    async fn outcome(mut self) -> Result<(), String> {
        let left = READY_TRY_WAIT_MAX.saturating_sub(self.begun.elapsed());
        match timeout(left, self.said.wait_for(Option::is_some)).await {
            Ok(Ok(said)) => said.as_ref().map_or(Ok(()), |said| said.what.clone()),
            Ok(Err(_)) => Err("the try to write broke off".to_owned()),
            Err(_) => Err(format!(
                "a try to write has no answer after {} ms",
                self.begun.elapsed().as_millis()
            )),
        }
    }
}

impl AppendHealth {
    /// Of a store that takes appends until one says otherwise, or its writers do.
    pub fn new(test: Arc<dyn WriteTest>, writers: Arc<WriterLife>) -> Self {
        Self {
            test,
            writers,
            appends: Mutex::default(),
            tries: Mutex::default(),
            shared_for: READY_TRY_SHARED,
        }
    }

    /// How often a writer of the store was started anew.
    pub fn writer_restarts(&self) -> u64 {
        self.writers.restarts()
    }

    /// An append begins.
    pub fn begin(&self) -> Unanswered<'_> {
        let mut appends = lock(&self.appends);
        appends.unanswered += 1;
        appends.silent.get_or_insert_with(Instant::now);
        Unanswered(self)
    }

    /// Remembers what became of an append. What is wrong with the request alone says nothing of the store.
    pub fn note(&self, outcome: &Result<AppendOutcome, StoreError>) {
        let mut appends = lock(&self.appends);
        // A queue that is full refuses without the store, which may hang behind it.
        if !matches!(outcome, Err(StoreError::Overloaded { .. })) {
            // Whoever has this answer is still counted.
            appends.silent = (appends.unanswered > 1).then(Instant::now);
        }
        match outcome {
            Ok(AppendOutcome::Appended { duplicate: false, .. }) => appends.refused = None,
            Ok(AppendOutcome::Unknown) | Err(StoreError::Unavailable { .. }) => {
                appends.refused = Some(Instant::now());
            }
            _ => {}
        }
    }

    /// Tries the store if the last append was refused or none is answered, or says what a try of a moment ago said. Waits
    /// for a try that hangs no longer than [`READY_TRY_WAIT_MAX`] from its begin.
    ///
    /// # Errors
    /// What the system says: no room, for one. Once it can be written again, the store counts as good.
    pub async fn look(&self) -> Result<(), String> {
        // Whatever the disk takes: nobody would write an append to it.
        if self.writers.is_given_up() {
            return Err(GIVEN_UP.to_owned());
        }
        let Some(doubted) = self.doubted() else {
            return Ok(());
        };
        let mut tried = self.the_try(doubted);
        tried.clone().outcome().await?;
        if tried.begun < doubted {
            // It was under way when the append was refused, and says nothing of it. The next one does.
            tried = self.the_try(doubted);
            tried.clone().outcome().await?;
        }
        let mut appends = lock(&self.appends);
        appends.refused = appends.refused.filter(|refused| *refused > tried.begun);
        appends.silent = appends.silent.filter(|_| appends.unanswered > 0);
        drop(appends);
        if let Some(hanging) = self.tries().hanging.take() {
            // Whatever it waits for, the store can be written without it.
            hanging.task.abort();
        }
        Ok(())
    }

    /// Since when there is a reason to try the store; `None` if there is none.
    fn doubted(&self) -> Option<Instant> {
        let appends = lock(&self.appends);
        let silent = appends
            .silent
            .filter(|silent| silent.elapsed() >= READY_SILENCE_MAX);
        appends.refused.max(silent)
    }

    /// The try that is under way, one of a moment ago that says no or began late enough to say yes, or a new one.
    fn the_try(&self, doubted: Instant) -> Try {
        let mut tries = self.tries();
        if let Some(last) = &tries.last {
            let is_alone = tries.hanging.as_ref().is_none_or(|other| !other.is_under_way());
            let has_time = last.begun.elapsed() < READY_TRY_AGAIN || !is_alone;
            let counts = last.begun >= doubted || last.said_no();
            if (last.is_good_for(self.shared_for) && counts) || (last.is_under_way() && has_time) {
                return last.clone();
            }
            if last.is_under_way() {
                tries.hanging = tries.last.take();
            }
        }
        tries.last.insert(Try::begin(self.test.clone())).clone()
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        lock(&self.tries)
    }
}

/// Each change is one assignment, so a panic of another holder changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_to_write(path: &Path) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; TRY_BYTES])?;
        file.sync_all()
    });
    // Also what was written in part: on a full disk it is in the way. That it could not be made is told below.
    let removed = fs::remove_file(path);
    written?;
    removed
}

#[cfg(test)]
mod tests;
