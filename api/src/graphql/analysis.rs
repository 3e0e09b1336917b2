//! Configuration history, usage and outcomes.

use async_graphql::{ID, InputObject, Result, SimpleObject};
use ruche_projections::{configuration, usage};

use super::counts::{Cost, Counts};
use super::errors::fault;
use super::scalars::{DateTime, Hash, Json, Long, PositionScalar};
use super::session::id;
use super::time;
use super::words::ConfigScope;
use crate::error_codes as code;

/// Rows of one analysis at most.
pub(super) const ANALYSIS_ROWS_MAX: usize = 10_000;

/// One change of one configuration value.
#[derive(SimpleObject)]
pub(super) struct ConfigurationChange {
    /// Level.
    scope: ConfigScope,
    /// The client's own id of the agent, channel, scenario or step; absent for the whole tenant.
    scope_id: Option<String>,
    /// Key.
    key: String,
    /// Version of the scope that brought the change, from 1.
    version: Long,
    /// The value; absent if the key was removed.
    value: Option<Json>,
    /// Whether the key was removed.
    removed: bool,
    /// SHA-256 of the whole configuration of the scope at this version.
    digest: Option<Hash>,
    /// Who did it, as the publisher said.
    author: Option<String>,
    /// Who did it, as the key says.
    actor: Option<ID>,
    /// Why.
    reason: Option<String>,
    /// The record.
    position: PositionScalar,
    /// When it was published.
    published_at: DateTime,
}

impl From<configuration::ConfigChange> for ConfigurationChange {
    fn from(change: configuration::ConfigChange) -> Self {
        let value = change.value.as_deref();
        Self {
            scope: change.scope.into(),
            removed: value.is_none(),
            value: value.and_then(|text| serde_json::from_str(text).ok()).map(Json),
            scope_id: Some(change.scope_id).filter(|id| !id.is_empty()),
            key: change.key,
            version: Long::count(change.version),
            digest: change.digest.map(|digest| Hash(digest.0)),
            author: change.author,
            actor: change.actor.map(id),
            reason: change.reason,
            position: PositionScalar(change.position),
            published_at: DateTime(change.published_at),
        }
    }
}

/// Which changes; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct ConfigurationFilter {
    /// Level.
    scope: Option<ConfigScope>,
    /// The client's own id of the agent, channel, scenario or step.
    scope_id: Option<String>,
    /// Key.
    key: Option<String>,
}

impl From<ConfigurationFilter> for configuration::ConfigFilter {
    fn from(filter: ConfigurationFilter) -> Self {
        Self {
            scope: filter.scope.map(Into::into),
            scope_id: filter.scope_id,
            key: filter.key,
        }
    }
}

/// Whose usage; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct UsageFilter {
    /// From the day of this time on, UTC.
    from: Option<DateTime>,
    /// Before the day of this time, UTC.
    before: Option<DateTime>,
    /// Agent.
    agent: Option<String>,
    /// Model.
    model: Option<String>,
    /// Tool. Model calls have no tool, so costs are left out where one is given.
    tool: Option<String>,
}

impl From<UsageFilter> for usage::UsageFilter {
    fn from(filter: UsageFilter) -> Self {
        Self {
            from_day: filter.from.map(|time| time::day_of(time.0)),
            before_day: filter.before.map(|time| time::day_of(time.0)),
            agent: filter.agent,
            model: filter.model,
            tool: filter.tool,
        }
    }
}

/// What happened and what it cost, by the dimensions that were asked for.
#[derive(SimpleObject)]
pub(super) struct UsageRow {
    /// Day, such as `2026-01-31`, UTC.
    day: Option<String>,
    /// Agent; empty for what has none.
    agent: Option<String>,
    /// Model; empty for what is no model call.
    model: Option<String>,
    /// Tool; empty for what is no tool call.
    tool: Option<String>,
    /// What happened, counted.
    counts: Counts,
    /// What model calls cost, by currency.
    costs: Vec<Cost>,
}

impl From<usage::UsageRow> for UsageRow {
    fn from(row: usage::UsageRow) -> Self {
        Self {
            day: row.key.day.map(time::format_day),
            agent: row.key.agent,
            model: row.key.model,
            tool: row.key.tool,
            counts: Counts::from(&row.tally),
            costs: row.costs.into_iter().map(Cost::from).collect(),
        }
    }
}

/// Which turns; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct OutcomeFilter {
    /// Ended from the day of this time on, UTC.
    from: Option<DateTime>,
    /// Ended before the day of this time, UTC.
    before: Option<DateTime>,
    /// Of this agent.
    agent: Option<String>,
    /// That used this model; empty for turns that used none.
    model: Option<String>,
    /// That called this tool; empty for turns that called none.
    tool: Option<String>,
}

impl From<OutcomeFilter> for usage::UsageFilter {
    fn from(filter: OutcomeFilter) -> Self {
        Self {
            from_day: filter.from.map(|time| time::day_of(time.0)),
            before_day: filter.before.map(|time| time::day_of(time.0)),
            agent: filter.agent,
            model: filter.model,
            tool: filter.tool,
        }
    }
}

/// Turns that came out the same way, by the dimensions that were asked for.
#[derive(SimpleObject)]
pub(super) struct OutcomeRow {
    /// Day on which they ended, such as `2026-01-31`, UTC.
    day: Option<String>,
    /// Agent; empty if none is known.
    agent: Option<String>,
    /// Model that they used; empty for turns that used none.
    model: Option<String>,
    /// Tool that they called; empty for turns that called none.
    tool: Option<String>,
    /// A category of committed turns, `unspecified`, `failed`, `superseded` or `cancelled`.
    outcome: String,
    /// How many turns.
    turns: Long,
    /// Mean duration of those whose duration is known, µs.
    duration_mean_us: Option<Long>,
}

impl From<usage::OutcomeRow> for OutcomeRow {
    fn from(row: usage::OutcomeRow) -> Self {
        let mean = row.duration_us.checked_div(row.durations);
        Self {
            day: row.key.day.map(time::format_day),
            agent: row.key.agent,
            model: row.key.model,
            tool: row.key.tool,
            outcome: row.outcome,
            turns: Long::count(row.turns),
            duration_mean_us: mean.map(Long::count),
        }
    }
}

/// Rows that fit an answer.
///
/// # Errors
/// `QUERY_LIMIT_EXCEEDED` if there are more.
pub(super) fn bounded<T, U: From<T>>(rows: Vec<T>) -> Result<Vec<U>> {
    if rows.len() > ANALYSIS_ROWS_MAX {
        let message = format!("more than {ANALYSIS_ROWS_MAX} rows: ask for fewer days or fewer dimensions");
        return Err(fault(code::QUERY_LIMIT_EXCEEDED, message));
    }
    Ok(rows.into_iter().map(U::from).collect())
}
