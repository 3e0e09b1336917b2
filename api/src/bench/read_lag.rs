//! How far read models are behind, as a client sees it: under the load of a bench, one more client appends an event every
//! [`BENCH_READ_LAG_INTERVAL`] and asks at once for read models that hold it.

use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ports::Random;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::api::payload;
use super::connection::{Connection, NoReply, Reply, Server};
use super::drive::Answer;
use super::latency::Latencies;
use super::pace::Stop;
use super::rows::{Dice, EVENT_TYPE};
use crate::limits::{BENCH_PAYLOAD_BYTES_MIN, BENCH_READ_LAG_INTERVAL};

const APPEND: &str = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) { __typename \
    ... on AppendEventsPayload { position } ... on Refusal { code message retryAfterMs } } }";

/// Two fields, which wait for six of the read models together: all that a page of sessions reads, and the counters.
const READ: &str = "query ($position: Position!) { \
    ledger { health(minPosition: $position) { appendedRecords } } \
    sessions(first: 1, minPosition: $position) { nodes { id } } }";

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct ReadLagFigures {
    /// Events that were appended in the measured time and found in the read models.
    pub read_lag_samples: u64,
    /// Events that were appended to look for them, of the whole run.
    pub read_lag_appended: u64,
    /// From the answer of the append to that of the read models: half of them, milliseconds.
    pub read_lag_p50_ms: Option<f64>,
    /// 99 of 100.
    pub read_lag_p99_ms: Option<f64>,
    /// All of them.
    pub read_lag_max_ms: Option<f64>,
    /// Appends or reads that were refused or lost; they are in no figure.
    pub read_lag_failed: u64,
    /// What the first of them was answered.
    pub read_lag_first_error: Option<String>,
}

/// One client beside the load.
pub(super) struct ReadLag {
    connection: Connection,
    dice: Dice,
    appended: u64,
}

impl ReadLag {
    pub(super) fn new(server: Arc<Server>, random: &dyn Random) -> Self {
        Self {
            connection: Connection::new(server),
            dice: Dice::new(random),
            appended: 0,
        }
    }

    /// One sample, so that a key that may not read is told at once.
    ///
    /// # Errors
    /// What was answered.
    pub(super) async fn try_one(&mut self) -> Result<(), String> {
        self.sample().await.map(drop)
    }

    /// Samples until `stop`; only those that begin from `measured_from` on count.
    pub(super) async fn run(mut self, measured_from: Instant, stop: Stop) -> ReadLagFigures {
        let mut latencies = Latencies::default();
        let mut figures = ReadLagFigures::default();
        let mut ticks = interval(BENCH_READ_LAG_INTERVAL);
        while !stop.is_set() {
            ticks.tick().await;
            let is_measured = Instant::now() >= measured_from;
            match self.sample().await {
                Ok(took) if is_measured => latencies.record(took),
                Ok(_) => {}
                Err(reason) => {
                    figures.read_lag_failed += 1;
                    figures.read_lag_first_error.get_or_insert(reason);
                }
            }
        }
        figures.read_lag_samples = latencies.count();
        figures.read_lag_appended = self.appended;
        if let Some(latency) = latencies.figures() {
            figures.read_lag_p50_ms = Some(latency.latency_p50_ms);
            figures.read_lag_p99_ms = Some(latency.latency_p99_ms);
            figures.read_lag_max_ms = Some(latency.latency_max_ms);
        }
        figures
    }

    async fn sample(&mut self) -> Result<Duration, String> {
        let data: Value = serde_json::from_slice(&self.dice.payload(BENCH_PAYLOAD_BYTES_MIN))
            .map_err(|error| error.to_string())?;
        let append = json!({ "query": APPEND, "variables": { "input": {
            "idempotencyKey": format!("bench-{}", self.dice.uuid()),
            "target": { "stream": StreamId::new(Category::Goal, self.dice.uuid()).to_string() },
            "expectedVersion": -1,
            "events": [{ "type": EVENT_TYPE, "data": { "json": data } }],
        } } });
        let appended = payload(&self.post(append).await?, "appendEvents").map_err(|answer| told(&answer))?;
        let durable = Instant::now();
        self.appended += 1;
        let position = &appended["position"];
        let read = json!({ "query": READ, "variables": { "position": position } });
        payload(&self.post(read).await?, "ledger").map_err(|answer| told(&answer))?;
        Ok(durable.elapsed())
    }

    async fn post(&mut self, body: Value) -> Result<Reply, String> {
        let reply = self.connection.post(body.to_string().into()).await;
        reply.map_err(|no_reply| match no_reply {
            NoReply::NotSent(reason) => reason,
            NoReply::Lost => "no answer".to_owned(),
        })
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Failed(reason) => reason.clone(),
        other => format!("{other:?}"),
    }
}
