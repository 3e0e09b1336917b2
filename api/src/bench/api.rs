//! `ruche bench api`: connections to a server, as clients have them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ruche_domain::ports::Random;
use ruche_domain::stream::{Category, StreamId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::BenchError;
use super::connection::{Connection, NoReply, Reply, Server};
use super::drive::{Answer, Caller, bar, drive};
use super::pace::Stop;
use super::read_lag::{ReadLag, ReadLagFigures};
use super::report::{Report, Shape};
use super::rows::{Dice, EVENT_TYPE};
use crate::error_codes as code;
use crate::limits::BENCH_STREAM_EVENTS;

/// The same mutation for one event and for many, as clients send it.
const MUTATION: &str = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) { __typename \
    ... on AppendEventsPayload { duplicate position receipts { leafHash } } \
    ... on Refusal { code message retryAfterMs } } }";

/// Code of a refusal where others were first, again and again.
const CONTENTION: &str = "CONTENTION";

/// Code of a refusal after which only the same idempotency key finds out.
const UNKNOWN_OUTCOME: &str = "UNKNOWN_OUTCOME";

/// Bytes of an answer that is not understood, as far as it is told.
const TOLD_BYTES_MAX: usize = 200;

/// What is sent, where to, and how.
pub struct ApiBench {
    server: Arc<Server>,
    connections: usize,
    shape: Shape,
    with_read_lag: bool,
}

impl ApiBench {
    /// To `url`, with a key that may write, over so many connections, each with one request under way. `with_read_lag`
    /// also looks how far read models are behind, with a key that may read as well.
    ///
    /// # Errors
    /// When the URL or the key is none.
    pub fn new(
        url: &str,
        key: &str,
        connections: usize,
        shape: Shape,
        with_read_lag: bool,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            server: Arc::new(Server::new(url, key)?),
            connections,
            shape,
            with_read_lag,
        })
    }

    /// Appends to the ledger of the key and measures.
    ///
    /// # Errors
    /// When the server does not take an append, or nothing could be measured.
    pub async fn run(&self, random: &dyn Random, stop: &Stop) -> Result<Report, BenchError> {
        let mut callers: Vec<ApiCaller> = (0..self.connections)
            .map(|_| ApiCaller::new(self.server.clone(), random, &self.shape))
            .collect();
        self.try_one(&mut callers[0]).await?;
        let callers = callers
            .into_iter()
            .map(|caller| Box::new(caller) as Box<dyn Caller>)
            .collect();
        let load = self.shape.load;
        let lag_ends = Stop::default();
        let lag = match self.with_read_lag {
            true => Some(self.look_at_read_models(random, &lag_ends).await?),
            false => None,
        };
        let driven = drive(callers, load, stop, bar("sending", &load)).await;
        lag_ends.set();
        let before = self.shape.batch as u64;
        let mut report = Report::new("api", self.connections, &self.shape, &driven?, before, stop)?;
        if let Some(lag) = lag {
            let figures = lag.await;
            let figures =
                figures.map_err(|error| BenchError::because("the look at read models died", &error))?;
            report.events_appended += figures.read_lag_appended;
            report.read_lag = Some(figures);
        }
        Ok(report)
    }

    /// Begins to look at read models, until `ends`.
    async fn look_at_read_models(
        &self,
        random: &dyn Random,
        ends: &Stop,
    ) -> Result<tokio::task::JoinHandle<ReadLagFigures>, BenchError> {
        let mut lag = ReadLag::new(self.server.clone(), random);
        lag.try_one().await.map_err(|reason| {
            BenchError(format!(
                "the read models cannot be looked at: {reason}. --read-lag wants a key with the role reader beside writer"
            ))
        })?;
        let measured_from = Instant::now() + self.shape.load.warm_up;
        Ok(tokio::spawn(lag.run(measured_from, ends.clone())))
    }

    /// One append, so that what is wrong with all of them is told at once.
    async fn try_one(&self, caller: &mut ApiCaller) -> Result<(), BenchError> {
        caller.prepare().map_err(BenchError)?;
        match caller.send().await {
            Answer::Durable => Ok(()),
            Answer::Failed(reason) => Err(BenchError(format!(
                "the server does not take an append: {reason}. Is it running, is --url its address, and does the key \
                 have the role writer? `ruche keys new --tenant bench --role writer` makes one"
            ))),
            other => Err(BenchError(format!(
                "the server does not take one append, even without load ({other:?}); look at its log and at /ready"
            ))),
        }
    }
}

struct ApiCaller {
    connection: Connection,
    dice: Dice,
    batch: usize,
    payload_bytes: usize,
    stream: StreamId,
    /// Version that its next event gets.
    next: u64,
    body: Bytes,
    sends: u32,
}

impl ApiCaller {
    fn new(server: Arc<Server>, random: &dyn Random, shape: &Shape) -> Self {
        let mut dice = Dice::new(random);
        Self {
            connection: Connection::new(server),
            stream: StreamId::new(Category::Goal, dice.uuid()),
            dice,
            batch: shape.batch,
            payload_bytes: shape.payload_bytes,
            next: 0,
            body: Bytes::new(),
            sends: 0,
        }
    }

    fn renew(&mut self) {
        self.stream = StreamId::new(Category::Goal, self.dice.uuid());
        self.next = 0;
    }

    fn understood(&mut self, reply: &Reply) -> Answer {
        let outcome = match outcome(reply) {
            Ok(outcome) => outcome,
            Err(answer) => return answer,
        };
        match outcome.kind.as_str() {
            "AppendEventsPayload" => {
                self.next += self.batch as u64;
                let receipts = outcome.receipts.map_or(0, |receipts| receipts.len());
                if receipts != self.batch {
                    return Answer::Failed(format!("{receipts} receipts for {} events", self.batch));
                }
                if outcome.duplicate == Some(true) && self.sends == 1 {
                    return Answer::Failed("answered as a duplicate, and was sent for the first time".into());
                }
                Answer::Durable
            }
            "WrongExpectedVersion" => {
                self.renew();
                Answer::Conflict
            }
            _ => outcome.refusal(),
        }
    }
}

#[async_trait]
impl Caller for ApiCaller {
    fn prepare(&mut self) -> Result<(), String> {
        if self.next >= BENCH_STREAM_EVENTS {
            self.renew();
        }
        let events: Result<Vec<_>, _> = (0..self.batch)
            .map(|_| {
                let payload = serde_json::from_slice(&self.dice.payload(self.payload_bytes))?;
                let payload: Box<serde_json::value::RawValue> = payload;
                serde_json::value::to_raw_value(&json!({ "type": EVENT_TYPE, "data": { "json": payload } }))
            })
            .collect();
        let events = events.map_err(|error| error.to_string())?;
        let version = self.next.cast_signed() - 1;
        let body = json!({
            "query": MUTATION,
            "variables": { "input": {
                "idempotencyKey": format!("bench-{}", self.dice.uuid()),
                "target": { "stream": self.stream.to_string() },
                "expectedVersion": version,
                "events": events,
            } },
        });
        self.body = body.to_string().into();
        self.sends = 0;
        Ok(())
    }

    async fn send(&mut self) -> Answer {
        self.sends += 1;
        match self.connection.post(self.body.clone()).await {
            Ok(reply) => self.understood(&reply),
            Err(NoReply::NotSent(reason)) => Answer::Failed(reason),
            // The same key finds out.
            Err(NoReply::Lost) => Answer::Unknown { may_ask_again: true },
        }
    }

    fn events(&self) -> u64 {
        self.batch as u64
    }
}

#[derive(Deserialize)]
struct Answered {
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "appendEvents")]
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(rename = "__typename")]
    kind: String,
    duplicate: Option<bool>,
    receipts: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Fault {
    message: String,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Default, Deserialize)]
struct Extensions {
    #[serde(default)]
    code: String,
}

impl Outcome {
    fn refusal(self) -> Answer {
        refusal(&self.code, &self.message, self.retry_after_ms)
    }
}

/// What a refusal of a mutation comes to.
pub(super) fn refusal(code: &str, message: &str, retry_after_ms: Option<u64>) -> Answer {
    match code {
        code::OVERLOADED => Answer::Overloaded(Duration::from_millis(retry_after_ms.unwrap_or_default())),
        UNKNOWN_OUTCOME => Answer::Unknown { may_ask_again: true },
        CONTENTION => Answer::Conflict,
        _ => Answer::Failed(format!("{code}: {message}")),
    }
}

/// What an answer without data comes to.
fn faulty(reply: &Reply, code: &str, message: &str) -> Answer {
    match code {
        code::OVERLOADED => Answer::Overloaded(Duration::from_secs(reply.retry_after_s.unwrap_or_default())),
        code => Answer::Failed(format!("answered {}: {code}: {message}", reply.status)),
    }
}

/// What is told of an answer that is not understood.
fn not_understood(reply: &Reply) -> Answer {
    let told = String::from_utf8_lossy(&reply.body[..reply.body.len().min(TOLD_BYTES_MAX)]);
    Answer::Failed(format!("answered {}: {told}", reply.status))
}

/// What a mutation of this name came to, its members as they are, or what is said where there was none. A refusal is
/// none.
pub(super) fn payload(reply: &Reply, mutation: &str) -> Result<Value, Answer> {
    let Ok(mut answered) = serde_json::from_slice::<Value>(&reply.body) else {
        return Err(not_understood(reply));
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(fault) = answered["errors"].get(0) {
        let code = text(&fault["extensions"]["code"]);
        return Err(faulty(reply, &code, &text(&fault["message"])));
    }
    let outcome = answered["data"][mutation].take();
    match outcome["code"].as_str() {
        Some(code) => Err(refusal(
            code,
            &text(&outcome["message"]),
            outcome["retryAfterMs"].as_u64(),
        )),
        None if outcome.is_null() => Err(not_understood(reply)),
        None => Ok(outcome),
    }
}

/// What the mutation came to, or what is said where there was none.
fn outcome(reply: &Reply) -> Result<Outcome, Answer> {
    let Ok(answered) = serde_json::from_slice::<Answered>(&reply.body) else {
        return Err(not_understood(reply));
    };
    if let Some(fault) = answered.errors.into_iter().next() {
        return Err(faulty(reply, &fault.extensions.code, &fault.message));
    }
    let outcome = answered.data.and_then(|data| data.outcome);
    outcome.ok_or_else(|| Answer::Failed(format!("answered {} without data", reply.status)))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use ruche_ledger::testing::SeededRandom;

    use super::super::drive::Load;
    use super::*;

    fn caller(batch: usize) -> ApiCaller {
        let server = Server::new("http://127.0.0.1:1", "ruche_key").unwrap();
        let load = Load {
            warm_up: Duration::ZERO,
            measured: Duration::ZERO,
            schedule: None,
        };
        let shape = Shape {
            batch,
            payload_bytes: 600,
            rate_events_per_s: None,
            load,
        };
        ApiCaller::new(Arc::new(server), &SeededRandom::new(1), &shape)
    }

    fn answer(caller: &mut ApiCaller, status: u16, body: &str) -> Answer {
        caller.sends = 1;
        caller.understood(&Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after_s: Some(1),
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    fn refused(kind: &str, code: &str) -> String {
        json!({ "data": { "appendEvents": {
            "__typename": kind, "code": code, "message": "no", "retryAfterMs": 250,
        } } })
        .to_string()
    }

    fn payload(receipts: usize, is_duplicate: bool) -> String {
        let receipts = vec![json!({ "leafHash": "00" }); receipts];
        json!({ "data": { "appendEvents": {
            "__typename": "AppendEventsPayload", "duplicate": is_duplicate, "position": "1:7", "receipts": receipts,
        } } })
        .to_string()
    }

    #[test]
    fn only_a_receipt_for_every_event_is_throughput() {
        let mut caller = caller(2);
        assert_eq!(answer(&mut caller, 200, &payload(2, false)), Answer::Durable);
        assert_eq!(caller.next, 2);
        for body in [
            &payload(1, false),
            &payload(2, true),
            "",
            "{}",
            r#"{"data":null}"#,
        ] {
            let answer = answer(&mut caller, 200, body);
            assert!(matches!(answer, Answer::Failed(_)), "{body}: {answer:?}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let mut caller = caller(1);
        let hint = Duration::from_millis(250);
        for (kind, code, expected) in [
            ("TryAgain", "OVERLOADED", Answer::Overloaded(hint)),
            (
                "TryAgain",
                "UNKNOWN_OUTCOME",
                Answer::Unknown { may_ask_again: true },
            ),
            ("WrongExpectedVersion", "WRONG_EXPECTED_VERSION", Answer::Conflict),
            (
                "InvalidInput",
                "INVALID",
                Answer::Failed("INVALID: no".to_owned()),
            ),
        ] {
            assert_eq!(answer(&mut caller, 200, &refused(kind, code)), expected, "{code}");
        }
        let faults = r#"{"errors":[{"message":"full","extensions":{"code":"OVERLOADED"}}]}"#;
        let second = Duration::from_secs(1);
        assert_eq!(answer(&mut caller, 503, faults), Answer::Overloaded(second));
        let faults = r#"{"errors":[{"message":"who?","extensions":{"code":"UNAUTHENTICATED"}}]}"#;
        let told = "answered 401 Unauthorized: UNAUTHENTICATED: who?".to_owned();
        assert_eq!(answer(&mut caller, 401, faults), Answer::Failed(told));
    }

    #[test]
    fn a_request_says_where_its_stream_stands() {
        let mut caller = caller(2);
        let mut versions = Vec::new();
        for _ in 0..2 {
            caller.prepare().unwrap();
            let body: serde_json::Value = serde_json::from_slice(&caller.body).unwrap();
            let input = &body["variables"]["input"];
            let stream = input["target"]["stream"].as_str().unwrap();
            assert_eq!(stream.parse(), Ok(caller.stream));
            assert_eq!(input["events"].as_array().unwrap().len(), 2);
            let data = input["events"][0]["data"]["json"].to_string();
            assert_eq!(data.len(), 600, "{data}");
            versions.push(input["expectedVersion"].as_i64().unwrap());
            answer(&mut caller, 200, &payload(2, false));
        }
        assert_eq!(versions, [-1, 1]);
    }
}
