//! Reads the times that source files write: RFC 3339 with or without an offset.

use ruche_domain::numbers::Micros;

const SECOND_US: i64 = 1_000_000;

/// A time as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenTime {
    /// µs since 1970 by the clock on the wall.
    pub wall_us: i64,
    /// Distance of that wall from UTC, µs, where the text says it.
    pub offset_us: Option<i64>,
}

impl WrittenTime {
    /// The moment, where the text says the offset or the caller knows it. Times before 1970 do not occur.
    pub fn moment(self, offset_us: Option<i64>) -> Option<Micros> {
        let utc = self.wall_us.checked_sub(self.offset_us.or(offset_us)?)?;
        u64::try_from(utc).ok().map(Micros)
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.fraction][Z|±HH:MM]`. Digits beyond the microsecond are cut.
pub(super) fn read(text: &str) -> Option<WrittenTime> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let mark = |at: usize, marks: &str| text.get(at..=at).filter(|m| marks.contains(*m)).map(|_| ());
    mark(4, "-")
        .and(mark(7, "-"))
        .and(mark(10, "T "))
        .and(mark(13, ":"))
        .and(mark(16, ":"))?;
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let mut rest = &text[19..];
    let mut fraction_us = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let kept: String = fraction[..digits]
            .chars()
            .chain("000000".chars())
            .take(6)
            .collect();
        fraction_us = if digits == 0 {
            return None;
        } else {
            kept.parse().ok()?
        };
        rest = &fraction[digits..];
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(WrittenTime {
        wall_us: seconds * SECOND_US + fraction_us,
        offset_us: offset(rest)?,
    })
}

/// The offset at the end of a time: `Some(None)` where there is none, `None` where it is nonsense.
fn offset(text: &str) -> Option<Option<i64>> {
    match text.as_bytes() {
        [] => Some(None),
        b"Z" => Some(Some(0)),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digit = |b: &u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
            let minutes = (digit(h1)? * 10 + digit(h2)?) * 60 + digit(m1)? * 10 + digit(m2)?;
            let us = minutes * 60 * SECOND_US;
            Some(Some(if *sign == b'-' { -us } else { us }))
        }
        _ => None,
    }
}

/// Days from 1970-01-01 (proleptic Gregorian calendar).
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the leap day.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<u64> {
        read(text)?.moment(Some(0)).map(|m| m.0)
    }

    #[test]
    fn times_are_read() {
        assert_eq!(utc("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(utc("2000-02-29T12:00:00Z"), Some(951_825_600_000_000));
        assert_eq!(
            utc("2026-05-31T18:41:11.146591+00:00"),
            Some(1_780_252_871_146_591)
        );
        assert_eq!(
            utc("2026-05-31T11:41:11.146591-07:00"),
            Some(1_780_252_871_146_591)
        );
        assert_eq!(utc("2026-05-31T11:41:11.1"), Some(1_780_227_671_100_000));
        assert_eq!(read("2026-05-31T11:41:11").unwrap().moment(None), None);
    }

    #[test]
    fn nonsense_is_no_time() {
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-05-31",
            "2026-05-31T11:41:11.",
            "2026-05-31T11:41:11+7",
            "é026-05-31T11:41:11",
            "2026-05-31T24:00:00Z",
            "+026-05-31T11:41:11",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
