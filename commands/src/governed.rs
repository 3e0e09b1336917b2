//! Governed turns: the machine of a lane on the lane's stream. Each command loads the lane, lets the machine decide and
//! appends what it says, guarded by the version of the stream: of two commands that meet, one is decided again.
//!
//! # The life of a governed turn
//!
//! 1. A message comes in (`messages`). A worker takes the turn that is ready, of a lane (`turns`) or of an agent (`claims`).
//! 2. It wants a call (`propose`); of an irreversible one a reviewer decides first (`votes`).
//!    What it does in steps it says by `steps`.
//! 3. It starts the call (`effects`) and says how it came out (`report`); `calls` knows who holds a business key, and `signed` judges
//!    once more what was approved. A turn that ends early undoes what it did (`undoing`).
//! 4. Meanwhile it says that it is still there (`heartbeat`), and nothing gets longer than it may (`room`). It answers and
//!    commits, or fails (`turns`). What happens by itself is fired by whoever watches the time (`timers`), and in front of a
//!    claim, in its append.
//! 5. Where it failed, a person says that it was looked after (`settling`).

mod messages;
mod turns;
mod claims;
mod propose;
mod votes;
mod effects;
mod signed;
mod named_start;
mod undoing;
mod steps;
mod held_turn;
mod heartbeat;
mod calls;
mod folded;
mod timers;
mod room;
mod refusal;
mod report;
mod settling;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, ApprovalVoted, ConfigScope, SessionStarted, ToolProposed};
use ruche_domain::ids::{ApprovalId, CallId, LaneId, SessionId, SubjectId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::channel;
use crate::command::{Decision, Load, NewEvent, PastEvent};
use crate::configuration::config_stream;
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{
    self, ChannelSettings, Gate, Held, Intent, Lane, LaneCommand, LaneEvent, LeaseProof, TurnState,
};
use crate::session::SessionState;

pub use claims::ClaimTurnOfAgent;
pub use effects::{ResolveOutcome, SendMessage, StartEffect};
pub use heartbeat::HeartbeatTurn;
pub use held_turn::HeldTurn;
pub use messages::SubmitMessage;
pub use named_start::StartCall;
pub use propose::ProposeAction;
pub use report::{ReportEffect, Reported};
pub use settling::SettleIntervention;
pub use steps::{CompleteStep, StartStep};
pub use timers::FireTimers;
pub use turns::{CancelTurn, ClaimTurn, CommitTurn, FailTurn};
pub use undoing::{CompensationReport, ReportCompensation, StartCompensation};
pub use votes::VoteOnApproval;

/// How a client names a lane: who talks with whom, and where. The tenant is that of the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneName {
    /// The client's own id of the agent.
    pub agent: String,
    /// The client's own id of the person or system that the agent talks with.
    pub interlocutor: String,
    /// Channel, such as `web` or `whatsapp`; its settings apply.
    pub channel: String,
    /// The client's own id of the thread, where one pair has several on a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

impl LaneName {
    /// The lane that is meant.
    pub fn id(&self, references: &ReferenceKey) -> LaneId {
        let mut parts = vec![
            self.agent.as_bytes(),
            self.interlocutor.as_bytes(),
            self.channel.as_bytes(),
        ];
        parts.extend(self.thread.as_deref().map(str::as_bytes));
        LaneId(references.id("lane", &parts))
    }

    fn check(&self) -> Result<(), CommandError> {
        check_external_id("/lane/agent", &self.agent)?;
        check_external_id("/lane/interlocutor", &self.interlocutor)?;
        check_external_id("/lane/channel", &self.channel)?;
        let thread = self.thread.as_deref();
        thread.map_or(Ok(()), |thread| check_external_id("/lane/thread", thread))
    }

    fn load(&self, ground: &Ground<'_>) -> Result<Load, CommandError> {
        self.check()?;
        Ok(Load::whole(lane_stream(self.id(ground.references))).going_forward())
    }
}

/// The stream of a lane.
pub fn lane_stream(lane: LaneId) -> StreamId {
    StreamId::new(Category::Lane, lane.0)
}

/// The stream of an approval request.
pub fn approval_stream(approval: ApprovalId) -> StreamId {
    StreamId::new(Category::Approval, approval.0)
}

/// The request for approval of a call. A call has at most one, since an edited call is another call; so it has the
/// call's id, and whoever knows the lane knows where its approvals stand.
pub fn approval_of(call: CallId) -> ApprovalId {
    ApprovalId(call.0)
}

/// The turn that a decision on a request may open: one for each request.
fn turn_of_approval(approval: ApprovalId, ground: &Ground<'_>) -> TurnId {
    TurnId::governed(ground.references.id("turn-of-approval", &[approval.as_bytes()]))
}

/// The lease that a worker shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseRef {
    /// Opaque id of the lease.
    pub id: String,
    /// Its fencing number.
    pub epoch: u64,
}

/// What commands about a lane are decided on.
#[derive(Clone, Debug, Default)]
pub struct GovernedState {
    /// Where the lane stands.
    stream: Option<StreamId>,
    /// The lane without its approvals.
    lane: Lane,
    /// Everything that happened to the lane and its approvals, with its place.
    past: Vec<(Position, Arc<LaneEvent>)>,
    owners: HashMap<TurnId, Owner>,
    /// Who claimed each turn last.
    workers: HashMap<TurnId, Option<Uuid>>,
    /// Who began each try at undoing an effect, by its place.
    undoers: HashMap<Position, Option<Uuid>>,
    /// Digest of the settings that each turn runs under.
    configs: HashMap<TurnId, Digest>,
    /// Calls that turns went on without, and those whose decision opened a turn.
    deferred: HashSet<CallId>,
    decided: HashSet<CallId>,
    session: SessionState,
    started: Option<SessionStarted>,
    /// Agent and channel of the lane, as the turns that messages opened say.
    agent: Option<String>,
    channel: Option<String>,
    /// What was published of channels, by channel.
    published: HashMap<String, BTreeMap<String, Value>>,
    /// How much stands of the lane and of each turn.
    length: Length,
    lengths: HashMap<TurnId, Length>,
    unreadable: Option<String>,
}

/// Session and subject of a turn.
type Owner = (SessionId, Option<SubjectId>);

impl GovernedState {
    pub(crate) fn evolve(&mut self, past: &PastEvent) {
        if past.stream().category == Category::Session {
            self.session.evolve(past);
            if let Some(AgentEvent::SessionStarted(started)) = &past.event {
                self.started = Some(started.clone());
            }
            return;
        }
        if past.stream().category == Category::Config {
            return self.publish(past);
        }
        if past.stream().category == Category::Lane {
            self.stream = Some(past.stream());
            self.lengthen(past);
        }
        let envelope = &past.recorded.event;
        let Some(turn) = envelope.turn else { return };
        if let Some(AgentEvent::TurnOpened(opened)) = &past.event
            && opened.channel.is_some()
        {
            self.agent.clone_from(&opened.agent_id);
            self.channel.clone_from(&opened.channel);
        }
        let (position, by) = (past.recorded.receipt.position, envelope.actor.reference);
        match &past.event {
            Some(AgentEvent::TurnStarted(_)) => drop(self.workers.insert(turn, by)),
            Some(AgentEvent::ToolCompensationStarted(_)) => drop(self.undoers.insert(position, by)),
            _ => {}
        }
        if let Some(session) = envelope.session {
            self.owners.entry(turn).or_insert((session, envelope.subject));
        }
        match past.of_lane() {
            Some(event) => self.take(past.recorded.receipt.position, event.clone()),
            // Words may be erased; the machine does not need them.
            None if past.event_type().starts_with("message.") => {}
            None => self.unreadable = Some(past.recorded.receipt.position.to_string()),
        }
    }

    fn publish(&mut self, past: &PastEvent) {
        let Some(AgentEvent::ConfigPublished(published)) = &past.event else {
            self.unreadable = Some(past.recorded.receipt.position.to_string());
            return;
        };
        let channel = published.scope_id.clone().unwrap_or_default();
        let values = self.published.entry(channel).or_default();
        for key in &published.removed {
            values.remove(key);
        }
        values.extend(published.set.clone());
    }

    /// The settings of a channel, as far as its configuration was read.
    fn settings_of(&self, channel: &str) -> ChannelSettings {
        channel::settings(channel, self.published.get(channel))
    }

    /// The configuration of a channel. Guarded: a turn that is cut and a change that meet do not both pass.
    fn load_channel(channel: &str, ground: &Ground<'_>) -> Load {
        Load::whole(config_stream(
            ground.references,
            ConfigScope::Channel,
            Some(channel),
        ))
    }

    fn take(&mut self, position: Position, event: Arc<LaneEvent>) {
        match (&event.fact, event.call) {
            (AgentEvent::ConfigEffectiveResolved(resolved), _) => {
                self.configs.insert(event.turn, resolved.result_digest);
            }
            (AgentEvent::ToolDeferred(_), Some(call)) => drop(self.deferred.insert(call)),
            (AgentEvent::TurnOpened(_), Some(call)) => drop(self.decided.insert(call)),
            _ => {}
        }
        if event.approval.is_none() {
            self.lane.apply(&event);
        }
        self.past.push((position, event));
    }

    /// The approvals that the lane may still be decided on. They are unguarded: an event that moves an approval stands
    /// in one append with an event of the lane, whose version is guarded.
    fn approval_loads(&self) -> Vec<Load> {
        let open = self.lane.calls.values().filter(|call| self.may_wait(call));
        open.map(|call| Load::whole(approval_stream(approval_of(call.id))).unguarded())
            .collect()
    }

    /// The approvals, and the configuration of the lane's channel.
    fn more_loads(&self, ground: &Ground<'_>) -> Vec<Load> {
        let channel = self.channel.as_deref();
        let mut loads = self.approval_loads();
        loads.extend(channel.map(|channel| Self::load_channel(channel, ground)));
        loads
    }

    fn proposal_of(&self, call: CallId) -> Option<&ToolProposed> {
        self.past.iter().find_map(|(_, event)| match &event.fact {
            AgentEvent::ToolProposed(proposed) if event.call == Some(call) => Some(proposed),
            _ => None,
        })
    }

    /// The turn that proposed a call. A decision may have given the call to another turn since.
    fn proposed_in(&self, call: CallId) -> Option<TurnId> {
        self.past.iter().find_map(|(_, event)| match &event.fact {
            AgentEvent::ToolProposed(_) if event.call == Some(call) => Some(event.turn),
            _ => None,
        })
    }

    /// The vote that approved a call.
    fn vote_on(&self, call: CallId) -> Option<&ApprovalVoted> {
        self.past.iter().rev().find_map(|(_, event)| match &event.fact {
            AgentEvent::ApprovalVoted(voted) if event.call == Some(call) => {
                (voted.decision == ApprovalDecision::Approve).then_some(voted)
            }
            _ => None,
        })
    }

    /// Whether a call may have an approval that is not settled: it asked for one, was not started, and what became of
    /// its turn does not settle it.
    fn may_wait(&self, call: &lane::Call) -> bool {
        let asks = match call.gate {
            Gate::Approval => true,
            Gate::Open => call.side_effect == SideEffectPolicy::Irreversible,
            Gate::Closed => false,
        };
        let settled = match self.lane.turn(call.turn).map(|turn| turn.state) {
            None => true,
            Some(TurnState::Committed) => {
                !self.deferred.contains(&call.id) || self.decided.contains(&call.id)
            }
            Some(state) => state.is_terminal(),
        };
        asks && call.status.is_none() && !settled
    }

    fn lane_command(&self, channel: &str, ground: &Ground<'_>, intent: Intent) -> LaneCommand {
        LaneCommand {
            now: ground.now,
            settings: self.settings_of(channel),
            layers: Vec::new(),
            intent,
        }
    }

    fn decide(&self, name: &LaneName, ground: &Ground<'_>, asked: &Asked) -> Result<Decision, CommandError> {
        self.decide_in(name.id(ground.references), &name.channel, ground, asked)
            .map(Decision::Append)
    }

    /// A lease is of the credential that claimed the turn. The id of a lease stands in the ledger, where whoever may read
    /// finds it; by itself it proves nothing.
    fn require_worker(&self, turn: TurnId, ground: &Ground<'_>) -> Result<(), CommandError> {
        let worker = self.workers.get(&turn);
        if worker.is_none_or(|worker| *worker == ground.actor.reference) {
            return Ok(());
        }
        Err(CommandError::IllegalTransition {
            field: "/lease",
            thing: "lease",
            state: "that of another credential",
            obstacle: None,
            legal: vec!["ClaimTurn"],
            retry_after_ms: None,
        })
    }

    /// Lets the machine decide; the events of new turns belong to `session`.
    fn decide_in(
        &self,
        id: LaneId,
        channel: &str,
        ground: &Ground<'_>,
        asked: &Asked,
    ) -> Result<Vec<NewEvent>, CommandError> {
        self.require_readable()?;
        let lane = self.lane()?;
        if let Some(turn) = asked.intent.held_turn() {
            self.require_worker(turn, ground)?;
        }
        let (lane, mut events) = if asked.after_timers {
            self.fire_due(lane, id, channel, ground)
        } else {
            (lane, Vec::new())
        };
        let fired = events.len();
        let command = self.lane_command(channel, ground, asked.intent.clone());
        let decided = lane::explain(&lane, &command).map_err(|rejection| refusal(rejection, ground.now))?;
        self.require_room(&lane, &command.intent, &decided.events)?;
        events.extend(decided.events.into_iter().map(|event| asked.named(event)));
        let mut owners = self.owners.clone();
        let new_event = |(number, event): (usize, LaneEvent)| NewEvent {
            by_itself: number < fired,
            // What follows in the append follows from its first event. What fired, fired for a reason of its own.
            caused_by: (number > fired).then_some(fired),
            ..new_event(lane_stream(id), &mut owners, asked.session, event)
        };
        Ok(events.into_iter().enumerate().map(new_event).collect())
    }
}

/// Whose turn it is: that of its session; of a turn that a decision opens, that of the turn that asked.
fn owner_in(owners: &mut HashMap<TurnId, Owner>, session: Option<Owner>, event: &LaneEvent) -> Option<Owner> {
    if let AgentEvent::TurnOpened(opened) = &event.fact
        && let Some(asked) = opened
            .previous_turn_id
            .and_then(|turn| owners.get(&turn))
            .copied()
    {
        owners.entry(event.turn).or_insert(asked);
    }
    owners.get(&event.turn).copied().or(session)
}

fn new_event(
    lane: StreamId,
    owners: &mut HashMap<TurnId, Owner>,
    session: Option<Owner>,
    event: LaneEvent,
) -> NewEvent {
    let owner = owner_in(owners, session, &event);
    let stream = event.approval.map_or(lane, approval_stream);
    NewEvent {
        occurred_at: Some(event.at),
        session: owner.map(|(session, _)| session),
        subject: owner.and_then(|(_, subject)| subject),
        turn: Some(event.turn),
        call: event.call,
        ..NewEvent::fact(stream, event.fact)
    }
}

/// What the machine is asked.
struct Asked {
    intent: Intent,
    /// Session and subject of turns that open.
    session: Option<Owner>,
    /// What turns that open are told of the lane, so that whoever reads them can name it.
    lane: Option<LaneName>,
    after_timers: bool,
}

impl Asked {
    fn named(&self, mut event: LaneEvent) -> LaneEvent {
        if let (AgentEvent::TurnOpened(opened), Some(lane)) = (&mut event.fact, &self.lane) {
            opened.interlocutor_id = Some(lane.interlocutor.clone());
            opened.channel = Some(lane.channel.clone());
            opened.thread_id.clone_from(&lane.thread);
        }
        event
    }
}

impl From<Intent> for Asked {
    fn from(intent: Intent) -> Self {
        Self {
            intent,
            session: None,
            lane: None,
            after_timers: false,
        }
    }
}

/// Commands about the turns of a lane: their fields, and what the machine is asked.
macro_rules! lane_commands {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }
        ($command:ident, $ground:ident) => $asked:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct $name {
            /// Which lane.
            pub lane: LaneName,
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl Command for $name {
            type State = GovernedState;
            const NAME: &'static str = stringify!($name);

            fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
                Ok(vec![self.lane.load(ground)?])
            }

            fn more_loads(&self, state: &GovernedState, ground: &Ground<'_>) -> Vec<Load> {
                state.more_loads(ground)
            }

            fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
                state.evolve(event);
            }

            fn decide(&self, state: &GovernedState, $ground: &Ground<'_>) -> Result<Decision, CommandError> {
                let $command = self;
                let asked: Asked = $asked;
                state.decide(&self.lane, $ground, &asked)
            }
        }
    )*};
}

use lane_commands;
use refusal::refusal;
pub use refusal::sendable;
use room::Length;

fn held<T>(turn: TurnId, lease: &LeaseRef, what: T) -> Held<T> {
    let LeaseRef { id, epoch } = lease.clone();
    Held {
        turn,
        lease: LeaseProof { id, epoch },
        what,
    }
}
