//! Checkpoints: copying the write-ahead log into the file, beside the appends and not before them.
//!
//! A thread of its own copies most of the log while the writer goes on (PASSIVE takes no lock that the writer needs).
//! What the writer added meanwhile, the writer copies itself between two commits; then the whole log is copied and
//! SQLite starts it over with the next commit. Without that last step a busy log would grow for ever.
//!
//! A crash at any point of a checkpoint costs nothing: the log stays whole until everything in it is flushed into the
//! file, and is read again at the next start.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use crate::readers::Readers;
use crate::schema::BUSY_TIMEOUT_MS;

/// Frames (4 KiB pages) of the log after which a checkpoint is asked for, and again after each as many more.
const LOG_PAGES_SOFT: i32 = if cfg!(test) { 16 } else { 4_096 };
/// Frames (512 MiB) at which readers pause while the writer copies all of the log and starts it over: SQLite does that
/// only in a moment without any reader, which under constant reads may never come. Only a backup, one long read of
/// another connection, lets the log grow further, until it ends.
const LOG_PAGES_HARD: i32 = if cfg!(test) { 48 } else { 131_072 };
/// Frames that are cheap enough to be left to the writer.
const REST_PAGES: i64 = 512;
/// Passes over a log that keeps growing, before the rest is left to the writer.
const PASSES_MAX: u32 = 4;

thread_local! {
    /// Frames in the log after the last commit of this thread's connection.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Notes the length of the log after each commit of `conn`. Replaces SQLite's own automatic checkpoints.
pub(crate) fn watch_wal(conn: &Connection) {
    conn.wal_hook(Some(|_, pages| {
        LOG_PAGES.set(pages);
        Ok(())
    }));
}

/// What writer and checkpointer tell each other.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    /// The writer wants the log to be copied.
    wanted: bool,
    /// Most of it is copied; the writer may copy the rest.
    copied: bool,
    /// Frames at which the writer asks again; 0 before it asked for the first time.
    next_pages: i32,
    /// Frames that the log may grow by before readers pause again; doubles with each pause that did not help.
    patience: i32,
    stop: bool,
}

impl Signal {
    /// The writer's step before a commit: copies the rest, so that the log starts over with this very commit.
    pub(crate) fn finish_on(&self, conn: &Connection) {
        if std::mem::take(&mut self.lock().copied) {
            passive(conn);
        }
    }

    /// The writer's step after a commit: asks for a checkpoint when the log has grown.
    pub(crate) fn after_commit(&self, conn: &Connection, readers: &Readers) {
        let pages = LOG_PAGES.get();
        let mut state = self.lock();
        if pages < LOG_PAGES_SOFT {
            // The log has started over.
            state.next_pages = 0;
            state.patience = 0;
            return;
        }
        if pages >= LOG_PAGES_HARD {
            if pages >= state.next_pages {
                // Somebody outside may keep the log from starting over for long. A pause that does not help costs
                // readers little, and comes ever more seldom.
                state.patience = state.patience.saturating_mul(2).max(LOG_PAGES_SOFT);
                state.next_pages = pages.saturating_add(state.patience);
                drop(state);
                readers.paused(|| restart(conn));
            }
        } else if pages >= state.next_pages && !state.wanted {
            state.next_pages = pages + LOG_PAGES_SOFT;
            state.wanted = true;
            drop(state);
            self.asked.notify_one();
        }
    }

    /// Ends the checkpointer's thread.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.asked.notify_all();
    }

    /// Waits for work; false when there will be none.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while !state.wanted && !state.stop {
            state = self.asked.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.stop
    }

    fn copied(&self) {
        let mut state = self.lock();
        state.wanted = false;
        state.copied = true;
    }

    /// Plain flags: a panic of another holder leaves them as they are.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the checkpointer's thread.
pub(crate) fn spawn(conn: Connection, signal: Arc<Signal>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("ruche-ledger-checkpoint".into())
        .spawn(move || {
            while signal.wait() {
                for _ in 0..PASSES_MAX {
                    if passive(&conn) <= REST_PAGES {
                        break;
                    }
                }
                signal.copied();
            }
        })
}

/// Copies what can be copied without waiting for anybody. Returns the frames that are left.
fn passive(conn: &Connection) -> i64 {
    let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match done {
        Ok((frames, copied)) => frames - copied,
        Err(error) => {
            // Nothing is lost: the log keeps what was not copied, and the next checkpoint tries again.
            tracing::warn!(%error, "checkpoint failed; the log keeps growing");
            0
        }
    }
}

/// Copies everything and lets the next commit start the log over. Waits for nobody outside: the writer and all readers
/// stand still meanwhile.
fn restart(conn: &Connection) {
    let busy = without_waiting(conn, || {
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0))
    });
    match busy {
        Ok(0) => {}
        // Also while the checkpointer is at its pass: then the next try is at hand.
        Ok(_) => tracing::warn!(
            "the log cannot start over: another connection reads or copies it; it grows until that ends"
        ),
        Err(error) => tracing::warn!(%error, "checkpoint failed; the log keeps growing"),
    }
}

/// Does something with a connection that fails at once where it would wait for another one.
fn without_waiting<T>(conn: &Connection, what: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    conn.busy_timeout(Duration::ZERO)?;
    let done = what();
    conn.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    done
}

/// The last checkpoint of a clean close: copies everything and empties the log.
pub(crate) fn truncate(conn: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        // Somebody outside reads the file (a backup tool, a shell). The log stays and is read at the next start.
        tracing::warn!("the log could not be emptied at close: another connection is reading");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use ruche_domain::numbers::Position;
    use ruche_ledger::store::EventStore;
    use ruche_ledger::testing::{Author, FixedClock, appended, ledger};

    use crate::{DataLock, LEDGER_FILE, SqliteOptions, SqliteStore};

    use super::*;

    /// Here readers pause at 48 frames.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_bounded_while_somebody_reads_all_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Arc::new(DataLock::acquire(dir.path(), "test").unwrap());
        let store = SqliteStore::open(lock, Arc::new(FixedClock::at(1)), SqliteOptions::default()).unwrap();
        let (store, stop) = (Arc::new(store), Arc::new(AtomicBool::new(false)));
        let author = Author::new(1);
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.unwrap();
        // More callers than reader threads, so that some thread always reads.
        let readers: Vec<_> = (0..6)
            .map(|_| {
                let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        store.read_ledger(ledger(1), Position::START, 200).await.unwrap();
                    }
                })
            })
            .collect();
        let log = dir.path().join(format!("{LEDGER_FILE}-wal"));
        let mut longest = 0;
        for _ in 0..400 {
            let event = author.event(author.stream(1), "{}");
            appended(store.append(ledger(1), author.append(vec![event])).await);
            longest = longest.max(std::fs::metadata(&log).unwrap().len());
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
        // The file is not cut when the log starts over, so its length is the most that it ever held.
        let frames = longest / (4_096 + 24);
        assert!(frames < 100, "the log grew to {frames} frames");
    }

    /// As a backup tool or a shell would: the log cannot start over, and nobody is made to wait for that.
    #[tokio::test]
    async fn nobody_waits_for_a_long_read_of_a_stranger() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Arc::new(DataLock::acquire(dir.path(), "test").unwrap());
        let store = SqliteStore::open(lock, Arc::new(FixedClock::at(1)), SqliteOptions::default()).unwrap();
        let author = Author::new(1);
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.unwrap();
        let stranger = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
        let view = stranger.unchecked_transaction().unwrap();
        let seen = || view.query_row("SELECT count(*) FROM record", [], |row| row.get::<_, i64>(0));
        let before = seen().unwrap();
        let started = std::time::Instant::now();
        for _ in 0..200 {
            let event = author.event(author.stream(1), "{}");
            appended(store.append(ledger(1), author.append(vec![event])).await);
        }
        let log = dir.path().join(format!("{LEDGER_FILE}-wal"));
        let frames = std::fs::metadata(&log).unwrap().len() / (4_096 + 24);
        assert!(frames > 100, "the stranger's view held the log: {frames} frames");
        assert!(
            started.elapsed() < Duration::from_millis(BUSY_TIMEOUT_MS),
            "somebody waited"
        );
        assert_eq!(seen().unwrap(), before);
        drop(view);
        for _ in 0..LOG_PAGES_HARD * 4 {
            let event = author.event(author.stream(1), "{}");
            appended(store.append(ledger(1), author.append(vec![event])).await);
        }
        let now = std::fs::metadata(&log).unwrap().len() / (4_096 + 24);
        assert!(
            now < frames * 3,
            "the log started over when the stranger was gone: {now} frames"
        );
    }
}
