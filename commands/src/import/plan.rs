//! From an imported conversation to commands, and their execution.

use std::collections::{BTreeSet, HashSet};

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    MessageReceived, MessageSent, Role, SessionEndReason, SessionStarted, TextForm, ToolCallRequest,
    ToolCompleted, ToolFailed, TurnCommitted, TurnFailed, TurnOpened, TurnTrigger,
};
use sha2::{Digest as _, Sha256};

use super::chat::{ChatMessage, ImportedSession, Message, MessageToolCall};
use super::mapping::ToolMapping;
use super::memory::{self, MemoryUpdate};
use crate::command::{Command, CommandReceipt, RecordedEvent};
use crate::context::CommandContext;
use crate::error::CommandError;
use crate::pipeline::Commands;
use crate::score::ScoreSession;
use crate::session::{EndSession, SessionRef, StartSession};
use crate::tool::RegisterTool;
use crate::turn::{
    Fit, RecordImportedTurn, RecordSession, RecordTurn, RecordedTurn, Said, Settled, StrayAnswers, Timed,
    ToolOutcome, TurnEnd, TurnStep,
};

/// How a file is imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the source, such as the file's name without its extension. Sessions are called `<source>/<id>`, and the
    /// idempotency keys depend on it: importing the same source again appends nothing.
    pub source: String,
    /// The agent, where the file does not name one.
    pub agent: Option<String>,
    /// What tools do to the world.
    pub mapping: ToolMapping,
}

/// A conversation as commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Where the session stands in its file.
    pub path: String,
    /// The name that the session gets: `<source>/<id>`.
    pub external_id: String,
    /// Tools that the session calls.
    pub tools: BTreeSet<String>,
    /// Everything to record.
    pub session: RecordSession,
    /// What it teaches.
    pub memory: Option<MemoryUpdate>,
}

/// What importing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportedCounts {
    /// Events that were appended now.
    pub appended: u64,
    /// Events that stood there before: of this import, or saying the same already.
    pub duplicate: u64,
}

impl ImportedCounts {
    pub(super) fn add(&mut self, receipt: &CommandReceipt) {
        let events = receipt.events.len() as u64;
        if receipt.duplicate || receipt.unchanged {
            self.duplicate += events;
        } else {
            self.appended += events;
        }
    }

    /// Both sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            appended: self.appended + other.appended,
            duplicate: self.duplicate + other.duplicate,
        }
    }
}

/// The commands of a conversation.
pub fn plan(session: ImportedSession, options: &ImportOptions) -> SessionPlan {
    let external_id = format!("{}/{}", options.source, session.external_id);
    let agent = session.agent.or_else(|| options.agent.clone());
    let started = SessionStarted {
        external_id: Some(external_id.clone()),
        agent_id: agent.clone(),
        interlocutor_id: session.interlocutor,
        scenario_id: session.scenario,
        trial: session.trial,
        started_at: session.started_at,
        attributes: session.attributes,
        ext: session.ext,
        ..SessionStarted::default()
    };
    let turns = match session.memory {
        Some(_) => taught(session.messages, agent.as_deref()),
        None => turns(
            session.messages,
            agent.as_deref(),
            session.end,
            session.end_detail.as_deref(),
        ),
    };
    let tools = turns
        .iter()
        .flat_map(RecordedTurn::tools)
        .map(str::to_owned)
        .collect();
    let mut end = EndSession::new(SessionRef::External(external_id.clone()), session.end);
    end.detail = session.end_detail;
    end.ended_at = session.ended_at;
    SessionPlan {
        path: session.path,
        external_id,
        tools,
        session: RecordSession {
            start: StartSession { started },
            turns,
            end: Some(end),
            scores: session.scores,
            stray_answers: StrayAnswers::Kept,
        },
        memory: session.memory,
    }
}

/// Of a session that teaches facts: what is said first is a turn, and what contradicts it another one.
fn taught(mut messages: Vec<ChatMessage>, agent: Option<&str>) -> Vec<RecordedTurn> {
    let last = messages.split_off(messages.len().saturating_sub(1));
    [messages, last]
        .map(|messages| turn(messages, agent, None))
        .into()
}

/// Cuts a conversation into turns. A turn begins with what comes in after the agent has answered; a greeting of the
/// agent belongs to the turn that follows it.
fn turns(
    messages: Vec<ChatMessage>,
    agent: Option<&str>,
    end: SessionEndReason,
    detail: Option<&str>,
) -> Vec<RecordedTurn> {
    let mut turns: Vec<Vec<ChatMessage>> = Vec::new();
    for message in messages {
        let incoming = matches!(message.message.role, Role::User | Role::System | Role::Developer);
        let begins = turns.last().is_none_or(|turn| incoming && is_answered(turn));
        match turns.last_mut() {
            Some(turn) if !begins => turn.push(message),
            _ => turns.push(vec![message]),
        }
    }
    let last = turns.len().saturating_sub(1);
    let limited = matches!(end, SessionEndReason::LimitReached | SessionEndReason::Failed);
    let cut_off = |number: usize| (limited && number == last).then(|| detail.unwrap_or("cut_off"));
    let numbered = turns.into_iter().enumerate();
    numbered
        .map(|(number, messages)| turn(messages, agent, cut_off(number)))
        .collect()
}

/// Whether the interlocutor spoke and the agent spoke after that.
fn is_answered(turn: &[ChatMessage]) -> bool {
    let mut roles = turn.iter().map(|message| message.message.role);
    roles.any(|role| role == Role::User) && roles.any(|role| role == Role::Assistant)
}

/// A turn of these messages. Where the conversation was cut off in it, or calls were never answered, no answer stands.
fn turn(messages: Vec<ChatMessage>, agent: Option<&str>, cut_off: Option<&str>) -> RecordedTurn {
    let mut opened = TurnOpened::new(TurnTrigger::User);
    opened.agent_id = agent.map(str::to_owned);
    let first_at = messages.iter().find_map(|message| message.at);
    let last_at = messages.iter().rev().find_map(|message| message.at);
    let calls: usize = messages
        .iter()
        .map(|message| message.message.tool_calls.len())
        .sum();
    let answers = messages
        .iter()
        .filter(|message| message.message.answer.is_some())
        .count();
    let has_response = messages
        .last()
        .is_some_and(|last| last.message.role == Role::Assistant && last.message.tool_calls.is_empty());
    let failed = match cut_off {
        Some(reason) if !has_response => Some(reason),
        _ if answers < calls => Some("unanswered_call"),
        _ => None,
    };
    let end = match failed {
        Some(error_type) => TurnEnd::Failed(TurnFailed {
            ended_at: last_at,
            ..TurnFailed::new(error_type.to_owned())
        }),
        None => TurnEnd::Committed(TurnCommitted {
            ended_at: last_at,
            duration_us: first_at
                .zip(last_at)
                .and_then(|(first, last)| last.0.checked_sub(first.0)),
            ..TurnCommitted::default()
        }),
    };
    RecordedTurn {
        opened,
        opened_at: first_at,
        steps: messages.into_iter().map(step).collect(),
        end,
    }
}

fn step(message: ChatMessage) -> TurnStep {
    match message.message.role {
        Role::System | Role::Developer | Role::User => TurnStep::Received(Timed {
            what: received(message.message),
            at: message.at,
        }),
        Role::Assistant => TurnStep::Said(said(message)),
        Role::Tool => TurnStep::Settled(settled(message)),
    }
}

fn received(message: Message) -> MessageReceived {
    MessageReceived {
        text: message.text,
        tool_calls: message.tool_calls.into_iter().map(request).collect(),
        name: message.name,
        ext: message.ext,
        ..MessageReceived::new(message.role)
    }
}

fn said(said: ChatMessage) -> Said {
    let message = said.message;
    Said {
        message: MessageSent {
            text: message.text,
            tool_calls: message.tool_calls.into_iter().map(request).collect(),
            name: message.name,
            ext: message.ext,
            ..MessageSent::new(message.role)
        },
        at: said.at,
        model_call: said.model_call,
    }
}

fn request(call: MessageToolCall) -> ToolCallRequest {
    let mut request = ToolCallRequest::new(0, call.name, call.arguments);
    request.arguments_form = (call.arguments_form != TextForm::String).then_some(call.arguments_form);
    request.provider_call_id = call.provider_call_id;
    request.requestor = call.requestor;
    request
}

fn settled(message: ChatMessage) -> Settled {
    let seen = message.seen.unwrap_or_default();
    let mut text = message.message;
    let answer = text.answer.take().unwrap_or_default();
    let duration_us = seen
        .started_at
        .zip(seen.ended_at)
        .and_then(|(from, to)| to.0.checked_sub(from.0));
    let ended_at = seen.ended_at.or(message.at);
    let outcome = if answer.failed {
        ToolOutcome::Failed(ToolFailed {
            name: text.name,
            result: text.text,
            error: answer.error,
            provider_call_id: answer.provider_call_id,
            requestor: answer.requestor,
            state_hash_before: seen.state_hash_before,
            state_hash_after: seen.state_hash_after,
            duration_us,
            ended_at,
            ext: text.ext,
            ..ToolFailed::default()
        })
    } else {
        ToolOutcome::Completed(ToolCompleted {
            name: text.name,
            result: text.text,
            provider_call_id: answer.provider_call_id,
            requestor: answer.requestor,
            state_hash_before: seen.state_hash_before,
            state_hash_after: seen.state_hash_after,
            duration_us,
            ended_at,
            ext: text.ext,
            ..ToolCompleted::default()
        })
    };
    Settled {
        call: None,
        started_at: seen.started_at,
        is_message: true,
        outcome,
    }
}

/// What became of the tools of a session.
#[derive(Debug, Default)]
pub struct ImportedTools {
    /// Registrations that were appended, or had been.
    pub counts: ImportedCounts,
    /// Names that the mapping does not classify; their calls count as irreversible.
    pub unclassified: Vec<String>,
    /// Names that stand registered otherwise than the mapping says, and not by an import: so they stay.
    pub kept: Vec<String>,
}

/// Registers the tools that the mapping classifies and that are not in `known` yet.
///
/// # Errors
/// As the pipeline says. What was registered stays so; asking again goes on.
pub async fn import_tools(
    commands: &Commands,
    context: &CommandContext,
    plan: &SessionPlan,
    mapping: &ToolMapping,
    known: &mut HashSet<String>,
) -> Result<ImportedTools, CommandError> {
    let mut tools = ImportedTools::default();
    for name in &plan.tools {
        if !known.insert(name.clone()) {
            continue;
        }
        match mapping.registration(name) {
            Some(tool) => {
                let key = tool_key(&tool)?;
                let receipt = commands.execute(&context.with_key(key), &tool).await?;
                for standing in receipt.events.iter().filter(|_| receipt.unchanged) {
                    if differs(standing, &tool)? {
                        tools.kept.push(name.clone());
                    }
                }
                tools.counts.add(&receipt);
            }
            None => tools.unclassified.push(name.clone()),
        }
    }
    Ok(tools)
}

/// Whether a tool stands registered otherwise than an import has it.
fn differs(standing: &RecordedEvent, imported: &RegisterTool) -> Result<bool, CommandError> {
    let Some(AgentEvent::ToolRegistered(mut said)) = standing.agent_event()? else {
        return Ok(true);
    };
    said.schema_digest = imported.tool.schema_digest;
    Ok(said != imported.tool)
}

/// Checks that a session can be imported at all, before anything of it is written: no payload and no turn is beyond its
/// limit. [`import_session`] checks it too; to be asked before [`import_tools`], which writes.
///
/// # Errors
/// `LIMIT_EXCEEDED` and `INVALID_INPUT`, the same each time.
pub fn check_session(
    commands: &Commands,
    context: &CommandContext,
    plan: &SessionPlan,
) -> Result<(), CommandError> {
    fit(commands, context, plan).map(drop)
}

fn fit(commands: &Commands, context: &CommandContext, plan: &SessionPlan) -> Result<Fit, CommandError> {
    plan.session.fit(&commands.secrets_of(context.ledger).references)
}

/// Imports a session: in one append where it fits, else turn by turn. Which of the two follows from the session alone,
/// so each part is appended once, however often and wherever the import stops and begins again.
///
/// # Errors
/// As the pipeline says. `IDEMPOTENCY_MISMATCH`: the source has a session of this id with other content.
pub async fn import_session(
    commands: &Commands,
    context: &CommandContext,
    plan: &SessionPlan,
) -> Result<ImportedCounts, CommandError> {
    let mut counts = ImportedCounts::default();
    if let Some(update) = &plan.memory {
        fit(commands, context, plan)?;
        return memory::import(commands, context, plan, update).await;
    }
    match fit(commands, context, plan)? {
        Fit::Whole => {
            let whole = context.with_key(key(&plan.external_id, "session", 0));
            counts.add(&commands.execute(&whole, &plan.session).await?);
        }
        Fit::Parts => in_parts(commands, context, plan, &mut counts).await?,
    }
    Ok(counts)
}

/// The same, part by part.
pub(crate) async fn in_parts(
    commands: &Commands,
    context: &CommandContext,
    plan: &SessionPlan,
    counts: &mut ImportedCounts,
) -> Result<(), CommandError> {
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
        counts.add(&commands.execute(&part("turn", number), &turn).await?);
    }
    if let Some(end) = &plan.session.end {
        counts.add(&commands.execute(&part("end", 0), end).await?);
    }
    if !plan.session.scores.is_empty() {
        let scores = ScoreSession {
            session,
            scores: plan.session.scores.clone(),
        };
        counts.add(&commands.execute(&part("scores", 0), &scores).await?);
    }
    Ok(())
}

/// The key of a step: what is imported, not how often. Hashed, since ids of sources may be long.
pub(super) fn key(external_id: &str, part: &str, number: usize) -> String {
    hashed(&[external_id, part, &number.to_string()])
}

fn tool_key(tool: &RegisterTool) -> Result<String, CommandError> {
    let content = serde_json::to_string(tool).map_err(|error| CommandError::Internal(Box::new(error)))?;
    Ok(hashed(&[RegisterTool::NAME, &content]))
}

fn hashed(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("import:{}", hex::encode(hash.finalize()))
}
