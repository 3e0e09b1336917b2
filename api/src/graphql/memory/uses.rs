//! Who used memory, and how much of it was taken back.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::TurnId;
use ruche_projections::memory;

use super::{MODELS, turn_of};
use crate::graphql::analysis::bounded;
use crate::graphql::page::Cursor;
use crate::graphql::read::{Asked, Reading, of_read_store};
use crate::graphql::scalars::{DateTime, Long, PositionScalar};
use crate::graphql::session::{id, parse_id};
use crate::graphql::time;
use crate::graphql::turn::Turn;
use crate::graphql::words::InvalidationReason;

/// Which uses of memory; all conditions have to hold.
#[derive(InputObject, Default)]
pub(in crate::graphql) struct MemoryUseFilter {
    /// Of this store, or source of documents.
    store: Option<String>,
    /// Of the record or document with this id of the client.
    record_id: Option<ID>,
    /// In this turn.
    turn_id: Option<ID>,
    /// Only what was served although it was not known or did not hold any more: see `MemoryUse.afterEnd`.
    #[graphql(default)]
    after_end: bool,
}

/// A search or retrieval that gave a record.
pub(in crate::graphql) struct MemoryUse(pub(super) memory::FactUse);

/// A search or retrieval that gave a record.
#[Object]
impl MemoryUse {
    /// `searched` in memory, or `retrieved` from a source of documents.
    async fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The record of the ledger that says so.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.0.position)
    }

    /// When the ledger took it.
    async fn recorded_at(&self) -> DateTime {
        DateTime(self.0.recorded_at)
    }

    /// Id of the turn that it happened in.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }

    /// That turn, with the answer that it led to among its messages.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        turn_of(ctx, self.0.turn).await
    }

    /// Id of the session that it happened in.
    async fn session_id(&self) -> Option<ID> {
        self.0.session.map(id)
    }

    /// The store or source that was asked.
    async fn store(&self) -> &str {
        &self.0.store
    }

    /// The client's own id of the record or document that was found.
    async fn record_id(&self) -> ID {
        id(&self.0.record_id)
    }

    /// Its version, as the store told it.
    async fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// Its score.
    async fn score(&self) -> Option<f64> {
        self.0.score.map(|score| score.get())
    }

    /// Whether the last version of the record was not known any more by then, as it was taken back, deleted, drawn anew or summed
    /// up; or did not hold any more at the time that was asked for.
    async fn after_end(&self) -> bool {
        self.0.after_end
    }
}

/// How many facts were taken back on a day.
#[derive(SimpleObject)]
pub(in crate::graphql) struct InvalidatedFacts {
    /// The day on which that became known, such as `2026-01-31`, UTC.
    day: String,
    /// SHA-256 of the program that had drawn them; absent where nobody said.
    extractor_digest: Option<String>,
    /// Why.
    reason: Option<InvalidationReason>,
    /// How many.
    facts: Long,
}

impl From<memory::InvalidationCount> for InvalidatedFacts {
    fn from(count: memory::InvalidationCount) -> Self {
        Self {
            day: time::format_day(count.day),
            extractor_digest: count.extractor,
            reason: count.reason.map(Into::into),
            facts: Long::count(count.facts),
        }
    }
}

/// Searches and retrievals.
pub(in crate::graphql) async fn uses(
    ctx: &Context<'_>,
    filter: Option<MemoryUseFilter>,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, MemoryUse>> {
    let reading = Reading::at(ctx, MODELS, min_position).await?;
    let asked = Asked::new("use", first, after)?;
    let filter = filter.unwrap_or_default();
    let turn = filter.turn_id.map(|id| parse_id::<TurnId>("turnId", &id));
    let filter = memory::UseFilter {
        store: filter.store,
        record_id: filter.record_id.map(|id| id.0),
        turn: turn.transpose()?,
        after_end: filter.after_end,
    };
    let uses = memory::uses(reading.store(), reading.ledger, &filter, &asked.request).await;
    asked.connection(uses, MemoryUse)
}

/// Facts that were taken back.
pub(in crate::graphql) async fn invalidated(
    ctx: &Context<'_>,
    (from, before): (Option<DateTime>, Option<DateTime>),
    min_position: Option<PositionScalar>,
) -> Result<Vec<InvalidatedFacts>> {
    let reading = Reading::at(ctx, &["memory"], min_position).await?;
    let time = |time: Option<DateTime>| time.map(|time| time.0);
    let counts = memory::invalidated(reading.store(), reading.ledger, time(from), time(before)).await;
    bounded(counts.map_err(|error| of_read_store(&error))?)
}
