//! Errors of opening, and what an SQLite error means to a caller.

use std::path::{Path, PathBuf};

use ruche_projections::store::ReadStoreError;
use rusqlite::ErrorCode;

/// Why read models could not be opened. Nothing was changed; deleting the named file and opening again makes them anew.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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
    /// The file that names the current generation holds something else.
    #[error("{path} does not name a generation", path = path.display())]
    NotAGeneration {
        /// Which file.
        path: PathBuf,
    },
    /// The file is an SQLite database of something else.
    #[error("{path} is not a file of read models (application id {found:#x})", path = path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// The application id it has.
        found: i64,
    },
    /// A newer version of Ruche wrote the file. Use that one, or delete the file.
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
}

/// Makes an error of doing something to a file.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { doing, path, source }
}

/// Makes an error of doing something to a database.
pub(crate) fn sqlite(doing: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Sqlite { doing, path, source }
}

/// What an error of a statement means.
pub(crate) fn read_store_error(error: &rusqlite::Error) -> ReadStoreError {
    let text = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return ReadStoreError::Corrupt(text);
    };
    match failure.code {
        // A row that is there already, a null where none may be, a sum that became a float: the event does not fit.
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            ReadStoreError::Refused(text)
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => {
            ReadStoreError::Corrupt(text)
        }
        ErrorCode::OperationInterrupted => {
            ReadStoreError::Unavailable(format!("a query ran too long and was ended: {text}"))
        }
        _ => ReadStoreError::Unavailable(text),
    }
}
