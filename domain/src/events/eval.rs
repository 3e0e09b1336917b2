//! `eval.*`: scores that a program, a model or a benchmark gave.

use crate::ids::{CallId, MessageId, TurnId};
use crate::measures::Finite;
use crate::payload::{Ext, payloads};
use crate::words::words;

words! {
    /// What was scored.
    pub enum EvalTarget {
        /// A whole session.
        Session = "session",
        /// One turn.
        Turn = "turn",
        /// One message.
        Message = "message",
        /// One tool call.
        ToolCall = "tool_call",
        /// One model call.
        LlmCall = "llm_call",
        /// One memory record.
        Memory = "memory",
    }
}

payloads! {
    /// Something was scored.
    pub struct EvalScored {
        /// Name of the score, such as `reward`.
        pub name: String,
        /// The score as a number.
        pub value: Option<Finite>,
        /// The score as a word, such as `pass`.
        pub label: Option<String>,
        /// Why, in words.
        pub explanation: Option<String>,
        /// Who or what scored: a program, a model, a benchmark.
        pub evaluator: Option<String>,
        /// Version of the evaluator.
        pub evaluator_version: Option<String>,
        /// What was scored; absent means the session of the envelope.
        pub target: Option<EvalTarget>,
        /// The turn that was scored.
        pub turn_id: Option<TurnId>,
        /// The message that was scored.
        pub message_id: Option<MessageId>,
        /// The tool call that was scored.
        pub call_id: Option<CallId>,
        /// Further figures of the evaluator, as given.
        pub attributes: Ext,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
