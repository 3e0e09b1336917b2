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

use rusqlite::Connection;

/// Frames (4 KiB pages) of the log after which a checkpoint is asked for, and again after each as many more.
const LOG_PAGES_SOFT: i32 = 4_096;
/// Frames from which on the writer copies itself, whatever it costs. Not a hard bound of the log: SQLite starts it over
/// only in a moment without any reader, and a backup is one long read. Until then the log grows with the appends.
const LOG_PAGES_HARD: i32 = 131_072;
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
    pub(crate) fn after_commit(&self, conn: &Connection) {
        let pages = LOG_PAGES.get();
        let mut state = self.lock();
        if pages < LOG_PAGES_SOFT {
            // The log has started over.
            state.next_pages = 0;
            return;
        }
        if pages >= LOG_PAGES_HARD {
            drop(state);
            passive(conn);
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

/// The last checkpoint of a clean close: copies everything and empties the log.
pub(crate) fn truncate(conn: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        // Somebody outside reads the file (a backup tool, a shell). The log stays and is read at the next start.
        tracing::warn!("the log could not be emptied at close: another connection is reading");
    }
    Ok(())
}
