//! Random courses of a lane, told to a ledger and to the read models that follow it.

use std::sync::Arc;

use ruche_commands::lane::LaneEvent;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::{EventStore, PreparedEvent};
use ruche_ledger::testing::{Author, FixedClock, appended, ledger};
use ruche_projections::runner::Runner;
use ruche_projections_sqlite::SqliteReadStore;

use super::machine::{Course, prepared};

/// A course, and where it is told.
pub(super) struct Told {
    pub course: Course,
    pub reads: Arc<SqliteReadStore>,
    author: Author,
    store: Arc<MemoryStore>,
    runner: Runner,
    _folder: tempfile::TempDir,
}

impl Told {
    /// A course that begins in an empty ledger.
    pub async fn of(course: Course) -> Self {
        let author = Author::new(1);
        let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(course.now.0))));
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.expect("a new ledger");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reads = Arc::new(SqliteReadStore::open(folder.path()).expect("read models"));
        let runner = Runner::new(store.clone(), reads.clone());
        Self {
            course,
            reads,
            author,
            store,
            runner,
            _folder: folder,
        }
    }

    /// The next step, once the read models know of it; nothing where it was refused.
    pub async fn step(&mut self) -> Option<Vec<LaneEvent>> {
        let events = self.course.step()?;
        let prepare = |event| prepared(&self.author, event);
        let append: Vec<PreparedEvent> = events.iter().map(prepare).collect();
        appended(self.store.append(ledger(1), self.author.append(append)).await);
        let followed = self.runner.catch_up(ledger(1)).await;
        followed.expect("the read models follow");
        Some(events)
    }
}
