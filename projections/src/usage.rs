//! Read model: what was used and how it came out, per day, agent, model and tool.
//!
//! Each event is counted once, in the row of its day (UTC, by when it happened), of its session's agent, of its model
//! if it is about a model call and of its tool if it is about a tool call. So sums over any of these are exact, and
//! rows without a model or tool hold the rest. An agent is known from the start of its session on; a tool from its
//! proposal on, because answers need not name it. What another session says of a call has no part in that.
//!
//! Outcomes are kept per turn, not per day: a turn uses several models and tools and is counted under each of them.

use std::sync::LazyLock;

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::LedgerId;

use crate::bounds;
use crate::change::{About, Add, Change, SqlValue};
use crate::counter::{Counter, KeyColumn, Upsert};
use crate::event::ProjectedEvent;
use crate::money::Money;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};
use crate::tally::{self, CostTotal, Tally};

/// Tables of this read model.
pub const TABLES: &[&str] = &[
    "usage_session",
    "usage_call",
    "usage_day",
    "usage_cost",
    "turn_outcome",
    "turn_use",
];

/// Kinds of `turn_use`.
const MODEL_USE: &str = "model";
const TOOL_USE: &str = "tool";

const DAY_US: i64 = 86_400_000_000;

const SESSION: &str = "INSERT INTO usage_session (ledger, session, agent) VALUES ($1, $2, $3) \
    ON CONFLICT (ledger, session) DO UPDATE SET agent = excluded.agent";
const CALL: &str = "INSERT INTO usage_call (ledger, session, call, tool) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, session, call) DO UPDATE SET tool = excluded.tool";
const USE: &str = "INSERT INTO turn_use (ledger, session, turn, kind, name) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (ledger, session, turn, kind, name) DO NOTHING";
/// A turn comes out once; should a second end of it be recorded, the last one counts.
const OUTCOME: &str = "INSERT INTO turn_outcome (ledger, session, turn, day, agent, outcome, duration_us) \
    VALUES ($1, $2, $3, $4, COALESCE((SELECT s.agent FROM usage_session s WHERE s.ledger = $1 AND s.session = $2), ''), \
    $5, $6) ON CONFLICT (ledger, session, turn) DO UPDATE SET day = excluded.day, agent = excluded.agent, \
    outcome = excluded.outcome, duration_us = excluded.duration_us";

const AGENT: KeyColumn = KeyColumn::Lookup(
    "agent",
    "COALESCE((SELECT s.agent FROM usage_session s WHERE s.ledger = ? AND s.session = ?), '')",
);
const TOOL: KeyColumn = KeyColumn::Lookup(
    "tool",
    "COALESCE((SELECT c.tool FROM usage_call c WHERE c.ledger = ? AND c.session = ? AND c.call = ?), ?)",
);

static USED: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "usage_day",
        key: &[
            KeyColumn::Param("ledger"),
            KeyColumn::Param("day"),
            AGENT,
            KeyColumn::Param("model"),
            TOOL,
        ],
        first: &[],
        of_turn: false,
        last: &[],
        sums: [tally::COLUMNS, &[]],
        money: false,
        also: "",
    }
    .upsert()
});

static COST: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "usage_cost",
        key: &[
            KeyColumn::Param("ledger"),
            KeyColumn::Param("day"),
            AGENT,
            KeyColumn::Param("model"),
            KeyColumn::Param("currency"),
        ],
        first: &[],
        of_turn: false,
        last: &[],
        sums: [&["costs"], &[]],
        money: true,
        also: "",
    }
    .upsert()
});

/// The projection.
pub struct UsageAndOutcome;

impl Projection for UsageAndOutcome {
    fn name(&self) -> &'static str {
        "usage"
    }

    fn version(&self) -> u32 {
        5
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let Some(session) = event.header().session else {
            return Ok(vec![]);
        };
        let ledger = SqlValue::Id(event.ledger_key());
        let session = *session.as_bytes();
        let call = event.header().call.map(|call| *call.as_bytes());
        let tally = Tally::of(event)?;
        let mut changes = Vec::with_capacity(2);
        changes.extend(known(event, &ledger, session, call)?);

        let mut key = vec![ledger.clone(), (event.occurred_at()? / DAY_US).into()];
        key.extend([ledger.clone(), session.into()]);
        let add = |about: Vec<[u8; 16]>,
                   upsert: &'static Upsert,
                   key: Vec<SqlValue>,
                   sums: Vec<i64>,
                   money: Option<Money>| {
            Change::Add(Box::new(Add {
                about,
                upsert,
                key,
                first: vec![],
                last: vec![],
                sums,
                money,
                owner: None,
            }))
        };
        let model = model(event)?;
        if let Some((currency, amount)) = tally::cost_of(event)? {
            let mut key = key.clone();
            key.extend([model.clone().into(), currency.into()]);
            changes.push(add(vec![session], &COST, key, vec![1], Some(amount)));
        }
        if let Some(turn) = event.header().turn {
            changes.extend(of_turn(event, session, *turn.as_bytes(), &tally)?);
        }
        key.extend([
            model.into(),
            ledger,
            session.into(),
            call.into(),
            tool(event)?.into(),
        ]);
        let about = [Some(session), call].into_iter().flatten().collect();
        changes.push(add(about, &USED, key, tally.values(), None));
        Ok(changes)
    }
}

/// What later events need to know of this one.
fn known(
    event: &ProjectedEvent,
    ledger: &SqlValue,
    session: [u8; 16],
    call: Option<[u8; 16]>,
) -> Result<Option<Change>, PoisonReason> {
    Ok(match (event.agent()?, call) {
        (Some(AgentEvent::SessionStarted(s)), _) => {
            let agent = bounds::key(s.agent_id.as_ref()).unwrap_or_default();
            let params = vec![ledger.clone(), session.into(), agent.into()];
            Some(Change::about(&session, SESSION, params))
        }
        (Some(AgentEvent::ToolProposed(t)), Some(call)) => {
            let params = vec![
                ledger.clone(),
                session.into(),
                call.into(),
                bounds::name(&t.name).into_owned().into(),
            ];
            Some(Change::about(&call, CALL, params))
        }
        _ => None,
    })
}

/// What a turn used, and how it came out.
fn of_turn(
    event: &ProjectedEvent,
    session: [u8; 16],
    turn: [u8; 16],
    tally: &Tally,
) -> Result<Option<Change>, PoisonReason> {
    let mut params: Vec<SqlValue> = vec![event.ledger_key().into(), session.into(), turn.into()];
    if let Some(outcome) = outcome(event)? {
        let duration = (tally.turn_durations > 0).then_some(tally.turn_duration_us);
        params.extend([
            (event.occurred_at()? / DAY_US).into(),
            outcome.into(),
            duration.into(),
        ]);
        return Ok(Some(Change::of(About::OneGiven(turn, session), OUTCOME, params)));
    }
    let (kind, name) = match event.agent()? {
        Some(AgentEvent::LlmResponded(_) | AgentEvent::LlmFailed(_)) => (MODEL_USE, model(event)?),
        Some(AgentEvent::ToolProposed(t)) => (TOOL_USE, bounds::name(&t.name).into_owned()),
        _ => return Ok(None),
    };
    // The empty name stands for turns that used none.
    if name.is_empty() {
        return Ok(None);
    }
    params.extend([kind.into(), name.into()]);
    Ok(Some(Change::alone(USE, params)))
}

/// The model of a model call, else nothing.
pub(crate) fn model(event: &ProjectedEvent) -> Result<String, PoisonReason> {
    let model = match event.agent()? {
        Some(AgentEvent::LlmRequested(l)) => Some(&l.model),
        Some(AgentEvent::LlmResponded(l)) => l.response_model.as_ref().or(l.model.as_ref()),
        Some(AgentEvent::LlmFailed(l)) => l.model.as_ref(),
        Some(AgentEvent::LlmEmbedded(l)) => Some(&l.model),
        _ => None,
    };
    Ok(bounds::key(model).unwrap_or_default())
}

/// The tool that the event names itself, else nothing.
pub(crate) fn tool(event: &ProjectedEvent) -> Result<String, PoisonReason> {
    let tool = match event.agent()? {
        Some(AgentEvent::ToolProposed(t)) => Some(&t.name),
        Some(AgentEvent::ToolStarted(t)) => Some(&t.name),
        Some(AgentEvent::ToolCompleted(t)) => t.name.as_ref(),
        Some(AgentEvent::ToolFailed(t)) => t.name.as_ref(),
        _ => None,
    };
    Ok(bounds::key(tool).unwrap_or_default())
}

/// How a turn came out: the category of a committed one, `unspecified` if the source does not say, else how it ended.
pub(crate) fn outcome(event: &ProjectedEvent) -> Result<Option<&'static str>, PoisonReason> {
    Ok(match (event.agent()?, event.event_type()) {
        (Some(AgentEvent::TurnCommitted(t)), _) => {
            Some(t.outcome_category.map_or("unspecified", |outcome| outcome.name()))
        }
        (None, "turn.committed") => Some("unspecified"),
        (_, "turn.failed") => Some("failed"),
        (_, "turn.superseded") => Some("superseded"),
        (_, "turn.cancelled") => Some("cancelled"),
        _ => None,
    })
}

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The day, UTC.
    Day,
    /// The agent.
    Agent,
    /// The model.
    Model,
    /// The tool.
    Tool,
}

impl Dimension {
    const fn column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Tool => "tool",
        }
    }

    /// The same in the join of [`outcomes`].
    const fn outcome_column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Model => "COALESCE(model_use.name, '')",
            Self::Tool => "COALESCE(tool_use.name, '')",
        }
    }
}

/// Which rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on: days since 1970-01-01.
    pub from_day: Option<i64>,
    /// Before this day.
    pub before_day: Option<i64>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// Of this tool. Model calls have no tool, so costs are left out where one is given.
    pub tool: Option<String>,
}

impl UsageFilter {
    fn days(&self, select: Select) -> Select {
        select
            .and_if("day >= ", self.from_day)
            .and_if("day < ", self.before_day)
            .and_if("agent = ", bounds::key(self.agent.as_ref()))
    }
}

/// Values of the dimensions of a row. Empty text is what has no agent, is no model call, or no tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// Days since 1970-01-01.
    pub day: Option<i64>,
    /// Agent.
    pub agent: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Tool.
    pub tool: Option<String>,
}

/// One row of an analysis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// What it is about; dimensions that were not asked for are absent.
    pub key: UsageKey,
    /// What happened, counted.
    pub tally: Tally,
    /// What its model calls cost, by currency. Costs have no tool: they stand in the row of the empty tool.
    pub costs: Vec<CostTotal>,
}

fn read_key(dimensions: &[Dimension], fields: &mut Fields) -> Result<UsageKey, ReadStoreError> {
    let mut key = UsageKey::default();
    for dimension in dimensions {
        match dimension {
            Dimension::Day => key.day = Some(fields.int()?),
            Dimension::Agent => key.agent = Some(fields.text()?),
            Dimension::Model => key.model = Some(fields.text()?),
            Dimension::Tool => key.tool = Some(fields.text()?),
        }
    }
    Ok(key)
}

/// Exact sums by the given dimensions, in the order of their values.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn by(
    store: &dyn ReadStore,
    ledger: LedgerId,
    dimensions: &[Dimension],
    filter: &UsageFilter,
) -> Result<Vec<UsageRow>, ReadStoreError> {
    let mut dimensions = dimensions.to_vec();
    dimensions.sort_unstable();
    dimensions.dedup();
    let columns: Vec<&str> = dimensions.iter().map(|d| d.column()).collect();
    let sums = tally::COLUMNS
        .iter()
        .map(|c| format!("COALESCE(CAST(SUM({c}) AS BIGINT), 0)"));
    let selected: Vec<String> = columns.iter().map(|c| (*c).to_owned()).chain(sums).collect();
    let select = filter
        .days(Select::of(&selected.join(", "), "usage_day", ledger))
        .and_if("model = ", bounds::key(filter.model.as_ref()))
        .and_if("tool = ", bounds::key(filter.tool.as_ref()));
    let select = if columns.is_empty() {
        select
    } else {
        let columns = columns.join(", ");
        select.text(&format!(" GROUP BY {columns} ORDER BY {columns}"))
    };
    let mut rows = Vec::new();
    for row in select.rows(store).await? {
        let fields = &mut Fields::new(row);
        let key = read_key(&dimensions, fields)?;
        rows.push(UsageRow {
            key,
            tally: Tally::read(fields)?,
            costs: Vec::new(),
        });
    }
    if filter.tool.is_none() {
        attach_costs(store, ledger, &dimensions, filter, &mut rows).await?;
    }
    Ok(rows)
}

async fn attach_costs(
    store: &dyn ReadStore,
    ledger: LedgerId,
    dimensions: &[Dimension],
    filter: &UsageFilter,
    rows: &mut [UsageRow],
) -> Result<(), ReadStoreError> {
    let kept: Vec<Dimension> = dimensions
        .iter()
        .copied()
        .filter(|d| *d != Dimension::Tool)
        .collect();
    let mut columns: Vec<&str> = kept.iter().map(|d| d.column()).collect();
    columns.push("currency");
    let columns = columns.join(", ");
    // Rests are summed in two parts, so that no sum of theirs passes 2^63 below nine billion rows.
    let sums = "CAST(SUM(cost_units) AS BIGINT), CAST(SUM(cost_nanos) AS BIGINT), \
        CAST(SUM(cost_rest / 1000000000) AS BIGINT), \
        CAST(SUM(cost_rest % 1000000000) AS BIGINT), CAST(SUM(costs) AS BIGINT)";
    let select = filter
        .days(Select::of(&format!("{columns}, {sums}"), "usage_cost", ledger))
        .and_if("model = ", bounds::key(filter.model.as_ref()))
        .text(&format!(" GROUP BY {columns} ORDER BY {columns}"));
    let by_tool = dimensions.contains(&Dimension::Tool);
    for row in select.rows(store).await? {
        let fields = &mut Fields::new(row);
        let mut key = read_key(&kept, fields)?;
        key.tool = by_tool.then(String::new);
        let currency = fields.text()?;
        let amount = Money::of_sums(fields.int()?, fields.int()?, fields.int()?, fields.int()?);
        let cost = CostTotal {
            currency,
            amount,
            known: fields.int()?,
        };
        // Every cost was counted in the same transaction as its event, so its row is there.
        if let Some(row) = rows.iter_mut().find(|row| row.key == key) {
            row.costs.push(cost);
        }
    }
    Ok(())
}

/// Turns that came out the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// What they have in common; dimensions that were not asked for are absent.
    pub key: UsageKey,
    /// A category of committed turns, `unspecified`, `failed`, `superseded` or `cancelled`.
    pub outcome: String,
    /// How many turns.
    pub turns: u64,
    /// Duration of those whose duration is known, µs.
    pub duration_us: u64,
    /// How many those are.
    pub durations: u64,
}

/// Outcomes of turns by the given dimensions. A turn stands under each model that it used (a model call of it ended)
/// and each tool that it called, so turns of different models or tools must not be added up; the empty name holds those
/// that used none. All conditions of the filter hold.
///
/// # Errors
/// Those of the store.
pub async fn outcomes(
    store: &dyn ReadStore,
    ledger: LedgerId,
    dimensions: &[Dimension],
    filter: &UsageFilter,
) -> Result<Vec<OutcomeRow>, ReadStoreError> {
    let mut dimensions = dimensions.to_vec();
    dimensions.sort_unstable();
    dimensions.dedup();
    let mut columns: Vec<&str> = dimensions.iter().map(|d| d.outcome_column()).collect();
    columns.push("outcome");
    let mut table = "turn_outcome".to_owned();
    let uses = [
        (Dimension::Model, MODEL_USE, &filter.model),
        (Dimension::Tool, TOOL_USE, &filter.tool),
    ];
    for (dimension, kind, name) in uses {
        if dimensions.contains(&dimension) || name.is_some() {
            table.push_str(&format!(
                " LEFT JOIN turn_use {kind}_use ON {kind}_use.ledger = turn_outcome.ledger \
                AND {kind}_use.session = turn_outcome.session AND {kind}_use.turn = turn_outcome.turn \
                AND {kind}_use.kind = '{kind}'"
            ));
        }
    }
    // A turn names a model or tool once, so a condition on the name leaves one row of each turn.
    let sums = "COUNT(*), COALESCE(CAST(SUM(duration_us) AS BIGINT), 0), COUNT(duration_us)";
    let columns = columns.join(", ");
    let select = filter
        .days(Select::of(&format!("{columns}, {sums}"), &table, ledger))
        .and_if(
            "COALESCE(model_use.name, '') = ",
            bounds::key(filter.model.as_ref()),
        )
        .and_if(
            "COALESCE(tool_use.name, '') = ",
            bounds::key(filter.tool.as_ref()),
        )
        .text(&format!(" GROUP BY {columns} ORDER BY {columns}"));
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok(OutcomeRow {
            key: read_key(&dimensions, fields)?,
            outcome: fields.text()?,
            turns: fields.count()?,
            duration_us: fields.count()?,
            durations: fields.count()?,
        })
    };
    select.rows(store).await?.into_iter().map(read).collect()
}
