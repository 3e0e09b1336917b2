//! Leases of nodes on ledgers, on the clock of the server.

use std::collections::HashSet;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::LEASE_MS;
use ruche_ledger::lease::{Leases, preferred};
use ruche_ledger::store::StoreError;
use tokio_postgres::Error;
use uuid::Uuid;

use crate::error::store_error;

/// The leases of one node of a database.
pub struct PostgresLeases {
    pool: Pool,
    node: Uuid,
}

impl PostgresLeases {
    /// Leases of the node with this id, new for each process, over connections to the ledger's database.
    pub(crate) fn new(pool: Pool, node: Uuid) -> Self {
        Self { pool, node }
    }

    async fn client(&self) -> Result<deadpool_postgres::Object, StoreError> {
        self.pool.get().await.map_err(|e| StoreError::Unavailable {
            reason: format!("no connection to the database: {e}"),
        })
    }
}

fn failed(error: Error) -> StoreError {
    store_error("leases", &error)
}

#[async_trait]
impl Leases for PostgresLeases {
    async fn tend(&self, ledgers: &[LedgerId]) -> Result<HashSet<LedgerId>, StoreError> {
        let milliseconds = i64::try_from(LEASE_MS).unwrap_or(i64::MAX);
        let mut client = self.client().await?;
        // One transaction: whoever sees that this node is alive also sees what it tends.
        let tx = client.transaction().await.map_err(failed)?;
        tx.execute(
            "INSERT INTO node (node, until) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond') \
             ON CONFLICT (node) DO UPDATE SET until = excluded.until",
            &[&self.node, &(milliseconds as f64)],
        )
        .await
        .map_err(failed)?;
        tx.execute("DELETE FROM node WHERE until < clock_timestamp()", &[])
            .await
            .map_err(failed)?;
        let live = tx.query("SELECT node FROM node", &[]).await.map_err(failed)?;
        let live: Vec<Uuid> = live.iter().map(|row| row.get(0)).collect();
        let mut wanted: Vec<Uuid> = ledgers
            .iter()
            .filter(|ledger| preferred(**ledger, &live) == Some(self.node))
            .map(|ledger| ledger.0)
            .collect();
        // In one order, so that nodes never wait for each other in a circle.
        wanted.sort_unstable();
        // What another live node should tend now is given to it.
        tx.execute(
            "DELETE FROM lease WHERE node = $1 AND ledger <> ALL ($2)",
            &[&self.node, &wanted],
        )
        .await
        .map_err(failed)?;
        let held = tx
            .query(
                "INSERT INTO lease (ledger, node, until) \
                 SELECT u.ledger, $1, clock_timestamp() + $2 * interval '1 millisecond' \
                 FROM unnest($3::uuid[]) AS u(ledger) ORDER BY u.ledger \
                 ON CONFLICT (ledger) DO UPDATE SET node = excluded.node, until = excluded.until \
                 WHERE lease.node = excluded.node OR lease.until < clock_timestamp() RETURNING ledger",
                &[&self.node, &(milliseconds as f64), &wanted],
            )
            .await
            .map_err(failed)?;
        // A crash before this line renews nothing, one after it leaves leases that run out.
        tx.commit().await.map_err(failed)?;
        Ok(held.iter().map(|row| LedgerId(row.get(0))).collect())
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await.map_err(failed)?;
        tx.execute("DELETE FROM lease WHERE node = $1", &[&self.node])
            .await
            .map_err(failed)?;
        tx.execute("DELETE FROM node WHERE node = $1", &[&self.node])
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}
