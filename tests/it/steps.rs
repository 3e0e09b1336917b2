//! A crash at every step of an irreversible call: the server, its agent or both are killed while a request is under way
//! and after it was answered. Afterwards no effect was started twice or without a signature, every turn comes to an end,
//! and what nobody can say stands in the read model until a person says it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ruche_tests::server::caught_up;
use serde_json::{Value, json};

use crate::live::World;
use crate::live::client::{Client, mutation};

/// A tool that nobody registered: irreversible.
const TOOL: &str = "pay_out";
/// Longest wait for all turns to be over: two leases, waits before attempts, and a busy machine.
const END_WAIT_MAX: Duration = Duration::from_secs(240);
/// Longest wait for a read model.
const READ_WAIT_MAX: Duration = Duration::from_secs(30);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Server,
    Agent,
    Both,
}

/// What happens in a turn, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim,
    Propose,
    Approve,
    Start,
    Execute,
    Report,
    Commit,
}

const STEPS: [Step; 7] = [
    Step::Claim,
    Step::Propose,
    Step::Approve,
    Step::Start,
    Step::Execute,
    Step::Report,
    Step::Commit,
];

/// When in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The request is sent and nobody reads the answer. Whether it is carried out is open.
    UnderWay,
    /// It was answered.
    Done,
}

/// The world outside: what was really paid, by order and the approval that the permit named.
#[derive(Default)]
struct Outside(Vec<(String, String)>);

impl Outside {
    fn has(&self, order: &str) -> bool {
        self.0.iter().any(|(done, _)| done == order)
    }
}

/// A request of a step.
struct Request<'w> {
    client: &'w Client,
    name: &'static str,
    key: String,
    input: Value,
    fields: &'static str,
}

impl Request<'_> {
    fn send(self) -> Value {
        self.client.sent(self.name, &self.key, self.input, self.fields)
    }

    /// Sends it as a process does that is killed before it reads: over a connection that is closed.
    fn send_and_do_not_read(self) -> TcpStream {
        let (query, variables) = mutation(self.name, &self.key, self.input, self.fields);
        let body = json!({ "query": query, "variables": variables }).to_string();
        let address = self.client.url.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(address).expect("a connection");
        let sent = write!(
            stream,
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.client.key,
            body.len()
        );
        sent.expect("the request is sent");
        stream
    }
}

/// A worker with what it remembers. Whoever takes over remembers nothing.
struct Agent {
    name: String,
    order: String,
    held: Value,
    call: Value,
    permit: Value,
}

impl Agent {
    fn new(name: &str, order: &str) -> Self {
        Self {
            name: name.to_owned(),
            order: order.to_owned(),
            held: Value::Null,
            call: Value::Null,
            permit: Value::Null,
        }
    }

    /// Of an agent that finds a turn which somebody had before.
    fn that_claimed(name: &str, claim: &Value) -> Self {
        let order = claim["lane"]["thread"].as_str().expect("the order");
        let mut agent = Self::new(name, order);
        agent.learn(Step::Claim, claim);
        agent
    }

    fn arguments(&self) -> String {
        json!({ "order": self.order }).to_string()
    }

    /// What is sent in a step; nothing where a step is no request.
    fn request<'w>(&self, world: &'w World, step: Step) -> Option<Request<'w>> {
        let mut input = self.held.clone();
        let (name, fields) = match step {
            Step::Claim => {
                input = json!({ "lane": lane(&self.order) });
                ("claimTurn", "turnId lease { id epoch } lane { thread }")
            }
            Step::Propose => {
                (input["tool"], input["arguments"]) = (json!(TOOL), json!(self.arguments()));
                input["businessKey"] = json!(self.order);
                ("proposeAction", "callId state deduplicated approval { id }")
            }
            Step::Approve => {
                let approval = self.call["approval"]["id"].as_str().expect("a request");
                let arguments = self.arguments();
                return Some(Request {
                    client: &world.desk,
                    name: "voteOnApproval",
                    key: format!("vote-{approval}"),
                    input: world.reviewer.signed(&world.desk, approval, TOOL, &arguments),
                    fields: "outcome",
                });
            }
            Step::Start => {
                input["callId"] = self.call["callId"].clone();
                (
                    "startEffect",
                    "callId deduplicated permit { position approvalId }",
                )
            }
            Step::Execute => return None,
            Step::Report => {
                (input["callId"], input["permit"]) =
                    (self.call["callId"].clone(), self.permit["position"].clone());
                input["outcome"] = json!({ "completed": { "result": "paid" } });
                ("reportEffect", "callId state")
            }
            Step::Commit => ("commitTurn", "turnId"),
        };
        Some(Request {
            client: &world.agent,
            name,
            key: format!("{}/{}/{step:?}", self.order, self.name),
            input,
            fields,
        })
    }

    fn learn(&mut self, step: Step, answer: &Value) {
        match step {
            Step::Claim => {
                self.held = json!({ "lane": lane(&self.order), "turnId": answer["turnId"],
                    "lease": answer["lease"] });
            }
            Step::Propose => self.call = answer.clone(),
            Step::Start => {
                assert_eq!(answer["deduplicated"], false, "{}: {answer}", self.order);
                self.permit = answer["permit"].clone();
            }
            Step::Approve => assert_eq!(answer["outcome"], "APPROVED", "{}: {answer}", self.order),
            Step::Report => assert_eq!(answer["state"], "COMPLETED", "{}: {answer}", self.order),
            Step::Execute | Step::Commit => {}
        }
    }

    /// Does a step; gives its answer.
    fn step(&mut self, world: &World, outside: &mut Outside, step: Step) -> Value {
        let Some(request) = self.request(world, step) else {
            let approval = self.permit["approvalId"].as_str().expect("a signature");
            outside.0.push((self.order.clone(), approval.to_owned()));
            return Value::Null;
        };
        let answer = request.send();
        self.learn(step, &answer);
        answer
    }

    /// Goes on with a turn, having no idea what happened in it: proposing under the key of the effect tells.
    fn finish(mut self, world: &World, outside: &mut Outside) {
        let proposed = self.step(world, outside, Step::Propose);
        if proposed["state"] != "COMPLETED" {
            for step in [Step::Approve, Step::Start, Step::Execute, Step::Report] {
                self.step(world, outside, step);
            }
        }
        self.step(world, outside, Step::Commit);
    }
}

/// On a channel whose turns wait for their approvals and whose messages are turns at once.
fn lane(order: &str) -> Value {
    json!({ "agent": "shop", "interlocutor": "ann", "channel": "api", "thread": order })
}

fn crash(world: World, victim: Victim) -> World {
    match victim {
        Victim::Agent => world,
        Victim::Server | Victim::Both => world.killed_and_started_again(),
    }
}

/// A turn of its own whose server, agent or both die at one moment of one step. A living agent goes on to the end.
fn turn_with_a_crash(mut world: World, outside: &mut Outside, victim: Victim, at: (Step, Moment)) -> World {
    let order = name(at);
    let session = json!({ "externalId": order });
    world.agent.sent(
        "startSession",
        &format!("start-{order}"),
        session.clone(),
        "position",
    );
    let message = json!({ "session": session, "text": "pay", "channelMessageId": "1", "lane": lane(&order) });
    world
        .agent
        .sent("submitMessage", &format!("message-{order}"), message, "position");
    let mut agent = Agent::new("first", &order);
    for step in STEPS {
        if at == (step, Moment::UnderWay) {
            let sent = agent.request(&world, step).expect("a request");
            let connection = sent.send_and_do_not_read();
            world = crash(world, victim);
            drop(connection);
            if victim != Victim::Server {
                return world;
            }
        }
        let answer = agent.step(&world, outside, step);
        if at == (step, Moment::Done) {
            world = crash(world, victim);
            if victim != Victim::Server {
                return world;
            }
            // The agent cannot know whether its last answer was lost, and asks again.
            if let Some(again) = agent.request(&world, step) {
                let mut again = again.send();
                assert_eq!(again["duplicate"], true, "{order}: {again}");
                again["duplicate"] = answer["duplicate"].clone();
                if step == Step::Start {
                    // The permit that it has, and no second one.
                    assert_eq!(again["deduplicated"], true, "{order}: {again}");
                    again["deduplicated"] = answer["deduplicated"].clone();
                }
                assert_eq!(again, answer, "{order}");
            }
        }
    }
    world
}

fn name((step, moment): (Step, Moment)) -> String {
    format!("{step:?}-{moment:?}")
}

/// Every moment of every step. An execution is nothing that Ruche sees, so nothing of it is under way.
fn moments() -> Vec<(Step, Moment)> {
    let both = |step| [(step, Moment::UnderWay), (step, Moment::Done)];
    let all = STEPS.into_iter().flat_map(both);
    all.filter(|at| *at != (Step::Execute, Moment::UnderWay))
        .collect()
}

/// Another agent and the people do what is theirs until no turn is left. Gives the orders that were in doubt.
fn until_all_is_over(world: &World, outside: &mut Outside) -> BTreeSet<String> {
    let deadline = Instant::now() + END_WAIT_MAX;
    let mut doubted = BTreeSet::new();
    for round in 0_u32.. {
        assert!(Instant::now() < deadline, "a turn is stuck: {}", busy(world));
        people(world, outside, &mut doubted);
        let input = json!({ "agent": "shop", "waitMs": 2_000 });
        let name = format!("successor-{round}");
        let fields = "turnId lease { id epoch } lane { thread }";
        let claim = world.agent.mutate("claimTurn", &name, input, fields);
        if claim["code"].is_null() {
            Agent::that_claimed(&name, &claim).finish(world, outside);
            continue;
        }
        assert_eq!(claim["code"], "ILLEGAL_TRANSITION", "{claim}");
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
fn people(world: &World, outside: &Outside, doubted: &mut BTreeSet<String>) {
    let open = "{ approvals(first: 50) { nodes { id arguments } } }";
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
        let outcome = if outside.has(&order) {
            "COMPLETED"
        } else {
            "NOT_EXECUTED"
        };
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
fn judge(world: World, outside: &Outside, doubted: &BTreeSet<String>) {
    let all: BTreeSet<String> = moments().into_iter().map(name).collect();
    let paid: BTreeSet<String> = outside.0.iter().map(|(order, _)| order.clone()).collect();
    assert_eq!(
        (outside.0.len(), &paid),
        (all.len(), &all),
        "each is paid once: {:?}",
        outside.0
    );
    let signed: BTreeSet<&String> = outside.0.iter().map(|(_, approval)| approval).collect();
    assert_eq!(
        signed.len(),
        all.len(),
        "each has a signature of its own: {:?}",
        outside.0
    );

    let query = "{ effects(first: 100) { nodes { businessKey status attempts } } }";
    let effects = world.agent.ask(query, Value::Null)["effects"]["nodes"].take();
    let mut completed = BTreeSet::new();
    for effect in effects.as_array().expect("a list") {
        let order = effect["businessKey"].as_str().expect("an order").to_owned();
        assert_eq!(effect["attempts"], "1", "started once and never again: {effect}");
        match effect["status"].as_str() {
            Some("COMPLETED") => assert!(completed.insert(order), "{effect}"),
            Some("NOT_EXECUTED") => assert!(doubted.contains(&order), "{effect}"),
            _ => panic!("not settled: {effect}"),
        }
    }
    assert_eq!(completed, all);
    let totals = "{ totals { counts { turns turnsCommitted } } }";
    let turns = all.len().to_string();
    let counts = json!({ "turns": turns, "turnsCommitted": turns });
    assert_eq!(world.agent.ask(totals, Value::Null)["totals"]["counts"], counts);

    let report = world.audit();
    assert_eq!(
        (&report["verdict"], &report["findings"]),
        (&json!("VERIFIED"), &json!([])),
        "{report}"
    );
}

/// Loops over the steps; gives the world afterwards and what was in doubt.
fn kill_at_every_step(victim: Victim) -> BTreeSet<String> {
    let (mut world, mut outside) = (World::new(), Outside::default());
    for at in moments() {
        world = turn_with_a_crash(world, &mut outside, victim, at);
    }
    let doubted = until_all_is_over(&world, &mut outside);
    judge(world, &outside, &doubted);
    doubted
}

/// What an agent that died may have left in doubt, and what it must have.
fn in_doubt_as_it_must_be(doubted: &BTreeSet<String>) {
    let must = [(Step::Start, Moment::Done), (Step::Execute, Moment::Done)].map(name);
    let may = [(Step::Start, Moment::UnderWay), (Step::Report, Moment::UnderWay)].map(name);
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
