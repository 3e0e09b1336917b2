//! The file: settings of its connections, migrations, and what is checked before anything is written.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::SqliteOptions;
use crate::error::OpenError;

/// "Ruch": tells a ledger from any other SQLite file.
const APPLICATION_ID: i64 = 0x5275_6368;
/// Applied in order; `user_version` counts how many were. See `migrations/README.md`.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/ledger/0001_ledger.sql"),
    include_str!("../../../../migrations/sqlite/ledger/0002_key_runs.sql"),
    include_str!("../../../../migrations/sqlite/ledger/0003_archives.sql"),
];
/// Milliseconds that a connection waits for a lock. Only checkpoints and recovery after a crash ever hold one.
pub(crate) const BUSY_TIMEOUT_MS: u64 = 5_000;
/// Page cache of the writer, KiB, filled as it is used: right edges, and blocks of idempotency keys.
const WRITER_CACHE_KIB: i64 = 64 * 1_024;
/// Page cache of a reader, KiB.
const READER_CACHE_KIB: i64 = 4 * 1_024;
/// Statements that a connection keeps compiled. More than the code has, so that none is compiled twice.
const STATEMENTS_MAX: usize = 64;
/// Bytes that the write-ahead log is cut to when it starts over after a burst.
const WAL_BYTES_KEPT: i64 = 64 * 1_048_576;

/// Opens a file for writing, creating or migrating it. The caller holds the data lock.
pub(crate) fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let sqlite = |doing| sqlite(doing, path);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(sqlite("open"))?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))
        .map_err(sqlite("set up"))?;
    check_identity(&conn, path)?;
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(sqlite("switch to WAL"))?;
    if mode != "wal" {
        let source = std::io::Error::other(format!(
            "journal mode stays {mode}; the file system has no shared memory"
        ));
        return Err(OpenError::Io {
            doing: "switch to WAL",
            path: path.to_owned(),
            source,
        });
    }
    settings(&conn, WRITER_CACHE_KIB).map_err(sqlite("set up"))?;
    conn.pragma_update(None, "synchronous", options.synchronous.pragma())
        .map_err(sqlite("set up"))?;
    // Checkpoints are made by a thread of their own, so that no append waits for one.
    conn.pragma_update(None, "wal_autocheckpoint", 0)
        .map_err(sqlite("set up"))?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)
        .map_err(sqlite("set up"))?;
    migrate(&mut conn, path)?;
    // SQLite makes the content of its files durable, not the entry of a new file in its folder.
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    Ok(conn)
}

/// Opens a file for reading. The writer has it open, so it exists and is migrated.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite("open", path))?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))
        .map_err(sqlite("set up", path))?;
    check_identity(&conn, path)?;
    settings(&conn, READER_CACHE_KIB).map_err(sqlite("set up", path))?;
    Ok(conn)
}

/// A connection that does nothing but checkpoints.
pub(crate) fn open_checkpointer(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite("open", path))?;
    // A checkpoint fsyncs the log before it copies and the file after it has copied, as `synchronous` says.
    conn.pragma_update(None, "synchronous", options.synchronous.pragma())
        .map_err(sqlite("set up", path))?;
    Ok(conn)
}

fn settings(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "cache_size", -cache_kib)
}

/// Refuses a file of something else and a file of a newer version, before anything is written to it.
fn check_identity(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("application_id").map_err(sqlite("read", path))?;
    let version = pragma("user_version").map_err(sqlite("read", path))?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite("read", path))?;
    let empty = tables == 0 && found == 0 && version == 0;
    if !empty && found != APPLICATION_ID {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
            found,
        });
    }
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    Ok(())
}

/// Applies what is missing. Each migration and its number are one transaction: a crash leaves all of it or nothing.
fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |doing| sqlite(doing, path);
    let applied: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(sqlite("read"))?;
    let applied = usize::try_from(applied).unwrap_or(0);
    for (n, sql) in MIGRATIONS.iter().enumerate().skip(applied) {
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sqlite("migrate"))?;
        tx.execute_batch(sql).map_err(sqlite("migrate"))?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(sqlite("migrate"))?;
        tx.pragma_update(None, "user_version", n as i64 + 1)
            .map_err(sqlite("migrate"))?;
        tx.commit().map_err(sqlite("migrate"))?;
        tracing::info!(path = %path.display(), version = n + 1, "ledger schema migrated");
    }
    Ok(())
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    // The parent of a bare file name is the empty path.
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| OpenError::Io {
            doing: "make durable",
            path: dir.to_owned(),
            source,
        })
}

pub(crate) fn sqlite(doing: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Sqlite {
        doing,
        path: path.clone(),
        source,
    }
}
