//! Saved questions of analytics. What is stored is the input `AnalyticsQueryInput` in its own words, without what was left
//! out of it, and it is read again as that input is.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, InputObject, InputType as _, Result, SimpleObject, Value};
use ruche_commands::CommandError;
use ruche_domain::Object;
use ruche_domain::numbers::Micros;
use ruche_projections::analytics::{AnalyticsError, Question, Window};
use ruche_projections::saved_queries;

use super::analytics::{self, Analytics, AnalyticsFilter, Asked, Period, of_analytics};
use super::errors::fault;
use super::ledger::services;
use super::page::Cursor;
use super::read::{self, Reading, of_read_store};
use super::scalars::{DateTime, Json, PositionScalar};
use super::words::{AnalyticsBucket, AnalyticsDimension, AnalyticsMetric};
use crate::error_codes as code;

/// A question of analytics, as `analytics` is asked it. Its time is either fixed, from `from` until before `to`, or the `last`
/// so many seconds before it is asked.
#[derive(InputObject)]
pub(in crate::graphql) struct AnalyticsQueryInput {
    /// The figure.
    metric: AnalyticsMetric,
    /// One row for each combination of these; one row in all if absent.
    group_by: Option<Vec<AnalyticsDimension>>,
    /// And of these times; one row for all of the time if absent.
    bucket: Option<AnalyticsBucket>,
    /// From this time on: a full minute, and the start of a bucket.
    from: Option<DateTime>,
    /// Before this time: a full minute, and the start of a bucket.
    to: Option<DateTime>,
    /// Seconds: so many up to the end of the bucket in which it is asked, and a full number of buckets. Without buckets up to
    /// the end of the day, hour or minute, the longest of which they are a full number.
    last: Option<i32>,
    /// Only what has these values.
    filter: Option<AnalyticsFilter>,
    /// Of durations: the share that does not exceed the value, 0 to 100; 95 if absent.
    percentile: Option<f64>,
    /// Another time, whose figures stand beside those of this one.
    compare_to: Option<Period>,
}

fn object(members: Object) -> serde_json::Value {
    serde_json::Value::Object(members.into_iter().collect())
}

fn invalid(argument: &'static str, message: &str) -> AnalyticsError {
    AnalyticsError::Invalid {
        argument,
        message: message.to_owned(),
    }
}

impl AnalyticsQueryInput {
    /// Reads the words of a stored question.
    ///
    /// # Errors
    /// What this program does not understand of them.
    fn read(words: serde_json::Value) -> std::result::Result<Self, String> {
        let value = Value::from_json(words).map_err(|error| error.to_string())?;
        Self::parse(Some(value))
            .map_err(|error| error.into_server_error(async_graphql::Pos::default()).message)
    }

    /// The words to store: those that were said.
    ///
    /// # Errors
    /// `Internal`: an input is an object, and its scalars are text and finite numbers.
    fn words(&self) -> std::result::Result<Object, CommandError> {
        let words = self.to_value().into_json();
        match words.map_err(|error| CommandError::Internal(error.into()))? {
            serde_json::Value::Object(members) => Ok(said(members).into_iter().collect()),
            other => Err(CommandError::Internal(format!("no object: {other}").into())),
        }
    }

    fn window(&self) -> std::result::Result<Window, AnalyticsError> {
        match (self.from, self.to, self.last) {
            (Some(from), Some(to), None) => Ok(Window::Fixed {
                from: analytics::column(from),
                to: analytics::column(to),
            }),
            (None, None, Some(last)) => Ok(Window::Last(i64::from(last) * 1_000_000)),
            (None, None, None) => Err(invalid("last", "is needed, or `from` and `to`")),
            (_, _, Some(_)) => Err(invalid("last", "is there, so `from` and `to` are not")),
            (None, Some(_), None) => Err(invalid("from", "is needed where there is `to`")),
            (Some(_), None, None) => Err(invalid("to", "is needed where there is `from`")),
        }
    }

    /// The question of a time, asked at a time.
    fn asked(
        self,
        at: i64,
        min_position: Option<PositionScalar>,
    ) -> std::result::Result<Asked, AnalyticsError> {
        let (from, to) = self.window()?.at(at, self.bucket.map(Into::into))?;
        let time = |at: i64| DateTime(Micros(at.cast_unsigned()));
        Ok(Asked {
            metric: self.metric,
            group_by: self.group_by.unwrap_or_default(),
            bucket: self.bucket,
            period: Period {
                from: time(from),
                to: time(to),
            },
            filter: self.filter.unwrap_or_default(),
            percentile: self.percentile,
            compare_to: self.compare_to,
            min_position,
        })
    }
}

/// Members that are there: an input that is made a value has a null in the place of each that was left out.
fn said(members: serde_json::Map<String, serde_json::Value>) -> serde_json::Map<String, serde_json::Value> {
    let there = members.into_iter().filter(|(_, value)| !value.is_null());
    there
        .map(|(name, value)| match value {
            serde_json::Value::Object(members) => (name, serde_json::Value::Object(said(members))),
            value => (name, value),
        })
        .collect()
}

/// The question of a stored one and the time that it is compared to, asked at a time.
///
/// # Errors
/// What is wrong with it, in words that name its part.
pub(crate) fn question_of(
    words: Object,
    at: Micros,
) -> std::result::Result<(Question, Option<(i64, i64)>), String> {
    let input = AnalyticsQueryInput::read(object(words))?;
    let asked = input.asked(analytics::column(DateTime(at)), None);
    let asked = asked.map_err(|error| error.to_string())?;
    Ok((asked.question(), asked.other()))
}

/// The words of a question that analytics would answer whenever it is asked.
///
/// # Errors
/// `InvalidInput` with the path of what it would refuse.
pub(super) fn accepted(query: AnalyticsQueryInput) -> std::result::Result<Object, CommandError> {
    let words = query.words()?;
    let refused = |within: &str, error: AnalyticsError| match error {
        AnalyticsError::Invalid { argument, message } => {
            CommandError::input(format!("/query{within}/{argument}"), message)
        }
        // Only an answer has too many rows or a store that fails.
        error => CommandError::Internal(error.into()),
    };
    // When it is asked makes no difference, as long as its time does not begin before 1970.
    let asked = query
        .asked(Window::LAST_US_MAX, None)
        .map_err(|error| refused("", error))?;
    let question = asked.question();
    question.check().map_err(|error| refused("", error))?;
    if let Some((from, to)) = asked.other() {
        let question = Question { from, to, ..question };
        question.check().map_err(|error| refused("/compareTo", error))?;
    }
    Ok(words)
}

/// The same of a question that is told in words.
///
/// # Errors
/// `InvalidInput`.
pub(crate) fn accepted_words(words: Object) -> std::result::Result<Object, CommandError> {
    let query =
        AnalyticsQueryInput::read(object(words)).map_err(|reason| CommandError::input("/query", reason))?;
    accepted(query)
}

/// A question of analytics that stands saved under a name.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct SavedQuery {
    /// Its name.
    name: String,
    /// The question: an `AnalyticsQueryInput`, without what was left out of it.
    query: Json,
    /// When it was saved.
    saved_at: DateTime,
    /// The record that saved it.
    position: PositionScalar,
    #[graphql(skip)]
    min_position: Option<PositionScalar>,
}

impl SavedQuery {
    fn of(saved: saved_queries::SavedQuery, min_position: Option<PositionScalar>) -> Self {
        Self {
            name: saved.name,
            query: Json(object(saved.query)),
            saved_at: DateTime(saved.saved_at),
            position: PositionScalar(saved.position),
            min_position,
        }
    }
}

#[ComplexObject]
impl SavedQuery {
    /// The answer, as `analytics` gives it.
    #[graphql(complexity = "100 * child_complexity")]
    async fn figures(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "As of this time, where the question is about the last of a time; now if absent.")]
        at: Option<DateTime>,
    ) -> Result<Analytics> {
        let input = AnalyticsQueryInput::read(self.query.0.clone()).map_err(|reason| {
            let told = format!(
                "the saved query {:?} is none of this version: {reason}; save it anew",
                self.name
            );
            fault(code::INVALID_ARGUMENT, told)
        })?;
        let at = at.unwrap_or_else(|| DateTime(services(ctx).clock.now()));
        let asked = input.asked(analytics::column(at), self.min_position);
        analytics::answer(ctx, asked.map_err(of_analytics)?).await
    }
}

/// A page of those that stand.
pub(super) async fn list(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<&str>,
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, SavedQuery>> {
    let reading = Reading::at(ctx, &["saved_queries"], min_position).await?;
    let asked = read::Asked::new("saved-query", first, after)?;
    let rows = saved_queries::list(reading.store(), reading.ledger, &asked.request).await;
    asked.connection(rows, |saved| SavedQuery::of(saved, min_position))
}

/// The one of a name.
pub(super) async fn one(
    ctx: &Context<'_>,
    name: &str,
    min_position: Option<PositionScalar>,
) -> Result<Option<SavedQuery>> {
    let reading = Reading::at(ctx, &["saved_queries"], min_position).await?;
    let found = saved_queries::by_name(reading.store(), reading.ledger, name).await;
    let found = found.map_err(|error| of_read_store(&error))?;
    Ok(found.map(|saved| SavedQuery::of(saved, min_position)))
}
