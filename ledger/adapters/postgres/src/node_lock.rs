//! A lock on a database for as long as a process lives: whoever keeps its tree heads in files is alone, those who share
//! a tree head store are many, and a restore finds nobody.
//!
//! The lock is that of a connection. When that ends, by a failover for example, it is taken again at once, and the node
//! goes on. It does not where somebody else has it for long, or where the ledgers are not those that were there before: a
//! backup was restored in between. Then [`NodeLock::lost`] says so, and the process ends.
//!
//! It only keeps people from what cannot work. What keeps promises is the copy of each tree head beside the records: a
//! sealer whose files do not know it refuses to sign. And a node that did not notice a restore yet cannot append to where
//! it ended (`append`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::Transaction;

use crate::Database;
use crate::error::OpenError;
use crate::served::until_silent;
use crate::session::{self, Purpose, Session};

/// "ruche" and "node" as one number.
const KEY: i64 = 0x72_7563_6865_6e6f;
/// Between two attempts to take the lock again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long others may have the lock that was ours before it is given up. What has it may be our own connection, of which
/// the server does not know yet that it is gone, or a restore that will be undone.
const REFUSED_MAX: Duration = Duration::from_secs(120);
/// The server ends no session of ours that says nothing, and notices within a minute when its machine is gone.
const SETTINGS: &str = "SET idle_session_timeout = 0; SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
                        SET tcp_keepalives_count = 3";
/// Tells the ledgers of a database from those that were put in their place.
const TABLES: &str = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE n.nspname = 'ruche' AND c.relname = 'head'";

/// How a process keeps its tree heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// In files of its own: no other node may be there.
    Alone,
    /// In a store that all nodes share.
    OneOfMany,
}

/// The lock. Gone with the process, or when it is dropped.
pub struct NodeLock {
    lost: watch::Receiver<bool>,
    keeper: AbortHandle,
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl NodeLock {
    /// Takes the lock. `None` if nodes are there that do not go with this one.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn take(database: &Database, kind: NodeKind) -> Result<Option<Self>, OpenError> {
        let Some(held) = Held::take(database, kind).await? else {
            return Ok(None);
        };
        let (lose, lost) = watch::channel(false);
        let database = database.clone();
        let keeper = tokio::spawn(async move {
            keep(&database, kind, held).await;
            lose.send_replace(true);
        });
        let keeper = keeper.abort_handle();
        Ok(Some(Self { lost, keeper }))
    }

    /// Resolves when this process may not go on; never, once the lock is dropped.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Takes it, alone, for a transaction: nobody else has it before that is committed or undone, even if this process dies
    /// while the server commits.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn alone_in(tx: &Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
        let sql = "SELECT pg_try_advisory_xact_lock($1)";
        Ok(tx.query_one(sql, &[&KEY]).await?.get(0))
    }
}

/// The connection that the lock belongs to.
struct Held {
    session: Session,
    /// Told when it ends.
    ended: Arc<Notify>,
    /// The table that was there when the lock was had: no restore puts another in its place before it is gone.
    tables: Option<u32>,
}

/// Tells `ended` when the task that drives the connection is gone, whatever ended it.
struct Ended(Arc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Held {
    async fn take(database: &Database, kind: NodeKind) -> Result<Option<Self>, OpenError> {
        let failed = || OpenError::database("lock the database");
        let ended = Arc::new(Notify::new());
        let until_the_end = Ended(Arc::clone(&ended));
        let heard = move |_| {
            let _ = &until_the_end;
        };
        let session = database.session(Purpose::Owner, heard).await?;
        session.batch_execute(SETTINGS).await.map_err(failed())?;
        let sql = match kind {
            NodeKind::Alone => "SELECT pg_try_advisory_lock($1)",
            NodeKind::OneOfMany => "SELECT pg_try_advisory_lock_shared($1)",
        };
        let taken = session.query_one(sql, &[&KEY]).await.map_err(failed())?;
        if !taken.get::<_, bool>(0) {
            return Ok(None);
        }
        let tables = session.query_opt(TABLES, &[]).await.map_err(failed())?;
        Ok(Some(Self {
            session,
            ended,
            tables: tables.map(|row| row.get(0)),
        }))
    }
}

/// Keeps the lock over connections that end. Returns when it cannot be had any more.
async fn keep(database: &Database, kind: NodeKind, mut held: Held) {
    loop {
        until_silent(&held.session, &held.ended).await;
        tracing::warn!("the connection with the lock of this node ended; it is taken again");
        let tables = held.tables;
        drop(held);
        match take_again(database, kind).await {
            Some(again) if again.tables == tables => held = again,
            Some(_) => return tracing::error!("other ledgers are in the database: a backup was restored"),
            None => return tracing::error!("somebody else has the database, who does not go with this node"),
        }
    }
}

/// Tries for as long as the database is away; `None` when others have had the lock for too long.
async fn take_again(database: &Database, kind: NodeKind) -> Option<Held> {
    let mut refused_since = None;
    loop {
        match Held::take(database, kind).await {
            Ok(Some(held)) => return Some(held),
            Ok(None) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= REFUSED_MAX {
                    return None;
                }
            }
            Err(error) => {
                let error = session::unavailable(error);
                tracing::warn!(%error, "the lock of this node cannot be taken again yet");
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}
