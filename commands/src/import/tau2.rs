//! tau2-bench: `results.json`, and beside it the runtime event log of the same batch.
//!
//! `results.json` holds the sessions: messages, scores, ends. Its times are wall-clock times without an offset. The
//! event log tells the same sessions a second time, in 446 events of which most repeat one call at several levels; as
//! a source of sessions it would add nothing but doubles. What it alone knows is taken from it and put into the
//! sessions of `results.json`:
//!
//! * the digest of the whole world before and after each tool call, which says by measurement and not by a label
//!   which calls had an effect (`state_hash_before`, `state_hash_after`);
//! * when each call really began and ended;
//! * the offset of the machine's clock from UTC. Without the log it is worked out from the provider's `created` time
//!   beside a message; where neither is there, times stay unknown.

use std::collections::HashMap;

use ruche_domain::Ext;
use ruche_domain::events::{
    EvalScored, EvalTarget, LlmRequested, LlmResponded, Requestor, Role, SessionEndReason, TextForm,
};
use ruche_domain::measures::{Amount, Cost, Finite, Usage};
use ruche_domain::numbers::Micros;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::BadRecord;
use super::chat::{ChatMessage, ImportedSession, Message, MessageAnswer, MessageToolCall};
use super::record::{RawRecord, insert, join, others, parse};
use super::times::{self, WrittenTime};
use crate::turn::ModelCall;

pub(super) mod log;

use log::EventLog;

/// Offsets of clocks from UTC are whole quarters of an hour.
const OFFSET_STEP_US: i64 = 15 * 60 * 1_000_000;

/// What a results file says of all its sessions.
#[derive(Default)]
pub(super) struct Batch {
    /// The model that agents were set up with, `provider/model`.
    agent_model: Option<String>,
    agent: Option<Value>,
    /// Task definitions by id.
    tasks: HashMap<String, Value>,
}

#[derive(Deserialize)]
struct Simulation<'a> {
    id: String,
    task_id: String,
    trial: Option<u64>,
    start_time: Option<String>,
    end_time: Option<String>,
    termination_reason: Option<String>,
    reward_info: Option<Value>,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Line<'a> {
    role: Role,
    content: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    id: Option<String>,
    requestor: Option<Requestor>,
    error: Option<bool>,
    timestamp: Option<String>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    usage: Option<Tokens>,
    raw_data: Option<Value>,
    generation_time_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: Option<String>,
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
    requestor: Option<Requestor>,
}

#[derive(Deserialize)]
struct Tokens {
    completion_tokens: Option<u64>,
    prompt_tokens: Option<u64>,
}

impl Batch {
    /// From the members of the file's top object, where they can be read; sessions do not need them.
    pub fn new(info: Option<Value>, tasks: Option<Value>) -> Self {
        let agent = info.as_ref().and_then(|info| info.get("agent_info")).cloned();
        let model = agent
            .as_ref()
            .and_then(|agent| agent.get("llm"))
            .and_then(Value::as_str);
        let tasks = match tasks {
            Some(Value::Array(tasks)) => tasks,
            _ => Vec::new(),
        };
        let named = |task: Value| Some((task.get("id")?.as_str()?.to_owned(), task));
        Self {
            agent_model: model.map(str::to_owned),
            agent,
            tasks: tasks.into_iter().filter_map(named).collect(),
        }
    }

    /// The session of a simulation.
    pub fn session(
        &self,
        record: &RawRecord<'_>,
        log: Option<&EventLog>,
    ) -> Result<ImportedSession, BadRecord> {
        let run: Simulation<'_> = record.parse()?;
        let mut lines = Vec::with_capacity(run.messages.len());
        for (number, line) in run.messages.iter().enumerate() {
            let place = join(&record.place, &format!("/messages/{number}"));
            let read: Line<'_> = parse(&place, line.get())?;
            lines.push((place, line.get(), read));
        }
        let seen = log.and_then(|log| log.session(&run.id));
        let offset = lines.iter().find_map(|(_, _, line)| line.offset());
        let offset = seen
            .and_then(|seen| seen.offset(run.start_time.as_deref()))
            .or(offset);
        let mut calls = seen.map(log::Calls::new);
        let mut messages = Vec::with_capacity(lines.len());
        for (place, text, line) in lines {
            let mut message = self.message(&place, text, line, offset)?;
            if let (Some(calls), Some(answer)) = (&mut calls, &message.message.answer) {
                message.seen = calls.of(answer.provider_call_id.as_deref());
            }
            messages.push(message);
        }
        let known = [
            "id",
            "task_id",
            "trial",
            "start_time",
            "end_time",
            "termination_reason",
            "reward_info",
            "messages",
        ];
        let mut ext = others(&record.place, record.text, &known)?;
        ext.retain(|_, value| !value.is_null());
        insert(&mut ext, "task", self.tasks.get(&run.task_id).cloned());
        insert(&mut ext, "agent_info", self.agent.clone());
        let moment = |text: Option<&String>| times::read(text?)?.moment(offset);
        Ok(ImportedSession {
            memory: None,
            path: record.place.clone(),
            external_id: run.id,
            agent: self.agent_model.clone(),
            interlocutor: None,
            scenario: Some(run.task_id),
            trial: run.trial,
            messages,
            scores: run.reward_info.and_then(score).into_iter().collect(),
            started_at: moment(run.start_time.as_ref()),
            ended_at: moment(run.end_time.as_ref()),
            end: end(run.termination_reason.as_deref()),
            end_detail: run.termination_reason,
            attributes: Ext::new(),
            ext,
        })
    }

    fn message(
        &self,
        place: &str,
        text: &str,
        line: Line<'_>,
        offset: Option<i64>,
    ) -> Result<ChatMessage, BadRecord> {
        let at = line.written().and_then(|time| time.moment(offset));
        let model_call = self.model_call(&line, at);
        let mut message = Message::new(line.role, line.content);
        message.tool_calls = line.tool_calls.into_iter().flatten().map(|c| call(&c)).collect();
        let mut known = vec!["role", "content", "tool_calls"];
        if line.role == Role::Tool {
            known.extend(["id", "requestor", "error"]);
            message.answer = Some(MessageAnswer {
                provider_call_id: line.id,
                requestor: line.requestor,
                failed: line.error.unwrap_or_default(),
                error: None,
            });
        }
        message.ext = others(place, text, &known)?;
        Ok(ChatMessage {
            message,
            at,
            model_call,
            seen: None,
        })
    }

    /// The agent's model call. What the simulated interlocutor's model did is no cost of the agent; it stays in the
    /// message.
    fn model_call(&self, line: &Line<'_>, at: Option<Micros>) -> Option<ModelCall> {
        let raw = line.raw_data.as_ref().filter(|_| line.role == Role::Assistant)?;
        let text = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let number = |pointer: &str| raw.pointer(pointer).and_then(Value::as_u64);
        let provider = self
            .agent_model
            .as_deref()
            .and_then(|model| model.split_once('/'));
        let asked = self.agent_model.as_deref();
        let asked = provider.map(|(_, model)| model).or(asked).map(str::to_owned);
        let provider = provider.map(|(provider, _)| provider.to_owned());
        let choices = raw.get("choices").and_then(Value::as_array).into_iter().flatten();
        let reasons = choices.filter_map(|choice| choice.get("finish_reason")?.as_str().map(str::to_owned));
        let duration = line.generation_time_seconds.filter(|s| (0.0..1e9).contains(s));
        let responded = LlmResponded {
            response_model: text("/model"),
            model: asked.clone(),
            provider: provider.clone(),
            response_id: text("/id"),
            finish_reasons: reasons.collect(),
            usage: line.usage.as_ref().map(|tokens| Usage {
                input: tokens.prompt_tokens,
                output: tokens.completion_tokens,
                cache_read: number("/usage/prompt_tokens_details/cached_tokens"),
                cache_creation: None,
                reasoning: number("/usage/completion_tokens_details/reasoning_tokens"),
            }),
            cost: line.cost.and_then(|cost| cost_of(cost.get())),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1e15, checked above"
            )]
            duration_us: duration.map(|seconds| (seconds * 1e6).round() as u64),
            ..LlmResponded::default()
        };
        let requested = asked.map(|model| LlmRequested {
            provider,
            ..LlmRequested::new(model)
        });
        Some(ModelCall {
            requested,
            responded,
            responded_at: at,
        })
    }
}

impl Line<'_> {
    fn written(&self) -> Option<WrittenTime> {
        times::read(self.timestamp.as_deref()?)
    }

    /// How far the clock of the machine was from UTC, by the provider's time of the same message.
    fn offset(&self) -> Option<i64> {
        let created = self.raw_data.as_ref()?.get("created")?.as_i64()?;
        let wall = self.written()?.wall_us;
        Some(nearest_offset(wall, created.checked_mul(1_000_000)?))
    }
}

/// The offset that explains best why one clock showed `wall_us` when UTC was about `utc_us`.
fn nearest_offset(wall_us: i64, utc_us: i64) -> i64 {
    let distance = wall_us.saturating_sub(utc_us).saturating_add(OFFSET_STEP_US / 2);
    distance.div_euclid(OFFSET_STEP_US).saturating_mul(OFFSET_STEP_US)
}

fn call(call: &Call<'_>) -> MessageToolCall {
    MessageToolCall {
        name: call.name.clone(),
        arguments: call.arguments.get().to_owned(),
        arguments_form: TextForm::Json,
        provider_call_id: call.id.clone(),
        requestor: call.requestor,
    }
}

fn score(reward_info: Value) -> Option<EvalScored> {
    let reward = reward_info.get("reward")?.as_f64()?;
    let mut score = EvalScored::new("reward".to_owned());
    score.value = Finite::new(reward);
    score.evaluator = Some("tau2-bench".to_owned());
    score.target = Some(EvalTarget::Session);
    insert(&mut score.ext, "reward_info", Some(reward_info));
    Some(score)
}

fn end(reason: Option<&str>) -> SessionEndReason {
    match reason {
        Some("user_stop") => SessionEndReason::InterlocutorLeft,
        Some("agent_stop") => SessionEndReason::AgentEnded,
        Some("max_steps" | "too_many_errors") => SessionEndReason::LimitReached,
        Some("agent_error" | "user_error") => SessionEndReason::Failed,
        _ => SessionEndReason::Unknown,
    }
}

/// US dollars as decimal text: the source's own digits, or the shortest that mean the same where it used a power.
fn cost_of(text: &str) -> Option<Cost> {
    let written: Result<Amount, _> = text.parse();
    let amount = written.or_else(|error| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => number.to_string().parse(),
        _ => Err(error),
    });
    Some(Cost::new(amount.ok()?, "USD".parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_clock_is_a_whole_quarter_of_an_hour() {
        let hour = 3_600_000_000;
        assert_eq!(nearest_offset(10 * hour + 900_000, 17 * hour), -7 * hour);
        assert_eq!(nearest_offset(17 * hour - 2_000_000, 17 * hour), 0);
        assert_eq!(
            nearest_offset(17 * hour + 1, 17 * hour - 5 * hour - hour / 2),
            5 * hour + hour / 2
        );
    }

    #[test]
    fn costs_are_decimal_text() {
        let amount = |text| cost_of(text).map(|cost| cost.amount.to_string());
        assert_eq!(amount("0.0002116").as_deref(), Some("0.0002116"));
        assert_eq!(amount("6.9e-05").as_deref(), Some("0.000069"));
        assert_eq!(amount("null"), None);
    }
}
