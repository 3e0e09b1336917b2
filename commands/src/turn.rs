//! A whole turn that was observed elsewhere, recorded in one append.
//!
//! The client says what happened, step by step, in the order of the conversation. Numbers, ids and side effects are
//! set here: the turn and its messages continue the numbering of the session, a call is (session, turn, number of the
//! call in the turn), and what a call does to the world is what its tool was registered with at that moment.
//! Governed turns, which are decided before they happen, live in `lane-…` streams and share only the event types.

use std::collections::{BTreeSet, HashMap};

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    LlmFailed, LlmRequested, LlmResponded, MessageReceived, MessageSent, ToolCompleted, ToolFailed,
    ToolOutcomeUnknown, TurnCommitted, TurnFailed, TurnOpened,
};
use ruche_domain::limits::{EVENTS_PER_APPEND_MAX, TOOLS_PER_TURN_MAX};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use crate::command::{Command, Decision, Load, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::message::ConversationState;
use crate::session::{SessionRef, observed_stream, session_stream};
use crate::tool::{ToolTraits, tool_stream};

mod build;
mod calls;
mod session;

use build::TurnPlace;
pub use calls::StrayAnswers;
pub(crate) use session::Fit;
pub use session::RecordSession;

/// Records a whole turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordTurn {
    /// Which session.
    pub session: SessionRef,
    /// What happened.
    pub turn: RecordedTurn,
}

/// A turn as its source saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedTurn {
    /// What opened it, and the client's own names. `turn_ordinal` and `message_ids` are set here.
    pub opened: TurnOpened,
    /// When it was opened by the source's clock.
    pub opened_at: Option<Micros>,
    /// What happened, in order.
    pub steps: Vec<TurnStep>,
    /// How it ended.
    pub end: TurnEnd,
}

/// One step of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a turn has few steps, each made once")]
pub enum TurnStep {
    /// A message came in: of the system, a developer or the interlocutor. `message_ordinal`, `message_id` and the
    /// calls' `ordinal` and `call_id` are set here.
    Received(Timed<MessageReceived>),
    /// The agent wrote a message, possibly with tool calls. The same fields are set here. Without text and with tool
    /// calls it is recorded as a draft, since nobody reads it.
    Said(Said),
    /// A model call failed; no message came of it.
    ModelFailed(Timed<LlmFailed>),
    /// A tool call came to an end.
    Settled(Settled),
}

/// Something with a time by the source's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timed<T> {
    /// What.
    pub what: T,
    /// When.
    pub at: Option<Micros>,
}

impl<T> Timed<T> {
    /// Something at an unknown time.
    pub fn untimed(what: T) -> Self {
        Self { what, at: None }
    }
}

/// A message of the agent, with the model call that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The message.
    pub message: MessageSent,
    /// When it was written.
    pub at: Option<Micros>,
    /// The call of the model, where the source knows of it.
    pub model_call: Option<ModelCall>,
}

/// A model call with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelCall {
    /// The request, where the source knows the model.
    pub requested: Option<LlmRequested>,
    /// The answer. `message_ordinal` is set here.
    pub responded: LlmResponded,
    /// When the answer came.
    pub responded_at: Option<Micros>,
}

/// The end of a tool call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// Number of the call in the turn, from 0, over all messages; it was made by an earlier step and is settled
    /// once. Absent: the first unsettled call with the provider's id of the outcome, else the first unsettled call of
    /// its tool; where none fits, [`StrayAnswers`] says what follows.
    pub call: Option<u64>,
    /// When the call began.
    pub started_at: Option<Micros>,
    /// Whether the answer is a message of the conversation and so counts among them.
    pub is_message: bool,
    /// How it came out. `message_ordinal` and `side_effect` are set here.
    pub outcome: ToolOutcome,
}

/// How a tool call came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a turn has few steps, each made once")]
pub enum ToolOutcome {
    /// It gave a result.
    Completed(ToolCompleted),
    /// It failed.
    Failed(ToolFailed),
    /// Nobody can say.
    Unknown(ToolOutcomeUnknown),
}

/// How a turn ended. `effects` and `response_message_ids` are set here, `usage_total` where the client left it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one for each turn")]
pub enum TurnEnd {
    /// Its answer stands; a turn may also end without one.
    Committed(TurnCommitted),
    /// It failed for good.
    Failed(TurnFailed),
}

/// What a turn is recorded on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordTurnState {
    /// The session and its numbering.
    pub conversation: ConversationState,
    /// Tools by stream, as they are registered now.
    pub tools: HashMap<StreamId, ToolTraits>,
}

impl RecordedTurn {
    /// Names of the tools that the turn calls.
    pub fn tools(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for step in &self.steps {
            match step {
                TurnStep::Received(message) => {
                    names.extend(message.what.tool_calls.iter().map(|call| call.name.as_str()));
                }
                TurnStep::Said(said) => {
                    names.extend(said.message.tool_calls.iter().map(|call| call.name.as_str()));
                }
                TurnStep::Settled(settled) => names.extend(settled.outcome.tool_name()),
                TurnStep::ModelFailed(_) => {}
            }
        }
        names
    }

    /// Events that the turn becomes, at most.
    pub fn events_max(&self) -> usize {
        let steps = self.steps.iter().map(|step| match step {
            TurnStep::Received(message) => 1 + message.what.tool_calls.len(),
            TurnStep::Said(said) => 3 + said.message.tool_calls.len(),
            TurnStep::ModelFailed(_) => 1,
            TurnStep::Settled(_) => 2,
        });
        2 + steps.sum::<usize>()
    }

    /// Checks what can be said without a state. `at` is the place of the turn in its command.
    fn check(&self, stray: StrayAnswers, at: &str) -> Result<(), CommandError> {
        let events = self.events_max();
        if events > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "recorded turn",
                value: events as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        if self.steps.is_empty() {
            return Err(CommandError::input(format!("{at}/steps"), "must not be empty"));
        }
        let tools = self.tools();
        if tools.len() > TOOLS_PER_TURN_MAX {
            return Err(CommandError::LimitExceeded {
                what: "recorded turn",
                value: tools.len() as u64,
                limit: TOOLS_PER_TURN_MAX as u64,
                unit: "tools",
            });
        }
        if let Some(external) = &self.opened.external_id {
            check_external_id(&format!("{at}/externalId"), external)?;
        }
        calls::check(&self.steps, stray, at)
    }
}

impl ToolOutcome {
    /// Name of the tool, where the answer names it.
    pub fn tool_name(&self) -> Option<&str> {
        match self {
            Self::Completed(completed) => completed.name.as_deref(),
            Self::Failed(failed) => failed.name.as_deref(),
            Self::Unknown(_) => None,
        }
    }

    fn provider_call_id(&self) -> Option<&str> {
        match self {
            Self::Completed(completed) => completed.provider_call_id.as_deref(),
            Self::Failed(failed) => failed.provider_call_id.as_deref(),
            Self::Unknown(_) => None,
        }
    }
}

impl RecordTurn {
    /// The streams that a checked turn is decided on.
    fn places(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let session = self.session.resolve(ground.references)?;
        let mut loads = vec![
            Load::whole(session_stream(session)),
            Load::newest(observed_stream(session)),
        ];
        let tools = self.turn.tools();
        // Recorded is what applied when the turn was recorded; a registration that changes meanwhile is no conflict.
        loads.extend(
            tools
                .into_iter()
                .map(|name| Load::newest(tool_stream(ground.references, name)).unguarded()),
        );
        Ok(loads)
    }
}

impl Command for RecordTurn {
    type State = RecordTurnState;
    const NAME: &'static str = "RecordTurn";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.turn.check(StrayAnswers::Refused, "")?;
        self.places(ground)
    }

    fn evolve(&self, state: &mut RecordTurnState, event: &PastEvent) {
        match event.stream().category {
            Category::Tool => evolve_tools(&mut state.tools, event),
            _ => state.conversation.evolve(event),
        }
    }

    fn is_settled(&self, state: &RecordTurnState, stream: StreamId) -> bool {
        match stream.category {
            Category::Tool => state.tools.contains_key(&stream),
            _ => state.conversation.observed.is_settled(),
        }
    }

    fn decide(&self, state: &RecordTurnState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.conversation.session.require_open("/session")?;
        let session = self.session.resolve(ground.references)?;
        let place = TurnPlace {
            session,
            subject: state.conversation.session.subject,
            turn: state.conversation.observed.next_turn(),
            message: state.conversation.observed.next_message(),
        };
        let built = build::turn(&self.turn, place, &state.tools, ground, 0);
        Ok(Decision::Append(built.events))
    }
}

/// A turn of a conversation that is imported part by part. The same command to its idempotency key and its records;
/// only answers without a call are kept as the source has them.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct RecordImportedTurn {
    pub recorded: RecordTurn,
    #[serde(skip)]
    pub stray: StrayAnswers,
}

impl Command for RecordImportedTurn {
    type State = RecordTurnState;
    const NAME: &'static str = RecordTurn::NAME;

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.recorded.turn.check(self.stray, "")?;
        self.recorded.places(ground)
    }

    fn evolve(&self, state: &mut RecordTurnState, event: &PastEvent) {
        self.recorded.evolve(state, event);
    }

    fn is_settled(&self, state: &RecordTurnState, stream: StreamId) -> bool {
        self.recorded.is_settled(state, stream)
    }

    fn decide(&self, state: &RecordTurnState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        self.recorded.decide(state, ground)
    }
}

/// Takes an event of a tool's stream, newest first: the first registration seen is the one that stands.
fn evolve_tools(tools: &mut HashMap<StreamId, ToolTraits>, event: &PastEvent) {
    if let Some(AgentEvent::ToolRegistered(tool)) = &event.event {
        tools.entry(event.stream()).or_insert_with(|| tool.into());
    }
}
