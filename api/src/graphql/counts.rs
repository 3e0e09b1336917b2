//! What happened, counted: the same figures for a session, a turn, a day.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};
use ruche_domain::measures;
use ruche_projections::tally;

use super::scalars::Long;

pub(super) struct Money(pub String);

/// A sum of money in decimal digits, exact; the currency stands beside it.
#[Scalar(name = "Money")]
impl ScalarType for Money {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => match text.parse::<measures::Amount>() {
                Ok(_) => Ok(Self(text)),
                Err(_) => Err(InputValueError::custom(
                    "an amount is decimal text such as 0.0035",
                )),
            },
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// A sum of money.
#[derive(SimpleObject)]
pub(super) struct Cost {
    /// The exact sum.
    amount: Money,
    /// ISO 4217 code.
    currency: String,
    /// How many model calls told it.
    known: Long,
}

impl From<tally::CostTotal> for Cost {
    fn from(total: tally::CostTotal) -> Self {
        Self {
            amount: Money(total.amount.to_string()),
            currency: total.currency,
            known: Long(total.known),
        }
    }
}

/// A number of tokens. Nothing where no model call told it, which is not zero.
#[derive(SimpleObject)]
pub(super) struct Tokens {
    /// Tokens that were told.
    tokens: Option<Long>,
    /// Model calls that told them.
    known: Long,
    /// Model calls in all.
    calls: Long,
}

impl From<tally::Tokens> for Tokens {
    fn from(tokens: tally::Tokens) -> Self {
        Self {
            tokens: tokens.tokens.map(Long),
            known: Long(tokens.known),
            calls: Long(tokens.calls),
        }
    }
}

/// What happened, counted.
#[derive(SimpleObject)]
pub(super) struct Counts {
    /// Events.
    events: Long,
    /// Messages of the conversation, those of tools among them.
    messages: Long,
    /// Those that came from the interlocutor.
    user_messages: Long,
    /// Turns that were opened.
    turns: Long,
    /// Turns that were committed.
    turns_committed: Long,
    /// Turns that failed for good.
    turns_failed: Long,
    /// Turns that were superseded.
    turns_superseded: Long,
    /// Turns that were cancelled.
    turns_cancelled: Long,
    /// Mean duration of the turns whose duration is known, µs.
    turn_duration_mean_us: Option<Long>,
    /// Tool calls that were asked for.
    tool_calls: Long,
    /// Those that may change something; a call whose tool nobody classified is one of them.
    write_calls: Long,
    /// Tool calls that gave a result.
    tool_results: Long,
    /// Tool calls that failed.
    tool_errors: Long,
    /// Tool calls of which nobody could say whether they happened.
    tool_unknowns: Long,
    /// Mean duration of the tool calls whose duration is known, µs.
    tool_duration_mean_us: Option<Long>,
    /// Model calls that ended, well or not.
    llm_calls: Long,
    /// Those that failed.
    llm_errors: Long,
    /// Mean duration of the model calls whose duration is known, µs.
    llm_duration_mean_us: Option<Long>,
    /// Tokens read by models, cached ones among them.
    input_tokens: Tokens,
    /// Tokens written by models, reasoning among them.
    output_tokens: Tokens,
    /// Part of the read tokens that came from a cache.
    cache_read_tokens: Tokens,
    /// Part of the read tokens that went into a cache.
    cache_creation_tokens: Tokens,
    /// Part of the written tokens that was reasoning.
    reasoning_tokens: Tokens,
}

impl From<&tally::Tally> for Counts {
    fn from(tally: &tally::Tally) -> Self {
        let mean = |sum: i64, known: i64| (known > 0).then(|| Long(sum / known));
        Self {
            events: Long(tally.events),
            messages: Long(tally.messages),
            user_messages: Long(tally.user_messages),
            turns: Long(tally.turns),
            turns_committed: Long(tally.turns_committed),
            turns_failed: Long(tally.turns_failed),
            turns_superseded: Long(tally.turns_superseded),
            turns_cancelled: Long(tally.turns_cancelled),
            turn_duration_mean_us: mean(tally.turn_duration_us, tally.turn_durations),
            tool_calls: Long(tally.tool_calls),
            write_calls: Long(tally.write_calls),
            tool_results: Long(tally.tool_results),
            tool_errors: Long(tally.tool_errors),
            tool_unknowns: Long(tally.tool_unknowns),
            tool_duration_mean_us: mean(tally.tool_duration_us, tally.tool_durations),
            llm_calls: Long(tally.llm_calls),
            llm_errors: Long(tally.llm_errors),
            llm_duration_mean_us: mean(tally.llm_duration_us, tally.llm_durations),
            input_tokens: tally.input().into(),
            output_tokens: tally.output().into(),
            cache_read_tokens: tally.cache_read().into(),
            cache_creation_tokens: tally.cache_creation().into(),
            reasoning_tokens: tally.reasoning().into(),
        }
    }
}
