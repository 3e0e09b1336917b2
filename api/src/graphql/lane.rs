//! Lanes.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::LaneId;
use ruche_projections::{lanes, turns};

use super::read::{Loading, Reading, of_read_store};
use super::scalars::{DateTime, Long, PositionScalar};
use super::session::id;
use super::turn::Turn;
use super::words::LaneTurnState;
use crate::limits::RUNNING_TURNS_TOLD;

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

    /// While a worker has it: when it had begun if it had never waited for people.
    async fn running_since(&self) -> Option<DateTime> {
        self.0.running_since.map(DateTime)
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

    /// What gathering messages did for its turns.
    #[graphql(complexity = "10 + child_complexity")]
    async fn gathering(&self, ctx: &Context<'_>) -> Result<Gathering> {
        let reading = Reading::below(ctx, "turns")?;
        let found = turns::gathering(reading.store(), reading.ledger, self.0.id).await;
        Ok(found.map_err(|error| of_read_store(&error))?.into())
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

/// How many messages the turns of a lane answer at once, and how long they waited for it: of its last 1,000 turns, those that took
/// their last message.
#[derive(SimpleObject)]
pub(super) struct Gathering {
    /// How many turns.
    turns: Long,
    /// Messages of interlocutors in them.
    messages: Long,
    /// Messages for each turn; nothing where there is no turn.
    messages_per_turn: Option<f64>,
    /// From the opening of a turn until it took no more messages, µs: half of the turns took no longer.
    added_wait_p50_us: Option<Long>,
    /// Of a hundred turns 95 took no longer.
    added_wait_p95_us: Option<Long>,
}

impl From<turns::Gathering> for Gathering {
    fn from(found: turns::Gathering) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "there are at most a thousand turns")]
        let factor = |messages: u64, turns: u64| messages as f64 / turns as f64;
        Self {
            turns: Long::count(found.turns),
            messages: Long::count(found.messages),
            messages_per_turn: (found.turns > 0).then(|| factor(found.messages, found.turns)),
            added_wait_p50_us: found.added_wait_p50_us.map(Long::count),
            added_wait_p95_us: found.added_wait_p95_us.map(Long::count),
        }
    }
}

/// A turn that a worker has.
pub(super) struct RunningTurn(lanes::Running);

/// A turn that a worker has.
#[Object]
impl RunningTurn {
    /// The turn.
    async fn turn_id(&self) -> ID {
        id(self.0.turn)
    }

    /// The turn, as its read model has it.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        let found = ctx.data_unchecked::<Loading>().load_one(self.0.turn).await?;
        Ok(found.map(Turn))
    }

    /// Its lane.
    async fn lane(&self, ctx: &Context<'_>) -> Result<Option<LaneName>> {
        name_of(ctx, Some(self.0.lane)).await
    }

    /// When it had begun if it had never waited for people.
    async fn since(&self) -> DateTime {
        DateTime(self.0.since)
    }
}

/// Turns that wait, and turns that run.
#[derive(SimpleObject)]
pub(super) struct Queue {
    /// Turns that wait for a worker, those among them that wait for a while after an attempt that failed.
    ready: Long,
    /// Turns that wait for the turn that holds their lane.
    queued: Long,
    /// Since when the one that waits longest for a worker could have been claimed.
    oldest_ready_at: Option<DateTime>,
    /// Turns that run, those that run longest first; at most 10.
    running: Vec<RunningTurn>,
}

impl Queue {
    pub(super) async fn load(reading: &Reading) -> Result<Self> {
        let (store, ledger) = (reading.store(), reading.ledger);
        let queue = lanes::queue(store, ledger).await;
        let queue = queue.map_err(|error| of_read_store(&error))?;
        let running = lanes::running(store, ledger, RUNNING_TURNS_TOLD).await;
        let running = running.map_err(|error| of_read_store(&error))?;
        Ok(Self {
            ready: Long::count(queue.ready),
            queued: Long::count(queue.queued),
            oldest_ready_at: queue.oldest_ready.map(DateTime),
            running: running.into_iter().map(RunningTurn).collect(),
        })
    }
}
