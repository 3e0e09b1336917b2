//! An agent in a process of its own, for tests that kill it: `crash-agent URL NAME OUTSIDE [ORDER CHANNEL [STOP]]`, its key in
//! `KEY`. It takes the turn of an order, or of any, has one thing paid that nobody may pay twice, and says on standard output
//! where it is, a line of JSON each. At `STOP`, such as `Start-UnderWay`, it waits: to be killed, or for the address of a
//! server to go on with, which it then asks again what it asked last, since it cannot know whether that was heard.
//!
//! What is paid stands in the file `OUTSIDE`, the world that no server sees.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ruche_tests::server::graphql;
use serde_json::{Value, json};

/// A tool that nobody registered: irreversible.
const TOOL: &str = "pay_out";
/// Longest wait for a person, and for a server that says to try again.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Between two looks at a decision.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait of a claim, ms: of a turn that has to come, and of any.
const CLAIM_WAIT_MS: u64 = 20_000;
const ANY_WAIT_MS: u64 = 1_000;

/// A request as it can be sent again.
#[derive(Clone)]
struct Request {
    name: &'static str,
    key: String,
    input: Value,
    fields: &'static str,
}

struct Agent {
    http: reqwest::blocking::Client,
    url: String,
    key: String,
    name: String,
    outside: String,
    stop: Option<String>,
    /// What is sent of the turn that it holds.
    held: Value,
    order: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, outside, more @ ..] = arguments.as_slice() else {
        panic!("crash-agent URL NAME OUTSIDE [ORDER CHANNEL [STOP]]");
    };
    let agent = Agent {
        http: reqwest::blocking::Client::new(),
        url: url.clone(),
        key: std::env::var("KEY").expect("a key"),
        name: name.clone(),
        outside: outside.clone(),
        stop: more.get(2).cloned(),
        held: Value::Null,
        order: String::new(),
    };
    match more {
        [order, channel, ..] => agent.of_order(order, channel),
        _ => agent.of_any(),
    }
}

impl Agent {
    /// The whole life of an order, from its first turn on.
    fn of_order(mut self, order: &str, channel: &str) {
        let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": channel, "thread": order });
        self.claim("Claim", json!({ "lane": lane, "waitMs": CLAIM_WAIT_MS }));
        let call = self.propose();
        let approval = call["approval"]["id"]
            .as_str()
            .expect("nobody may pay unasked")
            .to_owned();
        if channel == "email" {
            // The turn does not wait for people; their decision opens one.
            self.commit("Leave");
        }
        self.tell("Approve-UnderWay", &json!(approval));
        assert_eq!(self.decided(&approval), "APPROVED");
        self.reached("Approve-Done");
        if channel == "email" {
            self.claim("Resume", json!({ "lane": lane, "waitMs": CLAIM_WAIT_MS }));
        }
        let start = self.request("startEffect", "Start", json!({ "callId": call["callId"] }), START);
        let permit = self.step("Start", start);
        self.pay(&call, &permit);
        self.commit("Commit");
    }

    /// Any turn that is to be had, of which it knows nothing: what was proposed under the order's key tells.
    fn of_any(mut self) {
        if !self.claim("Claim", json!({ "agent": "shop", "waitMs": ANY_WAIT_MS })) {
            return;
        }
        let call = self.propose();
        if call["state"] == "COMPLETED" {
            return self.commit("Commit");
        }
        let approval = call["approval"]["id"]
            .as_str()
            .expect("nobody may pay unasked")
            .to_owned();
        self.tell("Approve-UnderWay", &json!(approval));
        let is_detached = self.held["lane"]["channel"] == "email";
        if is_detached && self.state(&approval) == "REQUESTED" {
            return self.commit("Leave");
        }
        assert_eq!(self.decided(&approval), "APPROVED");
        let start = self.request("startEffect", "Start", json!({ "callId": call["callId"] }), START);
        let permit = self.step("Start", start);
        if permit["code"] == "ILLEGAL_TRANSITION" {
            // The call is for the turn that the decision opened.
            assert!(is_detached, "{permit}");
            return self.commit("Leave");
        }
        self.pay(&call, &permit);
        self.commit("Commit");
    }

    /// Whether there was a turn. Remembers it, and the order that its lane says.
    fn claim(&mut self, step: &str, input: Value) -> bool {
        let named = input["lane"].clone();
        let fields = match &named {
            Value::Null => "turnId lease { id epoch } lane { agent interlocutor channel thread }",
            _ => "turnId lease { id epoch }",
        };
        let key = format!("{}/{step}", self.name);
        let request = Request {
            name: "claimTurn",
            key,
            input,
            fields,
        };
        let mut claim = self.step(step, request);
        if claim["code"] == "ILLEGAL_TRANSITION" {
            return false;
        }
        let lane = if named.is_null() {
            claim["lane"].take()
        } else {
            named
        };
        self.order = lane["thread"].as_str().expect("the order").to_owned();
        self.held = json!({ "lane": lane, "turnId": claim["turnId"], "lease": claim["lease"] });
        true
    }

    fn propose(&mut self) -> Value {
        let arguments = json!({ "order": self.order }).to_string();
        let more = json!({ "tool": TOOL, "arguments": arguments, "businessKey": self.order });
        let fields = "callId state deduplicated approval { id }";
        let request = self.request("proposeAction", "Propose", more, fields);
        self.step("Propose", request)
    }

    fn commit(&mut self, step: &str) {
        let request = self.request("commitTurn", step, json!({}), "turnId");
        self.step(step, request);
    }

    /// Does what cannot be undone, and says so.
    fn pay(&mut self, call: &Value, start: &Value) {
        // What was started before is leave only for who asked first, was not answered, and so knows that it did not pay.
        assert_eq!(start["deduplicated"], start["duplicate"], "{start}");
        let approval = start["permit"]["approvalId"].as_str().expect("a signature");
        let line = format!("{} {approval}\n", self.order);
        let file = OpenOptions::new().append(true).create(true).open(&self.outside);
        file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
            .expect("it is paid");
        self.reached("Execute-Done");
        let more = json!({ "callId": call["callId"], "permit": start["permit"]["position"],
            "outcome": { "completed": { "result": "paid" } } });
        let request = self.request("reportEffect", "Report", more, "callId state");
        let report = self.step("Report", request);
        assert_eq!(report["state"], "COMPLETED", "{report}");
    }

    /// A request about the turn that it holds.
    fn request(&self, name: &'static str, step: &str, more: Value, fields: &'static str) -> Request {
        let mut input = self.held.clone();
        for (member, value) in more.as_object().expect("members") {
            input[member] = value.clone();
        }
        let key = format!("{}/{}/{step}", self.name, self.order);
        Request {
            name,
            key,
            input,
            fields,
        }
    }

    /// Sends the request of a step. Where it is to stop it waits for what becomes of it, and asks again if it goes on.
    fn step(&mut self, step: &str, request: Request) -> Value {
        let under_way = format!("{step}-UnderWay");
        if self.stop.as_ref() == Some(&under_way) {
            let connection = self.send_and_do_not_read(&request);
            self.reached(&under_way);
            drop(connection);
        }
        let answer = self.send(&request);
        let may_not = ["Claim", "Resume", "Start"].contains(&step) && answer["code"] == "ILLEGAL_TRANSITION";
        assert!(may_not || answer["code"].is_null(), "{}: {answer}", request.key);
        if self.reached(&format!("{step}-Done")) {
            self.same_again(&request, &answer);
        }
        answer
    }

    /// An answer that was lost is given again, once more as it was; and a start is no second leave.
    fn same_again(&self, request: &Request, answer: &Value) {
        let mut again = self.send(request);
        assert_eq!(again["duplicate"], true, "{again}");
        again["duplicate"] = answer["duplicate"].clone();
        if request.name == "startEffect" {
            assert_eq!(again["deduplicated"], true, "{again}");
            again["deduplicated"] = answer["deduplicated"].clone();
        }
        assert_eq!(&again, answer);
    }

    /// Tells where it is. Where it is to stop it waits, and goes on with the server that it is told; then it is `true`.
    fn reached(&mut self, place: &str) -> bool {
        self.tell(place, &Value::Null)
    }

    fn tell(&mut self, place: &str, what: &Value) -> bool {
        let line = json!({ "at": place, "order": self.order, "what": what });
        writeln!(io::stdout(), "{line}")
            .and_then(|()| io::stdout().flush())
            .expect("somebody listens");
        if self.stop.as_deref() != Some(place) {
            return false;
        }
        let mut url = String::new();
        io::stdin().read_line(&mut url).expect("somebody tells");
        url.trim().clone_into(&mut self.url);
        self.stop = None;
        true
    }

    fn state(&self, approval: &str) -> String {
        let query = "query ($id: ID!) { approval(id: $id) { state } }";
        let told = graphql(&self.http, &self.url, &self.key, query, json!({ "id": approval }));
        told.expect("an answer")["approval"]["state"]
            .as_str()
            .expect("a state")
            .to_owned()
    }

    /// Waits for people.
    fn decided(&self, approval: &str) -> String {
        let began = Instant::now();
        loop {
            let state = self.state(approval);
            if state != "REQUESTED" {
                return state;
            }
            assert!(began.elapsed() < WAIT_MAX, "nobody decides on {approval}");
            thread::park_timeout(LOOK_INTERVAL);
        }
    }

    fn send(&self, request: &Request) -> Value {
        let (query, variables) = mutation(request);
        let began = Instant::now();
        loop {
            let told = graphql(&self.http, &self.url, &self.key, &query, variables.clone());
            let answer = told.unwrap_or_else(|error| panic!("{}: {error}", request.key))[request.name].take();
            if answer["__typename"] != "TryAgain" || began.elapsed() > WAIT_MAX {
                return answer;
            }
        }
    }

    /// Sends it as a process does that dies before it reads.
    fn send_and_do_not_read(&self, request: &Request) -> TcpStream {
        let (query, variables) = mutation(request);
        let body = json!({ "query": query, "variables": variables }).to_string();
        let address = self.url.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(address).expect("a connection");
        let sent = write!(
            stream,
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        sent.expect("the request is sent");
        stream
    }
}

const START: &str = "callId deduplicated permit { position approvalId }";

fn mutation(request: &Request) -> (String, Value) {
    let (name, fields) = (request.name, request.fields);
    let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let query = format!(
        "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename
            ... on {kind}Payload {{ duplicate {fields} }} ... on Refusal {{ code message }} }} }}"
    );
    let mut input = request.input.clone();
    input["idempotencyKey"] = json!(request.key);
    (query, json!({ "input": input }))
}
