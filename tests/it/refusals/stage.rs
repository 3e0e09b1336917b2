//! The whole of Ruche in this process, on real files and over real HTTP, with a clock that stands still and no loop that
//! does anything by itself: what changes between two looks was changed by the request between them.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use ruche_api::app::App;
use ruche_api::auth::{NewKey, Role};
use ruche_api::cli::tenant;
use ruche_api::connections::{self, ConnectionLimits};
use ruche_api::http;
use ruche_api::services::Shutdown;
use ruche_commands::{Commands, LedgerSecrets, SecretsOf};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{LeafIndex, Micros, Position};
use ruche_ledger::store::Record;
use ruche_ledger::testing::{FixedClock, SeededRandom};
use ruche_projections::store::{DeadLetter, DeadLetterState};
use ruche_tests::server::Home;
use rusqlite::{Connection, OpenFlags};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::live::client::Client;
use crate::live::reviewer::Reviewer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Records of one look at the ledger: more than a request writes.
const RECORDS_MAX: usize = 1_000;

/// The seed of the deployment as the application has it.
struct Secrets(Arc<Commands>);

impl SecretsOf for Secrets {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        self.0.secrets_of(ledger)
    }
}

/// Who may send something.
pub struct Credentials {
    /// An agent that may ask as well.
    pub agent: Client,
    pub admin: Client,
    pub desk: Client,
    pub reader: Client,
    pub auditor: Client,
    /// An administrator of another tenant.
    pub stranger: Client,
    /// A key that nobody gave out.
    pub nobody: Client,
    /// No key at all.
    pub nameless: Client,
}

pub struct Stage {
    pub who: Credentials,
    pub alice: Reviewer,
    pub bob: Reviewer,
    pub mallory: Reviewer,
    pub clock: Arc<FixedClock>,
    pub commands: Arc<Commands>,
    pub ledger: LedgerId,
    pub runtime: Runtime,
    app: App,
    watch: Watch,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// A deployment with two tenants and a credential of each kind; everything random in it comes from the seed.
    pub fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::embedded(PROGRAM, folder.path());
        let runtime = Runtime::new().expect("a runtime");
        let app = runtime.block_on(App::open(&home.common(), "a test"));
        let app = app.expect("a new store");
        let key = |of: &str, role: Role| runtime.block_on(new_key(&app, of, &[role]));
        let both = runtime.block_on(new_key(&app, "acme", &[Role::Writer, Role::Reader]));
        let keys = [Role::Admin, Role::Reviewer, Role::Reader, Role::Auditor].map(|role| key("acme", role));
        let stranger = key("other", Role::Admin);

        let clock = Arc::new(FixedClock::at(app.clock.now().0));
        let (random, secrets) = (SeededRandom::new(seed), Secrets(app.commands.clone()));
        let validator = CatalogueValidator::new().expect("the catalogue");
        let commands = Arc::new(Commands::new(
            app.events.clone(),
            clock.clone(),
            Arc::new(random),
            Arc::new(secrets),
            Arc::new(validator),
        ));
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let (stop, shutdown) = Shutdown::channel();
        let mut services = app.services(metrics, None, shutdown);
        (services.clock, services.commands) = (clock.clone(), commands.clone());
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = http::router(Arc::new(services), Duration::from_secs(30));
        let forever = std::future::pending();
        runtime.spawn(connections::serve(
            listener,
            router,
            ConnectionLimits::default(),
            forever,
        ));

        let client = |key: &str| Client::new(&url, key);
        let [admin, desk, reader, auditor] = keys.map(|key| client(&key));
        let who = Credentials {
            agent: client(&both),
            admin,
            desk,
            reader,
            auditor,
            stranger: client(&stranger),
            nobody: client(&both[..both.len() - 1]),
            nameless: client(""),
        };
        let reviewer = |name| Reviewer::new(folder.path(), "acme", name);
        Self {
            who,
            alice: reviewer("alice"),
            bob: reviewer("bob"),
            mallory: reviewer("mallory"),
            clock,
            commands,
            ledger: LedgerId::main_of(tenant("acme")),
            watch: Watch::new(&home),
            runtime,
            app,
            _stop: stop,
            _folder: folder,
        }
    }

    /// Lets the read models follow to the end of both ledgers. Where nothing was appended it writes nothing.
    pub fn follow(&self) {
        for name in ["acme", "other"] {
            let ledger = LedgerId::main_of(tenant(name));
            self.runtime
                .block_on(self.app.catch_up(ledger))
                .expect("the read models follow");
        }
    }

    pub fn mark(&self) -> Mark {
        self.watch.mark()
    }

    /// Has a projection wait for an event, as if it could not apply it. Its position.
    pub fn park(&self, projection: &str) -> String {
        let position = self.end();
        let letter = DeadLetter {
            ledger: self.ledger,
            projection: projection.to_owned(),
            version: 1,
            position,
            event_type: "llm.responded".to_owned(),
            leaf: Vec::new(),
            error: "too large".to_owned(),
            attempts: 5,
            recorded_at: Micros(0),
            state: DeadLetterState::Parked,
        };
        let put = self.app.runner.store().put_dead_letter(letter);
        self.runtime.block_on(put).expect("it is kept");
        position.to_string()
    }

    /// Where the next record of the ledger comes to stand.
    pub fn end(&self) -> Position {
        let head = self
            .runtime
            .block_on(self.app.events.head(self.ledger))
            .expect("a head");
        let head = head.expect("an open ledger");
        Position {
            epoch: head.epoch,
            index: LeafIndex(head.size.0),
        }
    }

    /// The records from a place on.
    pub fn records_from(&self, from: Position) -> Vec<Record> {
        let read = self.app.events.read_ledger(self.ledger, from, RECORDS_MAX);
        self.runtime.block_on(read).expect("records")
    }
}

/// Types of records, in order of the alphabet.
pub fn types(records: &[Record]) -> Vec<String> {
    let mut types: Vec<String> = records
        .iter()
        .map(|record| record.leaf.event.event_type.clone())
        .collect();
    types.sort();
    types
}

/// How many records say that an idempotency key stands for their append. Nothing else says it.
pub fn keys_taken(records: &[Record]) -> usize {
    records
        .iter()
        .filter(|record| !record.leaf.keys.is_empty())
        .count()
}

async fn new_key(app: &App, of: &str, roles: &[Role]) -> String {
    let tenant = tenant(of);
    app.ensure_ledger(tenant).await.expect("a ledger");
    app.access
        .create_key(
            tenant,
            &NewKey {
                roles,
                ..NewKey::default()
            },
        )
        .await
        .expect("a key")
        .1
}

/// Looks at everything that is stored, past the program.
struct Watch {
    ledger: Connection,
    reads: Connection,
    folders: [PathBuf; 2],
}

/// What is stored at one moment. SQLite counts the commits of others that a connection could see, so two equal marks have
/// no write of any kind between them, to records, keys, tiles or read models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Commits to the ledger's file, by anybody.
    pub ledger: i64,
    /// Commits to the file of the read models.
    pub reads: i64,
    /// Files in both folders: names, and of those with keys and promises a digest of what stands in them.
    pub files: BTreeMap<PathBuf, u64>,
}

impl Watch {
    fn new(home: &Home) -> Self {
        let open = |path: &Path| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags).expect("the file of a database")
        };
        let is_reads = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("read-") && name.ends_with(".db")
        };
        let mut reads: Vec<PathBuf> = files_in(&home.data).into_iter().filter(is_reads).collect();
        assert_eq!(reads.len(), 1, "one generation of read models: {reads:?}");
        Self {
            ledger: open(&home.data.join("ledger.db")),
            reads: open(&reads.remove(0)),
            folders: [home.data.clone(), home.keys.clone()],
        }
    }

    fn mark(&self) -> Mark {
        let version = |of: &Connection| -> i64 {
            of.pragma_query_value(None, "data_version", |row| row.get(0))
                .expect("a number")
        };
        let [data, keys] = &self.folders;
        let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
        files.extend(files_in(data).into_iter().map(|path| (path, 0)));
        let read = |path: PathBuf| {
            let mut digest = DefaultHasher::new();
            digest.write(&fs::read(&path).expect("a file of the keys folder"));
            (path, digest.finish())
        };
        files.extend(files_in(keys).into_iter().map(read));
        Mark {
            ledger: version(&self.ledger),
            reads: version(&self.reads),
            files,
        }
    }
}

/// All files below a folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else {
            found.push(path);
        }
    }
    found
}
