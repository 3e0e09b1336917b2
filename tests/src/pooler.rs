//! A pgbouncer in transaction mode between a server under test and its PostgreSQL.

use std::io;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;
use tokio_postgres::SimpleQueryMessage;
use xtask::postgres::{free_port, unprivileged};

use crate::databases::ask;

/// Where its package puts the program.
const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
/// What does not listen by then will not.
const START_MAX: Duration = Duration::from_secs(60);

/// A running pooler. Ends when dropped.
pub struct Pooler {
    program: Option<Child>,
    path: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Pooler {
    /// Starts one before the server of a URL, with so many sessions there; `None`, told plainly, if it is not installed.
    ///
    /// # Errors
    /// What could not be done.
    ///
    /// # Panics
    /// Under `CI=true` without it.
    pub fn start(url: &str, sessions: u32) -> io::Result<Option<Self>> {
        let Some(path) = PROGRAMS
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.is_file())
        else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "pgbouncer is not installed");
            eprintln!("skipped: pgbouncer is not installed; `cargo xtask test` installs it");
            return Ok(None);
        };
        let mut pooler = Self {
            program: None,
            path,
            port: free_port().map_err(io::Error::other)?,
            folder: TempDir::with_prefix("ruche-pooler-")?,
        };
        pooler.configure(url, sessions)?;
        pooler.serve()?;
        Ok(Some(pooler))
    }

    fn configure(&self, url: &str, sessions: u32) -> io::Result<()> {
        let config: tokio_postgres::Config = url.parse().map_err(io::Error::other)?;
        let (user, server) = (config.get_user().unwrap_or_default(), config.get_ports()[0]);
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
        let at = |name: &str| self.folder.path().join(name);
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nadmin_users = {user}\npool_mode = transaction\n\
             default_pool_size = {sessions}\nmax_client_conn = 200\nlogfile = {}\n",
            self.port,
            at("users").display(),
            at("log").display(),
        );
        fs::write(at("users"), format!("\"{user}\" \"{password}\"\n"))?;
        fs::write(at("ini"), ini)?;
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = unprivileged().map_err(io::Error::other)? {
            for path in [self.folder.path().to_owned(), at("users"), at("ini")] {
                chown(path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    /// Starts it again, on the same port, after [`Pooler::stop`].
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn serve(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.path);
        if let Some((uid, gid)) = unprivileged().map_err(io::Error::other)? {
            command.uid(uid).gid(gid);
        }
        let program = command
            .arg(self.folder.path().join("ini"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.program = Some(program);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if begun.elapsed() > START_MAX {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("pgbouncer does not listen: {log}")));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Ends it now, and every connection through it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut program) = self.program.take() else {
            return Ok(());
        };
        program.kill()?;
        program.wait().map(drop)
    }

    /// The same database through the pooler.
    ///
    /// # Panics
    /// For a URL without a user.
    pub fn through(&self, url: &str) -> String {
        let (user, place) = url.split_once('@').expect("a URL with a user");
        let (_, database) = place.split_once('/').expect("a URL with a database");
        format!("{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Transactions that went through it to the database of a URL.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn transactions(&self, url: &str) -> io::Result<u64> {
        let name = Path::new(url).file_name().unwrap_or_default().to_string_lossy();
        let console = self.through(url).replace(&format!("/{name}"), "/pgbouncer");
        let rows = ask(&console, "SHOW STATS")?;
        let count = rows.iter().find_map(|row| match row {
            SimpleQueryMessage::Row(row) if row.get("database") == Some(&*name) => {
                row.get("total_xact_count")?.parse().ok()
            }
            _ => None,
        });
        Ok(count.unwrap_or_default())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a pooler could not be stopped: {error}");
        }
    }
}
