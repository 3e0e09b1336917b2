//! What deciders know of the observed stream of a session: how far its turns and messages are numbered.

use ruche_domain::event::AgentEvent;

use crate::command::PastEvent;

/// The next numbers of a session. Found from the newest records: numbers never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservedState {
    turns: Option<u64>,
    messages: Option<u64>,
}

impl ObservedState {
    /// Takes an event of the observed stream, in any order.
    pub fn evolve(&mut self, event: &PastEvent) {
        let Some(event) = &event.event else { return };
        if let AgentEvent::TurnOpened(turn) = event {
            self.turns = self.turns.max(turn.turn_ordinal);
        }
        self.messages = self.messages.max(message_ordinal(event));
    }

    /// Whether older events can tell nothing more.
    pub fn is_settled(&self) -> bool {
        self.turns.is_some() && self.messages.is_some()
    }

    /// Number of the next turn.
    pub fn next_turn(&self) -> u64 {
        self.turns.map_or(0, |last| last.saturating_add(1))
    }

    /// Number of the next message.
    pub fn next_message(&self) -> u64 {
        self.messages.map_or(0, |last| last.saturating_add(1))
    }
}

/// Number of the conversation message that an event is, if it is one.
pub fn message_ordinal(event: &AgentEvent) -> Option<u64> {
    match event {
        AgentEvent::MessageReceived(message) => message.message_ordinal,
        AgentEvent::MessageDrafted(message) => message.message_ordinal,
        AgentEvent::MessageSent(message) => message.message_ordinal,
        AgentEvent::ToolCompleted(answer) => answer.message_ordinal,
        AgentEvent::ToolFailed(answer) => answer.message_ordinal,
        _ => None,
    }
}
