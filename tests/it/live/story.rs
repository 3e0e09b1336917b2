//! What goes on behind the conversations, in the same ledger: what happens when people and workers do not keep their time, and
//! reviewers of whom each signs once. The conversations have nothing of the kind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::World;
use super::reviewer::Reviewer;

/// Calls that are asked for here and do not run.
pub const NOT_RUN: u64 = 1;
/// Who signs once, and whose key is revoked then.
pub const ONCE: [&str; 4] = ["bob", "carol", "dora", "eve"];
/// A channel on which leases are short, and one on which requests are.
const HASTY: &str = "hasty";
const BRIEF: &str = "brief";
/// What is irreversible, and what it is asked for with.
const TOOL: &str = "send_certificate";
const ARGUMENTS: &str = "{\"user_id\": \"ann_1\", \"amount\": 50}";
/// Longest wait for a timer of the server.
const TIMER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Lets it all happen.
pub fn goes_on(world: &World) {
    // Long enough to claim and answer in on a busy machine.
    let hasty = json!({ "turns.lease_us": 10_000_000, "turns.retry_delay_us": 0 });
    let channels = [(HASTY, hasty), (BRIEF, json!({ "turns.approval_us": 200_000 }))];
    for (channel, set) in channels {
        let input = json!({ "scope": "CHANNEL", "scopeId": channel, "set": set });
        world
            .admin
            .sent("publishConfiguration", channel, input, "position");
    }
    let reviewers = ONCE.map(|name| {
        let reviewer = Reviewer::new(world.folder.path(), "acme", name);
        reviewer.register(&world.admin);
        signed_for(world, name, &reviewer);
        reviewer
    });
    for reviewer in &reviewers {
        let (key, input) = (
            reviewer.key_id(),
            json!({ "keyId": reviewer.key_id(), "reason": "left" }),
        );
        world.admin.sent("revokeReviewerKey", &key, input, "position");
    }
    expired(world);
    lapsed(world);
    failed(world);
}

/// The only turn of a lane.
struct Turn<'w> {
    world: &'w World,
    name: &'static str,
    lane: Value,
    held: Value,
    steps: usize,
}

impl<'w> Turn<'w> {
    /// A message comes, and a worker takes its turn.
    fn new(world: &'w World, name: &'static str, channel: &str) -> Self {
        let session = json!({ "externalId": name });
        let lane = json!({ "agent": "airline", "interlocutor": name, "channel": channel });
        let agent = &world.agent;
        let key = |of: &str| format!("{name}/{of}");
        agent.sent("startSession", &key("start"), session.clone(), "position");
        let message = json!({ "session": session, "text": "please", "lane": lane });
        agent.sent("submitMessage", &key("message"), message, "turnId");
        let mut turn = Self {
            world,
            name,
            lane,
            held: Value::Null,
            steps: 0,
        };
        turn.claim();
        turn
    }

    fn claim(&mut self) {
        let input = json!({ "lane": self.lane, "waitMs": 30_000 });
        let (key, deadline) = (self.key(), Instant::now() + TIMER_WAIT_MAX);
        let agent = &self.world.agent;
        let claim = loop {
            let claim = agent.mutate("claimTurn", &key, input.clone(), "turnId lease { id epoch }");
            if claim["code"].is_null() && claim["__typename"] != "TryAgain" {
                break claim;
            }
            assert!(Instant::now() < deadline, "no turn became ready: {claim}");
        };
        self.held = json!({ "lane": self.lane, "turnId": claim["turnId"], "lease": claim["lease"] });
    }

    fn key(&mut self) -> String {
        self.steps += 1;
        format!("{}/{}", self.name, self.steps)
    }

    /// The worker of the turn does something.
    fn does(&mut self, mutation: &str, more: Value, fields: &str) -> Value {
        let (key, mut input) = (self.key(), self.held.clone());
        for (name, value) in more.as_object().expect("an object") {
            input[name] = value.clone();
        }
        self.world.agent.sent(mutation, &key, input, fields)
    }

    /// Gives what is answered: the call, and who is asked.
    fn proposes(&mut self) -> Value {
        let call = json!({ "tool": TOOL, "arguments": ARGUMENTS, "businessKey": self.name });
        let proposed = self.does("proposeAction", call, "callId gate approval { id }");
        assert_eq!(proposed["gate"], "APPROVAL", "{proposed}");
        proposed
    }

    fn commits(&mut self) {
        let answer = json!({ "outcome": "ANSWERED", "response": { "text": "so be it" } });
        self.does("commitTurn", answer, "turnId");
    }
}

/// A call that a reviewer signs for, the only one.
fn signed_for(world: &World, name: &'static str, reviewer: &Reviewer) {
    let mut turn = Turn::new(world, name, super::BLOCKING);
    let call = turn.proposes();
    let approval = call["approval"]["id"].as_str().expect("an id");
    reviewer.approve(&world.desk, approval, TOOL, ARGUMENTS);
    let call = json!({ "callId": call["callId"] });
    let started = turn.does("startEffect", call.clone(), "permit { position }");
    let mut done = json!({ "permit": started["permit"]["position"],
        "outcome": { "completed": { "result": "sent" } } });
    done["callId"] = call["callId"].clone();
    turn.does("reportEffect", done, "state");
    turn.commits();
}

/// Nobody decides in time, which is a no. Then the turn goes on.
fn expired(world: &World) {
    let mut turn = Turn::new(world, "expired", BRIEF);
    turn.proposes();
    let (key, deadline) = (turn.key(), Instant::now() + TIMER_WAIT_MAX);
    loop {
        let answer = world
            .agent
            .mutate("commitTurn", &key, turn.held.clone(), "turnId");
        if answer["code"].is_null() {
            return;
        }
        let waits = answer["state"] == "awaiting_approval" && Instant::now() < deadline;
        assert!(waits, "it does not expire: {answer}");
    }
}

/// A worker is not heard of, and another one takes the turn.
fn lapsed(world: &World) {
    let mut turn = Turn::new(world, "lapsed", HASTY);
    turn.claim();
    turn.commits();
}

/// An attempt fails, and another one follows.
fn failed(world: &World) {
    let mut turn = Turn::new(world, "failed", HASTY);
    let why = json!({ "errorType": "model_down", "retryable": true });
    turn.does("failTurn", why, "turnId");
    turn.claim();
    turn.commits();
}
