//! The example of a cluster that fails over (`deploy/ha`), as tests run it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;
use xtask::postgres::{freeze_tree, install, is_alive, kill_tree, programs, thaw_tree};

use crate::data::of_repository;

/// What the example needs beside PostgreSQL.
const PACKAGES: [&str; 3] = ["patroni", "etcd-server", "etcd-client"];
/// Services of these packages, which a test machine does not need.
const SERVICES: [&str; 2] = ["patroni", "etcd"];
/// Names of the nodes.
pub const NODES: [&str; 3] = ["a", "b", "c"];

/// A running cluster. Stops and disappears when dropped.
pub struct Patroni {
    folder: TempDir,
    /// For nodes, who own nothing: all servers, of which the primary is taken.
    pub url: String,
    /// The same for the owner of the database.
    pub owner_url: String,
}

impl Patroni {
    /// Brings up three nodes; installs what they need where that is possible.
    ///
    /// # Errors
    /// What is missing or failed.
    pub fn up() -> Result<Self, String> {
        make_available()?;
        // There are sockets in it: a short path.
        let folder = TempDir::with_prefix("ruche-ha-").map_err(|e| format!("no temporary folder: {e}"))?;
        let mut cluster = Self {
            folder,
            url: String::new(),
            owner_url: String::new(),
        };
        cluster.bring_up()?;
        Ok(cluster)
    }

    /// Starts what does not run, and waits until there is a primary with two standbys, one of them synchronous.
    ///
    /// # Errors
    /// What the script says.
    pub fn bring_up(&mut self) -> Result<(), String> {
        self.url = self.script("up", &[])?.trim().to_owned();
        self.owner_url = self.script("owner-url", &[])?.trim().to_owned();
        Ok(())
    }

    /// Gives nodes their rights, once the owner has made the schemas.
    ///
    /// # Errors
    /// What the script says.
    pub fn grant(&self) -> Result<(), String> {
        self.script("grant", &[]).map(drop)
    }

    /// Makes a database beside that of Ruche, with the same owner.
    ///
    /// # Errors
    /// What the script says.
    pub fn make_database(&self, name: &str) -> Result<(), String> {
        let sql = format!("CREATE DATABASE {name} OWNER ruche");
        self.script("psql", &["-c", &sql]).map(drop)
    }

    /// SIGKILL to the Patroni of a node, which then does nothing about its server.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_patroni(&self, name: &str) -> Result<(), String> {
        kill_tree(self.process(&format!("{name}/pid"))?)
    }

    /// SIGKILL to the server of a node, with all its processes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, name: &str) -> Result<(), String> {
        kill_tree(self.server(name)?)
    }

    /// SIGSTOP to the server of a node, with all its processes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, name: &str) -> Result<(), String> {
        freeze_tree(self.server(name)?)
    }

    /// SIGCONT after [`Self::freeze`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&self, name: &str) -> Result<(), String> {
        thaw_tree(self.server(name)?)
    }

    fn server(&self, name: &str) -> Result<u32, String> {
        self.process(&format!("{name}/data/postmaster.pid"))
    }

    /// The node that is primary.
    ///
    /// # Errors
    /// When there is none.
    pub fn primary(&self) -> Result<&'static str, String> {
        let mut primaries = NODES.into_iter().filter(|name| {
            let is_standby = self.folder.path().join(name).join("data/standby.signal").exists();
            !is_standby && self.server(name).is_ok_and(is_alive)
        });
        primaries.next().ok_or_else(|| "no server is primary".to_owned())
    }

    /// The process that a file names in its first line.
    fn process(&self, file: &str) -> Result<u32, String> {
        let text = fs::read_to_string(self.folder.path().join(file)).map_err(|e| format!("{file}: {e}"))?;
        let first = text.lines().next().unwrap_or_default();
        first
            .trim()
            .parse()
            .map_err(|e| format!("{file}: {e}: {first:?}"))
    }

    fn script(&self, what: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(of_repository("deploy/ha/cluster"))
            .arg(what)
            .arg(self.folder.path())
            .args(arguments)
            .output()
            .map_err(|e: io::Error| format!("cannot start deploy/ha/cluster: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "deploy/ha/cluster {what}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// The same URL for another database of the cluster.
pub fn on_database(url: &str, name: &str) -> String {
    url.replace("/ruche?", &format!("/{name}?"))
}

impl Drop for Patroni {
    /// Kills everything: the data goes as well.
    fn drop(&mut self) {
        let patronis = NODES.map(|name| format!("{name}/pid"));
        let servers = NODES.map(|name| format!("{name}/data/postmaster.pid"));
        for file in patronis
            .iter()
            .chain(&servers)
            .map(String::as_str)
            .chain(["etcd/pid"])
        {
            // Absent, or of a process that was killed before: nothing is left to do.
            let Some(process) = self.process(file).ok().filter(|process| is_alive(*process)) else {
                continue;
            };
            if let Err(problem) = kill_tree(process) {
                eprintln!("the cluster could not be stopped: {problem}");
            }
        }
    }
}

/// Installs what the example needs where it is absent and that is possible.
///
/// # Errors
/// What to type by hand.
pub fn make_available() -> Result<(), String> {
    // Tests that run beside one another must not install beside one another.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    programs()?;
    if !Path::new("/usr/bin/patroni").exists() || !Path::new("/usr/bin/etcd").exists() {
        install(&PACKAGES)?;
        stop_services();
    }
    Ok(())
}

/// Where there is a systemd, installing has started them.
fn stop_services() {
    if Path::new("/run/systemd/system").exists() {
        let stopped = Command::new("systemctl")
            .args(["disable", "--now"])
            .args(SERVICES)
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the services {SERVICES:?} may be running; nothing here needs them");
        }
    }
}
