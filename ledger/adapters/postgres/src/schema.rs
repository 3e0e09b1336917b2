//! The schema: made and brought up to date by whichever node comes first.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use crate::error::OpenError;

/// A schema and how it came to be.
struct Schema {
    name: &'static str,
    /// Applied in order; table `migration` of the schema has a row for each that was. See `migrations/README.md`.
    migrations: &'static [&'static str],
    /// The schema that must not be in the same database.
    not_beside: &'static str,
    /// Whether its tables are granted to the roles.
    has_roles: bool,
}

/// The tables of the ledgers with their indexes, in whatever schema comes first on the search path.
pub(crate) const LEDGER_TABLES: &str = include_str!("../../../../migrations/postgres/ledger/0001_ledger.sql");

const LEDGER: Schema = Schema {
    name: "ruche",
    migrations: &[
        LEDGER_TABLES,
        include_str!("../../../../migrations/postgres/ledger/0002_roles.sql"),
        include_str!("../../../../migrations/postgres/ledger/0003_nodes.sql"),
        include_str!("../../../../migrations/postgres/ledger/0004_restore.sql"),
        include_str!("../../../../migrations/postgres/ledger/0005_tree_heads.sql"),
        include_str!("../../../../migrations/postgres/ledger/0006_halts.sql"),
        include_str!("../../../../migrations/postgres/ledger/0007_halted_heads.sql"),
        include_str!("../../../../migrations/postgres/ledger/0008_what_keeps_nodes_out.sql"),
        include_str!("../../../../migrations/postgres/ledger/0009_archives.sql"),
    ],
    not_beside: "ruche_tree_heads",
    has_roles: true,
};

/// Of the database of tree heads.
const TREE_HEADS: Schema = Schema {
    name: "ruche_tree_heads",
    migrations: &[
        include_str!("../../../../migrations/postgres/tree_heads/0001_tree_heads.sql"),
        include_str!("../../../../migrations/postgres/tree_heads/0002_identity.sql"),
        include_str!("../../../../migrations/postgres/tree_heads/0003_promises.sql"),
    ],
    not_beside: "ruche",
    has_roles: false,
};

/// Makes the roles that the migrations grant to.
const ROLES: &str = include_str!("../../../../migrations/postgres/roles.sql");
/// What an administrator runs where the login user may not make roles.
const ROLES_BY_HAND: &str = "CREATE ROLE ruche_append NOLOGIN; CREATE ROLE ruche_app NOLOGIN; \
                             CREATE ROLE ruche_eraser NOLOGIN; GRANT ruche_append, ruche_app, ruche_eraser TO ";
/// "ruche": the advisory lock under which nodes migrate one after the other.
const LOCK: i64 = 0x72_7563_6865;
/// Inside a migration: nodes that came later wait for it, and it may rewrite a table.
const SETTINGS: &str = "SET LOCAL statement_timeout = '30min'; SET LOCAL lock_timeout = '30min'";

/// Brings the ledger's database up to date.
pub(crate) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    apply(client, &LEDGER).await
}

/// Brings a database of tree heads up to date.
pub(crate) async fn migrate_tree_heads(client: &mut Client) -> Result<(), OpenError> {
    apply(client, &TREE_HEADS).await
}

/// Refuses a ledger's database that is not up to date. Changes nothing.
pub(crate) async fn require(client: &Client) -> Result<(), OpenError> {
    is_up_to_date(client, &LEDGER).await
}

/// The same for a database of tree heads.
pub(crate) async fn require_tree_heads(client: &Client) -> Result<(), OpenError> {
    is_up_to_date(client, &TREE_HEADS).await
}

/// Refuses a database without ledgers, whatever version they have.
pub(crate) async fn must_be_there(client: &Client) -> Result<(), OpenError> {
    match is_there(client, LEDGER.name).await? {
        true => Ok(()),
        false => Err(OpenError::NoSchema { schema: LEDGER.name }),
    }
}

async fn is_up_to_date(client: &Client, schema: &Schema) -> Result<(), OpenError> {
    let (name, known) = (schema.name, schema.migrations.len() as i64);
    if !is_there(client, name).await? {
        return Err(OpenError::NoSchema { schema: name });
    }
    if schema.has_roles && !may_use_roles(client).await? {
        return Err(roles_by_hand(client).await?);
    }
    match version(client, name).await? {
        Some(found) if found == known => Ok(()),
        Some(found) if found > known => Err(OpenError::Newer { found, known }),
        Some(_) => Err(OpenError::NotMigrated { schema: name }),
        None => Err(not_owner(client, name).await?),
    }
}

/// Makes the roles and applies what is missing. One transaction: a crash leaves all of it or nothing, and maybe roles
/// that nothing is granted to.
async fn apply(client: &mut Client, schema: &Schema) -> Result<(), OpenError> {
    let failed = || OpenError::database("migrate the database");
    let (name, known) = (schema.name, schema.migrations.len() as i64);
    let may_use_roles = !schema.has_roles || may_use_roles(client).await?;
    if may_use_roles && version(client, name).await? == Some(known) {
        return Ok(());
    }
    if is_there(client, name).await? && !owns(client, name).await? {
        return Err(not_owner(client, name).await?);
    }
    if schema.has_roles {
        make_roles(client).await?;
    }
    let tx = client.transaction().await.map_err(failed())?;
    match apply_in(&tx, schema).await {
        Ok(()) => tx.commit().await.map_err(failed()),
        Err(error) if error.is_refused() => {
            tx.rollback().await.map_err(failed())?;
            Err(not_owner(client, name).await?)
        }
        Err(error) => Err(error),
    }
}

/// What a login user is told that may not change what has to be changed.
async fn not_owner(client: &Client, schema: &'static str) -> Result<OpenError, OpenError> {
    let sql = "SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(coalesce( \
        (SELECT nspowner FROM pg_namespace WHERE nspname = $1), datdba))) \
        FROM pg_database WHERE datname = current_database()";
    let row = client.query_typed_one(sql, &[(&schema, Type::TEXT)]).await;
    let row = row.map_err(OpenError::database("read the owner of the schema"))?;
    Ok(OpenError::NotOwner {
        schema,
        user: row.get(0),
        owner: row.get(1),
    })
}

async fn is_there(client: &Client, schema: &str) -> Result<bool, OpenError> {
    exists(client, schema, "true").await
}

/// Whether the login user may change a schema.
async fn owns(client: &Client, schema: &str) -> Result<bool, OpenError> {
    exists(client, schema, "pg_has_role(nspowner, 'USAGE')").await
}

async fn exists(client: &Client, schema: &str, condition: &str) -> Result<bool, OpenError> {
    let sql = format!("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND {condition})");
    let row = client.query_typed_one(&sql, &[(&schema, Type::TEXT)]).await;
    Ok(row.map_err(OpenError::database("look for the schema"))?.get(0))
}

/// Makes the roles of the ledger's schema, which are of no database. Needed before [`make_ledger`].
pub(crate) async fn make_ledger_roles(client: &Client) -> Result<(), OpenError> {
    make_roles(client).await
}

/// Makes the ledger's schema in a transaction of the caller.
pub(crate) async fn make_ledger(tx: &Transaction<'_>) -> Result<(), OpenError> {
    apply_in(tx, &LEDGER).await
}

/// Applies what is missing; commits nothing.
async fn apply_in(tx: &Transaction<'_>, schema: &Schema) -> Result<(), OpenError> {
    let Schema { name, migrations, .. } = schema;
    let failed = || OpenError::database("migrate the database");
    let known = migrations.len() as i64;
    tx.batch_execute(SETTINGS).await.map_err(failed())?;
    tx.query_typed("SELECT pg_advisory_xact_lock($1)::text", &[(&LOCK, Type::INT8)])
        .await
        .map_err(failed())?;
    let beside = tx
        .query_opt(
            "SELECT 1 FROM pg_namespace WHERE nspname = $1",
            &[&schema.not_beside],
        )
        .await
        .map_err(failed())?;
    if beside.is_some() {
        return Err(OpenError::SameDatabase);
    }
    // A schema that an administrator made for Ruche is empty; one that Ruche made has its table of migrations.
    let foreign = tx
        .query_opt(
            "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
             HAVING count(*) > 0 AND NOT coalesce(bool_or(c.relname = 'migration'), false)",
            &[name],
        )
        .await
        .map_err(failed())?;
    if foreign.is_some() {
        return Err(OpenError::Foreign { schema: name });
    }
    tx.batch_execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {name}; SET LOCAL search_path = {name}; \
         CREATE TABLE IF NOT EXISTS migration (version bigint PRIMARY KEY)"
    ))
    .await
    .map_err(failed())?;
    let row = tx
        .query_one("SELECT coalesce(max(version), 0) FROM migration", &[])
        .await
        .map_err(failed())?;
    let found: i64 = row.get(0);
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
    Ok(())
}

/// The version that is there, if a login user who does not own the schema may see it.
async fn version(client: &Client, schema: &str) -> Result<Option<i64>, OpenError> {
    let failed = || OpenError::database("read the schema version");
    let there = client
        .query_typed_one(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = 'migration' AND has_schema_privilege(n.oid, 'USAGE') \
             AND has_table_privilege(c.oid, 'SELECT'))",
            &[(&schema, Type::TEXT)],
        )
        .await
        .map_err(failed())?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client
        .query_typed_one(
            &format!("SELECT coalesce(max(version), 0) FROM {schema}.migration"),
            &[],
        )
        .await
        .map_err(failed())?;
    Ok(Some(row.get(0)))
}

/// Whether the login user may become what sessions become.
async fn may_use_roles(client: &Client) -> Result<bool, OpenError> {
    let row = client
        .query_typed_one(
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('ruche_append', 'ruche_app') AND pg_has_role(oid, \
             CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)",
            &[],
        )
        .await
        .map_err(OpenError::database("read the roles"))?;
    Ok(row.get::<_, i64>(0) == 2)
}

async fn make_roles(client: &Client) -> Result<(), OpenError> {
    let Err(error) = client.batch_execute(ROLES).await else {
        return Ok(());
    };
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Err(OpenError::database("make the roles")(error));
    }
    Err(roles_by_hand(client).await?)
}

/// What an administrator has to do about the roles.
async fn roles_by_hand(client: &Client) -> Result<OpenError, OpenError> {
    let user = client
        .query_typed_one("SELECT quote_ident(current_user)", &[])
        .await
        .map_err(OpenError::database("read the name of the login user"))?;
    let sql = format!("{ROLES_BY_HAND}{}", user.get::<_, &str>(0));
    Ok(OpenError::Roles { sql })
}
