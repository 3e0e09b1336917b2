//! Questions: a metric, by dimensions and time.

mod answer;

use std::fmt;

use ruche_domain::ids::LedgerId;

use super::Grain;
use super::metric::{Family, Formula, Measure, Metric};
use crate::bounds;
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

pub use answer::{compared, rows};

/// Rows of an answer at most.
pub const ROWS_MAX: usize = 10_000;
/// Rows of sums that an answer is made of at most, where it is made of more than its own: bins, and models with prices.
const PARTS_MAX: usize = 200_000;

/// How long a decision took.
const TOOK: &str = "approval.decided_at - approval.requested_at";
/// A decision within two seconds, as the bins of the sums have it.
const QUICK: &str = "CASE WHEN approval.decided_at - approval.requested_at < 1998848 THEN 1 ELSE 0 END";

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The agent of the session.
    Agent,
    /// The channel of the session.
    Channel,
    /// The scenario of the session.
    Scenario,
    /// The configuration that the turn ran with: its SHA-256.
    Config,
    /// The model.
    Model,
    /// The tool.
    Tool,
    /// How a turn came out.
    Outcome,
    /// Why a turn failed: the word of whoever ran it.
    StopReason,
    /// The name of a score.
    Score,
    /// What events are worth as evidence.
    Provenance,
    /// Who decided, as the key is registered.
    Reviewer,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Agent,
        Self::Channel,
        Self::Scenario,
        Self::Config,
        Self::Model,
        Self::Tool,
        Self::Outcome,
        Self::StopReason,
        Self::Score,
        Self::Provenance,
        Self::Reviewer,
    ];

    const fn column(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Channel => "channel",
            Self::Scenario => "scenario",
            Self::Config => "config",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Outcome => "outcome",
            Self::StopReason => "stop",
            Self::Score => "name",
            Self::Provenance => "provenance",
            Self::Reviewer => "decided_by",
        }
    }

    /// Its name in questions and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "AGENT",
            Self::Channel => "CHANNEL",
            Self::Scenario => "SCENARIO",
            Self::Config => "CONFIG",
            Self::Model => "MODEL",
            Self::Tool => "TOOL",
            Self::Outcome => "OUTCOME",
            Self::StopReason => "STOP_REASON",
            Self::Score => "SCORE",
            Self::Provenance => "PROVENANCE",
            Self::Reviewer => "REVIEWER",
        }
    }
}

/// How long the time of one row of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
    /// A week from Monday on, UTC.
    Week,
}

impl Bucket {
    /// From the shortest to the longest.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Week];

    /// Its name in questions and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "MINUTE",
            Self::Hour => "HOUR",
            Self::Day => "DAY",
            Self::Week => "WEEK",
        }
    }

    /// Its length, µs.
    pub const fn width_us(self) -> i64 {
        match self {
            Self::Minute => Grain::Minute.width_us(),
            Self::Hour => Grain::Hour.width_us(),
            Self::Day => Grain::Day.width_us(),
            Self::Week => 7 * Grain::Day.width_us(),
        }
    }

    /// How far before 1970 the first one begins: that day was a Thursday.
    const fn offset_us(self) -> i64 {
        match self {
            Self::Week => 3 * Grain::Day.width_us(),
            _ => 0,
        }
    }

    /// The start of the one that a time is in.
    pub const fn start(self, at: i64) -> i64 {
        at - (at + self.offset_us()).rem_euclid(self.width_us())
    }

    const fn grain(self) -> Grain {
        match self {
            Self::Minute => Grain::Minute,
            Self::Hour => Grain::Hour,
            Self::Day | Self::Week => Grain::Day,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The figure.
    pub metric: Metric,
    /// One row for each combination of these.
    pub group_by: Vec<Dimension>,
    /// And of these times; one row for all of the time if absent.
    pub bucket: Option<Bucket>,
    /// From this time on, µs.
    pub from: i64,
    /// Before this time, µs.
    pub to: i64,
    /// Only what has these values.
    pub filter: Vec<(Dimension, String)>,
    /// Of durations: the share that does not exceed the value, in thousandths.
    pub per_mille: i64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalyticsError {
    /// The question makes no sense. The first word names the argument.
    #[error("`{argument}` {message}")]
    Invalid {
        /// The argument.
        argument: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The answer has too many rows.
    #[error("more than {ROWS_MAX} rows: {0}")]
    TooMany(String),
    /// The store of read models.
    #[error(transparent)]
    Store(#[from] ReadStoreError),
}

fn invalid(argument: &'static str, message: impl Into<String>) -> AnalyticsError {
    AnalyticsError::Invalid {
        argument,
        message: message.into(),
    }
}

/// A decimal, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    /// Its digits.
    pub units: i128,
    /// How many of them stand behind the point.
    pub places: usize,
}

impl fmt::Display for Exact {
    /// Decimal text without needless zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.units.unsigned_abs(), width = self.places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.places);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// A value, and how much of what it is about it is known of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// Decimal text; nothing where nobody told it.
    pub value: Option<String>,
    /// Of how many things it is.
    pub count: i64,
    /// How many of them told it.
    pub known: i64,
}

impl Figure {
    /// How many of a hundred told it, to two places; nothing where there is nothing that it is of.
    pub fn coverage(&self) -> Option<f64> {
        let of_ten_thousand = (i128::from(self.known) * 10_000).checked_div(i128::from(self.count));
        of_ten_thousand.map(|share| share as f64 / 100.0)
    }
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The start of its time.
    pub bucket: Option<i64>,
    /// The values of the dimensions that were asked for, in their order. Empty text is what has none.
    pub key: Vec<String>,
    /// Of money.
    pub currency: Option<String>,
    /// The value.
    pub figure: Figure,
}

impl Question {
    /// Refuses what makes no sense; the grain whose rows make up the answer.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<Grain, AnalyticsError> {
        let can = self.metric.dimensions();
        let names = || can.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
        let of = |argument, dimension: Dimension| match can.contains(&dimension) {
            true => Ok(()),
            false => Err(invalid(
                argument,
                format!(
                    "has {}, which {} does not have; it has {}",
                    dimension.name(),
                    self.metric.name(),
                    names()
                ),
            )),
        };
        // There are few dimensions, so one that stands twice is found early, however long the list is.
        let before = |n: usize| &self.group_by[..n];
        let mut groups = self.group_by.iter().enumerate();
        if let Some((_, twice)) = groups.find(|(n, dimension)| before(*n).contains(dimension)) {
            return Err(invalid("groupBy", format!("has {} twice", twice.name())));
        }
        self.group_by.iter().try_for_each(|d| of("groupBy", *d))?;
        self.filter.iter().try_for_each(|(d, _)| of("filter", *d))?;
        if !(0..=1_000).contains(&self.per_mille) {
            return Err(invalid("percentile", "is a share from 0 to 100"));
        }
        grain_of(self.from, self.to, self.bucket)
    }

    /// Where the rows are. Sums of decisions do not tell who decided, so where that is asked for the decisions are read.
    fn family(&self) -> Family {
        let by = self.group_by.iter();
        let mut told_apart_by = by.chain(self.filter.iter().map(|(dimension, _)| dimension));
        match self.metric.family() {
            Family::Latency(Measure::Approval) if told_apart_by.any(|d| *d == Dimension::Reviewer) => {
                Family::Decisions
            }
            family => family,
        }
    }

    /// The text that gives the start of a row's time.
    fn bucket_column(&self, grain: Grain) -> Option<String> {
        let bucket = self.bucket?;
        let at = match self.family() {
            Family::Waste => "turn.ended_at",
            Family::Decisions => "approval.decided_at",
            _ if bucket.width_us() == grain.width_us() => return Some("bucket".to_owned()),
            _ => "bucket",
        };
        let (offset, width) = (bucket.offset_us(), bucket.width_us());
        Some(format!("{at} - ({at} + {offset}) % {width}"))
    }

    /// The text that gives the value of a dimension.
    fn column(&self, dimension: Dimension) -> &'static str {
        match (self.family(), dimension) {
            (Family::Waste | Family::Decisions, Dimension::Agent) => "COALESCE(who.agent, '')",
            (Family::Waste | Family::Decisions, Dimension::Channel) => "COALESCE(who.channel, '')",
            (Family::Waste | Family::Decisions, Dimension::Scenario) => "COALESCE(who.scenario, '')",
            (Family::Waste | Family::Decisions, Dimension::Config) => "COALESCE(mark.config, '')",
            (Family::Decisions, Dimension::Tool) => "COALESCE(approval.tool, '')",
            (Family::Decisions, Dimension::Reviewer) => "COALESCE(approval.decided_by, '')",
            _ => dimension.column(),
        }
    }

    fn columns(&self, grain: Grain) -> Vec<String> {
        let dimensions = self.group_by.iter().map(|d| self.column(*d).to_owned());
        self.bucket_column(grain).into_iter().chain(dimensions).collect()
    }

    /// The rows of a table that the question is about, in one range of its key.
    fn select(&self, ledger: LedgerId, grain: Grain, table: &str, columns: &str) -> Select {
        let select = Select::of(columns, table, ledger);
        let select = match self.family() {
            Family::Decisions => select
                .and("approval.decided_at >= ", self.from)
                .and("approval.decided_at < ", self.to),
            // The word stands in the text, so that the index of such turns is found.
            Family::Waste => select
                .text(" AND turn.status = 'superseded'")
                .and("turn.ended_at >= ", self.from)
                .and("turn.ended_at < ", self.to),
            family => {
                let select = select
                    .and("grain = ", grain.number())
                    .and("bucket >= ", self.from)
                    .and("bucket < ", self.to);
                match family {
                    Family::Latency(measure) => select.and("measure = ", measure.name()),
                    _ => select,
                }
            }
        };
        let filter = self.filter.iter();
        filter.fold(select, |select, (dimension, value)| {
            select.and(
                &format!("{} = ", self.column(*dimension)),
                bounds::name(value).into_owned(),
            )
        })
    }

    /// Reads the values of what is asked by.
    fn read_key(&self, fields: &mut Fields) -> Result<(Option<i64>, Vec<String>), ReadStoreError> {
        let bucket = self.bucket.map(|_| fields.int()).transpose()?;
        let key = self
            .group_by
            .iter()
            .map(|_| fields.text())
            .collect::<Result<_, _>>()?;
        Ok((bucket, key))
    }
}

/// The coarsest grain whose rows make up the time from `from` until `to`, and each bucket of it.
///
/// # Errors
/// `Invalid` for a time that does not begin and end with a bucket, or has too many of them.
pub fn grain_of(from: i64, to: i64, bucket: Option<Bucket>) -> Result<Grain, AnalyticsError> {
    if from >= to {
        return Err(invalid("to", "is not behind `from`"));
    }
    if let Some(bucket) = bucket {
        for (argument, at) in [("from", from), ("to", to)] {
            if bucket.start(at) != at {
                let what = format!(
                    "is not the start of a {}: the one that it is in starts at",
                    bucket.name()
                );
                let start = ruche_domain::numbers::Micros(bucket.start(at).cast_unsigned());
                return Err(invalid(argument, format!("{what} {}", start.to_rfc3339())));
            }
        }
        if (to - from) / bucket.width_us() > ROWS_MAX as i64 {
            let what = format!("is more than {ROWS_MAX} buckets behind `from`; ask for longer ones");
            return Err(invalid("to", what));
        }
    }
    let most = bucket.map_or(Grain::Day, Bucket::grain);
    let fits = |grain: &Grain| *grain <= most && from % grain.width_us() == 0 && to % grain.width_us() == 0;
    let grain = Grain::ALL.into_iter().rev().find(fits);
    grain.ok_or_else(|| invalid("from", "and `to` are full minutes"))
}

impl Question {
    fn formula(&self) -> Formula {
        match (self.family(), self.metric.formula()) {
            (Family::Decisions, Formula::Ratio { .. }) => Formula::Ratio { part: QUICK, of: "1" },
            (_, formula) => formula,
        }
    }

    /// The error of an answer with too many rows: it names the dimension with the most values.
    async fn too_many(&self, store: &dyn ReadStore, ledger: LedgerId, grain: Grain) -> AnalyticsError {
        let mut most: Option<(i64, Dimension)> = None;
        for dimension in &self.group_by {
            let columns = format!("COUNT(DISTINCT {})", self.column(*dimension));
            let counted = self.select(ledger, grain, self.family().table(), &columns);
            let counted = match counted.rows(store).await {
                Ok(rows) => rows.into_iter().next().map(|row| Fields::new(row).int()),
                Err(error) => return error.into(),
            };
            match counted {
                Some(Ok(n)) if most.is_none_or(|(most, _)| n > most) => most = Some((n, *dimension)),
                Some(Err(error)) => return error.into(),
                _ => {}
            }
        }
        AnalyticsError::TooMany(match most {
            Some((n, dimension)) => format!(
                "{} has {n} values in this time; filter by it, group by less, or ask for longer buckets or less time",
                dimension.name()
            ),
            None => "ask for longer buckets or less time".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn the_coarsest_grain_that_fits_is_read() {
        let hour = Grain::Hour.width_us();
        for (from, to, bucket, grain) in [
            (0, DAY, None, Grain::Day),
            (hour, DAY, None, Grain::Hour),
            (hour, DAY + 60_000_000, None, Grain::Minute),
            (0, DAY, Some(Bucket::Hour), Grain::Hour),
            (4 * DAY, 11 * DAY, Some(Bucket::Week), Grain::Day),
        ] {
            assert_eq!(grain_of(from, to, bucket).unwrap(), grain, "{from} {to}");
        }
    }

    #[test]
    fn a_time_that_cuts_a_bucket_is_refused_in_words() {
        for (from, to, bucket, message) in [
            (0, 0, None, "`to` is not behind `from`"),
            (1, DAY, None, "`from` and `to` are full minutes"),
            (
                DAY + 1,
                2 * DAY,
                Some(Bucket::Day),
                "`from` is not the start of a DAY: the one that it is in starts at 1970-01-02T00:00:00Z",
            ),
            (
                4 * DAY,
                12 * DAY,
                Some(Bucket::Week),
                "`to` is not the start of a WEEK: the one that it is in starts at 1970-01-12T00:00:00Z",
            ),
            (
                0,
                8 * DAY,
                Some(Bucket::Minute),
                "`to` is more than 10000 buckets behind `from`; ask for longer ones",
            ),
        ] {
            assert_eq!(grain_of(from, to, bucket).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn decimals_print_without_needless_zeros() {
        for (units, places, text) in [
            (0, 0, "0"),
            (12, 0, "12"),
            (1_200, 3, "1.2"),
            (-5, 3, "-0.005"),
            (70, 1, "7"),
        ] {
            assert_eq!(Exact { units, places }.to_string(), text);
        }
    }
}
