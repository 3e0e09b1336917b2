//! Lanes.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::LaneId;
use ruche_projections::lanes;

use super::read::Loading;
use super::scalars::{DateTime, Long, PositionScalar};
use super::session::id;
use super::turn::Turn;
use super::words::LaneTurnState;

/// Which lanes; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct LaneFilter {
    /// Of this agent, by the client's own id.
    agent: Option<String>,
    /// On this channel.
    channel: Option<String>,
    /// With turns that are not over, or without.
    busy: Option<bool>,
}

impl From<LaneFilter> for lanes::LaneFilter {
    fn from(filter: LaneFilter) -> Self {
        Self {
            agent: filter.agent,
            channel: filter.channel,
            busy: filter.busy,
        }
    }
}

/// How a client names a lane.
#[derive(SimpleObject)]
pub(super) struct LaneName {
    /// The client's own id of the agent.
    agent: Option<String>,
    /// The client's own id of the person or system that the agent talks with.
    interlocutor: Option<String>,
    /// Channel.
    channel: Option<String>,
    /// The client's own id of the thread.
    thread: Option<String>,
}

impl From<&lanes::Lane> for LaneName {
    fn from(lane: &lanes::Lane) -> Self {
        Self {
            agent: lane.agent.clone(),
            interlocutor: lane.interlocutor.clone(),
            channel: lane.channel.clone(),
            thread: lane.thread.clone(),
        }
    }
}

impl From<lanes::LaneName> for LaneName {
    fn from(name: lanes::LaneName) -> Self {
        Self {
            agent: name.agent,
            interlocutor: name.interlocutor,
            channel: name.channel,
            thread: name.thread,
        }
    }
}

/// The name of the lane that decides on something.
pub(super) async fn name_of(ctx: &Context<'_>, lane: Option<LaneId>) -> Result<Option<LaneName>> {
    let Some(lane) = lane else { return Ok(None) };
    let found = ctx.data_unchecked::<Loading>().load_one(lane).await?;
    Ok(found.map(LaneName::from))
}

/// The turn that holds a lane.
pub(super) struct LaneHolder(lanes::Holder);

/// The turn that holds a lane.
#[Object]
impl LaneHolder {
    /// The turn.
    async fn turn_id(&self) -> ID {
        id(self.0.turn)
    }

    /// The turn, as its read model has it.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        let found = ctx.data_unchecked::<Loading>().load_one(self.0.turn).await?;
        Ok(found.map(Turn))
    }

    /// Where it stands.
    async fn state(&self) -> LaneTurnState {
        self.0.state.into()
    }

    /// From when it may be claimed, while it is ready.
    async fn not_before(&self) -> Option<DateTime> {
        self.0.not_before.map(DateTime)
    }

    /// When the lease on it lapses unless it is renewed.
    async fn lease_expires_at(&self) -> Option<DateTime> {
        self.0.lease_expires_at.map(DateTime)
    }

    /// Attempts that began.
    async fn attempt_count(&self) -> Long {
        Long::count(self.0.attempts)
    }
}

/// A conversation lane: who talks with whom, and where. Its turns run one at a time.
pub(super) struct Lane(pub lanes::Lane);

/// A conversation lane: who talks with whom, and where. Its turns run one at a time.
#[Object]
impl Lane {
    /// Its id.
    async fn id(&self) -> ID {
        id(self.0.id)
    }

    /// How commands name it.
    async fn name(&self) -> LaneName {
        LaneName::from(&self.0)
    }

    /// Turns that nobody has begun: those that take messages, wait for another, or wait for a worker.
    async fn depth(&self) -> Long {
        Long::count(self.0.depth)
    }

    /// When the oldest of them was opened.
    async fn oldest_at(&self) -> Option<DateTime> {
        self.0.oldest_at.map(DateTime)
    }

    /// When something happens in it by itself: a window closes, a lease lapses.
    async fn due_at(&self) -> Option<DateTime> {
        self.0.due_at.map(DateTime)
    }

    /// The turn that holds it.
    async fn holder(&self) -> Option<LaneHolder> {
        self.0.holder.clone().map(LaneHolder)
    }

    /// Its first record.
    async fn first_position(&self) -> PositionScalar {
        PositionScalar(self.0.first_position)
    }
}
