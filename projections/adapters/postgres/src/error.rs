//! Errors of opening, and what an error of PostgreSQL means to a caller.

use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_projections::store::ReadStoreError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::value::WrongType;

/// Why the read models could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached or refuses.
    #[error("cannot {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: Error,
    },
    /// There was no connection in time.
    #[error("no connection to the database: {0}")]
    Connection(String),
    /// The pool has fewer connections than a rebuild and a reader need at once.
    #[error("the pool of read models has {found} connections, at least {least} are needed")]
    SmallPool {
        /// Connections of the pool.
        found: usize,
        /// The fewest that work.
        least: usize,
    },
    /// The schema was never made, or by an older version of Ruche. Migrate it first.
    #[error("the read models have schema version {found}, this program needs {needed}: migrate them first")]
    NotMigrated {
        /// Its version; 0 where there is none.
        found: i64,
        /// The one that is needed.
        needed: i64,
    },
    /// The schema has to be brought up to date, or may not be looked at, and the login user may not change that.
    #[error(
        "the read models have to be brought up to date, or may not be looked at by the login user {user}, and only their \
         owner can do something about it: run `ruche migrate` with the URL of {owner}, and give {user} the rights that nodes \
         need (docs/operations/postgres.md)"
    )]
    NotOwner {
        /// Who is logged in.
        user: String,
        /// Who owns the read models or, if there are none, the database.
        owner: String,
    },
    /// A newer version of Ruche made the schema. Use that one.
    #[error("the read models have schema version {found}, this program knows up to {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// The greatest known here.
        known: i64,
    },
    /// The role that programs read and write as is absent or out of reach, and this user may not change that.
    #[error("the role ruche_app cannot be used; an administrator of the database server has to run: {sql}")]
    Role {
        /// What an administrator runs, once for the whole server.
        sql: String,
        /// Why this user cannot.
        source: Error,
    },
}

impl OpenError {
    /// Whether the login user lacks a right.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
    }

    pub(crate) fn database(doing: &'static str) -> impl FnOnce(Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

/// What a failed statement means to a caller. If nobody answered, its fate is unknown: `Unavailable`.
pub(crate) fn read_store_error(error: &Error) -> ReadStoreError {
    let Some(db) = error.as_db_error() else {
        let wrong = std::error::Error::source(error).and_then(|source| source.downcast_ref::<WrongType>());
        if let Some(wrong) = wrong {
            return ReadStoreError::Refused(wrong.to_string());
        }
        let text =
            std::error::Error::source(error).map_or_else(|| error.to_string(), |e| format!("{error}: {e}"));
        return ReadStoreError::Unavailable(text);
    };
    let (text, code) = (db.message().to_owned(), db.code());
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return ReadStoreError::Overloaded {
            retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
        };
    }
    match code.code().get(..2).unwrap_or_default() {
        // A row that is there already or is changed twice at once, a null where none may be, a sum or a key that does not
        // fit.
        "21" | "22" | "23" | "54" => ReadStoreError::Refused(text),
        "42" if *code == SqlState::DATATYPE_MISMATCH => ReadStoreError::Refused(text),
        "42" if *code == SqlState::INSUFFICIENT_PRIVILEGE => ReadStoreError::Unavailable(text),
        // A table or column is not there, a statement is wrong, pages are damaged, a value does not fit its place.
        "42" | "3F" | "XX" => ReadStoreError::Corrupt(text),
        "08" if *code == SqlState::PROTOCOL_VIOLATION => ReadStoreError::Corrupt(text),
        _ => ReadStoreError::Unavailable(text),
    }
}

/// Whether the generation that a transaction began with was dropped meanwhile, or two transactions waited for each
/// other on the way to that. The same transaction begun again sees the generation that took its place.
pub(crate) fn is_passed_over(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
    })
}
