//! A real `ruche serve` in a process of its own, for tests that kill it or talk to it.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ruche_api::cli::Common;
use serde_json::Value;

use crate::databases::Databases;

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// What it said when it was ready.
    pub said: Value,
}

/// Folders of a server and the program to run.
pub struct Home {
    /// The program: `ruche` under test.
    pub program: PathBuf,
    /// Data folder.
    pub data: PathBuf,
    /// Keys folder.
    pub keys: PathBuf,
    /// Where records and tree heads are, if not in these folders.
    pub databases: Option<Databases>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output; null if it is no JSON.
    pub json: Value,
    /// Standard error.
    pub said: String,
}

impl Home {
    /// Folders below `folder`, and on PostgreSQL, where the tests are to run on it, databases of its own.
    pub fn new(program: &str, folder: &Path) -> Self {
        Self {
            databases: Databases::if_asked_for(Path::new(program)),
            ..Self::embedded(program, folder)
        }
    }

    /// Folders below `folder` with files in them: for tests of these files.
    pub fn embedded(program: &str, folder: &Path) -> Self {
        Self {
            program: program.into(),
            data: folder.join("data"),
            keys: folder.join("keys"),
            databases: None,
        }
    }

    /// On databases of its own, with folders below `folder`: for tests of these databases.
    pub fn on(program: &str, folder: &Path, databases: Databases) -> Self {
        Self {
            databases: Some(databases),
            ..Self::embedded(program, folder)
        }
    }

    /// What its commands are told, for tests that open the store in their own process.
    pub fn common(&self) -> Common {
        let databases = self.databases.as_ref();
        Common {
            data_dir: self.data.clone(),
            keys_dir: self.keys.clone(),
            archive_dir: None,
            deployment: None,
            database_url: databases.map(|databases| databases.ledgers.clone()),
            database_read_url: None,
            tree_heads_url: databases.map(|databases| databases.tree_heads.clone()),
            database_wait: 10,
            database_readers: 8,
            nodes: 1,
            config: None,
            json: true,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--json")
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--keys-dir")
            .arg(&self.keys)
            .env("RUCHE_LOG", "warn")
            .stdin(Stdio::null());
        if let Some(databases) = &self.databases {
            command.envs(databases.variables());
        }
        command
    }

    /// Runs a command to its end and gives its JSON output.
    ///
    /// # Errors
    /// When it fails; the message holds what it said.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Value> {
        let output = self.command(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "ruche {arguments:?}: {}: {said}",
                output.status
            )));
        }
        serde_json::from_slice(&output.stdout).map_err(io::Error::other)
    }

    /// Runs a command to its end, however it ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn end_of(&self, arguments: &[&str]) -> io::Result<Ended> {
        let output = self.command(arguments).output()?;
        Ok(Ended {
            code: output.status.code(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts a command that nobody listens to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> io::Result<Child> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    /// A key of a tenant.
    ///
    /// # Errors
    /// When the command fails.
    pub fn new_key(&self, tenant: &str, roles: &[&str]) -> io::Result<String> {
        let mut arguments = vec!["keys", "new", "--tenant", tenant];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let made = self.run(&arguments)?;
        let key = made["key"]
            .as_str()
            .ok_or_else(|| io::Error::other(format!("no key in {made}")))?;
        Ok(key.to_owned())
    }

    /// Starts the server on a free port and waits until it says where it listens.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn serve(&self) -> io::Result<Server> {
        self.serve_with(&[], &[])
    }

    /// The same with more arguments and variables of the environment.
    ///
    /// # Errors
    /// When it ends before it listens.
    pub fn serve_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> io::Result<Server> {
        self.start("serve", arguments, variables)
    }

    /// Starts the demo on a free port; gives the key that it made as well.
    ///
    /// # Errors
    /// When it ends before it serves.
    pub fn demo(&self) -> io::Result<(Server, String)> {
        let server = self.start("demo", &[], &[])?;
        let key = server.said["key"]
            .as_str()
            .ok_or_else(|| io::Error::other(format!("no key in {}", server.said)))?
            .to_owned();
        Ok((server, key))
    }

    fn start(&self, what: &str, arguments: &[&str], variables: &[(&str, &str)]) -> io::Result<Server> {
        let mut child = self
            .command(&[what, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let said: Value =
            serde_json::from_str(&line).map_err(|e| io::Error::other(format!("{e}: {line:?}")))?;
        let address = said["listening"]
            .as_str()
            .ok_or_else(|| io::Error::other(format!("no address in {line}")))?;
        let url = format!("http://{address}");
        Ok(Server { url, said, child })
    }
}

impl Server {
    /// SIGKILL, now; waits until the process is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill -{name}: {status}")))
        }
    }

    /// What it says of itself at `/ready`, with the status.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ready(&self) -> io::Result<(u16, Value)> {
        let (status, text) = self.get("/ready", "")?;
        let body = serde_json::from_str(&text).map_err(|e| io::Error::other(format!("{e}: {text}")))?;
        Ok((status, body))
    }

    /// One series of `/metrics`, as an admin's key or the operator's sees it; 0 where it has not begun.
    ///
    /// # Errors
    /// When it does not answer, or with what is no number.
    pub fn figure(&self, key: &str, series: &str) -> io::Result<f64> {
        let (status, text) = self.get("/metrics", key)?;
        if status != 200 {
            return Err(io::Error::other(format!("{status}: {text}")));
        }
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        match lines.find(|(name, _)| *name == series) {
            Some((_, value)) => value.parse().map_err(io::Error::other),
            None => Ok(0.0),
        }
    }

    fn get(&self, path: &str, key: &str) -> io::Result<(u16, String)> {
        let request = reqwest::blocking::Client::new().get(format!("{}{path}", self.url));
        let answer = request.bearer_auth(key).send().map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().map_err(io::Error::other)?))
    }

    /// The most memory that the process has had in RAM so far, bytes.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn resident_bytes_max(&self) -> io::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path)?;
        let found = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = found.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1_024)
            .ok_or_else(|| io::Error::other(format!("no VmHWM in {path}")))
    }

    /// SIGTERM; waits until the process has finished its work, and tells whether it ended well.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(mut self) -> io::Result<bool> {
        self.signal("TERM")?;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill` and `stop`; otherwise a test failed and nothing of it must go on running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often a read is asked again whose read model is behind. The server waits for seconds each time, so a machine that is
/// slow has minutes, and nothing spins.
const READS_BEHIND_MAX: usize = 60;

/// Whether an answer says that a read model has not got there yet, and gets there by itself: it is not parked, nor paused.
pub fn is_behind(answer: &Value) -> bool {
    let errors = answer["errors"].as_array();
    errors.into_iter().flatten().any(|error| {
        let told = &error["extensions"];
        told["code"] == "READ_MODEL_BEHIND" && told["retryable"] == true
    })
}

/// Asks, and asks again as long as the answer is that a read model is behind. Gives the last answer.
///
/// # Errors
/// Those of `ask`, at once.
pub fn once_read<E>(mut ask: impl FnMut() -> Result<Value, E>) -> Result<Value, E> {
    let mut answer = ask()?;
    for _ in 1..READS_BEHIND_MAX {
        if !is_behind(&answer) {
            break;
        }
        answer = ask()?;
    }
    Ok(answer)
}

/// One GraphQL request. A read that waits for a position (`minPosition`) is asked again while the read model is behind.
///
/// # Errors
/// When the server does not answer, or answers with errors.
pub fn graphql(
    client: &reqwest::blocking::Client,
    url: &str,
    key: &str,
    query: &str,
    variables: Value,
) -> io::Result<Value> {
    data_of(once_read(|| answer(client, url, key, query, &variables))?)
}

/// The same, asked once, for tests of how long the server waits.
///
/// # Errors
/// Those of [`graphql`], `READ_MODEL_BEHIND` among them.
pub fn graphql_once(
    client: &reqwest::blocking::Client,
    url: &str,
    key: &str,
    query: &str,
    variables: Value,
) -> io::Result<Value> {
    data_of(answer(client, url, key, query, &variables)?)
}

fn answer(
    client: &reqwest::blocking::Client,
    url: &str,
    key: &str,
    query: &str,
    variables: &Value,
) -> io::Result<Value> {
    let answer = client
        .post(format!("{url}/graphql"))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .header("accept", "application/graphql-response+json")
        .body(serde_json::json!({ "query": query, "variables": variables }).to_string())
        .send()
        .map_err(io::Error::other)?;
    let text = answer.text().map_err(io::Error::other)?;
    serde_json::from_str(&text).map_err(|e| io::Error::other(format!("{e}: {text}")))
}

fn data_of(mut answer: Value) -> io::Result<Value> {
    if answer.get("errors").is_some() {
        return Err(io::Error::other(format!("errors: {answer}")));
    }
    Ok(answer["data"].take())
}

/// One field of each read model: each waits for those that it reads and for no other. A test has each of them stand still.
const EVERY_READ_MODEL: &str = "query ($last: Position!) {
    sessions(first: 1, minPosition: $last) { nodes { id } }
    search(text: \"order\", first: 1, minPosition: $last) { nodes { kind } }
    interventions(first: 1, minPosition: $last) { nodes { kind } }
    policyVerdicts(minPosition: $last) { rule }
    facts(first: 1, minPosition: $last) { nodes { position } }
    configurationHistory(first: 1, minPosition: $last) { nodes { version } }
    usage(groupBy: [], minPosition: $last) { agent }
    analytics(metric: TURNS, from: \"2000-01-01T00:00:00Z\", to: \"2000-01-01T00:01:00Z\", minPosition: $last) { unit }
    savedQueries(first: 1, minPosition: $last) { nodes { name } }
    ledger { health(minPosition: $last) { appendedRecords } } }";

/// Waits until every read model holds every record that is in the ledger of the key now, and gives the last position.
///
/// # Errors
/// When the server fails, or does not get there after many waits of its own.
pub fn caught_up(client: &reqwest::blocking::Client, url: &str, key: &str) -> io::Result<String> {
    let ledger = graphql(client, url, key, "{ ledger { lastPosition } }", Value::Null)?;
    let last = ledger["ledger"]["lastPosition"]
        .as_str()
        .ok_or_else(|| io::Error::other(format!("no position in {ledger}")))?;
    graphql(
        client,
        url,
        key,
        EVERY_READ_MODEL,
        serde_json::json!({ "last": last }),
    )?;
    Ok(last.to_owned())
}
