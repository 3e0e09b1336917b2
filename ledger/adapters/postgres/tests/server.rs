//! Programs that a test needs for itself: a server with other settings, a pooler.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::Client;

use super::session;

/// What is not there by then will not be.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs until it is dropped, in a folder of its own, as a user without rights.
pub struct Running {
    program: Child,
    pub folder: TempDir,
    pub port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGINT ends both programs at once; the signal goes through `kill`, since std has only SIGKILL, which would
        // leave the children of the server behind.
        let id = self.program.id().to_string();
        let told = Command::new("kill").args(["-INT", &id]).status();
        if !told.is_ok_and(|status| status.success()) {
            drop(self.program.kill());
        }
        drop(self.program.wait());
    }
}

/// A server of the test's own, of the version of the shared one: user `ruche`, no password, from this machine alone.
pub struct Private {
    running: Running,
    programs: PathBuf,
}

impl Private {
    /// Starts one with lines of `postgresql.conf`. `prepare` gets the data folder before the server starts.
    pub async fn start(shared: &str, settings: &str, prepare: impl FnOnce(&Path)) -> Self {
        let programs = programs(shared).await;
        let folder = folder();
        let data = folder.path().join("data");
        let made = as_user(&programs.join("initdb"), folder.path())
            .args([
                "--username=ruche",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
            ])
            .args(["--no-instructions", "--no-sync", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        prepare(&data);
        let port = free_port();
        let conf = format!("{settings}\nlisten_addresses = '127.0.0.1'\nport = {port}\nfsync = on\n");
        fs::write(data.join("postgresql.auto.conf"), conf).unwrap();
        own(&data);
        let program = serve(&programs, folder.path());
        let running = Running {
            program,
            folder,
            port,
        };
        let private = Self { running, programs };
        private.ready().await;
        private
    }

    /// Ends the server as a crash does, and starts it again.
    pub async fn crash(&mut self) {
        self.down();
        self.up().await;
    }

    /// Ends the server as a crash does.
    pub fn down(&mut self) {
        let id = self.running.program.id().to_string();
        // SIGQUIT: no process of the server finishes anything.
        let told = Command::new("kill").args(["-QUIT", &id]).status().unwrap();
        assert!(told.success());
        self.running.program.wait().unwrap();
    }

    /// Starts the server that went down.
    pub async fn up(&mut self) {
        self.running.program = serve(&self.programs, self.running.folder.path());
        self.ready().await;
    }

    /// Says which standby commits wait for: none, or one that is not there. Only a session that begins afterwards is sure to
    /// know.
    pub async fn standbys(&self, names: &str) {
        let admin = session(&self.url()).await;
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        // The change of the settings writes no log record, so it does not wait.
        admin.batch_execute(&set).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until("the standbys are known", || async {
            let client = session(&self.url()).await;
            let row = client.query_one("SHOW synchronous_standby_names", &[]).await;
            row.unwrap().get::<_, String>(0) == names
        })
        .await;
        if !names.is_empty() {
            until("commits wait for it", || self.a_commit_waits(&admin)).await;
        }
    }

    /// Whether a commit waits for a standby. One that did is ended.
    async fn a_commit_waits(&self, admin: &Client) -> bool {
        let probe = session(&self.url()).await;
        let id: i32 = probe
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0);
        let commit = tokio::spawn(async move {
            let commit = "SELECT pg_logical_emit_message(true, 'test', 'probe')";
            probe.batch_execute(commit).await
        });
        let waits = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'";
        let waited = std::cell::Cell::new(false);
        until("the commit is over", || async {
            waited.set(waited.get() || !admin.query(waits, &[&id]).await.unwrap().is_empty());
            commit.is_finished()
        })
        .await;
        waited.get()
    }

    pub fn url(&self) -> String {
        format!("postgresql://ruche@127.0.0.1:{}/postgres", self.running.port)
    }

    /// Stops all processes of the server where they are, until what is given is dropped. Connections stay, and the system
    /// takes more of them; nobody answers.
    pub fn freeze(&self) -> Frozen {
        let server = self.running.program.id();
        let mut ids = vec![server.to_string()];
        signal("-STOP", &ids);
        // The server begins no others now.
        let processes = fs::read_dir("/proc").unwrap();
        for id in processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
                continue;
            };
            // Behind the name: state, parent.
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(server.to_string().as_str()) {
                ids.push(id);
            }
        }
        signal("-STOP", &ids);
        Frozen(ids)
    }

    async fn ready(&self) {
        let begun = Instant::now();
        let file = self.running.folder.path().join("data/postmaster.pid");
        until("the server is ready", || {
            let state = fs::read_to_string(&file).unwrap_or_default();
            let is_ready = state.lines().last().is_some_and(|line| line.trim() == "ready");
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            async move { is_ready }
        })
        .await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.running.folder.path().join("log")).unwrap_or_default()
    }
}

/// A server that does not move. It goes on when this is dropped.
pub struct Frozen(Vec<String>);

impl Drop for Frozen {
    fn drop(&mut self) {
        // The server last: one that moves before its processes do may begin others or end them. A test that fails is told
        // why it did, so nothing is asserted here.
        for id in self.0.iter().rev() {
            let told = Command::new("kill").args(["-CONT", id]).status();
            if !told.as_ref().is_ok_and(|status| status.success()) {
                eprintln!("kill -CONT {id}: {told:?}");
            }
        }
    }
}

fn signal(signal: &str, ids: &[String]) {
    let told = Command::new("kill").arg(signal).args(ids).status();
    assert!(told.is_ok_and(|status| status.success()), "kill {signal} {ids:?}");
}

fn serve(programs: &Path, folder: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    as_user(&programs.join("postgres"), folder)
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A pgbouncer in transaction mode with few sessions at the server, if the program is there.
pub struct Bouncer(Running);

impl Bouncer {
    /// `None`, told plainly, if it is not installed.
    ///
    /// # Panics
    /// Under `CI=true` without it.
    pub async fn start(shared: &str, sessions: u32) -> Option<Self> {
        Self::start_with(shared, sessions, "").await
    }

    /// As [`Bouncer::start`], with lines of its `[pgbouncer]` section.
    pub async fn start_with(shared: &str, sessions: u32, settings: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .iter()
            .map(Path::new)
            .find(|path| path.exists());
        let Some(program) = program else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "pgbouncer is not installed");
            eprintln!("skipped: pgbouncer is not installed; `cargo xtask test` installs it");
            return None;
        };
        let config: tokio_postgres::Config = shared.parse().unwrap();
        let (folder, port) = (folder(), free_port());
        let at = |name: &str| folder.path().join(name).display().to_string();
        let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec()).unwrap();
        let user = config.get_user().unwrap();
        fs::write(at("users"), format!("\"{user}\" \"{password}\"\n")).unwrap();
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nadmin_users = {user}\npool_mode = transaction\n\
             default_pool_size = {sessions}\nmax_client_conn = 100\nlogfile = {}\n{settings}\n",
            config.get_ports()[0],
            at("users"),
            at("log"),
        );
        fs::write(at("ini"), ini).unwrap();
        own(folder.path());
        let program = as_user(program, folder.path())
            .arg(at("ini"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running {
            program,
            folder,
            port,
        };
        until("pgbouncer is ready", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Some(Self(running))
    }

    /// The same database, through the pooler.
    pub fn through(&self, url: &str) -> String {
        let (head, rest) = url.split_once('@').unwrap();
        let (_, path) = rest.split_once('/').unwrap();
        format!("{head}@127.0.0.1:{}/{path}", self.0.port)
    }
}

/// Waits until something is so.
///
/// # Panics
/// If it is not in time.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        looks.tick().await;
    }
}

/// Where the programs of a server are.
async fn programs(url: &str) -> PathBuf {
    let client: Client = session(url).await;
    let row = client
        .query_one("SELECT setting FROM pg_config WHERE name = 'BINDIR'", &[])
        .await;
    PathBuf::from(row.unwrap().get::<_, String>(0))
}

fn folder() -> TempDir {
    let folder = TempDir::with_prefix("ruche-test-").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    own(folder.path());
    folder
}

/// User and group to run as, if we are root: neither program does.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap())
}

/// Hands a folder and what is in it to that user.
pub fn own(path: &Path) {
    let Some((uid, gid)) = unprivileged() else { return };
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if entry.metadata().unwrap().uid() != uid {
                own(&entry.path());
            }
        }
    }
}

fn as_user(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = unprivileged() {
        command.uid(uid).gid(gid);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}
