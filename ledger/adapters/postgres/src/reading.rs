//! How everything of a ledger is read: one transaction that can see this ledger alone, sent as a whole.
//!
//! `BEGIN`, the role, the ledger, the query and `COMMIT` go out together and come back together: one round trip, as
//! without them. They leave nothing behind in the session and use no prepared statement, so a pooler that gives each
//! transaction another session does not matter. What comes back is held until it is [durable](crate::durable).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::future::join3;
use ruche_domain::ids::LedgerId;
use ruche_ledger::store::StoreError;
use tokio::time::timeout;
use tokio_postgres::{Client, Error};

use crate::durable::Durable;
use crate::error::store_error;
use crate::lend::Lender;
use crate::session::STATEMENT_TIMEOUT;

/// No answer by then: longer than the server works on a statement, so only a pooler or a network is that slow.
const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// A standby refuses to write, so it refuses this: a pooler can lead to one after a failover, and what is read there is
/// not what a fence is about.
const ON_PRIMARY: &str = "SET TRANSACTION READ WRITE; SET TRANSACTION READ ONLY";

/// The reading side of the store.
#[derive(Clone)]
pub(crate) struct Reader {
    lender: Lender,
    pub durable: Arc<Durable>,
}

/// A connection that is lent for reads of one ledger.
pub(crate) struct Reading {
    /// `Some` until it is dropped.
    client: Option<Object>,
    begin: String,
    /// No answer came in time: nobody else gets this connection.
    hangs: AtomicBool,
}

impl Reader {
    pub(crate) fn new(lender: Lender, durable: Arc<Durable>) -> Self {
        Self { lender, durable }
    }

    /// Lends a connection for a ledger.
    pub(crate) async fn of(&self, ledger: LedgerId) -> Result<Reading, StoreError> {
        let client = self.lender.lend().await?;
        let begin = format!(
            "BEGIN; {ON_PRIMARY}; SET LOCAL ROLE ruche_app; SET LOCAL search_path = ruche; \
             SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'; SET LOCAL ruche.ledger = '{}'",
            ledger.0
        );
        Ok(Reading {
            client: Some(client),
            begin,
            hangs: AtomicBool::new(false),
        })
    }

    pub(crate) fn close(&self) {
        self.lender.close();
    }
}

impl Reading {
    /// For the queries of [`Reading::run`] alone.
    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("is there until it is dropped")
    }

    /// Runs queries in a transaction of their own. They must be sent when they are polled first, so they cannot depend on
    /// one another. Then all of it, `COMMIT` too, is on its way at once: a caller that goes away leaves nothing open.
    pub(crate) async fn run<T>(
        &self,
        place: &str,
        queries: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let client = self.client();
        let sent = join3(
            client.batch_execute(&self.begin),
            queries,
            client.batch_execute("COMMIT"),
        );
        let Ok((begun, read, ended)) = timeout(READ_TIMEOUT, sent).await else {
            self.hangs.store(true, Ordering::Relaxed);
            let reason = format!("{place}: no answer after {} s", READ_TIMEOUT.as_secs());
            return Err(StoreError::Unavailable { reason });
        };
        begun
            .and(read)
            .and_then(|read| ended.map(|()| read))
            .map_err(|e| store_error(place, &e))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && self.hangs.load(Ordering::Relaxed)
        {
            drop(Object::take(client));
        }
    }
}
