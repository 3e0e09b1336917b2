//! Databases for a server under test, on the PostgreSQL that `cargo xtask test` starts.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Names the engine that the whole-system tests run on: `postgres`, or the embedded one if it is absent.
pub const ENGINE: &str = "RUCHE_TEST_ENGINE";
/// URL of the server, with the rights to make databases.
const SERVER: &str = "RUCHE_TEST_POSTGRES";

/// The two databases of a deployment.
#[derive(Clone, Debug)]
pub struct Databases {
    /// Ledgers and read models.
    pub ledgers: String,
    /// Tree heads.
    pub tree_heads: String,
}

impl Databases {
    /// New ones that `program` has migrated and nobody has written to, if the tests are to run on PostgreSQL.
    ///
    /// # Panics
    /// If they are and there is no server: that is no reason to pass.
    pub fn if_asked_for(program: &Path) -> Option<Self> {
        let engine = std::env::var(ENGINE).ok()?;
        assert_eq!(engine, "postgres", "{ENGINE} knows no other engine");
        let server =
            std::env::var(SERVER).unwrap_or_else(|_| panic!("{ENGINE}=postgres, and {SERVER} is not set"));
        Some(Self::copied(&server, program).expect("databases are made"))
    }

    /// Copies of two databases that were migrated once: a migration takes a server as long as many a test.
    fn copied(server: &str, program: &Path) -> io::Result<Self> {
        static MIGRATED: Mutex<Option<Databases>> = Mutex::new(None);
        // A holder that panicked has left none or a whole one.
        let mut held = MIGRATED.lock().unwrap_or_else(PoisonError::into_inner);
        let migrated = match &*held {
            Some(databases) => databases.clone(),
            None => held.insert(Self::migrated(server, program)?).clone(),
        };
        drop(held);
        Ok(Self {
            ledgers: copy(server, &migrated.ledgers, "ledgers")?,
            tree_heads: copy(server, &migrated.tree_heads, "tree_heads")?,
        })
    }

    fn migrated(server: &str, program: &Path) -> io::Result<Self> {
        let databases = Self::on(server)?;
        let mut command = Command::new(program);
        command.arg("migrate").envs(databases.variables());
        let output = command.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(databases),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    /// New and empty ones; `None`, told plainly, where there is no server.
    ///
    /// # Errors
    /// When the server refuses.
    ///
    /// # Panics
    /// Under `CI=true`, where an absent server is a failure.
    pub fn new() -> io::Result<Option<Self>> {
        let Ok(server) = std::env::var(SERVER) else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "{SERVER} is not set");
            eprintln!("skipped: {SERVER} is not set; `cargo xtask test` starts a server");
            return Ok(None);
        };
        Self::on(&server).map(Some)
    }

    /// New and empty ones on a server, whose URL has the rights to make databases.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn on(server: &str) -> io::Result<Self> {
        let [ledgers, tree_heads] = [make(server, "ledgers")?, make(server, "tree_heads")?];
        Ok(Self { ledgers, tree_heads })
    }

    /// Variables that tell `ruche` of them.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [
            ("RUCHE_DATABASE_URL", &self.ledgers),
            ("RUCHE_TREE_HEADS_URL", &self.tree_heads),
        ]
    }
}

/// Makes a database and gives its URL. It goes with the server.
fn make(server: &str, what: &str) -> io::Result<String> {
    let name = new_name(what);
    run(server, &format!("CREATE DATABASE {name}"))?;
    Ok(url(server, &name))
}

/// Makes a copy of a database to which nobody is connected, and gives its URL.
fn copy(server: &str, of: &str, what: &str) -> io::Result<String> {
    let name = new_name(what);
    let (_, of) = of.rsplit_once('/').unwrap_or_default();
    run(server, &format!("CREATE DATABASE {name} TEMPLATE {of}"))?;
    Ok(url(server, &name))
}

fn new_name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("it_{}_{count}_{what}", std::process::id())
}

fn url(server: &str, name: &str) -> String {
    server.replace("/postgres", &format!("/{name}"))
}

/// A session that a test keeps open, to hold something or to look. Not for use inside a runtime.
pub struct Session {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn open(url: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let connected = tokio_postgres::connect(url, NoTls).await;
            let (client, connection) = connected.map_err(io::Error::other)?;
            // Ends with the client; what is asked of a broken one fails.
            tokio::spawn(connection);
            Ok::<_, io::Error>(client)
        })?;
        Ok(Self { client, runtime })
    }

    /// Runs statements.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn run(&self, sql: &str) -> io::Result<()> {
        let ran = self.runtime.block_on(self.client.batch_execute(sql));
        ran.map_err(io::Error::other)
    }

    /// Asks for rows.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn rows(&self, sql: &str) -> io::Result<Vec<tokio_postgres::Row>> {
        let asked = self.runtime.block_on(self.client.query(sql, &[]));
        asked.map_err(io::Error::other)
    }
}

/// Runs a statement on a database, on a thread of its own: whoever asks may be in a runtime already.
///
/// # Errors
/// When the server refuses.
pub fn run(url: &str, sql: &str) -> io::Result<()> {
    ask(url, sql).map(drop)
}

/// The first column of the rows that statements give.
///
/// # Errors
/// When the server refuses.
pub fn rows(url: &str, sql: &str) -> io::Result<Vec<String>> {
    let rows = ask(url, sql)?.into_iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    Ok(rows.collect())
}

/// Runs statements on a database and gives what they answer as text. On a thread of its own: whoever asks may be in a
/// runtime already.
///
/// # Errors
/// When the server refuses.
pub fn ask(url: &str, sql: &str) -> io::Result<Vec<SimpleQueryMessage>> {
    let work = || -> io::Result<Vec<SimpleQueryMessage>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls)
                .await
                .map_err(io::Error::other)?;
            let connection = tokio::spawn(connection);
            let answers = client.simple_query(sql).await.map_err(io::Error::other)?;
            drop(client);
            connection
                .await
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?;
            Ok(answers)
        })
    };
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| io::Error::other("the thread died"))?
}
