//! The writer's connection: made when it is needed, given up when it does not answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ruche_ledger::store::StoreError;
use tokio_postgres::{Error, Statement};

use crate::append;
use crate::error::store_error;
use crate::fence::{Commit, Line};
use crate::lookup::Lookups;
use crate::session::Database;

/// A connection with its statements. It ends with the server that it was made to: behind a failover is another one.
pub(crate) struct Session {
    pub line: Line,
    pub append: Statement,
    pub lookups: Lookups,
}

/// How a writer reaches the server.
pub(crate) struct Link {
    database: Database,
    limit: Duration,
    session: Option<Arc<Session>>,
    /// Sessions that were made.
    sessions: u64,
    /// Commits of all of them that wrote something and are durable, and fences.
    commits: u64,
}

/// A moment in the life of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    session: u64,
    commits: u64,
}

/// How safe it is to speak of what was read at some moment, the safest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// A commit began afterwards and is durable, and with it all that was seen before: the log is one.
    Durable,
    /// It may be lost in a failover yet. A fence makes it durable.
    Seen,
    /// The session ended. Whatever can be asked now may be another server, which never had it.
    Gone,
}

impl Link {
    pub(crate) fn new(database: Database, limit: Duration) -> Self {
        Self {
            database,
            limit,
            session: None,
            sessions: 0,
            commits: 0,
        }
    }

    /// The session, made if there is none. Another node may have written while there was none; heads tell, so caches
    /// stay.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn session(&mut self) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = &self.session
            && !session.line.is_closed()
        {
            return Ok(Arc::clone(session));
        }
        self.session = None;
        let session = Arc::new(Session::open(&self.database, self.limit).await?);
        self.session = Some(Arc::clone(&session));
        self.sessions += 1;
        Ok(session)
    }

    /// Whether there is a session that answers.
    pub(crate) fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(|s| !s.line.is_closed())
    }

    /// Now, in the session that there is.
    pub(crate) fn now(&self) -> Moment {
        Moment {
            session: self.sessions,
            commits: self.commits,
        }
    }

    /// What has become of what was read at a moment.
    pub(crate) fn standing(&self, moment: Moment) -> Standing {
        if !self.is_open() || moment.session != self.sessions {
            Standing::Gone
        } else if moment.commits < self.commits {
            Standing::Durable
        } else {
            Standing::Seen
        }
    }

    /// Waits for something that commits; `wrote` tells from the answer whether it wrote anything.
    pub(crate) async fn commit<T>(
        &mut self,
        session: &Session,
        work: impl Future<Output = Result<T, Error>>,
        wrote: impl FnOnce(&T) -> bool,
    ) -> Commit<T> {
        let commit = session.line.commit(work).await;
        if let Commit::Durable(answer) = &commit
            && wrote(answer)
        {
            self.commits += 1;
        }
        commit
    }

    /// Makes what was read in this session as durable as any commit.
    ///
    /// # Errors
    /// `Unavailable`: it may be lost yet.
    pub(crate) async fn fence(&mut self, session: &Session) -> Result<(), StoreError> {
        session.line.fence().await?;
        self.commits += 1;
        Ok(())
    }

    /// Makes what was read in the session that there is as durable as any commit. Never in a new one: behind it may be
    /// another server.
    ///
    /// # Errors
    /// `Unavailable`: it may be lost yet.
    pub(crate) async fn fence_reads(&mut self) -> Result<(), StoreError> {
        match &self.session {
            Some(session) => session.line.fence_reads().await?,
            None => return Err(gone()),
        }
        self.commits += 1;
        Ok(())
    }

    /// Undoes an open transaction. Where that fails the connection is given up, and the server undoes it.
    pub(crate) async fn end_transaction(&mut self) {
        let Some(session) = &self.session else { return };
        if session.line.is_closed() {
            return;
        }
        let client = &session.line.client;
        let undo = async {
            let undone = client.batch_execute("ROLLBACK").await;
            undone.map_err(|e| store_error("rollback", &e))
        };
        if session.line.ask("rollback", undo).await.is_err() {
            session.line.cut();
        }
    }
}

/// What was read in a session that ended says nothing any more.
pub(crate) fn gone() -> StoreError {
    StoreError::Unavailable {
        reason: "the connection ended behind a look-up".to_owned(),
    }
}

impl Session {
    async fn open(database: &Database, limit: Duration) -> Result<Self, StoreError> {
        let line = Line::connect(database, limit).await?;
        let prepare = async {
            let statements = async {
                let append = append::prepare(&line.client).await?;
                Ok((append, Lookups::prepare(&line.client).await?))
            };
            statements.await.map_err(|e| store_error("prepare", &e))
        };
        let (append, lookups) = line.ask("prepare", prepare).await?;
        Ok(Self {
            line,
            append,
            lookups,
        })
    }
}
