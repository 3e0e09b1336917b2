//! What an event costs: statements that projections ask for, and what the server was sent and did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_projections::change::SqlValue;
use ruche_projections::search::Wanted;
use ruche_projections::store::{DeadLetter, ProjectionStatus, ReadStore, ReadStoreError, Row, Step};
use ruche_projections_postgres::PostgresReadStore;
use tokio_postgres::Client;

use crate::shared::print;

/// After this time the server's sessions have told what they did.
const STATISTICS_WAIT: Duration = Duration::from_millis(1_200);
/// Of a second: the unit of processor times (Linux).
const TICKS: f64 = 100.0;

/// A store that counts steps and statements.
pub struct Counted {
    models: PostgresReadStore,
    steps: AtomicU64,
    statements: AtomicU64,
}

impl Counted {
    pub fn new(models: PostgresReadStore) -> Self {
        Self {
            models,
            steps: AtomicU64::new(0),
            statements: AtomicU64::new(0),
        }
    }

    pub fn tell(&self, events: u64) {
        let (steps, statements) = (&self.steps, &self.statements);
        let (steps, statements) = (steps.load(Ordering::Relaxed), statements.load(Ordering::Relaxed));
        print(&format!(
            "  projections asked for {statements} statements in {steps} steps, {:.2} for each event",
            statements as f64 / events as f64
        ));
    }
}

#[async_trait]
impl ReadStore for Counted {
    async fn apply(&self, step: Step) -> Result<(), ReadStoreError> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.statements
            .fetch_add(step.statements.len() as u64, Ordering::Relaxed);
        self.models.apply(step).await
    }

    async fn status(
        &self,
        ledger: LedgerId,
        projection: &'static str,
    ) -> Result<ProjectionStatus, ReadStoreError> {
        self.models.status(ledger, projection).await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<(), ReadStoreError> {
        self.models.put_dead_letter(letter).await
    }

    async fn drop_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.models.drop_dead_letter(ledger, projection, position).await
    }

    async fn discard_dead_letter(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<bool, ReadStoreError> {
        self.models
            .discard_dead_letter(ledger, projection, position)
            .await
    }

    async fn set_paused(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        paused: bool,
        decided: Position,
    ) -> Result<bool, ReadStoreError> {
        self.models.set_paused(ledger, projection, paused, decided).await
    }

    async fn dead_letters(&self, ledger: LedgerId) -> Result<Vec<DeadLetter>, ReadStoreError> {
        self.models.dead_letters(ledger).await
    }

    async fn query(&self, sql: &str, params: Vec<SqlValue>) -> Result<Vec<Row>, ReadStoreError> {
        self.models.query(sql, params).await
    }

    async fn search(&self, wanted: &Wanted) -> Result<Vec<Row>, ReadStoreError> {
        self.models.search(wanted).await
    }
}

/// The server, looked at from a session of its own.
pub struct Server {
    client: Client,
    /// Whether it counts statements: `shared_preload_libraries` has pg_stat_statements.
    statements: bool,
}

/// What the server had done at a moment, for one database.
pub struct Seen {
    commits: i64,
    statements: Option<i64>,
    cpu: f64,
}

impl Server {
    pub async fn new(client: Client) -> Self {
        let make =
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT count(*) FROM pg_stat_statements";
        let statements = client.batch_execute(make).await.is_ok();
        Self { client, statements }
    }

    pub async fn look(&self) -> Seen {
        tokio::time::sleep(STATISTICS_WAIT).await;
        let one = async |sql: &str| self.client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        let of_database = "(SELECT oid FROM pg_database WHERE datname = current_database())";
        let commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        let calls = format!("SELECT sum(calls)::bigint FROM pg_stat_statements WHERE dbid = {of_database}");
        let pids =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let pids = self.client.query(pids, &[]).await.unwrap();
        Seen {
            commits: one(commits).await,
            statements: if self.statements {
                Some(one(&calls).await)
            } else {
                None
            },
            cpu: pids.iter().filter_map(|row| cpu_seconds(row.get(0))).sum(),
        }
    }

    /// Tells what came between. Processor time is that of sessions that are still there, on this machine.
    pub async fn tell(&self, before: Seen, events: u64) {
        let after = self.look().await;
        let commits = after.commits - before.commits;
        let statements = after
            .statements
            .zip(before.statements)
            .map_or_else(String::new, |(a, b)| {
                format!(
                    ", {} statements, {:.3} for each event",
                    a - b,
                    (a - b) as f64 / events as f64
                )
            });
        print(&format!(
            "  the server: {commits} transactions{statements}, {:.2} s of processor",
            after.cpu - before.cpu
        ));
    }
}

fn cpu_seconds(pid: i32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}
