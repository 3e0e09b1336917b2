//! `message.*`: what people and agents said, and what the channel did with it.

use super::common::{Part, Role, ToolCallRequest};
use crate::ids::{MessageId, TurnId};
use crate::numbers::Micros;
use crate::payload::{Ext, payloads};

payloads! {
    /// A message came in: the interlocutor's words, or the instructions that the agent runs under.
    pub struct MessageReceived {
        /// Who speaks.
        pub role: Role,
        /// Number of the message in the session, from 0, over messages of every role.
        pub message_ordinal: Option<u64>,
        /// The text. Absent or null is a message without text; an empty text is a text.
        pub text: Option<String>,
        /// The parts, where the message is more than one text.
        pub parts: Vec<Part>,
        /// Tool calls that the message asks for (some interlocutors have tools).
        pub tool_calls: Vec<ToolCallRequest>,
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// Name of the speaker within the role, where several speak.
        pub name: Option<String>,
        /// Channel that it came through, such as `web` or `whatsapp`.
        pub channel: Option<String>,
        /// The channel's id of the message.
        pub channel_message_id: Option<String>,
        /// The client's id of the message that it answers.
        pub reply_to: Option<String>,
        /// When the channel got it, µs since 1970 UTC.
        pub received_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The agent wrote a message that goes to nobody yet: a draft, or a step that only calls tools.
    pub struct MessageDrafted {
        /// Who speaks.
        pub role: Role,
        /// Number of the message in the session, from 0, over messages of every role.
        pub message_ordinal: Option<u64>,
        /// The text. Absent or null is a message without text; an empty text is a text.
        pub text: Option<String>,
        /// The parts, where the message is more than one text.
        pub parts: Vec<Part>,
        /// Tool calls that the message asks for.
        pub tool_calls: Vec<ToolCallRequest>,
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// Name of the speaker within the role.
        pub name: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The agent sent a message to the interlocutor.
    pub struct MessageSent {
        /// Who speaks.
        pub role: Role,
        /// Number of the message in the session, from 0, over messages of every role.
        pub message_ordinal: Option<u64>,
        /// The text. Absent or null is a message without text; an empty text is a text.
        pub text: Option<String>,
        /// The parts, where the message is more than one text.
        pub parts: Vec<Part>,
        /// Tool calls that the message asks for beside its text.
        pub tool_calls: Vec<ToolCallRequest>,
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// Name of the speaker within the role.
        pub name: Option<String>,
        /// Channel that it goes through.
        pub channel: Option<String>,
        /// Where the channel delivers it, as the client names the place.
        pub delivery_target: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The channel says that a sent message arrived.
    pub struct MessageDelivered {
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// The channel's id of the message.
        pub channel_message_id: Option<String>,
        /// When it arrived, µs since 1970 UTC.
        pub delivered_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The channel says that a sent message was read.
    pub struct MessageRead {
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// The channel's id of the message.
        pub channel_message_id: Option<String>,
        /// When it was read, µs since 1970 UTC.
        pub read_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The channel could not deliver a sent message.
    pub struct MessageFailed {
        /// The channel's code of the failure.
        pub code: String,
        /// What the channel said.
        pub detail: Option<String>,
        /// Whether sending again may help.
        pub retryable: Option<bool>,
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// The channel's id of the message.
        pub channel_message_id: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A sent message was taken back.
    pub struct MessageRetracted {
        /// Our id of the message.
        pub message_id: Option<MessageId>,
        /// The client's own id of the message.
        pub external_id: Option<String>,
        /// The channel's id of the message.
        pub channel_message_id: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// The turn whose message replaces it.
        pub replaced_by_turn_id: Option<TurnId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
