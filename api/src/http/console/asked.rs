//! What a page is asked: the filters, as they stand in its address.

use http::StatusCode;
use ruche_domain::numbers::Micros;
use ruche_projections::analytics::{Bucket, Dimension, Metric, Question};

use super::super::Refusal;
use crate::error_codes as code;
use crate::graphql::{format_time, parse_time};
use crate::limits::CHART_BUCKETS_MAX;

const DAY_US: i64 = Bucket::Day.width_us();
/// Days that are shown where none are asked for.
const DAYS_DEFAULT: i64 = 30;
/// The lengths of time that a page tells apart. Minutes are too many for the days that it is asked by.
pub(super) const BUCKETS: [Bucket; 3] = [Bucket::Hour, Bucket::Day, Bucket::Week];
/// The dimensions that a page is filtered by, with the name of each in the address.
pub(super) const FILTERS: [(Dimension, &str); 3] = [
    (Dimension::Agent, "agent"),
    (Dimension::Model, "model"),
    (Dimension::Channel, "channel"),
];

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Costs {
    /// Whoever recorded the calls says it.
    Reported,
    /// The table of prices says it.
    ByPrices,
}

/// What is wrong with a field of the form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(&'static str, String);

impl Fault {
    pub(super) fn refusal(self) -> Refusal {
        let message = format!("`{}` {}", self.0, self.1);
        Refusal::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENT, message)
    }
}

/// A page, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// From this time on, µs: the start of a day, and of a week where weeks are shown.
    pub from: i64,
    /// Before this time, µs; as above.
    pub to: i64,
    pub bucket: Bucket,
    pub filter: Vec<(Dimension, String)>,
    pub costs: Costs,
}

impl Asked {
    /// Reads the pairs of an address. A field that is empty is not there, as browsers send what is not filled in.
    pub(super) fn read(pairs: &[(String, String)], now: Micros) -> Result<Self, Fault> {
        let field = |name: &str| {
            let found = pairs.iter().find(|(found, _)| found == name);
            found
                .map(|(_, value)| value.trim())
                .filter(|value| !value.is_empty())
        };
        let bucket = match field("bucket") {
            None => Bucket::Day,
            Some(word) => {
                let named = BUCKETS
                    .into_iter()
                    .find(|bucket| bucket.name().eq_ignore_ascii_case(word));
                named.ok_or_else(|| Fault("bucket", "is hour, day or week".to_owned()))?
            }
        };
        let costs = match field("costs") {
            None | Some("reported") => Costs::Reported,
            Some("prices") => Costs::ByPrices,
            Some(_) => return Err(Fault("costs", "is reported or prices".to_owned())),
        };
        let today = Bucket::Day.start(i64::try_from(now.0).unwrap_or(i64::MAX - DAY_US));
        let day = |name| field(name).map(|text| day(name, text)).transpose();
        let last = day("to")?.unwrap_or(today);
        let first = day("from")?.unwrap_or((last - (DAYS_DEFAULT - 1) * DAY_US).max(0));
        if first > last {
            return Err(Fault("to", "is before `from`".to_owned()));
        }
        // Weeks are shown whole: those that the first and the last day are in.
        let (from, to) = (bucket.start(first), last + DAY_US);
        if from < 0 {
            return Err(Fault("from", "is in a week that began before 1970".to_owned()));
        }
        let to = match bucket.start(to) {
            start if start == to => to,
            start => start + bucket.width_us(),
        };
        let shown = (to - from) / bucket.width_us();
        if shown > CHART_BUCKETS_MAX {
            let longer = if bucket == Bucket::Week {
                ""
            } else {
                "longer steps, or "
            };
            let word = bucket.name().to_lowercase();
            let what = format!(
                "is {shown} {word}s behind `from`, and a chart shows {CHART_BUCKETS_MAX} at most: choose {longer}less time"
            );
            return Err(Fault("to", what));
        }
        let filter = FILTERS.into_iter();
        let filter = filter.filter_map(|(dimension, name)| Some((dimension, field(name)?.to_owned())));
        Ok(Self {
            from,
            to,
            bucket,
            filter: filter.collect(),
            costs,
        })
    }

    /// The value that a dimension is filtered by.
    pub(super) fn value_of(&self, dimension: Dimension) -> Option<&str> {
        let found = self.filter.iter().find(|(filtered, _)| *filtered == dimension);
        found.map(|(_, value)| value.as_str())
    }

    /// A question of this time, by what the metric can be filtered by.
    pub(super) fn question(&self, metric: Metric, group_by: &[Dimension], per_mille: i64) -> Question {
        let can = metric.dimensions();
        let filter = self
            .filter
            .iter()
            .filter(|(dimension, _)| can.contains(dimension));
        Question {
            metric,
            group_by: group_by.to_vec(),
            bucket: Some(self.bucket),
            from: self.from,
            to: self.to,
            filter: filter.cloned().collect(),
            per_mille,
        }
    }

    /// The filters that a metric cannot have.
    pub(super) fn without(&self, metric: Metric) -> Vec<&'static str> {
        let can = metric.dimensions();
        let named = FILTERS
            .into_iter()
            .filter(|(dimension, _)| !can.contains(dimension));
        let named = named.filter(|(dimension, _)| self.value_of(*dimension).is_some());
        named.map(|(_, name)| name).collect()
    }

    /// As long a time before this one, if there was one since 1970.
    pub(super) fn before(&self) -> Option<(i64, i64)> {
        let from = self.from - (self.to - self.from);
        (from >= 0).then_some((from, self.from))
    }

    pub(super) fn cost_metric(&self) -> Metric {
        match self.costs {
            Costs::Reported => Metric::Cost,
            Costs::ByPrices => Metric::CostByPrices,
        }
    }

    /// The last day that is shown, µs.
    pub(super) const fn last_day(&self) -> i64 {
        self.to - DAY_US
    }
}

/// Reads a date as the start of its day, UTC.
fn day(name: &'static str, text: &str) -> Result<i64, Fault> {
    let at = (text.len() == 10)
        .then(|| parse_time(&format!("{text}T00:00:00Z")))
        .flatten();
    let at = at.and_then(|at| i64::try_from(at.0).ok());
    at.ok_or_else(|| Fault(name, "is no date from 1970 on, such as 2026-01-31".to_owned()))
}

/// `2026-01-31` of a time, UTC.
pub(super) fn date(at: i64) -> String {
    let mut text = format_time(Micros(at.max(0).cast_unsigned()));
    text.truncate(10);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Asked, String> {
        let pairs = super::super::super::graphql::pairs_of(query).unwrap();
        let now = parse_time("2026-03-04T05:06:07Z").unwrap();
        Asked::read(&pairs, now).map_err(|fault| fault.refusal().message)
    }

    fn days(query: &str) -> (String, String) {
        let asked = read(query).unwrap();
        (date(asked.from), date(asked.last_day()))
    }

    #[test]
    fn both_days_are_shown_and_weeks_are_whole() {
        let days_of = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(days(""), days_of("2026-02-03", "2026-03-04"));
        assert_eq!(days("to=2026-01-31"), days_of("2026-01-02", "2026-01-31"));
        assert_eq!(
            days("from=2026-01-31&to=2026-01-31&bucket=hour"),
            days_of("2026-01-31", "2026-01-31")
        );
        assert_eq!(
            days("from=2026-01-07&to=2026-01-12&bucket=week"),
            days_of("2026-01-05", "2026-01-18")
        );
        assert_eq!(days("to=1970-01-02"), days_of("1970-01-01", "1970-01-02"));
    }

    #[test]
    fn empty_fields_are_none_and_filters_are_kept_where_they_can_be() {
        let asked = read("agent=&model=m%201&channel=web&costs=prices").unwrap();
        assert_eq!(asked.value_of(Dimension::Agent), None);
        assert_eq!(asked.value_of(Dimension::Model), Some("m 1"));
        assert_eq!(asked.cost_metric(), Metric::CostByPrices);
        let question = asked.question(Metric::Turns, &[], 0);
        assert_eq!(question.filter, [(Dimension::Channel, "web".to_owned())]);
        assert_eq!(asked.without(Metric::Turns), ["model"]);
        assert_eq!(
            asked.before().map(|(from, to)| (date(from), date(to))).unwrap().1,
            date(asked.from)
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_in_words() {
        for (query, words) in [
            (
                "from=yesterday",
                "`from` is no date from 1970 on, such as 2026-01-31",
            ),
            ("to=2026-02-30", "`to` is no date"),
            ("from=1969-12-31", "`from` is no date from 1970 on"),
            ("from=2026-02-01&to=2026-01-01", "`to` is before `from`"),
            (
                "from=1970-01-02&to=1970-02-01&bucket=week",
                "`from` is in a week that began before 1970",
            ),
            ("bucket=minute", "`bucket` is hour, day or week"),
            ("costs=mine", "`costs` is reported or prices"),
            (
                "from=2020-01-01",
                "a chart shows 400 at most: choose longer steps, or less time",
            ),
            (
                "from=1970-01-05&bucket=week",
                "a chart shows 400 at most: choose less time",
            ),
        ] {
            let told = read(query).unwrap_err();
            assert!(told.contains(words), "{query}: {told}");
        }
    }
}
