//! What a command is: which streams it looks at, how their events make a state, what it decides on that state.
//!
//! A decider is two pure functions, `evolve(state, event)` and `decide(state) -> events`, and a list of loads. It
//! never sees the store, so a test gives it events and looks at what it decides (`testing`).

use std::sync::{Arc, OnceLock};

use ruche_domain::envelope::ACFEvent;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApprovalId, CallId, SessionId, SubjectId, TurnId};
use ruche_domain::numbers::{Micros, SchemaVersion, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_domain::strict_json::Profile;
use ruche_ledger::leaf::KeyLayer;
use ruche_ledger::store::{Expectation, Receipt};
use serde::Serialize;

use crate::context::Ground;
use crate::error::CommandError;
use crate::lane::LaneEvent;

/// How much of a stream a command looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All events, oldest first.
    Whole,
    /// Only the first event, which never changes.
    First,
    /// Newest first, until [`Command::is_settled`] says that the state needs no older one.
    Newest,
    /// Only whether it has events, and its version.
    Version,
}

/// A stream that a command looks at before it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which stream.
    pub stream: StreamId,
    /// How much of it.
    pub depth: Depth,
    /// Whether the decision only holds while the stream stays as it was seen. On a change the command is decided
    /// again.
    pub guarded: bool,
    /// Whether nothing is decided at an earlier time than the stream's last event. Where nodes have clocks of their
    /// own, time goes forward in the lane that the command is about.
    pub goes_forward: bool,
}

impl Load {
    /// The whole stream; the decision holds only while it stays so.
    pub fn whole(stream: StreamId) -> Self {
        Self {
            stream,
            depth: Depth::Whole,
            guarded: true,
            goes_forward: false,
        }
    }

    /// The newest events; the decision holds only while the stream stays so.
    pub fn newest(stream: StreamId) -> Self {
        Self {
            stream,
            depth: Depth::Newest,
            guarded: true,
            goes_forward: false,
        }
    }

    /// The first event.
    pub fn first(stream: StreamId) -> Self {
        Self {
            stream,
            depth: Depth::First,
            guarded: false,
            goes_forward: false,
        }
    }

    /// Whether the stream has events.
    pub fn version(stream: StreamId) -> Self {
        Self {
            stream,
            depth: Depth::Version,
            guarded: false,
            goes_forward: false,
        }
    }

    /// The same load, of the lane that the command is about.
    #[must_use]
    pub fn going_forward(self) -> Self {
        Self {
            goes_forward: true,
            ..self
        }
    }

    /// The same load; the decision holds whatever happens to the stream meanwhile.
    #[must_use]
    pub fn unguarded(self) -> Self {
        Self {
            guarded: false,
            ..self
        }
    }
}

/// An event that stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Where it stands.
    pub receipt: Receipt,
    /// Its envelope.
    pub event: ACFEvent,
    /// Its payload as stored; absent once erased.
    pub payload: Option<Vec<u8>>,
}

impl RecordedEvent {
    /// The event, where its payload is there and readable.
    ///
    /// # Errors
    /// `Internal` for a payload that this program cannot read.
    pub fn agent_event(&self) -> Result<Option<AgentEvent>, CommandError> {
        let read = |bytes: &Vec<u8>| {
            AgentEvent::from_payload(&self.event.event_type, self.event.schema_version, bytes)
        };
        self.payload
            .as_ref()
            .map(read)
            .transpose()
            .map_err(CommandError::unreadable)
    }
}

/// An event of a loaded stream.
#[derive(Clone, Debug)]
pub struct PastEvent {
    /// As it stands in the ledger.
    pub recorded: RecordedEvent,
    /// Origin of the epoch that it stands in.
    pub origin: String,
    /// Its version in its stream.
    pub version: StreamVersion,
    /// What happened; absent where the payload was erased. The type is in the envelope all the same.
    pub event: Option<AgentEvent>,
    /// The same for the machine of lanes, made when it is first asked for: many commands decide on one event.
    of_lane: OnceLock<Option<Arc<LaneEvent>>>,
}

impl PastEvent {
    pub(crate) fn new(
        recorded: RecordedEvent,
        origin: String,
        version: StreamVersion,
        event: Option<AgentEvent>,
    ) -> Self {
        Self {
            recorded,
            origin,
            version,
            event,
            of_lane: OnceLock::new(),
        }
    }

    /// The event as the machine of lanes takes it; nothing where it belongs to no turn, or its payload is gone.
    pub(crate) fn of_lane(&self) -> Option<&Arc<LaneEvent>> {
        let make = || {
            let envelope = &self.recorded.event;
            let of_approval = envelope.stream.category == Category::Approval;
            Some(Arc::new(LaneEvent {
                at: envelope.occurred_at,
                turn: envelope.turn?,
                call: envelope.call,
                approval: of_approval.then_some(ApprovalId(envelope.stream.id)),
                fact: self.event.clone()?,
            }))
        };
        self.of_lane.get_or_init(make).as_ref()
    }

    /// Name of the event type.
    pub fn event_type(&self) -> &str {
        &self.recorded.event.event_type
    }

    /// The stream that it belongs to.
    pub fn stream(&self) -> StreamId {
        self.recorded.event.stream
    }
}

/// A stream as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which stream.
    pub stream: StreamId,
    /// Version of its last event.
    pub version: Option<StreamVersion>,
}

/// What a decided event says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "made and consumed one at a time")]
pub enum Content {
    /// A fact of the catalogue, written by Ruche.
    Fact(AgentEvent),
    /// A client's own bytes, stored as they are once they pass.
    Given(GivenPayload),
}

/// Payload bytes of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenPayload {
    /// Name of the event type.
    pub event_type: String,
    /// Version of its schema.
    pub schema_version: SchemaVersion,
    /// The JSON text.
    #[serde(serialize_with = "as_text")]
    pub bytes: Vec<u8>,
    /// Which numbers are believed.
    #[serde(skip)]
    pub profile: Profile,
}

fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    // Hex and not lossy text: two different byte strings must never digest alike. Not by `hex::encode`, which goes letter
    // by letter through `char`: it took a seventh of the time of a list of events.
    let mut text = vec![0; 2 * bytes.len()];
    hex::encode_to_slice(bytes, &mut text).expect("two letters for each byte");
    serializer.serialize_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
}

/// An event that was decided and is not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Stream that it goes to.
    pub stream: StreamId,
    /// What it says.
    pub content: Content,
    /// When it happened by the source's clock; absent means when the command was received.
    pub occurred_at: Option<Micros>,
    /// Session that it belongs to.
    pub session: Option<SessionId>,
    /// Turn that it belongs to.
    pub turn: Option<TurnId>,
    /// Tool call that it belongs to.
    pub call: Option<CallId>,
    /// Data subject.
    pub subject: Option<SubjectId>,
    /// Number of the event of this decision that caused it. Absent means what caused the command.
    pub caused_by: Option<usize>,
    /// The client's own correlation id of this event, in place of the command's.
    pub correlation: Option<String>,
    /// The client's causing event, in place of the command's.
    pub causation: Option<ruche_domain::ids::EventId>,
    /// Whether it happened by itself, and the command only came by: its actor is Ruche and not the client.
    pub by_itself: bool,
}

impl NewEvent {
    /// A fact that goes to a stream.
    pub fn fact(stream: StreamId, event: impl Into<AgentEvent>) -> Self {
        Self::new(stream, Content::Fact(event.into()))
    }

    /// Content that goes to a stream, with nothing else said.
    pub fn new(stream: StreamId, content: Content) -> Self {
        Self {
            stream,
            content,
            occurred_at: None,
            session: None,
            turn: None,
            call: None,
            subject: None,
            caused_by: None,
            correlation: None,
            causation: None,
            by_itself: false,
        }
    }

    /// The same event with a session.
    #[must_use]
    pub fn of_session(self, session: SessionId, subject: Option<SubjectId>) -> Self {
        Self {
            session: Some(session),
            subject,
            ..self
        }
    }

    /// The same event at a time of the source's clock.
    #[must_use]
    pub fn at(self, occurred_at: Option<Micros>) -> Self {
        Self { occurred_at, ..self }
    }
}

/// A key that a command claims beside the client's idempotency key: two commands with one are one, however they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerKey {
    /// Which layer it protects.
    pub layer: KeyLayer,
    /// The key, in plain words.
    pub key: String,
    /// What makes the request what it is. Under one key it is always the same.
    pub request: Vec<u8>,
}

/// What a decider decides.
#[derive(Debug)]
pub enum Decision {
    /// Write these, in this order, in one append.
    Append(Vec<NewEvent>),
    /// It is so already; these events say so. Nothing is written and no key is claimed, since a key is claimed by the
    /// records that it protects.
    AlreadySo(Vec<RecordedEvent>),
    /// Refused, and that somebody tried is to be seen: the events are written, and the client is told the refusal. No
    /// key is claimed, so nothing of it is ever given as an answer.
    Refused {
        /// What is recorded of the attempt.
        events: Vec<NewEvent>,
        /// What the client is told.
        refusal: CommandError,
    },
}

/// An intention, with everything needed to decide it.
///
/// `Serialize` gives the canonical input that the request digest covers: everything the client said, nothing that
/// Ruche makes up. A field that is added to a command later has to be left out of it while absent, so that a retry
/// across an upgrade still digests alike.
pub trait Command: Serialize + Send + Sync {
    /// What it decides on.
    type State: Default + Send;

    /// Name in errors, digests and logs.
    const NAME: &'static str;

    /// Checks the input and names the streams to look at. Loaded in this order.
    ///
    /// # Errors
    /// `InvalidInput`, `ReservedNamespace`, `UnknownEventType`, `LimitExceeded`: what can be said without a state.
    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError>;

    /// Keys of other layers that the append claims with it (design §5). Whichever of them stands for an append already
    /// gives the answer.
    ///
    /// # Errors
    /// As for [`Command::loads`].
    fn layer_keys(&self, _ground: &Ground<'_>) -> Result<Vec<LayerKey>, CommandError> {
        Ok(Vec::new())
    }

    /// Streams to look at beside these, which only the state can tell. Asked again after they were loaded, until it
    /// names none that was not looked at.
    fn more_loads(&self, _state: &Self::State, _ground: &Ground<'_>) -> Vec<Load> {
        Vec::new()
    }

    /// Whether a command that is refused now may be given the answer that its key stands for. Not where that answer
    /// would let somebody do what he may not do any more.
    fn may_hear_again(&self, _state: &Self::State, _ground: &Ground<'_>) -> bool {
        true
    }

    /// What stands by now, where the answer that a key stands for (`first`, its events) would be read as leave to do what was
    /// done or settled since. It is told in the place of that answer, `unchanged`.
    fn outlived(
        &self,
        _state: &Self::State,
        _first: &[RecordedEvent],
        _ground: &Ground<'_>,
    ) -> Option<Vec<RecordedEvent>> {
        None
    }

    /// Takes one event of a loaded stream into the state.
    fn evolve(&self, state: &mut Self::State, event: &PastEvent);

    /// Is told of each stream of which more than the first event was asked, after its events.
    fn seen(&self, _state: &mut Self::State, _seen: Seen) {}

    /// For [`Depth::Newest`]: whether no older event of this stream is needed.
    fn is_settled(&self, _state: &Self::State, _stream: StreamId) -> bool {
        true
    }

    /// Events that stand already and that an answer needs beside those of the append.
    fn beside(&self, _state: &Self::State) -> Vec<RecordedEvent> {
        Vec::new()
    }

    /// What the client itself expects of a stream. If it does not hold, the client is told and nothing is retried.
    fn expectation(&self, _ground: &Ground<'_>) -> Option<Expectation> {
        None
    }

    /// Decides.
    ///
    /// # Errors
    /// The refusal.
    fn decide(&self, state: &Self::State, ground: &Ground<'_>) -> Result<Decision, CommandError>;
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReceipt {
    /// True if the command had been carried out before, under this key, and nothing was written now.
    pub duplicate: bool,
    /// True if everything was already as the command wants it. Nothing was written and the key was not claimed, so it
    /// stands for nothing yet; `events` are those that say so. Never together with `duplicate`.
    pub unchanged: bool,
    /// The events, in the order of the append.
    pub events: Vec<RecordedEvent>,
    /// Earlier events that an answer needs beside them ([`Command::beside`]).
    pub beside: Vec<RecordedEvent>,
}

impl CommandReceipt {
    pub(crate) fn with(self, beside: Vec<RecordedEvent>) -> Self {
        Self { beside, ..self }
    }

    /// The session that the events belong to.
    pub fn session(&self) -> Option<SessionId> {
        self.events.iter().find_map(|e| e.event.session)
    }

    /// The turn that the events belong to.
    pub fn turn(&self) -> Option<TurnId> {
        self.events.iter().find_map(|e| e.event.turn)
    }

    /// Receipts in order.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.events.iter().map(|e| e.receipt).collect()
    }

    /// Position of the last record, for reads that want to see the write.
    pub fn position(&self) -> Option<ruche_domain::numbers::Position> {
        self.events.last().map(|e| e.receipt.position)
    }
}
