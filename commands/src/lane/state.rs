//! What is known of a lane: its turns, their calls and approvals.

use std::collections::{BTreeMap, BTreeSet};

use ruche_domain::events::{
    ApprovalMode, CommitPointKind, StartRefusal, TurnEffect, TurnStrategy, TurnTrigger,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use super::settings::ChannelSettings;

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TurnState {
    /// It takes messages.
    Accumulating,
    /// It waits for the turn that holds the lane.
    Queued,
    /// It holds the lane and may be claimed from a time on.
    Ready,
    /// A worker has it under a lease.
    Processing,
    /// It waits for people: for a decision, or for the outcome of an effect that nobody knows.
    AwaitingApproval,
    /// It is to end early and waits for effects under way to settle.
    Cancelling,
    /// It undoes what it did.
    Compensating,
    /// Over: its answer stands.
    Committed,
    /// Over: a newer turn took its place.
    Superseded,
    /// Over: somebody cancelled it.
    Cancelled,
    /// Over: it failed for good.
    Failed,
}

impl TurnState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Accumulating,
        Self::Queued,
        Self::Ready,
        Self::Processing,
        Self::AwaitingApproval,
        Self::Cancelling,
        Self::Compensating,
        Self::Committed,
        Self::Superseded,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word in refusals and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accumulating => "accumulating",
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Cancelling => "cancelling",
            Self::Compensating => "compensating",
            Self::Committed => "committed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing can happen to it any more.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Committed | Self::Superseded | Self::Cancelled | Self::Failed
        )
    }

    /// Whether a turn in this state keeps every other turn of its lane from starting.
    pub const fn holds_lane(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Processing | Self::AwaitingApproval | Self::Cancelling | Self::Compensating
        )
    }
}

/// How a turn ends that is not over yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingOutcome {
    /// A newer turn takes its place.
    Superseded {
        /// Which.
        successor: TurnId,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Opaque reference of who.
        by: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// It failed.
    Failed {
        /// Stable word.
        error_type: String,
        /// In words.
        error: Option<String>,
    },
}

/// What people are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A decision.
    Decision(ApprovalId),
    /// How the irreversible effects came out whose outcome is unknown.
    Outcome,
}

/// What cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPoint {
    /// What happened.
    pub kind: CommitPointKind,
    /// The call, if it was an effect.
    pub call: Option<CallId>,
}

/// A worker's hold on a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Opaque id of the lease.
    pub id: String,
    /// Fencing number, rising over the turns of the lane.
    pub epoch: u64,
    /// When it lapses.
    pub expires_at: Micros,
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub id: TurnId,
    /// Where it stands.
    pub state: TurnState,
    /// What opened it.
    pub trigger: TurnTrigger,
    /// What the lane does with messages that come while it holds the lane.
    pub strategy: TurnStrategy,
    /// The messages that it owns, in order. Empty once they moved to a successor.
    pub messages: Vec<MessageId>,
    /// When it was opened.
    pub opened_at: Micros,
    /// When gathering ends.
    pub deadline: Option<Micros>,
    /// The settings that it runs under, pinned when it was sealed.
    pub settings: ChannelSettings,
    /// From when it may be claimed, while ready.
    pub not_before: Option<Micros>,
    /// Attempts that began.
    pub attempt: u32,
    /// When the first attempt began.
    pub started_at: Option<Micros>,
    /// How long workers had it before it waited the last time, µs. What it waits for people and workers does not count.
    pub ran_us: u64,
    /// Since when a worker has it.
    pub runs_since: Option<Micros>,
    /// The worker's hold.
    pub lease: Option<Lease>,
    /// What cannot be taken back.
    pub commit_point: Option<CommitPoint>,
    /// What people are waited for.
    pub awaited: Option<Awaited>,
    /// How it is going to end.
    pub pending_outcome: Option<PendingOutcome>,
    /// When it began to drain, or to undo the effect that is due.
    pub winding_since: Option<Micros>,
    /// What it sent and did not take back.
    pub sent: Vec<MessageId>,
    /// Calls that were proposed in it. A call whose decision opens a turn goes over to that one, and counts here all the same.
    pub proposed: usize,
    /// Its steps, by the client's own ids.
    pub steps: BTreeMap<String, TurnStep>,
}

/// One step of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnStep {
    /// The attempt that began it last.
    pub attempt: u32,
    /// Whether it is done.
    pub is_completed: bool,
}

/// What stands between a proposed call and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// An approval that has to be used up.
    Approval,
    /// It will never start.
    Closed,
}

/// One tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub id: CallId,
    /// The turn that may run it: the one that proposed it, or the one that the decision on it opened.
    pub turn: TurnId,
    /// Name of the tool.
    pub name: String,
    /// What it does to the world.
    pub side_effect: SideEffectPolicy,
    /// SHA-256 of the canonical action.
    pub action_digest: Option<Digest>,
    /// What stands between it and its start.
    pub gate: Gate,
    /// The approval that was asked for.
    pub approval: Option<ApprovalId>,
    /// Where its effect stands; absent before the start.
    pub status: Option<EffectStatus>,
    /// Number of the start in the lane, for undoing in reverse order.
    pub started: u64,
    /// Times that it was started.
    pub attempt: u32,
    /// When the last start is taken to be of unknown outcome, if it has not settled.
    pub lapses_at: Option<Micros>,
    /// Tries at undoing it that failed.
    pub undo_attempts: u32,
    /// Tries at undoing it that began.
    pub undo_starts: u32,
    /// Whether the last of them has no outcome yet.
    pub is_being_undone: bool,
    /// Until when that one is waited for.
    pub undoing_lapses_at: Option<Micros>,
    /// Why starts of it were refused, each with how often that was recorded.
    pub refusals: BTreeMap<StartRefusal, usize>,
}

impl Call {
    /// Whether it runs now.
    pub fn is_in_flight(&self) -> bool {
        self.status == Some(EffectStatus::InFlight)
    }

    /// Whether nobody knows how it came out, and that matters.
    pub fn is_in_doubt(&self) -> bool {
        self.status == Some(EffectStatus::OutcomeUnknown) && self.side_effect.has_effect()
    }

    /// Whether only a person can say how it came out.
    pub fn needs_person(&self) -> bool {
        self.is_in_doubt() && self.side_effect == SideEffectPolicy::Irreversible
    }

    /// Whether it is left to a person once its turn is over: nobody knows how it came out, or it could not be undone.
    pub fn is_left_open(&self) -> bool {
        self.is_in_doubt() || self.status == Some(EffectStatus::CompensationFailed)
    }

    /// Whether it has to be undone if nothing of its turn is to stand.
    pub fn is_to_undo(&self) -> bool {
        self.side_effect == SideEffectPolicy::Compensatable
            && matches!(
                self.status,
                Some(EffectStatus::Completed | EffectStatus::OutcomeUnknown)
            )
    }
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalState {
    /// People are asked.
    Requested,
    /// They agreed; it can be used once.
    Approved,
    /// They did not agree, or not in time, or it was withdrawn, or it is about something else by now.
    Closed,
    /// It was used up by the start of its call.
    Consumed,
}

/// What an approval is bound to. It holds only while all of it is as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// SHA-256 of the canonical action.
    pub action: Digest,
    /// SHA-256 of the policy bundle.
    pub policy: Option<Digest>,
    /// SHA-256 of the effective configuration.
    pub config: Option<Digest>,
    /// Leaf hash of the last record of the session.
    pub session_head: Option<Digest>,
}

/// One request for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Which.
    pub id: ApprovalId,
    /// The call.
    pub call: CallId,
    /// The turn that asked.
    pub turn: TurnId,
    /// Whether that turn waits.
    pub mode: ApprovalMode,
    /// Where it stands.
    pub state: ApprovalState,
    /// What it is bound to.
    pub binding: Binding,
    /// From when on it is void.
    pub expires_at: Micros,
}

/// One lane: (tenant, agent, interlocutor, channel, thread). At most one of its turns is held at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// All turns, in the order of opening.
    pub turns: Vec<Turn>,
    /// Queued turns, oldest first.
    pub queue: Vec<TurnId>,
    /// All calls, by id.
    pub calls: BTreeMap<CallId, Call>,
    /// All approvals, by id.
    pub approvals: BTreeMap<ApprovalId, Approval>,
    /// Every message that came in.
    pub messages: BTreeSet<MessageId>,
    /// The last fencing number that was given.
    pub lease_epoch: u64,
    /// Starts of calls so far.
    pub starts: u64,
}

impl Turn {
    /// Whether people were asked for a decision, and it waits for that.
    pub(super) fn awaits_decision(&self) -> bool {
        matches!(self.awaited, Some(Awaited::Decision(_)))
    }
}

impl Lane {
    /// A turn. Looked for from the end: what happens, happens to the last ones.
    pub fn turn(&self, id: TurnId) -> Option<&Turn> {
        self.turns.iter().rev().find(|turn| turn.id == id)
    }

    pub(super) fn turn_mut(&mut self, id: TurnId) -> Option<&mut Turn> {
        self.turns.iter_mut().rev().find(|turn| turn.id == id)
    }

    /// The turn that takes messages.
    pub fn accumulating(&self) -> Option<&Turn> {
        self.turns
            .iter()
            .find(|turn| turn.state == TurnState::Accumulating)
    }

    /// The turn that holds the lane.
    pub fn holder(&self) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.state.holds_lane())
    }

    /// The calls that a turn may run, in the order of their ids.
    pub fn calls_of(&self, turn: TurnId) -> impl Iterator<Item = &Call> {
        self.calls.values().filter(move |call| call.turn == turn)
    }

    /// The effects of a turn as events name them, in the order of their starts.
    pub fn effects_of(&self, turn: TurnId) -> Vec<TurnEffect> {
        let mut started: Vec<(&Call, EffectStatus)> = self
            .calls_of(turn)
            .filter_map(|call| call.status.map(|status| (call, status)))
            .collect();
        started.sort_by_key(|(call, _)| call.started);
        started
            .into_iter()
            .map(|(call, status)| TurnEffect {
                call_id: call.id,
                name: Some(call.name.clone()),
                side_effect: call.side_effect,
                status,
            })
            .collect()
    }

    /// The effects that have to be undone, the last start first.
    pub fn to_undo(&self, turn: TurnId) -> Vec<TurnEffect> {
        let mut effects = self.effects_of(turn);
        effects.retain(|effect| self.calls.get(&effect.call_id).is_some_and(Call::is_to_undo));
        effects.reverse();
        effects
    }
}
