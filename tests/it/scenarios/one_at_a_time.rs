//! One turn of a lane runs at a time, however many servers and workers there are, and whoever of them dies.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_domain::numbers::Position;
use ruche_tests::server::graphql;
use serde_json::{Value, json};

use super::world::{Entry, LEASE, World, lane, message};
use crate::live::client::mutation;

const MESSAGES: usize = 200;
const WORKERS: usize = 2;
/// Turns that are over before a node is killed, and commands of the rogue that are tried: one for each turn or two.
const OVER_BEFORE_THE_KILL: usize = 60;
const ROGUE_TRIES: usize = 100;
/// How long a claim waits for a turn, ms. A worker looks that often whether it is to pause.
const CLAIM_WAIT_MS: u32 = 500;
/// Between two looks at what others did.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Everything is over long before, on a busy machine too.
const END_WAIT_MAX: Duration = Duration::from_secs(180);

/// What the threads of the test know of each other.
struct Board {
    urls: RwLock<Vec<String>>,
    key: String,
    lane: Value,
    until: Instant,
    /// Turns that were committed, each with the position that its worker was told. A worker may be told so, and another one
    /// commit the next turn, before the first one notes it here.
    over: Mutex<Vec<(Position, Value)>>,
    /// Turns that somebody was told of.
    known: Mutex<Vec<Value>>,
    pause: AtomicBool,
    paused: AtomicUsize,
}

impl Board {
    fn over(&self) -> usize {
        self.over.lock().expect("nobody panics with it").len()
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            assert!(Instant::now() < self.until, "still not so: {what}");
            thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

/// Somebody who goes to another server with each request, and with the same one again if it does not answer.
struct Caller<'b> {
    board: &'b Board,
    http: Client,
    name: String,
    requests: usize,
}

impl<'b> Caller<'b> {
    fn new(board: &'b Board, name: &str) -> Self {
        Self {
            board,
            http: Client::new(),
            name: name.to_owned(),
            requests: 0,
        }
    }

    /// An answer that is not about the server.
    fn send(&mut self, name: &str, key: &str, input: &Value, fields: &str) -> Value {
        let (query, variables) = mutation(name, key, input.clone(), fields);
        loop {
            self.requests += 1;
            let urls = self.board.urls.read().expect("nobody panics with it");
            let url = urls[self.requests % urls.len()].clone();
            drop(urls);
            let answer = graphql(&self.http, &url, &self.board.key, &query, variables.clone());
            match answer.map(|mut data| data[name].take()) {
                Ok(answer) if answer["__typename"] != "TryAgain" => return answer,
                // It was killed, or two met in the lane so often that one gives up: sent again, with its key.
                Ok(_) => {}
                Err(error) => assert!(of_a_killed_server(&error), "{name}: {error}"),
            }
            assert!(Instant::now() < self.board.until, "{name} is never answered");
        }
    }

    fn fresh_key(&self) -> String {
        format!("{}-{}", self.name, self.requests)
    }

    /// Asks once for the turn that is ready, and waits a little for one.
    fn claim(&mut self) -> Option<Value> {
        let (key, input) = (
            self.fresh_key(),
            json!({ "agent": "shop", "waitMs": CLAIM_WAIT_MS }),
        );
        let claim = self.send("claimTurn", &key, &input, "turnId lease { id epoch }");
        if claim["code"] == "ILLEGAL_TRANSITION" {
            return None;
        }
        assert!(claim["code"].is_null(), "{claim}");
        Some(json!({ "lane": self.board.lane, "turnId": claim["turnId"], "lease": claim["lease"] }))
    }

    fn commit(&mut self, held: &Value) {
        let committed = self.send("commitTurn", &self.fresh_key(), held, "turnId position");
        assert!(committed["code"].is_null(), "{committed}");
        let position = committed["position"].as_str().expect("a position");
        let position = position.parse().expect("a position");
        let mut over = self.board.over.lock().expect("nobody panics with it");
        over.push((position, held["turnId"].clone()));
    }

    /// A worker: claims and commits until all is over.
    fn work(mut self) {
        while self.board.over() < MESSAGES {
            if self.board.pause.load(Ordering::SeqCst) {
                self.board.paused.fetch_add(1, Ordering::SeqCst);
                self.board
                    .wait("work goes on", || !self.board.pause.load(Ordering::SeqCst));
                self.board.paused.fetch_sub(1, Ordering::SeqCst);
            }
            if let Some(held) = self.claim() {
                self.commit(&held);
            }
            assert!(
                Instant::now() < self.board.until,
                "{} turns are over",
                self.board.over()
            );
        }
    }

    fn submit_all(mut self) {
        for n in 0..MESSAGES {
            let (key, input) = message(&self.board.lane, &format!("m-{n}"), &format!("word {n}"));
            let sent = self.send("submitMessage", &key, &input, "turnId");
            assert!(sent["code"].is_null(), "{sent}");
            let mut known = self.board.known.lock().expect("nobody panics with it");
            known.push(sent["turnId"].clone());
        }
    }

    /// Tries what is not its business, with turns that wait, run or are over.
    fn make_trouble(mut self) {
        for n in 0..ROGUE_TRIES {
            let enough = MESSAGES * n / ROGUE_TRIES;
            let some_are_known = || !self.board.known.lock().expect("nobody panics with it").is_empty();
            self.board.wait("turns are over", || {
                self.board.over() >= enough && some_are_known()
            });
            let known = self.board.known.lock().expect("nobody panics with it");
            let turn = known[n * 7 % known.len()].clone();
            drop(known);
            let (name, input) = self.trouble(n, &turn);
            let answer = self.send(name, &self.fresh_key(), &input, "position");
            // A turn that it does not hold, or a lease that nobody was given.
            assert_eq!(answer["code"], "ILLEGAL_TRANSITION", "{name}: {answer}");
        }
    }

    fn trouble(&self, n: usize, turn: &Value) -> (&'static str, Value) {
        let lease = json!({ "id": "00000000-0000-0000-0000-000000000007", "epoch": (n % 300).to_string() });
        let held = json!({ "lane": self.board.lane, "turnId": turn, "lease": lease });
        let call = "00000000-0000-0000-0000-000000000008";
        let with = |more: Value| {
            let mut input = held.clone();
            let fields = more.as_object().expect("fields").clone();
            input.as_object_mut().expect("fields").extend(fields);
            input
        };
        match n % 7 {
            0 => ("commitTurn", held),
            1 => (
                "failTurn",
                with(json!({ "errorType": "spite", "retryable": false })),
            ),
            2 => ("heartbeatTurn", held),
            3 => (
                "proposeAction",
                with(json!({ "tool": "delete", "arguments": "{}", "businessKey": "1" })),
            ),
            4 => ("startEffect", with(json!({ "callId": call }))),
            5 => (
                "reportEffect",
                with(json!({ "callId": call, "permit": "1:1", "outcome": { "completed": {} } })),
            ),
            _ => ("sendMessage", with(json!({ "message": { "text": "psst" } }))),
        }
    }
}

/// Whether an error is a connection that broke, and not an answer.
fn of_a_killed_server(error: &io::Error) -> bool {
    let said = error.to_string();
    !said.starts_with("errors: ") || said.contains("UNKNOWN_OUTCOME") || said.contains("UNAVAILABLE")
}

#[test]
fn a_07_one_turn_of_a_session_runs_at_a_time() {
    let mut world = World::new();
    let lane = lane("ann", "api");
    world.session(&lane);
    let board = Board {
        urls: RwLock::new(world.urls()),
        key: world.keys.agent.clone(),
        lane: lane.clone(),
        until: Instant::now() + END_WAIT_MAX,
        over: Mutex::default(),
        known: Mutex::default(),
        pause: AtomicBool::new(false),
        paused: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        let caller = |name: &str| Caller::new(&board, name);
        let (writer, rogue) = (caller("writer"), caller("rogue"));
        scope.spawn(|| writer.submit_all());
        scope.spawn(|| rogue.make_trouble());
        for n in 0..WORKERS {
            let worker = caller(&format!("worker-{n}"));
            scope.spawn(|| worker.work());
        }
        board.wait("turns are over", || board.over() >= OVER_BEFORE_THE_KILL);
        kill_a_worker_and_its_node(&mut world, &board);
    });

    let mut told = board.over.into_inner().expect("nobody panics with it");
    told.sort_by_key(|(position, _)| *position);
    let told: Vec<Value> = told.into_iter().map(|(_, turn)| turn).collect();
    judge(&world.records(), &told);
    world.audit();
}

/// A worker has a turn when its node is killed. Another one takes the turn over, and what the first one knows is worth
/// nothing any more.
fn kill_a_worker_and_its_node(world: &mut World, board: &Board) {
    let mut doomed = Caller::new(board, "doomed");
    let mut held = None;
    board.wait("the doomed worker has a turn", || {
        held = doomed.claim();
        held.is_some()
    });
    let dead = held.expect("a turn");
    world.kill_a_node();
    board.pause.store(true, Ordering::SeqCst);
    world.start_node();
    *board.urls.write().expect("nobody panics with it") = world.urls();
    board.wait("the workers pause", || {
        board.paused.load(Ordering::SeqCst) == WORKERS
    });
    world.pass(LEASE);

    let mut heir = Caller::new(board, "heir");
    let mut held = None;
    board.wait("somebody takes over", || {
        held = heir.claim();
        held.is_some()
    });
    let taken = held.expect("a turn");
    assert_eq!(taken["turnId"], dead["turnId"]);
    let epoch = |held: &Value| -> u64 {
        let epoch = held["lease"]["epoch"].as_str().expect("a number");
        epoch.parse().expect("a number")
    };
    assert!(epoch(&taken) > epoch(&dead), "{taken} {dead}");
    for name in ["commitTurn", "heartbeatTurn"] {
        let key = doomed.fresh_key();
        let refused = doomed.send(name, &key, &dead, "position");
        assert_eq!(
            (&refused["code"], &refused["path"]),
            (&json!("ILLEGAL_TRANSITION"), &json!(["lease"])),
            "{refused}"
        );
    }
    heir.commit(&taken);
    board.pause.store(false, Ordering::SeqCst);
}

/// What the records say: at no position two turns run, and each message has its turn, in order.
fn judge(records: &[Entry], told: &[Value]) {
    const ENDS: [&str; 6] = [
        "turn.committed",
        "turn.failed",
        "turn.superseded",
        "turn.cancelled",
        "turn.attempt_failed",
        "infra.lease_expired",
    ];
    let (mut running, mut epoch) = (None::<&Value>, 0);
    let (mut owners, mut committed) = (Vec::new(), Vec::new());
    for record in records {
        let event = &*record.event;
        if event == "turn.started" {
            assert_eq!(running, None, "{}: another turn runs", record.position);
            running = Some(&record.turn);
            let next = record.payload["lease_epoch"].as_u64().expect("a number");
            assert!(next > epoch, "{}: an old lease", record.position);
            epoch = next;
        }
        if event == "message.received" {
            owners.push(&record.turn);
        }
        if event == "turn.committed" {
            committed.push(record.turn.clone());
        }
        if ENDS.contains(&event) {
            assert_eq!(running.take(), Some(&record.turn), "{}: {event}", record.position);
        }
    }
    assert_eq!(running, None, "nothing is left");
    assert_eq!(owners.len(), MESSAGES);
    assert!(committed.iter().eq(owners), "each message has its turn, in order");
    assert_eq!(
        committed, told,
        "what was told is what is there, where it was told to be"
    );
    assert!(
        records.iter().all(|record| !record.event.starts_with("tool.")),
        "the rogue called nothing"
    );
    let lapsed = records
        .iter()
        .filter(|record| record.event == "infra.lease_expired");
    assert_eq!(lapsed.count(), 1, "one worker died");
}
