//! `ruche bench append`: callers in this process, on an engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{BATCH_EVENTS_MAX, READ_RECORDS_MAX};
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::store::{Record, StoreError};

use super::BenchError;
use super::drive::{Caller, Driven, Load, bar, drive};
use super::engine_caller::{EngineCaller, OwnStream, Work};
use super::limit::{BareRows, Limit};
use super::pace::Stop;
use super::report::{EngineFigures, Report, Shape};
use super::rows::Dice;
use super::tally::{is_unsteady, rate, ratio};
use crate::app::App;
use crate::limits::{BENCH_FLUSH_TIME, BENCH_LIMIT_TIME_MAX, BENCH_SHAPE_TIME};

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
    /// [`BENCH_STREAM_EVENTS`](crate::limits::BENCH_STREAM_EVENTS) events.
    pub streams: Option<usize>,
    /// Whether each append claims an idempotency key.
    pub keys: bool,
}

impl AppendBench {
    /// Makes the ledgers and measures. The callers are shared out among the nodes, of which there is at least one; all of them
    /// append to the same ledgers.
    ///
    /// # Errors
    /// When the engine fails, or nothing could be measured.
    pub async fn run(&self, nodes: &[App], limit: &dyn Limit, stop: &Stop) -> Result<Report, BenchError> {
        let [app, ..] = nodes else {
            return Err(BenchError("a bench has a node at least".to_owned()));
        };
        for (name, ledger) in &self.ledgers {
            let made = app.opener.create(*ledger).await;
            made.map_err(|error| BenchError::because(&format!("the ledger of tenant {name}"), &error))?;
        }
        let shaping = Load {
            warm_up: BENCH_SHAPE_TIME,
            measured: Duration::ZERO,
            schedule: None,
        };
        let shaped = self.drive(nodes, shaping, stop, "looking").await?;
        if let Some(error) = &shaped.warm_up.first_error {
            return Err(BenchError(format!("the engine does not take appends: {error}")));
        }
        let mut engine = self.engine(nodes.len(), limit).await?;
        let time = self.shape.load.measured.min(BENCH_LIMIT_TIME_MAX);
        let rows = |records: Vec<Record>, group| BareRows {
            records: Arc::new(records),
            group,
            batch: self.shape.batch as u64,
            keys: self.keys,
            time,
        };
        let sample = self.last_records(app).await?;
        engine.events_per_commit_before = self.group(limit, &sample).await?;
        if !stop.is_set() {
            let bare = limit
                .bare_inserts(rows(sample, engine.events_per_commit_before))
                .await?;
            engine.bare_inserts_before_events_per_s = rate(bare.events, bare.took);
            engine.bare_inserts_before_way = bare.way;
        }
        let driven = self.drive(nodes, self.shape.load, stop, "appending").await?;
        let sample = self.last_records(app).await?;
        engine.events_per_commit = self.group(limit, &sample).await?;
        if !stop.is_set() {
            let bare = limit.bare_inserts(rows(sample, engine.events_per_commit)).await?;
            engine.bare_inserts_after_events_per_s = rate(bare.events, bare.took);
            engine.bare_inserts_after_way = bare.way;
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
        nodes: &[App],
        load: Load,
        stop: &Stop,
        what: &'static str,
    ) -> Result<Driven, BenchError> {
        drive(self.callers(nodes), load, stop, bar(what, &load)).await
    }

    /// New callers with new streams.
    fn callers(&self, nodes: &[App]) -> Vec<Box<dyn Caller>> {
        (0..self.callers)
            .map(|n| {
                // All ledgers are appended to by all nodes, also where there are as many ledgers as nodes.
                let app = &nodes[n / self.ledgers.len() % nodes.len()];
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
                    work: Work::default(),
                }) as Box<dyn Caller>
            })
            .collect()
    }

    async fn engine(&self, engines: usize, limit: &dyn Limit) -> Result<EngineFigures, BenchError> {
        Ok(EngineFigures {
            engine: limit.engine(),
            engines,
            tenants: self.ledgers.iter().map(|(name, _)| name.clone()).collect(),
            streams: self.streams,
            idempotency_keys: self.keys,
            durability: limit.durability().await?.into_iter().collect(),
            file_system: limit.file_system(),
            disk_flushes_per_s: limit.flush_rate(BENCH_FLUSH_TIME).await?,
            one_connection_commits_per_s: limit.commit_rate(BENCH_FLUSH_TIME).await?,
            database: limit.database(),
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

    /// Events in a commit, on average. Where the engine does not tell, records with the same recorded-at were committed
    /// together, as it asks for the time once for each ledger in a commit. With several ledgers that is at most as many
    /// as there are: a commit need not have all of them.
    async fn group(&self, limit: &dyn Limit, records: &[Record]) -> Result<u64, BenchError> {
        let ledgers: Vec<_> = self.ledgers.iter().map(|(_, ledger)| *ledger).collect();
        let told = limit.events_per_commit(&ledgers).await?;
        let of_all = told.unwrap_or_else(|| {
            let commits: HashSet<_> = records.iter().map(|record| record.leaf.recorded_at).collect();
            records.len() as f64 / commits.len().max(1) as f64 * self.ledgers.len() as f64
        });
        Ok((of_all.round() as u64).clamp(1, BATCH_EVENTS_MAX as u64))
    }
}
