//! Halts of ledgers, in the table that the statement which appends looks at.

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Epoch;
use ruche_ledger::halts::{Halt, Halts};
use ruche_ledger::store::StoreError;
use tokio_postgres::Error;

use crate::error::store_error;

/// The halts of a database.
pub struct PostgresHalts {
    pool: Pool,
}

impl PostgresHalts {
    /// Over connections to the ledger's database.
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| StoreError::Unavailable {
            reason: format!("no connection to the database: {error}"),
        })
    }
}

fn failed(error: Error) -> StoreError {
    store_error("halts", &error)
}

#[async_trait]
impl Halts for PostgresHalts {
    async fn halt(&self, halt: &Halt) -> Result<(), StoreError> {
        let (ledger, epoch) = (halt.ledger.0, i64::from(halt.epoch.0));
        let client = self.client().await?;
        // Appends see it that begin once this is committed. One that is under way may still come in front of it.
        client
            .execute(
                "INSERT INTO halt (ledger, epoch, reason) VALUES ($1, $2, $3) \
                 ON CONFLICT (ledger) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason",
                &[&ledger, &epoch, &halt.reason],
            )
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn release(&self, ledger: LedgerId) -> Result<(), StoreError> {
        let client = self.client().await?;
        client
            .execute("DELETE FROM halt WHERE ledger = $1", &[&ledger.0])
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn halted(&self) -> Result<Vec<Halt>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT t.ledger, t.epoch, t.reason FROM halt t JOIN head h ON h.ledger = t.ledger AND h.epoch = t.epoch",
                &[],
            )
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let epoch = row.get::<_, i64>(1);
                Ok(Halt {
                    ledger: LedgerId(row.get(0)),
                    epoch: Epoch(u32::try_from(epoch).map_err(|_| StoreError::Corrupt {
                        place: "table halt".to_owned(),
                        reason: format!("{epoch} is no epoch"),
                    })?),
                    reason: row.get(2),
                })
            })
            .collect()
    }
}
