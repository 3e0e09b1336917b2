//! A file of read models: opened, checked, brought to the schema of this program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, io, sqlite};

/// `PRAGMA application_id` of a file of read models: "RuRd".
const APPLICATION_ID: i64 = 0x5275_5264;
/// Schema changes in order; the number of the last one is the file's `user_version`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/read/0001_read_models.sql"),
    include_str!("../../../../migrations/sqlite/read/0002_owners_outcomes_scores.sql"),
    include_str!("../../../../migrations/sqlite/read/0003_money_units.sql"),
    include_str!("../../../../migrations/sqlite/read/0004_lanes.sql"),
    include_str!("../../../../migrations/sqlite/read/0005_ready_by_agent.sql"),
    include_str!("../../../../migrations/sqlite/read/0006_approvals.sql"),
    include_str!("../../../../migrations/sqlite/read/0007_messages_of_turns.sql"),
    include_str!("../../../../migrations/sqlite/read/0008_what_workers_read.sql"),
    include_str!("../../../../migrations/sqlite/read/0009_calls_that_never_run.sql"),
    include_str!("../../../../migrations/sqlite/read/0010_interventions.sql"),
    include_str!("../../../../migrations/sqlite/read/0011_imported_tools.sql"),
    include_str!("../../../../migrations/sqlite/read/0012_turn_attempts.sql"),
    include_str!("../../../../migrations/sqlite/read/0013_why_it_was_rejected.sql"),
    include_str!("../../../../migrations/sqlite/read/0014_lanes_of_turns_and_calls.sql"),
    include_str!("../../../../migrations/sqlite/read/0015_who_asserted_outcomes.sql"),
    include_str!("../../../../migrations/sqlite/read/0016_effects_in_doubt.sql"),
    include_str!("../../../../migrations/sqlite/read/0017_turns_that_wait_for_people.sql"),
    include_str!("../../../../migrations/sqlite/read/0018_memory.sql"),
    include_str!("../../../../migrations/sqlite/read/0019_analytics.sql"),
    include_str!("../../../../migrations/sqlite/read/0020_scenarios_goals_words.sql"),
    include_str!("../../../../migrations/sqlite/read/0021_paused_projections.sql"),
    include_str!("../../../../migrations/sqlite/read/0022_ends_of_facts.sql"),
    include_str!("../../../../migrations/sqlite/read/0023_sessions_by_external_id.sql"),
    include_str!("../../../../migrations/sqlite/read/0024_tables_for_others.sql"),
    include_str!("../../../../migrations/sqlite/read/0025_policy.sql"),
    include_str!("../../../../migrations/sqlite/read/0026_saved_queries.sql"),
    include_str!("../../../../migrations/sqlite/read/0027_vectors_of_facts.sql"),
];
/// File in the data folder that names the current generation.
const POINTER: &str = "read-generation";
/// Longest wait for a lock that another connection has for a moment, as when a log is folded into the file.
const BUSY_MS: u64 = 5_000;
/// KiB of pages that the writer keeps in memory.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// KiB of pages that a reader keeps in memory.
const READER_CACHE_KIB: i64 = 8 * 1024;
/// Pages of the log after which it is folded into the file; larger than the default, because catching up writes the
/// same pages many times.
const WAL_PAGES: i64 = 8_192;

/// The file of a generation.
pub(crate) fn path_of(dir: &Path, generation: u32) -> PathBuf {
    dir.join(format!("read-{generation}.db"))
}

/// How much a commit is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Commits survive a crash of the process, and nearly all of them a power cut.
    Normal,
    /// Nothing is promised until the file is settled: for a generation that is thrown away if anything goes wrong.
    None,
}

/// Opens a file for the writer, making it if it is not there.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let conn = Connection::open(path).map_err(sqlite("open", path))?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))
        .map_err(sqlite("open", path))?;
    let synchronous = match durability {
        Durability::Normal => "NORMAL",
        Durability::None => "OFF",
    };
    let pragmas = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = -{WRITER_CACHE_KIB}; PRAGMA wal_autocheckpoint = {WAL_PAGES};"
    );
    conn.execute_batch(&pragmas).map_err(sqlite("configure", path))?;
    migrate(&conn, path)?;
    Ok(conn)
}

/// Opens a file that is there for reading alone.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite("open", path))?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))
        .map_err(sqlite("open", path))?;
    let pragmas = format!(
        "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{READER_CACHE_KIB};"
    );
    conn.execute_batch(&pragmas).map_err(sqlite("configure", path))?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn pragma(conn: &Connection, path: &Path, name: &str) -> Result<i64, OpenError> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        .map_err(sqlite("read", path))
}

/// Each migration is applied in one transaction with its number: after a crash it is applied whole or not at all.
fn migrate(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let known = MIGRATIONS.len() as i64;
    let found = pragma(conn, path, "user_version")?;
    let application = pragma(conn, path, "application_id")?;
    let tables = "SELECT COUNT(*) FROM sqlite_schema";
    let tables: i64 = conn
        .query_row(tables, [], |row| row.get(0))
        .map_err(sqlite("read", path))?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
            found: application,
        });
    }
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (n, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let number = n + 1;
        let batch = format!(
            "BEGIN IMMEDIATE; {sql} PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        );
        conn.execute_batch(&batch).map_err(sqlite("migrate", path))?;
    }
    Ok(())
}

/// The current generation of a data folder; the first one where nothing is said.
pub(crate) fn current(dir: &Path) -> Result<u32, OpenError> {
    let path = dir.join(POINTER);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(1),
        Err(error) => return Err(io("read", &path)(error)),
    };
    let generation = text.trim().parse().ok().filter(|generation| *generation > 0);
    generation.ok_or(OpenError::NotAGeneration { path })
}

/// Makes a generation the current one. If we die before the rename the old one stays current, after it the new one is.
pub(crate) fn set_current(dir: &Path, generation: u32) -> Result<(), OpenError> {
    let (path, next) = (dir.join(POINTER), dir.join(format!("{POINTER}.next")));
    let write = || {
        std::fs::write(&next, format!("{generation}\n"))?;
        std::fs::File::open(&next)?.sync_all()?;
        std::fs::rename(&next, &path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(io("write", &path))
}

/// Removes the files of a generation, if there are any.
pub(crate) fn remove(dir: &Path, generation: u32) -> Result<(), OpenError> {
    let path = path_of(dir, generation);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("remove", Path::new(&file))(error)),
        }
    }
    Ok(())
}

/// Removes the files of every generation but the current one: a rebuild that did not end, or a model that was replaced.
pub(crate) fn remove_others(dir: &Path, current: u32) -> Result<(), OpenError> {
    for entry in std::fs::read_dir(dir).map_err(io("list", dir))? {
        let name = entry.map_err(io("list", dir))?.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix("read-")?
                .strip_suffix(".db")?
                .parse::<u32>()
                .ok()
        });
        if let Some(number) = number.filter(|number| *number != current) {
            remove(dir, number)?;
        }
    }
    Ok(())
}
