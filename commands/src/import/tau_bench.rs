//! tau-bench trajectories: one JSON array of runs, arguments as strings, no times.

use ruche_domain::Ext;
use ruche_domain::events::{EvalScored, EvalTarget, Role, SessionEndReason, TextForm};
use ruche_domain::measures::Finite;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::BadRecord;
use super::chat::{ChatMessage, ImportedSession, Message, MessageAnswer, MessageToolCall};
use super::record::{RawRecord, insert, join, others, parse};

/// What begins the text of a failed call.
const ERROR_PREFIX: &str = "Error";

#[derive(Deserialize)]
struct Run<'a> {
    task_id: u64,
    trial: u64,
    reward: f64,
    #[serde(default)]
    info: Ext,
    #[serde(borrow)]
    traj: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Line {
    role: Role,
    content: Option<String>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

/// The session of a run.
pub(super) fn session(record: &RawRecord<'_>) -> Result<ImportedSession, BadRecord> {
    let run: Run<'_> = record.parse()?;
    let mut messages = Vec::with_capacity(run.traj.len());
    for (number, line) in run.traj.iter().enumerate() {
        let place = join(&record.place, &format!("/traj/{number}"));
        messages.push(message(&place, line.get())?);
    }
    let mut info = run.info;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let end_detail = text(info.get("source"));
    let end = match end_detail.as_deref() {
        Some("user") => SessionEndReason::InterlocutorLeft,
        Some("transfer_to_human_agents") => SessionEndReason::HandedOff,
        _ => SessionEndReason::Unknown,
    };
    let reward = Finite::new(run.reward).ok_or_else(|| BadRecord {
        path: join(&record.place, "/reward"),
        reason: "not a finite number".to_owned(),
    })?;
    let mut score = EvalScored::new("reward".to_owned());
    score.value = Some(reward);
    score.evaluator = Some("tau-bench".to_owned());
    score.target = Some(EvalTarget::Session);
    insert(&mut score.ext, "reward_info", info.remove("reward_info"));
    Ok(ImportedSession {
        memory: None,
        path: record.place.clone(),
        external_id: format!("{}/{}", run.task_id, run.trial),
        agent: None,
        interlocutor: text(info.get("task").and_then(|task| task.get("user_id"))),
        scenario: Some(run.task_id.to_string()),
        trial: Some(run.trial),
        messages,
        scores: vec![score],
        started_at: None,
        ended_at: None,
        end,
        end_detail,
        attributes: Ext::new(),
        ext: info,
    })
}

fn message(place: &str, text: &str) -> Result<ChatMessage, BadRecord> {
    let line: Line = parse(place, text)?;
    let failed = line
        .content
        .as_deref()
        .is_some_and(|content| content.starts_with(ERROR_PREFIX));
    let mut message = Message::new(line.role, line.content);
    message.name = line.name;
    message.tool_calls = line.tool_calls.into_iter().flatten().map(call).collect();
    if line.role == Role::Tool {
        message.answer = Some(MessageAnswer {
            provider_call_id: line.tool_call_id,
            failed,
            ..MessageAnswer::default()
        });
    }
    message.ext = others(
        place,
        text,
        &["role", "content", "tool_calls", "tool_call_id", "name"],
    )?;
    Ok(message.into())
}

fn call(call: Call) -> MessageToolCall {
    MessageToolCall {
        name: call.function.name,
        arguments: call.function.arguments,
        arguments_form: TextForm::String,
        provider_call_id: call.id,
        requestor: None,
    }
}
