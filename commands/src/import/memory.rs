//! Facts that an imported session teaches: each is written after the statement that says it, and rests on it.
//!
//! The statements are a turn, and so is the one that contradicts. Facts name the events of the statements, so they are
//! appended behind their turn, whose receipt says which events those are: the same ones when the file is imported again.

use ruche_domain::events::{InvalidationReason, MemoryInvalidated, MemoryWritten};
use ruche_domain::ids::{EventId, TurnId};
use ruche_domain::numbers::Micros;

use super::plan::{ImportedCounts, SessionPlan, key};
use crate::append::{AppendEvents, AppendTarget, ClientEvent};
use crate::command::{CommandReceipt, RecordedEvent};
use crate::context::CommandContext;
use crate::error::CommandError;
use crate::pipeline::Commands;
use crate::session::SessionRef;
use crate::turn::{RecordImportedTurn, RecordTurn};

/// Statements, and one more that contradicts some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryUpdate {
    /// What is known first.
    pub statements: Vec<String>,
    /// What contradicts it.
    pub contradicting: String,
    /// Numbers of the statements that the contradicted answer stood on.
    pub supporting: Vec<usize>,
}

/// The turns of a session and the facts of each. A process that dies here goes on with the next step when the file is
/// imported again.
pub(super) async fn import(
    commands: &Commands,
    context: &CommandContext,
    plan: &SessionPlan,
    update: &MemoryUpdate,
) -> Result<ImportedCounts, CommandError> {
    let mut counts = ImportedCounts::default();
    let session = SessionRef::External(plan.external_id.clone());
    let part = |part: &str, number: usize| context.with_key(key(&plan.external_id, part, number));
    counts.add(&commands.execute(&part("start", 0), &plan.session.start).await?);
    for (number, turn) in plan.session.turns.iter().enumerate() {
        let turn = RecordImportedTurn {
            recorded: RecordTurn {
                session: session.clone(),
                turn: turn.clone(),
            },
            stray: plan.session.stray_answers,
        };
        let said = commands.execute(&part("turn", number), &turn).await?;
        counts.add(&said);
        let facts = match number {
            0 => learned(&plan.external_id, update, &said),
            _ => contradicted(&plan.external_id, update, &said),
        };
        let facts = AppendEvents::new(AppendTarget::Session(session.clone()), facts?);
        counts.add(&commands.execute(&part("facts", number), &facts).await?);
    }
    if let Some(end) = &plan.session.end {
        counts.add(&commands.execute(&part("end", 0), end).await?);
    }
    Ok(counts)
}

/// The statements of a turn as they were recorded, and the turn.
fn statements(said: &CommandReceipt) -> (Vec<&RecordedEvent>, Option<TurnId>) {
    let messages = said.events.iter();
    let messages = messages.filter(|event| event.event.event_type == "message.received");
    (messages.collect(), said.turn())
}

fn written(about: &str, record: String, content: &str, source: EventId) -> MemoryWritten {
    MemoryWritten {
        about: Some(about.to_owned()),
        store: Some(about.to_owned()),
        ..MemoryWritten::new(record, content.into(), vec![source])
    }
}

fn event(
    event_type: &str,
    payload: &impl serde::Serialize,
    turn: Option<TurnId>,
) -> Result<ClientEvent, CommandError> {
    let text = serde_json::to_vec(payload).map_err(|error| CommandError::Internal(Box::new(error)))?;
    Ok(ClientEvent {
        turn,
        ..ClientEvent::text(event_type, text)
    })
}

/// One fact for each statement, called by its number.
fn learned(
    about: &str,
    update: &MemoryUpdate,
    said: &CommandReceipt,
) -> Result<Vec<ClientEvent>, CommandError> {
    let (messages, turn) = statements(said);
    let facts = update.statements.iter().zip(messages).enumerate();
    let facts = facts.map(|(number, (content, message))| {
        let fact = written(about, number.to_string(), content, message.event.event_id);
        event("memory.written", &fact, turn)
    });
    facts.collect()
}

/// The fact that contradicts, and what is taken back for it. It holds from when the ledger took its statement: the files
/// tell no times.
fn contradicted(
    about: &str,
    update: &MemoryUpdate,
    said: &CommandReceipt,
) -> Result<Vec<ClientEvent>, CommandError> {
    let (messages, turn) = statements(said);
    let Some(message) = messages.first() else {
        return Ok(vec![]);
    };
    let (source, from): (EventId, Micros) = (message.event.event_id, message.receipt.recorded_at);
    let record = update.statements.len().to_string();
    let mut fact = written(about, record.clone(), &update.contradicting, source);
    fact.valid_from = Some(from);
    let mut events = vec![event("memory.written", &fact, turn)?];
    for number in &update.supporting {
        let reason = match update.supporting.len() {
            1 => InvalidationReason::Contradicted,
            _ => InvalidationReason::Other,
        };
        let mut end = MemoryInvalidated::new(number.to_string(), reason);
        end.detail = (update.supporting.len() > 1).then(|| {
            format!(
                "the answer that no longer holds stood on {} facts; the source does not say which of them is contradicted",
                update.supporting.len()
            )
        });
        end.store = Some(about.to_owned());
        end.valid_to = Some(from);
        end.by_record_id = Some(record.clone());
        end.source_event_ids = vec![source];
        events.push(event("memory.invalidated", &end, turn)?);
    }
    Ok(events)
}
