//! A server of a test's own, which it may restart, break and configure.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A running server that flushes. Ends and disappears when dropped.
pub struct Cluster {
    pub url: String,
    port: u16,
    programs: PathBuf,
    /// Whose the files are, if not ours: the server refuses to run as root.
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl Cluster {
    /// Makes and starts one; `None`, told plainly, where there are no programs.
    ///
    /// # Panics
    /// If it cannot be started, and under `CI=true` where there are no programs.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "the programs of PostgreSQL are absent");
            eprintln!("skipped: the programs of PostgreSQL are absent; `cargo xtask test` installs them");
            return None;
        };
        let folder = TempDir::with_prefix("ruche-own-postgres-").unwrap();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let port = free_port();
        let mut cluster = Self {
            url: format!("postgresql://ruche@127.0.0.1:{port}/postgres"),
            port,
            programs,
            user,
            folder,
        };
        let made = cluster
            .command("initdb")
            .args(["--username=ruche", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-instructions", "--no-sync", "--pgdata=data"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        cluster.serve();
        Some(cluster)
    }

    /// Stops it without letting it finish anything, as a power cut of its process, and starts it again. Blocks.
    pub fn crash_and_restart(&mut self) {
        self.stop();
        self.serve();
    }

    /// Starts the server; returns once it takes connections.
    fn serve(&mut self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=100 -c fsync=on",
            self.port,
            self.folder.path().display()
        );
        let started = self
            .command("pg_ctl")
            .args([
                "start",
                "--silent",
                "--wait",
                "--timeout=60",
                "--pgdata=data",
                "--log=log",
            ])
            .arg(format!("--options={options}"))
            .status();
        assert!(started.is_ok_and(|status| status.success()), "{}", self.log());
    }

    fn stop(&mut self) {
        let stopped = self
            .command("pg_ctl")
            .args(["stop", "--silent", "--mode=immediate", "--wait", "--pgdata=data"])
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("a server of a test is not stopped");
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Free now; if somebody takes it meanwhile, the server says so and ends.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The folder of the newest server programs, where Debian puts them or on the path.
fn programs() -> Option<PathBuf> {
    let has_programs = |folder: &PathBuf| folder.join("initdb").is_file();
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .map(|entry| entry.path().join("bin"))
        .filter(has_programs)
        .max_by_key(|folder| major(folder));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(has_programs))
}

fn major(folder: &Path) -> u32 {
    let version = folder.parent().and_then(Path::file_name);
    version.and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

/// User and group to run the server as, if we are root.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    ids("postgres").or_else(|| ids("nobody"))
}
