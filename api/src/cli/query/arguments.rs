//! How a call says what it asks.

use std::time::{SystemTime, UNIX_EPOCH};

use ruche_projections::analytics::{AnalyticsError, Bucket, Dimension, Metric};

use crate::cli::CliError;
use crate::graphql::parse_time;

const DAY_US: i64 = Bucket::Day.width_us();
/// Days that are asked about where no start is given.
const DAYS_DEFAULT: i64 = 30;

fn word<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str, what: &str) -> Result<T, String> {
    let wanted = text.to_ascii_uppercase().replace('-', "_");
    let found = all.iter().copied().find(|word| name(*word) == wanted);
    found.ok_or_else(|| what.to_owned())
}

/// Reads the name of a figure.
pub(super) fn metric(text: &str) -> Result<Metric, String> {
    word(
        text,
        Metric::ALL,
        Metric::name,
        "no such figure; `ruche query --list` shows them",
    )
}

/// Reads a dimension.
pub(super) fn dimension(text: &str) -> Result<Dimension, String> {
    let names = Dimension::ALL.map(|dimension| dimension.name().to_lowercase());
    word(
        text,
        &Dimension::ALL,
        Dimension::name,
        &format!("it is one of {}", names.join(", ")),
    )
}

/// Reads a length of time.
pub(super) fn bucket(text: &str) -> Result<Bucket, String> {
    word(
        text,
        &Bucket::ALL,
        Bucket::name,
        "it is one of minute, hour, day, week",
    )
}

/// Reads a condition.
pub(super) fn filter(text: &str) -> Result<(Dimension, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it is a dimension and a value, such as agent=support")?;
    Ok((dimension(name)?, value.to_owned()))
}

/// Reads a length of time, in seconds.
pub(super) fn length(text: &str) -> Result<i32, String> {
    let wrong = || "it is a number and a unit, such as 90m, 24h, 30d or 4w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        'w' => 7 * 24 * 3_600,
        _ => return Err(wrong()),
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|number| number.parse::<i32>().ok());
    let number = number.filter(|number| *number > 0).ok_or_else(wrong)?;
    number.checked_mul(seconds).ok_or_else(wrong)
}

/// The last so many seconds that a question is about for which no time is given: 30 days, in full buckets.
pub(super) fn last_default(bucket: Option<Bucket>) -> i32 {
    let width = bucket.unwrap_or(Bucket::Day).width_us();
    let buckets = (DAYS_DEFAULT * DAY_US + width - 1) / width;
    i32::try_from(buckets * width / 1_000_000).unwrap_or(i32::MAX)
}

/// Reads a share of a hundred, in thousandths.
pub(super) fn per_mille(text: &str) -> Result<i64, String> {
    let share = text
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=100.0).contains(share));
    let share = share.ok_or("it is a share from 0 to 100, such as 99.9")?;
    Ok((share * 10.0).round() as i64)
}

/// Reads a day, which means its start, or a time.
pub(in crate::cli) fn time(text: &str) -> Result<i64, String> {
    let day = format!("{text}T00:00:00Z");
    let time = parse_time(text).or_else(|| parse_time(&day));
    let time = time.and_then(|time| i64::try_from(time.0).ok());
    time.ok_or_else(|| "it is a day such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z".to_owned())
}

/// The option that an argument of the question stands for.
pub(super) fn flag(argument: &str) -> String {
    let name = match argument {
        "groupBy" => "by",
        "filter" => "where",
        other => other,
    };
    format!("--{name}")
}

/// What is wrong with a question, in the words of the command line.
pub(super) fn told(error: &AnalyticsError) -> String {
    match error {
        AnalyticsError::Invalid { argument, message } => format!("{} {message}", flag(argument)),
        told => told.to_string(),
    }
}

/// The time that it is, µs.
pub(super) fn now() -> Result<i64, CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| CliError::Failed("the clock stands before 1970".into()))?;
    Ok(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// From when until when. Without an end it is that of today, without a start it is 30 days before; each moved out to where
/// a bucket begins.
pub(super) fn span(
    from: Option<i64>,
    to: Option<i64>,
    bucket: Option<Bucket>,
) -> Result<(i64, i64), CliError> {
    let bucket = bucket.unwrap_or(Bucket::Day);
    let to = match to {
        Some(to) => to,
        None => {
            let end = Bucket::Day.start(now()?) + DAY_US;
            match bucket.start(end) {
                start if start == end => end,
                start => start + bucket.width_us(),
            }
        }
    };
    let before = bucket.start(to - DAYS_DEFAULT * DAY_US).max(0);
    Ok((from.unwrap_or(before), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_people_type_them() {
        assert_eq!(metric("turn-latency"), Ok(Metric::TurnLatency));
        assert_eq!(dimension("stop_reason"), Ok(Dimension::StopReason));
        assert_eq!(filter("model=a=b"), Ok((Dimension::Model, "a=b".to_owned())));
        assert_eq!(per_mille("99.9"), Ok(999));
        assert_eq!(time("1970-01-02"), Ok(DAY_US));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!((length("90m"), length("4w")), (Ok(5_400), Ok(2_419_200)));
        for bad in ["", "d", "7", "-1d", "0h", "7y", "99999w"] {
            assert!(length(bad).is_err(), "{bad}");
        }
        assert!(metric("money").is_err() && dimension("day").is_err() && filter("agent").is_err());
        assert!(per_mille("101").is_err() && time("yesterday").is_err() && bucket("year").is_err());
    }

    #[test]
    fn what_is_saved_without_a_time_is_about_the_last_thirty_days() {
        let day = 24 * 3_600;
        assert_eq!(last_default(None), 30 * day);
        assert_eq!(last_default(Some(Bucket::Hour)), 30 * day);
        assert_eq!(last_default(Some(Bucket::Week)), 35 * day);
    }

    #[test]
    fn without_a_start_it_is_thirty_days_and_full_buckets() {
        assert_eq!(
            span(None, Some(31 * DAY_US), None).unwrap(),
            (DAY_US, 31 * DAY_US)
        );
        assert_eq!(span(None, Some(DAY_US), None).unwrap(), (0, DAY_US));
        let (from, to) = span(None, None, Some(Bucket::Hour)).unwrap();
        assert_eq!((to % DAY_US, to - from), (0, 30 * DAY_US));
        let (from, to) = span(None, None, Some(Bucket::Week)).unwrap();
        assert_eq!((Bucket::Week.start(from), Bucket::Week.start(to)), (from, to));
        assert_eq!(to - from, 35 * DAY_US);
    }
}
