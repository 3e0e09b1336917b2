//! The commands that record what was observed.

use std::collections::HashMap;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::session::SessionStarted;
use ruche_domain::ids::{CallId, SessionId, SubjectId, TurnId};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::KeyLayer;
use ruche_ledger::references::ReferenceKey;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::batch::ObservedSession;
use super::events::{Draft, Unit};
use super::names;
use crate::command::{Command, Decision, LayerKey, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::session::{StartSession, observed_stream, session_stream};
use crate::tool::{ToolTraits, tool_stream};

/// Where a session says that no source named it.
pub(super) const INFERRED: &str = "session_inferred";

/// Starts a session that telemetry speaks of, unless it was started. One that has ended goes on being observed:
/// telemetry comes late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartObserved(StartSession);

impl StartObserved {
    /// The session of a request.
    pub fn new(session: &ObservedSession) -> Self {
        let mut start = StartSession::new(&session.external_id);
        let agent = session.agent.as_deref().map(names::as_id);
        // A part of whom it is about would be somebody else, so there it is nobody.
        let interlocutor = session.interlocutor.clone().filter(|id| names::as_id(id) == *id);
        let notes = [
            (INFERRED, session.is_inferred),
            ("agent_id_changed", agent != session.agent),
            ("interlocutor_id_left_out", interlocutor != session.interlocutor),
        ];
        let notes = notes.into_iter().filter(|(_, holds)| *holds);
        start.started = SessionStarted {
            app: session.app.as_deref().map(names::as_id),
            agent_id: agent,
            interlocutor_id: interlocutor,
            started_at: session.started_at,
            ext: notes.map(|(note, _)| (note.to_owned(), json!(true))).collect(),
            ..start.started
        };
        Self(start)
    }
}

impl Command for StartObserved {
    type State = Option<RecordedEvent>;
    const NAME: &'static str = "StartObserved";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.0.check()?;
        Ok(vec![Load::whole(session_stream(self.0.session(ground)))])
    }

    fn evolve(&self, state: &mut Self::State, event: &PastEvent) {
        state.get_or_insert_with(|| event.recorded.clone());
    }

    fn decide(&self, state: &Self::State, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        Ok(match state {
            Some(started) => Decision::AlreadySo(vec![started.clone()]),
            None => Decision::Append(vec![self.0.event(ground)]),
        })
    }
}

/// Records a unit of what was observed in a session, once, whoever sends it and however often.
#[derive(Clone, Debug)]
pub struct RecordUnit {
    /// The session, which was started.
    pub session: SessionId,
    /// Whose data it is.
    pub subject: Option<SubjectId>,
    /// What the turn is known by in its session.
    pub turn: Option<String>,
    /// What is recorded.
    pub unit: Unit,
}

impl Serialize for RecordUnit {
    /// What makes it what it is. What the spans around it say of it may differ from request to request.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AskUnit(&self.unit).serialize(serializer)
    }
}

/// The turn that is known by a name in a session.
pub(super) fn turn_of(references: &ReferenceKey, session: SessionId, turn: &str) -> TurnId {
    TurnId(references.id("otlp-turn", &[session.as_bytes(), turn.as_bytes()]))
}

/// The call that is known by a name in a session.
pub(super) fn call_of(references: &ReferenceKey, session: SessionId, call: &str) -> CallId {
    CallId(references.id("otlp-call", &[session.as_bytes(), call.as_bytes()]))
}

/// Whichever key of the tenant sends it, a unit is recorded once.
fn layer_key(unit: &Unit) -> LayerKey {
    LayerKey {
        layer: KeyLayer::Turn,
        key: unit.key.clone(),
        request: unit.digest.0.to_vec(),
    }
}

impl RecordUnit {
    fn tools(&self) -> impl Iterator<Item = &str> {
        self.unit.drafts.iter().filter_map(|draft| match &draft.event {
            AgentEvent::ToolProposed(tool) => Some(tool.name.as_str()),
            AgentEvent::ToolStarted(tool) => Some(tool.name.as_str()),
            _ => None,
        })
    }

    fn event(&self, draft: &Draft, tools: &Tools, ground: &Ground<'_>) -> NewEvent {
        let mut fact = draft.event.clone();
        let references = ground.references;
        let traits = |name: &str| {
            tools
                .get(&tool_stream(references, name))
                .copied()
                .unwrap_or_default()
        };
        match &mut fact {
            AgentEvent::ToolProposed(tool) => {
                let traits = traits(&tool.name);
                tool.side_effect = Some(traits.side_effect);
                tool.tool_kind = traits.kind;
            }
            AgentEvent::ToolStarted(tool) => tool.side_effect = Some(traits(&tool.name).side_effect),
            AgentEvent::ToolCompleted(tool) => {
                tool.side_effect = tool.name.as_deref().map(|name| traits(name).side_effect);
            }
            AgentEvent::ToolFailed(tool) => {
                tool.side_effect = tool.name.as_deref().map(|name| traits(name).side_effect);
            }
            _ => {}
        }
        let mut event = NewEvent::fact(observed_stream(self.session), fact)
            .of_session(self.session, self.subject)
            .at(draft.at);
        event.turn = self
            .turn
            .as_deref()
            .map(|turn| turn_of(references, self.session, turn));
        event.call = draft
            .call
            .as_deref()
            .map(|call| call_of(references, self.session, call));
        event.caused_by = draft.caused_by;
        event
    }
}

/// Asks whether a unit can be recorded, and records nothing: refused is one under whose key something else stands.
#[derive(Clone, Copy, Debug)]
pub struct AskUnit<'a>(pub &'a Unit);

impl Serialize for AskUnit<'_> {
    /// The same as of recording it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0.key, self.0.digest).serialize(serializer)
    }
}

impl Command for AskUnit<'_> {
    type State = ();
    const NAME: &'static str = RecordUnit::NAME;

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(Vec::new())
    }

    fn layer_keys(&self, _: &Ground<'_>) -> Result<Vec<LayerKey>, CommandError> {
        Ok(vec![layer_key(self.0)])
    }

    fn evolve(&self, (): &mut (), _: &PastEvent) {}

    fn decide(&self, (): &(), _: &Ground<'_>) -> Result<Decision, CommandError> {
        Ok(Decision::AlreadySo(Vec::new()))
    }
}

/// What is known of tools, by their streams.
type Tools = HashMap<StreamId, ToolTraits>;

impl Command for RecordUnit {
    type State = Tools;
    const NAME: &'static str = "RecordUnit";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let streams: Vec<StreamId> = self
            .tools()
            .map(|name| tool_stream(ground.references, name))
            .collect();
        Ok(streams
            .into_iter()
            .map(|stream| Load::newest(stream).unguarded())
            .collect())
    }

    fn layer_keys(&self, _: &Ground<'_>) -> Result<Vec<LayerKey>, CommandError> {
        Ok(vec![layer_key(&self.unit)])
    }

    fn evolve(&self, state: &mut Tools, event: &PastEvent) {
        if let (Category::Tool, Some(AgentEvent::ToolRegistered(tool))) =
            (event.stream().category, &event.event)
        {
            state.entry(event.stream()).or_insert_with(|| tool.into());
        }
    }

    fn is_settled(&self, state: &Tools, stream: StreamId) -> bool {
        state.contains_key(&stream)
    }

    fn decide(&self, state: &Tools, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let drafts = self.unit.drafts.iter();
        Ok(Decision::Append(
            drafts.map(|draft| self.event(draft, state, ground)).collect(),
        ))
    }
}
