//! Messages that come in by themselves, outside a recorded turn.

use ruche_domain::events::MessageReceived;
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::observed::ObservedState;
use crate::session::{SessionRef, SessionState, observed_stream, session_stream};

/// Records a message that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiveMessage {
    /// Which session.
    pub session: SessionRef,
    /// The message. Its ordinal and our id are set here, whatever the client says.
    pub message: MessageReceived,
}

/// What deciders know of a session and what was observed in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationState {
    /// The session.
    pub session: SessionState,
    /// Its numbering.
    pub observed: ObservedState,
}

impl ConversationState {
    /// Takes an event of either stream.
    pub fn evolve(&mut self, event: &PastEvent) {
        self.session.evolve(event);
        self.observed.evolve(event);
    }
}

impl Command for ReceiveMessage {
    type State = ConversationState;
    const NAME: &'static str = "ReceiveMessage";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let session = self.session.resolve(ground.references)?;
        Ok(vec![
            Load::whole(session_stream(session)),
            Load::newest(observed_stream(session)),
        ])
    }

    fn evolve(&self, state: &mut ConversationState, event: &PastEvent) {
        state.evolve(event);
    }

    fn is_settled(&self, state: &ConversationState, _: ruche_domain::stream::StreamId) -> bool {
        state.observed.is_settled()
    }

    fn decide(&self, state: &ConversationState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.session.require_open("/session")?;
        let session = self.session.resolve(ground.references)?;
        let ordinal = state.observed.next_message();
        let mut message = self.message.clone();
        message.message_ordinal = Some(ordinal);
        message.message_id = Some(ground.references.message(session, ordinal));
        let occurred_at = message.received_at;
        let event = NewEvent::fact(observed_stream(session), message)
            .of_session(session, state.session.subject)
            .at(occurred_at);
        Ok(Decision::Append(vec![event]))
    }
}
