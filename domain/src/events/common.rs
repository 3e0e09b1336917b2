//! Parts that several families share.

use crate::ids::CallId;
use crate::measures::Digest;
use crate::payload::payloads;
use crate::words::words;

words! {
    /// Who speaks in a conversation message.
    pub enum Role {
        /// The instructions of the operator.
        System = "system",
        /// Instructions of the application, where a model tells them from the operator's.
        Developer = "developer",
        /// The interlocutor.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// A tool's answer.
        Tool = "tool",
    }

    /// Which side of the conversation asked for a tool call.
    pub enum Requestor {
        /// The agent.
        Assistant = "assistant",
        /// The interlocutor, who may have tools too.
        User = "user",
    }

    /// How the source wrote a value that is kept here as text.
    pub enum TextForm {
        /// As a string: the text is the string's content.
        String = "string",
        /// As a JSON value: the text is that value's exact bytes.
        Json = "json",
    }

    /// What a part of a message or an answer is.
    pub enum PartKind {
        /// Plain text.
        Text = "text",
        /// Reasoning that the model wrote before its answer.
        Reasoning = "reasoning",
        /// A refusal to answer.
        Refusal = "refusal",
        /// A picture.
        Image = "image",
        /// Sound.
        Audio = "audio",
        /// A moving picture.
        Video = "video",
        /// Any other file.
        File = "file",
        /// A request for a tool call.
        ToolCall = "tool_call",
        /// The answer of a tool.
        ToolResult = "tool_result",
        /// Structured data.
        Data = "data",
    }
}

payloads! {
    /// One part of a message or of a model's answer.
    pub struct Part {
        /// What the part is.
        pub kind: PartKind,
        /// Its text, if it is text.
        pub text: Option<String>,
        /// SHA-256 of its bytes, where they are kept apart.
        pub digest: Option<Digest>,
        /// Media type of its bytes.
        pub media_type: Option<String>,
        /// Length of its bytes.
        pub bytes: Option<u64>,
        /// Name of the file or block.
        pub name: Option<String>,
        /// Where it can be fetched, as the source said.
        pub uri: Option<String>,
        /// Whether the provider encrypted it (reasoning).
        pub encrypted: Option<bool>,
        /// The provider's signature over it (reasoning).
        pub signature: Option<String>,
        /// The part as the source wrote it, where the fields above do not hold everything.
        pub source: Option<serde_json::Value>,
    }

    /// A tool call that a message asks for.
    pub struct ToolCallRequest {
        /// Number of the call within its message, from 0.
        pub ordinal: u32,
        /// Name of the tool.
        pub name: String,
        /// The arguments exactly as the model wrote them; text, because they need not be valid JSON.
        pub arguments: String,
        /// How the source wrote the arguments; absent means as a string.
        pub arguments_form: Option<TextForm>,
        /// The provider's id of the call. Not unique, not even within a session.
        pub provider_call_id: Option<String>,
        /// Our id of the call.
        pub call_id: Option<CallId>,
        /// Who asked for it.
        pub requestor: Option<Requestor>,
    }
}
