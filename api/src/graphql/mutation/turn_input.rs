//! Input of `recordTurn`: what happened in a turn, step by step.

use async_graphql::{InputObject, OneofObject};
use ruche_commands::turn::{ModelCall, Said, Settled, Timed, ToolOutcome};
use ruche_commands::{CommandError, RecordTurn, RecordedTurn, TurnEnd, TurnStep};
use ruche_domain::events::{
    LlmFailed, LlmRequested, LlmResponded, MessageReceived, MessageSent, ToolCallRequest, ToolCompleted,
    ToolFailed, ToolOutcomeUnknown, TurnCommitted, TurnFailed, TurnOpened,
};
use ruche_domain::measures;

use super::super::scalars::{DateTime, Long};
use super::super::words::{OutcomeCategory, Requestor, Role, TextForm, TurnTrigger};
use super::fields::{named, optional_count, optional_name, parsed};
use super::inputs::SessionInput;

type Made<C> = Result<C, CommandError>;

/// Input of `recordTurn`.
#[derive(InputObject)]
pub(in crate::graphql) struct RecordTurnInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which session.
    session: SessionInput,
    /// The client's own id of the turn.
    external_id: Option<String>,
    /// What opened it.
    #[graphql(default_with = "TurnTrigger::User")]
    opened_by: TurnTrigger,
    /// The client's own id of the agent that answers.
    agent: Option<String>,
    /// When it was opened by the source's clock.
    opened_at: Option<DateTime>,
    /// What happened, in order.
    steps: Vec<TurnStepInput>,
    /// How it ended.
    end: TurnEndInput,
}

/// One step of a turn.
#[derive(OneofObject)]
pub(in crate::graphql) enum TurnStepInput {
    /// A message came in.
    Received(ReceivedInput),
    /// The agent wrote a message, asked for tool calls, or both.
    Said(Box<SaidInput>),
    /// A model call failed; no message came of it.
    ModelFailed(ModelFailedInput),
    /// A tool call came to an end.
    Settled(SettledInput),
}

/// A message that came in.
#[derive(InputObject)]
pub(in crate::graphql) struct ReceivedInput {
    /// Who speaks.
    #[graphql(default_with = "Role::User")]
    role: Role,
    /// The text. Null is a message without text; an empty text is a text.
    text: Option<String>,
    /// Tool calls that it asks for; some interlocutors have tools.
    #[graphql(default)]
    tool_calls: Vec<ToolCallInput>,
    /// Name of the speaker within the role.
    name: Option<String>,
    /// The client's own id of the message.
    external_id: Option<String>,
    /// Channel that it came through.
    channel: Option<String>,
    /// When it came by the source's clock.
    at: Option<DateTime>,
}

/// A tool call that a message asks for. Calls are numbered in the order in which they stand.
#[derive(InputObject)]
pub(in crate::graphql) struct ToolCallInput {
    /// Name of the tool.
    name: String,
    /// The arguments exactly as the model wrote them.
    arguments: String,
    /// How the source wrote the arguments; absent means as a string.
    arguments_form: Option<TextForm>,
    /// The provider's id of the call.
    provider_call_id: Option<String>,
    /// Who asked for it.
    requestor: Option<Requestor>,
}

/// A message of the agent.
#[derive(InputObject)]
pub(in crate::graphql) struct SaidInput {
    /// The text. Null is a message without text; an empty text is a text.
    text: Option<String>,
    /// Tool calls that it asks for.
    #[graphql(default)]
    tool_calls: Vec<ToolCallInput>,
    /// Name of the speaker within the role.
    name: Option<String>,
    /// The client's own id of the message.
    external_id: Option<String>,
    /// Channel that it goes through.
    channel: Option<String>,
    /// When it was written by the source's clock.
    at: Option<DateTime>,
    /// The model call that wrote it.
    model_call: Option<ModelCallInput>,
}

/// A model call that gave an answer.
#[derive(InputObject)]
pub(in crate::graphql) struct ModelCallInput {
    /// Model that was asked for.
    model: Option<String>,
    /// Model that answered.
    response_model: Option<String>,
    /// Provider, such as `openai`.
    provider: Option<String>,
    /// The client's own id of the call.
    request_id: Option<String>,
    /// The provider's id of the answer.
    response_id: Option<String>,
    /// Why the model stopped, by the provider's words.
    #[graphql(default)]
    finish_reasons: Vec<String>,
    /// Tokens; absent means unknown.
    usage: Option<TokenUsageInput>,
    /// Cost; absent means unknown.
    cost: Option<CostInput>,
    /// When it was asked.
    requested_at: Option<DateTime>,
    /// When the answer came.
    responded_at: Option<DateTime>,
    /// Time to the first chunk, µs.
    first_chunk_us: Option<Long>,
    /// How long it took, µs.
    duration_us: Option<Long>,
}

/// Tokens of a model call. Absent means unknown, which is not zero.
#[derive(InputObject)]
pub(in crate::graphql) struct TokenUsageInput {
    /// Read by the model, cached ones among them.
    input: Option<Long>,
    /// Written by the model, reasoning among them.
    output: Option<Long>,
    /// Part of `input` that was read from a cache.
    cache_read: Option<Long>,
    /// Part of `input` that was written to a cache.
    cache_creation: Option<Long>,
    /// Part of `output` that was reasoning.
    reasoning: Option<Long>,
}

/// A sum of money.
#[derive(InputObject)]
pub(in crate::graphql) struct CostInput {
    /// Decimal text, such as `0.0035`.
    amount: String,
    /// ISO 4217 code.
    currency: String,
}

/// A model call that failed.
#[derive(InputObject)]
pub(in crate::graphql) struct ModelFailedInput {
    /// Stable word for the kind of error.
    error_type: String,
    /// The error in words.
    error: Option<String>,
    /// HTTP status or code of the provider.
    status: Option<String>,
    /// Whether calling again may help.
    retryable: Option<bool>,
    /// Model that was asked for.
    model: Option<String>,
    /// Provider.
    provider: Option<String>,
    /// Tokens that were spent all the same.
    usage: Option<TokenUsageInput>,
    /// Cost that arose all the same.
    cost: Option<CostInput>,
    /// How long it took, µs.
    duration_us: Option<Long>,
    /// When it failed by the source's clock.
    at: Option<DateTime>,
}

/// The end of a tool call.
#[derive(InputObject)]
pub(in crate::graphql) struct SettledInput {
    /// Number of the call in the turn, from 0, over all messages. Absent: the first unsettled call with the
    /// outcome's provider id, else the first unsettled call of its tool.
    call: Option<Long>,
    /// When the call began.
    started_at: Option<DateTime>,
    /// Whether the answer is a message of the conversation.
    #[graphql(default = true)]
    is_message: bool,
    /// How it came out.
    outcome: ToolOutcomeInput,
}

/// How a tool call came out.
#[derive(OneofObject)]
pub(in crate::graphql) enum ToolOutcomeInput {
    /// It gave a result.
    Completed(ToolResultInput),
    /// It failed.
    Failed(ToolFailureInput),
    /// Nobody can say.
    Unknown(ToolUnknownInput),
}

/// The result of a tool call.
#[derive(InputObject)]
pub(in crate::graphql) struct ToolResultInput {
    /// Name of the tool, as the answer names it.
    name: Option<String>,
    /// The result text exactly as the model is given it.
    result: Option<String>,
    /// How the source wrote the result; absent means as a string.
    result_form: Option<TextForm>,
    /// The provider's id of the call that is answered.
    provider_call_id: Option<String>,
    /// Reference of the effect in the system that carried it out.
    external_ref: Option<String>,
    /// How long it took, µs.
    duration_us: Option<Long>,
    /// When it ended.
    ended_at: Option<DateTime>,
}

/// The failure of a tool call.
#[derive(InputObject)]
pub(in crate::graphql) struct ToolFailureInput {
    /// Name of the tool, as the answer names it.
    name: Option<String>,
    /// The text exactly as the model is given it.
    result: Option<String>,
    /// How the source wrote the result; absent means as a string.
    result_form: Option<TextForm>,
    /// The error in the source's own words, where it stands apart from the result.
    error: Option<String>,
    /// Stable word for the kind of error.
    error_type: Option<String>,
    /// Whether calling again may help.
    retryable: Option<bool>,
    /// The provider's id of the call that is answered.
    provider_call_id: Option<String>,
    /// How long it took, µs.
    duration_us: Option<Long>,
    /// When it ended.
    ended_at: Option<DateTime>,
}

/// A tool call of which nobody can say whether it happened.
#[derive(InputObject)]
pub(in crate::graphql) struct ToolUnknownInput {
    /// Why it is unknown: a crash, a timeout, a lost connection.
    cause: String,
    /// What to look up outside to find out.
    external_ref: Option<String>,
}

/// How a turn ended.
#[derive(OneofObject)]
pub(in crate::graphql) enum TurnEndInput {
    /// Its answer stands.
    Committed(CommittedInput),
    /// It failed for good.
    Failed(FailedInput),
}

/// A turn that was committed.
#[derive(InputObject)]
pub(in crate::graphql) struct CommittedInput {
    /// How it came out; absent means that the source does not say.
    outcome: Option<OutcomeCategory>,
    /// How long it took, µs.
    duration_us: Option<Long>,
    /// When it ended.
    ended_at: Option<DateTime>,
}

/// A turn that failed.
#[derive(InputObject)]
pub(in crate::graphql) struct FailedInput {
    /// What went wrong: a stable word.
    error_type: String,
    /// What went wrong, in words.
    error: Option<String>,
    /// How long it took, µs.
    duration_us: Option<Long>,
    /// When it ended.
    ended_at: Option<DateTime>,
}

impl RecordTurnInput {
    pub(super) fn into_command(self) -> Made<RecordTurn> {
        let steps = self.steps.into_iter().enumerate();
        let steps: Made<Vec<TurnStep>> = steps
            .map(|(number, step)| step.read(&format!("/steps/{number}")))
            .collect();
        Ok(RecordTurn {
            session: self.session.read()?,
            turn: RecordedTurn {
                opened: TurnOpened {
                    external_id: optional_name("/externalId", self.external_id)?,
                    agent_id: optional_name("/agent", self.agent)?,
                    ..TurnOpened::new(self.opened_by.into())
                },
                opened_at: self.opened_at.map(|time| time.0),
                steps: steps?,
                end: self.end.read()?,
            },
        })
    }
}

impl TurnStepInput {
    fn read(self, at: &str) -> Made<TurnStep> {
        match self {
            Self::Received(received) => received.read(at).map(TurnStep::Received),
            Self::Said(said) => said.read(at).map(TurnStep::Said),
            Self::ModelFailed(failed) => failed.read(at).map(TurnStep::ModelFailed),
            Self::Settled(settled) => settled.read(at).map(TurnStep::Settled),
        }
    }
}

fn calls(at: &str, calls: Vec<ToolCallInput>) -> Made<Vec<ToolCallRequest>> {
    let numbered = calls.into_iter().enumerate().map(|(number, call)| {
        let at = format!("{at}/toolCalls");
        let ordinal = u32::try_from(number).map_err(|_| CommandError::input(at.as_str(), "too many"))?;
        let name = named(&format!("{at}/{number}/name"), call.name)?;
        Ok(ToolCallRequest {
            arguments_form: call.arguments_form.map(Into::into),
            provider_call_id: call.provider_call_id,
            requestor: call.requestor.map(Into::into),
            ..ToolCallRequest::new(ordinal, name, call.arguments)
        })
    });
    numbered.collect()
}

impl ReceivedInput {
    fn read(self, at: &str) -> Made<Timed<MessageReceived>> {
        let what = MessageReceived {
            text: self.text,
            tool_calls: calls(&format!("{at}/received"), self.tool_calls)?,
            name: self.name,
            external_id: self.external_id,
            channel: self.channel,
            ..MessageReceived::new(self.role.into())
        };
        let at = self.at.map(|time| time.0);
        Ok(Timed { what, at })
    }
}

impl SaidInput {
    fn read(self, at: &str) -> Made<Said> {
        let message = MessageSent {
            text: self.text,
            tool_calls: calls(&format!("{at}/said"), self.tool_calls)?,
            name: self.name,
            external_id: self.external_id,
            channel: self.channel,
            ..MessageSent::new(ruche_domain::events::Role::Assistant)
        };
        Ok(Said {
            message,
            at: self.at.map(|time| time.0),
            model_call: self
                .model_call
                .map(|call| call.read(&format!("{at}/said/modelCall")))
                .transpose()?,
        })
    }
}

impl ModelCallInput {
    fn read(self, at: &str) -> Made<ModelCall> {
        let requested = self.model.clone().map(|model| LlmRequested {
            provider: self.provider.clone(),
            request_id: self.request_id.clone(),
            requested_at: self.requested_at.map(|time| time.0),
            ..LlmRequested::new(model)
        });
        let responded = LlmResponded {
            response_model: self.response_model,
            model: self.model,
            provider: self.provider,
            request_id: self.request_id,
            response_id: self.response_id,
            finish_reasons: self.finish_reasons,
            usage: self.usage.map(|usage| usage.read(at)).transpose()?,
            cost: self.cost.map(|cost| cost.read(at)).transpose()?,
            first_chunk_us: optional_count(&format!("{at}/firstChunkUs"), self.first_chunk_us)?,
            duration_us: optional_count(&format!("{at}/durationUs"), self.duration_us)?,
            ..LlmResponded::default()
        };
        Ok(ModelCall {
            requested,
            responded,
            responded_at: self.responded_at.map(|time| time.0),
        })
    }
}

impl TokenUsageInput {
    fn read(self, at: &str) -> Made<measures::Usage> {
        let tokens = |name: &str, value| optional_count(&format!("{at}/usage/{name}"), value);
        Ok(measures::Usage {
            input: tokens("input", self.input)?,
            output: tokens("output", self.output)?,
            cache_read: tokens("cacheRead", self.cache_read)?,
            cache_creation: tokens("cacheCreation", self.cache_creation)?,
            reasoning: tokens("reasoning", self.reasoning)?,
        })
    }
}

impl CostInput {
    fn read(self, at: &str) -> Made<measures::Cost> {
        let amount = parsed(&format!("{at}/cost/amount"), &self.amount)?;
        let currency = parsed(&format!("{at}/cost/currency"), &self.currency)?;
        Ok(measures::Cost::new(amount, currency))
    }
}

impl ModelFailedInput {
    fn read(self, at: &str) -> Made<Timed<LlmFailed>> {
        let at = format!("{at}/modelFailed");
        let what = LlmFailed {
            error: self.error,
            status: self.status,
            retryable: self.retryable,
            model: self.model,
            provider: self.provider,
            usage: self.usage.map(|usage| usage.read(&at)).transpose()?,
            cost: self.cost.map(|cost| cost.read(&at)).transpose()?,
            duration_us: optional_count(&format!("{at}/durationUs"), self.duration_us)?,
            ..LlmFailed::new(named(&format!("{at}/errorType"), self.error_type)?)
        };
        let at = self.at.map(|time| time.0);
        Ok(Timed { what, at })
    }
}

impl SettledInput {
    fn read(self, at: &str) -> Made<Settled> {
        let duration = |value| optional_count(&format!("{at}/settled/durationUs"), value);
        let of = |field: &str| format!("{at}/settled/outcome/{field}");
        let outcome = match self.outcome {
            ToolOutcomeInput::Completed(result) => ToolOutcome::Completed(ToolCompleted {
                name: result.name,
                result: result.result,
                result_form: result.result_form.map(Into::into),
                provider_call_id: result.provider_call_id,
                external_ref: optional_name(&of("completed/externalRef"), result.external_ref)?,
                duration_us: duration(result.duration_us)?,
                ended_at: result.ended_at.map(|time| time.0),
                ..ToolCompleted::default()
            }),
            ToolOutcomeInput::Failed(failure) => ToolOutcome::Failed(ToolFailed {
                name: failure.name,
                result: failure.result,
                result_form: failure.result_form.map(Into::into),
                error: failure.error,
                error_type: optional_name(&of("failed/errorType"), failure.error_type)?,
                retryable: failure.retryable,
                provider_call_id: failure.provider_call_id,
                duration_us: duration(failure.duration_us)?,
                ended_at: failure.ended_at.map(|time| time.0),
                ..ToolFailed::default()
            }),
            ToolOutcomeInput::Unknown(unknown) => ToolOutcome::Unknown(ToolOutcomeUnknown {
                external_ref: optional_name(&of("unknown/externalRef"), unknown.external_ref)?,
                ..ToolOutcomeUnknown::new(named(&of("unknown/cause"), unknown.cause)?)
            }),
        };
        Ok(Settled {
            call: optional_count(&format!("{at}/settled/call"), self.call)?,
            started_at: self.started_at.map(|time| time.0),
            is_message: self.is_message,
            outcome,
        })
    }
}

impl TurnEndInput {
    fn read(self) -> Made<TurnEnd> {
        Ok(match self {
            Self::Committed(committed) => TurnEnd::Committed(TurnCommitted {
                outcome_category: committed.outcome.map(Into::into),
                duration_us: optional_count("/end/committed/durationUs", committed.duration_us)?,
                ended_at: committed.ended_at.map(|time| time.0),
                ..TurnCommitted::default()
            }),
            Self::Failed(failed) => TurnEnd::Failed(TurnFailed {
                error: failed.error,
                duration_us: optional_count("/end/failed/durationUs", failed.duration_us)?,
                ended_at: failed.ended_at.map(|time| time.0),
                ..TurnFailed::new(named("/end/failed/errorType", failed.error_type)?)
            }),
        })
    }
}
