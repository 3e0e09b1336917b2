//! Read model: the messages of conversations, complete enough to give a conversation back as it came.

use ruche_domain::Ext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::common::{Part, Role, ToolCallRequest};
use ruche_domain::events::message::MessageDrafted;
use ruche_domain::ids::{CallId, LedgerId, MessageId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["message"];

const INSERT: &str = "INSERT INTO message (ledger, session, place, position, ordinal, event_type, role, turn, call, \
    text, text_form, tool_calls, parts, name, tool, provider_call_id, requestor, is_error, error, message_id, \
    external_id, channel, ext, erased, occurred_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
    $23, $24, $25)";

/// Messages of a turn whose place is taken belong to the turn that takes it, which may be of another session. What other
/// sessions said under the turn is left alone, unless the turn itself had it from another one.
const CARRIED: &str = "UPDATE message SET turn = $1, carried = 1 FROM message m WHERE m.ledger = $2 AND m.turn = $3 \
    AND message.ledger = m.ledger AND message.session = m.session AND message.place = m.place \
    AND message.position = m.position AND (message.session = $4 OR message.carried = 1) \
    AND message.event_type = 'message.received'";

/// Whether a draft is a message of the conversation: it has a number in it, or it only calls tools. Other drafts are
/// sent later, and that is the message.
pub(crate) fn is_step(draft: &MessageDrafted) -> bool {
    draft.message_ordinal.is_some() || !draft.tool_calls.is_empty()
}

/// The projection.
pub struct Messages;

impl Projection for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn version(&self) -> u32 {
        4
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let Some(session) = event.header().session else {
            return Ok(vec![]);
        };
        if event.event_type() == "turn.supersede_requested" {
            return carried(event, session);
        }
        if !matches!(event.family(), "message" | "tool") {
            return Ok(vec![]);
        }
        let Some(content) = Content::of(event)? else {
            return Ok(vec![]);
        };
        let position = event.place()?;
        let ordinal = bounds::ordinal(content.ordinal);
        let header = event.header();
        let id = |id: Option<&[u8; 16]>| id.copied().into();
        let params = vec![
            event.ledger_key().into(),
            SqlValue::Id(*session.as_bytes()),
            // Packed positions are greater than any number that a message can have in its session.
            ordinal.unwrap_or(position).into(),
            position.into(),
            ordinal.into(),
            event.event_type().to_owned().into(),
            content.role.map(Role::name).into(),
            id(header.turn.as_ref().map(TurnId::as_bytes)),
            id(header.call.as_ref().map(CallId::as_bytes)),
            content.text.into(),
            content.text_form.into(),
            list(content.tool_calls).into(),
            list(content.parts).into(),
            content.name.into(),
            content.tool.into(),
            content.provider_call_id.into(),
            content.requestor.into(),
            content.is_error.into(),
            content.error.into(),
            id(content.message_id.as_ref().map(MessageId::as_bytes)),
            content.external_id.into(),
            content.channel.into(),
            content.ext.filter(|ext| !ext.is_empty()).map(crate::json).into(),
            event.is_erased().into(),
            event.occurred_at()?.into(),
        ];
        Ok(vec![Change::alone(INSERT, params)])
    }
}

fn carried(event: &ProjectedEvent, session: SessionId) -> Result<Vec<Change>, PoisonReason> {
    let (Some(AgentEvent::TurnSupersedeRequested(requested)), Some(turn)) =
        (event.agent()?, event.header().turn)
    else {
        return Ok(vec![]);
    };
    let params = vec![
        SqlValue::Id(*requested.successor_turn_id.as_bytes()),
        event.ledger_key().into(),
        SqlValue::Id(*turn.as_bytes()),
        SqlValue::Id(*session.as_bytes()),
    ];
    Ok(vec![Change::write(CARRIED, params)])
}

fn list<T: serde::Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| crate::json(&list))
}

/// What the kinds of messages have in common.
#[derive(Default)]
struct Content<'a> {
    role: Option<Role>,
    ordinal: Option<u64>,
    text: Option<&'a String>,
    text_form: Option<&'static str>,
    tool_calls: &'a [ToolCallRequest],
    parts: &'a [Part],
    name: Option<&'a String>,
    tool: Option<&'a String>,
    provider_call_id: Option<&'a String>,
    requestor: Option<&'static str>,
    is_error: bool,
    error: Option<&'a String>,
    message_id: Option<MessageId>,
    external_id: Option<&'a String>,
    channel: Option<&'a String>,
    ext: Option<&'a Ext>,
}

macro_rules! said {
    ($m:ident) => {
        Content {
            role: Some($m.role),
            ordinal: $m.message_ordinal,
            text: $m.text.as_ref(),
            tool_calls: &$m.tool_calls,
            parts: &$m.parts,
            name: $m.name.as_ref(),
            message_id: $m.message_id,
            external_id: $m.external_id.as_ref(),
            ext: Some(&$m.ext),
            ..Content::default()
        }
    };
}

macro_rules! answered {
    ($t:ident) => {
        Content {
            role: Some(Role::Tool),
            ordinal: $t.message_ordinal,
            text: $t.result.as_ref(),
            text_form: $t.result_form.map(|form| form.name()),
            tool: $t.name.as_ref(),
            provider_call_id: $t.provider_call_id.as_ref(),
            requestor: $t.requestor.map(|requestor| requestor.name()),
            ext: Some(&$t.ext),
            ..Content::default()
        }
    };
}

impl<'a> Content<'a> {
    /// The message that the event is; nothing where it is none.
    fn of(event: &'a ProjectedEvent) -> Result<Option<Self>, PoisonReason> {
        Ok(match event.agent()? {
            Some(AgentEvent::MessageReceived(m)) => Some(Self {
                channel: m.channel.as_ref(),
                ..said!(m)
            }),
            Some(AgentEvent::MessageSent(m)) => Some(Self {
                channel: m.channel.as_ref(),
                ..said!(m)
            }),
            Some(AgentEvent::MessageDrafted(m)) if is_step(m) => Some(said!(m)),
            Some(AgentEvent::ToolCompleted(t)) if t.message_ordinal.is_some() => Some(answered!(t)),
            Some(AgentEvent::ToolFailed(t)) if t.message_ordinal.is_some() => Some(Self {
                is_error: true,
                error: t.error.as_ref(),
                ..answered!(t)
            }),
            // Which role spoke was in the payload.
            None if matches!(event.event_type(), "message.received" | "message.sent") => {
                Some(Self::default())
            }
            _ => None,
        })
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Session that it belongs to.
    pub session: SessionId,
    /// Its record.
    pub position: Position,
    /// Its number in the session, if the source gave one within [`bounds::ORDINAL_MAX`].
    pub ordinal: Option<u64>,
    /// Type of its event.
    pub event_type: String,
    /// Who speaks; unknown where the payload was erased.
    pub role: Option<Role>,
    /// Turn that it belongs to.
    pub turn: Option<TurnId>,
    /// Tool call that it answers.
    pub call: Option<CallId>,
    /// The text; absent is no text, which is not an empty one.
    pub text: Option<String>,
    /// How the source wrote the text of a tool's answer; absent means as a string.
    pub text_form: Option<String>,
    /// Tool calls that it asks for, with the arguments as the model wrote them.
    pub tool_calls: Vec<ToolCallRequest>,
    /// Parts, where it is more than one text.
    pub parts: Vec<Part>,
    /// Name of the speaker.
    pub name: Option<String>,
    /// Name of the tool that answers.
    pub tool: Option<String>,
    /// The provider's id of the call that is answered.
    pub provider_call_id: Option<String>,
    /// Who asked for the call that is answered.
    pub requestor: Option<String>,
    /// Whether it is the answer of a failed call.
    pub is_error: bool,
    /// The error in the source's own words, where it stands apart from the text.
    pub error: Option<String>,
    /// Our id of it.
    pub message_id: Option<MessageId>,
    /// The client's own id of it.
    pub external_id: Option<String>,
    /// Channel that it went through.
    pub channel: Option<String>,
    /// Free fields of the source: a JSON object.
    pub ext: Option<String>,
    /// Whether its payload was erased.
    pub erased: bool,
    /// When it was said.
    pub occurred_at: Micros,
}

const COLUMNS: &str = "session, place, position, ordinal, event_type, role, turn, call, text, text_form, tool_calls, \
    parts, name, tool, provider_call_id, requestor, is_error, error, message_id, external_id, channel, ext, erased, \
    occurred_at";

fn read(fields: &mut Fields) -> Result<(Cursor, Message), ReadStoreError> {
    let session = fields.id()?;
    let (place, position) = (fields.int()?, fields.int()?);
    let message = Message {
        session,
        position: crate::event::unpack(position),
        ordinal: fields.optional_count()?,
        event_type: fields.text()?,
        role: fields.optional_word()?,
        turn: fields.optional_id()?,
        call: fields.optional_id()?,
        text: fields.optional_text()?,
        text_form: fields.optional_text()?,
        tool_calls: fields.optional_json()?.unwrap_or_default(),
        parts: fields.optional_json()?.unwrap_or_default(),
        name: fields.optional_text()?,
        tool: fields.optional_text()?,
        provider_call_id: fields.optional_text()?,
        requestor: fields.optional_text()?,
        is_error: fields.flag()?,
        error: fields.optional_text()?,
        message_id: fields.optional_id()?,
        external_id: fields.optional_text()?,
        channel: fields.optional_text()?,
        ext: fields.optional_text()?,
        erased: fields.flag()?,
        occurred_at: fields.time()?,
    };
    Ok((Cursor::of_number(place, position), message))
}

/// Messages of a session in the order of the conversation.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn of_session(
    store: &dyn ReadStore,
    ledger: LedgerId,
    session: SessionId,
    page: &PageRequest,
) -> Result<Page<Message>, ReadStoreError> {
    let select = Select::of(COLUMNS, "message", ledger).and("session = ", *session.as_bytes());
    let rows = select
        .page(["place", "position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}

/// The messages of these records of sessions, in no particular order.
///
/// # Errors
/// Those of the store.
pub async fn at(
    store: &dyn ReadStore,
    ledger: LedgerId,
    places: &[(SessionId, Position)],
) -> Result<Vec<Message>, ReadStoreError> {
    let packed = places
        .iter()
        .filter_map(|(_, position)| crate::event::pack(*position).ok());
    let sessions: std::collections::BTreeSet<_> = places.iter().map(|(id, _)| *id.as_bytes()).collect();
    let rows = Select::of(COLUMNS, "message", ledger)
        .and_in("session", sessions)
        .and_in("position", packed)
        .rows(store)
        .await?;
    let read = |row| Ok(read(&mut Fields::new(row))?.1);
    rows.into_iter().map(read).collect()
}

/// Messages of a turn of a session in the order of the conversation: those of its session, and those that came to the turn
/// with the place of another one.
///
/// # Errors
/// Those of the store.
pub async fn of_turn(
    store: &dyn ReadStore,
    ledger: LedgerId,
    session: SessionId,
    turn: TurnId,
    page: &PageRequest,
) -> Result<Page<Message>, ReadStoreError> {
    let select = Select::of(COLUMNS, "message", ledger).and("turn = ", *turn.as_bytes());
    let select = select
        .and("(carried = 1 OR session = ", *session.as_bytes())
        .text(")");
    let rows = select
        .page(["place", "position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}
