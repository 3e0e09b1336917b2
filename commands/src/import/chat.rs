//! One model of imported conversations, whatever file they come from.

use ruche_domain::Ext;
use ruche_domain::events::{EvalScored, Requestor, Role, SessionEndReason, TextForm};
use ruche_domain::numbers::Micros;

use super::memory::MemoryUpdate;
use crate::turn::ModelCall;

/// A conversation as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedSession {
    /// Where it stands in its file: a JSON pointer, or `line <n>`.
    pub path: String,
    /// Its id within the file.
    pub external_id: String,
    /// The agent, where the file names it.
    pub agent: Option<String>,
    /// The interlocutor, where the file names it.
    pub interlocutor: Option<String>,
    /// The scenario or task that it runs.
    pub scenario: Option<String>,
    /// Which repetition of the scenario, from 0.
    pub trial: Option<u64>,
    /// The messages, in order.
    pub messages: Vec<ChatMessage>,
    /// Rewards and labels.
    pub scores: Vec<EvalScored>,
    /// When it began.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// Why it ended.
    pub end: SessionEndReason,
    /// The same in the file's own words.
    pub end_detail: Option<String>,
    /// Labels, for filters.
    pub attributes: Ext,
    /// What else the file says of the session.
    pub ext: Ext,
    /// What the messages teach: all but the last the statements, the last one what contradicts them.
    pub memory: Option<MemoryUpdate>,
}

/// A message of a conversation, in the form that all fronts share. Reading a file gives it and so does
/// [`export_messages`](super::export_messages), so that the two can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; `None` is no text, which is not the empty text.
    pub text: Option<String>,
    /// Name of the speaker, or of the tool that answers.
    pub name: Option<String>,
    /// Tool calls that the message asks for, in order.
    pub tool_calls: Vec<MessageToolCall>,
    /// Of a tool's answer: what it answers and how it went.
    pub answer: Option<MessageAnswer>,
    /// Further members of the source's message.
    pub ext: Ext,
}

/// A tool call as its message asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageToolCall {
    /// Name of the tool.
    pub name: String,
    /// The arguments: the content of the string, or the exact bytes of the JSON value.
    pub arguments: String,
    /// Which of the two.
    pub arguments_form: TextForm,
    /// The provider's id of the call.
    pub provider_call_id: Option<String>,
    /// Who asked for it.
    pub requestor: Option<Requestor>,
}

/// What a tool's message answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageAnswer {
    /// The provider's id of the answered call.
    pub provider_call_id: Option<String>,
    /// Who asked for the call.
    pub requestor: Option<Requestor>,
    /// Whether the call failed.
    pub failed: bool,
    /// The error in the source's own words, where it stands apart from the text.
    pub error: Option<String>,
}

/// A message with what the file knows about its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// The message itself.
    pub message: Message,
    /// When it was written.
    pub at: Option<Micros>,
    /// The model call that wrote it.
    pub model_call: Option<ModelCall>,
    /// Of a tool's answer: what was seen of the call itself.
    pub seen: Option<SeenCall>,
}

/// What was seen of a tool call from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenCall {
    /// Digest of the world before.
    pub state_hash_before: Option<String>,
    /// Digest of the world after.
    pub state_hash_after: Option<String>,
    /// When the call began.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
}

impl Message {
    /// A message of a role with a text and nothing else.
    pub fn new(role: Role, text: Option<String>) -> Self {
        Self {
            role,
            text,
            name: None,
            tool_calls: Vec::new(),
            answer: None,
            ext: Ext::new(),
        }
    }
}

impl From<Message> for ChatMessage {
    fn from(message: Message) -> Self {
        Self {
            message,
            at: None,
            model_call: None,
            seen: None,
        }
    }
}
