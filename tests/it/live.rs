//! Real conversations, live: a replaying agent takes the 200 conversations of tau-bench through the API as they happened.
//! Each message is submitted, each turn claimed, each recorded call proposed, started and reported, and each answer
//! committed; what is irreversible waits for the signature of a reviewer. The counts are those of the file (`counts`). Then
//! an operator who holds the keys plants faults in what they left, and each is found where it stands (`planted`).

pub mod client;
mod counts;
mod examples;
mod lost_answers;
mod planted;
mod recorded;
pub mod reviewer;
mod story;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ruche_domain::numbers::Position;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, caught_up};
use serde_json::{Value, json};

use client::Client;
use recorded::{CallMade, Conversation, Step};
use reviewer::Reviewer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const VERIFIER: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");
/// Conversations that go on side by side.
const SIDE_BY_SIDE: usize = 8;
/// The tools of the file and what they do to the world, as the data's own page says.
const TOOLS: &str = "docs/import/tau-bench-airline.json";
/// What undoes a booking.
const RELEASE: &str = "release_booking";
/// Half of the conversations are on a channel whose turns wait for approvals, half on one where the decision opens a
/// turn of its own. Neither merges messages, so that each message of the file is a turn.
const BLOCKING: &str = "api";
const DETACHED: &str = "email";

/// Everybody who takes part.
pub struct World {
    pub folder: tempfile::TempDir,
    pub home: Home,
    pub server: Server,
    pub agent: Client,
    pub desk: Client,
    pub admin: Client,
    pub reviewer: Reviewer,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = |roles: &[&str]| home.new_key("acme", roles).expect("a key");
        let (agent, desk, admin) = (key(&["writer", "reader"]), key(&["reviewer"]), key(&["admin"]));
        let server = home.serve().expect("the server starts");
        let client = |key: &str| Client::new(&server.url, key);
        let (agent, desk, admin) = (client(&agent), client(&desk), client(&admin));
        let reviewer = Reviewer::new(folder.path(), "acme", "alice");
        reviewer.register(&admin);
        Self {
            folder,
            home,
            server,
            agent,
            desk,
            admin,
            reviewer,
        }
    }

    /// The server is killed, and another process goes on with its folders at another address.
    pub fn killed_and_started_again(self) -> Self {
        self.server.kill().expect("it is killed");
        let server = self.home.serve().expect("the server starts again");
        let client = |of: &Client| Client::new(&server.url, &of.key);
        let (agent, desk, admin) = (client(&self.agent), client(&self.desk), client(&self.admin));
        Self {
            server,
            agent,
            desk,
            admin,
            ..self
        }
    }

    /// Gives the names of the tools that are irreversible.
    fn register_tools(&self) -> BTreeSet<String> {
        let file = std::fs::read(data::of_repository(TOOLS)).expect("the file of the tools");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        let mut irreversible = BTreeSet::new();
        // The file has bookings undone by a cancellation, which is irreversible itself, and then nobody may run it
        // unasked. This airline has a way of its own to give a booking back; no conversation needs it.
        let release = json!({ "name": RELEASE, "sideEffect": "IDEMPOTENT", "owner": "airline" });
        self.admin
            .sent("registerTool", "register-release", release, "position");
        for tool in file["tools"].as_array().expect("tools") {
            let name = tool["name"].as_str().expect("a name");
            let side_effect = tool["side_effect"]
                .as_str()
                .expect("a side effect")
                .to_uppercase();
            let undone_by = match tool["compensation_tool"].as_str() {
                Some("cancel_reservation") => Some(RELEASE),
                other => other,
            };
            let input = json!({ "name": name, "sideEffect": side_effect, "owner": "airline",
                "argumentSchema": { "type": "object" }, "compensationTool": undone_by });
            self.admin
                .sent("registerTool", &format!("register-{name}"), input, "position");
            if side_effect == "IRREVERSIBLE" {
                irreversible.insert(name.to_owned());
            }
        }
        irreversible
    }

    /// All conversations, several at a time. Gives how many turns a decision opened.
    fn replay(&self, conversations: &[Conversation]) -> usize {
        let (next, decided) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                scope.spawn(|| {
                    while let Some(conversation) = conversations.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let opened = Replay::new(self, conversation).run();
                        decided.fetch_add(opened, Ordering::Relaxed);
                    }
                });
            }
        });
        decided.into_inner()
    }

    /// The end of it all: an export, and what the auditor's verifier says of it.
    pub fn audit(self) -> Value {
        let (folder, home) = self.closed();
        audit(&home, folder.path())
    }

    /// The server ends, well. What it leaves.
    fn closed(self) -> (tempfile::TempDir, Home) {
        assert!(self.server.stop().expect("it stops"), "it ended well");
        (self.folder, self.home)
    }
}

/// What the auditor's own program says of an export of the tenant; the server has ended.
pub fn audit(home: &Home, folder: &Path) -> Value {
    let parked = home.run(&["projections", "list"]).expect("a list");
    assert_eq!(parked, json!([]), "nothing is parked");
    // Every decision of every lane is decided again, and comes out the same.
    let again = home
        .end_of(&["replay", "verify", "--tenant", "acme"])
        .expect("it starts");
    let counts = &again.json["counts"];
    assert_eq!(
        (again.code, counts),
        (Some(0), &json!({})),
        "{} {}",
        again.json,
        again.said
    );
    assert!(
        again.json["decided"]["appends"].as_u64() > Some(0),
        "{}",
        again.json
    );
    let export = folder.join("export");
    let export = export.to_str().expect("a path in UTF-8");
    let told = home
        .run(&["export", "--tenant", "acme", export])
        .expect("an export");
    let key = told["verifier_keys"][0].as_str().expect("a key");
    let mut verifier = Command::new(VERIFIER);
    let output = verifier.args([export, "--key", key, "--json"]).output();
    let output = output.expect("the verifier starts");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// One conversation as its agent goes through it again.
struct Replay<'w> {
    world: &'w World,
    conversation: &'w Conversation,
    lane: Value,
    channel: &'static str,
    /// What its worker sends about the turn that it has.
    held: Value,
    claims: usize,
    /// Turns that a decision opened.
    decided: usize,
}

impl<'w> Replay<'w> {
    fn new(world: &'w World, conversation: &'w Conversation) -> Self {
        let channel = [BLOCKING, DETACHED][conversation.trial % 2];
        let (who, thread) = (&conversation.user, &conversation.id);
        let lane = json!({ "agent": "airline", "interlocutor": who, "channel": channel, "thread": thread });
        Self {
            world,
            conversation,
            lane,
            channel,
            held: Value::Null,
            claims: 0,
            decided: 0,
        }
    }

    /// The client's own key of a request.
    fn key(&self, of: &str) -> String {
        format!("{}/{of}", self.conversation.id)
    }

    fn run(mut self) -> usize {
        let agent = &self.world.agent;
        let session = json!({ "externalId": self.conversation.id });
        let input = json!({ "externalId": self.conversation.id, "agent": "airline", "channel": self.channel,
            "interlocutor": self.conversation.user });
        agent.sent("startSession", &self.key("start"), input, "position");
        let input = json!({ "session": session, "role": "SYSTEM", "text": self.conversation.system });
        agent.sent("submitMessage", &self.key("system"), input, "position");
        for (number, turn) in self.conversation.turns.iter().enumerate() {
            let input = json!({ "session": session, "text": turn.said, "lane": self.lane,
                "channelMessageId": number.to_string() });
            agent.sent(
                "submitMessage",
                &self.key(&format!("message-{number}")),
                input,
                "turnId",
            );
            self.claim();
            for (at, step) in turn.steps.iter().enumerate() {
                let name = format!("{number}.{at}");
                match step {
                    Step::Said(text) => self.say(&name, text),
                    Step::Called(call) => self.call(&name, call),
                }
            }
            let mut input = self.held.clone();
            if let Some(answer) = &turn.answer {
                (input["outcome"], input["response"]) = (json!("ANSWERED"), json!({ "text": answer }));
            }
            agent.sent(
                "commitTurn",
                &self.key(&format!("commit-{number}")),
                input,
                "turnId",
            );
        }
        self.decided
    }

    /// The turn that is ready: its message, or its decision, sealed it.
    fn claim(&mut self) {
        let key = self.key(&format!("claim-{}", self.claims));
        self.claims += 1;
        let input = json!({ "lane": self.lane });
        let claim = self
            .world
            .agent
            .sent("claimTurn", &key, input, "turnId lease { id epoch }");
        self.held = json!({ "lane": self.lane, "turnId": claim["turnId"], "lease": claim["lease"] });
    }

    fn say(&self, name: &str, text: &str) {
        let mut input = self.held.clone();
        input["message"] = json!({ "text": text });
        self.world
            .agent
            .sent("sendMessage", &self.key(&format!("say-{name}")), input, "turnId");
    }

    /// One recorded call. Its business key is its place in the conversation: the provider's id names several calls.
    fn call(&mut self, name: &str, call: &CallMade) {
        let mut input = self.held.clone();
        (input["tool"], input["arguments"]) = (json!(call.tool), json!(call.arguments));
        (input["businessKey"], input["providerCallId"]) = (json!(self.key(name)), json!(call.provider_id));
        let fields = "callId gate deduplicated approval { id }";
        let agent = &self.world.agent;
        let proposed = agent.sent(
            "proposeAction",
            &self.key(&format!("propose-{name}")),
            input,
            fields,
        );
        assert_eq!(
            proposed["deduplicated"], false,
            "{name} is a call of its own: {proposed}"
        );
        if proposed["gate"] == "APPROVAL" {
            self.approve(name, call, &proposed["approval"]["id"]);
        }
        let mut input = self.held.clone();
        input["callId"] = proposed["callId"].clone();
        let key = self.key(&format!("run-{name}"));
        let started = agent.sent(
            "startEffect",
            &key,
            input.clone(),
            "permit { position approvalId }",
        );
        let approval = &started["permit"]["approvalId"];
        assert_eq!(
            approval, &proposed["approval"]["id"],
            "the approval of this call: {started}"
        );
        input["permit"] = started["permit"]["position"].clone();
        // An error of the data changed nothing (its page says so).
        input["outcome"] = match call.result.starts_with("Error") {
            true => json!({ "failed": { "errorType": "tool_error", "result": call.result } }),
            false => json!({ "completed": { "result": call.result } }),
        };
        agent.sent(
            "reportEffect",
            &self.key(&format!("report-{name}")),
            input,
            "state",
        );
    }

    fn approve(&mut self, name: &str, call: &CallMade, approval: &Value) {
        let agent = &self.world.agent;
        if self.channel == DETACHED {
            // The turn does not wait; the decision opens one that may start the call.
            let key = self.key(&format!("wait-{name}"));
            agent.sent("commitTurn", &key, self.held.clone(), "turnId");
        }
        let approval = approval.as_str().expect("an id");
        let desk = &self.world.desk;
        self.world
            .reviewer
            .approve(desk, approval, &call.tool, &call.arguments);
        if self.channel == DETACHED {
            self.decided += 1;
            self.claim();
        }
    }
}

#[test]
fn all_conversations_of_tau_bench_go_through_the_live_path_and_each_fault_in_what_they_left_is_found() {
    let Some(file) = data::file("tau-bench-airline/gpt-4o-airline.json") else {
        return;
    };
    let (conversations, counts) = (recorded::read(&file), counts::OfFile::read(&file));
    let world = World::new();
    let signed = counts.calls_of(&world.register_tools());
    let decided = world.replay(&conversations) as u64;
    assert_eq!(
        world.reviewer.votes(),
        signed,
        "each irreversible call has a signature of its own"
    );
    let last = caught_up(&world.agent.http, &world.server.url, &world.agent.key);
    let last: Position = last
        .expect("the read models catch up")
        .parse()
        .expect("a position");
    counts.hold_in_read_models(&world, decided);
    counts::each_call_is_there_once(&world.agent, &conversations);

    story::goes_on(&world);
    let (folder, home) = world.closed();
    let report = audit(&home, folder.path());
    assert_eq!(
        (&report["verdict"], &report["findings"]),
        (&json!("VERIFIED"), &json!([])),
        "{report}"
    );
    let not_run = &report["proposed_and_not_run"]["total"];
    assert_eq!(not_run, story::NOT_RUN, "of the conversations all did: {report}");
    assert_eq!(report["turns_not_over"]["total"], 0, "{report}");
    let copies = planted::Copies::of(&home, folder.path());
    let size = usize::try_from(last.index.0).expect("it fits") + 1;
    counts.hold_in_records(&copies.whole, size, signed, decided);
    copies.each_fault_is_found();
}
