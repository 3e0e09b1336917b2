//! The inverse of importing: the source's messages, from the records of a session.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{TextForm, ToolCallRequest};
use ruche_ledger::store::Record;

use super::chat::{Message, MessageAnswer, MessageToolCall};

/// Why messages cannot be given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportFault {
    /// A payload is gone: it was erased, or lost.
    #[error("the payload of record {position} is not there")]
    PayloadMissing {
        /// `epoch:index`.
        position: String,
    },
    /// A payload is not what its type says.
    #[error("record {position} cannot be read: {reason}")]
    Unreadable {
        /// `epoch:index`.
        position: String,
        /// Why.
        reason: String,
    },
}

/// The messages of a session from the records of its streams, in the order of the conversation. Messages without a
/// number stand where they were recorded, after the numbered ones before them.
///
/// # Errors
/// [`ExportFault`] for a message whose payload is gone or unreadable. Other records may be as they like.
pub fn export_messages<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Vec<Message>, ExportFault> {
    let mut messages: Vec<(u64, Message)> = Vec::new();
    let mut last = 0;
    for record in records {
        let event = &record.leaf.event;
        if !holds_a_message(&event.event_type) {
            continue;
        }
        let position = || record.position.to_string();
        let bytes = record
            .payload_bytes()
            .ok_or_else(|| ExportFault::PayloadMissing { position: position() })?;
        let event = AgentEvent::from_payload(&event.event_type, event.schema_version, bytes);
        let event = event.map_err(|error| ExportFault::Unreadable {
            position: position(),
            reason: error.to_string(),
        })?;
        let ordinal = crate::observed::message_ordinal(&event);
        let Some(message) = message(event, ordinal.is_some()) else {
            continue;
        };
        last = ordinal.unwrap_or(last);
        messages.push((last, message));
    }
    messages.sort_by_key(|(ordinal, _)| *ordinal);
    Ok(messages.into_iter().map(|(_, message)| message).collect())
}

fn holds_a_message(event_type: &str) -> bool {
    matches!(
        event_type,
        "message.received" | "message.drafted" | "message.sent" | "tool.completed" | "tool.failed"
    )
}

/// The message that an event holds. The end of a tool call is one only if it is numbered as one.
fn message(event: AgentEvent, numbered: bool) -> Option<Message> {
    use ruche_domain::events::Role;
    let of = |role, text, name, calls: Vec<ToolCallRequest>, ext| Message {
        role,
        text,
        name,
        tool_calls: calls.into_iter().map(call).collect(),
        answer: None,
        ext,
    };
    match event {
        AgentEvent::MessageReceived(m) => Some(of(m.role, m.text, m.name, m.tool_calls, m.ext)),
        AgentEvent::MessageDrafted(m) => Some(of(m.role, m.text, m.name, m.tool_calls, m.ext)),
        AgentEvent::MessageSent(m) => Some(of(m.role, m.text, m.name, m.tool_calls, m.ext)),
        AgentEvent::ToolCompleted(answer) if numbered => Some(Message {
            answer: Some(MessageAnswer {
                provider_call_id: answer.provider_call_id,
                requestor: answer.requestor,
                failed: false,
                error: None,
            }),
            ..of(Role::Tool, answer.result, answer.name, Vec::new(), answer.ext)
        }),
        AgentEvent::ToolFailed(answer) if numbered => Some(Message {
            answer: Some(MessageAnswer {
                provider_call_id: answer.provider_call_id,
                requestor: answer.requestor,
                failed: true,
                error: answer.error,
            }),
            ..of(Role::Tool, answer.result, answer.name, Vec::new(), answer.ext)
        }),
        _ => None,
    }
}

fn call(call: ToolCallRequest) -> MessageToolCall {
    MessageToolCall {
        name: call.name,
        arguments: call.arguments,
        arguments_form: call.arguments_form.unwrap_or(TextForm::String),
        provider_call_id: call.provider_call_id,
        requestor: call.requestor,
    }
}
