//! The data set: told through the same commands as everybody's, and followed by the read models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use ruche_commands::append::{AppendEvents, AppendTarget, ClientEvent, OwnCategory};
use ruche_commands::command::{Command, CommandReceipt};
use ruche_commands::configuration::digest;
use ruche_commands::turn::{RecordSession, StrayAnswers};
use ruche_commands::{CommandContext, Commands};
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::measures::Digest;
use ruche_projections::projection;
use ruche_projections::runner::Runner;
use serde::Serialize;
use serde_json::{Value, json};

use super::expected::{Expected, events_of_facts, events_of_session};
use super::story::{Fact, MODELS, ReadSession, StoryName, person_id};
use crate::app::App;
use crate::bench::BenchError;
use crate::bench::pace::Stop;
use crate::bench::tally::rate;
use crate::demo::{record, settings};
use crate::limits::SESSIONS_AT_ONCE_MAX;
use crate::out::progress;

/// Where a data set is made.
pub(crate) struct DataSet<'a> {
    /// The application.
    pub app: &'a App,
    /// The tenant, which has nothing else.
    pub tenant: TenantId,
    /// Which data set.
    pub story: StoryName,
}

/// How fast the data set was made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Made {
    /// Events that were appended now; those of an earlier run are not among them.
    pub events: u64,
    /// Seconds.
    pub took_s: f64,
    /// Events in a second.
    pub events_per_s: f64,
}

/// How fast read models followed.
#[derive(Clone, Debug, Serialize)]
pub struct Followed {
    /// `all`, or the name of the projection that followed by itself.
    pub projection: &'static str,
    /// Records that they read.
    pub records: u64,
    /// Seconds.
    pub took_s: f64,
    /// Records in a second.
    pub records_per_s: f64,
    /// Seconds of processor time of this process, where the system tells it.
    pub cpu_s: Option<f64>,
}

impl DataSet<'_> {
    /// Tells what is missing of the story, and counts all of it.
    ///
    /// # Errors
    /// When a command is refused, or the records are not those of the story.
    pub async fn make(&self, stop: &Stop) -> Result<(Expected, Option<Made>), BenchError> {
        let ledger = LedgerId::main_of(self.tenant);
        let counted = Expected::counted(self.story, stop);
        if stop.is_set() {
            return Err(BenchError("stopped before the data set was made".to_owned()));
        }
        let ensured = self.app.ensure_ledger(self.tenant).await;
        ensured.map_err(|error| BenchError::because("the ledger of the data set", &error))?;
        let wanted = 1 + self.settings_count() + counted.events;
        let there = self.records(ledger).await?;
        // What is there was told in order, but for the sessions that were under way at the same time. Beside it stand API keys.
        let from = match there >= wanted {
            true => counted.sessions.saturating_sub(2 * SESSIONS_AT_ONCE_MAX as u64),
            false => 0,
        };
        let made = self.tell(&counted, from, stop).await?;
        let there = self.records(ledger).await?;
        if stop.is_set() {
            return Err(BenchError(format!(
                "stopped with {there} of {wanted} records made; the same call goes on"
            )));
        }
        if there < wanted {
            return Err(BenchError(format!(
                "the data set came to {there} records, and the story has {wanted}"
            )));
        }
        Ok((counted, (made.events > 0).then_some(made)))
    }

    async fn records(&self, ledger: LedgerId) -> Result<u64, BenchError> {
        let head = self.app.events.head(ledger).await;
        let head = head.map_err(|error| BenchError::because("the end of the ledger", &error))?;
        Ok(head.map_or(0, |head| head.size.0))
    }

    /// Tools and prices, in one event each.
    fn settings_count(&self) -> u64 {
        settings::tools().len() as u64 + 1
    }

    /// Tells the story from a session on. What is there already is found by its key.
    async fn tell(&self, counted: &Expected, from: u64, stop: &Stop) -> Result<Made, BenchError> {
        let teller = Teller {
            commands: self.app.commands.clone(),
            tenant: self.tenant,
            prices: prices_digest(),
        };
        let started = Instant::now();
        let mut appended = teller.settle().await?;
        let bar = progress(counted.sessions - from, "making sessions");
        let told = stream::iter(from..counted.sessions)
            .take_while(|_| std::future::ready(!stop.is_set()))
            .map(|n| {
                let (teller, story) = (teller.clone(), self.story);
                // A task of its own, so that sessions are made on all cores.
                async move {
                    tokio::spawn(async move { teller.session(&story.session(n)).await })
                        .await
                        .map_err(|error| BenchError::because("who makes the data set died", &error))?
                }
            })
            .buffer_unordered(SESSIONS_AT_ONCE_MAX)
            .try_fold(0_u64, |sum, new| {
                bar.inc(1);
                std::future::ready(Ok(sum + new))
            })
            .await;
        bar.finish_and_clear();
        appended += told?;
        let took = started.elapsed();
        Ok(Made {
            events: appended,
            took_s: took.as_secs_f64(),
            events_per_s: rate(appended, took).unwrap_or_default(),
        })
    }
}

/// Carries out the commands of a story.
#[derive(Clone)]
struct Teller {
    commands: Arc<Commands>,
    tenant: TenantId,
    prices: Digest,
}

impl Teller {
    /// Registers the tools and publishes the prices. Gives how many events that took now.
    async fn settle(&self) -> Result<u64, BenchError> {
        let mut appended = 0;
        for tool in settings::tools() {
            appended += new(&self.execute(&format!("tool/{}", tool.tool.name), &tool).await?);
        }
        let prices = settings::tenant("prices.llm", json!(prices()));
        Ok(appended + new(&self.execute("prices", &prices).await?))
    }

    /// Records a session and its facts. Gives how many events of it are new.
    async fn session(&self, session: &ReadSession) -> Result<u64, BenchError> {
        let id = &session.told.external_id;
        let whole = RecordSession {
            start: record::start(&session.told),
            turns: session
                .told
                .turns
                .iter()
                .map(|turn| record::turn(&session.told, turn, self.prices).turn)
                .collect(),
            end: record::end(&session.told),
            scores: record::rating(&session.told).map_or_else(Vec::new, |rating| rating.scores),
            stray_answers: StrayAnswers::default(),
        };
        let recorded = self.execute(id, &whole).await?;
        same(id, recorded.events.len(), events_of_session(session))?;
        let mut appended = new(&recorded);
        if !session.facts.is_empty() {
            let facts = AppendEvents {
                target: AppendTarget::Named {
                    category: OwnCategory::Memory,
                    external_id: person_id(session.person),
                },
                expected: None,
                held: None,
                events: session
                    .facts
                    .iter()
                    .flat_map(|fact| events_of(fact, session.person))
                    .collect(),
            };
            let written = self.execute(&format!("{id}/facts"), &facts).await?;
            same(id, written.events.len(), events_of_facts(session))?;
            appended += new(&written);
        }
        Ok(appended)
    }

    async fn execute<C: Command>(&self, key: &str, command: &C) -> Result<CommandReceipt, BenchError> {
        let key = format!("bench-read/{key}");
        let context = CommandContext::new(self.tenant, Actor::SYSTEM, Provenance::Simulated, key);
        let done = self.commands.execute(&context, command).await;
        done.map_err(|error| BenchError::because("making the data set", &error))
    }
}

fn new(receipt: &CommandReceipt) -> u64 {
    match receipt.duplicate || receipt.unchanged {
        true => 0,
        false => receipt.events.len() as u64,
    }
}

fn same(session: &str, found: usize, counted: u64) -> Result<(), BenchError> {
    match found as u64 == counted {
        true => Ok(()),
        false => Err(BenchError(format!(
            "session {session} came to {found} events, and {counted} were counted"
        ))),
    }
}

/// What is written of a fact: itself, its other words, and that it does not hold any more.
fn events_of(fact: &Fact, person: u64) -> Vec<ClientEvent> {
    let event = |event_type: &str, payload: Value| {
        let mut event = ClientEvent::json(event_type, &payload);
        event.occurred_at = Some(fact.at);
        event
    };
    let content = |content: &str| {
        json!({ "record_id": fact.record, "about": person_id(person), "attribute": fact.attribute, "content": content,
            "valid_from": fact.at.0, "source_event_ids": [] })
    };
    let mut events = vec![event("memory.written", content(&fact.content))];
    if fact.is_updated {
        let said = format!("{} now", fact.content);
        events.push(event("memory.updated", content(&said)));
    }
    if fact.is_taken_back {
        let payload = json!({ "record_id": fact.record, "reason": "contradicted", "valid_to": fact.at.0 });
        events.push(event("memory.invalidated", payload));
    }
    events
}

/// US dollars for a million tokens, by model.
fn prices() -> BTreeMap<String, Value> {
    let dollars = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    let price = |(model, cents_in, cents_out): &(&str, u64, u64)| {
        let price = json!({ "input": dollars(*cents_in), "output": dollars(*cents_out), "currency": "USD" });
        ((*model).to_owned(), price)
    };
    MODELS.iter().map(price).collect()
}

fn prices_digest() -> Digest {
    digest(&prices())
}

/// Brings the read models to the end of the ledger; gives nothing where they were there. Projections that follow one by one
/// read the ledger as often as there are projections.
///
/// # Errors
/// When they cannot follow, or the run was stopped.
pub(crate) async fn follow(
    app: &App,
    ledger: LedgerId,
    by_projection: bool,
    stop: &Stop,
) -> Result<Vec<Followed>, BenchError> {
    let mut followed = Vec::new();
    if by_projection {
        for projection in projection::all() {
            let runner = Runner::with(app.events.clone(), app.runner.store().clone(), vec![projection]);
            followed.extend(catch_up(&runner, ledger, projection.name(), stop).await?);
        }
    }
    // That of the application knows where they stand afterwards, and tells those who wait.
    followed.extend(catch_up(&app.runner, ledger, "all", stop).await?);
    Ok(followed)
}

async fn catch_up(
    runner: &Runner,
    ledger: LedgerId,
    projection: &'static str,
    stop: &Stop,
) -> Result<Option<Followed>, BenchError> {
    let failed = |error: &dyn std::error::Error| BenchError::because("the read models cannot follow", error);
    let lags = runner.lag(ledger).await.map_err(|error| failed(&error))?;
    let behind = lags.iter().map(|lag| lag.records).max().unwrap_or_default();
    let bar = progress(behind, "making read models");
    let (started, cpu, mut records) = (Instant::now(), cpu_time(), 0);
    loop {
        if stop.is_set() {
            return Err(BenchError(
                "stopped while read models were made; the same call goes on".to_owned(),
            ));
        }
        let run = runner.run_once(ledger).await.map_err(|error| failed(&error))?;
        if run.parked > 0 {
            return Err(BenchError(format!(
                "{} read models are parked before an event that they cannot take in",
                run.parked
            )));
        }
        records += run.records_read as u64;
        bar.set_position(records);
        if run.is_idle() {
            break;
        }
    }
    bar.finish_and_clear();
    let took = started.elapsed();
    let cpu_s = cpu_time()
        .zip(cpu)
        .map(|(end, start)| end.saturating_sub(start).as_secs_f64());
    Ok((records > 0).then(|| Followed {
        projection,
        records,
        took_s: took.as_secs_f64(),
        records_per_s: rate(records, took).unwrap_or_default(),
        cpu_s,
    }))
}

/// Processor time of this process so far, where the system tells it in hundredths of seconds (Linux).
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}
