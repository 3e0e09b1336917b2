//! `turn.*`: the life of a logical turn (reference/agents.md §2.4).

use crate::ids::{CallId, EventId, MessageId, TurnId};
use crate::measures::{Cost, Digest, Usage};
use crate::numbers::{Micros, Position};
use crate::payload::{Ext, List, payloads};
use crate::side_effect::{EffectStatus, SideEffectPolicy};
use crate::words::words;

words! {
    /// What a lane does with a message that comes while a turn runs.
    pub enum TurnStrategy {
        /// The message waits for the running turn.
        Queue = "queue",
        /// The message waits, merged with others that wait.
        CoalesceQueued = "coalesce_queued",
        /// The running turn is superseded, unless it passed a commit point.
        CancelInProgress = "cancel_in_progress",
        /// The message is refused.
        RejectNew = "reject_new",
    }

    /// What opened a turn.
    pub enum TurnTrigger {
        /// A message of the interlocutor.
        User = "user",
        /// A schedule fired.
        Schedule = "schedule",
        /// A detached approval was decided.
        ApprovalResolution = "approval_resolution",
        /// A goal asked for it.
        Goal = "goal",
        /// Another agent or person handed over.
        Handoff = "handoff",
    }

    /// Why a turn stopped taking messages.
    pub enum SealReason {
        /// The coalescing window closed.
        Deadline = "deadline",
        /// The turn is full.
        MessagesMax = "messages_max",
        /// The client asked for it.
        Flush = "flush",
        /// Observed or imported: the turn was over when it was recorded.
        Recorded = "recorded",
    }

    /// What cannot be taken back once it happened.
    pub enum CommitPointKind {
        /// An irreversible effect started.
        IrreversibleEffect = "irreversible_effect",
        /// Words reached a channel that cannot retract them.
        UnretractableDelivery = "unretractable_delivery",
        /// The turn was committed.
        Committed = "committed",
    }

    /// How a turn came out.
    pub enum OutcomeCategory {
        /// The interlocutor has to answer first.
        AwaitingUserInput = "awaiting_user_input",
        /// The agent lacked knowledge.
        KnowledgeGap = "knowledge_gap",
        /// The agent lacked a tool or a permission.
        CapabilityGap = "capability_gap",
        /// The wish is none of the agent's business.
        OutOfScope = "out_of_scope",
        /// The agent declined for safety.
        SafetyRefusal = "safety_refusal",
        /// The wish was dealt with.
        Answered = "answered",
        /// Policy, an approval or a quota stopped it.
        Blocked = "blocked",
    }
}

payloads! {
    /// One effect of a turn, as it stood when the event was written.
    pub struct TurnEffect {
        /// The tool call.
        pub call_id: CallId,
        /// Name of the tool.
        pub name: Option<String>,
        /// What the call does to the world.
        pub side_effect: SideEffectPolicy,
        /// Where the effect stands.
        pub status: EffectStatus,
    }

    /// A turn began to gather messages.
    pub struct TurnOpened {
        /// What opened it.
        pub trigger: TurnTrigger,
        /// The client's own id of the turn.
        pub external_id: Option<String>,
        /// Number of the turn in its session, from 0.
        pub turn_ordinal: Option<u64>,
        /// What the lane does with messages that come while it runs.
        pub strategy: Option<TurnStrategy>,
        /// The messages that opened it.
        pub message_ids: Vec<MessageId>,
        /// The client's own id of the agent that answers.
        pub agent_id: Option<String>,
        /// The client's own id of the person or system that the agent talks with, where the turn came to a lane.
        pub interlocutor_id: Option<String>,
        /// Channel of the lane.
        pub channel: Option<String>,
        /// The client's own id of the thread of the lane.
        pub thread_id: Option<String>,
        /// When the gathering ends unless another message comes, µs since 1970 UTC.
        pub deadline: Option<Micros>,
        /// The turn that it follows after a supersede or a detached approval.
        pub previous_turn_id: Option<TurnId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A message joined a turn that has not started.
    pub struct TurnMessageCoalesced {
        /// The message.
        pub message_id: MessageId,
        /// When the gathering ends now, µs since 1970 UTC.
        pub deadline: Option<Micros>,
    }

    /// The turn takes no more messages.
    pub struct TurnSealed {
        /// All messages of the turn, in order.
        pub message_ids: List<MessageId>,
        /// Why now.
        pub reason: SealReason,
    }

    /// The turn waits for another of its lane.
    pub struct TurnQueued {
        /// The turn that holds the lane.
        pub behind: TurnId,
    }

    /// The turn holds its lane and may be claimed.
    pub struct TurnReadied {
        /// Number that the attempt will have, from 1.
        pub attempt: u32,
        /// From when it may be claimed, µs since 1970 UTC.
        pub not_before: Micros,
    }

    /// An attempt at the turn began.
    pub struct TurnStarted {
        /// Number of the attempt, from 1.
        pub attempt: u32,
        /// Opaque id of the lease under which a worker holds the turn.
        pub lease_id: Option<String>,
        /// Fencing number of the lease; a lower one is refused.
        pub lease_epoch: Option<u64>,
        /// When the lease lapses, µs since 1970 UTC.
        pub lease_expires_at: Option<Micros>,
        /// SHA-256 of the effective configuration.
        pub config_digest: Option<Digest>,
        /// SHA-256 of the policy bundle.
        pub policy_digest: Option<Digest>,
        /// What the agent could know: the last record that memory had taken in, `epoch:index`.
        pub memory_position: Option<Position>,
        /// Build of the program that runs the agent.
        pub brain_build: Option<String>,
        /// When the attempt began by the source's clock, µs since 1970 UTC.
        pub started_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A worker began a step of the turn. A step that an attempt left half done is begun again by the next one.
    pub struct TurnStepStarted {
        /// The client's own id of the step: in a turn it names one step, over all attempts.
        pub step_id: String,
        /// Number of the attempt that begins it, from 1.
        pub attempt: u32,
        /// What the step is, in words.
        pub name: Option<String>,
    }

    /// A step is done, for this attempt and all that follow. The next worker goes on behind it.
    pub struct TurnStepCompleted {
        /// The client's own id of the step.
        pub step_id: String,
        /// Number of the attempt that did it, from 1.
        pub attempt: u32,
        /// What it came to, as the client wrote it: what a later attempt needs to go on.
        pub result: Option<String>,
        /// SHA-256 of the result text.
        pub result_digest: Option<Digest>,
    }

    /// An attempt failed. Where `retry_at` is absent no other follows: the turn fails once nothing is left to undo.
    pub struct TurnAttemptFailed {
        /// Number of the attempt, from 1.
        pub attempt: u32,
        /// What went wrong: a stable word of the client.
        pub error_type: String,
        /// What went wrong, in words.
        pub error: Option<String>,
        /// When the next attempt may begin, µs since 1970 UTC.
        pub retry_at: Option<Micros>,
    }

    /// Something happened that cannot be taken back; the turn can no longer be superseded.
    pub struct TurnCommitPointReached {
        /// What happened.
        pub kind: CommitPointKind,
        /// The tool call, if it was an effect.
        pub call_id: Option<CallId>,
        /// The message, if it was a delivery.
        pub message_id: Option<MessageId>,
    }

    /// A newer message takes the place of this turn. Its messages belong to the successor from here on.
    pub struct TurnSupersedeRequested {
        /// The turn that follows.
        pub successor_turn_id: TurnId,
        /// The messages that moved to it.
        pub carried_message_ids: List<MessageId>,
    }

    /// Somebody asked to cancel the turn.
    pub struct TurnCancelRequested {
        /// Opaque reference of who asked.
        pub by: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// The turn cannot be cancelled or superseded any more.
    pub struct TurnCancelRefused {
        /// The commit point that stands in the way.
        pub commit_point: CommitPointKind,
        /// The tool call of the commit point.
        pub call_id: Option<CallId>,
    }

    /// A newer message was to take the place of the turn, and cannot: something happened that cannot be taken back. The
    /// turn goes on, and the message waits for it in a turn of its own.
    pub struct TurnSupersedeRefused {
        /// The commit point that stands in the way.
        pub commit_point: CommitPointKind,
        /// The tool call of the commit point.
        pub call_id: Option<CallId>,
        /// Name of its tool.
        pub tool: Option<String>,
        /// The turn that the message went to.
        pub waiting_turn_id: Option<TurnId>,
    }

    /// The effects that were under way settled.
    pub struct TurnDrained {
        /// How each effect came out.
        pub effects: Vec<TurnEffect>,
    }

    /// The turn undoes what it did.
    pub struct TurnCompensating {
        /// The effects to undo, in the order of undoing.
        pub effects: List<TurnEffect>,
    }

    /// The turn is over and its answer stands.
    pub struct TurnCommitted {
        /// How it came out; absent means that the source does not say.
        pub outcome_category: Option<OutcomeCategory>,
        /// The messages that answer.
        pub response_message_ids: Vec<MessageId>,
        /// Tokens of all model calls of the turn.
        pub usage_total: Option<Usage>,
        /// Cost of the turn, one entry for each currency.
        pub cost_total: Vec<Cost>,
        /// The effects of the turn.
        pub effects: Vec<TurnEffect>,
        /// Digest of the state that the agent left behind, in the form the source gave it.
        pub final_state_digest: Option<String>,
        /// How long the turn took, µs.
        pub duration_us: Option<u64>,
        /// When it ended by the source's clock, µs since 1970 UTC.
        pub ended_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A newer turn took the place of this one; nothing of it stands.
    pub struct TurnSuperseded {
        /// The turn that follows.
        pub successor_turn_id: TurnId,
        /// Tokens that were spent in vain.
        pub usage_total: Option<Usage>,
        /// Cost in vain, one entry for each currency.
        pub cost_total: Vec<Cost>,
    }

    /// The turn was cancelled.
    pub struct TurnCancelled {
        /// Opaque reference of who cancelled.
        pub by: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// Tokens that were spent in vain.
        pub usage_total: Option<Usage>,
        /// Cost in vain, one entry for each currency.
        pub cost_total: Vec<Cost>,
    }

    /// The turn failed for good.
    pub struct TurnFailed {
        /// What went wrong: a stable word of the client.
        pub error_type: String,
        /// What went wrong, in words.
        pub error: Option<String>,
        /// Whether everything that could be undone was undone; absent where nothing had to be.
        pub compensation_complete: Option<bool>,
        /// The event that shows the failure.
        pub failed_event_id: Option<EventId>,
        /// Tokens of all model calls of the turn.
        pub usage_total: Option<Usage>,
        /// Cost of the turn, one entry for each currency.
        pub cost_total: Vec<Cost>,
        /// The effects of the turn.
        pub effects: Vec<TurnEffect>,
        /// How long the turn took, µs.
        pub duration_us: Option<u64>,
        /// When it ended by the source's clock, µs since 1970 UTC.
        pub ended_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
