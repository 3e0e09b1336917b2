//! What is asked about: two weeks of a shop on a clock that stands, so that every duration is known.
//!
//! | turn | of | what |
//! | --- | --- | --- |
//! | T1 | shop, ann on web, Monday | two messages, a call of the model `large`, a look |
//! | T2 | desk, bob on api | a call of `small`; a charge that fails and is tried again |
//! | T3 | shop, ann on web | a call of `large`; a newer message takes its place |
//! | T4 | shop, ann on web | a call of `small` that does not tell what it cost |
//! | C1, C2 | clerk, one person each | a refund that alice grants; one that bob rejects, and a booking in its place |
//! | C3, C4 | clerk, one person each | a refund that bob grants at once; one that nobody decides |
//! | T5 | desk, bob on api, Tuesday | a call of `small` that fails; a charge in doubt; the turn fails |
//! | T6 | shop, ann on web, the next Monday | another configuration, a call of `large` |
//! | D1, E1 | busy, dora and ed | a turn that runs and two that wait behind it; one that waits for a worker |

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use super::asked::query;
use crate::live::reviewer::Reviewer;
use crate::scenarios::world::{Worker, World, message};

const DAY_US: u64 = 86_400_000_000;
/// From the start of a day until a minute past nine.
const NINE_US: u64 = (9 * 60 + 1) * 60_000_000;
/// How long a request waits for people, and a minute.
const LAPSED: Duration = Duration::from_secs(24 * 3_600 + 60);

/// The story, told.
pub struct Story {
    pub world: World,
    /// Start of the first Monday, µs.
    pub monday: u64,
    /// When it ended.
    pub end: u64,
    /// The last record.
    last: Value,
    /// The turn that runs.
    pub running: Value,
}

/// The story; told once for all who ask at the same time. Its servers end with the last of them.
pub fn story() -> Arc<Story> {
    static TOLD: Mutex<Weak<Story>> = Mutex::new(Weak::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(story) = told.upgrade() {
        return story;
    }
    let story = Arc::new(Story::told());
    *told = Arc::downgrade(&story);
    story
}

impl Story {
    fn told() -> Self {
        let telling = Telling::new();
        telling.set_up();
        telling.first_monday();
        let fourth = telling.clerks();
        telling.pass_ms(LAPSED.as_secs() * 1_000);
        telling.tuesday(&fourth);
        telling.pass_ms(6 * 86_400_000);
        telling.second_monday();
        let running = telling.what_waits();
        telling.end(running)
    }

    /// A moment, so many days behind the first Monday.
    pub fn day(&self, days: u64) -> String {
        Micros(self.monday + days * DAY_US).to_rfc3339()
    }

    /// The name of such a day.
    pub fn date(&self, days: u64) -> String {
        self.day(days)[..10].to_owned()
    }

    /// What the query of the document gives for a question, over both weeks, once read models hold all of it.
    #[track_caller]
    pub fn answer(&self, number: usize) -> Value {
        self.answer_with(number, json!({}))
    }

    /// The same with more variables.
    #[track_caller]
    pub fn answer_with(&self, number: usize, mut variables: Value) -> Value {
        variables["from"] = json!(self.day(0));
        variables["to"] = json!(self.day(14));
        variables["p"] = self.last.clone();
        self.world.read(&query(number), &variables)
    }
}

/// The clock stands, a minute behind nine of the next Monday and less than that before. Gives the start of that day, µs.
pub fn stand_on_a_monday(world: &World) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
    let now = u64::try_from(now.as_micros()).expect("a time of this age");
    world.clock.stand().expect("the clock stands");
    // 1970 began on a Thursday.
    let days = now / DAY_US + 1;
    let monday = (days + (11 - days % 7) % 7) * DAY_US;
    world.pass(Duration::from_micros(monday + NINE_US - now));
    monday
}

/// A lane of an agent.
fn lane(agent: &str, who: &str, channel: &str) -> Value {
    json!({ "agent": agent, "interlocutor": who, "channel": channel })
}

/// The client's id of the session of a lane.
fn session_of(lane: &Value) -> String {
    let text = |name: &str| lane[name].as_str().expect("a name").to_owned();
    format!("{} on {}", text("interlocutor"), text("channel"))
}

/// Who tells it.
struct Telling {
    world: World,
    bob: Reviewer,
    monday: u64,
    /// µs since the first record of the story.
    passed: Cell<u64>,
    words: Cell<u64>,
}

impl Telling {
    fn new() -> Self {
        let world = World::new();
        let monday = stand_on_a_monday(&world);
        let bob = Reviewer::new(world.folder(), "acme", "bob");
        bob.register(world.admin());
        Self {
            world,
            bob,
            monday,
            passed: Cell::new(0),
            words: Cell::new(0),
        }
    }

    fn pass_ms(&self, ms: u64) {
        self.world.pass(Duration::from_millis(ms));
        self.passed.set(self.passed.get() + ms * 1_000);
    }

    /// A person writes, 200 ms from word to word; the last one is all of it.
    fn say(&self, lane: &Value, words: &[&str]) -> Value {
        let mut turn = Value::Null;
        for (n, text) in words.iter().enumerate() {
            if n > 0 {
                self.pass_ms(200);
            }
            self.words.set(self.words.get() + 1);
            let (key, mut input) = message(lane, &format!("m-{}", self.words.get()), text);
            input["flush"] = json!(n + 1 == words.len());
            let answer = self
                .world
                .answer("submitMessage", &key, &input, "turnId position");
            assert!(answer["code"].is_null(), "{answer}");
            turn = answer["turnId"].clone();
        }
        turn
    }

    /// What a worker says of a model.
    fn model(&self, worker: &Worker, event: &str, data: Value) {
        let event = json!({ "type": event, "turnId": worker.turn, "data": { "json": data } });
        let session = json!({ "session": { "externalId": session_of(&worker.lane) } });
        let input = json!({ "target": session, "held": worker.held(), "events": [event] });
        self.world.done("appendEvents", &input, "position");
    }

    /// What others say of a session.
    fn of_session(&self, session: &str, event: &str, data: Value) -> Value {
        let event = json!({ "type": event, "data": { "json": data } });
        let input = json!({ "target": { "session": { "externalId": session } }, "events": [event] });
        self.world.done("appendEvents", &input, "position")["position"].clone()
    }

    fn score(&self, worker: &Worker, value: f64) {
        let event = json!({ "type": "eval.scored", "turnId": worker.turn,
            "data": { "json": { "name": "helpful", "value": value } } });
        let session = json!({ "session": { "externalId": session_of(&worker.lane) } });
        self.world.done(
            "appendEvents",
            &json!({ "target": session, "events": [event] }),
            "position",
        );
    }

    /// A call that is started takes so long, and is done.
    fn done(&self, worker: &Worker, call: &Value, ms: u64) {
        let started = self.world.start(worker, call);
        self.pass_ms(ms);
        assert_eq!(self.world.report(worker, &started)["state"], "COMPLETED");
    }

    /// A call that is started takes so long, and comes out otherwise.
    fn came_out(&self, worker: &Worker, call: &Value, ms: u64, outcome: Value) {
        let started = self.world.start(worker, call);
        self.pass_ms(ms);
        let mut input = World::reporting(worker, &started, &started["permit"]["position"]);
        input["outcome"] = outcome;
        self.world.done("reportEffect", &input, "state position");
    }

    fn commit(&self, worker: &Worker, outcome: &str, words: &str) {
        let mut input = worker.held();
        (input["outcome"], input["response"]) = (json!(outcome), json!({ "text": words }));
        self.world.done("commitTurn", &input, "position");
    }

    fn session(&self, lane: &Value, scenario: &str) {
        let input = json!({ "externalId": session_of(lane), "agent": lane["agent"], "channel": lane["channel"],
            "interlocutor": lane["interlocutor"], "scenario": scenario });
        self.world.done("startSession", &input, "position");
    }

    /// Prices, tools, sessions.
    fn set_up(&self) {
        let prices = json!({ "prices.llm": {
            "large": { "input": "2.00", "output": "10.00", "cache_read": "1.00", "currency": "USD" },
            "small": { "input": "0.50", "output": "1.00", "currency": "USD" } } });
        let of_tenant = json!({ "scope": "TENANT", "set": prices });
        self.world.done("publishConfiguration", &of_tenant, "position");
        for (tool, side_effect, undone_by) in [
            ("look", "PURE", None),
            ("charge", "IDEMPOTENT", None),
            ("unbook", "IDEMPOTENT", None),
            ("book", "COMPENSATABLE", Some("unbook")),
            ("refund", "IRREVERSIBLE", None),
        ] {
            self.world.register(tool, side_effect, undone_by);
        }
        self.session(&lane("shop", "ann", "web"), "orders");
        self.session(&lane("desk", "bob", "api"), "bills");
        // Lists go by when a session began.
        self.pass_ms(1);
        self.session(&lane("shop", "ann", "phone"), "orders");
        let goal = json!({ "goal_id": "g-1", "description": "the money back" });
        self.of_session("ann on phone", "goal.set", goal);
    }

    /// T1 to T4.
    fn first_monday(&self) {
        let (ann, bob) = (lane("shop", "ann", "web"), lane("desk", "bob", "api"));
        self.say(&ann, &["where is it", "order 7"]);
        self.pass_ms(1_000);
        let worker = self.world.claim(&ann);
        self.model(
            &worker,
            "llm.responded",
            json!({ "model": "large", "first_chunk_us": 300_000, "duration_us": 2_000_000,
                "usage": { "input": 1_000, "output": 100, "cache_read": 400, "reasoning": 40 },
                "cost": { "amount": "0.0100", "currency": "USD" } }),
        );
        self.pass_ms(2_000);
        let look = self.world.propose(&worker, "look", "order 7");
        self.done(&worker, &look, 1_000);
        self.commit(&worker, "ANSWERED", "it is on its way");
        self.score(&worker, 0.5);

        self.say(&bob, &["pay order 8"]);
        self.pass_ms(3_000);
        let worker = self.world.claim(&bob);
        self.model(
            &worker,
            "llm.responded",
            json!({ "model": "small", "first_chunk_us": 100_000, "duration_us": 1_000_000,
                "usage": { "input": 500, "output": 50 }, "cost": { "amount": "0.0020", "currency": "USD" } }),
        );
        self.pass_ms(1_000);
        let charge = self.world.propose(&worker, "charge", "o-8");
        let failed = json!({ "failed": { "errorType": "declined", "retryable": true } });
        self.came_out(&worker, &charge, 1_000, failed);
        self.done(&worker, &charge, 2_000);
        self.commit(&worker, "KNOWLEDGE_GAP", "paid, I think");

        self.pass_ms(60_000);
        self.say(&ann, &["cancel it"]);
        self.pass_ms(1_000);
        let worker = self.world.claim(&ann);
        self.model(
            &worker,
            "llm.responded",
            json!({ "model": "large", "first_chunk_us": 500_000, "duration_us": 1_000_000,
                "usage": { "input": 2_000, "output": 200 }, "cost": { "amount": "0.0200", "currency": "USD" } }),
        );
        self.pass_ms(1_000);
        let newer = self.say(&ann, &["no, keep it"]);
        assert_ne!(newer, worker.turn, "it takes the place of the other");
        self.pass_ms(1_000);
        let worker = self.world.claim(&ann);
        self.model(
            &worker,
            "llm.responded",
            json!({ "model": "small", "usage": { "input": 300, "output": 30 } }),
        );
        self.pass_ms(1_000);
        self.commit(&worker, "ANSWERED", "kept");
        self.score(&worker, 0.25);
    }

    /// C1 to C4. Gives the worker of the last, which waits, and its call.
    fn clerks(&self) -> Worker {
        let asks = |who: &str, key: &str| {
            let lane = lane("clerk", who, "api");
            self.session(&lane, "refunds");
            self.say(&lane, &[&format!("refund {key}")]);
            let worker = self.world.claim(&lane);
            let call = self.world.propose(&worker, "refund", key);
            assert_eq!(call["gate"], "APPROVAL", "{call}");
            (worker, call)
        };
        let (worker, call) = asks("cleo", "r-1");
        self.pass_ms(10_000);
        self.world.approve(&call, "refund", "r-1");
        self.done(&worker, &call, 1_000);
        self.commit(&worker, "ANSWERED", "refunded");

        let (worker, call) = asks("carl", "r-2");
        self.pass_ms(1_000);
        let id = call["approval"]["id"].as_str().expect("a request");
        self.bob.reject(self.world.desk(), id, "not ours");
        let book = self.world.propose(&worker, "book", "r-2");
        self.done(&worker, &book, 1_000);
        self.commit(&worker, "ANSWERED", "booked");

        let (worker, call) = asks("cory", "r-3");
        self.pass_ms(1_000);
        let id = call["approval"]["id"].as_str().expect("a request");
        let arguments = json!({ "key": "r-3" }).to_string();
        self.bob.approve(self.world.desk(), id, "refund", &arguments);
        self.done(&worker, &call, 1_000);
        self.commit(&worker, "ANSWERED", "refunded");
        asks("cira", "r-4").0
    }

    /// What nobody decided, and T5.
    fn tuesday(&self, fourth: &Worker) {
        self.world.until("the request lapses", || {
            self.world.read_turn(&fourth.turn)["status"] == "PROCESSING"
        });
        self.commit(fourth, "ANSWERED", "nobody decides");
        let bob = lane("desk", "bob", "api");
        self.say(&bob, &["pay order 9"]);
        self.pass_ms(1_000);
        let worker = self.world.claim(&bob);
        self.model(
            &worker,
            "llm.failed",
            json!({ "model": "small", "error_type": "overloaded" }),
        );
        let charge = self.world.propose(&worker, "charge", "o-9");
        let unknown = json!({ "unknown": { "cause": "lost" } });
        self.came_out(&worker, &charge, 1_000, unknown);
        self.pass_ms(1_000);
        let mut input = worker.held();
        (input["errorType"], input["retryable"]) = (json!("model_down"), json!(false));
        self.world.done("failTurn", &input, "position");
    }

    /// T6.
    fn second_monday(&self) {
        let of_web = json!({ "scope": "CHANNEL", "scopeId": "web", "set": { "turns.debounce_us": 500_000 } });
        self.world.done("publishConfiguration", &of_web, "position");
        let ann = lane("shop", "ann", "web");
        self.say(&ann, &["thanks"]);
        self.pass_ms(1_000);
        let worker = self.world.claim(&ann);
        self.model(
            &worker,
            "llm.responded",
            json!({ "model": "large", "first_chunk_us": 200_000, "duration_us": 500_000,
                "usage": { "input": 100, "output": 10 }, "cost": { "amount": "0.0010", "currency": "USD" } }),
        );
        self.pass_ms(500);
        self.commit(&worker, "ANSWERED", "you are welcome");
        self.score(&worker, 1.0);
    }

    /// D1 runs and two wait behind it; E1 waits for a worker. Gives D1.
    fn what_waits(&self) -> Value {
        let (dora, ed) = (lane("busy", "dora", "api"), lane("busy", "ed", "api"));
        self.session(&dora, "orders");
        self.say(&dora, &["one"]);
        self.pass_ms(1_000);
        let running = self.world.claim(&dora).turn;
        self.pass_ms(1_000);
        for word in ["two", "three"] {
            self.say(&dora, &[word]);
        }
        self.session(&ed, "orders");
        self.say(&ed, &["hello"]);
        running
    }

    fn end(self, running: Value) -> Story {
        let last = self.world.agent().ask("{ ledger { lastPosition } }", Value::Null);
        Story {
            end: self.monday + NINE_US + self.passed.get(),
            monday: self.monday,
            last: last["ledger"]["lastPosition"].clone(),
            world: self.world,
            running,
        }
    }
}
