//! An agent whose tool calls Ruche decides on: it takes one turn of the agent `shop`, looks an order up, refunds it once a
//! person has signed, and answers. Copy it; it needs `reqwest` (feature `blocking`) and `serde_json`. What each step means stands in
//! docs/tool-calls.md.
//!
//! `agent http://127.0.0.1:4000`; the API key, with the roles writer and reader, is read from the environment, `KEY`.

use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A request whose answer was lost is sent again for so long, under its key.
const REPEAT_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether a person has decided.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two heartbeats; a lease lapses after 30 s without one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait of a claim for a turn, ms; each wait is followed by another.
const CLAIM_WAIT_MS: u64 = 20_000;

struct Ruche {
    http: reqwest::blocking::Client,
    url: String,
    key: String,
}

/// A turn that this process holds, with what every request about it shows.
struct Turn<'r> {
    ruche: &'r Ruche,
    held: Value,
    question: String,
}

/// Why a tool gave no result. Say `NothingDone` only if you know it: the effect may then be tried again.
enum ToolError {
    /// It changed nothing.
    NothingDone(String),
    /// Nobody knows, such as after a timeout: a person has to look.
    Unknown(String),
}

impl Ruche {
    fn ask(&self, query: &str, variables: &Value) -> Outcome<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let began = Instant::now();
        let text = loop {
            let request = self
                .http
                .post(format!("{}/graphql", self.url))
                .bearer_auth(&self.key);
            let request = request.header("content-type", "application/json");
            // A lost answer is asked for again: with its idempotency key a request happens once.
            match request.body(body.clone()).send().and_then(|answer| answer.text()) {
                Ok(text) => break text,
                Err(error) if began.elapsed() > REPEAT_MAX => return Err(error.into()),
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        };
        let mut answer: Value = serde_json::from_str(&text)?;
        match answer.get("errors") {
            Some(errors) => Err(errors.to_string().into()),
            None => Ok(answer["data"].take()),
        }
    }

    /// A mutation under a key of its own; the answer may be a refusal, with a `code`.
    fn mutate(&self, name: &str, fields: &str, mut input: Value) -> Outcome<Value> {
        let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        input["idempotencyKey"] = json!(new_key());
        let query = format!(
            "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename
                ... on {kind}Payload {{ {fields} }} ... on Refusal {{ code path message }} }} }}"
        );
        let began = Instant::now();
        loop {
            let answer = self.ask(&query, &json!({ "input": input }))?[name].take();
            if answer["__typename"] != "TryAgain" || began.elapsed() > REPEAT_MAX {
                return Ok(answer);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits for a turn of the agent and takes it.
    fn claim(&self, agent: &str) -> Outcome<Turn<'_>> {
        let fields = "turnId position lease { id epoch } lane { agent interlocutor channel thread }";
        let claim = loop {
            let input = json!({ "agent": agent, "waitMs": CLAIM_WAIT_MS });
            let claim = self.mutate("claimTurn", fields, input)?;
            // That is: no turn is ready.
            if claim["code"] != "ILLEGAL_TRANSITION" {
                break carried_out(claim)?;
            }
        };
        Ok(Turn {
            ruche: self,
            question: self.question(&claim)?,
            held: json!({ "lane": claim["lane"], "turnId": claim["turnId"], "lease": claim["lease"] }),
        })
    }

    /// What was said, all messages of the turn.
    fn question(&self, claim: &Value) -> Outcome<String> {
        let query = "query ($id: ID!, $at: Position, $after: String) { turn(id: $id, minPosition: $at) {
            messages(first: 100, after: $after) { nodes { role text } pageInfo { hasNextPage endCursor } } } }";
        let (mut said, mut after) = (Vec::new(), Value::Null);
        loop {
            let given = json!({ "id": claim["turnId"], "at": claim["position"], "after": after });
            let messages = self.ask(query, &given)?["turn"]["messages"].take();
            let nodes = messages["nodes"].as_array().into_iter().flatten();
            let of_person = nodes.filter(|message| message["role"] == "USER");
            said.extend(of_person.filter_map(|message| Some(message["text"].as_str()?.to_owned())));
            if messages["pageInfo"]["hasNextPage"] != true {
                return Ok(said.join("\n"));
            }
            after = messages["pageInfo"]["endCursor"].clone();
        }
    }
}

/// A key that nobody had before: the standard library's hashers begin at random. `uuid` would do as well.
fn new_key() -> String {
    let half = |part: u8| RandomState::new().hash_one(part);
    format!("{:016x}{:016x}", half(0), half(1))
}

fn carried_out(answer: Value) -> Outcome<Value> {
    match answer["code"].as_str() {
        Some(code) => Err(format!("{code}: {}", answer["message"]).into()),
        None => Ok(answer),
    }
}

/// The text for the model. What stands under a business key may be of other arguments than it asks for now.
fn told(call: &Value, text: String) -> String {
    match call["argumentsDiffer"] == true {
        true => format!(
            "{text} (That is of {}, asked for before under the same key. Nothing else was done.)",
            call["arguments"].as_str().unwrap_or_default()
        ),
        false => text,
    }
}

impl Turn<'_> {
    fn send(&self, name: &str, fields: &str, more: Value) -> Outcome<Value> {
        carried_out(self.ask_for(name, fields, more)?)
    }

    fn ask_for(&self, name: &str, fields: &str, more: Value) -> Outcome<Value> {
        let mut input = self.held.clone();
        for (member, value) in more.as_object().into_iter().flatten() {
            input[member] = value.clone();
        }
        self.ruche.mutate(name, fields, input)
    }

    fn heartbeat(&self) -> Outcome<()> {
        self.send("heartbeatTurn", "turnId", Value::Null).map(drop)
    }

    /// Keeps the turn while `work` is done, however long models and tools take.
    fn kept<T>(&self, work: impl FnOnce() -> T) -> T {
        let (over, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(HEARTBEAT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    // Refused where the turn is somebody else's: the next step of this one is told the reason.
                    drop(self.heartbeat());
                }
            });
            let done = work();
            drop(over);
            done
        })
    }

    /// Does a part of the turn once over all attempts, and gives its text: `run` is called, unless an earlier attempt has
    /// completed the step. `step_id` is your name of it, one in its turn.
    fn step(&self, step_id: &str, run: impl FnOnce() -> Outcome<String>) -> Outcome<String> {
        let begun = self.send("startStep", "state result", json!({ "stepId": step_id }))?;
        if begun["state"] == "COMPLETED" {
            return Ok(begun["result"].as_str().unwrap_or_default().to_owned());
        }
        let result = run()?;
        let done = json!({ "stepId": step_id, "result": result });
        self.send("completeStep", "stepId", done)?;
        Ok(result)
    }

    /// Calls a tool, if and when it may run. `business_key` is your name of the effect: for one interlocutor, what has one
    /// key happens once; a tool that changes nothing needs none. The tool is given the effect's key too, by which it can
    /// tell a repeat. Gives the text for the model.
    fn call(
        &self,
        tool: &str,
        arguments: &Value,
        business_key: Option<&str>,
        run: impl FnOnce(&Value, &str) -> Result<String, ToolError>,
    ) -> Outcome<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut is_last = false;
        let (call, start) = loop {
            let action =
                json!({ "tool": tool, "arguments": arguments.to_string(), "businessKey": business_key });
            let fields = "callId gate state result argumentsDiffer arguments approval { id }";
            let call = self.ask_for("proposeAction", fields, action)?;
            if call["code"] == "INVALID_INPUT" && call["path"][0] == "arguments" {
                // They do not fit the tool's schema, and the model may do better.
                return Ok(format!("Error: {}", call["message"]));
            }
            let call = carried_out(call)?;
            if call["state"] == "COMPLETED" {
                // By an earlier attempt: it is not done again.
                return Ok(told(&call, text(&call["result"])));
            }
            if call["gate"] == "APPROVAL"
                && let Some(why) = self.forbidden(&call["approval"]["id"])?
            {
                return Ok(format!("This may not happen. {why}."));
            }
            let fields = "unchanged state result permit { position effectKey arguments }";
            let start = self.ask_for("startEffect", fields, json!({ "callId": call["callId"] }))?;
            if is_last || start["code"] != "ILLEGAL_TRANSITION" || start["path"][0] == "lease" {
                break (call, carried_out(start)?);
            }
            // What was proposed and signed does not hold any more, such as the tool's schema or the reviewer's key. This call
            // never starts: it is proposed anew, once, and people are asked again.
            is_last = true;
        };
        if start["unchanged"] == true {
            // It was started before: nothing is to be run. A start that `mutate` had to repeat is not that.
            let state = format!("This is {} already.", text(&start["state"]));
            let known = start["result"].as_str().map_or(state, str::to_owned);
            return Ok(told(&call, known));
        }
        let permit = &start["permit"];
        // What was proposed and signed: under one business key that may be what an earlier attempt wanted.
        let signed: Value = serde_json::from_str(permit["arguments"].as_str().unwrap_or_default())?;
        // A process that dies from here on leaves an effect in doubt, which a person settles.
        let (outcome, answer) = match run(&signed, permit["effectKey"].as_str().unwrap_or_default()) {
            Ok(result) => (json!({ "completed": { "result": result } }), result),
            Err(ToolError::NothingDone(error)) => (
                json!({ "failed": { "errorType": "tool_error", "error": error } }),
                format!("Error: {error}"),
            ),
            Err(ToolError::Unknown(cause)) => (
                json!({ "unknown": { "cause": cause } }),
                "Nobody knows yet whether this was done.".to_owned(),
            ),
        };
        let report = json!({ "callId": call["callId"], "permit": permit["position"], "outcome": outcome });
        self.send("reportEffect", "state", report)?;
        Ok(told(&call, answer))
    }

    /// Waits until people have decided on a request, or it is over, and says why if that is a no.
    fn forbidden(&self, approval: &Value) -> Outcome<Option<String>> {
        let query = "query ($id: ID!) { approval(id: $id) { state decisionReason } }";
        loop {
            let answer = self.ruche.ask(query, &json!({ "id": approval }))?;
            let known = &answer["approval"];
            let reason = known["decisionReason"].as_str().unwrap_or("no reason is given");
            match known["state"].as_str() {
                Some("REQUESTED") => {}
                Some("REJECTED") => return Ok(Some(format!("A person said no: {reason}"))),
                Some("EXPIRED") => return Ok(Some("Nobody said yes in time".to_owned())),
                _ => return Ok(None),
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn commit(&self, answer: &str) -> Outcome<()> {
        let input = json!({ "outcome": "ANSWERED", "response": { "text": answer } });
        self.send("commitTurn", "turnId", input).map(drop)
    }

    /// Gives the turn back, so that another attempt begins at once and not when the lease is over.
    fn fail(&self, error: &dyn Error) -> Outcome<()> {
        let input = json!({ "errorType": "agent_error", "error": error.to_string(), "retryable": true });
        // Refused where the turn is over or somebody else's: then there is nothing to give back.
        self.ask_for("failTurn", "turnId", input).map(drop)
    }
}

fn main() -> Outcome<()> {
    let ruche = Ruche {
        http: reqwest::blocking::Client::builder().timeout(REPEAT_MAX).build()?,
        url: std::env::args()
            .nth(1)
            .ok_or("the address of the server is missing")?,
        key: std::env::var("KEY")?,
    };
    let turn = ruche.claim("shop")?;
    let answered = turn.kept(|| answer(&turn).and_then(|answer| turn.commit(&answer).map(|()| answer)));
    match answered {
        Ok(answer) => writeln!(std::io::stdout(), "{answer}")?,
        Err(error) => {
            turn.fail(error.as_ref())?;
            return Err(error);
        }
    }
    Ok(())
}

fn answer(turn: &Turn<'_>) -> Outcome<String> {
    let order = turn
        .question
        .split_whitespace()
        .last()
        .unwrap_or_default()
        .to_owned();
    let arguments = json!({ "order": order });
    let found = turn.step("look", || {
        turn.call("look_up_order", &arguments, None, |signed, _| {
            let order = signed["order"].as_str();
            let order = order.ok_or_else(|| ToolError::NothingDone("which order?".to_owned()))?;
            Ok(format!("order {order}: one bicycle bell, 12.50 EUR, delivered"))
        })
    })?;
    let key = format!("refund/{order}");
    let done = turn.call("refund", &arguments, Some(&key), |signed, _effect_key| {
        let order = signed["order"].as_str();
        let order = order.ok_or_else(|| ToolError::NothingDone("which order?".to_owned()))?;
        // Half of it may have been written.
        let written = writeln!(std::io::stderr(), "refunding {order}");
        written.map_err(|error| ToolError::Unknown(error.to_string()))?;
        Ok(format!("order {order} is refunded"))
    })?;
    Ok(format!("{found}. {done}."))
}
