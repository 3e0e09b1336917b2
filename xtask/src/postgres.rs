//! Private PostgreSQL servers for tests: found or installed, started on a free port, stopped when they are dropped.
//!
//! A server can be killed with all its processes and started again on the same files and port, be frozen and go on, and
//! have standbys.

mod processes;
mod programs;

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use processes::{freeze_tree, is_alive, kill_tree, thaw_tree};
pub use programs::{install, server as programs, unprivileged};

use programs::as_user;

/// A server that is not ready by then will not be.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at whether the server is ready.
const START_POLL: Duration = Duration::from_millis(20);
/// Ports for servers. Below those that systems hand out to clients: a client that knocks at a server that is down could
/// else be given that very port, connect to itself, and keep the server from coming back.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Ports that are tried before giving up.
const PORTS_TRIED_MAX: u32 = 200;

/// What a server has beside what every server here has.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// More arguments of `initdb`.
    pub initdb: Vec<String>,
    /// Settings, such as `fsync=off`.
    pub settings: Vec<String>,
    /// Variables of the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Where its folder is made, if not among the temporary files. Others must be allowed to look into it.
    pub place: Option<PathBuf>,
}

/// A server with a cluster of its own. Stops and disappears when dropped.
pub struct Cluster {
    /// Of the database `postgres`, with the rights of a superuser.
    pub url: String,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// What it is started with; a change counts from the next start.
    pub setup: Setup,
    password: String,
    server: Option<Child>,
    programs: PathBuf,
    /// Whose the files are, if not ours: the server refuses to run as root.
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl Cluster {
    /// Starts a server with flushing on, as in production, for a whole run of tests; they find a pooler as well.
    ///
    /// # Errors
    /// What could not be done, with what to try.
    pub fn start() -> Result<Self, String> {
        programs::pooler();
        let mut cluster = Self::create(Setup::default())?;
        cluster.serve()?;
        Ok(cluster)
    }

    /// Makes the files of an empty cluster. [`Cluster::serve`] starts the server.
    ///
    /// # Errors
    /// What could not be done, with what to try.
    pub fn create(setup: Setup) -> Result<Self, String> {
        let cluster = Self::without_files(setup, password()?)?;
        let password_file = cluster.folder().join("password");
        fs::write(&password_file, &cluster.password)
            .map_err(|e| format!("cannot write the password: {e}"))?;
        cluster.hand_over(&password_file)?;
        let mut initdb = cluster.program("initdb");
        initdb
            .args([
                "--username=ruche",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-instructions",
            ])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--pgdata={}", cluster.data().display()))
            .args(&cluster.setup.initdb);
        run(initdb, "initdb")?;
        Ok(cluster)
    }

    /// Makes a standby of a running server: a copy of it that follows it once it serves.
    ///
    /// # Errors
    /// What could not be done.
    pub fn standby(&self, setup: Setup) -> Result<Self, String> {
        let standby = Self::without_files(setup, self.password.clone())?;
        let mut copy = self.program("pg_basebackup");
        copy.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--wal-method=stream",
        ])
        .arg(format!("--dbname={}", self.url))
        .arg(format!("--pgdata={}", standby.data().display()));
        run(copy, "pg_basebackup")?;
        Ok(standby)
    }

    fn without_files(setup: Setup, password: String) -> Result<Self, String> {
        let place = setup.place.clone().unwrap_or_else(std::env::temp_dir);
        let folder = TempDir::with_prefix_in("ruche-postgres-", place);
        let folder = folder.map_err(|e| format!("no temporary folder: {e}"))?;
        let port = free_port()?;
        let cluster = Self {
            url: format!("postgresql://ruche:{password}@127.0.0.1:{port}/postgres"),
            port,
            setup,
            password,
            server: None,
            programs: programs::server()?,
            user: unprivileged()?,
            folder,
        };
        cluster.hand_over(cluster.folder())?;
        Ok(cluster)
    }

    /// Starts the server and waits until it takes connections: also after [`Cluster::kill`], on the same port.
    ///
    /// # Errors
    /// What the server said.
    pub fn serve(&mut self) -> Result<(), String> {
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.folder())
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "max_connections=200"])
            .args(["-c", "log_min_messages=fatal"]);
        for setting in &self.setup.settings {
            command.args(["-c", setting]);
        }
        let server = command
            .envs(self.setup.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log_file(self.folder())?)
            .spawn()
            .map_err(|e| format!("cannot start postgres: {e}"))?;
        let id = server.id();
        self.server = Some(server);
        self.wait_until_ready(id)
    }

    /// SIGKILL to the server and all its processes. Returns when they are gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<(), String> {
        let mut server = self.server.take().ok_or("the server is not running")?;
        kill_tree(server.id())?;
        server
            .wait()
            .map(drop)
            .map_err(|e| format!("a killed server did not end: {e}"))
    }

    /// SIGSTOP to the server and all its processes: connections stay, and nobody answers.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn freeze(&self) -> Result<(), String> {
        let server = self.server.as_ref().ok_or("the server is not running")?;
        processes::freeze_tree(server.id())
    }

    /// SIGCONT after [`Cluster::freeze`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&self) -> Result<(), String> {
        let server = self.server.as_ref().ok_or("the server is not running")?;
        processes::thaw_tree(server.id())
    }

    /// Starts the server if it has ended by itself, as the system's service manager does. Tells whether it had.
    ///
    /// # Errors
    /// What the server said.
    pub fn serve_again(&mut self) -> Result<bool, String> {
        let ended = match &mut self.server {
            Some(server) => server.try_wait().map_err(|e| e.to_string())?.is_some(),
            None => true,
        };
        if ended {
            self.serve()?;
        }
        Ok(ended)
    }

    /// SIGKILL to the `nth` of its processes, counted round. The server ends the others and recovers by itself.
    ///
    /// # Errors
    /// When the system refuses, or the process has ended by itself.
    pub fn kill_one(&self, nth: u64) -> Result<(), String> {
        let server = self.server.as_ref().ok_or("the server is not running")?;
        let processes = processes::children(server.id())?;
        let at = (nth % processes.len().max(1) as u64) as usize;
        let process = processes.get(at).ok_or("the server has no processes")?;
        processes::signal("KILL", &[*process])
    }

    /// Where everything of this server is, owned by [`Cluster::user`].
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The files of the cluster.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// User and group of the server, where they are not ours.
    pub fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// The password of the user `ruche`.
    pub fn password(&self) -> &str {
        &self.password
    }

    fn program(&self, name: &str) -> Command {
        as_user(Command::new(self.programs.join(name)), self.user, self.folder())
    }

    fn hand_over(&self, path: &Path) -> Result<(), String> {
        let Some((uid, gid)) = self.user else {
            return Ok(());
        };
        chown(path, Some(uid), Some(gid)).map_err(|e| format!("cannot hand over {}: {e}", path.display()))
    }

    fn wait_until_ready(&mut self, id: u32) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            // The first line of this file is the process, the last its state. A server that was killed leaves it behind.
            let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let is_ours = state.lines().next() == Some(&id.to_string());
            if is_ours && state.lines().last().is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.server.as_mut().map(Child::try_wait) {
                self.server = None;
                let log = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
                return Err(format!("postgres ended with {status}:\n{log}"));
            }
            std::thread::sleep(START_POLL);
        }
        Err(format!(
            "postgres is not ready after {} s",
            START_TIMEOUT.as_secs()
        ))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // One that a failed test left frozen would not hear of its end.
        if let Err(problem) = processes::thaw_tree(server.id()) {
            eprintln!("postgres could not be woken up: {problem}");
        }
        let stopped = self
            .program("pg_ctl")
            .args(["stop", "--silent", "--mode=immediate", "--wait"])
            .arg(format!("--pgdata={}", self.data().display()))
            .status();
        if !stopped.is_ok_and(|status| status.success())
            && let Err(problem) = server.kill()
        {
            eprintln!("postgres could not be stopped: {problem}");
        }
        if let Err(problem) = server.wait() {
            eprintln!("postgres did not end: {problem}");
        }
    }
}

fn run(mut command: Command, name: &str) -> Result<(), String> {
    let status = command
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("cannot start {name}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name} failed: {status}"))
    }
}

/// Goes on where the last start left it.
fn log_file(folder: &Path) -> Result<fs::File, String> {
    let path = folder.join("log");
    let failed = |e| format!("cannot write {}: {e}", path.display());
    let file = fs::File::options()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    Ok(file)
}

/// Free now; if somebody takes it meanwhile, the server says so and ends.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16, String> {
    for _ in 0..PORTS_TRIED_MAX {
        let two = random::<2>()?;
        let port = PORTS.start + u16::from_be_bytes(two) % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(format!("no free port between {} and {}", PORTS.start, PORTS.end))
}

fn password() -> Result<String, String> {
    let bytes = random::<16>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|e| format!("no randomness: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_cluster_serves_until_it_is_dropped_and_again_after_it_was_killed() {
        let mut cluster = Cluster::start().expect("PostgreSQL is found or installed");
        let address = ("127.0.0.1", cluster.port);
        let folder = cluster.folder().to_owned();
        assert!(TcpStream::connect(address).is_ok());
        cluster.kill().expect("it can be killed");
        assert!(TcpStream::connect(address).is_err());
        cluster.serve().expect("it recovers");
        assert!(TcpStream::connect(address).is_ok());
        drop(cluster);
        assert!(TcpStream::connect(address).is_err());
        assert!(!folder.exists());
    }
}
