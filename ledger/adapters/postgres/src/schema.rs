//! The schema: made and brought up to date by whichever node comes first.

use tokio_postgres::Client;

use crate::error::OpenError;

/// Applied in order; `migration` has a row for each that was. See `migrations/README.md`.
const MIGRATIONS: &[&str] = &[include_str!(
    "../../../../migrations/postgres/ledger/0001_ledger.sql"
)];
/// "ruche": the advisory lock under which nodes migrate one after the other.
const LOCK: i64 = 0x72_7563_6865;

/// Applies what is missing. One transaction: a crash leaves all of it or nothing.
pub(crate) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    let failed = || OpenError::database("migrate the database");
    let tx = client.transaction().await.map_err(failed())?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await
        .map_err(failed())?;
    tx.batch_execute(
        "CREATE SCHEMA IF NOT EXISTS ruche; CREATE TABLE IF NOT EXISTS ruche.migration (version bigint PRIMARY KEY)",
    )
    .await
    .map_err(failed())?;
    let row = tx
        .query_one("SELECT coalesce(max(version), 0) FROM ruche.migration", &[])
        .await
        .map_err(failed())?;
    let (found, known): (i64, i64) = (row.get(0), MIGRATIONS.len() as i64);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(found as usize) {
        tx.batch_execute(sql).await.map_err(failed())?;
        tx.execute("INSERT INTO ruche.migration VALUES ($1)", &[&version])
            .await
            .map_err(failed())?;
        tracing::info!(version, "ledger schema migrated");
    }
    tx.commit().await.map_err(failed())
}
