//! Clients' own events: a list in one append, payload text kept to the byte.

use ruche_domain::event::{Family, descriptor, is_reserved};
use ruche_domain::ids::{CallId, EventId, SessionId, TurnId};
use ruche_domain::limits::{EVENT_TYPE_BYTES_MAX, EVENTS_PER_APPEND_MAX};
use ruche_domain::numbers::{Micros, SchemaVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_domain::strict_json::Profile;
use ruche_ledger::store::{Expectation, ExpectedVersion};
use serde::Serialize;

use crate::command::{Command, Content, Decision, GivenPayload, Load, NewEvent, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::governed::{GovernedState, HeldTurn};
use crate::session::{SessionRef, SessionState, observed_stream, session_stream};

/// Where a client's events go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendTarget {
    /// A session: messages and model calls to what was observed in it, which takes an open session; everything else
    /// to the session itself, also when it is over.
    Session(SessionRef),
    /// A stream by name. Of a session (`session-…`, `observed-…`), under the rules of the session and for events that
    /// belong to this one of its streams; or one of the client's own: `memory-…`, `goal-…`,
    /// `plan-…`, `artifact-…`, `state-…`.
    #[serde(serialize_with = "as_name")]
    Stream(StreamId),
    /// A stream of the client's own, by category and the client's id of the thing.
    Named {
        /// `memory`, `goal`, `plan`, `artifact` or `state`.
        category: OwnCategory,
        /// The client's own id of the thing.
        external_id: String,
    },
}

/// Categories whose streams clients open themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnCategory {
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

impl OwnCategory {
    /// The category of streams.
    pub const fn category(self) -> Category {
        match self {
            Self::Memory => Category::Memory,
            Self::Goal => Category::Goal,
            Self::Plan => Category::Plan,
            Self::Artifact => Category::Artifact,
            Self::State => Category::State,
        }
    }
}

fn as_name<S: serde::Serializer>(stream: &StreamId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(stream)
}

/// One event of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientEvent {
    /// Type, version and payload.
    pub payload: GivenPayload,
    /// When it happened by the client's clock.
    pub occurred_at: Option<Micros>,
    /// The turn that it belongs to.
    pub turn: Option<TurnId>,
    /// The tool call that it belongs to.
    pub call: Option<CallId>,
    /// The client's own correlation id.
    pub correlation: Option<String>,
    /// The event that caused it.
    pub causation: Option<EventId>,
}

impl ClientEvent {
    /// An event of the current schema version whose payload is exactly `text`.
    pub fn text(event_type: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self::with(event_type, text, Profile::Exact)
    }

    /// An event whose payload came through a client's number type (the `json` form).
    pub fn json(event_type: impl Into<String>, value: &serde_json::Value) -> Self {
        let text = serde_json::to_vec(value).expect("JSON values serialise");
        Self::with(event_type, text, Profile::Convenience)
    }

    /// The turn of a lane that it is about.
    fn governed_turn(&self) -> Option<TurnId> {
        self.turn.filter(TurnId::is_governed)
    }

    /// Whether anybody may say it of a turn: what others think of it is none of its worker's business.
    fn is_of_anybody(&self) -> bool {
        matches!(
            self.payload.event_type.split('.').next(),
            Some("eval" | "feedback")
        )
    }

    fn with(event_type: impl Into<String>, bytes: impl Into<Vec<u8>>, profile: Profile) -> Self {
        Self {
            payload: GivenPayload {
                event_type: event_type.into(),
                schema_version: SchemaVersion(1),
                bytes: bytes.into(),
                profile,
            },
            occurred_at: None,
            turn: None,
            call: None,
            correlation: None,
            causation: None,
        }
    }
}

/// Appends a client's events, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppendEvents {
    /// Where they go.
    pub target: AppendTarget,
    /// What the client expects of that stream; absent means any version.
    #[serde(serialize_with = "as_version")]
    pub expected: Option<ExpectedVersion>,
    /// The turn that the client holds, where the events belong to a turn of a lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTurn>,
    /// The events, in the order they will stand in.
    pub events: Vec<ClientEvent>,
}

/// What an append is decided on.
#[derive(Clone, Debug, Default)]
pub struct AppendState {
    session: SessionState,
    /// The lane of the turn that the client holds.
    governed: GovernedState,
}

fn as_version<S: serde::Serializer>(
    expected: &Option<ExpectedVersion>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match expected {
        None => serializer.serialize_none(),
        Some(ExpectedVersion::NoStream) => serializer.serialize_str("no_stream"),
        Some(ExpectedVersion::Exact(version)) => serializer.serialize_u64(version.0),
    }
}

impl AppendEvents {
    /// Events at any version of the target.
    pub fn new(target: AppendTarget, events: Vec<ClientEvent>) -> Self {
        Self {
            target,
            expected: None,
            held: None,
            events,
        }
    }

    /// The stream of one event. Messages and model calls stand with the turns that they belong to.
    fn stream_of(&self, event: &ClientEvent, ground: &Ground<'_>) -> Result<StreamId, CommandError> {
        match &self.target {
            AppendTarget::Stream(stream) => match stream.category {
                Category::Session | Category::Observed => {
                    let home = home(event, SessionId(stream.id));
                    if home == *stream {
                        return Ok(home);
                    }
                    Err(CommandError::input(
                        "/target/stream",
                        format!(
                            "{} of this session belongs to {home}; name the session as the target instead of a stream",
                            event.payload.event_type
                        ),
                    ))
                }
                _ => Ok(*stream),
            },
            AppendTarget::Named {
                category,
                external_id,
            } => {
                let category = category.category();
                let id = ground.references.other(category.name(), external_id);
                Ok(StreamId::new(category, id))
            }
            AppendTarget::Session(session) => {
                let session = session.resolve(ground.references)?;
                Ok(home(event, session))
            }
        }
    }

    fn has_conversation(&self) -> bool {
        self.events
            .iter()
            .any(|event| is_conversation(&event.payload.event_type))
    }

    /// The session that the target belongs to.
    fn session(&self, ground: &Ground<'_>) -> Result<Option<SessionId>, CommandError> {
        match &self.target {
            AppendTarget::Session(session) => session.resolve(ground.references).map(Some),
            AppendTarget::Stream(stream)
                if matches!(stream.category, Category::Session | Category::Observed) =>
            {
                Ok(Some(SessionId(stream.id)))
            }
            AppendTarget::Stream(_) | AppendTarget::Named { .. } => Ok(None),
        }
    }

    fn check(&self) -> Result<(), CommandError> {
        if self.events.is_empty() {
            return Err(CommandError::input("/events", "must not be empty"));
        }
        if self.events.len() > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "append",
                value: self.events.len() as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        match &self.target {
            AppendTarget::Stream(stream) if !is_open_to_clients(stream.category) => {
                return Err(CommandError::ReservedNamespace {
                    field: "/target/stream".to_owned(),
                    name: stream.category.name().to_owned(),
                });
            }
            AppendTarget::Named { external_id, .. } => {
                check_external_id("/target/named/externalId", external_id)?
            }
            AppendTarget::Stream(_) | AppendTarget::Session(_) => {}
        }
        for (number, event) in self.events.iter().enumerate() {
            check_type(number, &event.payload)?;
            self.check_turn(number, event)?;
            if let Some(correlation) = &event.correlation {
                check_external_id(&format!("/events/{number}/correlationId"), correlation)?;
            }
        }
        Ok(())
    }

    /// What a worker says of a turn of a lane, or of one of its calls, it says as long as it holds the turn. The ids of such
    /// turns and calls tell, so nothing has to be looked up for events of others, or of none.
    fn check_turn(&self, number: usize, event: &ClientEvent) -> Result<(), CommandError> {
        let turn = event.governed_turn();
        let (field, what) = match (turn, event.call.filter(CallId::is_governed)) {
            (Some(_), _) => ("turnId", "turn"),
            (None, Some(_)) => ("callId", "call"),
            (None, None) => return Ok(()),
        };
        let refused = |reason: &str| {
            let reason = format!("is a {what} of a lane: {reason}");
            CommandError::input(format!("/events/{number}/{field}"), reason)
        };
        if event.is_of_anybody() {
            return Ok(());
        }
        if event.payload.event_type.starts_with("message.") {
            return Err(refused(
                "its messages come by submitMessage, sendMessage and commitTurn",
            ));
        }
        let held = self.held.as_ref();
        let is_held = held.is_some_and(|held| turn.is_none_or(|turn| held.turn == turn));
        is_held
            .then_some(())
            .ok_or_else(|| refused("show in `held` that you hold the turn"))
    }

    /// That an event which names a call is about one of the turn that is held, whatever turn it names.
    fn check_calls(&self, held: &HeldTurn, governed: &GovernedState) -> Result<(), CommandError> {
        for (number, event) in self.events.iter().enumerate() {
            let call = event.call.filter(CallId::is_governed);
            let call = call.filter(|_| !event.is_of_anybody());
            if call.is_some_and(|call| !held.has_call(governed, call)) {
                return Err(CommandError::input(
                    format!("/events/{number}/callId"),
                    "is a call of another turn than you hold",
                ));
            }
        }
        Ok(())
    }

    fn one_stream(&self, ground: &Ground<'_>) -> Result<StreamId, CommandError> {
        let first = self.stream_of(&self.events[0], ground)?;
        for event in &self.events[1..] {
            if self.stream_of(event, ground)? != first {
                return Err(CommandError::input(
                    "/expectedVersion",
                    "the events go to two streams; name one stream, or leave the version out",
                ));
            }
        }
        Ok(first)
    }
}

fn check_type(number: usize, payload: &GivenPayload) -> Result<(), CommandError> {
    let event_type = &payload.event_type;
    if event_type.len() > EVENT_TYPE_BYTES_MAX {
        return Err(CommandError::input(
            format!("/events/{number}/type"),
            format!("longer than {EVENT_TYPE_BYTES_MAX} bytes"),
        ));
    }
    if is_known_family(event_type) && is_reserved(event_type) {
        return Err(CommandError::ReservedNamespace {
            field: format!("/events/{number}/type"),
            name: event_type.clone(),
        });
    }
    let known =
        descriptor(event_type).filter(|d| (1..=d.schema_version.0).contains(&payload.schema_version.0));
    match known {
        Some(_) => Ok(()),
        None => Err(CommandError::UnknownEventType {
            event: number,
            event_type: event_type.clone(),
            schema_version: payload.schema_version.0,
        }),
    }
}

/// Whether the type is of a family that exists, or simulated. What is of none is unknown, not kept from clients.
fn is_known_family(event_type: &str) -> bool {
    let family = event_type.split('.').next().unwrap_or_default();
    family == "sim" || family.parse::<Family>().is_ok()
}

/// The stream of a session that an event belongs to: what was said stands with the turns.
fn home(event: &ClientEvent, session: SessionId) -> StreamId {
    if is_conversation(&event.payload.event_type) {
        observed_stream(session)
    } else {
        session_stream(session)
    }
}

/// Whether the event is part of the conversation itself, which is over when its session is.
fn is_conversation(event_type: &str) -> bool {
    matches!(event_type.split('.').next(), Some("message" | "llm"))
}

const fn is_open_to_clients(category: Category) -> bool {
    matches!(
        category,
        Category::Session
            | Category::Observed
            | Category::Memory
            | Category::Goal
            | Category::Plan
            | Category::Artifact
            | Category::State
    )
}

impl Command for AppendEvents {
    type State = AppendState;
    const NAME: &'static str = "AppendEvents";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.check()?;
        if self.expected.is_some() {
            self.one_stream(ground)?;
        }
        for event in &self.events {
            self.stream_of(event, ground)?;
        }
        let session = self.session(ground)?.map(session_stream);
        let load = if self.has_conversation() {
            // Nobody speaks in a session that is over: it must not end before this is written.
            Load::whole
        } else {
            // The start of a session carries its subject; it is the first event and never changes.
            Load::first
        };
        let mut loads: Vec<Load> = session.map(load).into_iter().collect();
        loads.extend(self.held.as_ref().map(|held| held.load(ground)).transpose()?);
        Ok(loads)
    }

    fn evolve(&self, state: &mut AppendState, event: &PastEvent) {
        match event.stream().category {
            Category::Lane => state.governed.evolve(event),
            _ => state.session.evolve(event),
        }
    }

    fn expectation(&self, ground: &Ground<'_>) -> Option<Expectation> {
        let version = self.expected?;
        let stream = self.one_stream(ground).ok()?;
        Some(Expectation { stream, version })
    }

    fn decide(&self, state: &AppendState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let session = self.session(ground)?;
        if let Some(held) = &self.held {
            held.require(&state.governed, session, ground)?;
            self.check_calls(held, &state.governed)?;
        }
        let state = &state.session;
        match session {
            Some(_) if self.has_conversation() => state.require_open("/target")?,
            Some(_) => state.require_started("/target")?,
            None => {}
        }
        let event = |event: &ClientEvent| -> Result<NewEvent, CommandError> {
            let stream = self.stream_of(event, ground)?;
            let mut new = NewEvent::new(stream, Content::Given(event.payload.clone()));
            new.session = session;
            new.subject = state.subject;
            new.turn = event.turn;
            new.call = event.call;
            new.occurred_at = event.occurred_at;
            new.correlation.clone_from(&event.correlation);
            new.causation = event.causation;
            Ok(new)
        };
        let events: Result<Vec<NewEvent>, CommandError> = self.events.iter().map(event).collect();
        events.map(Decision::Append)
    }
}
