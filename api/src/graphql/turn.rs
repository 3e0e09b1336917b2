//! Turns.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Object, Result};
use ruche_domain::ids::{LaneId, SessionId};
use ruche_domain::limits::{CHANNEL_ATTEMPTS_MAX, STEPS_PER_TURN_MAX};
use ruche_projections::{messages, tool_effects, turn_attempts, turn_steps, turns};

use super::attempt::TurnAttempt;
use super::counts::{Cost, Counts};
use super::effect::ToolEffect;
use super::lane::{LaneName, name_of};
use super::message::Message;
use super::page::{Cursor, cost};
use super::read::{Asked, Loading, Reading, of_read_store};
use super::scalars::{DateTime, Long, PositionScalar};
use super::session::{Session, id, parse_id};
use super::step::TurnStep;
use super::words::{OutcomeCategory, TurnStatus, TurnTrigger};

/// A logical turn: one or more messages, at most one response.
pub(super) struct Turn(pub turns::Turn);

/// Which turns; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct TurnFilter {
    /// Of this session.
    session_id: Option<ID>,
    /// Of this lane.
    lane_id: Option<ID>,
    /// Where it stands.
    status: Option<TurnStatus>,
    /// How it came out.
    outcome: Option<OutcomeCategory>,
}

impl TurnFilter {
    pub(super) fn read(self) -> Result<turns::TurnFilter> {
        let session = self.session_id.map(|id| parse_id::<SessionId>("sessionId", &id));
        let lane = self.lane_id.map(|id| parse_id::<LaneId>("laneId", &id));
        Ok(turns::TurnFilter {
            session: session.transpose()?,
            lane: lane.transpose()?,
            status: self.status.map(Into::into),
            outcome: self.outcome.map(Into::into),
        })
    }
}

/// A logical turn: one or more messages, at most one response.
#[Object]
impl Turn {
    /// Its id.
    async fn id(&self) -> ID {
        id(self.0.id)
    }

    /// Session that it belongs to.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let Some(session) = self.0.session else {
            return Ok(None);
        };
        let found = ctx.data_unchecked::<Loading>().load_one(session).await?;
        Ok(found.map(Session))
    }

    /// The lane that decides on it, as commands name it; none where it was recorded elsewhere.
    async fn lane(&self, ctx: &Context<'_>) -> Result<Option<LaneName>> {
        name_of(ctx, self.0.lane).await
    }

    /// Id of that lane.
    async fn lane_id(&self) -> Option<ID> {
        self.0.lane.map(id)
    }

    /// Its number in the session, from 0.
    async fn ordinal(&self) -> Option<Long> {
        self.0.ordinal.map(Long::count)
    }

    /// The client's own id.
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// The client's own id of the agent that answers.
    async fn agent(&self) -> Option<&str> {
        self.0.agent.as_deref()
    }

    /// What opened it.
    async fn opened_by(&self) -> Option<TurnTrigger> {
        self.0.opened_by.map(Into::into)
    }

    /// Where it stands.
    async fn status(&self) -> TurnStatus {
        self.0.status.into()
    }

    /// How it came out, if it was committed and the source says.
    async fn outcome(&self) -> Option<OutcomeCategory> {
        self.0.outcome.map(Into::into)
    }

    /// What went wrong, if the turn failed for good: a stable word. What went wrong in an attempt is in `attempts`.
    async fn error_type(&self) -> Option<&str> {
        self.0.error_type.as_deref()
    }

    /// What went wrong, if the turn failed for good, or why it was cancelled, in words.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// How often it was started.
    async fn attempt_count(&self) -> Long {
        Long::count(self.0.attempt_count)
    }

    /// The attempts at it in the order in which they began: who tried, and how each try ended. Of a turn that a lane decides on
    /// all; of one that was recorded elsewhere the first 100.
    #[graphql(
        complexity = "1 + usize::try_from(CHANNEL_ATTEMPTS_MAX).unwrap_or(usize::MAX) * child_complexity"
    )]
    async fn attempts(&self, ctx: &Context<'_>) -> Result<Vec<TurnAttempt>> {
        let reading = Reading::below(ctx, "turns")?;
        let attempts = turn_attempts::of_turn(reading.store(), reading.ledger, self.0.id).await;
        let attempts = attempts.map_err(|error| of_read_store(&error))?;
        Ok(attempts.into_iter().map(TurnAttempt::from).collect())
    }

    /// When it began to gather messages.
    async fn opened_at(&self) -> DateTime {
        DateTime(self.0.opened_at)
    }

    /// When its first attempt began.
    async fn started_at(&self) -> Option<DateTime> {
        self.0.started_at.map(DateTime)
    }

    /// When it was over.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }

    /// How long it took by the source's clock, µs.
    async fn duration_us(&self) -> Option<Long> {
        self.0.duration_us.map(Long::count)
    }

    /// Its first record.
    async fn first_position(&self) -> PositionScalar {
        PositionScalar(self.0.first_position)
    }

    /// Its last record.
    async fn last_position(&self) -> PositionScalar {
        PositionScalar(self.0.last_position)
    }

    /// What happened in it, counted.
    async fn counts(&self) -> Counts {
        Counts::from(&self.0.tally)
    }

    /// What its model calls cost, by currency.
    async fn costs(&self) -> Vec<Cost> {
        self.0.costs.iter().cloned().map(Cost::from).collect()
    }

    /// Its messages in the order of the conversation.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Message>> {
        let reading = Reading::below(ctx, "messages")?;
        let asked = Asked::new("message", first, after.as_deref())?;
        let Some(session) = self.0.session else {
            return Ok(Connection::new(false, false));
        };
        let rows = messages::of_turn(
            reading.store(),
            reading.ledger,
            session,
            self.0.id,
            &asked.request,
        )
        .await;
        asked.connection(rows, Message)
    }

    /// Its steps in the order in which they were first begun, those of earlier attempts too. A worker that takes over goes on
    /// behind the last one that is completed; what it called and how that came out is in `effects`.
    #[graphql(complexity = "1 + STEPS_PER_TURN_MAX * child_complexity")]
    async fn steps(&self, ctx: &Context<'_>) -> Result<Vec<TurnStep>> {
        let reading = Reading::below(ctx, "turns")?;
        let steps = turn_steps::of_turn(reading.store(), reading.ledger, self.0.id).await;
        let steps = steps.map_err(|error| of_read_store(&error))?;
        Ok(steps.into_iter().map(TurnStep::from).collect())
    }

    /// Its tool calls and their effects.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn effects(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, ToolEffect>> {
        let reading = Reading::below(ctx, "tool_effects")?;
        let asked = Asked::new("effect", first, after.as_deref())?;
        let filter = tool_effects::EffectFilter {
            turn: Some(self.0.id),
            ..Default::default()
        };
        let rows = tool_effects::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, ToolEffect)
    }
}
