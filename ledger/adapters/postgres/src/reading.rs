//! How everything of a ledger is read: one transaction that can see this ledger alone, sent as a whole.
//!
//! `BEGIN`, the role, the ledger, the query and `COMMIT` go out together and come back together: one round trip, as
//! without them. They leave nothing behind in the session and use no prepared statement, so a pooler that gives each
//! transaction another session does not matter. What comes back is held until it is [durable](crate::durable) on the server
//! that the transaction was on, which it says itself: only it knows where a pooler led.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join3;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::durable::Durable;
use crate::error::store_error;
use crate::lend::{Lender, Lent};
use crate::served::{SERVER, ServerId};
use crate::session::STATEMENT_TIMEOUT;

/// No answer by then: longer than the server works on a statement, so only a pooler or a network is that slow.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(40);

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
    lent: Lent,
    begin: String,
    /// The server that the first transaction was on.
    server: OnceLock<ServerId>,
}

impl Reader {
    pub(crate) fn new(lender: Lender, durable: Arc<Durable>) -> Self {
        Self { lender, durable }
    }

    /// Lends a connection for a ledger.
    pub(crate) async fn of(&self, ledger: LedgerId) -> Result<Reading, StoreError> {
        let lent = self.lender.lend().await?;
        let begin = format!(
            "BEGIN; {ON_PRIMARY}; SET LOCAL ROLE ruche_app; SET LOCAL search_path = ruche; \
             SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'; SET LOCAL ruche.ledger = '{}'; SELECT {SERVER}",
            ledger.0
        );
        Ok(Reading {
            lent,
            begin,
            server: OnceLock::new(),
        })
    }

    /// Returns once what was read on a server up to a position is durable. No connection is held meanwhile.
    pub(crate) async fn hold(
        &self,
        server: Option<ServerId>,
        ledger: LedgerId,
        last: Option<Position>,
    ) -> Result<(), StoreError> {
        let Some(last) = last else {
            return Ok(());
        };
        let server = server.ok_or_else(|| StoreError::Unavailable {
            reason: "it is not known where this was read".to_owned(),
        })?;
        self.lender.hold(&self.durable, server, &[(ledger, last)]).await
    }

    pub(crate) fn close(&self) {
        self.lender.close();
    }
}

impl Reading {
    /// For the queries of [`Reading::run`] alone.
    pub(crate) fn client(&self) -> &Client {
        self.lent.client()
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
            client.simple_query(&self.begin),
            queries,
            client.batch_execute("COMMIT"),
        );
        let Some((begun, read, ended)) = self.lent.answer(sent).await else {
            let reason = format!("{place}: no answer after {} s", READ_TIMEOUT.as_secs());
            return Err(StoreError::Unavailable { reason });
        };
        let failed = |e| store_error(place, &e);
        let begun = begun.map_err(failed)?;
        let read = read.and_then(|read| ended.map(|()| read)).map_err(failed)?;
        let server = server_said(&begun).ok_or_else(|| StoreError::Corrupt {
            place: place.to_owned(),
            reason: "the database does not say which server it is".to_owned(),
        })?;
        if *self.server.get_or_init(|| server) != server {
            // A pooler led to another one in between.
            let reason = format!("{place}: another server answered than before");
            return Err(StoreError::Unavailable { reason });
        }
        Ok(read)
    }

    /// Gives the connection back. What is left is where to hold what was read: `None` if nothing was.
    pub(crate) fn let_go(self) -> Option<ServerId> {
        self.server.get().copied()
    }
}

/// Which server the answer to the begin of a transaction is of.
fn server_said(begun: &[SimpleQueryMessage]) -> Option<ServerId> {
    begun.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok().map(ServerId),
        _ => None,
    })
}
