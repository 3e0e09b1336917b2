//! The field `analytics`: one figure, by dimensions and time.

use async_graphql::{Context, ErrorExtensions as _, InputObject, Result, SimpleObject};
use ruche_domain::numbers::Micros;
use ruche_projections::analytics::{self, AnalyticsError, Figure, Question};

use super::errors::fault;
use super::read::{Reading, of_read_store};
use super::scalars::{DateTime, Long, PositionScalar};
use super::words::{AnalyticsBucket, AnalyticsDimension, AnalyticsMetric, AnalyticsUnit};
use crate::error_codes as code;

/// The share of durations that does not exceed the value, where none is asked for.
const PERCENTILE_DEFAULT: f64 = 95.0;

/// Only what has these values; all conditions have to hold. Empty text is what has none.
#[derive(InputObject, Clone, Default)]
pub(super) struct AnalyticsFilter {
    /// Agent of the session.
    agent: Option<String>,
    /// Channel of the session.
    channel: Option<String>,
    /// Scenario of the session.
    scenario: Option<String>,
    /// Configuration that the turn ran with: its SHA-256.
    config: Option<String>,
    /// Model.
    model: Option<String>,
    /// Tool.
    tool: Option<String>,
    /// How a turn came out.
    outcome: Option<String>,
    /// Why a turn failed: the word of whoever ran it.
    stop_reason: Option<String>,
    /// Name of a score.
    score: Option<String>,
    /// What events are worth as evidence.
    provenance: Option<String>,
    /// Who decided, as the key is registered.
    reviewer: Option<String>,
}

impl AnalyticsFilter {
    fn conditions(self) -> Vec<(analytics::Dimension, String)> {
        use analytics::Dimension::{
            Agent, Channel, Config, Model, Outcome, Provenance, Reviewer, Scenario, Score, StopReason, Tool,
        };
        let all = [
            (Agent, self.agent),
            (Channel, self.channel),
            (Scenario, self.scenario),
            (Config, self.config),
            (Model, self.model),
            (Tool, self.tool),
            (Outcome, self.outcome),
            (StopReason, self.stop_reason),
            (Score, self.score),
            (Provenance, self.provenance),
            (Reviewer, self.reviewer),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(dimension, value)| Some((dimension, value?)))
            .collect()
    }
}

/// A time from its start until before its end.
#[derive(InputObject, Clone, Copy)]
pub(super) struct Period {
    /// From this time on.
    pub from: DateTime,
    /// Before this time.
    pub to: DateTime,
}

/// What is asked.
pub(super) struct Asked {
    pub metric: AnalyticsMetric,
    pub group_by: Vec<AnalyticsDimension>,
    pub bucket: Option<AnalyticsBucket>,
    pub period: Period,
    pub filter: AnalyticsFilter,
    pub percentile: Option<f64>,
    pub compare_to: Option<Period>,
    pub min_position: Option<PositionScalar>,
}

impl Asked {
    /// The same for the read model.
    pub fn question(&self) -> Question {
        let percentile = self.percentile.unwrap_or(PERCENTILE_DEFAULT);
        Question {
            metric: self.metric.into(),
            group_by: self.group_by.iter().copied().map(Into::into).collect(),
            bucket: self.bucket.map(Into::into),
            from: column(self.period.from),
            to: column(self.period.to),
            filter: self.filter.clone().conditions(),
            per_mille: (percentile * 10.0).round() as i64,
        }
    }

    /// The time that it is compared to.
    pub fn other(&self) -> Option<(i64, i64)> {
        self.compare_to
            .map(|period| (column(period.from), column(period.to)))
    }
}

/// A figure by dimensions and time.
#[derive(SimpleObject)]
pub(super) struct Analytics {
    /// The figure.
    metric: AnalyticsMetric,
    /// What it is, in words.
    description: &'static str,
    /// What its values are in.
    unit: AnalyticsUnit,
    /// The dimensions that it can be grouped and filtered by.
    dimensions: Vec<AnalyticsDimension>,
    /// Rows, in the order of their times and dimensions.
    rows: Vec<AnalyticsRow>,
}

/// A value of a dimension that was grouped by.
#[derive(SimpleObject)]
pub(super) struct AnalyticsKey {
    /// The dimension.
    dimension: AnalyticsDimension,
    /// The value; empty for what has none.
    value: String,
}

/// A value, and how much of what it is about it is known of.
#[derive(SimpleObject)]
pub(super) struct AnalyticsFigure {
    /// Decimal digits, exact save for percentiles, which are right within 1.6 percent, and ratios and means, which are
    /// rounded to six places. Absent where nobody told it, which is not zero.
    value: Option<String>,
    /// Of how many things it is: calls, turns, requests.
    count: Long,
    /// How many of them told it.
    known: Long,
    /// Those of a hundred; absent where there is nothing.
    coverage: Option<f64>,
}

impl From<Figure> for AnalyticsFigure {
    fn from(figure: Figure) -> Self {
        Self {
            coverage: figure.coverage(),
            value: figure.value,
            count: Long(figure.count),
            known: Long(figure.known),
        }
    }
}

/// A row of an analysis.
#[derive(SimpleObject)]
pub(super) struct AnalyticsRow {
    /// Start of its time, UTC; absent if one row is about all of it.
    bucket: Option<DateTime>,
    /// The values of what was grouped by, in that order.
    key: Vec<AnalyticsKey>,
    /// ISO 4217 code, of money.
    currency: Option<String>,
    /// The figure.
    #[graphql(flatten)]
    figure: AnalyticsFigure,
    /// The same figure in the time that it is compared to: of the bucket as far behind the start of that. Absent if
    /// nothing is compared, or nothing was there.
    compared: Option<AnalyticsFigure>,
}

fn time(at: i64) -> DateTime {
    DateTime(Micros(at.cast_unsigned()))
}

/// Times are within those of a calendar, which columns hold.
pub(super) fn column(at: DateTime) -> i64 {
    i64::try_from(at.0.0).unwrap_or(i64::MAX)
}

/// Answers what is asked.
pub(super) async fn answer(ctx: &Context<'_>, asked: Asked) -> Result<Analytics> {
    let metric: analytics::Metric = asked.metric.into();
    let reading = Reading::at(ctx, metric.read_models(), asked.min_position).await?;
    reading.note(&metric.read_models()[1..]);
    let question = asked.question();
    let rows = analytics::compared(reading.store(), reading.ledger, &question, asked.other()).await;
    let rows = rows.map_err(of_analytics)?.into_iter().map(|(row, compared)| {
        let key = asked.group_by.iter().zip(row.key);
        AnalyticsRow {
            bucket: row.bucket.map(time),
            key: key
                .map(|(dimension, value)| AnalyticsKey {
                    dimension: *dimension,
                    value,
                })
                .collect(),
            currency: row.currency,
            figure: row.figure.into(),
            compared: compared.map(Into::into),
        }
    });
    Ok(Analytics {
        metric: asked.metric,
        description: metric.description(),
        unit: metric.unit().into(),
        dimensions: metric.dimensions().into_iter().map(Into::into).collect(),
        rows: rows.collect(),
    })
}

/// What a caller is told of a question without an answer.
pub(super) fn of_analytics(error: AnalyticsError) -> async_graphql::Error {
    match &error {
        AnalyticsError::Invalid { argument, .. } => fault(code::INVALID_ARGUMENT, error.to_string())
            .extend_with(|_, extensions| extensions.set("path", vec![*argument])),
        AnalyticsError::TooMany(_) => fault(code::QUERY_LIMIT_EXCEEDED, error.to_string()),
        AnalyticsError::Store(error) => of_read_store(error),
    }
}
