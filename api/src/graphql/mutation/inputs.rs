//! Inputs of mutations, and the commands that are made from them by hand.

use async_graphql::{Enum, ID, InputObject, MaybeUndefined, OneofObject};
use ruche_commands::configuration::PublishConfiguration;
use ruche_commands::governed::{LaneName, SubmitMessage};
use ruche_commands::score::ScoreSession;
use ruche_commands::{
    AppendEvents, AppendTarget, ClientEvent, CommandError, EndSession, OwnCategory, ReceiveMessage,
    RegisterTool, SessionRef, StartSession,
};
use ruche_domain::events::{EvalScored, MessageReceived, SessionStarted, ToolRegistered};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::{SchemaVersion, StreamVersion};
use ruche_ledger::store::ExpectedVersion;

use super::super::scalars::{DateTime, Json, JsonText, Long};
use super::super::words::{ConfigScope, Role, ScoreTarget, SessionEndReason, SideEffectPolicy, ToolKind};
use super::fields::{count, named, object, optional_count, optional_name, parsed};
use super::lane_input::{HeldTurnInput, LaneInput};

type Made<C> = Result<C, CommandError>;

/// A session: by our id, or by the client's own.
#[derive(OneofObject)]
pub(in crate::graphql) enum SessionInput {
    /// Our id.
    Id(ID),
    /// The client's own id.
    ExternalId(String),
}

impl SessionInput {
    pub(super) fn read(self) -> Made<SessionRef> {
        match self {
            Self::Id(id) => Ok(SessionRef::Id(parsed("/session/id", id.as_str())?)),
            Self::ExternalId(external) => Ok(SessionRef::External(external)),
        }
    }
}

/// Input of `startSession`.
#[derive(InputObject)]
pub(in crate::graphql) struct StartSessionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// The client's own id of the session. Absent: the session is named by the idempotency key alone.
    external_id: Option<String>,
    /// Application that the conversation runs in.
    app: Option<String>,
    /// The client's own id of the agent.
    agent: Option<String>,
    /// Version of the agent.
    agent_version: Option<String>,
    /// The client's own id of the person or system that the agent talks with.
    interlocutor: Option<String>,
    /// Channel, such as `web` or `whatsapp`.
    channel: Option<String>,
    /// The client's own id of the scenario or task.
    scenario: Option<String>,
    /// Which repetition of the scenario, from 0.
    trial: Option<Long>,
    /// The session that it continues.
    previous_session_id: Option<ID>,
    /// Labels for filters: an object.
    attributes: Option<Json>,
    /// When it began by the source's clock.
    started_at: Option<DateTime>,
}

impl StartSessionInput {
    pub(super) fn into_command(self) -> Made<StartSession> {
        let previous = self.previous_session_id;
        let previous = previous
            .map(|id| parsed("/previousSessionId", id.as_str()))
            .transpose()?;
        Ok(StartSession {
            started: SessionStarted {
                external_id: self.external_id,
                app: self.app,
                agent_id: self.agent,
                agent_version: self.agent_version,
                interlocutor_id: self.interlocutor,
                channel: self.channel,
                scenario_id: self.scenario,
                trial: optional_count("/trial", self.trial)?,
                previous_session_id: previous,
                attributes: object("/attributes", self.attributes)?,
                started_at: self.started_at.map(|time| time.0),
                ..SessionStarted::default()
            },
        })
    }
}

/// Input of `endSession`.
#[derive(InputObject)]
pub(in crate::graphql) struct EndSessionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which session.
    session: SessionInput,
    /// Why it ended.
    reason: SessionEndReason,
    /// Why it ended, in the source's own words.
    detail: Option<String>,
    /// When it ended by the source's clock.
    ended_at: Option<DateTime>,
}

impl EndSessionInput {
    pub(super) fn into_command(self) -> Made<EndSession> {
        Ok(EndSession {
            detail: self.detail,
            ended_at: self.ended_at.map(|time| time.0),
            ..EndSession::new(self.session.read()?, self.reason.into())
        })
    }
}

/// Input of `submitMessage`.
#[derive(InputObject)]
pub(in crate::graphql) struct SubmitMessageInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which session.
    session: SessionInput,
    /// Who speaks.
    #[graphql(default_with = "Role::User")]
    role: Role,
    /// The text. Null is a message without text; an empty text is a text.
    text: Option<String>,
    /// Name of the speaker within the role, where several speak.
    name: Option<String>,
    /// The client's own id of the message.
    external_id: Option<String>,
    /// Channel that it came through.
    channel: Option<String>,
    /// The channel's id of the message.
    channel_message_id: Option<String>,
    /// The client's id of the message that it answers.
    reply_to: Option<String>,
    /// When the channel got it.
    received_at: Option<DateTime>,
    /// Whether the turn that it opens or joins waits for no more messages: it is sealed at once, and may be claimed as soon
    /// as its lane is free. Only with a `lane`.
    #[graphql(default)]
    flush: bool,
    /// The lane whose turn it opens or joins. Absent: the message is recorded, and no turn is governed. The same
    /// `channelMessageId` (without one, the same `externalId`) in the same lane is the same message, whatever the
    /// idempotency key: it gives the first answer.
    pub(super) lane: Option<LaneInput>,
}

impl SubmitMessageInput {
    /// For a lane.
    pub(super) fn into_governed(mut self, lane: LaneInput) -> Made<SubmitMessage> {
        let lane = LaneName::from(lane);
        let flush = std::mem::take(&mut self.flush);
        self.channel.get_or_insert_with(|| lane.channel.clone());
        let ReceiveMessage { session, message } = self.into_command()?;
        Ok(SubmitMessage {
            session,
            lane,
            flush,
            message,
        })
    }

    pub(super) fn into_command(self) -> Made<ReceiveMessage> {
        if self.flush {
            return Err(CommandError::input("/flush", "is for turns of a lane"));
        }
        let message = MessageReceived {
            text: self.text,
            name: optional_name("/name", self.name)?,
            external_id: optional_name("/externalId", self.external_id)?,
            channel: self.channel,
            channel_message_id: optional_name("/channelMessageId", self.channel_message_id)?,
            reply_to: optional_name("/replyTo", self.reply_to)?,
            received_at: self.received_at.map(|time| time.0),
            ..MessageReceived::new(self.role.into())
        };
        let session = self.session.read()?;
        Ok(ReceiveMessage { session, message })
    }
}

/// Input of `registerTool`.
#[derive(InputObject)]
pub(in crate::graphql) struct RegisterToolInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Name of the tool.
    name: String,
    /// What a call does to the world.
    side_effect: SideEffectPolicy,
    /// Kind of work; absent means unknown.
    tool_kind: Option<ToolKind>,
    /// What it is for.
    description: Option<String>,
    /// Its version.
    version: Option<String>,
    /// JSON schema of its arguments.
    argument_schema: Option<Json>,
    /// Name of the tool that undoes a call; needed where calls are compensatable. It is registered as pure or idempotent,
    /// since nobody is asked before it runs; or it is the tool itself.
    compensation_tool: Option<String>,
    /// How long a call may take, milliseconds; what takes longer counts as of unknown outcome.
    timeout_ms: Option<Long>,
    /// Who answers for the tool, as the client names people and teams.
    owner: Option<String>,
}

impl RegisterToolInput {
    pub(super) fn into_command(self) -> Made<RegisterTool> {
        let timeout_ms = optional_count("/timeoutMs", self.timeout_ms)?;
        Ok(RegisterTool {
            tool: ToolRegistered {
                timeout_us: timeout_ms.map(|ms| ms.saturating_mul(1_000)),
                owner: optional_name("/owner", self.owner)?,
                tool_kind: self.tool_kind.map(Into::into),
                description: self.description,
                version: optional_name("/version", self.version)?,
                schema: self.argument_schema.map(|json| json.0),
                compensation_tool: self.compensation_tool,
                ..ToolRegistered::new(self.name, self.side_effect.into())
            },
            is_imported: false,
        })
    }
}

/// Input of `publishConfiguration`.
#[derive(InputObject)]
pub(in crate::graphql) struct PublishConfigurationInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Level.
    scope: ConfigScope,
    /// The client's own id of the agent, channel, scenario or step; absent for the tenant.
    scope_id: Option<String>,
    /// Values to set, by key: an object.
    set: Option<Json>,
    /// Keys to remove.
    #[graphql(default)]
    removed: Vec<String>,
    /// Version that the author saw, 0 for none; another one is refused. Absent takes any.
    base_version: Option<Long>,
    /// Why.
    reason: Option<String>,
}

impl PublishConfigurationInput {
    /// Whether it may hold settings of turns.
    pub(super) fn is_of_a_channel(&self) -> bool {
        self.scope == ConfigScope::Channel
    }

    pub(super) fn into_command(self) -> Made<PublishConfiguration> {
        Ok(PublishConfiguration {
            scope: self.scope.into(),
            scope_id: self.scope_id,
            set: object("/set", self.set)?,
            removed: self.removed,
            base_version: optional_count("/baseVersion", self.base_version)?,
            reason: self.reason,
        })
    }
}

/// One score: a number, a word, or both.
#[derive(InputObject)]
pub(in crate::graphql) struct ScoreInput {
    /// Name of the score, such as `reward`.
    name: String,
    /// As a number.
    value: Option<f64>,
    /// As a word, such as `pass`.
    label: Option<String>,
    /// Why, in words.
    explanation: Option<String>,
    /// Who or what scored.
    evaluator: Option<String>,
    /// Version of the evaluator.
    evaluator_version: Option<String>,
    /// What was scored; absent means the session.
    target: Option<ScoreTarget>,
    /// The turn that was scored.
    turn_id: Option<ID>,
    /// The message that was scored.
    message_id: Option<ID>,
    /// The tool call that was scored.
    call_id: Option<ID>,
}

impl ScoreInput {
    fn read(self, number: usize) -> Made<EvalScored> {
        let at = |field: &str| format!("/scores/{number}/{field}");
        let value = self.value.map(|value| {
            Finite::new(value).ok_or_else(|| CommandError::input(at("value"), "must be a finite number"))
        });
        let id = |field: &str, id: Option<ID>| id.map(|id| (at(field), id.to_string()));
        let (turn, message, call) = (
            id("turnId", self.turn_id),
            id("messageId", self.message_id),
            id("callId", self.call_id),
        );
        Ok(EvalScored {
            value: value.transpose()?,
            label: optional_name(&at("label"), self.label)?,
            explanation: self.explanation,
            evaluator: optional_name(&at("evaluator"), self.evaluator)?,
            evaluator_version: optional_name(&at("evaluatorVersion"), self.evaluator_version)?,
            target: self.target.map(Into::into),
            turn_id: turn.map(|(at, id)| parsed(&at, &id)).transpose()?,
            message_id: message.map(|(at, id)| parsed(&at, &id)).transpose()?,
            call_id: call.map(|(at, id)| parsed(&at, &id)).transpose()?,
            ..EvalScored::new(named(&at("name"), self.name)?)
        })
    }
}

/// Input of `scoreSession`.
#[derive(InputObject)]
pub(in crate::graphql) struct ScoreSessionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which session.
    session: SessionInput,
    /// The scores, in order.
    scores: Vec<ScoreInput>,
}

impl ScoreSessionInput {
    pub(super) fn into_command(self) -> Made<ScoreSession> {
        let scores = self.scores.into_iter().enumerate();
        let scores: Made<Vec<EvalScored>> = scores.map(|(number, score)| score.read(number)).collect();
        Ok(ScoreSession {
            session: self.session.read()?,
            scores: scores?,
        })
    }
}

/// A payload, in one of two forms.
#[derive(OneofObject)]
pub(in crate::graphql) enum DataInput {
    /// A JSON value, stored as our serialisation.
    Json(Json),
    /// JSON text, stored and committed byte for byte.
    Text(JsonText),
}

/// One event.
#[derive(InputObject)]
pub(in crate::graphql) struct EventInput {
    /// Event type, of a family that is open to clients: `message`, `llm`, `memory`, `plan`, `goal`, `eval`,
    /// `feedback`, `artifact` or `state`.
    #[graphql(name = "type")]
    event_type: String,
    /// Version of the payload's schema.
    #[graphql(default = 1)]
    schema_version: u32,
    /// When it happened by the source's clock.
    occurred_at: Option<DateTime>,
    /// The payload.
    data: DataInput,
    /// The turn that it belongs to.
    turn_id: Option<ID>,
    /// The tool call that it belongs to.
    call_id: Option<ID>,
    /// The client's own id of the job that it belongs to.
    correlation_id: Option<String>,
    /// The event that caused it.
    causation_id: Option<ID>,
}

impl EventInput {
    fn read(self, number: usize) -> Made<ClientEvent> {
        let at = |field: &str| format!("/events/{number}/{field}");
        let mut event = match self.data {
            DataInput::Json(json) => ClientEvent::json(self.event_type, &json.0),
            DataInput::Text(text) => ClientEvent::text(self.event_type, text.0),
        };
        event.payload.schema_version = SchemaVersion(self.schema_version);
        event.occurred_at = self.occurred_at.map(|time| time.0);
        event.turn = self
            .turn_id
            .map(|id| parsed(&at("turnId"), id.as_str()))
            .transpose()?;
        event.call = self
            .call_id
            .map(|id| parsed(&at("callId"), id.as_str()))
            .transpose()?;
        event.causation = self
            .causation_id
            .map(|id| parsed(&at("causationId"), id.as_str()))
            .transpose()?;
        event.correlation = self.correlation_id;
        Ok(event)
    }
}

/// Kinds of things that clients open streams of.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "OwnCategory")]
pub(in crate::graphql) enum StreamCategory {
    /// Memory about one entity.
    Memory,
    /// One goal.
    Goal,
    /// One plan.
    Plan,
    /// One artifact.
    Artifact,
    /// State checkpoints of an external framework.
    State,
}

/// A stream of the client's own, by the client's own id of the thing.
#[derive(InputObject)]
pub(in crate::graphql) struct NamedStreamInput {
    /// Kind of thing.
    category: StreamCategory,
    /// The client's own id of it.
    external_id: String,
}

/// Where events go.
#[derive(OneofObject)]
pub(in crate::graphql) enum AppendTargetInput {
    /// A session.
    Session(SessionInput),
    /// A stream by its name.
    Stream(String),
    /// A stream of the client's own.
    Named(NamedStreamInput),
}

/// Input of `appendEvents`.
#[derive(InputObject)]
pub(in crate::graphql) struct AppendEventsInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Where they go.
    target: AppendTargetInput,
    /// Version that the last event of the stream has to have, -1 for a stream without events. Absent takes any.
    expected_version: MaybeUndefined<Long>,
    /// The turn that you hold, where the events belong to a turn of a lane: what a worker says of its turn is taken under
    /// its lease alone. What others think of a turn (`eval`, `feedback`) needs none.
    held: Option<HeldTurnInput>,
    /// The events, in order.
    events: Vec<EventInput>,
}

impl AppendEventsInput {
    pub(super) fn into_command(self) -> Made<AppendEvents> {
        let target = match self.target {
            AppendTargetInput::Session(session) => AppendTarget::Session(session.read()?),
            AppendTargetInput::Stream(stream) => AppendTarget::Stream(parsed("/target/stream", &stream)?),
            AppendTargetInput::Named(named) => AppendTarget::Named {
                category: named.category.into(),
                external_id: named.external_id,
            },
        };
        let expected = match self.expected_version.take() {
            None => None,
            Some(Long(-1)) => Some(ExpectedVersion::NoStream),
            Some(version) => Some(ExpectedVersion::Exact(StreamVersion(count(
                "/expectedVersion",
                version,
            )?))),
        };
        let events = self.events.into_iter().enumerate();
        let events: Made<Vec<ClientEvent>> = events.map(|(number, event)| event.read(number)).collect();
        Ok(AppendEvents {
            expected,
            held: self.held.map(HeldTurnInput::read).transpose()?,
            ..AppendEvents::new(target, events?)
        })
    }
}
