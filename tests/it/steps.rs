//! A crash at every step of an irreversible call: the server, its agent or both are killed while a request is under way
//! and after it was answered, on a channel whose turns wait for people and on one whose turns do not. Afterwards no effect
//! was started twice or without a signature, every turn comes to an end, and what nobody can say stands in the read model
//! until a person says it.
//!
//! Agents are processes of their own (`tests/src/crash_agent.rs`), the agents that take over as well. What was really
//! paid stands in a file that no server sees.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ruche_tests::server::caught_up;
use serde_json::{Value, json};

use crate::live::World;
use crate::live::client::{Client, mutation};

const AGENT: &str = env!("CARGO_BIN_EXE_crash-agent");
/// What the agents call. Nobody registered it, so it is irreversible.
const TOOL: &str = "pay_out";
/// Longest wait for all turns to be over: two leases, waits before attempts, and a busy machine.
const END_WAIT_MAX: Duration = Duration::from_secs(240);
/// Longest wait for a read model.
const READ_WAIT_MAX: Duration = Duration::from_secs(60);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Server,
    Agent,
    Both,
}

/// On `api` a turn waits for its approval. On `email` it does not: it is left, and the decision opens another one.
const BLOCKING: (&str, &[&str]) = (
    "api",
    &[
        "Claim", "Propose", "Approve", "Start", "Execute", "Report", "Commit",
    ],
);
const DETACHED: (&str, &[&str]) = (
    "email",
    &[
        "Claim", "Propose", "Leave", "Approve", "Resume", "Start", "Execute", "Report", "Commit",
    ],
);

/// Every moment of every step with the channels that have it: while the request is sent and nobody reads the answer, and
/// when it was answered. An execution is nothing that Ruche sees, so nothing of it is under way.
fn moments() -> BTreeMap<String, Vec<&'static str>> {
    let mut all: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for (channel, steps) in [BLOCKING, DETACHED] {
        for step in steps {
            for moment in ["UnderWay", "Done"] {
                if (*step, moment) != ("Execute", "UnderWay") {
                    all.entry(format!("{step}-{moment}")).or_default().push(channel);
                }
            }
        }
    }
    all
}

/// An order is named by the moment at which somebody dies over it, and its channel.
fn order(moment: &str, channel: &str) -> String {
    format!("{moment}-{channel}")
}

fn lane(order: &str) -> Value {
    let channel = order.rsplit('-').next().expect("a channel");
    json!({ "agent": "shop", "interlocutor": "ann", "channel": channel, "thread": order })
}

/// What was really paid: order, and the approval that the permit named.
fn paid(outside: &Path) -> Vec<(String, String)> {
    let text = match std::fs::read_to_string(outside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.expect("the file of what was paid"),
    };
    let lines = text
        .lines()
        .map(|line| line.split_once(' ').expect("an order and its approval"));
    lines
        .map(|(order, approval)| (order.to_owned(), approval.to_owned()))
        .collect()
}

/// An agent at work. It is killed when it is dropped.
struct Agent {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Agent {
    fn start(world: &World, outside: &Path, name: &str, more: &[&str]) -> Self {
        let mut command = Command::new(AGENT);
        command
            .arg(&world.server.url)
            .arg(name)
            .arg(outside)
            .args(more)
            .env("KEY", &world.agent.key);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the agent starts");
        let said = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, said }
    }

    /// Where it is now; nothing once it has ended, and then it ended well.
    fn place(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it can be heard");
        if line.is_empty() {
            let ended = self.child.wait().expect("it ended");
            assert!(ended.success(), "the agent: {ended}");
            return None;
        }
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    /// Goes with it to a moment, or to its end. People decide on what it asks for, unless they are late. Gives what it
    /// said at the moment.
    fn goes_to(&mut self, world: &World, moment: Option<&str>) -> Value {
        while let Some(mut place) = self.place() {
            let at = place["at"].as_str().expect("a place");
            if moment == Some(at) {
                return place.take();
            }
            if at == "Approve-UnderWay" {
                let text = |name: &str| place[name].as_str().expect("a text");
                vote(world, text("what"), text("order"));
            }
        }
        assert_eq!(moment, None, "it ended before");
        Value::Null
    }

    /// SIGKILL.
    fn killed(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
    }

    fn told(&mut self, url: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{url}").expect("it hears");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already gone, unless a test failed; then nothing of it must go on running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(order: &str) -> String {
    json!({ "order": order }).to_string()
}

fn vote(world: &World, approval: &str, order: &str) {
    let voted = world
        .reviewer
        .vote(&world.desk, approval, TOOL, &arguments(order));
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
}

/// The vote of a reviewer who does not hear what becomes of it.
fn vote_unheard(world: &World, approval: &str, order: &str) -> std::net::TcpStream {
    let input = world
        .reviewer
        .signed(&world.desk, approval, TOOL, &arguments(order));
    sent_and_not_read(&world.desk, "voteOnApproval", &format!("vote-{approval}"), input)
}

fn sent_and_not_read(client: &Client, name: &str, key: &str, input: Value) -> std::net::TcpStream {
    let (query, variables) = mutation(name, key, input, "outcome");
    let body = json!({ "query": query, "variables": variables }).to_string();
    let address = client.url.strip_prefix("http://").expect("an address");
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    let sent = write!(
        stream,
        "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        client.key,
        body.len()
    );
    sent.expect("the request is sent");
    stream
}

/// A message that makes a turn.
fn ordered(world: &World, order: &str) {
    let session = json!({ "externalId": order });
    world.agent.sent(
        "startSession",
        &format!("start-{order}"),
        session.clone(),
        "position",
    );
    let message = json!({ "session": session, "text": "pay", "channelMessageId": "1", "lane": lane(order) });
    world
        .agent
        .sent("submitMessage", &format!("message-{order}"), message, "position");
}

/// An order on each channel that has this moment; then somebody dies. Agents that live go on to the end.
fn crash_at(mut world: World, outside: &Path, victim: Victim, moment: &str, channels: &[&str]) -> World {
    let (mut agents, mut unheard) = (Vec::new(), Vec::new());
    for channel in channels {
        let order = order(moment, channel);
        ordered(&world, &order);
        let name = format!("first-{order}");
        let mut agent = Agent::start(&world, outside, &name, &[&order, channel, moment]);
        let place = agent.goes_to(&world, Some(moment));
        if ["Start-Done", "Execute-Done"].contains(&moment) {
            start_is_recorded(&world, &order);
        }
        if let Some(approval) = place["what"].as_str() {
            unheard.push((vote_unheard(&world, approval, &order), approval.to_owned(), order));
        }
        agents.push(agent);
    }
    if victim != Victim::Agent {
        world = world.killed_and_started_again();
    }
    for (connection, approval, order) in unheard {
        drop(connection);
        if victim == Victim::Server {
            // The reviewer cannot know whether it was heard, and votes again.
            vote(&world, &approval, &order);
        }
    }
    for mut agent in agents {
        if victim == Victim::Server {
            agent.told(&world.server.url);
            agent.goes_to(&world, None);
        } else {
            agent.killed();
        }
    }
    world
}

/// Who has leave to run a call finds that written down: not later, and not only if nobody dies.
fn start_is_recorded(world: &World, order: &str) {
    caught_up(&world.agent.http, &world.agent.url, &world.agent.key).expect("the read models catch up");
    let query = "{ effects(filter: { status: STARTED }, first: 100) { nodes { businessKey } } }";
    let started = world.agent.ask(query, Value::Null)["effects"]["nodes"].take();
    let of_order = json!({ "businessKey": order });
    assert!(
        started.as_array().expect("a list").contains(&of_order),
        "no start of {order} is recorded: {started}"
    );
}

/// Other agents and the people do what is theirs until no turn is left. Gives the orders that were in doubt.
fn until_all_is_over(world: &World, outside: &Path) -> BTreeSet<String> {
    let deadline = Instant::now() + END_WAIT_MAX;
    let mut doubted = BTreeSet::new();
    for round in 0_u32.. {
        assert!(Instant::now() < deadline, "a turn is stuck: {}", busy(world));
        people(world, outside, &mut doubted);
        Agent::start(world, outside, &format!("successor-{round}"), &[]).goes_to(world, None);
        if busy(world) == json!([]) {
            break;
        }
    }
    doubted
}

fn busy(world: &World) -> Value {
    caught_up(&world.agent.http, &world.agent.url, &world.agent.key).expect("the read models catch up");
    let query =
        "{ lanes(filter: { busy: true }, first: 100) { nodes { name { thread } holder { state } } } }";
    world.agent.ask(query, Value::Null)["lanes"]["nodes"].take()
}

/// A reviewer signs what is open; a person who sees an effect in doubt looks outside and says what is there.
fn people(world: &World, outside: &Path, doubted: &mut BTreeSet<String>) {
    let open = "{ approvals(status: [REQUESTED], first: 50) { nodes { id arguments } } }";
    let open = world.desk.ask(open, Value::Null)["approvals"]["nodes"].take();
    for request in open.as_array().expect("a list") {
        let text = |name: &str| request[name].as_str().expect("a text");
        let voted = world
            .reviewer
            .vote(&world.desk, text("id"), TOOL, text("arguments"));
        assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    }
    let query =
        "{ effects(filter: { status: OUTCOME_UNKNOWN }, first: 100) { nodes { callId businessKey } } }";
    let unknown = world.agent.ask(query, Value::Null)["effects"]["nodes"].take();
    for effect in unknown.as_array().expect("a list") {
        let order = effect["businessKey"].as_str().expect("an order").to_owned();
        if doubted.insert(order.clone()) {
            waits_for_a_person(world, &order);
        }
        let is_paid = paid(outside).iter().any(|(done, _)| *done == order);
        let outcome = if is_paid { "COMPLETED" } else { "NOT_EXECUTED" };
        let input = json!({ "lane": lane(&order), "callId": effect["callId"], "outcome": outcome,
            "by": "ann", "evidence": "statement of the bank" });
        let key = format!("resolve-{}", effect["callId"]);
        world.admin.sent("resolveOutcome", &key, input, "state");
    }
}

/// The read model of lanes says that the turn of an order in doubt waits.
fn waits_for_a_person(world: &World, order: &str) {
    let deadline = Instant::now() + READ_WAIT_MAX;
    let waits = json!({ "name": { "thread": order }, "holder": { "state": "AWAITING_APPROVAL" } });
    loop {
        let busy = busy(world);
        if busy.as_array().expect("a list").contains(&waits) {
            return;
        }
        assert!(Instant::now() < deadline, "{order} does not wait visibly: {busy}");
    }
}

/// Nothing started twice or unsigned, nothing stuck, and an auditor finds nothing.
fn judge(world: World, outside: &Path, doubted: &BTreeSet<String>) {
    let moments = moments();
    let orders = moments
        .iter()
        .flat_map(|(moment, channels)| channels.iter().map(|channel| order(moment, channel)));
    let all: BTreeSet<String> = orders.collect();
    let paid = paid(outside);
    let orders: BTreeSet<String> = paid.iter().map(|(order, _)| order.clone()).collect();
    assert_eq!(
        (paid.len(), &orders),
        (all.len(), &all),
        "each is paid once: {paid:?}"
    );
    let signed: BTreeSet<&String> = paid.iter().map(|(_, approval)| approval).collect();
    assert_eq!(
        signed.len(),
        all.len(),
        "each has a signature of its own: {paid:?}"
    );

    let query = "{ effects(first: 100) { nodes { businessKey status attempts } } }";
    let effects = world.agent.ask(query, Value::Null)["effects"]["nodes"].take();
    let mut completed = BTreeSet::new();
    for effect in effects.as_array().expect("a list") {
        let order = effect["businessKey"].as_str().expect("an order").to_owned();
        match effect["status"].as_str() {
            Some("COMPLETED") => assert!(completed.insert(order), "{effect}"),
            Some("NOT_EXECUTED") => assert!(doubted.contains(&order), "{effect}"),
            _ => panic!("not settled: {effect}"),
        }
        assert_eq!(effect["attempts"], "1", "started once and never again: {effect}");
    }
    assert_eq!(completed, all);
    let totals = "{ totals { counts { turns turnsCommitted } } }";
    let counts = world.agent.ask(totals, Value::Null)["totals"]["counts"].take();
    let turns = counts["turns"]
        .as_str()
        .and_then(|count| count.parse::<usize>().ok());
    assert_eq!(counts["turns"], counts["turnsCommitted"], "nothing is stuck");
    // A decision opens a turn for each call that did not wait.
    assert!(turns >= Some(all.len()), "{counts}");

    let report = world.audit();
    assert_eq!(
        (&report["verdict"], &report["findings"]),
        (&json!("VERIFIED"), &json!([])),
        "{report}"
    );
}

/// Loops over the steps; gives what was in doubt.
fn kill_at_every_step(victim: Victim) -> BTreeSet<String> {
    let mut world = World::new();
    let outside: PathBuf = world.folder.path().join("paid");
    for (moment, channels) in moments() {
        world = crash_at(world, &outside, victim, &moment, &channels);
    }
    let doubted = until_all_is_over(&world, &outside);
    judge(world, &outside, &doubted);
    doubted
}

/// What an agent that died may have left in doubt, and what it must have.
fn in_doubt_as_it_must_be(doubted: &BTreeSet<String>) {
    let on_both = |moment: &str| [BLOCKING.0, DETACHED.0].map(|channel| order(moment, channel));
    let must: Vec<String> = ["Start-Done", "Execute-Done"]
        .into_iter()
        .flat_map(on_both)
        .collect();
    let may: Vec<String> = ["Start-UnderWay", "Report-UnderWay"]
        .into_iter()
        .flat_map(on_both)
        .collect();
    assert!(must.iter().all(|order| doubted.contains(order)), "{doubted:?}");
    let known = |order: &String| must.contains(order) || may.contains(order);
    assert!(doubted.iter().all(known), "{doubted:?}");
}

#[test]
fn a_server_that_is_killed_at_any_step_is_followed_by_one_that_goes_on() {
    assert_eq!(
        kill_at_every_step(Victim::Server),
        BTreeSet::new(),
        "the agent knows how it came out"
    );
}

#[test]
fn an_agent_that_is_killed_at_any_step_is_followed_by_one_that_repeats_nothing() {
    in_doubt_as_it_must_be(&kill_at_every_step(Victim::Agent));
}

#[test]
fn both_may_be_killed_at_any_step() {
    in_doubt_as_it_must_be(&kill_at_every_step(Victim::Both));
}
