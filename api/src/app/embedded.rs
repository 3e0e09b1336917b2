//! The embedded engine: SQLite files in the data folder, tree heads in files of the keys folder, one process.

use std::sync::Arc;

use ruche_domain::ports::Clock;
use ruche_ledger::lease::OnlyNode;
use ruche_ledger_keys::TreeHeadFiles;
use ruche_ledger_sqlite::{DataLock, SqliteOptions, SqliteStore};
use ruche_projections_sqlite::SqliteReadStore;

use super::AppError;
use super::engine::{Engine, Held};
use crate::append_health::FolderTest;
use crate::cli::Common;

/// Opens the files of the data folder, which is locked.
pub(super) fn open(common: &Common, lock: Arc<DataLock>, clock: Arc<dyn Clock>) -> Result<Engine, AppError> {
    let store = Arc::new(SqliteStore::open(lock, clock, SqliteOptions::default())?);
    let heads = Arc::new(TreeHeadFiles::open(&common.keys_dir)?);
    let reads = Arc::new(SqliteReadStore::open(&common.data_dir)?);
    Ok(Engine {
        events: store.clone(),
        archives: store.clone(),
        trees: store.clone(),
        heads,
        reads: reads.clone(),
        snapshots: reads.clone(),
        rebuild: reads,
        leases: Arc::new(OnlyNode),
        halts: None,
        writers: store.writers(),
        write_test: Arc::new(FolderTest::new(common.data_dir.clone())),
        held: Held::Files(store),
    })
}
