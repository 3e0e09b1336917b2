//! A connection on which every wait ends, and on which a commit is believed only if nothing speaks against it.
//!
//! Three ways in which an answer can be missing or wrong, and what is done:
//!
//! - No answer in time. The connection is cut, never the statement cancelled: a server that waits for its standby would
//!   take a cancel for permission to confirm without it.
//! - A connection that ends behind a commit. The commit may stand, be under way, or never have arrived.
//! - A commit that is confirmed with a warning. A server whose wait for its standby was ended by somebody else says
//!   "committed" all the same, and that it is not replicated only in a warning.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ruche_ledger::store::StoreError;
use tokio::time::timeout;
use tokio_postgres::Error;

use crate::error::{store_error, was_refused};
use crate::session::{self, Database, Session};

/// A connection whose waits are bounded.
pub(crate) struct Line {
    pub client: Session,
    /// How long any answer may take.
    limit: Duration,
    was_cut: AtomicBool,
}

/// What came of something that may have committed.
pub(crate) enum Commit<T> {
    /// It is as durable as this server makes things.
    Durable(T),
    /// The server said that nothing was written.
    Refused(Error),
    /// It may stand, now or later. The connection was cut.
    Unknown,
}

impl Line {
    /// Connects. The server gives up on what waits for a lock or runs too long before we do, so that no answer in time
    /// says that the server or the way to it is in trouble. Neither bound touches a commit that waits for a standby.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn connect(database: &Database, limit: Duration) -> Result<Self, StoreError> {
        let connected = async {
            let client = database.appending().await?;
            let (lock, statement) = (limit / 3, limit / 3 * 2);
            let bounds = format!(
                "SET lock_timeout = {}; SET statement_timeout = {}",
                lock.as_millis().max(1),
                statement.as_millis().max(1)
            );
            let bounded = client.batch_execute(&bounds).await;
            bounded.map_err(|e| store_error("connect", &e))?;
            Ok(Self {
                client,
                limit,
                was_cut: AtomicBool::new(false),
            })
        };
        match timeout(limit, connected).await {
            Ok(connected) => connected,
            Err(_) => Err(no_answer("connect")),
        }
    }

    /// Waits for something that commits nothing. The connection is cut when it takes too long.
    ///
    /// # Errors
    /// Its own, and `Unavailable` when there is no answer in time.
    pub(crate) async fn ask<T>(
        &self,
        place: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match timeout(self.limit, work).await {
            Ok(answer) => answer,
            Err(_) => {
                self.cut();
                Err(no_answer(place))
            }
        }
    }

    /// Waits for something that commits.
    pub(crate) async fn commit<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Commit<T> {
        let before = self.client.warnings();
        match timeout(self.limit, work).await {
            Ok(Ok(done)) if before == self.client.warnings() => {
                return Commit::Durable(done);
            }
            Ok(Ok(_)) => tracing::warn!("a commit came with a warning and is not believed"),
            Ok(Err(error)) if was_refused(&error) => return Commit::Refused(error),
            Ok(Err(error)) => tracing::warn!(%error, "no answer to a commit"),
            Err(_) => tracing::warn!("no answer to a commit in time"),
        }
        self.cut();
        Commit::Unknown
    }

    /// A commit of its own. When it returns, everything that was read before is as durable as any commit: flushed, and
    /// on a synchronous cluster with the standby. A row can be seen before the standby has it, and be lost in a failover.
    ///
    /// # Errors
    /// `Unavailable`: what was read may be lost yet.
    pub(crate) async fn fence(&self) -> Result<(), StoreError> {
        self.fenced(session::fence(&self.client)).await
    }

    /// As [`Line::fence`], for what was read and nothing else: no commit where there are no synchronous standbys.
    ///
    /// # Errors
    /// `Unavailable`: what was read may be lost yet.
    pub(crate) async fn fence_reads(&self) -> Result<(), StoreError> {
        self.fenced(session::fence_reads(&self.client)).await
    }

    async fn fenced(&self, fence: impl Future<Output = Result<(), Error>>) -> Result<(), StoreError> {
        match self.commit(fence).await {
            Commit::Durable(()) => Ok(()),
            Commit::Refused(error) => Err(store_error("fence", &error)),
            Commit::Unknown => Err(no_answer("fence")),
        }
    }

    /// Ends the connection without another word. The server undoes an open transaction when it notices.
    pub(crate) fn cut(&self) {
        self.was_cut.store(true, Ordering::SeqCst);
        self.client.cut();
    }

    /// Whether it was given up: what was under way may still be, at the server.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::SeqCst)
    }

    /// Whether nothing can be asked any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.was_cut.load(Ordering::SeqCst) || self.client.is_closed()
    }
}

fn no_answer(place: &str) -> StoreError {
    StoreError::Unavailable {
        reason: format!("{place}: no answer in time"),
    }
}
