//! Read model: every event of a session in the order of the ledger, one line each.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::common::ToolCallRequest;
use ruche_domain::ids::{CallId, EventId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use crate::change::{Change, SqlValue};
use crate::event::{Payload, ProjectedEvent};
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};
use crate::tally::{self, CostTotal};

/// Tables of this read model.
pub const TABLES: &[&str] = &["timeline"];

/// Characters of a summary at most.
const SUMMARY_CHARS_MAX: usize = 160;

const INSERT: &str = "INSERT INTO timeline (ledger, session, position, event_id, event_type, actor_kind, actor, turn, \
    call, summary, payload_bytes, payload_state, provenance, occurred_at, recorded_at, currency, cost_units, cost_nanos, \
    cost_rest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";

/// The projection. It takes events of types that it does not know: they happened too.
pub struct Timeline;

impl Projection for Timeline {
    fn name(&self) -> &'static str {
        "timeline"
    }

    fn version(&self) -> u32 {
        4
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let header = event.header();
        let Some(session) = header.session else {
            return Ok(vec![]);
        };
        let (summary, state) = match &event.payload {
            Payload::Present(agent) => (summary(agent), PayloadState::Present),
            Payload::Erased => (None, PayloadState::Erased),
            Payload::Unreadable(_) => (None, PayloadState::Unreadable),
        };
        // What cannot be read costs nothing that is known.
        let cost = match state {
            PayloadState::Present => tally::cost_of(event)?,
            PayloadState::Erased | PayloadState::Unreadable => None,
        };
        let columns = cost.as_ref().map(|(_, amount)| amount.columns()).transpose()?;
        let bytes = event.record.payload_bytes().map(|bytes| bytes.len() as i64);
        let params = vec![
            event.ledger_key().into(),
            SqlValue::Id(*session.as_bytes()),
            event.place()?.into(),
            SqlValue::Id(*header.event_id.as_bytes()),
            header.event_type.clone().into(),
            header.actor.kind.name().into(),
            header.actor.reference.map(Uuid::into_bytes).into(),
            header.turn.map(|id| *id.as_bytes()).into(),
            header.call.map(|id| *id.as_bytes()).into(),
            summary.into(),
            bytes.into(),
            state.name().into(),
            header.provenance.name().into(),
            event.occurred_at()?.into(),
            event.recorded_at()?.into(),
            cost.map(|(currency, _)| currency).into(),
            columns.map(|(units, _, _)| units).into(),
            columns.map(|(_, nanos, _)| nanos).into(),
            columns.map(|(_, _, rest)| rest).into(),
        ];
        Ok(vec![Change::alone(INSERT, params)])
    }
}

/// The whole text of what happened, where it is one: what was said, what a tool was asked and what it answered.
pub fn text_of(event: &AgentEvent) -> Option<&str> {
    match event {
        AgentEvent::MessageReceived(m) => m.text.as_deref(),
        AgentEvent::MessageSent(m) => m.text.as_deref(),
        AgentEvent::MessageDrafted(m) => m.text.as_deref(),
        AgentEvent::ToolProposed(t) => Some(&t.arguments),
        AgentEvent::ToolCompleted(t) => t.result.as_deref(),
        AgentEvent::ToolFailed(t) => t.result.as_deref().or(t.error.as_deref()),
        AgentEvent::LlmFailed(l) => Some(&l.error_type),
        AgentEvent::TurnFailed(t) => t.error.as_deref().or(Some(&t.error_type)),
        AgentEvent::Simulated(event) => text_of(event),
        _ => None,
    }
}

/// What happened, in a line for people.
fn summary(event: &AgentEvent) -> Option<String> {
    let said = |who: &str, text: Option<&String>, calls: &[ToolCallRequest]| {
        let calls: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let text = text.map_or("", String::as_str);
        match (text.is_empty(), calls.is_empty()) {
            (_, true) => line(&[who, ": ", text]),
            (true, false) => line(&[who, " calls ", &calls.join(", ")]),
            (false, false) => line(&[who, ": ", text, " [calls ", &calls.join(", "), "]"]),
        }
    };
    let text = |text: Option<&String>| text.map_or("", String::as_str).to_owned();
    Some(match event {
        AgentEvent::MessageReceived(m) => said(m.role.name(), m.text.as_ref(), &m.tool_calls),
        AgentEvent::MessageSent(m) => said(m.role.name(), m.text.as_ref(), &m.tool_calls),
        AgentEvent::MessageDrafted(m) => said(m.role.name(), m.text.as_ref(), &m.tool_calls),
        AgentEvent::ToolProposed(t) => line(&[&t.name, "(", &t.arguments, ")"]),
        AgentEvent::ToolStarted(t) => line(&[&t.name]),
        AgentEvent::ToolCompleted(t) => line(&[&text(t.name.as_ref()), " → ", &text(t.result.as_ref())]),
        AgentEvent::ToolFailed(t) => {
            let error = t.error.as_ref().or(t.result.as_ref()).or(t.error_type.as_ref());
            line(&[&text(t.name.as_ref()), " failed: ", &text(error)])
        }
        AgentEvent::ToolOutcomeUnknown(t) => line(&[&t.cause]),
        AgentEvent::LlmRequested(l) => line(&[&l.model]),
        AgentEvent::LlmResponded(l) => line(&[&text(l.response_model.as_ref().or(l.model.as_ref()))]),
        AgentEvent::LlmFailed(l) => line(&[&l.error_type]),
        AgentEvent::SessionStarted(s) => {
            let named = [s.agent_id.as_deref(), s.scenario_id.as_deref()];
            let named: Vec<&str> = named
                .into_iter()
                .flatten()
                .filter(|name| !name.is_empty())
                .collect();
            line(&[&named.join(" · ")])
        }
        AgentEvent::SessionEnded(s) => line(&[s.reason.name()]),
        AgentEvent::TurnOpened(t) => line(&[t.trigger.name()]),
        AgentEvent::TurnCommitted(t) => line(&[t.outcome_category?.name()]),
        AgentEvent::TurnFailed(t) => line(&[&t.error_type]),
        AgentEvent::EvalScored(e) => {
            let value = e.value.map(|value| value.get().to_string());
            line(&[&e.name, " = ", &text(value.as_ref().or(e.label.as_ref()))])
        }
        AgentEvent::FeedbackGiven(f) => {
            let value = f.value.map(|value| value.get().to_string());
            line(&[&f.name, " = ", &text(value.as_ref().or(f.label.as_ref()))])
        }
        AgentEvent::AgentHandedOff(_) | AgentEvent::AgentDelegated(_) | AgentEvent::AgentReturned(_) => {
            return None;
        }
        _ => return None,
    })
}

/// The parts as one line of bounded length.
fn line(parts: &[&str]) -> String {
    let mut line = String::with_capacity(SUMMARY_CHARS_MAX);
    let characters = parts.iter().flat_map(|part| part.chars());
    for (n, character) in characters.enumerate() {
        if n == SUMMARY_CHARS_MAX {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

/// What is known of the payload of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadState {
    /// It can be read.
    Present,
    /// Bytes and opening are gone.
    Erased,
    /// It is there, and the program that made the read model could not read it.
    Unreadable,
}

impl PayloadState {
    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Erased => "erased",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::str::FromStr for PayloadState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Present, Self::Erased, Self::Unreadable];
        all.into_iter().find(|state| state.name() == text).ok_or(())
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Session that it belongs to.
    pub session: SessionId,
    /// The record; its payload is found there.
    pub position: Position,
    /// Id of the event.
    pub event_id: EventId,
    /// Type of the event.
    pub event_type: String,
    /// Kind of actor.
    pub actor_kind: String,
    /// Opaque reference of the actor.
    pub actor: Option<Uuid>,
    /// Turn that it belongs to.
    pub turn: Option<TurnId>,
    /// Tool call that it belongs to.
    pub call: Option<CallId>,
    /// What happened, in a line for people.
    pub summary: Option<String>,
    /// Length of the payload.
    pub payload_bytes: Option<u64>,
    /// What is known of the payload.
    pub payload_state: PayloadState,
    /// Worth as evidence.
    pub provenance: String,
    /// When it happened.
    pub occurred_at: Micros,
    /// When the ledger took it.
    pub recorded_at: Micros,
    /// What a model call cost, where it says so and the sum can be held.
    pub cost: Option<CostTotal>,
}

const COLUMNS: &str = "session, position, event_id, event_type, actor_kind, actor, turn, call, summary, payload_bytes, \
    payload_state, provenance, occurred_at, recorded_at, currency, cost_units, cost_nanos, cost_rest";

fn read(fields: &mut Fields) -> Result<(Cursor, TimelineEntry), ReadStoreError> {
    let session = fields.id()?;
    let position = fields.int()?;
    let entry = TimelineEntry {
        session,
        position: crate::event::unpack(position),
        event_id: fields.id()?,
        event_type: fields.text()?,
        actor_kind: fields.text()?,
        actor: fields.optional_id()?,
        turn: fields.optional_id()?,
        call: fields.optional_id()?,
        summary: fields.optional_text()?,
        payload_bytes: fields.optional_count()?,
        payload_state: fields.word()?,
        provenance: fields.text()?,
        occurred_at: fields.time()?,
        recorded_at: fields.time()?,
        cost: match fields.optional_text()? {
            Some(currency) => Some(CostTotal {
                currency,
                amount: fields.money()?,
                known: 1,
            }),
            None => {
                // The three columns of no money.
                for _ in 0..3 {
                    fields.optional_int()?;
                }
                None
            }
        },
    };
    Ok((Cursor::of_number(position, position), entry))
}

/// Which lines of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineFilter {
    /// Of this turn.
    pub turn: Option<TurnId>,
    /// Of this tool call.
    pub call: Option<CallId>,
}

/// Lines of a session in the order of the ledger.
///
/// # Errors
/// Those of the store.
pub async fn of_session(
    store: &dyn ReadStore,
    ledger: LedgerId,
    session: SessionId,
    filter: TimelineFilter,
    page: &PageRequest,
) -> Result<Page<TimelineEntry>, ReadStoreError> {
    let select = Select::of(COLUMNS, "timeline", ledger)
        .and("session = ", *session.as_bytes())
        .and_if("turn = ", filter.turn.map(|id| *id.as_bytes()))
        .and_if("call = ", filter.call.map(|id| *id.as_bytes()));
    let rows = select
        .page(["position", "position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}

#[cfg(test)]
mod tests {
    use ruche_domain::events::SessionStarted;

    use super::*;

    #[test]
    fn the_start_of_a_session_names_what_is_known() {
        let line = |agent: Option<&str>, scenario: Option<&str>| {
            let started = SessionStarted {
                agent_id: agent.map(str::to_owned),
                scenario_id: scenario.map(str::to_owned),
                ..SessionStarted::default()
            };
            summary(&started.into()).unwrap()
        };
        assert_eq!(line(Some("support"), Some("refund")), "support · refund");
        assert_eq!(line(Some("support"), None), "support");
        assert_eq!(line(Some(""), Some("refund")), "refund");
        assert_eq!(line(None, None), "");
    }
}
