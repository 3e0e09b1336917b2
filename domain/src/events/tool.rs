//! `tool.*`: tools and their effects on the world. The envelope names the call.

use super::common::{Requestor, TextForm};
use crate::ids::{CallId, EventId};
use crate::measures::Digest;
use crate::numbers::Micros;
use crate::payload::{Ext, List, payloads};
use crate::side_effect::{SideEffectPolicy, ToolKind};
use crate::words::words;

words! {
    /// What a person found out about an effect whose outcome was unknown.
    pub enum AssertedOutcome {
        /// It happened.
        Completed = "completed",
        /// It did not happen.
        NotExecuted = "not_executed",
    }

    /// Why a call was not started though its turn could have started it.
    pub enum StartRefusal {
        /// Policy or people said no, or an earlier start showed that it may not run any more.
        Denied = "denied",
        /// It needs an approval, and has none that is given and unused.
        NotApproved = "not_approved",
        /// Its approval lapsed.
        Expired = "expired",
        /// Its approval is of another action.
        OtherAction = "other_action",
        /// The key that approved it was revoked.
        RevokedKey = "revoked_key",
        /// What it was proposed on is not what holds now: the registration of the tool, policy or configuration.
        Stale = "stale",
    }

    /// Why a proposed call was never run, where that is known.
    pub enum NotExecutedCause {
        /// Policy said no.
        Denied = "denied",
        /// A reviewer said no.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
        /// The turn was superseded or cancelled first.
        TurnGone = "turn_gone",
        /// Derived from the absence of an execution.
        NoExecutionSeen = "no_execution_seen",
    }
}

payloads! {
    /// A tool was made known, with what it does to the world.
    pub struct ToolRegistered {
        /// Name of the tool.
        pub name: String,
        /// What a call does to the world.
        pub side_effect: SideEffectPolicy,
        /// Kind of work; absent means unknown.
        pub tool_kind: Option<ToolKind>,
        /// What the tool is for.
        pub description: Option<String>,
        /// Version of the tool.
        pub version: Option<String>,
        /// SHA-256 of the schema of its arguments.
        pub schema_digest: Option<Digest>,
        /// JSON schema of its arguments.
        pub schema: Option<serde_json::Value>,
        /// Name of the tool that undoes a call.
        pub compensation_tool: Option<String>,
        /// How long a call may take, µs; what takes longer counts as of unknown outcome.
        pub timeout_us: Option<u64>,
        /// Who answers for the tool, as the client names people and teams.
        pub owner: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A model or a person asked for a tool call. Nothing ran yet.
    pub struct ToolProposed {
        /// Name of the tool.
        pub name: String,
        /// The arguments exactly as the model wrote them; text, because they need not be valid JSON.
        pub arguments: String,
        /// How the source wrote the arguments; absent means as a string.
        pub arguments_form: Option<TextForm>,
        /// Number of the call within its message, from 0.
        pub ordinal: Option<u32>,
        /// Number of the message that asks for the call, from 0 within the session.
        pub message_ordinal: Option<u64>,
        /// The provider's id of the call. Not unique, not even within a session.
        pub provider_call_id: Option<String>,
        /// Who asked for it.
        pub requestor: Option<Requestor>,
        /// What the call does to the world, as the tool was registered then.
        pub side_effect: Option<SideEffectPolicy>,
        /// Kind of work; absent means unknown.
        pub tool_kind: Option<ToolKind>,
        /// SHA-256 of the arguments text.
        pub args_digest: Option<Digest>,
        /// SHA-256 of the canonical action (RFC 8785 profile), which approvals bind.
        pub action_digest: Option<Digest>,
        /// SHA-256 of the schema of the arguments.
        pub schema_digest: Option<Digest>,
        /// The caller's business key: two calls with one key are one effect.
        pub business_key: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The call is about to run. Written before the effect, so that no effect lacks its intent.
    pub struct ToolStarted {
        /// Name of the tool.
        pub name: String,
        /// What the call does to the world.
        pub side_effect: Option<SideEffectPolicy>,
        /// Number of the attempt, from 1.
        pub attempt: Option<u32>,
        /// Id of the effect, the same over all attempts.
        pub effect_id: Option<String>,
        /// Key that the tool is given to tell a repeat: it follows from `business_key_id` and `generation`.
        pub idempotency_key: Option<String>,
        /// What stands for interlocutor, tool and business key over all lanes, 32 hex digits: the stream of the effect. Absent
        /// where the call has no effect or no key.
        pub business_key_id: Option<String>,
        /// Generation of the business key that the call runs under, from 1; absent means 1.
        pub generation: Option<u32>,
        /// The ticket of the consumed approval.
        pub ticket: Option<String>,
        /// The provider's id of the call.
        pub provider_call_id: Option<String>,
        /// Who asked for it.
        pub requestor: Option<Requestor>,
        /// SHA-256 of the arguments text that runs.
        pub args_digest: Option<Digest>,
        /// When it began by the source's clock, µs since 1970 UTC.
        pub started_at: Option<Micros>,
        /// When it counts as of unknown outcome if it has not settled, µs since 1970 UTC.
        pub lapses_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Somebody tried to start the call and may not. It did not run. Recorded once for each call and cause.
    pub struct ToolStartRefused {
        /// Name of the tool.
        pub name: String,
        /// Why.
        pub refusal: StartRefusal,
        /// SHA-256 of the canonical action that was to run.
        pub action_digest: Option<Digest>,
        /// Number of the attempt that it would have been, from 1.
        pub attempt: Option<u32>,
    }

    /// The call ran and gave a result.
    pub struct ToolCompleted {
        /// Name of the tool, as the answer names it.
        pub name: Option<String>,
        /// Number of the answer among the messages of the session, from 0, where the answer is a message.
        pub message_ordinal: Option<u64>,
        /// The result text exactly as the model is given it. Absent or null is no text; an empty text is a text.
        pub result: Option<String>,
        /// How the source wrote the result; absent means as a string.
        pub result_form: Option<TextForm>,
        /// SHA-256 of the result text.
        pub result_digest: Option<Digest>,
        /// The provider's id of the call that is answered.
        pub provider_call_id: Option<String>,
        /// Who asked for the call.
        pub requestor: Option<Requestor>,
        /// What the call does to the world.
        pub side_effect: Option<SideEffectPolicy>,
        /// Number of the attempt, from 1.
        pub attempt: Option<u32>,
        /// Reference of the effect in the system that carried it out.
        pub external_ref: Option<String>,
        /// Digest of the outside state before the call, in the form the source gave it.
        pub state_hash_before: Option<String>,
        /// Digest of the outside state after the call, in the form the source gave it.
        pub state_hash_after: Option<String>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// When it ended by the source's clock, µs since 1970 UTC.
        pub ended_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The call ran and failed.
    pub struct ToolFailed {
        /// Name of the tool, as the answer names it.
        pub name: Option<String>,
        /// Number of the answer among the messages of the session, from 0, where the answer is a message.
        pub message_ordinal: Option<u64>,
        /// The text exactly as the model is given it. Absent or null is no text; an empty text is a text.
        pub result: Option<String>,
        /// How the source wrote the result; absent means as a string.
        pub result_form: Option<TextForm>,
        /// The error in the source's own words, where it stands apart from the result.
        pub error: Option<String>,
        /// Stable word for the kind of error.
        pub error_type: Option<String>,
        /// Whether calling again may help.
        pub retryable: Option<bool>,
        /// The provider's id of the call that is answered.
        pub provider_call_id: Option<String>,
        /// Who asked for the call.
        pub requestor: Option<Requestor>,
        /// What the call does to the world.
        pub side_effect: Option<SideEffectPolicy>,
        /// Number of the attempt, from 1.
        pub attempt: Option<u32>,
        /// Digest of the outside state before the call, in the form the source gave it.
        pub state_hash_before: Option<String>,
        /// Digest of the outside state after the call, in the form the source gave it.
        pub state_hash_after: Option<String>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// When it ended by the source's clock, µs since 1970 UTC.
        pub ended_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The call started and nobody can say whether it happened.
    pub struct ToolOutcomeUnknown {
        /// Why it is unknown: a crash, a timeout, a lost connection.
        pub cause: String,
        /// Number of the attempt, from 1.
        pub attempt: Option<u32>,
        /// What to look up outside to find out.
        pub external_ref: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A person says how a call with unknown outcome came out.
    pub struct ToolOutcomeAsserted {
        /// What the person found.
        pub outcome: AssertedOutcome,
        /// Opaque reference of the person.
        pub by: String,
        /// What the finding rests on.
        pub evidence: String,
        /// Reference of the effect in the system that carried it out.
        pub external_ref: Option<String>,
        /// The result, if it is known.
        pub result: Option<String>,
    }

    /// The effect of the call is about to be undone. Written before the tool that undoes it runs.
    pub struct ToolCompensationStarted {
        /// Name of the tool that undoes it.
        pub compensation_tool: String,
        /// Number of the attempt at undoing, from 1.
        pub attempt: Option<u32>,
        /// Key that the tool is given to tell a repeat: the same over all attempts.
        pub idempotency_key: Option<String>,
        /// Until when the attempt is waited for, µs since 1970 UTC: before that no other one starts, unless this one is
        /// reported.
        pub lapses_at: Option<Micros>,
    }

    /// The effect of the call was undone.
    pub struct ToolCompensated {
        /// The call that undid it.
        pub compensation_call_id: Option<CallId>,
        /// Name of the tool that undid it.
        pub compensation_tool: Option<String>,
        /// Reference of the undoing in the system that carried it out.
        pub external_ref: Option<String>,
    }

    /// Undoing the effect of the call failed.
    pub struct ToolCompensationFailed {
        /// Stable word for the kind of error.
        pub error_type: String,
        /// The error in words.
        pub error: Option<String>,
        /// Number of the attempt at undoing, from 1.
        pub attempt: Option<u32>,
        /// Whether no further attempt will be made.
        pub exhausted: Option<bool>,
        /// The call that should have undone it.
        pub compensation_call_id: Option<CallId>,
    }

    /// The call waits for an approval while the turn goes on without it.
    pub struct ToolDeferred {
        /// Handle under which the outcome will be known.
        pub handle: String,
        /// When it lapses, µs since 1970 UTC.
        pub expires_at: Option<Micros>,
    }

    /// Derived: what ran is not what the model asked for.
    pub struct ToolArgumentsChanged {
        /// SHA-256 of the arguments that were asked for.
        pub proposed_digest: Digest,
        /// SHA-256 of the arguments that ran.
        pub executed_digest: Digest,
        /// JSON pointers to what differs, where both are JSON.
        pub changed: Vec<String>,
        /// The events that show it.
        pub evidence_event_ids: List<EventId>,
    }

    /// Derived: the call was asked for and never ran.
    pub struct ToolNotExecuted {
        /// Why, as far as it is known.
        pub cause: NotExecutedCause,
        /// The events that show it.
        pub evidence_event_ids: List<EventId>,
    }
}
