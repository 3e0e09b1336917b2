//! Which server a session is on, and what is done about one that does not answer any more.
//!
//! A server that is primary stays it until it ends, and a session on a standby is refused. So the moment of its start tells
//! a primary from the one that took its place, or that it was before it crashed.
//!
//! A commit may wait for a standby for as long as that is gone, and a server that is frozen may go on: neither is given up,
//! since that would leave a backend behind on the server each time. But a server that was replaced answers nobody any more,
//! and if its machine is still there nobody ends its connections. So while something waits for long, it is looked which
//! server a new session leads to.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::{Client, Error, Row};

use crate::error::OpenError;
use crate::session::{self, Database, Purpose, Session};

/// Between two looks at which server it is that others are led to.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// A session on which nothing happens is asked this often whether anybody is there,
const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// and the answer waited for this long.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A server between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(pub i64);

/// Tells it, as an expression in SQL.
pub(crate) const SERVER: &str = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

impl ServerId {
    /// That of a row with [`SERVER`] in a column.
    pub(crate) fn of(row: &Row, at: usize) -> Self {
        Self(row.get(at))
    }
}

/// The server that a direct connection is to.
pub(crate) async fn server_of(client: &Client) -> Result<ServerId, Error> {
    let row = client.query_typed_one(&format!("SELECT {SERVER}"), &[]).await?;
    Ok(ServerId::of(&row, 0))
}

/// Returns when a session that is only kept open ends, which `ended` tells, or its server does not answer: one that was
/// replaced is not always heard to end. Then the session is cut.
pub(crate) async fn until_silent(session: &Session, ended: &Notify) {
    loop {
        if timeout(ASK_INTERVAL, ended.notified()).await.is_ok() {
            return;
        }
        let answered = timeout(ANSWER_WAIT, session.batch_execute("")).await;
        if !matches!(answered, Ok(Ok(()))) {
            session.cut();
            return;
        }
    }
}

/// Waits for something on a session for as long as its server is the one that new sessions lead to. Then the session is cut.
///
/// # Errors
/// Those of the work; `NoAnswer` once the server was replaced.
pub(crate) async fn while_served<T>(
    database: &Database,
    session: &Session,
    work: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    let (begun, mut work) = (Instant::now(), pin!(work));
    loop {
        if let Ok(done) = timeout(LOOK_INTERVAL, &mut work).await {
            return done;
        }
        let now = tokio::select! {
            done = &mut work => return done,
            opened = database.session(Purpose::Owner, |_| ()) => opened.map(|opened| opened.server()),
        };
        match now {
            Ok(now) if now != session.server() => {
                session.cut();
                tracing::warn!("a server that did not answer has been replaced by another");
                return Err(OpenError::NoAnswer {
                    seconds: begun.elapsed().as_secs(),
                });
            }
            Ok(_) => {}
            Err(error) => {
                let error = session::chain(&error);
                tracing::warn!(error, "nothing is known of a server that does not answer");
            }
        }
    }
}
