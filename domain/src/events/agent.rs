//! `agent.*`: agents that work for other agents.

use crate::ids::{SessionId, TurnId};
use crate::measures::{Cost, Usage};
use crate::payload::{Ext, payloads};
use crate::words::words;

words! {
    /// How delegated work came out.
    pub enum DelegationOutcome {
        /// Done.
        Completed = "completed",
        /// Failed.
        Failed = "failed",
        /// Cancelled.
        Cancelled = "cancelled",
        /// More input is needed.
        InputRequired = "input_required",
    }
}

payloads! {
    /// An agent gave work to another and waits for it.
    pub struct AgentDelegated {
        /// The client's own id of the delegation; the return names it.
        pub delegation_id: String,
        /// The client's own id of the agent that gets the work.
        pub to_agent_id: String,
        /// The client's own id of the agent that gives it.
        pub from_agent_id: Option<String>,
        /// The work in words.
        pub task: Option<String>,
        /// What is handed over.
        pub input: Option<serde_json::Value>,
        /// The session in which the other works.
        pub child_session_id: Option<SessionId>,
        /// The turn in which the other works.
        pub child_turn_id: Option<TurnId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Delegated work came back.
    pub struct AgentReturned {
        /// The client's own id of the delegation.
        pub delegation_id: String,
        /// How it came out.
        pub outcome: DelegationOutcome,
        /// What came back.
        pub output: Option<serde_json::Value>,
        /// What went wrong.
        pub error: Option<String>,
        /// Tokens that the child says it used. Counted in its own model calls, not here.
        pub usage_reported: Option<Usage>,
        /// Cost that the child says arose. Counted in its own model calls, not here.
        pub cost_reported: Option<Cost>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// An agent gave the conversation to another agent or a person and is out of it.
    pub struct AgentHandedOff {
        /// The client's own id of who takes over: an agent, or a queue of people.
        pub to: String,
        /// Whether people take over.
        pub to_human: Option<bool>,
        /// The client's own id of the agent that gives.
        pub from_agent_id: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// What the other is told.
        pub summary: Option<String>,
        /// The session in which it goes on.
        pub next_session_id: Option<SessionId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
