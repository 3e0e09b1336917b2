//! Borrowing a connection of a pool, and what it means that there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
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
}

impl Lender {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool,
            is_away: Arc::default(),
        }
    }

    /// Lends a connection.
    ///
    /// # Errors
    /// `Overloaded` where others have all of them for longer than one is waited for, `Unavailable` where the database
    /// gives none; nothing was sent.
    pub(crate) async fn lend(&self) -> Result<Object, StoreError> {
        let error = match self.pool.get().await {
            Ok(client) => {
                self.is_away.store(false, Ordering::Relaxed);
                return Ok(client);
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
        let client = self.lend().await?;
        match timeout(READ_TIMEOUT, work(&client)).await {
            Ok(answer) => answer,
            Err(_) => {
                drop(Object::take(client));
                let reason = format!("no answer of the database after {} s", READ_TIMEOUT.as_secs());
                Err(StoreError::Unavailable { reason })
            }
        }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

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
}
