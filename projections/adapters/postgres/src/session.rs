//! Transactions on pooled connections: one at a time, begun and ended by the same borrower, nothing left behind. So they
//! work through a pooler in transaction mode: every setting is that of the transaction, and no statement has a name.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType, Timeouts};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_STATEMENT_MS_MAX;
use ruche_projections::change::{SqlValue, Statement};
use ruche_projections::store::ReadStoreError;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use crate::gate::overloaded;
use crate::many::Many;
use crate::schema::{LOCK_OF_STEPS, LOCKS, current_schema, schema_of};
use crate::value::{Bound, typed};

/// Waiting for a connection of the pool, and for a new or tired one to answer.
pub(crate) const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// One statement of a query or step may take so long.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_millis(READ_STATEMENT_MS_MAX);
/// Waiting for a lock: of a checkpoint, or of a generation that takes over.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The server ends a transaction of ours that does nothing for so long.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Statements that are sent ahead of their answers at most.
const AHEAD_MAX: usize = 256;

/// Which generation a transaction works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whichever is current when the transaction begins.
    Current,
    /// This one.
    Generation(u32),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading.
    Read,
    /// Rows that are made again if a crash of the server undoes them: the commit does not wait for the disk.
    Step,
    /// What a person decided, or waits for.
    Letter,
}

/// The text that begins a transaction in which a role that owns nothing sees one ledger of one generation. One message.
///
/// Writers of the current generation share a lock with each other and not with a switch to the next one; the pointer is
/// read after the lock was taken, so what they write to stays current until they commit.
pub(crate) fn begin(target: Target, purpose: Purpose, ledger: LedgerId) -> String {
    // A standby refuses the first of the two, and what it has may be old: a pooler can lead to one after a failover.
    let mode = if purpose == Purpose::Read {
        "SET TRANSACTION READ WRITE; SET TRANSACTION READ ONLY"
    } else {
        "SET TRANSACTION READ WRITE"
    };
    let commit = if purpose == Purpose::Step {
        // Statements that run more than once are planned once.
        "SET LOCAL synchronous_commit = off; SET LOCAL plan_cache_mode = force_generic_plan; "
    } else {
        ""
    };
    let generation = match target {
        Target::Generation(number) => format!("SET LOCAL search_path = {}, pg_temp", schema_of(number)),
        Target::Current if purpose == Purpose::Read => current_schema(),
        Target::Current => format!(
            "SELECT pg_advisory_xact_lock_shared({LOCKS}, {LOCK_OF_STEPS}); {}",
            current_schema()
        ),
    };
    let hex: String = ledger
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; {mode}; {}{commit}{generation}; SET LOCAL ruche.ledger = '{hex}'; \
         SET LOCAL ROLE ruche_app",
        limits(STATEMENT_MAX, LOCK_WAIT, IDLE_MAX)
    )
}

/// Bounds of the waits of a transaction.
pub(crate) fn limits(statement: Duration, lock: Duration, idle: Duration) -> String {
    format!(
        "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {}; ",
        statement.as_millis(),
        lock.as_millis(),
        idle.as_millis()
    )
}

/// A borrowed connection. Unless its transaction was ended it is closed, not given back: then the server undoes what was
/// not committed.
pub(crate) struct Session(Option<Object>);

impl Session {
    /// Borrows a connection.
    ///
    /// # Errors
    /// `Overloaded` when others have all of them for too long, `Unavailable` when the database gives none in time.
    pub(crate) async fn borrow(pool: &Pool) -> Result<Self, ReadStoreError> {
        let timeouts = Timeouts {
            wait: Some(CONNECTION_WAIT),
            create: Some(CONNECTION_WAIT),
            recycle: Some(CONNECTION_WAIT),
        };
        match pool.timeout_get(&timeouts).await {
            Ok(object) => Ok(Self(Some(object))),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(overloaded()),
            Err(error) => Err(ReadStoreError::Unavailable(error.to_string())),
        }
    }

    /// Gives the connection back; its transaction is over.
    pub(crate) fn give_back(mut self) {
        self.0 = None;
    }
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0
            .as_ref()
            .expect("a session has its connection until it is given back")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

type Answer<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Statements sent one behind the other without waiting for answers, which are taken in their order.
pub(crate) struct Pipeline<'c, T> {
    client: &'c Client,
    answers: VecDeque<Answer<'c, T>>,
    done: Vec<T>,
    failed: Option<Error>,
    /// An answer is an error already, though those before it are not taken yet.
    failing: bool,
}

impl<'c, T: Send + Default + 'c> Pipeline<'c, T> {
    pub(crate) fn new(client: &'c Client) -> Self {
        Self {
            client,
            answers: VecDeque::new(),
            done: Vec::new(),
            failed: None,
            failing: false,
        }
    }

    /// Sends texts without values.
    pub(crate) async fn batch(&mut self, sql: &'c str) {
        let client = self.client;
        let sent = async move { client.batch_execute(sql).await.map(|()| T::default()) };
        self.send(sent).await;
    }

    /// Sends something, unless it is known that something before it failed: after that only a rollback may follow. So a
    /// commit can be sent before the answers are there. The server takes it for a rollback where a statement that it got
    /// has failed, and does not get it where one could not even be sent.
    async fn send(&mut self, answer: impl Future<Output = Result<T, Error>> + Send + 'c) {
        if self.answers.len() >= AHEAD_MAX {
            self.take().await;
        }
        if self.failing {
            return;
        }
        let mut answer: Answer<'c, T> = Box::pin(answer);
        // The first poll sends, so each is polled once in its turn. The answer can be there at once, and still those
        // before it come first.
        match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
            Poll::Ready(result) => {
                self.failing |= result.is_err();
                self.answers.push_back(Box::pin(std::future::ready(result)));
            }
            Poll::Pending => self.answers.push_back(answer),
        }
    }

    /// Waits for the next answer.
    async fn take(&mut self) {
        let Some(answer) = self.answers.pop_front() else {
            return;
        };
        match answer.await {
            Ok(value) => self.done.push(value),
            Err(error) => {
                self.failing = true;
                // What comes behind an error is an error for that reason alone.
                self.failed = self.failed.take().or(Some(error));
            }
        }
    }

    /// Waits for all answers, in the order in which they were asked for.
    ///
    /// # Errors
    /// That of the first statement that failed.
    pub(crate) async fn finish(mut self) -> Result<Vec<T>, Error> {
        while !self.answers.is_empty() {
            self.take().await;
        }
        self.failed.map_or(Ok(self.done), Err)
    }
}

impl<'c> Pipeline<'c, u64> {
    /// Sends a statement; its answer is how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'c str, params: &'c [SqlValue]) {
        let client = self.client;
        let sent = async move {
            let typed = typed(params);
            client.execute_typed(sql, &by_reference(&typed)).await
        };
        self.send(sent).await;
    }

    /// Sends statements of one text as one.
    pub(crate) async fn execute_many(&mut self, many: &'c Many, statements: &'c [&'c Statement]) {
        let client = self.client;
        let sent = async move {
            let column =
                |place| -> Vec<Bound<'c>> { statements.iter().map(|s| Bound(&s.params[place])).collect() };
            let columns: Vec<Vec<Bound<'c>>> = (0..many.types.len()).map(column).collect();
            let values = columns.iter().zip(&many.types);
            let values: Vec<_> = values
                .map(|(column, of)| (column as &(dyn ToSql + Sync), of.clone()))
                .collect();
            client.execute_typed(&many.sql, &values).await
        };
        self.send(sent).await;
    }
}

impl<'c> Pipeline<'c, Vec<Row>> {
    /// Sends a query; its answer is the rows.
    pub(crate) async fn query(&mut self, sql: &'c str, params: &'c [SqlValue]) {
        let client = self.client;
        let sent = async move {
            let typed = typed(params);
            client.query_typed(sql, &by_reference(&typed)).await
        };
        self.send(sent).await;
    }
}

/// Values as the client takes them.
pub(crate) fn by_reference<'v>(typed: &'v [(Bound<'_>, Type)]) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    let values = typed.iter();
    values
        .map(|(value, of)| (value as &(dyn ToSql + Sync), of.clone()))
        .collect()
}
