//! `session.*`: conversations between an agent and an interlocutor.

use crate::ids::{SessionId, SubjectId};
use crate::numbers::{Micros, Position};
use crate::payload::{Ext, payloads};
use crate::words::words;

words! {
    /// Why a session ended.
    pub enum SessionEndReason {
        /// The interlocutor's wish was dealt with.
        Completed = "completed",
        /// The interlocutor left or said goodbye.
        InterlocutorLeft = "interlocutor_left",
        /// The agent ended it.
        AgentEnded = "agent_ended",
        /// A person or another agent took over.
        HandedOff = "handed_off",
        /// Nobody spoke for too long.
        TimedOut = "timed_out",
        /// A bound on steps, messages or money was reached.
        LimitReached = "limit_reached",
        /// An operator cancelled it.
        Cancelled = "cancelled",
        /// It broke down.
        Failed = "failed",
        /// The source does not say.
        Unknown = "unknown",
    }

    /// Who may see a session.
    pub enum SessionVisibility {
        /// Everyone of the tenant whose role allows sessions.
        Tenant = "tenant",
        /// Named people.
        Restricted = "restricted",
        /// Auditors alone.
        Sealed = "sealed",
    }

    /// What kind of input a session waits for.
    pub enum InputKind {
        /// Any answer in words.
        Text = "text",
        /// Values for a form.
        Form = "form",
        /// A yes or no. It is the requester's consent, not a review.
        Confirmation = "confirmation",
        /// A sign-in.
        Authentication = "authentication",
    }
}

payloads! {
    /// A conversation began.
    pub struct SessionStarted {
        /// The client's own id of the session.
        pub external_id: Option<String>,
        /// Application that the conversation runs in.
        pub app: Option<String>,
        /// The client's own id of the agent.
        pub agent_id: Option<String>,
        /// Version of the agent.
        pub agent_version: Option<String>,
        /// The client's own id of the person or system that the agent talks with.
        pub interlocutor_id: Option<String>,
        /// Channel of the conversation, such as `web` or `whatsapp`.
        pub channel: Option<String>,
        /// The client's own id of the scenario or task that the session runs.
        pub scenario_id: Option<String>,
        /// Which repetition of the scenario it is, from 0.
        pub trial: Option<u64>,
        /// The session that it continues.
        pub previous_session_id: Option<SessionId>,
        /// The record that it was forked from, `epoch:index`.
        pub forked_from: Option<Position>,
        /// Configuration that the client says the agent runs with.
        pub agent_config: Option<serde_json::Value>,
        /// Whether the session had no id of its own and was inferred, for example from a trace.
        pub inferred: Option<bool>,
        /// When the conversation began by the source's clock, µs since 1970 UTC.
        pub started_at: Option<Micros>,
        /// Labels of the client, for filters.
        pub attributes: Ext,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The conversation goes on in another session.
    pub struct SessionContinuedAs {
        /// The session that follows.
        pub next_session_id: SessionId,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The session waits for input of the interlocutor.
    pub struct SessionInputRequired {
        /// The client's id of the request; the answer names it.
        pub request_id: String,
        /// What kind of input.
        pub kind: InputKind,
        /// What was asked.
        pub prompt: Option<String>,
        /// JSON schema that the answer has to fit.
        pub schema: Option<serde_json::Value>,
        /// When the question lapses, µs since 1970 UTC.
        pub expires_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The conversation ended.
    pub struct SessionEnded {
        /// Why.
        pub reason: SessionEndReason,
        /// The reason in the source's own words.
        pub detail: Option<String>,
        /// When it ended by the source's clock, µs since 1970 UTC.
        pub ended_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The payloads of a data subject were made unreadable. The records stay and verify.
    pub struct SessionErased {
        /// The subject whose payloads are gone.
        pub subject_id: SubjectId,
        /// How many keys were destroyed.
        pub keys_destroyed: u64,
        /// How many stored payloads were deleted.
        pub payloads_deleted: Option<u64>,
        /// Legal basis of the erasure.
        pub legal_basis: String,
        /// The operator's reference of the request.
        pub request_ref: Option<String>,
    }

    /// A legal hold was set: nothing of the session may be erased.
    pub struct SessionLegalHoldSet {
        /// The operator's reference of the hold.
        pub hold_ref: String,
        /// Why.
        pub reason: String,
        /// When the hold lapses, µs since 1970 UTC; absent means when released.
        pub until: Option<Micros>,
    }

    /// A legal hold was released.
    pub struct SessionLegalHoldReleased {
        /// The operator's reference of the hold.
        pub hold_ref: String,
        /// Why.
        pub reason: Option<String>,
    }

    /// Who may see the session changed.
    pub struct SessionVisibilityChanged {
        /// Who may see it now.
        pub visibility: SessionVisibility,
        /// Who may see it, where named people may: opaque references.
        pub readers: Vec<String>,
        /// Why.
        pub reason: Option<String>,
    }
}
