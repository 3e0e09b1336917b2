//! The schema `ruche_bi`: views under names that stay, for the tools of others, and who may read them.
//!
//! A view shows the rows of one ledger: that which `ruche_read.bi_login` names beside the user who **logged in**
//! (`session_user`). No `SET` changes who that is, and whoever reads the views can neither read nor write the list. The views
//! read as their owner, whom row-level security does not bind, so each has the condition in itself, and is a barrier: no
//! function of a reader sees a row before it was chosen.
//!
//! Each generation has a schema of views of its own. A switch gives it the name `ruche_bi`, which takes no lock on a view:
//! a report that runs holds no rebuild up. A statement ends on the rows that it began with; one that comes behind the switch, in a
//! transaction that sees what was before it, would find tables half filled, and is refused.

use std::fmt::Write as _;

use ruche_domain::ids::LedgerId;
use ruche_projections::bi::{self, Table};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Transaction};

use crate::schema::{Owner, schema_of as schema_of_tables};

/// The schema that tools read.
pub(crate) const CURRENT: &str = "ruche_bi";
/// The role whose members may read it. It cannot log in, and owns nothing.
const ROLE: &str = "ruche_bi";
/// Bytes of the name of a user of PostgreSQL.
const LOGIN_BYTES_MAX: usize = 63;
/// Roles whose members see or change more than one tenant's views.
const TOO_MUCH: &str = "'ruche_append', 'ruche_app', 'ruche_eraser', 'pg_read_all_data', 'pg_write_all_data', \
    'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_monitor', 'pg_read_all_stats'";

/// The schema of views of a generation that is not the current one.
pub(crate) fn schema_of(generation: u32) -> String {
    format!("{CURRENT}_{generation}")
}

/// Makes what all generations share, unless it is there: the list of logins, and what a view asks before it shows a row. The
/// function is its owner's, since readers may not look at what it looks at; it tells them nothing.
pub(crate) const SHARED: &str = "CREATE TABLE IF NOT EXISTS ruche_read.bi_login (login text PRIMARY KEY, ledger bytea NOT NULL, \
    tenant text NOT NULL, texts boolean NOT NULL, granted_at timestamptz NOT NULL DEFAULT now()); \
    CREATE OR REPLACE FUNCTION ruche_read.bi_stands(of_generation bigint) RETURNS boolean \
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $stands$ BEGIN \
        IF of_generation > (SELECT c.generation FROM ruche_read.current c) THEN \
            RAISE EXCEPTION 'the read models were made anew while this transaction ran: begin it again' \
                USING ERRCODE = 'serialization_failure'; \
        END IF; \
        RETURN true; \
    END $stands$";

/// Makes the views over a generation, or brings them up to date.
pub(crate) fn shown(schema: &str, generation: u32) -> String {
    let tables = schema_of_tables(generation);
    let mut sql = format!("CREATE SCHEMA IF NOT EXISTS {schema}; ");
    for table in bi::all() {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let _ = write!(
            sql,
            "CREATE OR REPLACE VIEW {schema}.{} WITH (security_barrier = true) AS SELECT {} FROM {tables}.{} v \
             WHERE (SELECT ruche_read.bi_stands({generation})) \
             AND v.ledger = (SELECT l.ledger FROM ruche_read.bi_login l WHERE l.login = session_user{}); ",
            table.name,
            columns.join(", "),
            bi::view_name(table),
            texts(table)
        );
    }
    let _ = write!(
        sql,
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{ROLE}') THEN \
         GRANT USAGE ON SCHEMA {schema} TO {ROLE}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {ROLE}; \
         END IF; END $$"
    );
    sql
}

/// What is asked besides of who reads a table.
fn texts(table: &Table) -> &'static str {
    if table.shows_texts { " AND l.texts" } else { "" }
}

/// Has the views of a generation take the place of those of another one.
pub(crate) fn switched(from: u32, to: u32) -> String {
    let (old, next) = (schema_of(from), schema_of(to));
    format!(
        "DO $$ BEGIN IF to_regnamespace('{CURRENT}') IS NOT NULL THEN ALTER SCHEMA {CURRENT} RENAME TO {old}; END IF; END $$; \
         ALTER SCHEMA {next} RENAME TO {CURRENT}"
    )
}

/// Takes away the views of a generation that is not current any more, by the name of its schema of tables.
pub(crate) fn dropped(generation: &str) -> String {
    let schema = generation.replace("ruche_read", CURRENT);
    format!("DROP SCHEMA IF EXISTS {schema} CASCADE")
}

/// A user of PostgreSQL who reads the views of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BiLogin {
    /// The name that the user logs in with.
    pub login: String,
    /// The tenant, as it was named when this was granted.
    pub tenant: String,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Whether the user sees what people wrote and said.
    pub texts: bool,
    /// When it was granted: RFC 3339, UTC, whole seconds.
    pub granted_at: String,
}

/// Why the rights of a login stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum BiError {
    /// Only the owner of the read models says who reads them.
    #[error(
        "only the owner of the read models can do that, which {user} is not: use the URL of {owner} (--database-url)"
    )]
    NotOwner {
        /// Who tried.
        user: String,
        /// Whose they are.
        owner: String,
    },
    /// There is no such user.
    #[error(
        "there is no user {login} who may log in; an administrator of the database server makes it: \
             CREATE ROLE {login} LOGIN PASSWORD '…'"
    )]
    NoLogin {
        /// The name.
        login: String,
    },
    /// The user could read other tenants by another way.
    #[error("{login} would see more than one tenant: it {right}; take a user who has no other rights")]
    TooMuch {
        /// The name.
        login: String,
        /// What the user has.
        right: String,
    },
    /// The user reads another tenant.
    #[error(
        "{login} reads the tenant {tenant}, and one login never reads two; take another user, or \
             `ruche bi revoke {login}` first"
    )]
    OtherTenant {
        /// The name.
        login: String,
        /// The tenant.
        tenant: String,
    },
    /// The login user may not make the role or hand it out.
    #[error("an administrator of the database server has to run: {sql}")]
    Role {
        /// What an administrator runs.
        sql: String,
        /// Why this user cannot.
        source: Error,
    },
    /// The database cannot be reached or refuses.
    #[error("the rights of readers cannot be read or changed")]
    Database(#[from] Error),
}

/// Lets a user of PostgreSQL read the views of one tenant. Repeated with other `texts` it changes those.
///
/// # Errors
/// `BiError`; nothing was granted.
pub async fn grant(
    client: &mut Client,
    login: &str,
    (tenant, ledger): (&str, LedgerId),
    texts: bool,
) -> Result<(), BiError> {
    must_own(client).await?;
    let user = must_be_nobody_else(client, login).await?;
    let tx = client.transaction().await?;
    role(&tx, login, &user).await?;
    let database: String = tx
        .query_typed_one("SELECT quote_ident(current_database())", &[])
        .await?
        .get(0);
    tx.batch_execute(&format!(
        "GRANT CONNECT ON DATABASE {database} TO {ROLE}; GRANT USAGE ON SCHEMA {CURRENT} TO {ROLE}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {CURRENT} TO {ROLE}"
    ))
    .await?;
    let sql = "INSERT INTO ruche_read.bi_login AS l (login, ledger, tenant, texts) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (login) DO UPDATE SET texts = excluded.texts WHERE l.ledger = excluded.ledger";
    let bytes: &[u8] = ledger.as_bytes();
    if tx.execute(sql, &[&login, &bytes, &tenant, &texts]).await? == 0 {
        let sql = "SELECT tenant FROM ruche_read.bi_login WHERE login = $1";
        let tenant = tx.query_one(sql, &[&login]).await?.get(0);
        let login = login.to_owned();
        return Err(BiError::OtherTenant { login, tenant });
    }
    Ok(tx.commit().await?)
}

/// Takes the views from a user. False if the user had none.
///
/// # Errors
/// `BiError`.
pub async fn revoke(client: &mut Client, login: &str) -> Result<bool, BiError> {
    must_own(client).await?;
    let tx = client.transaction().await?;
    let sql = "DELETE FROM ruche_read.bi_login WHERE login = $1";
    let had = tx.execute(sql, &[&login]).await? > 0;
    // A user who is in no list sees nothing; other databases of the server may go on granting the role.
    tx.commit().await?;
    Ok(had)
}

/// Everybody who reads the views of a tenant, by name.
///
/// # Errors
/// `BiError`.
pub async fn logins(client: &Client) -> Result<Vec<BiLogin>, BiError> {
    must_own(client).await?;
    let sql = "SELECT login, tenant, ledger, texts, to_char(granted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
        FROM ruche_read.bi_login ORDER BY login COLLATE \"C\"";
    let rows = client.query_typed(sql, &[]).await?;
    let login = |row: &tokio_postgres::Row| BiLogin {
        login: row.get(0),
        tenant: row.get(1),
        ledger: LedgerId::from_bytes(row.get::<_, Vec<u8>>(2).try_into().unwrap_or_default()),
        texts: row.get(3),
        granted_at: row.get(4),
    };
    Ok(rows.iter().map(login).collect())
}

async fn must_own(client: &Client) -> Result<(), BiError> {
    let Owner {
        user,
        owner,
        may_change,
    } = Owner::of(client).await?;
    if may_change {
        return Ok(());
    }
    Err(BiError::NotOwner { user, owner })
}

/// The name of a user who may log in and has no rights beside it, as SQL takes it.
async fn must_be_nobody_else(client: &Client, login: &str) -> Result<String, BiError> {
    let sql = format!(
        "SELECT quote_ident(u.rolname), u.rolcanlogin, u.rolsuper, u.rolbypassrls, u.rolreplication, u.rolcreaterole, \
         (SELECT string_agg(r.rolname, ', ') FROM pg_catalog.pg_roles r WHERE pg_has_role(u.oid, r.oid, 'MEMBER') \
          AND (r.rolname IN ({TOO_MUCH}) OR r.rolsuper \
               OR r.oid = (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'ruche_read'))) \
         FROM pg_catalog.pg_roles u WHERE u.rolname = $1::text"
    );
    let found = match login.len() <= LOGIN_BYTES_MAX {
        true => client.query_opt(&sql, &[&login]).await?,
        false => None,
    };
    let found = found.filter(|row| row.get(1));
    let login = login.to_owned();
    let Some(row) = found else {
        return Err(BiError::NoLogin { login });
    };
    let attributes = [
        "is a superuser",
        "passes over row-level security",
        "replicates",
        "makes roles",
    ];
    let right = (2_usize..).zip(attributes).find(|(column, _)| row.get(*column));
    let right = right.map(|(_, right)| right.to_owned());
    let member: Option<String> = row.get(6);
    match right.or_else(|| member.map(|roles| format!("is a member of {roles}"))) {
        Some(right) => Err(BiError::TooMuch { login, right }),
        None => Ok(row.get(0)),
    }
}

/// Makes the role where it is absent, and the user a member.
async fn role(tx: &Transaction<'_>, login: &str, user: &str) -> Result<(), BiError> {
    let sql = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = '{ROLE}'");
    let is_there = tx.query_typed_opt(&sql, &[]).await?.is_some();
    let is_member = format!("SELECT pg_has_role($1::name, '{ROLE}', 'MEMBER')");
    if is_there && tx.query_one(&is_member, &[&login]).await?.get(0) {
        return Ok(());
    }
    let make = if is_there {
        String::new()
    } else {
        format!("CREATE ROLE {ROLE} NOLOGIN; ")
    };
    let sql = format!("{make}GRANT {ROLE} TO {user};");
    match tx.batch_execute(&sql).await {
        Err(source) if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(BiError::Role { sql, source })
        }
        done => Ok(done?),
    }
}
