//! From the story to commands.

use ruche_commands::score::ScoreSession;
use ruche_commands::session::{EndSession, SessionRef, StartSession};
use ruche_commands::turn::{
    ModelCall, RecordTurn, RecordedTurn, Said, Settled, Timed, ToolOutcome, TurnEnd, TurnStep,
};
use ruche_domain::events::{
    EvalScored, LlmFailed, LlmRequested, LlmResponded, MessageReceived, MessageSent, OutcomeCategory, Role,
    SessionEndReason, ToolCallRequest, ToolCompleted, ToolFailed, ToolOutcomeUnknown, TurnCommitted,
    TurnFailed, TurnOpened, TurnTrigger,
};
use ruche_domain::measures::{Amount, Cost, Currency, Digest, Finite, Usage};
use ruche_domain::numbers::Micros;

use super::story::{self, DemoModelCall, DemoSession, DemoToolCall, DemoTurn, Step};

const PROVIDER: &str = "example";

fn of(session: &DemoSession) -> SessionRef {
    SessionRef::External(session.external_id.clone())
}

/// The session begins.
pub fn start(session: &DemoSession) -> StartSession {
    let mut start = StartSession::new(&session.external_id);
    let started = &mut start.started;
    started.app = Some("bicycle-shop".to_owned());
    started.agent_id = Some(session.agent.to_owned());
    started.interlocutor_id = Some(session.interlocutor.clone());
    started.channel = Some(session.channel.to_owned());
    started.started_at = Some(session.started_at);
    start
}

/// The session ends, if somebody ended it.
pub fn end(session: &DemoSession) -> Option<EndSession> {
    let last = session.turns.last()?;
    let reason = if last.reply.is_some() {
        SessionEndReason::Completed
    } else {
        SessionEndReason::Failed
    };
    let end = EndSession {
        ended_at: Some(last.ended_at),
        ..EndSession::new(of(session), reason)
    };
    session.ended.then_some(end)
}

/// The customer's stars, if there are any.
pub fn rating(session: &DemoSession) -> Option<ScoreSession> {
    let stars = session.rating?;
    let score = EvalScored {
        value: Finite::new(f64::from(stars)),
        evaluator: Some("customer".to_owned()),
        ..EvalScored::new("rating".to_owned())
    };
    Some(ScoreSession {
        session: of(session),
        scores: vec![score],
    })
}

/// One turn, whole.
pub fn turn(session: &DemoSession, turn: &DemoTurn, prices: Digest) -> RecordTurn {
    let mut opened = TurnOpened::new(TurnTrigger::User);
    opened.agent_id = Some(session.agent.to_owned());
    let mut asked = MessageReceived::new(Role::User);
    asked.text = Some(turn.text.to_string());
    asked.channel = Some(session.channel.to_owned());
    let mut steps = vec![TurnStep::Received(Timed {
        what: asked,
        at: Some(turn.at),
    })];
    steps.extend(agent_steps(turn, prices));
    let recorded = RecordedTurn {
        opened,
        opened_at: Some(turn.at),
        steps,
        end: turn_end(turn),
    };
    RecordTurn {
        session: of(session),
        turn: recorded,
    }
}

fn turn_end(turn: &DemoTurn) -> TurnEnd {
    let (duration_us, ended_at) = (Some(turn.ended_at.0 - turn.at.0), Some(turn.ended_at));
    match turn.reply {
        Some(_) => TurnEnd::Committed(TurnCommitted {
            outcome_category: Some(OutcomeCategory::Answered),
            duration_us,
            ended_at,
            ..TurnCommitted::default()
        }),
        None => TurnEnd::Failed(TurnFailed {
            error: Some("the agent gave up after a failed tool call".to_owned()),
            duration_us,
            ended_at,
            ..TurnFailed::new("agent_gave_up".to_owned())
        }),
    }
}

/// Every call of the model writes a message: one that calls the tool behind it, or the answer at the end.
fn agent_steps(turn: &DemoTurn, prices: Digest) -> Vec<TurnStep> {
    let mut steps = Vec::new();
    let mut calls = 0;
    for (number, step) in turn.steps.iter().enumerate() {
        match step {
            Step::Model(model) => {
                let next = turn.steps.get(number + 1);
                steps.push(model_step(model, next, turn.reply.as_deref(), calls, prices));
            }
            Step::Tool(tool) => {
                steps.push(tool_step(tool, calls));
                calls += 1;
            }
        }
    }
    steps
}

fn provider_call_id(call: u64) -> String {
    // As providers do: the same ids come again in every turn.
    format!("call_{call}")
}

fn model_step(
    asked: &DemoModelCall,
    next: Option<&Step>,
    reply: Option<&str>,
    call: u64,
    prices: Digest,
) -> TurnStep {
    let (model, answered_at) = (asked.model.to_owned(), Micros(asked.at.0 + asked.took_us));
    let mut message = MessageSent::new(Role::Assistant);
    match (next, reply) {
        (Some(Step::Tool(tool)), _) => {
            let mut request = ToolCallRequest::new(0, tool.name.to_owned(), tool.arguments.clone());
            request.provider_call_id = Some(provider_call_id(call));
            message.tool_calls.push(request);
        }
        (_, Some(reply)) => message.text = Some(reply.to_owned()),
        (_, None) => return model_failed(asked, answered_at),
    }
    let mut requested = LlmRequested::new(model.clone());
    requested.provider = Some(PROVIDER.to_owned());
    requested.requested_at = Some(asked.at);
    let finish = if message.tool_calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    let responded = LlmResponded {
        response_model: Some(model.clone()),
        model: Some(model),
        provider: Some(PROVIDER.to_owned()),
        finish_reasons: vec![finish.to_owned()],
        usage: Some(Usage {
            input: Some(asked.input),
            output: Some(asked.output),
            ..Usage::default()
        }),
        cost: Some(cost(asked.cost_micro_usd, prices)),
        duration_us: Some(asked.took_us),
        ..LlmResponded::default()
    };
    let model_call = ModelCall {
        requested: Some(requested),
        responded,
        responded_at: Some(answered_at),
    };
    TurnStep::Said(Said {
        message,
        at: Some(answered_at),
        model_call: Some(model_call),
    })
}

fn model_failed(asked: &DemoModelCall, at: Micros) -> TurnStep {
    let mut failed = LlmFailed::new("overloaded".to_owned());
    failed.status = Some("529".to_owned());
    failed.retryable = Some(true);
    failed.model = Some(asked.model.to_owned());
    failed.provider = Some(PROVIDER.to_owned());
    failed.duration_us = Some(asked.took_us);
    TurnStep::ModelFailed(Timed {
        what: failed,
        at: Some(at),
    })
}

fn cost(micro_usd: u64, prices: Digest) -> Cost {
    let dollars = format!("{}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000);
    let amount: Amount = dollars
        .parse()
        .expect("digits, a point and six digits are an amount");
    let currency: Currency = "USD".parse().expect("three upper-case letters are a currency");
    Cost {
        price_table_digest: Some(prices),
        ..Cost::new(amount, currency)
    }
}

fn tool_step(tool: &DemoToolCall, call: u64) -> TurnStep {
    let (name, provider_call_id) = (Some(tool.name.to_owned()), Some(provider_call_id(call)));
    let (duration_us, ended_at) = (Some(tool.took_us), Some(Micros(tool.at.0 + tool.took_us)));
    let (is_message, outcome) = match &tool.outcome {
        story::ToolOutcome::Completed(result) => {
            let completed = ToolCompleted {
                name,
                provider_call_id,
                result: Some(result.clone()),
                duration_us,
                ended_at,
                ..ToolCompleted::default()
            };
            (true, ToolOutcome::Completed(completed))
        }
        story::ToolOutcome::Failed(error) => {
            let failed = ToolFailed {
                name,
                provider_call_id,
                result: Some(format!("Error: {error}")),
                error: Some((*error).to_owned()),
                duration_us,
                ended_at,
                ..ToolFailed::default()
            };
            (true, ToolOutcome::Failed(failed))
        }
        story::ToolOutcome::Unknown => {
            let unknown = ToolOutcomeUnknown::new("connection lost before the answer".to_owned());
            (false, ToolOutcome::Unknown(unknown))
        }
    };
    TurnStep::Settled(Settled {
        call: Some(call),
        started_at: Some(tool.at),
        is_message,
        outcome,
    })
}
