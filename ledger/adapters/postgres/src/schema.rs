//! The schema: made and brought up to date by whichever node comes first.

use tokio_postgres::Client;

use crate::error::OpenError;

/// "ruche": the advisory lock under which nodes migrate one after the other.
const LOCK: i64 = 0x72_7563_6865;

/// A schema and how it came to be.
struct Schema {
    name: &'static str,
    /// Applied in order; table `migration` of the schema has a row for each that was. See `migrations/README.md`.
    migrations: &'static [&'static str],
    /// The schema that must not be in the same database.
    not_beside: &'static str,
}

const LEDGER: Schema = Schema {
    name: "ruche",
    migrations: &[
        include_str!("../../../../migrations/postgres/ledger/0001_ledger.sql"),
        include_str!("../../../../migrations/postgres/ledger/0002_leases.sql"),
    ],
    not_beside: "ruche_tree_heads",
};

/// Of the database of tree heads.
const TREE_HEADS: Schema = Schema {
    name: "ruche_tree_heads",
    migrations: &[include_str!(
        "../../../../migrations/postgres/tree_heads/0001_tree_heads.sql"
    )],
    not_beside: "ruche",
};

/// Brings the ledger's database up to date.
pub(crate) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    apply(client, &LEDGER).await
}

/// Brings a database of tree heads up to date.
pub(crate) async fn migrate_tree_heads(client: &mut Client) -> Result<(), OpenError> {
    apply(client, &TREE_HEADS).await
}

/// Applies what is missing. One transaction: a crash leaves all of it or nothing.
async fn apply(client: &mut Client, schema: &Schema) -> Result<(), OpenError> {
    let failed = || OpenError::database("migrate the database");
    let Schema {
        name,
        migrations,
        not_beside,
    } = schema;
    let tx = client.transaction().await.map_err(failed())?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await
        .map_err(failed())?;
    let other = tx
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[not_beside])
        .await
        .map_err(failed())?;
    if other.is_some() {
        return Err(OpenError::SameDatabase);
    }
    tx.batch_execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {name}; \
         CREATE TABLE IF NOT EXISTS {name}.migration (version bigint PRIMARY KEY); \
         SET LOCAL search_path = {name}"
    ))
    .await
    .map_err(failed())?;
    let row = tx
        .query_one("SELECT coalesce(max(version), 0) FROM migration", &[])
        .await
        .map_err(failed())?;
    let (found, known): (i64, i64) = (row.get(0), migrations.len() as i64);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, sql) in (1_i64..).zip(*migrations).skip(found as usize) {
        tx.batch_execute(sql).await.map_err(failed())?;
        tx.execute("INSERT INTO migration VALUES ($1)", &[&version])
            .await
            .map_err(failed())?;
        tracing::info!(version, schema = name, "schema migrated");
    }
    tx.commit().await.map_err(failed())
}
