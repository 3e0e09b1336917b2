//! A private PostgreSQL for tests: found or installed, started on a free port, stopped when the command ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The oldest major version that Ruche is tested on.
const MAJOR_MIN: u32 = 15;
/// Where Debian and Ubuntu put the programs, below a folder for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// A server that is not ready by then will not be.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Where a pooler may be: its package puts it where only administrators look.
const POOLER: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
/// Between two looks at whether the server is ready.
const START_POLL: Duration = Duration::from_millis(50);

/// A running server with an empty cluster. Stops and disappears when dropped.
pub struct Cluster {
    /// Of the database `postgres`, with the rights of a superuser.
    pub url: String,
    server: Child,
    programs: PathBuf,
    /// Whose the files are, if not ours: the server refuses to run as root.
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl Cluster {
    /// Starts a server with flushing on, as in production.
    ///
    /// # Errors
    /// What could not be done, with what to try.
    pub fn start() -> Result<Self, String> {
        let programs = programs()?;
        pooler();
        let folder =
            TempDir::with_prefix("ruche-postgres-").map_err(|e| format!("no temporary folder: {e}"))?;
        let user = unprivileged()?;
        let password = password()?;
        let password_file = folder.path().join("password");
        fs::write(&password_file, &password).map_err(|e| format!("cannot write the password: {e}"))?;
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &password_file] {
                chown(path, Some(uid), Some(gid))
                    .map_err(|e| format!("cannot hand over {}: {e}", path.display()))?;
            }
        }
        let data = folder.path().join("data");
        let made = as_user(Command::new(programs.join("initdb")), user, folder.path())
            .args([
                "--username=ruche",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-instructions",
            ])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--pgdata={}", data.display()))
            .stdout(Stdio::null())
            .status()
            .map_err(|e| format!("cannot start initdb: {e}"))?;
        if !made.success() {
            return Err(format!("initdb failed: {made}"));
        }
        let port = free_port()?;
        let server = as_user(Command::new(programs.join("postgres")), user, folder.path())
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .arg("-k")
            .arg(folder.path())
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=200",
                "-c",
                "log_min_messages=fatal",
            ])
            .stdout(Stdio::null())
            .stderr(log_file(folder.path())?)
            .spawn()
            .map_err(|e| format!("cannot start postgres: {e}"))?;
        let mut cluster = Self {
            url: format!("postgresql://ruche:{password}@127.0.0.1:{port}/postgres"),
            server,
            programs,
            user,
            folder,
        };
        cluster.wait_until_ready(&data)?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self, data: &Path) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            // The last line of this file is the state of the server.
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if state.lines().last().is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
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
        let stopped = as_user(
            Command::new(self.programs.join("pg_ctl")),
            self.user,
            self.folder.path(),
        )
        .args(["stop", "--silent", "--mode=immediate", "--wait"])
        .arg(format!("--pgdata={}", self.folder.path().join("data").display()))
        .status();
        if !stopped.is_ok_and(|status| status.success())
            && let Err(problem) = self.server.kill()
        {
            eprintln!("postgres could not be stopped: {problem}");
        }
        if let Err(problem) = self.server.wait() {
            eprintln!("postgres did not end: {problem}");
        }
    }
}

/// The folder of the newest server programs; installs them where that is possible.
fn programs() -> Result<PathBuf, String> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if install("postgresql")
        && let Some(found) = find()
    {
        return Ok(found);
    }
    Err(format!(
        "PostgreSQL {MAJOR_MIN} or newer is needed (as root on Debian: apt-get update && apt-get install postgresql)"
    ))
}

/// Installs pgbouncer if it is absent. Without it the tests that read through it say that they are skipped, and fail
/// under `CI=true`.
fn pooler() {
    if !POOLER.iter().any(|path| Path::new(path).is_file()) && !install("pgbouncer") {
        eprintln!("pgbouncer is absent (as root on Debian: apt-get update && apt-get install pgbouncer)");
    }
}

fn install(package: &str) -> bool {
    eprintln!("{package} is absent; installing it: apt-get install {package}");
    let install = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    install.is_ok_and(|status| status.success())
}

fn find() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((version, entry.path().join("bin")))
        });
    let newest = versions
        .filter(|(version, programs)| *version >= MAJOR_MIN && programs.join("initdb").is_file())
        .max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    };
    newest.map(|(_, programs)| programs).or_else(on_path)
}

/// User and group to run the server as, if we are root.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    let own = fs::metadata("/proc/self").map_err(|e| format!("cannot tell who runs this: {e}"))?;
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|e| format!("cannot read /etc/passwd: {e}"))?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let ids = ids("postgres").or_else(|| ids("nobody"));
    ids.map(Some)
        .ok_or_else(|| "PostgreSQL does not run as root, and there is neither postgres nor nobody".into())
}

fn as_user(mut command: Command, user: Option<(u32, u32)>, folder: &Path) -> Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn log_file(folder: &Path) -> Result<fs::File, String> {
    let path = folder.join("log");
    let failed = |e| format!("cannot write {}: {e}", path.display());
    let file = fs::File::create(&path).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    Ok(file)
}

/// Free now; if somebody takes it meanwhile, the server says so and ends.
fn free_port() -> Result<u16, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| format!("no free port: {e}"))
}

fn password() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut bytes))
        .map_err(|e| format!("no randomness: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_cluster_serves_until_it_is_dropped() {
        let cluster = Cluster::start().expect("PostgreSQL is found or installed");
        let address = cluster
            .url
            .split('@')
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address = address.expect("the URL names the address").to_owned();
        let folder = cluster.folder.path().to_owned();
        assert!(TcpStream::connect(&address).is_ok());
        drop(cluster);
        assert!(TcpStream::connect(&address).is_err());
        assert!(!folder.exists());
    }
}
