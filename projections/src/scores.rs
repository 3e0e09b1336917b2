//! Scores of sessions: what programs, models and benchmarks judged. Part of the read model of sessions.

use ruche_domain::Ext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{EvalScored, EvalTarget};
use ruche_domain::ids::{CallId, LedgerId, MessageId, SessionId, TurnId};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::{Micros, Position};

use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::PoisonReason;
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

const INSERT: &str = "INSERT INTO session_score (ledger, session, position, name, value, label, explanation, \
    evaluator, evaluator_version, target, turn, message, call, attributes, occurred_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// The row of a score; nothing for other events, and for a score whose payload was erased.
pub(crate) fn scored(event: &ProjectedEvent, session: SessionId) -> Result<Option<Change>, PoisonReason> {
    let Some(AgentEvent::EvalScored(score)) = event.agent()? else {
        return Ok(None);
    };
    let id = *session.as_bytes();
    let params = vec![
        event.ledger_key().into(),
        id.into(),
        event.place()?.into(),
        (&score.name).into(),
        // The shortest decimal text that reads back as the same number: read models have no floats.
        score.value.map(|value| value.get().to_string()).into(),
        score.label.as_ref().into(),
        score.explanation.as_ref().into(),
        score.evaluator.as_ref().into(),
        score.evaluator_version.as_ref().into(),
        target(score).name().into(),
        score.turn_id.map(|id| *id.as_bytes()).into(),
        score.message_id.map(|id| *id.as_bytes()).into(),
        score.call_id.map(|id| *id.as_bytes()).into(),
        (!score.attributes.is_empty())
            .then(|| crate::json(&score.attributes))
            .into(),
        event.occurred_at()?.into(),
    ];
    Ok(Some(Change::alone(INSERT, params)))
}

fn target(score: &EvalScored) -> EvalTarget {
    score.target.unwrap_or(EvalTarget::Session)
}

/// A score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The record.
    pub position: Position,
    /// Its name, such as `reward`.
    pub name: String,
    /// As a number.
    pub value: Option<Finite>,
    /// As a word, such as `pass`.
    pub label: Option<String>,
    /// Why, in words.
    pub explanation: Option<String>,
    /// Who or what scored.
    pub evaluator: Option<String>,
    /// Version of the evaluator.
    pub evaluator_version: Option<String>,
    /// What was scored; the session where the source does not say.
    pub target: EvalTarget,
    /// The turn that was scored.
    pub turn: Option<TurnId>,
    /// The message that was scored.
    pub message: Option<MessageId>,
    /// The tool call that was scored.
    pub call: Option<CallId>,
    /// Further figures of the evaluator.
    pub attributes: Option<Ext>,
    /// When it was given.
    pub occurred_at: Micros,
}

const COLUMNS: &str = "position, name, value, label, explanation, evaluator, evaluator_version, target, turn, \
    message, call, attributes, occurred_at";

fn read(fields: &mut Fields) -> Result<(Cursor, Score), ReadStoreError> {
    let position = fields.int()?;
    let score = Score {
        position: crate::event::unpack(position),
        name: fields.text()?,
        value: fields.optional_word::<f64>()?.and_then(Finite::new),
        label: fields.optional_text()?,
        explanation: fields.optional_text()?,
        evaluator: fields.optional_text()?,
        evaluator_version: fields.optional_text()?,
        target: fields.word()?,
        turn: fields.optional_id()?,
        message: fields.optional_id()?,
        call: fields.optional_id()?,
        attributes: fields.optional_json()?,
        occurred_at: fields.time()?,
    };
    Ok((Cursor::of_number(position, position), score))
}

/// Scores of a session in the order of the ledger.
///
/// # Errors
/// Those of the store.
pub async fn of_session(
    store: &dyn ReadStore,
    ledger: LedgerId,
    session: SessionId,
    page: &PageRequest,
) -> Result<Page<Score>, ReadStoreError> {
    let rows = Select::of(COLUMNS, "session_score", ledger)
        .and("session = ", SqlValue::Id(*session.as_bytes()))
        .page(["position", "position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}
