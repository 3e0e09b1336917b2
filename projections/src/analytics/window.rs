//! Times of questions that are asked again and again.

use ruche_domain::limits::SAVED_QUERY_LAST_S_MAX;

use super::query::{AnalyticsError, Bucket};

/// The time that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// From a time on until before another one, µs.
    Fixed {
        /// From this time on.
        from: i64,
        /// Before this time.
        to: i64,
    },
    /// So many µs up to the end of what runs when it is asked: of the bucket, or where there are none of the day, hour or
    /// minute, the longest of which this is a full number.
    Last(i64),
}

impl Window {
    /// The longest one that is not fixed, µs.
    pub const LAST_US_MAX: i64 = (SAVED_QUERY_LAST_S_MAX * 1_000_000).cast_signed();

    /// From when until when it is, asked at a time.
    ///
    /// # Errors
    /// `Invalid` where it is none of full buckets, too long, or begins before 1970.
    pub fn at(self, now: i64, bucket: Option<Bucket>) -> Result<(i64, i64), AnalyticsError> {
        let length = match self {
            Self::Fixed { from, to } => return Ok((from, to)),
            Self::Last(length) => length,
        };
        if !(1..=Self::LAST_US_MAX).contains(&length) {
            return Err(invalid(
                "last",
                format!("is from 60 to {SAVED_QUERY_LAST_S_MAX} seconds"),
            ));
        }
        let is_full = |bucket: &Bucket| length % bucket.width_us() == 0;
        let step = match bucket {
            Some(bucket) if !is_full(&bucket) => {
                let seconds = bucket.width_us() / 1_000_000;
                let message = format!("is no full number of {}s of {seconds} seconds", bucket.name());
                return Err(invalid("last", message));
            }
            Some(bucket) => bucket,
            None => [Bucket::Day, Bucket::Hour, Bucket::Minute]
                .into_iter()
                .find(is_full)
                .ok_or_else(|| invalid("last", "is no full number of minutes".to_owned()))?,
        };
        let to = step.start(now) + step.width_us();
        match to - length {
            from if from < 0 => Err(invalid("at", "is less than `last` behind 1970".to_owned())),
            from => Ok((from, to)),
        }
    }
}

fn invalid(argument: &'static str, message: String) -> AnalyticsError {
    AnalyticsError::Invalid { argument, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = Bucket::Minute.width_us();
    const HOUR: i64 = Bucket::Hour.width_us();
    const DAY: i64 = Bucket::Day.width_us();
    /// A Saturday, 07:08:09.
    const NOW: i64 = 9 * DAY + 7 * HOUR + 8 * MINUTE + 9_000_000;

    #[test]
    fn the_last_of_a_time_ends_with_what_runs() {
        for (length, bucket, from, to) in [
            (2 * DAY, None, 8 * DAY, 10 * DAY),
            (3 * HOUR, None, 9 * DAY + 5 * HOUR, 9 * DAY + 8 * HOUR),
            (
                90 * MINUTE,
                None,
                NOW - 9_000_000 - 89 * MINUTE,
                NOW - 9_000_000 + MINUTE,
            ),
            (DAY, Some(Bucket::Hour), 8 * DAY + 8 * HOUR, 9 * DAY + 8 * HOUR),
            // Weeks begin on Mondays: that of 1970-01-05 holds the day.
            (7 * DAY, Some(Bucket::Week), 4 * DAY, 11 * DAY),
        ] {
            let told = Window::Last(length).at(NOW, bucket).expect("a time");
            assert_eq!(told, (from, to), "{length} {bucket:?}");
        }
        let midnight = Window::Last(DAY).at(9 * DAY, None).expect("a time");
        assert_eq!(midnight, (9 * DAY, 10 * DAY), "the day that has just begun");
        let fixed = Window::Fixed { from: 1, to: 2 };
        assert_eq!(fixed.at(NOW, Some(Bucket::Day)).expect("a time"), (1, 2));
    }

    #[test]
    fn a_time_that_cuts_a_bucket_or_is_too_long_is_refused() {
        for (length, bucket, message) in [
            (0, None, "`last` is from 60 to 315619200 seconds"),
            (
                Window::LAST_US_MAX + 1,
                None,
                "`last` is from 60 to 315619200 seconds",
            ),
            (MINUTE + 1_000_000, None, "`last` is no full number of minutes"),
            (
                HOUR,
                Some(Bucket::Day),
                "`last` is no full number of DAYs of 86400 seconds",
            ),
            (20 * DAY, None, "`at` is less than `last` behind 1970"),
        ] {
            let refused = Window::Last(length).at(NOW, bucket).expect_err("no time");
            assert_eq!(refused.to_string(), message);
        }
    }
}
