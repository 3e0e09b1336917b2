//! Borrowing a connection of a pool, and what it means that there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::durable::Durable;
use crate::reading::READ_TIMEOUT;
use crate::served::ServerId;

/// A pool whose connections are lent to callers of the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lender {
    pool: Pool,
    /// The last try to get a connection of the database failed. Nobody tries while all connections are lent.
    is_away: Arc<AtomicBool>,
    /// How long an answer may take.
    answer_wait: Duration,
}

impl Lender {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool,
            is_away: Arc::default(),
            answer_wait: READ_TIMEOUT,
        }
    }

    /// Lends a connection.
    ///
    /// # Errors
    /// `Overloaded` where others have all of them for longer than one is waited for, `Unavailable` where the database
    /// gives none; nothing was sent.
    pub(crate) async fn lend(&self) -> Result<Lent, StoreError> {
        let error = match self.pool.get().await {
            Ok(client) => {
                self.is_away.store(false, Ordering::Relaxed);
                return Ok(Lent {
                    client: Some(client),
                    pool: self.pool.clone(),
                    answer_wait: self.answer_wait,
                    is_due: AtomicBool::new(false),
                    hangs: AtomicBool::new(false),
                });
            }
            Err(error) => error,
        };
        let all_are_lent = matches!(error, PoolError::Timeout(TimeoutType::Wait));
        if !all_are_lent {
            self.is_away.store(true, Ordering::Relaxed);
        } else if !self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        // Those who wait behind tries that fail wait for a database that is not there, and not for each other.
        Err(StoreError::Unavailable {
            reason: format!("no connection to the database: {error}"),
        })
    }

    /// Asks something on a lent connection. One that does not answer in time is lent to nobody else.
    ///
    /// # Errors
    /// As [`Lender::lend`], those of `work`, and `Unavailable` without an answer.
    pub(crate) async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lent = self.lend().await?;
        lent.answer(work(lent.client())).await.unwrap_or_else(|| {
            let reason = format!("no answer of the database after {} s", self.answer_wait.as_secs());
            Err(StoreError::Unavailable { reason })
        })
    }

    /// Returns once what was read over its connections, on a server and up to these positions, is durable.
    ///
    /// # Errors
    /// `Unavailable`. If it was another server than the one that takes commits, its connections are made anew: the old one
    /// may not know yet that it was replaced.
    pub(crate) async fn hold(
        &self,
        durable: &Durable,
        server: ServerId,
        read: &[(LedgerId, Position)],
    ) -> Result<(), StoreError> {
        let held = durable.ensure(server, read).await;
        if held.is_err() && durable.is_elsewhere(server) {
            self.pool.retain(|_, _| false);
        }
        held
    }

    /// Lends no more.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// A connection while it is lent. It goes back when this is dropped, but not before the answers that are due.
pub(crate) struct Lent {
    /// `Some` until it is dropped.
    client: Option<Object>,
    pool: Pool,
    answer_wait: Duration,
    /// Something was asked, and is not answered yet.
    is_due: AtomicBool,
    /// No answer came in time: nobody else gets this connection.
    hangs: AtomicBool,
}

impl Lent {
    /// To ask with, inside [`Lent::answer`].
    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("is there until it is dropped")
    }

    /// What the database answers; `None` if it does not in time.
    pub(crate) async fn answer<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        self.is_due.store(true, Ordering::Relaxed);
        let answer = timeout(self.answer_wait, asked).await.ok();
        self.is_due.store(false, Ordering::Relaxed);
        if answer.is_none() {
            self.hangs.store(true, Ordering::Relaxed);
        }
        answer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (pool, answer_wait) = (self.pool.clone(), self.answer_wait);
        if self.hangs.load(Ordering::Relaxed) {
            discard(client, &pool);
        } else if self.is_due.load(Ordering::Relaxed) {
            // The caller hung up. The server may be at work for it, or hang: whoever comes next would wait behind that. Closing
            // it at once would leave the server at work beside a new connection, each time that a caller hangs up.
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(async move {
                    if timeout(answer_wait, client.batch_execute("")).await.is_err() {
                        discard(client, &pool);
                    }
                })),
                Err(_) => drop(Object::take(client)),
            }
        }
    }
}

/// Ends a connection that does not answer, and those of its pool that wait for somebody: they may lead to the same server.
fn discard(client: Object, pool: &Pool) {
    drop(Object::take(client));
    pool.retain(|_, _| false);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use deadpool_postgres::{Manager, Runtime};
    use futures_util::future::join;
    use tokio_postgres::NoTls;

    use super::*;

    #[tokio::test]
    async fn who_waits_behind_tries_that_fail_waits_for_the_database() {
        // It takes connections and never says a word.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgresql://ruche@127.0.0.1:{port}/ruche");
        let pool = Pool::builder(Manager::new(url.parse().unwrap(), NoTls))
            .max_size(1)
            .wait_timeout(Some(Duration::from_millis(10)))
            .create_timeout(Some(Duration::from_millis(200)))
            .runtime(Runtime::Tokio1);
        let lender = Lender::new(pool.build().unwrap());
        let (tries, waits) = join(lender.lend(), lender.lend()).await;
        assert!(matches!(tries, Err(StoreError::Unavailable { .. })));
        // Nothing had failed by then.
        assert!(matches!(waits, Err(StoreError::Overloaded { .. })));
        let (tries, waits) = join(lender.lend(), lender.lend()).await;
        for refused in [tries, waits] {
            assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
        }
        lender.close();
        assert!(matches!(lender.lend().await, Err(StoreError::Unavailable { .. })));
    }

    /// A server that lets everybody in and answers nothing then, and how many it let in.
    fn silent_server() -> (String, Arc<AtomicUsize>) {
        /// `AuthenticationOk` and `ReadyForQuery`.
        const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let let_in = Arc::new(AtomicUsize::new(0));
        let count = let_in.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked = stream.read(&mut [0; 1024]).unwrap();
                assert!(asked > 0, "it says who it is");
                count.fetch_add(1, Ordering::SeqCst);
                stream.write_all(WELCOME).unwrap();
                kept.push(stream);
            }
        });
        (
            format!("postgresql://ruche@127.0.0.1:{port}/ruche?sslmode=disable"),
            let_in,
        )
    }

    fn lender_of(url: &str, size: usize) -> Lender {
        let pool = Pool::builder(Manager::new(url.parse().unwrap(), NoTls))
            .max_size(size)
            .wait_timeout(Some(Duration::from_millis(10)))
            .runtime(Runtime::Tokio1);
        Lender {
            answer_wait: Duration::from_millis(200),
            ..Lender::new(pool.build().unwrap())
        }
    }

    async fn asked(lender: &Lender) -> Result<(), StoreError> {
        let work = async |client: &Client| {
            client.batch_execute("SELECT 1").await.unwrap();
            Ok(())
        };
        lender.ask(work).await
    }

    #[tokio::test]
    async fn a_connection_whose_caller_hung_up_is_lent_to_nobody_before_it_answers() {
        let (url, let_in) = silent_server();
        let lender = lender_of(&url, 1);
        drop(lender.lend().await);
        assert!(
            timeout(Duration::from_millis(10), asked(&lender)).await.is_err(),
            "it hung up"
        );
        let refused = lender.lend().await;
        assert!(matches!(refused, Err(StoreError::Overloaded { .. })));
        assert_eq!(let_in.load(Ordering::SeqCst), 1);
        let another = async { while lender.lend().await.is_err() {} };
        timeout(Duration::from_secs(10), another).await.unwrap();
        assert_eq!(let_in.load(Ordering::SeqCst), 2, "another one");
    }

    #[tokio::test]
    async fn one_that_does_not_answer_takes_those_along_that_nobody_has() {
        let (url, let_in) = silent_server();
        let lender = lender_of(&url, 2);
        drop(join(lender.lend(), lender.lend()).await);
        assert_eq!(let_in.load(Ordering::SeqCst), 2);
        let unanswered = asked(&lender).await;
        assert!(matches!(unanswered, Err(StoreError::Unavailable { .. })));
        assert!(lender.lend().await.is_ok());
        assert_eq!(let_in.load(Ordering::SeqCst), 3, "it is a new one");
    }
}
