//! `ruche bench append`: callers in this process, on an engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{BATCH_EVENTS_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{LeafIndex, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, PreparedEvent, Record, StoreError,
};

use super::BenchError;
use super::drive::{Answer, Caller, Driven, Load, bar, drive};
use super::limit::{BareRows, Limit};
use super::pace::Stop;
use super::report::{EngineFigures, Report, Shape};
use super::rows::{Dice, EVENT_TYPE};
use super::tally::{is_unsteady, rate, ratio};
use crate::app::App;
use crate::limits::{BENCH_FLUSH_TIME, BENCH_LIMIT_TIME_MAX, BENCH_SHAPE_TIME, BENCH_STREAM_EVENTS};

/// Ratio of the limit after to the limit before, or the other way round, from which the machine was not quiet.
const UNSTEADY: f64 = 1.2;

/// What is appended, where to, and how.
pub struct AppendBench {
    /// Callers at the same time.
    pub callers: usize,
    /// What each append looks like, and how long and how fast they come.
    pub shape: Shape,
    /// Names of the tenants to make, and their ledgers; at least one, and at most as many as callers.
    pub ledgers: Vec<(String, LedgerId)>,
    /// Streams in all, at least one for each caller. Absent: each caller goes on with a new one after
    /// [`BENCH_STREAM_EVENTS`] events.
    pub streams: Option<usize>,
    /// Whether each append claims an idempotency key.
    pub keys: bool,
}

impl AppendBench {
    /// Makes the ledgers and measures.
    ///
    /// # Errors
    /// When the engine fails, or nothing could be measured.
    pub async fn run(&self, app: &App, limit: &dyn Limit, stop: &Stop) -> Result<Report, BenchError> {
        for (name, ledger) in &self.ledgers {
            let made = app.opener.create(*ledger).await;
            made.map_err(|error| BenchError::because(&format!("the ledger of tenant {name}"), &error))?;
        }
        let shaping = Load {
            warm_up: BENCH_SHAPE_TIME,
            measured: Duration::ZERO,
            schedule: None,
        };
        let shaped = self.drive(app, shaping, stop, "looking").await?;
        if let Some(error) = &shaped.warm_up.first_error {
            return Err(BenchError(format!("the engine does not take appends: {error}")));
        }
        let mut engine = self.engine(limit).await?;
        let time = self.shape.load.measured.min(BENCH_LIMIT_TIME_MAX);
        let rows = |records: Vec<Record>, group| BareRows {
            records: Arc::new(records),
            group,
            batch: self.shape.batch as u64,
            keys: self.keys,
            time,
        };
        let sample = self.last_records(app).await?;
        engine.events_per_commit_before = self.group(&sample);
        if !stop.is_set() {
            let bare = limit
                .bare_inserts(rows(sample, engine.events_per_commit_before))
                .await?;
            engine.bare_inserts_before_events_per_s = rate(bare.events, bare.took);
        }
        let driven = self.drive(app, self.shape.load, stop, "appending").await?;
        let sample = self.last_records(app).await?;
        engine.events_per_commit = self.group(&sample);
        if !stop.is_set() {
            let bare = limit.bare_inserts(rows(sample, engine.events_per_commit)).await?;
            engine.bare_inserts_after_events_per_s = rate(bare.events, bare.took);
        }
        let before = shaped.warm_up.events;
        let mut report = Report::new("append", self.callers, &self.shape, &driven, before, stop)?;
        let limits = [
            engine.bare_inserts_before_events_per_s,
            engine.bare_inserts_after_events_per_s,
        ];
        // An open loop is as fast as it was asked to be.
        if self.shape.rate_events_per_s.is_none() {
            engine.ratio_to_bare_inserts = ratio(report.events_per_s, &limits);
        }
        engine.limit_is_unsteady = is_unsteady(&limits, UNSTEADY);
        report.engine = Some(engine);
        Ok(report)
    }

    async fn drive(
        &self,
        app: &App,
        load: Load,
        stop: &Stop,
        what: &'static str,
    ) -> Result<Driven, BenchError> {
        drive(self.callers(app), load, stop, bar(what, &load)).await
    }

    /// New callers with new streams.
    fn callers(&self, app: &App) -> Vec<Box<dyn Caller>> {
        (0..self.callers)
            .map(|n| {
                let mut dice = Dice::new(&*app.random);
                // Streams are shared out evenly; the first callers get what is left over.
                let own = self
                    .streams
                    .map_or(1, |all| all / self.callers + usize::from(n < all % self.callers));
                let streams = (0..own).map(|_| OwnStream::new(&mut dice)).collect();
                Box::new(EngineCaller {
                    store: app.events.clone(),
                    clock: app.clock.clone(),
                    random: app.random.clone(),
                    ledger: self.ledgers[n % self.ledgers.len()].1,
                    batch: self.shape.batch,
                    payload_bytes: self.shape.payload_bytes,
                    has_keys: self.keys,
                    renews: self.streams.is_none(),
                    dice,
                    streams,
                    at: 0,
                    key: None,
                    request: None,
                    sends: 0,
                }) as Box<dyn Caller>
            })
            .collect()
    }

    async fn engine(&self, limit: &dyn Limit) -> Result<EngineFigures, BenchError> {
        Ok(EngineFigures {
            engine: limit.engine(),
            tenants: self.ledgers.iter().map(|(name, _)| name.clone()).collect(),
            streams: self.streams,
            idempotency_keys: self.keys,
            durability: limit.durability().await?.into_iter().collect(),
            file_system: limit.file_system(),
            disk_flushes_per_s: limit.flush_rate(BENCH_FLUSH_TIME).await?,
            ..EngineFigures::default()
        })
    }

    /// Up to a page of the last records of the first ledger, without the one that opened it.
    async fn last_records(&self, app: &App) -> Result<Vec<Record>, BenchError> {
        let ledger = self.ledgers[0].1;
        let failed = |error: StoreError| BenchError::because("reading what was appended", &error);
        let Some(head) = app.events.head(ledger).await.map_err(failed)? else {
            return Err(BenchError("the ledger of the bench is gone".to_owned()));
        };
        let from = head.size.0.saturating_sub(READ_RECORDS_MAX as u64).max(1);
        let from = Position {
            epoch: head.epoch,
            index: LeafIndex(from),
        };
        let records = app.events.read_ledger(ledger, from, READ_RECORDS_MAX).await;
        records.map_err(failed)
    }

    /// Events in a commit, on average. Records of one commit have the same recorded-at, as the engine asks for the time
    /// once for each ledger in a commit. With several ledgers that is at most as many as there are: a commit need not
    /// have all of them.
    fn group(&self, records: &[Record]) -> u64 {
        let commits: HashSet<_> = records.iter().map(|record| record.leaf.recorded_at).collect();
        let of_one = records.len() as f64 / commits.len().max(1) as f64;
        let of_all = (of_one * self.ledgers.len() as f64).round() as u64;
        of_all.clamp(1, BATCH_EVENTS_MAX as u64)
    }
}

/// A stream that one caller alone writes.
struct OwnStream {
    id: StreamId,
    /// Version that its next event gets.
    next: u64,
}

impl OwnStream {
    fn new(dice: &mut Dice) -> Self {
        Self {
            id: StreamId::new(Category::Goal, dice.uuid()),
            next: 0,
        }
    }

    fn expectation(&self) -> Expectation {
        let version = self
            .next
            .checked_sub(1)
            .map_or(ExpectedVersion::NoStream, |last| {
                ExpectedVersion::Exact(StreamVersion(last))
            });
        Expectation {
            stream: self.id,
            version,
        }
    }
}

struct EngineCaller {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    ledger: LedgerId,
    batch: usize,
    payload_bytes: usize,
    has_keys: bool,
    /// Whether a stream with many events is left for a new one.
    renews: bool,
    dice: Dice,
    streams: Vec<OwnStream>,
    /// Which stream the present append goes to.
    at: usize,
    /// Of the present append, however often it is sent.
    key: Option<KeyClaim>,
    /// The present append; made anew where it has to be sent again, so that nobody pays for a copy that is not needed.
    request: Option<AppendRequest>,
    sends: u32,
}

impl EngineCaller {
    fn make(&mut self) -> Result<AppendRequest, String> {
        let expectation = self.streams[self.at].expectation();
        let events: Result<Vec<_>, String> =
            (0..self.batch).map(|_| self.event(expectation.stream)).collect();
        let keys = self.key.iter().copied().collect();
        AppendRequest::new(vec![expectation], events?, keys).map_err(|error| error.to_string())
    }

    fn event(&mut self, stream: StreamId) -> Result<PreparedEvent, String> {
        let event = ACFEvent::new(
            event_id(&*self.clock, &*self.random),
            stream,
            EVENT_TYPE,
            SchemaVersion(1),
            self.clock.now(),
            Actor::SYSTEM,
        );
        let payload = self.dice.payload(self.payload_bytes);
        let payload = Fragment::plain(&*self.random, JSON, payload).map_err(|error| error.to_string())?;
        Ok(PreparedEvent {
            event,
            payload: vec![payload],
        })
    }

    fn new_key(&self) -> KeyClaim {
        let mut key = [0; 32];
        self.random.fill(&mut key);
        KeyClaim {
            layer: KeyLayer::Api,
            key,
            request: key,
        }
    }

    fn appended(&mut self, is_duplicate: bool) -> Answer {
        self.streams[self.at].next += self.batch as u64;
        if is_duplicate && self.sends == 1 {
            return Answer::Failed("answered as a duplicate, and was sent for the first time".to_owned());
        }
        Answer::Durable
    }
}

#[async_trait]
impl Caller for EngineCaller {
    fn prepare(&mut self) -> Result<(), String> {
        self.at = (self.at + 1) % self.streams.len();
        if self.renews && self.streams[self.at].next >= BENCH_STREAM_EVENTS {
            self.streams[self.at] = OwnStream::new(&mut self.dice);
        }
        self.key = self.has_keys.then(|| self.new_key());
        self.sends = 0;
        self.request = Some(self.make()?);
        Ok(())
    }

    async fn send(&mut self) -> Answer {
        let made = match self.request.take() {
            Some(request) => Ok(request),
            None => self.make(),
        };
        let request = match made {
            Ok(request) => request,
            Err(reason) => return Answer::Failed(reason),
        };
        self.sends += 1;
        match self.store.append(self.ledger, request).await {
            Ok(AppendOutcome::Appended { duplicate, .. }) => self.appended(duplicate),
            Ok(AppendOutcome::Conflict { actual, .. }) => {
                self.streams[self.at].next = actual.map_or(0, |version| version.0 + 1);
                Answer::Conflict
            }
            Ok(AppendOutcome::Unknown) => {
                if !self.has_keys {
                    // Nobody can say at which version the stream is.
                    self.streams[self.at] = OwnStream::new(&mut self.dice);
                }
                Answer::Unknown {
                    may_ask_again: self.has_keys,
                }
            }
            Ok(AppendOutcome::KeyMismatch { .. }) => {
                Answer::Failed("the idempotency key stands for another request".to_owned())
            }
            Err(StoreError::Overloaded { retry_after_ms }) => {
                Answer::Overloaded(Duration::from_millis(retry_after_ms))
            }
            Err(error) => Answer::Failed(crate::error::chain(&error)),
        }
    }

    fn events(&self) -> u64 {
        self.batch as u64
    }
}
