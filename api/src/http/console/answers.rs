//! What a page shows, asked of the read models by the functions that answer the field `analytics`.

use http::StatusCode;
use ruche_domain::ids::LedgerId;
use ruche_projections::analytics::{self, AnalyticsError, Bucket, Dimension, Figure, Metric, Question, Row};
use ruche_projections::runner::Lag;
use ruche_projections::store::ReadStore;

use super::super::Refusal;
use super::asked::{Asked, FILTERS};
use crate::error_codes as code;
use crate::limits::{CHART_ROWS_MAX, CHOICES_MAX};
use crate::services::Services;

/// The shares of turns whose latency is shown, in thousandths.
pub(super) const SHARES: [(i64, &str); 3] = [(500, "p50"), (950, "p95"), (990, "p99")];
/// The one that stands for them above the charts.
const SHARE_SHOWN: i64 = 950;
const PER_MILLE_NONE: i64 = 0;

/// A figure of the whole time, and of as long a time before.
pub(super) struct Total {
    pub metric: Metric,
    /// One row, or one for each currency.
    pub rows: Vec<(Row, Option<Figure>)>,
}

/// The values of a dimension that can be chosen; `None` if they are too many.
pub(super) type Choices = Option<Vec<String>>;

/// All that a page shows.
pub(super) struct Answers {
    pub totals: Vec<Total>,
    pub cost: Vec<Row>,
    /// In the order of [`SHARES`].
    pub latency: [Vec<Row>; 3],
    pub outcomes: Vec<Row>,
    pub tool_errors: Vec<Row>,
    /// In the order of [`FILTERS`].
    pub choices: Vec<Choices>,
    /// How far the figures are.
    pub lag: Option<Lag>,
    /// Where there is something to see, if not here: the first and the last time, µs.
    pub elsewhere: Option<(i64, i64)>,
}

impl Answers {
    /// Whether the charts have nothing to show.
    fn is_empty(&self) -> bool {
        let charts = [&self.cost, &self.latency[0], &self.outcomes, &self.tool_errors];
        charts.iter().all(|rows| rows.is_empty())
    }
}

struct Asking<'a> {
    store: &'a dyn ReadStore,
    ledger: LedgerId,
    asked: &'a Asked,
}

/// Asks for all that a page shows.
///
/// # Errors
/// `QUERY_LIMIT_EXCEEDED` where a chart would have too many rows, `INVALID_ARGUMENT`, and those of failing stores.
pub(super) async fn find(services: &Services, ledger: LedgerId, asked: &Asked) -> Result<Answers, Refusal> {
    let lags = services.runner.lag(ledger).await.map_err(|error| {
        tracing::warn!(error = %crate::error::chain(&error), "how far the read models are is not known");
        Refusal::unavailable("the read models are not available")
    })?;
    let asking = Asking {
        store: services.runner.store().as_ref(),
        ledger,
        asked,
    };
    let mut answers = Answers {
        totals: asking.totals().await?,
        cost: asking
            .rows(asked.cost_metric(), &[Dimension::Model], PER_MILLE_NONE)
            .await?,
        latency: [
            asking.rows(Metric::TurnLatency, &[], SHARES[0].0).await?,
            asking.rows(Metric::TurnLatency, &[], SHARES[1].0).await?,
            asking.rows(Metric::TurnLatency, &[], SHARES[2].0).await?,
        ],
        outcomes: asking
            .rows(Metric::Turns, &[Dimension::Outcome], PER_MILLE_NONE)
            .await?,
        tool_errors: asking.rows(Metric::ToolErrorRate, &[], PER_MILLE_NONE).await?,
        choices: asking.choices().await?,
        lag: lags.into_iter().find(|lag| lag.projection == "analytics"),
        elsewhere: None,
    };
    if answers.is_empty() {
        let now = i64::try_from(services.clock.now().0).unwrap_or(i64::MAX);
        answers.elsewhere = asking.elsewhere(now).await?;
    }
    Ok(answers)
}

impl Asking<'_> {
    /// The rows of a chart.
    async fn rows(&self, metric: Metric, by: &[Dimension], per_mille: i64) -> Result<Vec<Row>, Refusal> {
        let question = self.asked.question(metric, by, per_mille);
        let rows = analytics::rows(self.store, self.ledger, &question)
            .await
            .map_err(refusal)?;
        if rows.len() <= CHART_ROWS_MAX {
            return Ok(rows);
        }
        let (has, name) = (rows.len(), metric.name());
        let message = format!(
            "{name} has {has} rows, and a chart {CHART_ROWS_MAX} at most: filter, choose longer steps, or less time"
        );
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            code::QUERY_LIMIT_EXCEEDED,
            message,
        ))
    }

    async fn totals(&self) -> Result<Vec<Total>, Refusal> {
        let metrics = [
            self.asked.cost_metric(),
            Metric::Turns,
            Metric::TurnLatency,
            Metric::ToolErrorRate,
        ];
        let mut totals = Vec::new();
        for metric in metrics {
            let question = Question {
                bucket: None,
                ..self.asked.question(metric, &[], SHARE_SHOWN)
            };
            let rows = analytics::compared(self.store, self.ledger, &question, self.asked.before()).await;
            let rows = rows.map_err(refusal)?;
            totals.push(Total { metric, rows });
        }
        Ok(totals)
    }

    /// The values that were there in this time, whatever is filtered.
    async fn choices(&self) -> Result<Vec<Choices>, Refusal> {
        let mut choices = Vec::new();
        for (dimension, _) in FILTERS {
            let metric = match dimension {
                Dimension::Model => Metric::ModelCalls,
                _ => Metric::Turns,
            };
            let question = Question {
                bucket: None,
                filter: vec![],
                ..self.asked.question(metric, &[dimension], PER_MILLE_NONE)
            };
            let rows = match analytics::rows(self.store, self.ledger, &question).await {
                Ok(rows) => rows,
                Err(AnalyticsError::TooMany(_)) => {
                    choices.push(None);
                    continue;
                }
                Err(error) => return Err(refusal(error)),
            };
            let values = rows
                .into_iter()
                .flat_map(|row| row.key)
                .filter(|value| !value.is_empty());
            let values: Vec<String> = values.collect();
            choices.push((values.len() <= CHOICES_MAX).then_some(values));
        }
        Ok(choices)
    }

    /// The first and the last week with a turn or a model call, of all of the time until now.
    async fn elsewhere(&self, now: i64) -> Result<Option<(i64, i64)>, Refusal> {
        let week = Bucket::Week;
        let (from, to) = (
            week.start(7 * Bucket::Day.width_us()),
            week.start(now) + week.width_us(),
        );
        let mut found: Option<(i64, i64)> = None;
        for metric in [Metric::Turns, Metric::ModelCalls] {
            let question = Question {
                bucket: Some(week),
                from,
                to,
                ..self.asked.question(metric, &[], PER_MILLE_NONE)
            };
            let rows = analytics::rows(self.store, self.ledger, &question)
                .await
                .map_err(refusal)?;
            for at in rows.iter().filter_map(|row| row.bucket) {
                found = Some(found.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            }
        }
        Ok(found.map(|(first, last)| (first, last + week.width_us())))
    }
}

fn refusal(error: AnalyticsError) -> Refusal {
    let words = error.to_string();
    match error {
        AnalyticsError::Invalid { .. } => {
            Refusal::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENT, words)
        }
        AnalyticsError::TooMany(_) => {
            Refusal::new(StatusCode::BAD_REQUEST, code::QUERY_LIMIT_EXCEEDED, words)
        }
        AnalyticsError::Store(error) => Refusal::of_read_store(&error),
    }
}
