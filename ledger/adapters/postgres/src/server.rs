//! A database beside the store: what its server promises, its schema, and what nodes share in it.

use std::fmt;
use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;
use uuid::Uuid;

use crate::error::OpenError;
use crate::session::{Purpose, fence};
use crate::{Database, PostgresHalts, PostgresLeases, PostgresTreeHeads, schema};

/// The last records of each ledger, of which it is told how many were committed together.
const COMMITTED_TOGETHER_RECORDS: i64 = 10_000;

/// A server and what it promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name of the database.
    pub database: String,
    /// Version of PostgreSQL.
    pub version: String,
    /// Whether commits are flushed.
    pub fsync: String,
    /// What a commit waits for in a session that does not say it.
    pub synchronous_commit: String,
    /// Which standbys a commit waits for; empty if for none.
    pub synchronous_standby_names: String,
    /// Connections that are not reserved for superusers.
    pub connections: u64,
    /// When it was started, in the server's words: two databases that tell the same are of one server.
    pub started: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standbys = match self.synchronous_standby_names.as_str() {
            "" => "none",
            names => names,
        };
        write!(
            f,
            "database {}, PostgreSQL {}, fsync {}, synchronous standbys {standbys}, {} connections",
            self.database, self.version, self.fsync, self.connections
        )
    }
}

impl Database {
    /// What the server says of itself.
    ///
    /// # Errors
    /// `Database`.
    pub async fn server(&self) -> Result<Server, OpenError> {
        let client = self.connect().await?;
        let row = client
            .query_one(
                "SELECT current_database()::text, current_setting('server_version'), current_setting('fsync'), \
                 current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
                 current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
                 extract(epoch FROM pg_postmaster_start_time())::text",
                &[],
            )
            .await
            .map_err(OpenError::database("read the server's settings"))?;
        Ok(Server {
            database: row.get(0),
            version: row.get(1),
            fsync: row.get(2),
            synchronous_commit: row.get(3),
            synchronous_standby_names: row.get(4),
            connections: row.get::<_, i64>(5).max(0).cast_unsigned(),
            started: row.get(6),
        })
    }

    /// What decides whether an answered append survives, as a session that appends has it: names and values. The schema
    /// must be there.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn durability(&self) -> Result<Vec<(String, String)>, OpenError> {
        let session = self.session(Purpose::Append, |_| ()).await?;
        let rows = session
            .query(
                "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', \
                 'synchronous_standby_names', 'wal_sync_method') ORDER BY name",
                &[],
            )
            .await
            .map_err(OpenError::database("read the settings of a session that appends"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Bytes of the whole database, indexes and all.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn size(&self) -> Result<u64, OpenError> {
        let client = self.connect().await?;
        let row = client
            .query_one("SELECT pg_database_size(current_database())", &[])
            .await
            .map_err(OpenError::database("read the size of the database"))?;
        Ok(row.get::<_, i64>(0).max(0).cast_unsigned())
    }

    /// Durable commits of one connection in a second, one behind the other, each of one small record of the log and
    /// nothing else.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn commit_rate(&self, time: Duration) -> Result<f64, OpenError> {
        let client = self.connect().await?;
        let (started, mut commits) = (Instant::now(), 0_u32);
        while started.elapsed() < time {
            fence(&client).await.map_err(OpenError::database("commit"))?;
            commits += 1;
        }
        Ok(f64::from(commits) / started.elapsed().as_secs_f64())
    }

    /// Records of a commit, on average over the last ones of these ledgers. The server keeps which transaction wrote a row.
    ///
    /// # Errors
    /// As [`Database::connect`]; the login user owns the tables.
    pub async fn events_per_commit(&self, ledgers: &[LedgerId]) -> Result<f64, OpenError> {
        let client = self.connect().await?;
        let ledgers: Vec<Uuid> = ledgers.iter().map(|ledger| ledger.0).collect();
        let row = client
            .query_one(
                "SELECT count(*)::float8 / greatest(count(DISTINCT r.xmin::text), 1) \
                 FROM unnest($1::uuid[]) AS l(ledger) CROSS JOIN LATERAL (SELECT xmin FROM ruche.record \
                 WHERE ledger = l.ledger ORDER BY epoch DESC, index DESC LIMIT $2) AS r",
                &[&ledgers, &COMMITTED_TOGETHER_RECORDS],
            )
            .await
            .map_err(OpenError::database("read which records were committed together"))?;
        Ok(row.get(0))
    }

    /// Whether there are ledgers. Changes nothing, and makes no schema.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn has_ledgers(&self) -> Result<bool, OpenError> {
        let failed = || OpenError::database("look for ledgers");
        let client = self.connect().await?;
        let there = client
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'ruche')",
                &[],
            )
            .await
            .map_err(failed())?;
        if !there.get::<_, bool>(0) {
            return Ok(false);
        }
        // As a session that appends: it sees the heads of all ledgers, which a login user need not.
        let session = self.session(Purpose::Append, |_| ()).await?;
        let row = session.query_one("SELECT EXISTS (SELECT FROM head)", &[]).await;
        Ok(row.map_err(failed())?.get(0))
    }

    /// The copies of tree heads that are kept beside the records, of all ledgers: what was signed for them at least. None
    /// without a ledger.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn tree_head_copies(&self) -> Result<Vec<Vec<u8>>, OpenError> {
        if !self.has_ledgers().await? {
            return Ok(Vec::new());
        }
        let session = self.session(Purpose::Append, |_| ()).await?;
        let copies = session.query("SELECT note FROM tree_head", &[]).await;
        let copies = copies.map_err(OpenError::database("read the copies of tree heads"))?;
        Ok(copies.iter().map(|row| row.get(0)).collect())
    }

    /// Makes or brings up to date the schema of the ledgers, and the roles.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn migrate(&self) -> Result<(), OpenError> {
        schema::migrate(&mut self.connect().await?).await
    }

    /// Makes or brings up to date the schema of a database of tree heads.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn migrate_tree_heads(&self) -> Result<(), OpenError> {
        schema::migrate_tree_heads(&mut self.connect().await?).await
    }

    /// Refuses a database in which no ledger was ever made. Changes nothing.
    ///
    /// # Errors
    /// `NoSchema`, and as [`Database::connect`].
    pub async fn must_have_schema(&self) -> Result<(), OpenError> {
        schema::must_be_there(&self.connect().await?).await
    }

    /// Refuses a database of tree heads that is not up to date. Changes nothing.
    ///
    /// # Errors
    /// `NoSchema`, `NotMigrated` and others of [`OpenError`].
    pub async fn require_tree_heads(&self) -> Result<(), OpenError> {
        schema::require_tree_heads(&self.connect().await?).await
    }

    /// Whether this deployment has the master seed that `label` was made with. The first node that writes says which it is.
    ///
    /// # Errors
    /// `Database`.
    pub async fn agree_on_seed(&self, label: &[u8; 16], may_say: bool) -> Result<bool, OpenError> {
        let failed = || OpenError::database("compare the master seed");
        let session = self.session(Purpose::Append, |_| ()).await?;
        if may_say {
            let say = "INSERT INTO deployment (one, seed) VALUES (true, $1) ON CONFLICT (one) DO NOTHING";
            session.execute(say, &[&&label[..]]).await.map_err(failed())?;
        }
        let said = session.query_opt("SELECT seed FROM deployment", &[]).await;
        let said = said.map_err(failed())?;
        Ok(said.is_none_or(|row| row.get::<_, &[u8]>(0) == label))
    }

    /// Which database of tree heads this is.
    ///
    /// # Errors
    /// `Database`.
    pub async fn tree_heads_id(&self) -> Result<Uuid, OpenError> {
        let client = self.connect().await?;
        let said = client
            .query_one("SELECT id FROM ruche_tree_heads.identity", &[])
            .await;
        let said = said.map_err(OpenError::database("ask which database of tree heads this is"))?;
        Ok(said.get(0))
    }

    /// Whether this deployment has its tree heads in the database `heads`; `None` are files. The first node that writes and
    /// has a database for them says which it is.
    ///
    /// # Errors
    /// `Database`.
    pub async fn agree_on_tree_heads(&self, heads: Option<Uuid>, may_say: bool) -> Result<bool, OpenError> {
        let failed = || OpenError::database("compare the databases of tree heads");
        let session = self.session(Purpose::Append, |_| ()).await?;
        if let Some(heads) = heads.filter(|_| may_say) {
            let say =
                "INSERT INTO deployment_tree_heads (one, id) VALUES (true, $1) ON CONFLICT (one) DO NOTHING";
            session.execute(say, &[&heads]).await.map_err(failed())?;
        }
        let said = session
            .query_opt("SELECT id FROM deployment_tree_heads", &[])
            .await;
        let said = said.map_err(failed())?;
        Ok(said.is_none_or(|row| Some(row.get(0)) == heads))
    }

    /// The leases of the node with this id, new for each process, in the ledgers' database.
    pub fn leases(&self, node: Uuid) -> PostgresLeases {
        PostgresLeases::new(self.clone(), node)
    }

    /// The halts of ledgers, in the ledgers' database.
    pub fn halts(&self) -> PostgresHalts {
        PostgresHalts::new(self.clone())
    }

    /// The tree heads in their database, whose schema is up to date.
    pub fn tree_heads(&self) -> PostgresTreeHeads {
        PostgresTreeHeads::new(self.clone())
    }
}
