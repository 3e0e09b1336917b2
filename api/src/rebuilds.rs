//! Rebuilds of the read models that people ask a running server for, one at a time.
//!
//! That one is asked for is recorded first, and that it was done when it is. If we die in between, the request stands alone,
//! the old read models are as they were, and what was filled beside them is removed by the next rebuild: ask again, under
//! another key.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ruche_commands::{
    CommandContext, CommandError, CommandReceipt, Commands, CompleteRebuild, RequestRebuild,
};
use ruche_domain::events::InfraRebuildCompleted;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::ports::Clock;
use ruche_ledger::store::EventStore;
use ruche_projections::rebuild::{
    OnDifference, Rebuild, RebuildError, RebuildProgress, RebuildReport, RebuildStanding,
};
use tokio::sync::Mutex;

use crate::services::Shutdown;

/// Has read models made anew.
pub struct Rebuilds {
    rebuild: Arc<dyn Rebuild>,
    feed: Arc<dyn EventStore>,
    commands: Arc<Commands>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    last: Mutex<Option<Arc<Rebuilding>>>,
}

/// A rebuild that was asked for here.
pub struct Rebuilding {
    /// Where the request is recorded.
    pub requested_at: Position,
    /// Why it was asked for.
    pub reason: String,
    /// When it began.
    pub started_at: Micros,
    began: Instant,
    progress: RebuildProgress,
    end: OnceLock<Ended>,
}

/// How a rebuild ended.
pub struct Ended {
    /// When.
    pub at: Micros,
    /// What came of it. An error is told in words for whoever asked; the log has its causes.
    pub outcome: Result<RebuildReport, String>,
}

/// Why a rebuild was not begun.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request was not recorded, or nobody knows.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// This server cannot do it.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
}

impl Rebuilding {
    /// How far it is, and how much longer it takes to fill the tables as far as that can be said.
    pub fn standing(&self) -> (RebuildStanding, Option<Duration>) {
        let standing = self.progress.standing();
        (standing, standing.time_left(self.began.elapsed()))
    }

    /// How it ended; nothing while it runs.
    pub fn ended(&self) -> Option<&Ended> {
        self.end.get()
    }
}

impl Rebuilds {
    /// None was asked for yet.
    pub fn new(
        rebuild: Arc<dyn Rebuild>,
        feed: Arc<dyn EventStore>,
        commands: Arc<Commands>,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            rebuild,
            feed,
            commands,
            clock,
            shutdown,
            last: Mutex::default(),
        }
    }

    /// The last one that was asked for at this server since it started.
    pub async fn last(&self) -> Option<Arc<Rebuilding>> {
        self.last.lock().await.clone()
    }

    /// Records that a person wants the read models made anew, and begins.
    ///
    /// # Errors
    /// See [`RequestError`]. While one is under way `IllegalTransition`, to be tried again.
    pub async fn request(
        self: &Arc<Self>,
        context: &CommandContext,
        reason: String,
    ) -> Result<CommandReceipt, RequestError> {
        self.rebuild.may_rebuild().await?;
        // Whoever asks meanwhile waits for the answer of the store, and then sees what is under way.
        let mut last = self.last.lock().await;
        let is_under_way = last.as_ref().is_some_and(|last| last.ended().is_none());
        let command = RequestRebuild { reason, is_under_way };
        let receipt = self.commands.execute(context, &command).await?;
        // A repeat is told what the first one was told: that one began.
        if let Some(requested_at) = receipt.position().filter(|_| !receipt.duplicate) {
            let rebuilding = Arc::new(Rebuilding {
                requested_at,
                reason: command.reason,
                started_at: self.clock.now(),
                began: Instant::now(),
                progress: RebuildProgress::default(),
                end: OnceLock::new(),
            });
            *last = Some(rebuilding.clone());
            let context = completion_of(context, &receipt, requested_at);
            tokio::spawn(self.clone().carry_out(rebuilding, context));
        }
        Ok(receipt)
    }

    async fn carry_out(self: Arc<Self>, rebuilding: Arc<Rebuilding>, context: CommandContext) {
        let requested_at = rebuilding.requested_at;
        tracing::info!(%requested_at, reason = rebuilding.reason, "making the read models anew");
        let done = self
            .rebuild
            .rebuild(self.feed.clone(), OnDifference::Switch, &rebuilding.progress);
        let outcome = tokio::select! {
            done = done => done.map_err(|error| {
                tracing::error!(%requested_at, error = %crate::error::chain(&error), "the read models are not made anew");
                format!("{error}; the old ones are as they were")
            }),
            () = self.shutdown.begun() => Err("the server was stopped; the old ones are as they were".to_owned()),
        };
        if let Ok(report) = &outcome {
            let took = rebuilding.began.elapsed();
            tracing::info!(%requested_at, generation = report.generation, records = report.events,
                differing_tables = report.differences.len(), took_ms = took.as_millis() as u64,
                "the read models are made anew");
            let command = CompleteRebuild {
                done: completed(requested_at, report, took),
            };
            if let Err(error) = self.commands.execute(&context, &command).await {
                tracing::error!(%requested_at, error = %crate::error::chain(&error),
                    "that the read models were made anew is not recorded");
            }
        }
        let at = self.clock.now();
        // Nobody else sets it.
        let _first = rebuilding.end.set(Ended { at, outcome });
    }
}

/// The context in which it is recorded that a request was carried out: of whoever asked, and because of it.
fn completion_of(context: &CommandContext, requested: &CommandReceipt, at: Position) -> CommandContext {
    CommandContext {
        causation: requested.events.last().map(|event| event.event.event_id),
        ..context.with_key(format!("rebuild {at} completed"))
    }
}

fn completed(requested_at: Position, report: &RebuildReport, took: Duration) -> InfraRebuildCompleted {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let mut done = InfraRebuildCompleted::new(requested_at, report.generation, report.events, took);
    done.equal = report.compared.then_some(report.differences.is_empty());
    done
}

#[cfg(test)]
mod tests;
