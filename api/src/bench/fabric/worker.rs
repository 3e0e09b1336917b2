//! One agent of `ruche bench fabric`: it takes turns of its lanes, runs two tools in each, answers, and the person at the
//! other end writes the next message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ruche_domain::ports::Random;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::api::payload;
use super::super::connection::{Connection, NoReply, Server};
use super::super::drive::{Answer, Caller};
use super::super::latency::Latencies;
use super::super::rows::Dice;
use crate::limits::{BENCH_CLAIM_WAIT_MS, BENCH_HINT_WAIT_MAX, BENCH_SENDS_MAX};

/// The channel of all lanes: no window, one turn behind the other.
const CHANNEL: &str = "api";
/// A tool that changes nothing, and one that does a thing once under its key.
pub const TOOLS: [(&str, &str); 2] = [("bench_look_up", "PURE"), ("bench_write_down", "IDEMPOTENT")];

/// How long each kind of request took, of all agents.
pub type Steps = Arc<Mutex<BTreeMap<&'static str, Latencies>>>;

/// The requests of a turn, in their order. A turn begins with a claim and ends with the message for the next one, so
/// that as many lanes as before have a turn that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim,
    Propose(usize),
    Start(usize),
    Report(usize),
    Commit,
    Submit,
}

impl Step {
    fn mutation(self) -> (&'static str, &'static str) {
        match self {
            Self::Claim => (
                "claimTurn",
                "turnId lease { id epoch } lane { agent interlocutor channel }",
            ),
            Self::Propose(_) => ("proposeAction", "callId"),
            Self::Start(_) => ("startEffect", "permit { position }"),
            Self::Report(_) => ("reportEffect", "position"),
            Self::Commit => ("commitTurn", "position"),
            Self::Submit => ("submitMessage", "turnId"),
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Claim => Some(Self::Propose(0)),
            Self::Propose(tool) => Some(Self::Start(tool)),
            Self::Start(tool) => Some(Self::Report(tool)),
            Self::Report(tool) if tool + 1 < TOOLS.len() => Some(Self::Propose(tool + 1)),
            Self::Report(_) => Some(Self::Commit),
            Self::Commit => Some(Self::Submit),
            Self::Submit => None,
        }
    }
}

/// An agent with a connection of its own.
pub struct Worker {
    connection: Connection,
    dice: Dice,
    agent: String,
    session: String,
    payload_bytes: usize,
    steps: Steps,
    /// Requests that began before are not measured.
    measured_from: Instant,
    at: Step,
    /// The request, which is sent again as it is if its answer does not stand.
    input: Value,
    turn: Turn,
}

/// What is known of the turn that is worked on.
#[derive(Default)]
struct Turn {
    held: Value,
    call: Value,
    permit: Value,
}

impl Worker {
    /// The agent of this number under the name of this number; `label` tells the ones of this run from all others.
    pub fn new(
        server: Arc<Server>,
        random: &dyn Random,
        (label, number, name): (&str, usize, usize),
        payload_bytes: usize,
        (steps, measured_from): (Steps, Instant),
    ) -> Self {
        Self {
            connection: Connection::new(server),
            dice: Dice::new(random),
            agent: format!("{label}-agent-{name}"),
            session: format!("{label}-session-{number}"),
            payload_bytes,
            steps,
            measured_from,
            at: Step::Claim,
            input: Value::Null,
            turn: Turn::default(),
        }
    }

    /// From when on requests are measured.
    pub fn measure_from(&mut self, at: Instant) {
        self.measured_from = at;
    }

    /// Starts the session of the agent and gives each of its lanes a turn.
    ///
    /// # Errors
    /// What the server said.
    pub async fn open(&mut self, lanes: usize) -> Result<(), Answer> {
        let key = self.session.clone();
        let input = json!({ "idempotencyKey": key, "externalId": key });
        self.until_it_stands("startSession", input, "position").await?;
        for lane in 0..lanes {
            // Agents of one name have lanes of their own to open, and claim whichever is ready.
            let person = format!("{}-person-{lane}", self.session);
            let lane = json!({ "agent": self.agent, "interlocutor": person, "channel": CHANNEL });
            let mut input = self.message(&lane);
            input["idempotencyKey"] = json!(self.dice.uuid().to_string());
            self.until_it_stands("submitMessage", input, "turnId").await?;
        }
        Ok(())
    }

    /// Registers the tools. One agent does it for all.
    ///
    /// # Errors
    /// What the server said.
    pub async fn register_tools(&mut self) -> Result<(), Answer> {
        for (name, side_effect) in TOOLS {
            // As long as nothing changes, registering it again writes nothing.
            let key = self.dice.uuid().to_string();
            let input = json!({ "idempotencyKey": key, "name": name, "sideEffect": side_effect });
            self.until_it_stands("registerTool", input, "position").await?;
        }
        Ok(())
    }

    async fn until_it_stands(&mut self, mutation: &str, input: Value, fields: &str) -> Result<Value, Answer> {
        let mut sends = 0;
        loop {
            sends += 1;
            match self.ask((mutation, fields), &input).await {
                Err(Answer::Overloaded(hint)) if sends < BENCH_SENDS_MAX => {
                    tokio::time::sleep(hint.min(BENCH_HINT_WAIT_MAX)).await;
                }
                Err(Answer::Unknown { .. } | Answer::Conflict) if sends < BENCH_SENDS_MAX => {}
                done => return done,
            }
        }
    }

    async fn ask(&mut self, (mutation, fields): (&str, &str), input: &Value) -> Result<Value, Answer> {
        let kind = format!("{}{}", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation ($input: {kind}Input!) {{ {mutation}(input: $input) {{ __typename ... on {kind}Payload {{ \
             {fields} }} ... on Refusal {{ code message retryAfterMs }} }} }}"
        );
        let body = json!({ "query": query, "variables": { "input": input } }).to_string();
        match self.connection.post(body.into()).await {
            Ok(reply) => payload(&reply, mutation),
            Err(NoReply::NotSent(reason)) => Err(Answer::Failed(reason)),
            Err(NoReply::Lost) => Err(Answer::Unknown { may_ask_again: true }),
        }
    }

    fn words(&mut self) -> String {
        String::from_utf8_lossy(&self.dice.payload(self.payload_bytes)).into_owned()
    }

    fn message(&mut self, lane: &Value) -> Value {
        let text = self.words();
        json!({ "session": { "externalId": self.session }, "lane": lane, "text": text })
    }

    fn begin(&mut self, step: Step) {
        self.at = step;
        let mut input = match step {
            Step::Claim => json!({ "agent": self.agent, "waitMs": BENCH_CLAIM_WAIT_MS }),
            Step::Submit => self.message(&self.turn.held["lane"].clone()),
            _ => self.turn.held.clone(),
        };
        input["idempotencyKey"] = json!(self.dice.uuid().to_string());
        match step {
            Step::Claim | Step::Submit => {}
            Step::Propose(tool) => {
                input["tool"] = json!(TOOLS[tool].0);
                input["arguments"] = json!(self.words());
                input["businessKey"] = json!(self.dice.uuid().to_string());
            }
            Step::Start(_) => input["callId"] = self.turn.call.clone(),
            Step::Report(_) => {
                input["callId"] = self.turn.call.clone();
                input["permit"] = self.turn.permit.clone();
                input["outcome"] = json!({ "completed": { "result": self.words() } });
            }
            Step::Commit => input["response"] = json!({ "text": self.words() }),
        }
        self.input = input;
    }

    /// One request; what is learnt from it is kept for those behind it.
    async fn step(&mut self) -> Result<(), Answer> {
        let began = Instant::now();
        let (mutation, fields) = self.at.mutation();
        let input = std::mem::take(&mut self.input);
        let asked = self.ask((mutation, fields), &input).await;
        self.input = input;
        let mut done = asked?;
        if began >= self.measured_from {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.entry(mutation).or_default().record(began.elapsed());
        }
        match self.at {
            Step::Claim => {
                let (turn, lease, lane) = (done["turnId"].take(), done["lease"].take(), done["lane"].take());
                self.turn.held = json!({ "lane": lane, "turnId": turn, "lease": lease });
            }
            Step::Propose(_) => self.turn.call = done["callId"].take(),
            Step::Start(_) => self.turn.permit = done["permit"]["position"].take(),
            Step::Report(_) | Step::Commit | Step::Submit => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Caller for Worker {
    fn prepare(&mut self) -> Result<(), String> {
        self.begin(Step::Claim);
        Ok(())
    }

    /// Goes on with the request whose answer did not stand, under its key.
    async fn send(&mut self) -> Answer {
        loop {
            if let Err(answer) = self.step().await {
                return answer;
            }
            let Some(next) = self.at.next() else {
                return Answer::Durable;
            };
            self.begin(next);
        }
    }

    /// One turn.
    fn events(&self) -> u64 {
        1
    }
}
