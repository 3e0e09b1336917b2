//! Rebuilding: the next generation is made from the ledgers beside the current one, compared, and switched to, while
//! other nodes read and write the current one.
//!
//! 1. One connection, the keeper, begins a transaction and takes the lock of rebuilds; the last line commits it. If this
//!    process or that connection dies in between, the server lets the lock go and nothing was switched. What was filled
//!    is removed by the next rebuild.
//! 2. The next generation is filled up to where the current one stood at the start. Its tables are its own, so nobody
//!    waits.
//! 3. The current one is held in a snapshot; the next one goes exactly to the snapshot's checkpoints; both are compared.
//! 4. The next one goes to the current checkpoints once more. The keeper takes the lock of steps: it waits for those that
//!    run, on all nodes, and those that come wait for it. The next one goes exactly to the checkpoints that cannot move
//!    now, and the keeper names it the current one and commits. A step that waited reads the name after that, finds the
//!    same checkpoint in the next generation and goes on there.
//!    The views for tools of others change places with it, by name alone: a query that reads them holds nothing up.
//! 5. The old one is dropped. A query that began with it and comes too late begins again (`read`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_ledger::store::EventStore;
use ruche_projections::projection;
use ruche_projections::rebuild::{
    self, OnDifference, Rebuild, RebuildError, RebuildPhase, RebuildProgress, RebuildReport,
};
use ruche_projections::runner::Runner;
use ruche_projections::store::{DeadLetterState, ReadStoreError};
use tokio_postgres::types::FromSqlOwned;

use crate::bi;
use crate::compare::{self, Snapshot};
use crate::error::read_store_error;
use crate::models::{PostgresReadStore, bounded};
use crate::schema::{self, LOCK_OF_REBUILD, LOCK_OF_STEPS, LOCKS, Owner};
use crate::session::{LOCK_WAIT, STATEMENT_MAX, Session, limits};

/// The keeper does nothing for as long as a rebuild takes; the server ends it after this time.
const REBUILD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Waiting for queries that still read a generation that is dropped; longer than any of their statements may take.
const DROP_WAIT: Duration = Duration::from_secs(40);
/// The keeper is answered after this time, one way or the other.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Making or dropping the tables of a generation.
const SCHEMA_MAX: Duration = Duration::from_secs(60);

/// The transaction that holds the lock of rebuilds, and that switches.
struct Keeper(Session);

impl Keeper {
    /// Begins, unless somebody rebuilds already, on any node.
    async fn begin(models: &PostgresReadStore) -> Result<Self, RebuildError> {
        let session = Session::borrow(&models.shared.pool).await.map_err(failed)?;
        owner_only(&session).await?;
        let begin = format!("BEGIN; {}", limits(STATEMENT_MAX, LOCK_WAIT, REBUILD_MAX));
        let keeper = Self(session);
        keeper.run(&begin).await?;
        let lock = format!("SELECT pg_try_advisory_xact_lock({LOCKS}, {LOCK_OF_REBUILD})");
        if keeper.ask::<bool>(&lock).await? {
            return Ok(keeper);
        }
        keeper.end("ROLLBACK").await;
        Err(RebuildError::Busy)
    }

    async fn run(&self, sql: &str) -> Result<(), RebuildError> {
        let done = async {
            self.0
                .batch_execute(sql)
                .await
                .map_err(|error| read_store_error(&error))
        };
        bounded(ANSWER_MAX, done).await.map_err(failed)
    }

    /// The only value of the only row.
    async fn ask<T: FromSqlOwned>(&self, sql: &str) -> Result<T, RebuildError> {
        let asked = async {
            let row = self.0.query_typed_one(sql, &[]).await;
            row.and_then(|row| row.try_get(0))
                .map_err(|error| read_store_error(&error))
        };
        bounded(ANSWER_MAX, asked).await.map_err(failed)
    }

    /// Stops all steps, on all nodes, until the transaction ends.
    async fn stop_steps(&self) -> Result<(), RebuildError> {
        let lock = format!("SELECT pg_advisory_xact_lock({LOCKS}, {LOCK_OF_STEPS})");
        // Those that run end within their own bounds; a short wait for the lock would give up before that.
        let wait = format!("SET LOCAL lock_timeout = {}", STATEMENT_MAX.as_millis());
        self.run(&format!("{wait}; {lock}")).await
    }

    /// Names a generation the current one. If we die before the commit the old one stays, after it the next one is whole:
    /// its commits were flushed no later than this one.
    async fn switch(&self, from: u32, to: u32) -> Result<(), RebuildError> {
        let sql = "SELECT coalesce(max(version), 0) FROM ruche_read.migration";
        if self.ask::<i64>(sql).await? != schema::known() {
            // A newer program migrated meanwhile; the tables that were filled are not of its schema.
            return Err(RebuildError::CutOff);
        }
        let switch = format!(
            "SET LOCAL synchronous_commit = on; UPDATE ruche_read.current SET generation = {to}; {}; COMMIT",
            bi::switched(from, to)
        );
        self.run(&switch).await
    }

    /// Lets the locks go, whatever was or was not done.
    async fn end(self, last: &str) {
        if self.run(last).await.is_ok() {
            self.0.give_back();
        }
    }
}

/// Refuses who may not make and drop the tables of read models. A session that is refused is not given back: it is closed.
async fn owner_only(session: &Session) -> Result<(), RebuildError> {
    let found = async { Owner::of(session).await.map_err(|error| read_store_error(&error)) };
    let Owner {
        user,
        owner,
        may_change,
    } = bounded(ANSWER_MAX, found).await.map_err(failed)?;
    match may_change {
        true => Ok(()),
        false => Err(RebuildError::NotOwner { user, owner }),
    }
}

fn failed(error: ReadStoreError) -> RebuildError {
    RebuildError::Generation(Box::new(error))
}

#[async_trait]
impl Rebuild for PostgresReadStore {
    async fn rebuild(
        &self,
        feed: Arc<dyn EventStore>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        PostgresReadStore::rebuild(self, feed, on_difference, progress).await
    }

    async fn may_rebuild(&self) -> Result<(), RebuildError> {
        let session = Session::borrow(&self.shared.pool).await.map_err(failed)?;
        owner_only(&session).await?;
        session.give_back();
        Ok(())
    }
}

impl PostgresReadStore {
    /// Rebuilds all read models from the ledgers, compares them with the current ones, and switches. The user of the pool
    /// has to be the one that migrated, or one that may make schemas and owns theirs.
    ///
    /// # Errors
    /// `RebuildError`; the current read models stay. `Busy` if any node rebuilds.
    pub async fn rebuild(
        &self,
        feed: Arc<dyn EventStore>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        let keeper = Keeper::begin(self).await?;
        // Only a rebuild changes it, and there is no other.
        let old = self.generation().await.map_err(failed)?;
        self.remove_others(old).await.map_err(failed)?;
        let numbers = (old, old + 1);
        let result = self
            .fill_and_switch(&keeper, feed, numbers, on_difference, progress)
            .await;
        // After a commit there is nothing to undo; the connection is given back if it answers still.
        let is_over = result.as_ref().is_ok_and(|report| report.switched);
        keeper.end(if is_over { "SELECT 1" } else { "ROLLBACK" }).await;
        self.tidy().await;
        result
    }

    async fn fill_and_switch(
        &self,
        keeper: &Keeper,
        feed: Arc<dyn EventStore>,
        (old_number, next_number): (u32, u32),
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        self.define(&schema::make(next_number)).await.map_err(failed)?;
        let next = self.of(next_number);
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        rebuild::count_ahead(self, &ledgers, progress).await?;
        let runner = Runner::new(Arc::clone(&feed), Arc::new(next.clone()));
        let outdated = rebuild::is_outdated(self, &ledgers).await?;
        rebuild::copy_letters(self, &next, &ledgers, DeadLetterState::Discarded).await?;
        rebuild::run_to(&runner, &rebuild::ends(self, &ledgers).await?, progress).await?;

        let snapshot = Snapshot::take(&self.shared.pool, old_number)
            .await
            .map_err(failed)?;
        rebuild::run_to(&runner, &snapshot.ends, progress).await?;
        progress.enter(RebuildPhase::Comparing);
        let differences = if outdated {
            snapshot.end().await;
            Vec::new()
        } else {
            let next = Snapshot::take(&self.shared.pool, next_number)
                .await
                .map_err(failed)?;
            compare::differences(snapshot, next).await.map_err(failed)?
        };
        let mut report = RebuildReport {
            generation: old_number,
            switched: false,
            compared: !outdated,
            differences,
            events: rebuild::events(&next, &ledgers).await?,
            projections: projection::all().len(),
        };
        if !report.differences.is_empty() && on_difference == OnDifference::Keep {
            return Ok(report);
        }

        progress.enter(RebuildPhase::Switching);
        // Most of what came meanwhile, so that steps are stopped for little more than a moment.
        rebuild::run_to(&runner, &rebuild::ends(self, &ledgers).await?, progress).await?;
        let tables: Vec<String> = rebuild::compared_tables()
            .iter()
            .map(|table| format!("{}.{table}", schema::schema_of(next_number)))
            .collect();
        // Without it the first queries would be planned for empty tables.
        let analyze = format!("ANALYZE {}", tables.join(", "));
        self.define(&analyze).await.map_err(failed)?;
        let _switching = self.switching();
        keeper.stop_steps().await?;
        let ledgers = feed.ledgers().await.map_err(RebuildError::Ledgers)?;
        rebuild::copy_letters(self, &next, &ledgers, DeadLetterState::Discarded).await?;
        rebuild::run_to(&runner, &rebuild::ends(self, &ledgers).await?, progress).await?;
        report.events = rebuild::events(&next, &ledgers).await?;
        if !outdated {
            rebuild::copy_letters(self, &next, &ledgers, DeadLetterState::Parked).await?;
        }
        rebuild::copy_pauses(self, &next, &ledgers).await?;
        if let Err(error) = keeper.switch(old_number, next_number).await {
            // The answer to a commit can get lost; the name says whether it happened.
            if self.generation().await.map_err(failed)? != next_number {
                return Err(error);
            }
        }
        (report.generation, report.switched) = (next_number, true);
        Ok(report)
    }

    /// Removes what a rebuild left: the old generation, or the one that did not take over. What cannot be removed now is
    /// removed by the next rebuild.
    async fn tidy(&self) {
        let tidied = async {
            let keeper = match Keeper::begin(self).await {
                Ok(keeper) => keeper,
                // Whoever rebuilds now removes it.
                Err(RebuildError::Busy) => return Ok(()),
                Err(error) => return Err(error),
            };
            let current = self.generation().await.map_err(failed)?;
            self.remove_others(current).await.map_err(failed)?;
            keeper.end("ROLLBACK").await;
            Ok(())
        };
        if let Err(error) = tidied.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old read models stay for now"
            );
        }
    }

    /// Drops every generation but one. Whoever calls it holds the lock of rebuilds.
    async fn remove_others(&self, current: u32) -> Result<(), ReadStoreError> {
        let others = bounded(SCHEMA_MAX, async {
            let session = Session::borrow(&self.shared.pool).await?;
            let sql =
                "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname ~ '^ruche_read_[0-9]+$'";
            let rows = session.query_typed(sql, &[]).await;
            let rows = rows.map_err(|error| read_store_error(&error))?;
            session.give_back();
            Ok(rows)
        });
        for row in others.await? {
            let name: String = row.get(0);
            if name != schema::schema_of(current) {
                self.define(&format!("{}; DROP SCHEMA {name} CASCADE", bi::dropped(&name)))
                    .await?;
            }
        }
        Ok(())
    }

    /// Makes or drops tables in a transaction of its own.
    async fn define(&self, sql: &str) -> Result<(), ReadStoreError> {
        let limits = limits(SCHEMA_MAX, DROP_WAIT, SCHEMA_MAX);
        let text = format!("BEGIN; {limits}SET LOCAL client_min_messages = warning; {sql}; COMMIT");
        bounded(SCHEMA_MAX * 2, async {
            let session = Session::borrow(&self.shared.pool).await?;
            let done = session.batch_execute(&text).await;
            done.map_err(|error| read_store_error(&error))?;
            session.give_back();
            Ok(())
        })
        .await
    }
}
