//! Errors of opening, and what an SQLite error means to a caller.

use std::path::PathBuf;

use ruche_ledger::store::StoreError;
use rusqlite::ErrorCode;

/// Why the ledger file could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the data folder. Stop it first.
    #[error("{path} is in use by {holder}", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it: its process id and what it is.
        holder: String,
    },
    /// A file or folder cannot be used.
    #[error("cannot {doing} {path}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file is an SQLite database of something else.
    #[error("{path} is not a ledger of Ruche (application id {found:#x})", path = path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// The application id it has.
        found: i64,
    },
    /// A newer version of Ruche wrote the file. Use that one.
    #[error("{path} has schema version {found}, this program knows up to {known}", path = path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The greatest known here.
        known: i64,
    },
    /// SQLite refuses.
    #[error("cannot {doing} {path}", path = path.display())]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The file contradicts itself. It is not opened for writing; restore a backup or export what can be read.
    #[error(transparent)]
    Stored(#[from] StoreError),
}

/// What an error of a statement that wrote nothing durable means. `place` is a table, as the operator knows it.
pub(crate) fn store_error(place: &str, error: &rusqlite::Error) -> StoreError {
    let corrupt = || StoreError::Corrupt {
        place: place.to_owned(),
        reason: error.to_string(),
    };
    let unavailable = || StoreError::Unavailable {
        reason: format!("{place}: {error}"),
    };
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation => {
                corrupt()
            }
            _ => unavailable(),
        },
        // A column that holds what STRICT and the program would not have written there.
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows => corrupt(),
        _ => unavailable(),
    }
}
