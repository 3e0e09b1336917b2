//! The writer's connection: made when it is needed, given up when it does not answer.
//!
//! What was given up may wait at the server for as long as a standby is gone, and hold a backend of it. So a writer leaves no
//! more than [`LEFT_MAX`] behind: with so many it begins nothing, and says so, until the server says that one of them is over.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ruche_ledger::store::StoreError;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};

use crate::append;
use crate::error::store_error;
use crate::fence::{Commit, Line};
use crate::lookup::Lookups;
use crate::served::ServerId;
use crate::session::Database;

/// Sessions of a writer that were given up and may still be at work at the server. More than one, since looking what became
/// of an append, and answering who repeats it, each need a commit that may wait as well.
const LEFT_MAX: usize = 3;
/// Backends that are in a transaction, as one is whose commit waits. Everybody may see it.
const AT_WORK: &str = "SELECT DISTINCT pid FROM pg_locks WHERE pid = ANY($1)";

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
    /// Where sessions were that were given up, and their backends.
    left: Vec<(ServerId, i32)>,
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
            left: Vec::new(),
        }
    }

    /// The session, made if there is none. Another node may have written while there was none; heads tell, so caches
    /// stay.
    ///
    /// # Errors
    /// `Unavailable`, also where too much waits at the server already.
    pub(crate) async fn session(&mut self) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = &self.session
            && !session.line.is_closed()
        {
            let session = Arc::clone(session);
            return self.with_room(session).await;
        }
        if let Some(session) = self.session.take()
            && session.line.was_cut()
        {
            let client = &session.line.client;
            self.left.push((client.server(), client.backend()));
        }
        let session = Arc::new(Session::open(&self.database, self.limit).await?);
        self.session = Some(Arc::clone(&session));
        self.sessions += 1;
        self.with_room(session).await
    }

    /// Refuses a session behind which too many others wait.
    async fn with_room(&mut self, session: Arc<Session>) -> Result<Arc<Session>, StoreError> {
        if self.left.len() < LEFT_MAX {
            return Ok(session);
        }
        // What was left at a server that was replaced is no burden of this one.
        let client = &session.line.client;
        self.left.retain(|(server, _)| *server == client.server());
        let left: Vec<i32> = self.left.iter().map(|(_, backend)| *backend).collect();
        let parameters = [(&left as _, Type::INT4_ARRAY)];
        let look = async {
            let rows = client.query_typed(AT_WORK, &parameters).await;
            rows.map_err(|e| store_error("waiting sessions", &e))
        };
        let rows = session.line.ask("waiting sessions", look).await?;
        let at_work: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        self.left.retain(|(_, backend)| at_work.contains(backend));
        if self.left.len() < LEFT_MAX {
            return Ok(session);
        }
        let reason =
            "the database confirms no commits: earlier ones still wait there, and nothing more was begun";
        Err(StoreError::Unavailable {
            reason: reason.to_owned(),
        })
    }

    /// The server that was written to last.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.session.as_ref().map(|session| session.line.client.server())
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
