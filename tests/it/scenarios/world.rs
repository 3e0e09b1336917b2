//! Servers, people and agents to tell a scenario with. Their time of day is the test's.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ruche_tests::clock::MovableClock;
use ruche_tests::server::{Home, Server, caught_up};
use serde_json::{Value, json};

pub use super::outside::Outside;
use crate::live;
use crate::live::client::Client;
use crate::live::reviewer::Reviewer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// What is not so by then will not be: more than a start of a node and the longest wait of a read.
const STATE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a state.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// What a lease lasts on every channel, and a little more.
pub const LEASE: Duration = Duration::from_secs(31);

/// A deployment with its tenant, `acme`.
pub struct World {
    folder: tempfile::TempDir,
    pub home: Home,
    pub clock: MovableClock,
    /// All that run. Two on PostgreSQL, one elsewhere.
    nodes: Vec<Node>,
    requests: AtomicUsize,
    pub keys: Keys,
    reviewer: Reviewer,
}

/// Credentials.
#[derive(Clone)]
pub struct Keys {
    pub agent: String,
    admin: String,
    desk: String,
}

/// A server, and everybody as its client.
struct Node {
    server: Server,
    agent: Client,
    admin: Client,
    desk: Client,
}

/// A worker with its turn, as it names it in everything that it sends.
#[derive(Clone, Debug)]
pub struct Worker {
    pub lane: Value,
    pub turn: Value,
    pub lease: Value,
}

impl Worker {
    /// What it sends, to be added to.
    pub fn held(&self) -> Value {
        json!({ "lane": self.lane, "turnId": self.turn, "lease": self.lease })
    }
}

/// How commands name the lane of a person and the agent `shop`.
pub fn lane(who: &str, channel: &str) -> Value {
    json!({ "agent": "shop", "interlocutor": who, "channel": channel })
}

/// One record of the ledger, as an auditor reads it.
#[derive(Debug)]
pub struct Entry {
    pub position: String,
    /// First record of its append.
    pub append: String,
    pub event: String,
    pub turn: Value,
    pub call: Value,
    pub payload: Value,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = |roles: &[&str]| home.new_key("acme", roles).expect("a key");
        let keys = Keys {
            agent: key(&["writer", "reader"]),
            admin: key(&["admin"]),
            desk: key(&["reviewer"]),
        };
        let count = if home.databases.is_some() { 2 } else { 1 };
        let mut world = Self {
            clock: MovableClock::new(folder.path()).expect("a clock"),
            reviewer: Reviewer::new(folder.path(), "acme", "alice"),
            folder,
            home,
            nodes: Vec::new(),
            requests: AtomicUsize::new(0),
            keys,
        };
        for _ in 0..count {
            world.start_node();
        }
        world.reviewer.register(world.admin());
        world
    }

    /// One more server.
    pub fn start_node(&mut self) {
        let server = self.home.serve_with(&[], &self.clock.variables());
        let server = server.expect("a node starts");
        let client = |key: &str| Client::new(&server.url, key);
        self.nodes.push(Node {
            agent: client(&self.keys.agent),
            admin: client(&self.keys.admin),
            desk: client(&self.keys.desk),
            server,
        });
    }

    /// SIGKILL to the server that took the last request, or to the only one.
    pub fn kill_a_node(&mut self) {
        let last = self.requests.load(Ordering::Relaxed) + self.nodes.len() - 1;
        let killed = self.nodes.remove(last % self.nodes.len());
        killed.server.kill().expect("a node can be killed");
    }

    /// Where the servers listen.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server.url.clone()).collect()
    }

    /// Time passes, for everybody.
    pub fn pass(&self, time: Duration) {
        self.clock.forward(time).expect("the clock is set");
    }

    /// The other server than last time.
    fn node(&self) -> &Node {
        &self.nodes[self.requests.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }

    pub fn agent(&self) -> &Client {
        &self.node().agent
    }

    pub fn admin(&self) -> &Client {
        &self.node().admin
    }

    pub fn desk(&self) -> &Client {
        &self.node().desk
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An answer, whatever it is. Two nodes may meet in a lane so often that one is told to try again.
    #[track_caller]
    pub fn answer(&self, name: &str, key: &str, input: &Value, fields: &str) -> Value {
        let deadline = Instant::now() + STATE_WAIT_MAX;
        loop {
            let node = self.node();
            // These are the administrator's.
            let who = match name {
                "registerTool"
                | "resolveOutcome"
                | "settleIntervention"
                | "publishConfiguration"
                | "registerReviewerKey" => &node.admin,
                _ => &node.agent,
            };
            let answer = who.mutate(name, key, input.clone(), fields);
            if answer["__typename"] != "TryAgain" || Instant::now() > deadline {
                return answer;
            }
        }
    }

    /// A key that no request had yet.
    fn fresh_key(&self, of: &str) -> String {
        format!("{of}-{}", self.requests.load(Ordering::Relaxed))
    }

    /// What becomes of a request that is expected to be refused.
    #[track_caller]
    pub fn refused(&self, name: &str, input: &Value) -> Value {
        let answer = self.answer(name, &self.fresh_key(name), input, "position");
        assert!(!answer["code"].is_null(), "{name} is not refused: {answer}");
        answer
    }

    /// What becomes of a request that is carried out.
    #[track_caller]
    pub fn done(&self, name: &str, input: &Value, fields: &str) -> Value {
        let answer = self.answer(name, &self.fresh_key(name), input, fields);
        assert!(answer["code"].is_null(), "{name}: {answer}");
        answer
    }

    /// A person writes. The session is that of the lane.
    #[track_caller]
    pub fn message(&self, lane: &Value, id: &str, text: &str) -> Value {
        let (key, input) = message(lane, id, text);
        let answer = self.answer("submitMessage", &key, &input, "turnId position");
        assert!(answer["code"].is_null(), "{answer}");
        answer
    }

    /// A session for a lane. Gives the position of its start: the next read may go to a node that has not seen it yet.
    pub fn session(&self, lane: &Value) -> Value {
        let input = json!({ "externalId": session_of(lane), "agent": lane["agent"], "channel": lane["channel"],
            "interlocutor": lane["interlocutor"] });
        self.done("startSession", &input, "position")["position"].clone()
    }

    /// A worker asks for the turn of a lane until it is there. A claim that is refused leaves its key free.
    #[track_caller]
    pub fn claim(&self, lane: &Value) -> Worker {
        let key = self.fresh_key("claim");
        let mut last = Value::Null;
        self.until("a turn is ready", || {
            let fields = "turnId lease { id epoch }";
            last = self.answer("claimTurn", &key, &json!({ "lane": lane }), fields);
            assert!(
                last["code"].is_null() || last["code"] == "ILLEGAL_TRANSITION",
                "{last}"
            );
            last["code"].is_null()
        });
        Worker {
            lane: lane.clone(),
            turn: last["turnId"].clone(),
            lease: last["lease"].clone(),
        }
    }

    /// A person writes, and a worker has the turn. Windows of channels are over at once.
    #[track_caller]
    pub fn turn(&self, lane: &Value, id: &str, text: &str) -> Worker {
        self.message(lane, id, text);
        self.pass(Duration::from_secs(3));
        self.claim(lane)
    }

    #[track_caller]
    pub fn commit(&self, worker: &Worker, answer: &str) -> Value {
        let mut input = worker.held();
        (input["outcome"], input["response"]) = (json!("ANSWERED"), json!({ "text": answer }));
        self.done("commitTurn", &input, "turnId position")
    }

    /// An administrator says what a tool does to the world.
    pub fn register(&self, tool: &str, side_effect: &str, undone_by: Option<&str>) {
        let mut input = json!({ "name": tool, "sideEffect": side_effect, "compensationTool": undone_by });
        input["argumentSchema"] = json!({ "type": "object" });
        self.done("registerTool", &input, "position");
    }

    /// A worker asks whether it may. Its arguments are `{"key": …}`.
    #[track_caller]
    pub fn propose(&self, worker: &Worker, tool: &str, key: &str) -> Value {
        self.propose_with(worker, tool, &arguments(key), key, None)
    }

    /// The same with arguments of its own, and what it says for it.
    #[track_caller]
    pub fn propose_with(
        &self,
        worker: &Worker,
        tool: &str,
        arguments: &str,
        key: &str,
        why: Option<&str>,
    ) -> Value {
        let mut input = worker.held();
        (input["tool"], input["arguments"]) = (json!(tool), json!(arguments));
        (input["businessKey"], input["justification"]) = (json!(key), json!(why));
        let fields = "callId gate sideEffect deduplicated state result approval { id } position";
        self.done("proposeAction", &input, fields)
    }

    /// The input of `startEffect`.
    pub fn starting(worker: &Worker, call: &Value) -> Value {
        let mut input = worker.held();
        input["callId"] = call["callId"].clone();
        input
    }

    #[track_caller]
    pub fn start(&self, worker: &Worker, call: &Value) -> Value {
        let fields =
            "callId deduplicated state result permit { position attempt effectKey approvalId arguments }";
        self.done("startEffect", &Self::starting(worker, call), fields)
    }

    /// The input of `reportEffect` of a call that is done, under a permit.
    pub fn reporting(worker: &Worker, call: &Value, permit: &Value) -> Value {
        let mut input = Self::starting(worker, call);
        input["permit"] = permit.clone();
        input["outcome"] = json!({ "completed": { "result": "done", "externalRef": "T-1" } });
        input
    }

    #[track_caller]
    pub fn report(&self, worker: &Worker, started: &Value) -> Value {
        let input = Self::reporting(worker, started, &started["permit"]["position"]);
        self.done("reportEffect", &input, "callId state position")
    }

    /// A call that is proposed, started, run outside and reported.
    #[track_caller]
    pub fn run(&self, outside: &mut Outside, worker: &Worker, tool: &str, key: &str) -> Value {
        let call = self.propose(worker, tool, key);
        assert_eq!(call["deduplicated"], false, "{call}");
        let started = self.start(worker, &call);
        outside.execute(tool, &started);
        let reported = self.report(worker, &started);
        assert_eq!(reported["state"], "COMPLETED", "{reported}");
        started
    }

    /// A reviewer looks at a request and signs.
    #[track_caller]
    pub fn approve(&self, call: &Value, tool: &str, key: &str) -> Value {
        let approval = call["approval"]["id"].as_str().expect("a request");
        // What was asked on one node may be signed on the other.
        let desk = self.desk();
        let voted = self.reviewer.vote(desk, approval, tool, &arguments(key));
        assert_eq!(voted["outcome"], "APPROVED", "{voted}");
        voted
    }

    /// One try at undoing a call, with what came of it.
    #[track_caller]
    pub fn undo(&self, lane: &Value, call: &Value, outcome: &Value) -> Value {
        let mut input = json!({ "lane": lane, "callId": call["callId"] });
        let fields = "permit { position attempt compensationTool effectKey }";
        let started = self.done("startCompensation", &input, fields);
        assert!(started["permit"]["compensationTool"].is_string(), "{started}");
        (input["permit"], input["outcome"]) = (started["permit"]["position"].clone(), outcome.clone());
        self.done("reportCompensation", &input, "callId state position")
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + STATE_WAIT_MAX;
        while !is_so() {
            assert!(Instant::now() < deadline, "still not so: {what}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// What every node answers once its read models hold all that is there.
    #[track_caller]
    pub fn read(&self, query: &str, variables: &Value) -> Value {
        let deadline = Instant::now() + STATE_WAIT_MAX;
        loop {
            let size = self.size();
            let mut answers = self.answers(query, variables);
            if answers.windows(2).all(|two| two[0] == two[1]) {
                return answers.swap_remove(0);
            }
            // A timer may have written something after one had answered.
            let is_later = self.size() > size && Instant::now() < deadline;
            assert!(is_later, "nodes disagree: {answers:?}");
        }
    }

    fn answers(&self, query: &str, variables: &Value) -> Vec<Value> {
        let answers = self.nodes.iter().map(|Node { agent, .. }| {
            caught_up(&agent.http, &agent.url, &agent.key).expect("the read models catch up");
            agent.ask(query, variables.clone())
        });
        answers.collect()
    }

    /// Status and words of a turn, by its id.
    #[track_caller]
    pub fn read_turn(&self, turn: &Value) -> Value {
        let query = "query ($id: ID!) { turn(id: $id) { status outcome errorType openedBy attemptCount
            messages(first: 100) { nodes { role text } } } }";
        self.read(query, &json!({ "id": turn }))["turn"].take()
    }

    /// Calls and what became of them, those in one state if it is named.
    #[track_caller]
    pub fn effects(&self, status: Option<&str>) -> Value {
        let query = "query ($status: EffectState) { effects(filter: { status: $status }, first: 100) {
            nodes { tool status attempts businessKey } } }";
        self.read(query, &json!({ "status": status }))["effects"]["nodes"].take()
    }

    /// What people are called for and nobody settled, most urgent first.
    #[track_caller]
    pub fn interventions(&self) -> Value {
        let query = "{ interventions(filter: { settled: false }, first: 100) {
            nodes { kind callId turnId settledBy lane { interlocutor } effect { status } } } }";
        self.read(query, &Value::Null)["interventions"]["nodes"].take()
    }

    /// How many records the ledger has.
    pub fn size(&self) -> u64 {
        let size = self.agent().ask("{ ledger { size } }", Value::Null);
        let size = size["ledger"]["size"].as_str().expect("a number");
        size.parse().expect("a number")
    }

    /// All records, in order.
    pub fn records(&self) -> Vec<Entry> {
        let query = "query ($after: String) { ledger { records(first: 100, after: $after) {
            nodes { position appendFirst type turnId callId payload } pageInfo { hasNextPage endCursor } } } }";
        let (mut entries, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut page = self.agent().ask(query, json!({ "after": after }));
            let mut page = page["ledger"]["records"].take();
            let nodes = page["nodes"].as_array_mut().expect("records");
            entries.extend(nodes.iter_mut().map(|node| Entry {
                position: node["position"].as_str().expect("a position").to_owned(),
                append: node["appendFirst"].as_str().expect("a position").to_owned(),
                event: node["type"].as_str().expect("a type").to_owned(),
                turn: node["turnId"].take(),
                call: node["callId"].take(),
                payload: node["payload"].take(),
            }));
            if page["pageInfo"]["hasNextPage"] == false {
                return entries;
            }
            after = page["pageInfo"]["endCursor"].take();
        }
    }

    /// The end, as [`Closed::audit`] has it.
    pub fn audit(self) -> Value {
        self.closed().audit()
    }

    /// The servers end, well.
    pub fn closed(self) -> Closed {
        for node in self.nodes {
            assert!(node.server.stop().expect("it stops"), "it ended well");
        }
        Closed {
            folder: self.folder,
            home: self.home,
        }
    }
}

/// A deployment whose servers have ended.
pub struct Closed {
    folder: tempfile::TempDir,
    pub home: Home,
}

impl Closed {
    /// Read models parked nothing, every decision is decided alike again, and the auditor's own program finds nothing in
    /// an export, of which it knows the public key alone.
    pub fn audit(&self) -> Value {
        let report = live::audit(&self.home, self.folder.path());
        assert_eq!(
            (&report["verdict"], &report["findings"]),
            (&json!("VERIFIED"), &json!([])),
            "{report}"
        );
        report
    }

    /// An export for other programs, and the key that its records are verified under.
    pub fn export(&self) -> (PathBuf, String) {
        let export = self.folder.path().join("another-export");
        let place = export.to_str().expect("a path in UTF-8");
        let told = self.home.run(&["export", "--tenant", "acme", place]);
        let told = told.expect("an export");
        let key = told["verifier_keys"][0].as_str().expect("a key");
        (export, key.to_owned())
    }
}

/// The request that carries a message: the key and the input of `submitMessage`.
pub fn message(lane: &Value, id: &str, text: &str) -> (String, Value) {
    let session = session_of(lane);
    let input =
        json!({ "session": { "externalId": session }, "channelMessageId": id, "text": text, "lane": lane });
    (format!("{session}/{id}"), input)
}

fn session_of(lane: &Value) -> String {
    let text = |name: &str| lane[name].as_str().expect("a name").to_owned();
    format!("{} on {}", text("interlocutor"), text("channel"))
}

fn arguments(key: &str) -> String {
    json!({ "key": key }).to_string()
}
