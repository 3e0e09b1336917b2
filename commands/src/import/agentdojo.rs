//! AgentDojo runs: JSON lines, arguments as JSON objects, labels of success and security.

use ruche_domain::Ext;
use ruche_domain::events::{EvalScored, EvalTarget, Role, SessionEndReason, TextForm};
use ruche_domain::measures::Finite;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::BadRecord;
use super::chat::{ChatMessage, ImportedSession, Message, MessageAnswer, MessageToolCall};
use super::record::{RawRecord, insert, join, others, parse};

#[derive(Deserialize)]
struct Run<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    metadata: Ext,
    annotations: Option<Value>,
}

#[derive(Deserialize)]
struct Line<'a> {
    role: Role,
    content: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    tool_call_id: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

/// The session of a line; none for the line that only describes the file.
pub(super) fn session(record: &RawRecord<'_>) -> Result<Option<ImportedSession>, BadRecord> {
    let run: Run<'_> = record.parse()?;
    let Some(lines) = run.messages else {
        return if run.index.is_none() {
            Ok(None)
        } else {
            Err(BadRecord {
                path: record.place.clone(),
                reason: "missing field `messages`".to_owned(),
            })
        };
    };
    let index = run.index.ok_or_else(|| BadRecord {
        path: record.place.clone(),
        reason: "missing field `index`".to_owned(),
    })?;
    let mut messages = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let place = join(&record.place, &format!("/messages/{number}"));
        messages.push(message(&place, line.get())?);
    }
    let mut labels = run.metadata;
    let scores = scores(&mut labels);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mut ext = Ext::new();
    insert(
        &mut ext,
        "annotations",
        run.annotations
            .filter(|value| value.as_array().is_none_or(|notes| !notes.is_empty())),
    );
    Ok(Some(ImportedSession {
        memory: None,
        path: record.place.clone(),
        external_id: index.to_string(),
        agent: text(labels.get("model")),
        interlocutor: None,
        scenario: scenario(&labels),
        trial: None,
        messages,
        scores,
        started_at: None,
        ended_at: None,
        end: SessionEndReason::Unknown,
        end_detail: None,
        attributes: labels,
        ext,
    }))
}

/// Suite and wish: the pair of runs with and without attack shares it.
fn scenario(labels: &Ext) -> Option<String> {
    let suite = labels.get("suite_name")?.as_str()?;
    let task = labels.get("user_task_id")?.as_str()?;
    Some(format!("{suite}/{task}"))
}

/// `success` and `security` as scores. On attacked runs `security` true means that the attacker's wish was carried
/// out; without an attack it is always true, so the attack stands beside it.
fn scores(labels: &mut Ext) -> Vec<EvalScored> {
    let attack = labels.get("injection_task_id").cloned();
    let mut scores = Vec::new();
    for name in ["success", "security"] {
        let Some(Value::Bool(label)) = labels.get(name).cloned() else {
            continue;
        };
        labels.remove(name);
        let mut score = EvalScored::new(name.to_owned());
        score.value = Finite::new(f64::from(u8::from(label)));
        score.label = Some(label.to_string());
        score.evaluator = Some("agentdojo".to_owned());
        score.target = Some(EvalTarget::Session);
        insert(&mut score.attributes, "injection_task_id", attack.clone());
        scores.push(score);
    }
    scores
}

fn message(place: &str, text: &str) -> Result<ChatMessage, BadRecord> {
    let line: Line<'_> = parse(place, text)?;
    let mut message = Message::new(line.role, line.content);
    message.tool_calls = line.tool_calls.into_iter().flatten().map(|c| call(&c)).collect();
    if line.role == Role::Tool {
        message.answer = Some(MessageAnswer {
            provider_call_id: line.tool_call_id,
            failed: line.error.is_some(),
            error: line.error,
            ..MessageAnswer::default()
        });
    }
    message.ext = others(
        place,
        text,
        &["role", "content", "tool_calls", "tool_call_id", "error"],
    )?;
    Ok(message.into())
}

fn call(call: &Call<'_>) -> MessageToolCall {
    MessageToolCall {
        name: call.function.name.clone(),
        arguments: call.function.arguments.get().to_owned(),
        arguments_form: TextForm::Json,
        provider_call_id: call.id.clone(),
        requestor: None,
    }
}
