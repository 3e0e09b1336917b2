//! Times in RFC 3339, UTC, with microseconds, and back.

use ruche_domain::numbers::Micros;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// `2026-01-31T23:59:59.000001Z`.
pub(crate) fn format(time: Micros) -> String {
    let seconds = time.0 / MICROS_PER_SECOND;
    let (year, month, day) = date_of(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let micros = time.0 % MICROS_PER_SECOND;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Days since 1970-01-01, UTC.
pub(super) fn day_of(time: Micros) -> i64 {
    i64::try_from(time.0 / MICROS_PER_SECOND / SECONDS_PER_DAY).expect("2^64 µs are 214 million days")
}

/// `2026-01-31` of days since 1970-01-01; those before it count as that day.
pub(super) fn format_day(days: i64) -> String {
    let (year, month, day) = date_of(u64::try_from(days).unwrap_or(0));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Reads RFC 3339 from 1970 on, with at most six digits of a second's fraction and any offset. Leap seconds are
/// refused: the ledger counts without them.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')]
            .iter()
            .all(|(at, mark)| bytes[*at] == *mark)
        && matches!(bytes[10], b'T' | b't');
    if !shape || !text.is_ascii() {
        return None;
    }
    let field = |from: usize, to: usize| digits(&text[from..to]);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (micros, rest) = fraction(&text[19..])?;
    let local = days_since_1970(year, month, day)? * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset(rest)?)?;
    Some(Micros(
        seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)?,
    ))
}

/// The fraction behind the seconds in microseconds, and what follows it.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (fraction, rest) = rest.split_at(end);
    let scale = 6_u32.checked_sub(u32::try_from(end).ok()?).filter(|_| end > 0)?;
    Some((digits(fraction)? * 10_u64.pow(scale), rest))
}

/// Seconds that the local time is ahead of UTC.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    let seconds = i64::try_from(hours * 3_600 + minutes * 60).ok()?;
    (hours < 24 && minutes < 60).then_some(sign * seconds)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` before it.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March put the leap day at their end.
    let shifted = if month > 2 { year } else { year.checked_sub(1)? };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    (shifted * 365 + shifted / 4 + of_year + shifted / 400).checked_sub(shifted / 100 + 719_468)
}

/// The inverse of [`days_since_1970`].
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in known {
            assert_eq!(format(Micros(micros)), text);
            assert_eq!(parse(text), Some(Micros(micros)), "{text}");
        }
        assert_eq!(
            parse("2023-11-14T23:13:20.5+01:00"),
            Some(Micros(1_700_000_000_500_000))
        );
        assert_eq!(parse("2023-11-14t22:13:20z"), Some(Micros(1_700_000_000_000_000)));
    }

    #[test]
    fn every_day_comes_back() {
        for days in 0..150_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_since_1970(year, month, day), Some(days));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2023-11-14",
            "2023-11-14 22:13:20Z",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:60Z",
            "2023-11-14T22:13:20.1234567Z",
            "2023-11-14T22:13:20.Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2023-11-14T22:13:20+1:00",
            "2023-11-14T22:13:20+24:00",
            "２023-11-14T22:13:20Z",
            "+023-11-14T22:13:20Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
