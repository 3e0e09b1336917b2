//! Errors of opening, and what an error of PostgreSQL means to a caller.

use ruche_ledger::store::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached or refuses.
    #[error("cannot {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: Error,
    },
    /// The connection pool cannot be made.
    #[error("cannot make the connection pool: {0}")]
    Pool(String),
    /// The server would lose what it confirms. Switch the setting on, or say that losing data is meant.
    #[error("the server has {setting}={value}: what it confirms can be lost in a power cut")]
    NotDurable {
        /// Name of the setting.
        setting: &'static str,
        /// What it is.
        value: String,
    },
    /// The ledgers and the tree heads would be in one database, and come back together when it is restored.
    #[error(
        "the tree heads need a database of their own: together with the ledgers they would be restored with them, and \
         nobody would know what was lost"
    )]
    SameDatabase,
    /// The server is a standby, or reads only. Name all hosts in the URL, so that the primary is found.
    #[error("the server is a standby: it cannot be written to")]
    Standby,
    /// The read URL leads to another database, or to a standby.
    #[error(
        "the read URL leads to another database than the URL, or to another server: what is written on one side is not \
         read on the other. Both have to lead to the same database of the primary"
    )]
    Elsewhere,
    /// The server took too long to answer.
    #[error("no session with the database after {seconds} s")]
    Slow {
        /// How long was waited.
        seconds: u64,
    },
    /// Something was asked, and no answer came. It may be done, now or later.
    #[error("no answer of the database after {seconds} s")]
    NoAnswer {
        /// How long was waited.
        seconds: u64,
    },
    /// A commit was confirmed with a warning: somebody ended its wait for the standby. It is done here, no standby may have
    /// it, and a failover would lose it.
    #[error("cannot {doing} for certain: the wait for the standby was ended, and a failover would lose it")]
    Unconfirmed {
        /// What was committed.
        doing: &'static str,
    },
    /// A restore cannot be finished yet.
    #[error("{ledgers} ledgers that were restored are not in their next epochs: the restore is not finished")]
    RestorePending {
        /// How many.
        ledgers: usize,
    },
    /// Something in the URL cannot be taken as it is.
    #[error("the database URL: {0}")]
    Url(String),
    /// TLS cannot be set up.
    #[error("TLS to the database: {0}")]
    Tls(String),
    /// The roles are absent and the login user may not make or use them. An administrator runs the statements.
    #[error("the login user may not make or use the roles of Ruche; as an administrator run: {sql}")]
    Roles {
        /// What to run in any database of the cluster.
        sql: String,
    },
    /// The database is an empty one, or another one than was meant. Only for who makes nothing.
    #[error(
        "there is nothing of Ruche in this database (no schema {schema}): name the right one, or make it with `ruche \
         migrate` or the first `ruche serve`"
    )]
    NoSchema {
        /// Name of the schema.
        schema: &'static str,
    },
    /// Somebody else has a schema of this name, with tables that are not Ruche's.
    #[error(
        "the database has a schema {schema} with tables that Ruche did not make: name another database, or have that \
         schema renamed"
    )]
    Foreign {
        /// Name of the schema.
        schema: &'static str,
    },
    /// An older version of Ruche made the schema. Only for who changes nothing.
    #[error(
        "the schema {schema} of the database has to be brought up to date first: run `ruche migrate` as its owner"
    )]
    NotMigrated {
        /// Name of the schema.
        schema: &'static str,
    },
    /// The schema is not known to be up to date, and the login user may not change it. Its owner does.
    #[error(
        "the schema {schema} of the database has to be brought up to date, or may not be looked at by the login user \
         {user}, and only its owner can do something about it: run `ruche migrate` with the URLs of {owner}, and give {user} \
         the rights that nodes need (docs/operations/postgres.md)"
    )]
    NotOwner {
        /// Name of the schema.
        schema: &'static str,
        /// Who is logged in.
        user: String,
        /// Who owns the schema or, if there is none, the database.
        owner: String,
    },
    /// A newer version of Ruche made the schema. Use that one.
    #[error("the database has schema version {found}, this program knows up to {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// The greatest known here.
        known: i64,
    },
}

impl OpenError {
    /// Whether waiting may help: nobody listens, the connection broke, the server is starting, full or frozen, or it is a
    /// standby, which a failover may be about to make the primary.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Database { source, .. } => source.code().is_none_or(|code| {
                [
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                ]
                .contains(code)
            }),
            Self::Standby | Self::Slow { .. } | Self::NoAnswer { .. } => true,
            // What was committed uncertainly is looked at by somebody, and the rest is how things are set up.
            Self::Unconfirmed { .. }
            | Self::RestorePending { .. }
            | Self::Pool(_)
            | Self::NotDurable { .. }
            | Self::SameDatabase
            | Self::Elsewhere
            | Self::Url(_)
            | Self::Tls(_)
            | Self::Roles { .. }
            | Self::NoSchema { .. }
            | Self::Foreign { .. }
            | Self::NotMigrated { .. }
            | Self::NotOwner { .. }
            | Self::Newer { .. } => false,
        }
    }

    /// Whether the login user lacks a right.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
    }

    /// An error of the server, with what was tried.
    pub fn database(doing: &'static str) -> impl FnOnce(Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

/// What a failed statement means to a caller whose request was certainly not stored.
pub(crate) fn store_error(place: &str, error: &Error) -> StoreError {
    let detail = error.as_db_error();
    tracing::warn!(place, %error, ?detail, "database");
    let said = detail.map_or_else(|| error.to_string(), |db| db.message().to_owned());
    let constraint = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::CHECK_VIOLATION,
        SqlState::NOT_NULL_VIOLATION,
        SqlState::DATA_CORRUPTED,
        SqlState::INDEX_CORRUPTED,
    ];
    if error.code().is_some_and(|code| constraint.contains(code)) {
        return StoreError::Corrupt {
            place: place.to_owned(),
            reason: said,
        };
    }
    StoreError::Unavailable {
        reason: format!("{place}: {said}"),
    }
}

/// Whether the server said that nothing was written. Otherwise the fate is unknown: it may be running still.
pub(crate) fn was_refused(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| match db.parsed_severity() {
        // Cancelling does not undo what was committed already.
        Some(Severity::Error) => *db.code() != SqlState::QUERY_CANCELED,
        // A session that is being ended may have committed, unless it was ended because it did nothing for too long.
        _ => [
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::IDLE_SESSION_TIMEOUT,
        ]
        .contains(db.code()),
    })
}

/// Name of the constraint that keeps two of a kind out, if it is the reason of an error.
pub(crate) fn not_unique(error: &Error) -> Option<&str> {
    let db = error.as_db_error()?;
    if *db.code() == SqlState::UNIQUE_VIOLATION {
        db.constraint()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_waits_for_a_server_that_is_frozen_or_a_standby_yet_and_not_for_a_wrong_setting() {
        for passing in [OpenError::Standby, OpenError::Slow { seconds: 20 }] {
            assert!(passing.may_pass(), "{passing}");
        }
        let off = OpenError::NotDurable {
            setting: "fsync",
            value: "off".to_owned(),
        };
        for lasting in [off, OpenError::SameDatabase, OpenError::Elsewhere] {
            assert!(!lasting.may_pass(), "{lasting}");
        }
    }
}
