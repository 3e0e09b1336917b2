//! What one event adds to the counters that sessions, turns and days share.

use ruche_domain::event::AgentEvent;
use ruche_domain::measures::{Cost, Usage};
use ruche_domain::side_effect::SideEffectPolicy;

use crate::bounds;
use crate::event::ProjectedEvent;
use crate::money::Money;
use crate::projection::PoisonReason;
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters. Each is a column of the same name wherever it is kept.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tally { $($(#[$doc])* pub $name: i64,)* }

        /// The columns, in the order of [`Tally::values`].
        pub(crate) const COLUMNS: &[&str] = &[$(stringify!($name),)*];

        impl Tally {
            /// The values, in the order of the columns.
            pub(crate) fn values(&self) -> Vec<i64> {
                vec![$(self.$name,)*]
            }

            /// Reads the columns.
            ///
            /// # Errors
            /// `Corrupt` for a row of another form.
            pub(crate) fn read(fields: &mut Fields) -> Result<Self, ReadStoreError> {
                Ok(Self { $($name: fields.int()?,)* })
            }
        }
    };
}

tally! {
    /// Events.
    events,
    /// Messages of the conversation: received, sent, drafted as a step of it, and tool answers that are messages.
    messages,
    /// Those that came from the interlocutor.
    user_messages,
    /// Turns that were opened.
    turns,
    /// Turns that were committed.
    turns_committed,
    /// Turns that failed for good.
    turns_failed,
    /// Turns that were superseded.
    turns_superseded,
    /// Turns that were cancelled.
    turns_cancelled,
    /// Duration of the turns whose duration is known, µs.
    turn_duration_us,
    /// How many those are.
    turn_durations,
    /// Tool calls that were asked for.
    tool_calls,
    /// Those that may change something; a call whose tool nobody classified is one of them.
    write_calls,
    /// Tool calls that gave a result.
    tool_results,
    /// Tool calls that failed.
    tool_errors,
    /// Tool calls of which nobody could say whether they happened.
    tool_unknowns,
    /// Duration of the tool calls whose duration is known, µs.
    tool_duration_us,
    /// How many those are.
    tool_durations,
    /// Model calls that ended, well or not.
    llm_calls,
    /// Those that failed.
    llm_errors,
    /// Duration of the model calls whose duration is known, µs.
    llm_duration_us,
    /// How many those are.
    llm_durations,
    /// Tokens read by models, as far as they are known.
    input_tokens,
    /// Model calls that told them.
    input_known,
    /// Tokens written by models, as far as they are known.
    output_tokens,
    /// Model calls that told them.
    output_known,
    /// Part of the read tokens that came from a cache.
    cache_read_tokens,
    /// Model calls that told it.
    cache_read_known,
    /// Part of the read tokens that went into a cache.
    cache_creation_tokens,
    /// Model calls that told it.
    cache_creation_known,
    /// Part of the written tokens that was reasoning.
    reasoning_tokens,
    /// Model calls that told it.
    reasoning_known,
    /// Model calls that told their cost.
    costs_known,
}

/// A number of tokens: nothing where no model call told it, which is not zero. Of `calls` model calls, `known` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens that were told.
    pub tokens: Option<i64>,
    /// Model calls that told them.
    pub known: i64,
    /// Model calls in all.
    pub calls: i64,
}

/// A sum of money in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostTotal {
    /// ISO 4217 code.
    pub currency: String,
    /// The exact sum.
    pub amount: Money,
    /// How many model calls told it.
    pub known: i64,
}

impl Tally {
    fn tokens(&self, tokens: i64, known: i64) -> Tokens {
        Tokens {
            tokens: (known > 0).then_some(tokens),
            known,
            calls: self.llm_calls,
        }
    }

    /// Tokens read by models.
    pub fn input(&self) -> Tokens {
        self.tokens(self.input_tokens, self.input_known)
    }

    /// Tokens written by models.
    pub fn output(&self) -> Tokens {
        self.tokens(self.output_tokens, self.output_known)
    }

    /// Tokens read from a cache.
    pub fn cache_read(&self) -> Tokens {
        self.tokens(self.cache_read_tokens, self.cache_read_known)
    }

    /// Tokens written to a cache.
    pub fn cache_creation(&self) -> Tokens {
        self.tokens(self.cache_creation_tokens, self.cache_creation_known)
    }

    /// Tokens of reasoning.
    pub fn reasoning(&self) -> Tokens {
        self.tokens(self.reasoning_tokens, self.reasoning_known)
    }

    /// What the event adds. Of an erased payload only what its type says is counted.
    ///
    /// # Errors
    /// The payload cannot be read.
    pub(crate) fn of(event: &ProjectedEvent) -> Result<Self, PoisonReason> {
        let mut tally = Self {
            events: 1,
            ..Self::default()
        };
        match event.agent()? {
            Some(agent) => tally.count(agent),
            None => tally.count_erased(event.event_type()),
        }
        Ok(tally)
    }

    fn count(&mut self, agent: &AgentEvent) {
        use ruche_domain::events::common::Role;
        match agent {
            AgentEvent::MessageReceived(m) => {
                self.messages = 1;
                self.user_messages = i64::from(m.role == Role::User);
            }
            AgentEvent::MessageSent(_) => self.messages = 1,
            AgentEvent::MessageDrafted(m) => self.messages = i64::from(crate::messages::is_step(m)),
            AgentEvent::TurnOpened(_) => self.turns = 1,
            AgentEvent::TurnCommitted(t) => {
                self.turns_committed = 1;
                (self.turn_duration_us, self.turn_durations) = known(bounds::duration(t.duration_us));
            }
            AgentEvent::TurnFailed(t) => {
                self.turns_failed = 1;
                (self.turn_duration_us, self.turn_durations) = known(bounds::duration(t.duration_us));
            }
            AgentEvent::TurnSuperseded(_) => self.turns_superseded = 1,
            AgentEvent::TurnCancelled(_) => self.turns_cancelled = 1,
            AgentEvent::ToolProposed(t) => {
                self.tool_calls = 1;
                self.write_calls = i64::from(t.side_effect.unwrap_or_default().has_effect());
            }
            AgentEvent::ToolCompleted(t) => {
                self.tool_results = 1;
                self.messages = i64::from(t.message_ordinal.is_some());
                (self.tool_duration_us, self.tool_durations) = known(bounds::duration(t.duration_us));
            }
            AgentEvent::ToolFailed(t) => {
                self.tool_errors = 1;
                self.messages = i64::from(t.message_ordinal.is_some());
                (self.tool_duration_us, self.tool_durations) = known(bounds::duration(t.duration_us));
            }
            AgentEvent::ToolOutcomeUnknown(_) => self.tool_unknowns = 1,
            AgentEvent::LlmResponded(l) => {
                self.model_call(l.usage.as_ref(), l.cost.as_ref(), l.duration_us);
            }
            AgentEvent::LlmEmbedded(l) => {
                self.model_call(l.usage.as_ref(), l.cost.as_ref(), l.duration_us);
            }
            AgentEvent::LlmFailed(l) => {
                self.llm_errors = 1;
                self.model_call(l.usage.as_ref(), l.cost.as_ref(), l.duration_us);
            }
            _ => {}
        }
    }

    fn count_erased(&mut self, event_type: &str) {
        match event_type {
            "message.received" | "message.sent" => self.messages = 1,
            "turn.opened" => self.turns = 1,
            "turn.committed" => self.turns_committed = 1,
            "turn.failed" => self.turns_failed = 1,
            "turn.superseded" => self.turns_superseded = 1,
            "turn.cancelled" => self.turns_cancelled = 1,
            "tool.proposed" => {
                self.tool_calls = 1;
                self.write_calls = i64::from(SideEffectPolicy::default().has_effect());
            }
            "tool.completed" => self.tool_results = 1,
            "tool.failed" => self.tool_errors = 1,
            "tool.outcome_unknown" => self.tool_unknowns = 1,
            "llm.responded" | "llm.embedded" => self.llm_calls = 1,
            "llm.failed" => (self.llm_calls, self.llm_errors) = (1, 1),
            _ => {}
        }
    }

    fn model_call(&mut self, usage: Option<&Usage>, cost: Option<&Cost>, duration_us: Option<u64>) {
        self.llm_calls = 1;
        self.costs_known = i64::from(cost.and_then(|cost| Money::of(&cost.amount)).is_some());
        (self.llm_duration_us, self.llm_durations) = known(bounds::duration(duration_us));
        let Some(usage) = usage else { return };
        let tokens = |told| known(bounds::tokens(told));
        (self.input_tokens, self.input_known) = tokens(usage.input);
        (self.output_tokens, self.output_known) = tokens(usage.output);
        (self.cache_read_tokens, self.cache_read_known) = tokens(usage.cache_read);
        (self.cache_creation_tokens, self.cache_creation_known) = tokens(usage.cache_creation);
        (self.reasoning_tokens, self.reasoning_known) = tokens(usage.reasoning);
    }
}

/// What is added to a sum, and to the count of those who told it.
fn known(value: Option<i64>) -> (i64, i64) {
    (value.unwrap_or(0), i64::from(value.is_some()))
}

/// What the event says a model call cost: currency and sum; nothing for a sum that a read model cannot hold.
///
/// # Errors
/// The payload cannot be read.
pub(crate) fn cost_of(event: &ProjectedEvent) -> Result<Option<(String, Money)>, PoisonReason> {
    let cost = match event.agent()? {
        Some(AgentEvent::LlmResponded(l)) => l.cost.as_ref(),
        Some(AgentEvent::LlmEmbedded(l)) => l.cost.as_ref(),
        Some(AgentEvent::LlmFailed(l)) => l.cost.as_ref(),
        _ => None,
    };
    Ok(cost.and_then(|cost| Some((cost.currency.to_string(), Money::of(&cost.amount)?))))
}

/// Reads currency, sum and count.
pub(crate) fn read_cost(fields: &mut Fields) -> Result<CostTotal, ReadStoreError> {
    Ok(CostTotal {
        currency: fields.text()?,
        amount: fields.money()?,
        known: fields.int()?,
    })
}

/// Costs of some sessions or turns, by id.
pub(crate) async fn costs_by_id(
    store: &dyn ReadStore,
    ledger: ruche_domain::ids::LedgerId,
    (table, column): (&str, &str),
    ids: Vec<[u8; 16]>,
) -> Result<std::collections::HashMap<[u8; 16], Vec<CostTotal>>, ReadStoreError> {
    let mut costs = std::collections::HashMap::<_, Vec<CostTotal>>::new();
    if ids.is_empty() {
        return Ok(costs);
    }
    let columns = format!("{column}, currency, cost_units, cost_nanos, cost_rest, costs");
    let select = Select::of(&columns, table, ledger).and_in(column, ids);
    for row in select
        .text(&format!(" ORDER BY {column}, currency"))
        .rows(store)
        .await?
    {
        let fields = &mut Fields::new(row);
        let id: uuid::Uuid = fields.id()?;
        costs.entry(*id.as_bytes()).or_default().push(read_cost(fields)?);
    }
    Ok(costs)
}
