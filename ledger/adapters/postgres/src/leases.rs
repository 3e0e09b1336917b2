//! Leases of nodes on ledgers, on the clock of the server.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::LEASE_MS;
use ruche_ledger::lease::{Leases, preferred};
use ruche_ledger::store::StoreError;
use tokio_postgres::Error;
use uuid::Uuid;

use crate::error::OpenError;
use crate::lines::Lines;
use crate::session::{Database, Purpose, Session, unavailable};

/// The leases of one node of a database.
pub struct PostgresLeases {
    lines: Lines,
    node: Uuid,
}

impl PostgresLeases {
    /// Leases of the node with this id, new for each process, over one connection to the ledger's database.
    pub(crate) fn new(database: Database, node: Uuid) -> Self {
        Self {
            lines: Lines::new(database, Purpose::Append, 1),
            node,
        }
    }

    /// Does something in a transaction: a connection on which it fails is dropped, and undoes what was begun.
    async fn transaction<T, W>(
        &self,
        work: impl FnOnce(Arc<Session>) -> W + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let done = self.lines.run(|session: Arc<Session>| async move {
            let done = async {
                session.batch_execute("BEGIN").await?;
                let done = work(Arc::clone(&session)).await?;
                // A crash before this line changes nothing, one after it leaves leases that run out.
                session.batch_execute("COMMIT").await?;
                Ok(done)
            };
            done.await.map_err(OpenError::database("write leases"))
        });
        done.await.map_err(unavailable)
    }
}

#[async_trait]
impl Leases for PostgresLeases {
    async fn tend(&self, ledgers: &[LedgerId]) -> Result<HashSet<LedgerId>, StoreError> {
        let (node, ledgers) = (self.node, ledgers.to_vec());
        // One transaction: whoever sees that this node is alive also sees what it tends.
        self.transaction(move |session| async move { tend(&session, node, &ledgers).await })
            .await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let node = self.node;
        self.transaction(move |session| async move {
            for table in ["lease", "node"] {
                let sql = format!("DELETE FROM {table} WHERE node = $1");
                session.execute(&sql, &[&node]).await?;
            }
            Ok(())
        })
        .await
    }
}

async fn tend(session: &Session, node: Uuid, ledgers: &[LedgerId]) -> Result<HashSet<LedgerId>, Error> {
    let milliseconds = i64::try_from(LEASE_MS).unwrap_or(i64::MAX) as f64;
    session
        .execute(
            "INSERT INTO node (node, until) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond') \
             ON CONFLICT (node) DO UPDATE SET until = excluded.until",
            &[&node, &milliseconds],
        )
        .await?;
    session
        .execute("DELETE FROM node WHERE until < clock_timestamp()", &[])
        .await?;
    let live = session.query("SELECT node FROM node", &[]).await?;
    let live: Vec<Uuid> = live.iter().map(|row| row.get(0)).collect();
    let mut wanted: Vec<Uuid> = ledgers
        .iter()
        .filter(|ledger| preferred(**ledger, &live) == Some(node))
        .map(|ledger| ledger.0)
        .collect();
    // In one order, so that nodes never wait for each other in a circle.
    wanted.sort_unstable();
    // What another live node should tend now is given to it.
    session
        .execute(
            "DELETE FROM lease WHERE node = $1 AND ledger <> ALL ($2)",
            &[&node, &wanted],
        )
        .await?;
    let held = session
        .query(
            "INSERT INTO lease (ledger, node, until) \
             SELECT u.ledger, $1, clock_timestamp() + $2 * interval '1 millisecond' \
             FROM unnest($3::uuid[]) AS u(ledger) ORDER BY u.ledger \
             ON CONFLICT (ledger) DO UPDATE SET node = excluded.node, until = excluded.until \
             WHERE lease.node = excluded.node OR lease.until < clock_timestamp() RETURNING ledger",
            &[&node, &milliseconds, &wanted],
        )
        .await?;
    Ok(held.iter().map(|row| LedgerId(row.get(0))).collect())
}
