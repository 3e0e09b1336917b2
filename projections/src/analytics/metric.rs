//! The figures that can be asked for, and how each is made of columns.

use super::query::Dimension;

/// What durations are kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Turn,
    Model,
    FirstChunk,
    Tool,
    GatherWait,
    QueueWait,
    Approval,
}

impl Measure {
    /// The word in the column.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Model => "model",
            Self::FirstChunk => "first_chunk",
            Self::Tool => "tool",
            Self::GatherWait => "gather_wait",
            Self::QueueWait => "queue_wait",
            Self::Approval => "approval",
        }
    }
}

/// What a value is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole things.
    Count,
    /// Tokens.
    Tokens,
    /// Microseconds.
    Micros,
    /// Money; each row says its currency.
    Money,
    /// A part of one.
    Ratio,
    /// Of things for each of others.
    Mean,
}

impl Unit {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Tokens => "tokens",
            Self::Micros => "us",
            Self::Money => "money",
            Self::Ratio => "ratio",
            Self::Mean => "mean",
        }
    }
}

/// A table of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Models,
    Tools,
    Turns,
    Approvals,
    Scores,
    Ingest,
    Latency(Measure),
    /// Turns that were superseded, in the read model of turns.
    Waste,
    /// Decisions of people, in the read model of approvals.
    Decisions,
}

impl Family {
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Models => "analytics_model",
            Self::Tools => "analytics_tool",
            Self::Turns => "analytics_turn",
            Self::Approvals => "analytics_approval",
            Self::Scores => "analytics_score",
            Self::Ingest => "analytics_ingest",
            Self::Latency(_) => "analytics_latency",
            Self::Waste => {
                "turn LEFT JOIN analytics_session who ON who.ledger = turn.ledger AND who.session = turn.session \
                 LEFT JOIN analytics_turn_mark mark ON mark.ledger = turn.ledger AND mark.turn = turn.turn"
            }
            Self::Decisions => {
                "approval LEFT JOIN analytics_session who ON who.ledger = approval.ledger AND who.session = approval.session \
                 LEFT JOIN analytics_turn_mark mark ON mark.ledger = approval.ledger AND mark.turn = approval.turn"
            }
        }
    }

    /// Dimensions beside those of who it is about.
    const fn own_dimensions(self) -> &'static [Dimension] {
        match self {
            Self::Models | Self::Latency(Measure::Model | Measure::FirstChunk) => &[Dimension::Model],
            Self::Tools | Self::Approvals | Self::Latency(Measure::Tool) => &[Dimension::Tool],
            Self::Latency(Measure::Approval) | Self::Decisions => &[Dimension::Tool, Dimension::Reviewer],
            Self::Turns => &[Dimension::Outcome, Dimension::StopReason],
            Self::Scores => &[Dimension::Score],
            Self::Ingest => &[Dimension::Provenance],
            Self::Latency(_) | Self::Waste => &[],
        }
    }
}

/// How a value is made of the columns of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Formula {
    /// A sum that is known of everything it counts.
    Count(&'static str),
    /// A sum of what was told, by how many, of how many.
    Told {
        value: &'static str,
        known: &'static str,
        of: &'static str,
    },
    /// One sum for each of another.
    Ratio { part: &'static str, of: &'static str },
    /// What sources say that model calls cost.
    Reported,
    /// What the tables of prices say that they cost.
    WorkedOut,
    /// The mean of scores.
    Score,
    /// A duration that a share of all do not exceed.
    Percentile,
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal, $family:expr, $formula:expr, $unit:ident;)*) => {
        /// A figure that can be asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $($(#[doc = $doc])* $name,)* }

        impl Metric {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it is, in words.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// What its values are in.
            pub const fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            pub(super) const fn family(self) -> Family {
                match self { $(Self::$name => $family,)* }
            }

            pub(super) const fn formula(self) -> Formula {
                match self { $(Self::$name => $formula,)* }
            }
        }
    };
}

use Family::{Approvals, Ingest, Latency, Models, Scores, Tools, Turns, Waste};
use Formula::{Count, Percentile, Ratio, Reported, Score, Told, WorkedOut};

metrics! {
    /// Turns that ended, well or not.
    Turns = "TURNS", Turns, Count("ended"), Count;
    /// Turns that were opened.
    TurnsOpened = "TURNS_OPENED", Turns, Count("opened"), Count;
    /// Attempts at turns that failed, whether another one followed or not.
    AttemptsFailed = "ATTEMPTS_FAILED", Turns, Count("attempts_failed"), Count;
    /// Part of the turns that ended whose place a newer message took: what was done for them was in vain.
    SupersededRate = "SUPERSEDED_RATE", Turns,
        Ratio { part: "CASE outcome WHEN 'superseded' THEN ended ELSE 0 END", of: "ended" }, Ratio;
    /// Part of the turns that ended that failed for good.
    FailureRate = "FAILURE_RATE", Turns,
        Ratio { part: "CASE outcome WHEN 'failed' THEN ended ELSE 0 END", of: "ended" }, Ratio;
    /// Messages for each turn that took them together: 1 where none were gathered.
    MessagesPerTurn = "MESSAGES_PER_TURN", Turns, Ratio { part: "sealed_messages", of: "sealed" }, Mean;
    /// How long turns took that were committed or failed. Of turns of lanes that do not say, from when they were opened.
    TurnLatency = "TURN_LATENCY", Latency(Measure::Turn), Percentile, Micros;
    /// How long turns of lanes gathered messages before they took no more.
    GatherWait = "GATHER_WAIT", Latency(Measure::GatherWait), Percentile, Micros;
    /// How long turns of lanes waited for a worker, and behind other turns, before their first attempt.
    QueueWait = "QUEUE_WAIT", Latency(Measure::QueueWait), Percentile, Micros;
    /// Model calls that ended, well or not.
    ModelCalls = "MODEL_CALLS", Models, Count("calls"), Count;
    /// Model calls that failed.
    ModelErrors = "MODEL_ERRORS", Models, Count("errors"), Count;
    /// Part of the model calls that failed.
    ModelErrorRate = "MODEL_ERROR_RATE", Models, Ratio { part: "errors", of: "calls" }, Ratio;
    /// How long model calls took.
    ModelLatency = "MODEL_LATENCY", Latency(Measure::Model), Percentile, Micros;
    /// How long it took until the first chunk of an answer was there.
    FirstChunk = "FIRST_CHUNK", Latency(Measure::FirstChunk), Percentile, Micros;
    /// Tokens that models read, those of caches among them.
    InputTokens = "INPUT_TOKENS", Models,
        Told { value: "input_tokens", known: "input_known", of: "calls" }, Tokens;
    /// Tokens that models wrote, those of reasoning among them.
    OutputTokens = "OUTPUT_TOKENS", Models,
        Told { value: "output_tokens", known: "output_known", of: "calls" }, Tokens;
    /// Part of the tokens read that came from a cache.
    CachedTokens = "CACHED_TOKENS", Models,
        Told { value: "cache_read_tokens", known: "cache_read_known", of: "calls" }, Tokens;
    /// Part of the tokens read that went into a cache.
    CacheWrittenTokens = "CACHE_WRITTEN_TOKENS", Models,
        Told { value: "cache_creation_tokens", known: "cache_creation_known", of: "calls" }, Tokens;
    /// Part of the tokens written that was reasoning.
    ReasoningTokens = "REASONING_TOKENS", Models,
        Told { value: "reasoning_tokens", known: "reasoning_known", of: "calls" }, Tokens;
    /// What model calls cost, as whoever recorded them says. One row for each currency.
    Cost = "COST", Models, Reported, Money;
    /// What model calls cost by the table of prices that held, from their tokens. One row for each currency.
    CostByPrices = "COST_BY_PRICES", Models, WorkedOut, Money;
    /// Tokens that models read for turns whose place a newer message took, by when it took it.
    WastedInputTokens = "WASTED_INPUT_TOKENS", Waste,
        Told { value: "turn.input_tokens", known: "turn.input_known", of: "turn.llm_calls" }, Tokens;
    /// Tokens that models wrote for such turns.
    WastedOutputTokens = "WASTED_OUTPUT_TOKENS", Waste,
        Told { value: "turn.output_tokens", known: "turn.output_known", of: "turn.llm_calls" }, Tokens;
    /// What the model calls of such turns cost, as whoever recorded them says. One row for each currency.
    WastedCost = "WASTED_COST", Waste, Reported, Money;
    /// Tool calls that were asked for.
    ToolCalls = "TOOL_CALLS", Tools, Count("calls"), Count;
    /// Tool calls that failed.
    ToolErrors = "TOOL_ERRORS", Tools, Count("errors"), Count;
    /// Part of the tool calls with an answer that failed.
    ToolErrorRate = "TOOL_ERROR_RATE", Tools, Ratio { part: "errors", of: "(results + errors)" }, Ratio;
    /// Starts of tool calls that were not the first.
    ToolRetries = "TOOL_RETRIES", Tools, Count("retries"), Count;
    /// Times that nobody could say whether a tool call happened.
    ToolOutcomesUnknown = "TOOL_OUTCOMES_UNKNOWN", Tools, Count("unknowns"), Count;
    /// Tool calls that were asked for and did not run: denied, withdrawn, or given up before they started.
    ToolCallsNotExecuted = "TOOL_CALLS_NOT_EXECUTED", Tools, Count("not_executed"), Count;
    /// Tool calls whose effect on the world nobody classified, and which count as irreversible.
    ToolCallsUnclassified = "TOOL_CALLS_UNCLASSIFIED", Tools, Count("unclassified"), Count;
    /// How long tool calls took. Of calls of lanes that do not say, from their last start.
    ToolLatency = "TOOL_LATENCY", Latency(Measure::Tool), Percentile, Micros;
    /// Requests for approval.
    ApprovalsRequested = "APPROVALS_REQUESTED", Approvals, Count("requested"), Count;
    /// Requests that people agreed to.
    ApprovalsGranted = "APPROVALS_GRANTED", Approvals, Count("approved"), Count;
    /// Requests that somebody said no to.
    ApprovalsDenied = "APPROVALS_DENIED", Approvals, Count("rejected"), Count;
    /// Requests that nobody decided in time.
    ApprovalsExpired = "APPROVALS_EXPIRED", Approvals, Count("expired"), Count;
    /// Part of the decisions that was no.
    ApprovalDenialRate = "APPROVAL_DENIAL_RATE", Approvals,
        Ratio { part: "rejected", of: "(approved + rejected)" }, Ratio;
    /// Part of the requests that ended by decision or by time that nobody decided in time.
    ApprovalExpiryRate = "APPROVAL_EXPIRY_RATE", Approvals,
        Ratio { part: "expired", of: "(approved + rejected + expired)" }, Ratio;
    /// Part of the decisions that were made within two seconds, in which nobody reads what is asked.
    QuickDecisionRate = "QUICK_DECISION_RATE", Latency(Measure::Approval),
        Ratio { part: "CASE WHEN bin BETWEEN 0 AND 540 THEN n ELSE 0 END", of: "CASE WHEN bin >= 0 THEN n ELSE 0 END" },
        Ratio;
    /// How long people took to decide.
    ApprovalLatency = "APPROVAL_LATENCY", Latency(Measure::Approval), Percentile, Micros;
    /// The mean of scores. Scores of different names mean different things: group by them, or filter by one.
    ScoreMean = "SCORE_MEAN", Scores, Score, Mean;
    /// Events that the ledger took, by when it took them.
    Events = "EVENTS", Ingest, Count("events"), Count;
    /// Events that the ledger took more than a minute after they happened, imported ones aside.
    EventsLate = "EVENTS_LATE", Ingest, Count("late"), Count;
    /// Times that a source skipped something.
    IngestGaps = "INGEST_GAPS", Ingest, Count("gaps"), Count;
    /// Spans of telemetry that fit no event type.
    SpansUnclassified = "SPANS_UNCLASSIFIED", Ingest, Count("unclassified"), Count;
}

impl Metric {
    /// The read models that it is made of, the first of them above all.
    pub const fn read_models(self) -> &'static [&'static str] {
        match self.family() {
            Family::Waste => &["analytics", "turns"],
            Family::Latency(Measure::Approval) => &["analytics", "approvals"],
            _ => &["analytics"],
        }
    }

    /// The dimensions that it can be grouped and filtered by.
    pub fn dimensions(self) -> Vec<Dimension> {
        let of_someone: &[Dimension] = match self.family() {
            Family::Ingest => &[],
            _ => &[
                Dimension::Agent,
                Dimension::Channel,
                Dimension::Scenario,
                Dimension::Config,
            ],
        };
        [of_someone, self.family().own_dimensions()].concat()
    }
}

impl std::str::FromStr for Metric {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .copied()
            .find(|metric| metric.name() == text)
            .ok_or(())
    }
}
