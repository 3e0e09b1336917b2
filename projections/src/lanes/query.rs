//! Which lanes there are, where something is due, and which turns wait for a worker.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use ruche_domain::ids::{LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Where a turn stands that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneTurnState {
    /// It takes messages.
    Accumulating,
    /// It waits for the turn that holds the lane.
    Queued,
    /// It holds the lane and waits for a worker.
    Ready,
    /// A worker has it.
    Processing,
    /// It waits for people.
    AwaitingApproval,
    /// It is to end early and waits for its effects to settle.
    Cancelling,
    /// It undoes what it did.
    Compensating,
}

impl LaneTurnState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Accumulating,
        Self::Queued,
        Self::Ready,
        Self::Processing,
        Self::AwaitingApproval,
        Self::Cancelling,
        Self::Compensating,
    ];

    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accumulating => "gathering",
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Cancelling => "draining",
            Self::Compensating => "compensating",
        }
    }
}

impl FromStr for LaneTurnState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or(())
    }
}

/// The turn that holds a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub turn: TurnId,
    /// Its session.
    pub session: Option<SessionId>,
    /// Where it stands.
    pub state: LaneTurnState,
    /// From when it may be claimed, while it is ready.
    pub not_before: Option<Micros>,
    /// When the lease on it lapses.
    pub lease_expires_at: Option<Micros>,
    /// Attempts that began.
    pub attempts: u64,
    /// While a worker has it: when it had begun if it had never waited for people.
    pub running_since: Option<Micros>,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Which.
    pub id: LaneId,
    /// The client's own id of the agent.
    pub agent: Option<String>,
    /// The client's own id of the person or system that the agent talks with.
    pub interlocutor: Option<String>,
    /// Channel.
    pub channel: Option<String>,
    /// The client's own id of the thread.
    pub thread: Option<String>,
    /// Its first record.
    pub first_position: Position,
    /// Turns that nobody has begun: those that take messages, wait for the holder or wait for a worker.
    pub depth: u64,
    /// When the oldest of them was opened.
    pub oldest_at: Option<Micros>,
    /// When something happens in it by itself.
    pub due_at: Option<Micros>,
    /// The turn that holds it.
    pub holder: Option<Holder>,
}

/// Which lanes; all conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneFilter {
    /// Of this agent.
    pub agent: Option<String>,
    /// On this channel.
    pub channel: Option<String>,
    /// With turns that are not over, or without.
    pub busy: Option<bool>,
}

// The turns of a lane are found in the index of lanes, then by their keys. Asked for by their lane alone, SQLite, which
// has no figures of the tables, goes through all turns of the ledger.
const TABLE: &str = "lane LEFT JOIN lane_turn holder ON holder.ledger = lane.ledger AND holder.turn IN \
    (SELECT i.turn FROM lane_turn i WHERE i.ledger = lane.ledger AND i.lane = lane.lane) \
    AND holder.state NOT IN ('gathering', 'queued')";
const TURNS: &str = "FROM lane_turn t WHERE t.ledger = lane.ledger AND t.turn IN \
    (SELECT i.turn FROM lane_turn i WHERE i.ledger = lane.ledger AND i.lane = lane.lane)";

fn columns() -> String {
    let waiting = "t.state IN ('gathering', 'queued', 'ready')";
    let approvals = "SELECT due_at FROM lane_approval a WHERE a.ledger = lane.ledger AND a.lane = lane.lane";
    format!(
        "lane.lane, lane.agent, lane.interlocutor, lane.channel, lane.thread, lane.first_position, \
        (SELECT COUNT(*) {TURNS} AND {waiting}), (SELECT MIN(t.opened_at) {TURNS} AND {waiting}), \
        (SELECT MIN(due_at) FROM (SELECT t.due_at {TURNS} UNION ALL {approvals}) timers), \
        holder.turn, holder.session, holder.state, holder.not_before, holder.lease_expires_at, holder.attempts, \
        CASE WHEN holder.state = 'processing' THEN holder.started_at END"
    )
}

fn read(fields: &mut Fields) -> Result<(Cursor, Lane), ReadStoreError> {
    let mut lane = Lane {
        id: fields.id()?,
        agent: fields.optional_text()?,
        interlocutor: fields.optional_text()?,
        channel: fields.optional_text()?,
        thread: fields.optional_text()?,
        first_position: fields.position()?,
        depth: fields.count()?,
        oldest_at: fields.optional_time()?,
        due_at: fields.optional_time()?,
        holder: None,
    };
    if let Some(turn) = fields.optional_id()? {
        lane.holder = Some(Holder {
            turn,
            session: fields.optional_id()?,
            state: fields.word()?,
            not_before: fields.optional_time()?,
            lease_expires_at: fields.optional_time()?,
            attempts: fields.count()?,
            running_since: fields.optional_time()?,
        });
    }
    let at = crate::event::pack(lane.first_position).unwrap_or(i64::MAX);
    Ok((Cursor::of_id(at, *lane.id.as_bytes()), lane))
}

/// Lanes by their first record.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &LaneFilter,
    page: &PageRequest,
) -> Result<Page<Lane>, ReadStoreError> {
    let mut select = Select::of(&columns(), TABLE, ledger)
        .and_if("lane.agent = ", bounds::key(filter.agent.as_ref()))
        .and_if("lane.channel = ", filter.channel.as_ref());
    if let Some(busy) = filter.busy {
        let not = if busy { "" } else { "NOT " };
        select = select.text(&format!(" AND {not}EXISTS (SELECT 1 {TURNS})"));
    }
    let order = ["lane.first_position", "lane.lane"];
    let rows = select.page(order, Cursor::id_value, page).rows(store).await?;
    Page::read(page, rows, read)
}

/// One lane.
///
/// # Errors
/// Those of the store.
pub async fn by_id(
    store: &dyn ReadStore,
    ledger: LedgerId,
    id: LaneId,
) -> Result<Option<Lane>, ReadStoreError> {
    let select = Select::of(&columns(), TABLE, ledger).and("lane.lane = ", *id.as_bytes());
    let row = select.rows(store).await?.pop();
    row.map(|row| Ok(read(&mut Fields::new(row))?.1)).transpose()
}

/// How a client names a lane, as far as its turns said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneName {
    /// The client's own id of the agent.
    pub agent: Option<String>,
    /// The client's own id of whom it talks with.
    pub interlocutor: Option<String>,
    /// Channel.
    pub channel: Option<String>,
    /// The client's own id of the thread.
    pub thread: Option<String>,
}

/// The names of these lanes, by lane.
///
/// # Errors
/// Those of the store.
pub async fn names(
    store: &dyn ReadStore,
    ledger: LedgerId,
    ids: &[LaneId],
) -> Result<HashMap<LaneId, LaneName>, ReadStoreError> {
    let rows = Select::of("lane, agent, interlocutor, channel, thread", "lane", ledger)
        .and_in("lane", ids.iter().map(|id| *id.as_bytes()))
        .rows(store)
        .await?;
    let read = |row| {
        let fields = &mut Fields::new(row);
        let id = fields.id()?;
        let name = LaneName {
            agent: fields.optional_text()?,
            interlocutor: fields.optional_text()?,
            channel: fields.optional_text()?,
            thread: fields.optional_text()?,
        };
        Ok((id, name))
    };
    rows.into_iter().map(read).collect()
}

/// A lane in which something happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub at: Micros,
    /// Where.
    pub lane: LaneId,
}

/// What happens in lanes by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// Lanes in which something is due by now, each once: those first in which it was due first.
    pub due: Vec<Due>,
    /// When the next thing is due anywhere.
    pub next: Option<Micros>,
}

impl Timers {
    /// When the first thing is due, by now or later.
    pub fn first(&self) -> Option<Micros> {
        self.due.first().map(|due| due.at).or(self.next)
    }
}

/// Timers that are looked through for those of different lanes. As long as no more are due, a lane is found however many
/// timers others have.
const DUE_ROWS_MAX: i64 = 65_536;

/// The lanes in which something is due by `now`, at most `lanes_max` of them, and when there is more to do.
///
/// # Errors
/// Those of the store.
pub async fn timers(
    store: &dyn ReadStore,
    ledger: LedgerId,
    now: Micros,
    lanes_max: usize,
) -> Result<Timers, ReadStoreError> {
    let now = bounds::time(Some(now)).unwrap_or(i64::MAX);
    let mut timers = Timers::default();
    for table in ["lane_turn", "lane_approval"] {
        // The rows are taken first, by the index of what is due; grouped at once, an engine may go through all.
        let select = Select::of("due_at, lane", table, ledger)
            .and("due_at <= ", now)
            .text(&format!(" ORDER BY due_at LIMIT {DUE_ROWS_MAX}"))
            .within(
                "MIN(due_at), lane",
                "GROUP BY lane ORDER BY MIN(due_at), lane LIMIT ",
            )
            .bind(lanes_max as i64);
        for row in select.rows(store).await? {
            let fields = &mut Fields::new(row);
            timers.due.push(Due {
                at: fields.time()?,
                lane: fields.id()?,
            });
        }
        let select = Select::of("due_at", table, ledger)
            .and("due_at > ", now)
            .text(" ORDER BY due_at LIMIT 1");
        if let Some(row) = select.rows(store).await?.pop() {
            let at = Fields::new(row).time()?;
            timers.next = Some(timers.next.map_or(at, |next| next.min(at)));
        }
    }
    timers.due.sort_unstable();
    let mut seen = HashSet::new();
    timers.due.retain(|due| seen.insert(due.lane));
    timers.due.truncate(lanes_max);
    Ok(timers)
}

/// A turn that waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its lane.
    pub lane: LaneId,
    /// Which.
    pub turn: TurnId,
    /// From when it may be claimed.
    pub not_before: Micros,
}

/// Turns of a ledger that nobody has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many wait for a worker, those among them that wait for a while after an attempt that failed.
    pub ready: u64,
    /// How many wait for the turn that holds their lane.
    pub queued: u64,
    /// Since when the one that waits longest for a worker could have been claimed.
    pub oldest_ready: Option<Micros>,
}

/// How many turns of a ledger wait, and how long.
///
/// # Errors
/// Those of the store.
pub async fn queue(store: &dyn ReadStore, ledger: LedgerId) -> Result<Queue, ReadStoreError> {
    let of_state = |state: LaneTurnState| format!("COUNT(CASE state WHEN '{}' THEN 1 END)", state.name());
    let columns = format!(
        "{}, {}, MIN(not_before)",
        of_state(LaneTurnState::Ready),
        of_state(LaneTurnState::Queued)
    );
    let rows = Select::of(&columns, "lane_turn", ledger).rows(store).await?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(Queue::default());
    };
    let fields = &mut Fields::new(row);
    Ok(Queue {
        ready: fields.count()?,
        queued: fields.count()?,
        oldest_ready: fields.optional_time()?,
    })
}

/// A turn that a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its lane.
    pub lane: LaneId,
    /// Which.
    pub turn: TurnId,
    /// When it had begun if it had never waited for people.
    pub since: Micros,
}

/// The turns that run longest, at most `turns_max` of them.
///
/// # Errors
/// Those of the store.
pub async fn running(
    store: &dyn ReadStore,
    ledger: LedgerId,
    turns_max: usize,
) -> Result<Vec<Running>, ReadStoreError> {
    let select = Select::of("lane, turn, started_at", "lane_turn", ledger)
        .and("state = ", LaneTurnState::Processing.name())
        .text(" AND started_at IS NOT NULL ORDER BY started_at, position LIMIT ")
        .bind(turns_max as i64);
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok(Running {
            lane: fields.id()?,
            turn: fields.id()?,
            since: fields.time()?,
        })
    };
    select.rows(store).await?.into_iter().map(read).collect()
}

/// The name by which the read model has an agent: [`Lane::agent`] of its lanes.
pub fn name_of_agent(agent: &str) -> String {
    bounds::name(agent).into_owned()
}

/// The turns of an agent, on a channel if one is given, that wait for a worker, the longest waiting first. A lane has one
/// of them at most, and the next one of a lane gets ready when the one before is over: so they go round over the lanes,
/// however many turns one of them has.
///
/// # Errors
/// Those of the store.
pub async fn ready(
    store: &dyn ReadStore,
    ledger: LedgerId,
    agent: &str,
    channel: Option<&str>,
    turns_max: usize,
) -> Result<Vec<Ready>, ReadStoreError> {
    let agent = bounds::name(agent).into_owned();
    let mut select = Select::of("lane, turn, not_before", "lane_turn", ledger).and("agent = ", agent);
    if let Some(channel) = channel {
        let of_channel =
            " AND EXISTS (SELECT 1 FROM lane l WHERE l.ledger = lane_turn.ledger AND l.lane = lane_turn.lane";
        select = select
            .text(of_channel)
            .and("l.channel = ", channel.to_owned())
            .text(")");
    }
    let select = select
        .text(" AND not_before IS NOT NULL ORDER BY not_before, position LIMIT ")
        .bind(turns_max as i64);
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok(Ready {
            lane: fields.id()?,
            turn: fields.id()?,
            not_before: fields.time()?,
        })
    };
    select.rows(store).await?.into_iter().map(read).collect()
}
