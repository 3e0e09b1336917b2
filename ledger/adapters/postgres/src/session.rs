//! Sessions: what is set in each, and what is asked of a server before it is believed. Nothing about durability is left to
//! the server's configuration.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use ruche_ledger::store::StoreError;
use tokio::task::AbortHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::PostgresOptions;
use crate::error::OpenError;
use crate::served::{SERVER, ServerId, while_served};
use crate::url::{Endpoint, SYNCHRONOUS};
use crate::warnings::Warnings;

/// A statement that runs longer is ended by the server. It does not end the wait of a commit for a standby: that has no
/// end, since nobody knows by then how it ends.
pub(crate) const STATEMENT_TIMEOUT: &str = "30s";
/// Waiting for a lock, which is that of a head row: other nodes hold it for one flush.
const LOCK_TIMEOUT: &str = "10s";
/// A session whose process is frozen inside a transaction must not hold a head row for ever.
const IDLE_TIMEOUT: &str = "10s";
/// Who writes.
const ROLE: &str = "ruche_append";
/// Waiting for a socket to each host of the URL, unless it says how long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Waiting for a session, over all hosts and with all that is asked first.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// A peer that is gone without a word is noticed after this time if something was sent, unless the URL says otherwise.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// If nothing was, it is asked after this time whether it is there,
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
/// and this often, this many times: a fence that waits on a machine that is gone ends after a minute.
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_RETRIES: u32 = 3;
/// What tokio-postgres takes if the URL says nothing.
const KEEPALIVES_IDLE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);
/// Writes a temporary file where the tables of the database are, of 1 MiB at least: more than any one table grows by at a
/// time. The server keeps the rows of a function until all are there, in a file when they do not fit into `work_mem`.
const GROW: &str =
    "SET work_mem = '64kB'; SET temp_tablespaces = ''; SELECT count(*) FROM generate_series(1, 100000)";
/// Waiting for a connection of a pool.
pub(crate) const POOL_WAIT: Duration = Duration::from_secs(5);

/// Whether anybody holds a lock in the database that this is asked in.
const IS_HELD: &str = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND classid::bigint = $1 >> 32 AND objid::bigint = $1 & 4294967295)";

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Schema changes, and whatever the caller wants: the login user of the URL.
    Owner,
    /// Writes of all tenants, and fences: `ruche_append`.
    Append,
    /// Hints to other nodes. They hold no data, so nobody waits for their flush.
    Hint,
}

/// A database: makes sessions that are all set alike. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    direct: Endpoint,
    reading: Option<Endpoint>,
    allow_no_fsync: bool,
}

impl Database {
    /// Reads the URLs of the options. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with a URL or a root certificate.
    pub fn parse(options: &PostgresOptions) -> Result<Self, OpenError> {
        let direct = Endpoint::parse(&options.url)?;
        if direct.config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(OpenError::Url(
                "target_session_attrs=read-only finds servers that cannot be written to".into(),
            ));
        }
        let reading = options.read_url.as_deref().map(Endpoint::parse).transpose()?;
        if reading
            .as_ref()
            .is_some_and(|reading| !reading.options.is_empty())
        {
            return Err(OpenError::Url(
                "a read URL has no `options`: a pooler would hand them to others".into(),
            ));
        }
        Ok(Self {
            direct,
            reading,
            allow_no_fsync: options.allow_no_fsync,
        })
    }

    /// A connection of its own to the primary, with the rights of the login user. It ends when the client is dropped. The
    /// server ends statements that run longer than 30 s: a caller that loads or changes much sets `statement_timeout`. On a
    /// synchronous cluster what is committed there is certain only once something else was: nobody hears the warning of a
    /// wait for the standby that somebody ended.
    ///
    /// # Errors
    /// `Database` if it cannot be reached; `Standby` and `NotDurable` if what it confirmed could be lost.
    pub async fn connect(&self) -> Result<Client, OpenError> {
        Ok(self.session(Purpose::Owner, |_| ()).await?.client)
    }

    /// Direct connections to the primary, with the rights of the login user: for read models. Each is checked as in
    /// [`Database::connect`] when it is made; waiting for one is bounded.
    ///
    /// # Errors
    /// `Pool`.
    pub fn pool(&self, size: usize) -> Result<Pool, OpenError> {
        self.checked_pool(Purpose::Owner, size)
    }

    /// Connections through the read URL; `None` if there is none. Only for transactions that leave nothing behind in the
    /// session: a pooler gives each of them another one. Waiting for one is bounded.
    ///
    /// # Errors
    /// `Pool`.
    pub fn pool_through_read_url(&self, size: usize) -> Result<Option<Pool>, OpenError> {
        match &self.reading {
            Some(_) => self.reading_pool(size).map(Some),
            None => Ok(None),
        }
    }

    /// Refuses a read URL that leads anywhere else than the URL: a lock that is held here has to be seen there. Without a
    /// read URL there is nothing to refuse.
    ///
    /// # Errors
    /// `Elsewhere`, or why it cannot be told.
    pub async fn check_read_url(&self) -> Result<(), OpenError> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        // Held until the connection ends.
        let here = self.connect().await?;
        let lock = "SELECT k, pg_advisory_lock(k)::text FROM (SELECT (random() * 9e18)::bigint AS k) AS one";
        let held = here.query_one(lock, &[]).await;
        let key: i64 = held.map_err(OpenError::database("lock a key"))?.get(0);
        let is_held = async {
            let connected = timeouts(reading.config.clone())
                .connect(reading.tls.clone())
                .await;
            let (there, connection) = connected.map_err(OpenError::database(
                "connect to the database through the read URL",
            ))?;
            drive(connection, Warnings::default(), |_| ());
            let row = there.query_typed_one(IS_HELD, &[(&key, Type::INT8)]).await;
            Ok(row
                .map_err(OpenError::database("read through the read URL"))?
                .get(0))
        };
        match tokio::time::timeout(SESSION_TIMEOUT, is_held).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(OpenError::Elsewhere),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(OpenError::Slow {
                seconds: SESSION_TIMEOUT.as_secs(),
            }),
        }
    }

    /// Commits something that leaves no row behind: whether the database takes writes, and its standbys too.
    ///
    /// # Errors
    /// As [`Database::connect`]; `Unconfirmed` if somebody ended the wait for the standby. Waits for one that is gone for as
    /// long as it is: bound it.
    pub async fn try_to_write(&self) -> Result<(), OpenError> {
        let session = self.session(Purpose::Owner, |_| ()).await?;
        let written = session.heard();
        let written = written.commit("write to the database", fence(&session));
        while_served(self, &session, written).await
    }

    /// Whether there is room where the tables are. A table that cannot grow refuses appends while the log has room left in
    /// a segment that is there, so that [`Database::try_to_write`] succeeds. Leaves nothing behind, and writes nothing to
    /// the log: a server that cannot write it ends.
    ///
    /// # Errors
    /// As [`Database::connect`]; `NoAnswer` if the server was replaced by another while it did not answer.
    pub async fn try_for_room(&self) -> Result<(), OpenError> {
        let session = self.session(Purpose::Owner, |_| ()).await?;
        let grown = async {
            let grown = session.batch_execute(GROW).await;
            grown.map_err(OpenError::database("write a temporary file beside the tables"))
        };
        while_served(self, &session, grown).await
    }

    /// Direct connections with the rights of one purpose.
    pub(crate) fn checked_pool(&self, purpose: Purpose, size: usize) -> Result<Pool, OpenError> {
        let allow_no_fsync = self.allow_no_fsync;
        let check = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move {
                let checked = check(client, purpose, allow_no_fsync).await.map(drop);
                checked.map_err(|error| HookError::message(error.to_string()))
            })
        });
        let builder = Pool::builder(manager(self.config(purpose), &self.direct)).post_create(check);
        build(builder, size)
    }

    /// Connections for reading, maybe through a pooler: they have no state of their own.
    pub(crate) fn reading_pool(&self, size: usize) -> Result<Pool, OpenError> {
        let builder = match &self.reading {
            Some(reading) => Pool::builder(manager(timeouts(reading.config.clone()), reading)),
            None => Pool::builder(manager(self.config(Purpose::Owner), &self.direct)),
        };
        build(builder, size)
    }

    /// A direct session for one purpose. What the server says unasked goes to `heard`.
    pub(crate) async fn session(
        &self,
        purpose: Purpose,
        heard: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<Session, OpenError> {
        let config = self.config(purpose);
        let opened = async {
            let connected = config.connect(self.direct.tls.clone()).await;
            let (client, connection) = connected.map_err(OpenError::database("connect to the database"))?;
            let warnings = Warnings::default();
            let driver = drive(connection, warnings.clone(), heard);
            let (server, backend) = check(&client, purpose, self.allow_no_fsync).await?;
            Ok(Session {
                client,
                server,
                backend,
                warnings,
                driver,
            })
        };
        match tokio::time::timeout(SESSION_TIMEOUT, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Slow {
                seconds: SESSION_TIMEOUT.as_secs(),
            }),
        }
    }

    /// A session that appends, for a caller that has a store to answer for.
    pub(crate) async fn appending(&self) -> Result<Session, StoreError> {
        self.session(Purpose::Append, |_| ()).await.map_err(unavailable)
    }

    fn config(&self, purpose: Purpose) -> Config {
        let mut config = timeouts(self.direct.config.clone());
        let commit = if purpose == Purpose::Hint { "off" } else { "on" };
        let role = match purpose {
            Purpose::Owner => String::new(),
            // Tables that are small when a plan is made grow: everything goes by an index. So one plan is good for all
            // arguments; made for each, it would copy the arrays of an append several times.
            Purpose::Append | Purpose::Hint => format!(
                " -c role={ROLE} -c search_path=ruche -c enable_seqscan=off -c plan_cache_mode=force_generic_plan \
                 -c jit=off"
            ),
        };
        // Later ones win: a stronger `synchronous_commit` of the URL, and in any case the role, and that warnings are heard: a
        // commit that no standby has is told by nothing else.
        let options = format!(
            "-c synchronous_commit={commit} -c statement_timeout={STATEMENT_TIMEOUT} -c lock_timeout={LOCK_TIMEOUT} \
             -c idle_in_transaction_session_timeout={IDLE_TIMEOUT} -c default_transaction_isolation=read\\ committed \
             {} -c client_min_messages=warning{role}",
            self.direct.options
        );
        config.options(options);
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config
    }
}

/// A connection of our own, driven by a task that ends with it.
pub(crate) struct Session {
    client: Client,
    server: ServerId,
    backend: i32,
    warnings: Warnings,
    driver: AbortHandle,
}

impl Session {
    /// The server that it is on.
    pub(crate) fn server(&self) -> ServerId {
        self.server
    }

    /// The process of the server that serves it.
    pub(crate) fn backend(&self) -> i32 {
        self.backend
    }

    /// Warnings that the server sent. A commit whose wait for the standby was cancelled is answered as if it had
    /// succeeded, with a warning: only if this number is the same before and after it, the commit is what it says.
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.count()
    }

    /// What counts them, for a commit that has to be what it says.
    pub(crate) fn heard(&self) -> Warnings {
        self.warnings.clone()
    }

    /// Ends the connection without another word. The server undoes an open transaction when it notices.
    pub(crate) fn cut(&self) {
        self.driver.abort();
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Moves the bytes of a connection until it ends. A notice is counted before the answer behind it is given out.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    warnings: Warnings,
    mut heard: impl FnMut(AsyncMessage) + Send + 'static,
) -> AbortHandle
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let task = tokio::spawn(async move {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(message)) => {
                    if let AsyncMessage::Notice(notice) = &message {
                        warnings.hear(notice);
                    }
                    heard(message);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection to the database ended");
                    return;
                }
                None => return,
            }
        }
    });
    task.abort_handle()
}

/// Refuses a server that cannot be written to, or loses what it confirms. Asked of every connection that writes: after a
/// failover another server may be behind the same name. Gives which server it is, and its process.
async fn check(
    client: &Client,
    purpose: Purpose,
    allow_no_fsync: bool,
) -> Result<(ServerId, i32), OpenError> {
    let sql = format!(
        "SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), \
         current_setting('synchronous_commit'), current_setting('role'), {SERVER}, pg_backend_pid()"
    );
    let row = client
        .query_typed_one(&sql, &[])
        .await
        .map_err(OpenError::database("read the settings of the server"))?;
    if row.get(0) {
        return Err(OpenError::Standby);
    }
    for (at, setting) in (1..).zip(["fsync", "full_page_writes"]) {
        let value: String = row.get(at);
        if value == "on" {
            continue;
        }
        if !allow_no_fsync {
            return Err(OpenError::NotDurable { setting, value });
        }
        tracing::warn!(setting, value, "the database may lose what it confirms");
    }
    let role: &str = row.get(4);
    if purpose != Purpose::Owner && role != ROLE {
        return Err(OpenError::Url(format!(
            "sessions begin as `{role}` although `options` say {ROLE}: it has to lead to the server, and not to a pooler"
        )));
    }
    let value: String = row.get(3);
    if purpose != Purpose::Hint && !SYNCHRONOUS.contains(&value.as_str()) {
        let setting = "synchronous_commit";
        return Err(OpenError::NotDurable { setting, value });
    }
    Ok((ServerId::of(&row, 5), row.get(6)))
}

/// Fills in what the URL leaves open.
fn timeouts(mut config: Config) -> Config {
    if config.get_application_name().is_none() {
        config.application_name("ruche");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == KEEPALIVES_IDLE_DEFAULT {
        config.keepalives_idle(KEEPALIVES_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVES_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVES_RETRIES);
    }
    config
}

fn manager(config: Config, endpoint: &Endpoint) -> Manager {
    let recycling_method = RecyclingMethod::Fast;
    Manager::from_config(config, endpoint.tls.clone(), ManagerConfig { recycling_method })
}

fn build(builder: deadpool_postgres::PoolBuilder, size: usize) -> Result<Pool, OpenError> {
    builder
        .max_size(size.max(1))
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(SESSION_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| OpenError::Pool(error.to_string()))
}

/// What a session that cannot be had means to a caller: nothing was written.
pub(crate) fn unavailable(error: OpenError) -> StoreError {
    StoreError::Unavailable {
        reason: chain(&error),
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &OpenError) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

/// A commit that writes to the log and to nothing else. When it returns, what was visible when it began is as durable
/// as any commit: flushed, and on a synchronous cluster with the standby.
pub(crate) async fn fence(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .query_typed_one(
            "SELECT pg_logical_emit_message(true, 'ruche', 'fence')::text",
            &[],
        )
        .await
        .map(drop)
}

/// As [`fence`], for what was read, and without a flush where that is durable already: if there are no synchronous
/// standbys, a row is seen by others only after its commit was flushed here. With them a row can be seen although no
/// standby has it; then a record of its own is waited for, behind that of the row.
pub(crate) async fn fence_reads(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .query_typed_one(
            "SELECT CASE WHEN current_setting('synchronous_standby_names') = '' THEN '' \
             ELSE pg_logical_emit_message(true, 'ruche', 'fence')::text END",
            &[],
        )
        .await
        .map(drop)
}
