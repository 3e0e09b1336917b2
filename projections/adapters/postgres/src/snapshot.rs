//! One moment of the current generation, held by a transaction that sees one ledger.

use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStoreError, Row, Snapshot, Snapshots};

use crate::error::read_store_error;
use crate::models::{PostgresReadStore, bounded};
use crate::schema::current_schema;
use crate::session::{LOCK_WAIT, Session, by_reference, limits};
use crate::value::{self, typed};

/// One statement of it may take so long: counting a large table does.
const STATEMENT_MAX: Duration = Duration::from_secs(10 * 60);
/// Whoever holds it may do something else for so long, such as writing to a slow disk.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);
/// Beginning is answered after this time.
const BEGIN_MAX: Duration = Duration::from_secs(60);

/// A transaction. Its connection is closed with it, so nothing is left open.
struct Held(Session);

#[async_trait]
impl Snapshots for PostgresReadStore {
    async fn snapshot(&self, ledger: LedgerId) -> Result<Box<dyn Snapshot>, ReadStoreError> {
        let hex: String = ledger
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // The generation is looked up in the moment that is held. Its checkpoints are read at once: as long as that lock is
        // held, nobody drops it.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}{}; SET LOCAL ruche.ledger = '{hex}'; \
             SET LOCAL ROLE ruche_app; SELECT position FROM checkpoint LIMIT 1",
            limits(STATEMENT_MAX, LOCK_WAIT, IDLE_MAX),
            current_schema()
        );
        bounded(BEGIN_MAX, async {
            let session = Session::borrow(self.reading()).await?;
            let begun = session.batch_execute(&begin).await;
            begun.map_err(|error| read_store_error(&error))?;
            Ok(Box::new(Held(session)) as Box<dyn Snapshot>)
        })
        .await
    }
}

#[async_trait]
impl Snapshot for Held {
    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        bounded(STATEMENT_MAX * 2, async {
            let typed = typed(&params);
            let rows = self.0.query_typed(sql, &by_reference(&typed)).await;
            let rows = rows.map_err(|error| read_store_error(&error))?;
            rows.iter().map(value::row).collect()
        })
        .await
    }
}
