//! The schemas: a small one that names the current generation, and one for each generation. Made and brought up to date
//! by whichever node comes first.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, SimpleQueryMessage, Transaction};

use crate::bi;
use crate::error::OpenError;

/// Applied in order to a generation; `ruche_read.migration` has a row for each that was. See `migrations/README.md`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/postgres/read/0001_read_models.sql"),
    include_str!("../../../../migrations/postgres/read/0002_lanes.sql"),
    include_str!("../../../../migrations/postgres/read/0003_ready_by_agent.sql"),
    include_str!("../../../../migrations/postgres/read/0004_approvals.sql"),
    include_str!("../../../../migrations/postgres/read/0005_messages_of_turns.sql"),
    include_str!("../../../../migrations/postgres/read/0006_what_workers_read.sql"),
    include_str!("../../../../migrations/postgres/read/0007_calls_that_never_run.sql"),
    include_str!("../../../../migrations/postgres/read/0008_interventions.sql"),
    include_str!("../../../../migrations/postgres/read/0009_imported_tools.sql"),
    include_str!("../../../../migrations/postgres/read/0010_turn_attempts.sql"),
    include_str!("../../../../migrations/postgres/read/0011_why_it_was_rejected.sql"),
    include_str!("../../../../migrations/postgres/read/0012_lanes_of_turns_and_calls.sql"),
    include_str!("../../../../migrations/postgres/read/0013_who_asserted_outcomes.sql"),
    include_str!("../../../../migrations/postgres/read/0014_effects_in_doubt.sql"),
    include_str!("../../../../migrations/postgres/read/0015_turns_that_wait_for_people.sql"),
    include_str!("../../../../migrations/postgres/read/0016_memory.sql"),
    include_str!("../../../../migrations/postgres/read/0017_analytics.sql"),
    include_str!("../../../../migrations/postgres/read/0018_scenarios_goals_words.sql"),
    include_str!("../../../../migrations/postgres/read/0019_paused_projections.sql"),
    include_str!("../../../../migrations/postgres/read/0020_ends_of_facts.sql"),
    include_str!("../../../../migrations/postgres/read/0021_sessions_by_external_id.sql"),
    include_str!("../../../../migrations/postgres/read/0022_tables_for_others.sql"),
    include_str!("../../../../migrations/postgres/read/0023_policy.sql"),
    include_str!("../../../../migrations/postgres/read/0024_saved_queries.sql"),
    include_str!("../../../../migrations/postgres/read/0025_vectors_of_facts.sql"),
];
/// "rure": first key of the advisory locks of this engine.
pub(crate) const LOCKS: i32 = 0x7275_7265;
/// Nodes migrate one after the other.
const LOCK_OF_MIGRATION: i32 = 1;
/// Shared by whoever writes to the current generation; a switch to the next one has it alone.
pub(crate) const LOCK_OF_STEPS: i32 = 2;
/// One rebuild at a time, over all nodes.
pub(crate) const LOCK_OF_REBUILD: i32 = 3;
/// Times that another database of the same server may be in the way while the role is made.
const ROLE_ATTEMPTS_MAX: u32 = 8;

/// The schema of a generation.
pub(crate) fn schema_of(generation: u32) -> String {
    format!("ruche_read_{generation}")
}

/// The number of the last migration that this program knows.
pub(crate) fn known() -> i64 {
    MIGRATIONS.len() as i64
}

/// Has a transaction work on the current generation.
pub(crate) fn current_schema() -> String {
    "SELECT set_config('search_path', 'ruche_read_' || generation || ', pg_temp', true) FROM ruche_read.current".into()
}

/// Makes the schema of read models or brings it up to date, and makes the role `ruche_app` that programs read and write
/// as. One transaction but for the role: a crash leaves all of it or nothing.
///
/// # Errors
/// `OpenError`; `Role` says what an administrator has to run where this user may not make roles.
pub async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    ensure_role(client).await?;
    match apply(client).await {
        Err(error) if error.is_refused() => {
            let Owner { user, owner, .. } = Owner::of(client).await.map_err(OpenError::database(OWNER))?;
            Err(OpenError::NotOwner { user, owner })
        }
        applied => applied,
    }
}

/// Who could change the read models, and whether it is who asks.
pub(crate) struct Owner {
    /// The login user.
    pub user: String,
    /// Who owns the read models or, if there are none, the database.
    pub owner: String,
    /// Whether that user may make and drop generations.
    pub may_change: bool,
}

/// What is done by [`Owner::of`].
const OWNER: &str = "read the owner of the read models";

impl Owner {
    pub(crate) async fn of(client: &Client) -> Result<Self, Error> {
        let sql = "SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(owner)), \
            pg_has_role(owner, 'USAGE') AND has_database_privilege(current_database(), 'CREATE') \
            FROM (SELECT coalesce((SELECT nspowner FROM pg_namespace WHERE nspname = 'ruche_read'), datdba) AS owner \
                  FROM pg_database WHERE datname = current_database()) AS one";
        let row = client.query_typed_one(sql, &[]).await?;
        Ok(Self {
            user: row.get(0),
            owner: row.get(1),
            may_change: row.get(2),
        })
    }
}

async fn apply(client: &mut Client) -> Result<(), OpenError> {
    let failed = || OpenError::database("migrate the read models");
    let tx = client.transaction().await.map_err(failed())?;
    tx.batch_execute(&format!(
        "SELECT pg_advisory_xact_lock({LOCKS}, {LOCK_OF_MIGRATION}); CREATE SCHEMA IF NOT EXISTS ruche_read; \
         CREATE TABLE IF NOT EXISTS ruche_read.migration (version bigint PRIMARY KEY); \
         CREATE TABLE IF NOT EXISTS ruche_read.current (generation bigint PRIMARY KEY CHECK (generation > 0))"
    ))
    .await
    .map_err(failed())?;
    let (found, known) = (version(&tx).await.map_err(failed())?, known());
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    if found == known {
        return tx.commit().await.map_err(failed());
    }
    // Steps wait: they would meet tables that change under them.
    let begin = if found == 0 {
        "CREATE SCHEMA ruche_read_1; INSERT INTO ruche_read.current VALUES (1)".to_owned()
    } else {
        format!("SELECT pg_advisory_xact_lock({LOCKS}, {LOCK_OF_STEPS})")
    };
    tx.batch_execute(&format!("{begin}; {}", current_schema()))
        .await
        .map_err(failed())?;
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(found as usize) {
        let applied = format!("{sql}; INSERT INTO ruche_read.migration VALUES ({version})");
        tx.batch_execute(&applied).await.map_err(failed())?;
        tracing::info!(version, "schema of the read models migrated");
    }
    let current = "SELECT generation FROM ruche_read.current";
    let current: i64 = tx.query_typed_one(current, &[]).await.map_err(failed())?.get(0);
    let shown = bi::shown(bi::CURRENT, u32::try_from(current).unwrap_or(u32::MAX));
    let shown = format!("{}; {shown}", bi::SHARED);
    tx.batch_execute(&shown).await.map_err(failed())?;
    tx.commit().await.map_err(failed())
}

/// Version of the schema; 0 where there is none.
///
/// # Errors
/// Those of the database.
pub(crate) async fn version(tx: &Transaction<'_>) -> Result<i64, Error> {
    let sql = "SELECT coalesce(max(version), 0) FROM ruche_read.migration";
    Ok(tx.query_typed_one(sql, &[]).await?.get(0))
}

/// The text that makes a generation.
pub(crate) fn make(generation: u32) -> String {
    let schema = schema_of(generation);
    format!(
        "CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}, pg_temp; {}; {}",
        MIGRATIONS.join(";\n"),
        bi::shown(&bi::schema_of(generation), generation)
    )
}

/// Makes the role where it is absent and lets this user act as it. Roles belong to the server, so another database may
/// be doing the same at this moment.
async fn ensure_role(client: &Client) -> Result<(), OpenError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Err(error) = try_role(client).await else {
            return Ok(());
        };
        let code = error.code().cloned();
        if code == Some(SqlState::INSUFFICIENT_PRIVILEGE) {
            return Err(OpenError::Role {
                sql: role_sql(client).await,
                source: error,
            });
        }
        // A duplicate in either of two ways, or "tuple concurrently updated".
        let races = [
            SqlState::DUPLICATE_OBJECT,
            SqlState::UNIQUE_VIOLATION,
            SqlState::INTERNAL_ERROR,
        ];
        if attempts == ROLE_ATTEMPTS_MAX || !code.is_some_and(|code| races.contains(&code)) {
            return Err(OpenError::database("make the role ruche_app")(error));
        }
    }
}

async fn try_role(client: &Client) -> Result<(), Error> {
    let sql = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = 'ruche_app'";
    if client.query_typed_opt(sql, &[]).await?.is_none() {
        client.batch_execute("CREATE ROLE ruche_app NOLOGIN").await?;
    }
    // Asking the server is surer than reading its catalogue: what a member may do differs between its versions.
    let acts = client.batch_execute("BEGIN; SET LOCAL ROLE ruche_app").await;
    client.batch_execute("ROLLBACK").await?;
    if acts.is_err() {
        client.batch_execute("GRANT ruche_app TO CURRENT_USER").await?;
    }
    Ok(())
}

/// What an administrator runs.
async fn role_sql(client: &Client) -> String {
    let asked = client.simple_query("SELECT quote_ident(current_user)").await;
    let user = asked
        .unwrap_or_default()
        .into_iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
    let user = user.unwrap_or_else(|| "the user of Ruche".to_owned());
    format!("CREATE ROLE ruche_app NOLOGIN; GRANT ruche_app TO {user};")
}
