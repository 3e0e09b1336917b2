//! Halts of ledgers, in the table that the statement which appends looks at. A trigger puts each into the head as well, for
//! statements that began before it (`0007_halted_heads.sql`).

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Epoch;
use ruche_ledger::halts::{Halt, Halts};
use ruche_ledger::store::StoreError;

use crate::error::OpenError;
use crate::lines::Lines;
use crate::session::{Database, Purpose, Session, unavailable};

/// The halts of a database.
pub struct PostgresHalts {
    lines: Lines,
}

impl PostgresHalts {
    /// In the ledger's database, over one connection.
    pub(crate) fn new(database: Database) -> Self {
        Self {
            lines: Lines::new(database, Purpose::Append, 1),
        }
    }
}

#[async_trait]
impl Halts for PostgresHalts {
    async fn halt(&self, halt: &Halt) -> Result<(), StoreError> {
        let (ledger, epoch, reason) = (halt.ledger.0, i64::from(halt.epoch.0), halt.reason.clone());
        // Waits for appends that have the head; whatever gets it later finds the halt in it.
        let note = move |session: Arc<Session>| async move {
            let sql = "INSERT INTO halt (ledger, epoch, reason) VALUES ($1, $2, $3) \
                       ON CONFLICT (ledger) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason";
            let heard = session.heard();
            heard
                .commit("halt a ledger", session.execute(sql, &[&ledger, &epoch, &reason]))
                .await
        };
        self.lines.run(note).await.map(drop).map_err(unavailable)
    }

    async fn release(&self, ledger: LedgerId) -> Result<(), StoreError> {
        let release = move |session: Arc<Session>| async move {
            let (heard, sql) = (session.heard(), "SELECT release_halt($1)::text");
            heard
                .commit("let a ledger go on", session.execute(sql, &[&ledger.0]))
                .await
        };
        self.lines.run(release).await.map(drop).map_err(unavailable)
    }

    async fn halted(&self) -> Result<Vec<Halt>, StoreError> {
        let look = |session: Arc<Session>| async move {
            let sql = "SELECT t.ledger, t.epoch, t.reason FROM halt t \
                       JOIN head h ON h.ledger = t.ledger AND h.epoch = t.epoch";
            let rows = session.query(sql, &[]).await;
            rows.map_err(OpenError::database("look for halts"))
        };
        let rows = self.lines.run(look).await.map_err(unavailable)?;
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
