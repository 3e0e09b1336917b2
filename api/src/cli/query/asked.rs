//! The same answer from a server and from a store.

use ruche_domain::numbers::Micros;
use ruche_projections::analytics::{self, Bucket, Dimension, Figure, Question, Row};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::cli::client::Client;
use crate::cli::{CliError, Common, known_tenant};
use crate::graphql::{format_time, parse_time};
use ruche_domain::ids::LedgerId;

/// An answer, as it is printed.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// What rows are told apart by.
    pub(super) by: Vec<&'static str>,
    #[serde(skip)]
    pub(super) has_buckets: bool,
    #[serde(skip)]
    pub(super) is_compared: bool,
    pub(super) rows: Vec<Line>,
}

/// A row of it.
#[derive(Serialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    /// In the order of `by`.
    pub(super) key: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) currency: Option<String>,
    /// Absent where nobody told it.
    pub(super) value: Option<String>,
    pub(super) known: i64,
    pub(super) count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compared: Option<String>,
}

const QUERY: &str = "query ($m: AnalyticsMetric!, $by: [AnalyticsDimension!], $bucket: AnalyticsBucket, $from: DateTime!,
    $to: DateTime!, $f: AnalyticsFilter, $q: Float, $c: Period) { analytics(metric: $m, groupBy: $by, bucket: $bucket,
    from: $from, to: $to, filter: $f, percentile: $q, compareTo: $c) { rows { bucket key { value } currency value known
    count compared { value } } } }";

impl Answer {
    fn new(question: &Question, is_compared: bool, rows: Vec<Line>) -> Self {
        Self {
            metric: question.metric.name(),
            unit: question.metric.unit().name(),
            by: question
                .group_by
                .iter()
                .map(|dimension| dimension.name())
                .collect(),
            has_buckets: question.bucket.is_some(),
            is_compared,
            rows,
        }
    }

    /// Asks the store itself, whose read models are brought up to date first.
    pub(super) async fn of_store(
        common: &Common,
        tenant: &str,
        question: &Question,
        other: Option<(i64, i64)>,
    ) -> Result<Self, CliError> {
        crate::app::must_exist(common).await?;
        let app = App::open(common, "ruche query").await?;
        let rows = on_app(&app, tenant, question, other).await;
        app.close().await?;
        let lines = rows?.into_iter().map(|(row, compared)| line(row, compared));
        Ok(Self::new(question, other.is_some(), lines.collect()))
    }

    /// Asks a server.
    pub(super) async fn of_server(
        server: &str,
        key: &str,
        question: &Question,
        other: Option<(i64, i64)>,
    ) -> Result<Self, CliError> {
        let period = |(from, to): (i64, i64)| json!({ "from": time(from), "to": time(to) });
        let filter = question.filter.iter();
        let filter = filter.map(|(dimension, value)| (field(*dimension).to_owned(), json!(value)));
        let by: Vec<_> = question
            .group_by
            .iter()
            .map(|dimension| dimension.name())
            .collect();
        let variables = json!({
            "m": question.metric.name(),
            "by": by,
            "bucket": question.bucket.map(Bucket::name),
            "from": time(question.from),
            "to": time(question.to),
            "f": filter.collect::<Map<_, _>>(),
            "q": question.per_mille as f64 / 10.0,
            "c": other.map(period),
        });
        let answer = Client::with(server, key)?.ask(QUERY, variables).await?;
        let rows = answer["analytics"]["rows"].as_array();
        let unread = || CliError::Failed("the server's answer is none of this program's".to_owned());
        let lines: Option<Vec<Line>> = rows.ok_or_else(unread)?.iter().map(read).collect();
        Ok(Self::new(question, other.is_some(), lines.ok_or_else(unread)?))
    }
}

async fn on_app(
    app: &App,
    tenant: &str,
    question: &Question,
    other: Option<(i64, i64)>,
) -> Result<Vec<(Row, Option<Figure>)>, CliError> {
    let ledger = LedgerId::main_of(known_tenant(app, tenant).await?);
    app.catch_up(ledger).await?;
    let rows = analytics::compared(app.runner.store().as_ref(), ledger, question, other).await;
    rows.map_err(|error| match error {
        analytics::AnalyticsError::Store(error) => CliError::Failed(error.to_string()),
        analytics::AnalyticsError::Invalid { argument, message } => {
            CliError::Usage(format!("{} {message}", super::arguments::flag(argument)))
        }
        told @ analytics::AnalyticsError::TooMany(_) => CliError::Usage(told.to_string()),
    })
}

pub(super) fn time(at: i64) -> String {
    format_time(Micros(at.cast_unsigned()))
}

/// Whole seconds are enough for the start of a bucket.
fn bucket(at: Micros) -> String {
    at.to_rfc3339()
}

fn line(row: Row, compared: Option<Figure>) -> Line {
    Line {
        bucket: row.bucket.map(|at| bucket(Micros(at.cast_unsigned()))),
        key: row.key,
        currency: row.currency,
        value: row.figure.value,
        known: row.figure.known,
        count: row.figure.count,
        compared: compared.and_then(|figure| figure.value),
    }
}

fn read(row: &Value) -> Option<Line> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |value: &Value| value.as_str()?.parse().ok();
    let start = match row["bucket"].as_str() {
        Some(at) => Some(bucket(parse_time(at)?)),
        None => None,
    };
    Some(Line {
        bucket: start,
        key: row["key"]
            .as_array()?
            .iter()
            .map(|key| text(&key["value"]))
            .collect::<Option<_>>()?,
        currency: text(&row["currency"]),
        value: text(&row["value"]),
        known: number(&row["known"])?,
        count: number(&row["count"])?,
        compared: text(&row["compared"]["value"]),
    })
}

/// The name of a dimension in a filter.
pub(super) const fn field(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Agent => "agent",
        Dimension::Channel => "channel",
        Dimension::Scenario => "scenario",
        Dimension::Config => "config",
        Dimension::Model => "model",
        Dimension::Tool => "tool",
        Dimension::Outcome => "outcome",
        Dimension::StopReason => "stopReason",
        Dimension::Score => "score",
        Dimension::Provenance => "provenance",
        Dimension::Reviewer => "reviewer",
    }
}
