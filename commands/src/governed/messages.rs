//! Messages that come in. One is known by its id, in the idempotency layer of turns: a message that a channel delivers twice
//! gives the first answer, under whatever idempotency key it comes.

use ruche_domain::events::MessageReceived;
use ruche_domain::ids::{MessageId, TurnId};
use ruche_ledger::leaf::KeyLayer;
use serde::Serialize;

use super::{Asked, GovernedState, LaneName};
use crate::command::{Command, Decision, LayerKey, Load, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::{self, Intent};
use crate::session::{SessionRef, session_stream};

/// A message comes in and may open a turn, join one, or take the place of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubmitMessage {
    /// Which session the turn belongs to.
    pub session: SessionRef,
    /// Which lane.
    pub lane: LaneName,
    /// Whether the turn that it joins waits for no more messages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flush: bool,
    /// The message. The channel's id names it, else the client's; without both every submission is another message.
    pub message: MessageReceived,
}

impl SubmitMessage {
    fn message_id(&self, ground: &Ground<'_>) -> MessageId {
        let lane = self.lane.id(ground.references);
        let given = self
            .message
            .channel_message_id
            .as_deref()
            .map(|id| ("channel", id));
        let given = given.or(self.message.external_id.as_deref().map(|id| ("client", id)));
        let (kind, name) = given.unwrap_or(("key", ground.idempotency_key));
        let parts = [lane.as_bytes(), kind.as_bytes(), name.as_bytes()];
        MessageId(ground.references.id("message-of-lane", &parts))
    }

    /// The session has to be about the same people, where it says who.
    fn check_session(&self, state: &GovernedState) -> Result<(), CommandError> {
        let Some(started) = &state.started else {
            return Ok(());
        };
        let pairs = [
            ("/lane/agent", &started.agent_id, &self.lane.agent),
            (
                "/lane/interlocutor",
                &started.interlocutor_id,
                &self.lane.interlocutor,
            ),
            ("/lane/channel", &started.channel, &self.lane.channel),
        ];
        for (field, of_session, of_lane) in pairs {
            if of_session.as_ref().is_some_and(|name| name != of_lane) {
                return Err(CommandError::input(field, "is not that of the session"));
            }
        }
        Ok(())
    }
}

impl Command for SubmitMessage {
    type State = GovernedState;
    const NAME: &'static str = "SubmitMessage";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let session = self.session.resolve(ground.references)?;
        Ok(vec![
            Load::whole(session_stream(session)),
            self.lane.load(ground)?,
            // A lane that is new does not say its channel.
            GovernedState::load_channel(&self.lane.channel, ground),
        ])
    }

    fn layer_keys(&self, ground: &Ground<'_>) -> Result<Vec<LayerKey>, CommandError> {
        let lane = self.lane.id(ground.references);
        let request = serde_json::to_vec(&self.message);
        Ok(vec![LayerKey {
            layer: KeyLayer::Turn,
            key: format!("{lane}/{}", self.message_id(ground)),
            request: request.map_err(|error| CommandError::Internal(Box::new(error)))?,
        }])
    }

    fn more_loads(&self, state: &GovernedState, ground: &Ground<'_>) -> Vec<Load> {
        state.more_loads(ground)
    }

    fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &GovernedState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.session.require_open("/session")?;
        self.check_session(state)?;
        let session = self.session.resolve(ground.references)?;
        let lane = self.lane.id(ground.references);
        let message_id = self.message_id(ground);
        let new_turn = ground
            .references
            .id("turn-of-lane", &[lane.as_bytes(), message_id.as_bytes()]);
        let intent = Intent::SubmitMessage(lane::SubmitMessage {
            message_id,
            message: self.message.clone(),
            agent_id: Some(self.lane.agent.clone()),
            new_turn: TurnId::governed(new_turn),
            flush: self.flush,
        });
        let asked = Asked {
            session: Some((session, state.session.subject)),
            lane: Some(self.lane.clone()),
            ..Asked::from(intent)
        };
        state.decide(&self.lane, ground, &asked)
    }
}
