//! Bare inserts: what PostgreSQL makes of the same rows without what makes them a ledger. The limit that benches compare
//! with.
//!
//! A bare insert has the same tables, the same leaf and payload bytes and the same number of events in each transaction,
//! and no positions, versions, keys looked up, hashes, queue or answers. It has the engine's number of connections, so
//! that it is the limit of the server and not that of one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::Record;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

use crate::Database;
use crate::error::OpenError;
use crate::schema::LEDGER_TABLES;

mod rows;

use rows::{Inserter, Rows};

/// What is tried, the better of which counts.
const WAYS: [Way; 2] = [Way::Unnest, Way::Copy];
/// Loading and dropping a schema may take longer than a statement of the ledger.
const SETTINGS: &str = "SET statement_timeout = '5min'";

/// What is inserted, and how.
#[derive(Clone, Debug)]
pub struct BareInserts {
    /// Stored records whose leaves and payloads are inserted again and again.
    pub records: Arc<Vec<Record>>,
    /// Events of one transaction.
    pub group: u64,
    /// Events of one append; each append has one idempotency key.
    pub batch: u64,
    /// Whether the keys are inserted into their table, too.
    pub keys: bool,
    /// Connections at the same time, each with rows of a ledger of its own.
    pub connections: usize,
    /// When it is enough, for each of two ways to insert.
    pub until: Until,
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many events of all connections.
    Events(u64),
    /// After the transactions in which this time is over.
    Time(Duration),
}

/// How rows go to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One statement over arrays, as the engine does it.
    Unnest,
    /// Binary COPY into each table.
    Copy,
}

impl Way {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unnest => "unnest",
            Self::Copy => "copy",
        }
    }
}

/// What came of it in one way.
#[derive(Clone, Copy, Debug)]
pub struct BareFigures {
    /// How they were inserted.
    pub way: Way,
    /// Events that were inserted.
    pub events: u64,
    /// In which time.
    pub took: Duration,
}

impl BareFigures {
    /// Events in a second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }
}

impl BareInserts {
    /// Inserts in both ways and gives the better one.
    ///
    /// # Errors
    /// As [`BareInserts::run_one`].
    pub async fn run(&self, database: &Database) -> Result<BareFigures, OpenError> {
        let [unnest, copy] = WAYS.map(|way| self.run_one(database, way));
        let (unnest, copy) = (unnest.await?, copy.await?);
        Ok(if copy.rate() > unnest.rate() { copy } else { unnest })
    }

    /// Inserts in one way, into a new schema that is dropped afterwards, also after an error. A process that dies
    /// meanwhile leaves `ruche_bench_<random>`. Without records nothing is inserted.
    ///
    /// # Errors
    /// `Database` with what was tried; the login user must be allowed to make schemas. Others as
    /// [`Database::connect`].
    pub async fn run_one(&self, database: &Database, way: Way) -> Result<BareFigures, OpenError> {
        let client = database.connect().await?;
        let schema = make_schema(&client)
            .await
            .map_err(OpenError::database("make the schema of bare inserts"))?;
        let inserted = self.inserts(database, &schema, way).await;
        let dropped = client
            .batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))
            .await;
        match (inserted, dropped) {
            (Ok(figures), Ok(())) => Ok(figures),
            (Ok(_), Err(error)) => Err(OpenError::database("drop the schema of bare inserts")(error)),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(stays)) => {
                tracing::warn!(schema, error = %stays, "the schema of bare inserts is not dropped");
                Err(error)
            }
        }
    }

    async fn inserts(&self, database: &Database, schema: &str, way: Way) -> Result<BareFigures, OpenError> {
        let connections = self.connections.max(1);
        let mut inserters = Vec::with_capacity(connections);
        for n in 0..connections {
            let client = database.connect().await?;
            let set = format!("{SETTINGS}; SET search_path = {schema}");
            let inserter = async {
                client.batch_execute(&set).await?;
                Inserter::new(client, n as u128 + 1).await
            };
            inserters.push(
                inserter
                    .await
                    .map_err(OpenError::database("prepare bare inserts"))?,
            );
        }
        let started = Instant::now();
        let tasks: Vec<_> = inserters
            .into_iter()
            .map(|inserter| tokio::spawn(self.clone().of_connection(inserter, way, started)))
            .collect();
        // All have ended before the schema is dropped, whatever became of them.
        let mut ended = Vec::with_capacity(tasks.len());
        for task in tasks {
            ended.push(joined(task).await);
        }
        let took = started.elapsed();
        let events = ended.into_iter().sum::<Result<u64, Error>>();
        Ok(BareFigures {
            way,
            events: events.map_err(OpenError::database("insert barely"))?,
            took,
        })
    }

    /// Inserts what one connection has to, and gives how many events.
    async fn of_connection(self, inserter: Inserter, way: Way, started: Instant) -> Result<u64, Error> {
        let (mut events, group) = (0, self.group.max(1));
        while !self.records.is_empty() && !self.is_enough(events, started.elapsed()) {
            let indexes = events + 1..events + 1 + group;
            let rows = Rows::of(&self.records, indexes, self.batch.max(1), self.keys);
            match way {
                Way::Unnest => inserter.unnest(&rows).await?,
                Way::Copy => inserter.copy(&rows).await?,
            }
            events += group;
        }
        Ok(events)
    }

    fn is_enough(&self, events: u64, elapsed: Duration) -> bool {
        match self.until {
            Until::Events(enough) => events >= enough.div_ceil(self.connections.max(1) as u64),
            Until::Time(enough) => elapsed >= enough,
        }
    }
}

/// What a task inserted. A panic goes on in whoever waits for it.
async fn joined(task: JoinHandle<Result<u64, Error>>) -> Result<u64, Error> {
    match task.await {
        Ok(ended) => ended,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends cancels it, and nobody reads the figures then.
            Err(_) => Ok(0),
        },
    }
}

/// Makes the ledger's tables with their indexes in a new schema, and gives its name. All of it or nothing.
async fn make_schema(client: &Client) -> Result<String, Error> {
    let row = client
        .query_one(
            "SELECT 'ruche_bench_' || translate(gen_random_uuid()::text, '-', '')",
            &[],
        )
        .await?;
    let name: String = row.get(0);
    client
        .batch_execute(&format!(
            "{SETTINGS}; BEGIN; CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {LEDGER_TABLES}; COMMIT"
        ))
        .await?;
    Ok(name)
}

fn payload(record: &Record) -> (&[u8], &[u8]) {
    match record.payload.first() {
        Some(StoredFragment::Present { opening, bytes }) => (opening, bytes),
        _ => (&[0; 32], &[]),
    }
}
