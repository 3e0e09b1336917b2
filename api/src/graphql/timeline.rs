//! The timeline of a session.

use async_graphql::{Context, ID, Object, Result};
use ruche_projections::timeline;

use super::counts::Cost;
use super::read::Loading;
use super::record::Record;
use super::scalars::{DateTime, Long, PositionScalar};
use super::session::id;
use super::words::TimelinePayloadState;

/// One thing that happened in a session.
pub(super) struct TimelineEntry(pub timeline::TimelineEntry);

/// One thing that happened in a session.
#[Object]
impl TimelineEntry {
    /// Its record.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.0.position)
    }

    /// The record itself, read from the ledger.
    #[graphql(complexity = "5 + child_complexity")]
    async fn record(&self, ctx: &Context<'_>) -> Result<Option<Record>> {
        ctx.data_unchecked::<Loading>().load_one(self.0.position).await
    }

    /// Id of the event.
    async fn event_id(&self) -> ID {
        id(self.0.event_id)
    }

    /// Type of the event.
    async fn r#type(&self) -> &str {
        &self.0.event_type
    }

    /// What happened, in a line for people.
    async fn summary(&self) -> Option<&str> {
        self.0.summary.as_deref()
    }

    /// The whole text, read from the ledger: what was said, what a tool was asked and what it answered. Nothing where it is no
    /// text, or the payload is erased.
    #[graphql(complexity = 5)]
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let record = ctx.data_unchecked::<Loading>().load_one(self.0.position).await?;
        let event = record.and_then(|record| record.agent_event());
        Ok(event.as_ref().and_then(timeline::text_of).map(str::to_owned))
    }

    /// What a model call cost, where it says so.
    async fn cost(&self) -> Option<Cost> {
        self.0.cost.clone().map(Cost::from)
    }

    /// Kind of actor.
    async fn actor_kind(&self) -> &str {
        &self.0.actor_kind
    }

    /// Opaque reference of the actor.
    async fn actor(&self) -> Option<ID> {
        self.0.actor.map(id)
    }

    /// Session that it belongs to.
    async fn session_id(&self) -> ID {
        id(self.0.session)
    }

    /// Turn that it belongs to.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }

    /// Tool call that it belongs to.
    async fn call_id(&self) -> Option<ID> {
        self.0.call.map(id)
    }

    /// Length of the payload.
    async fn payload_bytes(&self) -> Option<Long> {
        self.0.payload_bytes.map(Long::count)
    }

    /// What is known of the payload.
    async fn payload_state(&self) -> TimelinePayloadState {
        self.0.payload_state.into()
    }

    /// Worth as evidence.
    async fn provenance(&self) -> &str {
        &self.0.provenance
    }

    /// When it happened.
    async fn occurred_at(&self) -> DateTime {
        DateTime(self.0.occurred_at)
    }

    /// When the ledger took it.
    async fn recorded_at(&self) -> DateTime {
        DateTime(self.0.recorded_at)
    }
}
