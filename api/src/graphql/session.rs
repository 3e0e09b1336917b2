//! Sessions, and everything below one.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::{CallId, TurnId};
use ruche_ledger::references::ReferenceKey;
use ruche_projections::{goals, messages, scenarios, scores, sessions, timeline, tool_effects, turns};

use super::counts::{Cost, Counts};
use super::effect::ToolEffect;
use super::goal::Goal;
use super::message::Message;
use super::page::{Cursor, cost};
use super::read::{Asked, Reading};
use super::scalars::{DateTime, Json, Long, PositionScalar};
use super::scenario::Scenario;
use super::score::Score;
use super::timeline::TimelineEntry;
use super::turn::Turn;
use super::words::{GoalStatus, ScenarioStatus, SessionEndReason, SessionStatus};

/// A conversation between an agent and an interlocutor.
pub(super) struct Session(pub sessions::Session);

/// Which sessions; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct SessionFilter {
    /// The client's own id of the session.
    external_id: Option<String>,
    /// The client's own id of the agent.
    agent: Option<String>,
    /// The client's own id of the interlocutor, on whatever channel. A session is found by it though the payload that named it
    /// is erased.
    interlocutor: Option<String>,
    /// Channel, such as `web`.
    channel: Option<String>,
    /// Where it stands.
    status: Option<SessionStatus>,
    /// Started at this time or later.
    started_from: Option<DateTime>,
    /// Started before this time.
    started_before: Option<DateTime>,
    /// With goals that are still to be reached, or without.
    open_goals: Option<bool>,
    /// Whose lane holds a turn, and where something happened since `idleSince`, or nothing did.
    state: Option<SessionActivity>,
    /// With `state`: what happened at this time or later counts as activity.
    idle_since: Option<DateTime>,
}

/// Whether something happens in a session whose lane holds a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum SessionActivity {
    /// Something happened in it lately.
    Active,
    /// Nothing did: who has the turn, or is to decide on it, does nothing.
    Frozen,
}

impl SessionFilter {
    /// # Errors
    /// `INVALID_ARGUMENT` for a `state` without a time, or a time without a `state`.
    pub(super) fn read(self, references: &ReferenceKey) -> Result<sessions::SessionFilter> {
        let activity = match (self.state, self.idle_since) {
            (None, None) => None,
            (Some(SessionActivity::Active), Some(at)) => Some(sessions::Activity::ActiveSince(at.0)),
            (Some(SessionActivity::Frozen), Some(at)) => Some(sessions::Activity::FrozenSince(at.0)),
            _ => {
                let message = "`state` and `idleSince` go together";
                return Err(super::errors::fault(
                    crate::error_codes::INVALID_ARGUMENT,
                    message,
                ));
            }
        };
        Ok(sessions::SessionFilter {
            agent: self.agent,
            subject: self.interlocutor.map(|name| references.subject(&name)),
            external_id: self.external_id,
            channel: self.channel,
            status: self.status.map(Into::into),
            started_from: self.started_from.map(|time| time.0),
            started_before: self.started_before.map(|time| time.0),
            open_goals: self.open_goals,
            activity,
        })
    }
}

/// How many sessions fit a filter, and what happened in them.
#[derive(SimpleObject)]
pub(super) struct Totals {
    /// How many sessions.
    pub sessions: Long,
    /// What happened in them, counted.
    pub counts: Counts,
}

/// An id of the read models as opaque text.
pub(super) fn id(value: impl std::fmt::Display) -> ID {
    ID(value.to_string())
}

/// A conversation between an agent and an interlocutor.
#[Object]
impl Session {
    /// Its id.
    async fn id(&self) -> ID {
        id(self.0.id)
    }

    /// The client's own id.
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Application that it runs in.
    async fn app(&self) -> Option<&str> {
        self.0.app.as_deref()
    }

    /// The client's own id of the agent.
    async fn agent(&self) -> Option<&str> {
        self.0.agent.as_deref()
    }

    /// Version of the agent.
    async fn agent_version(&self) -> Option<&str> {
        self.0.agent_version.as_deref()
    }

    /// The client's own id of the interlocutor.
    async fn interlocutor(&self) -> Option<&str> {
        self.0.interlocutor.as_deref()
    }

    /// Channel, such as `web`.
    async fn channel(&self) -> Option<&str> {
        self.0.channel.as_deref()
    }

    /// The client's own id of the scenario or task.
    async fn scenario(&self) -> Option<&str> {
        self.0.scenario.as_deref()
    }

    /// Which repetition of the scenario, from 0.
    async fn trial(&self) -> Option<Long> {
        self.0.trial.map(Long::count)
    }

    /// Labels of the client.
    async fn attributes(&self) -> Option<Json> {
        let text = self.0.attributes.as_deref()?;
        serde_json::from_str(text).ok().map(Json)
    }

    /// Worth as evidence of the record that opened it.
    async fn provenance(&self) -> &str {
        &self.0.provenance
    }

    /// Where it stands.
    async fn status(&self) -> SessionStatus {
        self.0.status.into()
    }

    /// When it began.
    async fn started_at(&self) -> DateTime {
        DateTime(self.0.started_at)
    }

    /// When it ended.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }

    /// Why it ended.
    async fn end_reason(&self) -> Option<SessionEndReason> {
        self.0.end_reason.map(Into::into)
    }

    /// Why it ended, in the source's own words.
    async fn end_detail(&self) -> Option<&str> {
        self.0.end_detail.as_deref()
    }

    /// Its first record.
    async fn first_position(&self) -> PositionScalar {
        PositionScalar(self.0.first_position)
    }

    /// Its last record.
    async fn last_position(&self) -> PositionScalar {
        PositionScalar(self.0.last_position)
    }

    /// When its last record happened.
    async fn last_at(&self) -> DateTime {
        DateTime(self.0.last_at)
    }

    /// How many turns were opened in it.
    async fn turn_count(&self) -> Long {
        Long(self.0.tally.turns)
    }

    /// How many messages it has.
    async fn message_count(&self) -> Long {
        Long(self.0.tally.messages)
    }

    /// What happened in it, counted.
    async fn counts(&self) -> Counts {
        Counts::from(&self.0.tally)
    }

    /// What its model calls cost, by currency.
    async fn costs(&self) -> Vec<Cost> {
        self.0.costs.iter().cloned().map(Cost::from).collect()
    }

    /// Its turns, oldest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn turns(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Turn>> {
        let reading = Reading::below(ctx, "turns")?;
        let asked = Asked::new("turn", first, after.as_deref())?;
        let filter = turns::TurnFilter {
            session: Some(self.0.id),
            ..Default::default()
        };
        asked.connection(
            turns::list(reading.store(), reading.ledger, &filter, &asked.request).await,
            Turn,
        )
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
        let rows = messages::of_session(reading.store(), reading.ledger, self.0.id, &asked.request).await;
        asked.connection(rows, Message)
    }

    /// Everything that happened in it, in the order of the ledger.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn timeline(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Of this turn only.")] turn_id: Option<ID>,
        #[graphql(desc = "Of this tool call only.")] call_id: Option<ID>,
        #[graphql(desc = "From the last record back.", default)] newest_first: bool,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, TimelineEntry>> {
        let reading = Reading::below(ctx, "timeline")?;
        let asked = Asked::new("timeline", first, after.as_deref())?;
        let asked = if newest_first { asked.descending() } else { asked };
        let filter = timeline::TimelineFilter {
            turn: turn_id.map(|id| parse_id::<TurnId>("turnId", &id)).transpose()?,
            call: call_id.map(|id| parse_id::<CallId>("callId", &id)).transpose()?,
        };
        let rows =
            timeline::of_session(reading.store(), reading.ledger, self.0.id, filter, &asked.request).await;
        asked.connection(rows, TimelineEntry)
    }

    /// The scenarios that it ran, in the order in which they were entered.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn scenarios(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that stand so.")] status: Option<ScenarioStatus>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Scenario>> {
        let reading = Reading::below(ctx, "scenarios")?;
        let asked = Asked::new("scenario", first, after.as_deref())?;
        let filter = scenarios::ScenarioFilter {
            session: Some(self.0.id),
            status: status.map(Into::into),
            ..Default::default()
        };
        let rows = scenarios::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, Scenario)
    }

    /// The goals that were told of in it, in the order in which they were first told of. A goal with a stream of its own belongs
    /// to no session.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn goals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that stand so.")] status: Option<GoalStatus>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Goal>> {
        let reading = Reading::below(ctx, "goals")?;
        let asked = Asked::new("goal", first, after.as_deref())?;
        let status = status.map(Into::into);
        let rows =
            goals::of_session(reading.store(), reading.ledger, self.0.id, status, &asked.request).await;
        asked.connection(rows, Goal::from)
    }

    /// What was scored in it, in the order of the ledger: the session as a whole, its turns, messages and calls.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn scores(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Score>> {
        let reading = Reading::below(ctx, "sessions")?;
        let asked = Asked::new("score", first, after.as_deref())?;
        let rows = scores::of_session(reading.store(), reading.ledger, self.0.id, &asked.request).await;
        asked.connection(rows, Score::from)
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
            session: Some(self.0.id),
            ..Default::default()
        };
        let rows = tool_effects::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, ToolEffect)
    }
}

/// Reads an id that this API gave.
///
/// # Errors
/// `INVALID_ARGUMENT`. An id of another tenant is well-formed and finds nothing.
pub(super) fn parse_id<T: std::str::FromStr>(argument: &str, id: &ID) -> Result<T> {
    id.as_str().parse().map_err(|_| {
        let message = format!("`{argument}` is no id that this API gave");
        super::errors::fault(crate::error_codes::INVALID_ARGUMENT, message)
    })
}
