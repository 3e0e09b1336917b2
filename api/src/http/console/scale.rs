//! Axes: round steps, and numbers that people read.

use ruche_domain::numbers::Micros;
use ruche_projections::analytics::Bucket;

use super::asked::date;
use crate::graphql::format_time;

/// Steps of an axis at most, above zero.
const STEPS_MAX: f64 = 5.0;
/// Decimal places of its marks at most.
const PLACES_MAX: usize = 12;

/// An axis from zero on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    /// Its end, at or above the greatest value.
    pub end: f64,
    pub step: f64,
    /// Decimal places that tell its steps apart.
    pub places: usize,
}

impl Axis {
    /// An axis that a greatest value fits. Nothing, and what is no number, gets an axis to one.
    pub(super) fn to(most: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / STEPS_MAX).log10().floor());
        let rounds = [1.0, 2.0, 2.5, 5.0, 10.0].map(|round| round * power);
        // A hair more, so that what is not exact in binary fits its own step.
        let fits = |step: &f64| most / step <= STEPS_MAX * (1.0 + 1e-9);
        let step = rounds.into_iter().find(fits).unwrap_or(10.0 * power);
        let end = (most / step * (1.0 - 1e-9)).ceil() * step;
        // As many as make its steps whole.
        let is_whole = |places: &usize| {
            let scaled = step * 10_f64.powi(*places as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled >= 0.5
        };
        let places = (0..PLACES_MAX).find(is_whole).unwrap_or(PLACES_MAX);
        Self { end, step, places }
    }

    /// Its marks, from zero on.
    pub(super) fn marks(&self) -> impl Iterator<Item = f64> {
        let (step, last) = (self.step, (self.end / self.step).round() as u32);
        (0..=last).map(move |n| f64::from(n) * step)
    }

    /// A mark as it is written.
    pub(super) fn label(&self, mark: f64) -> String {
        grouped(&format!("{mark:.*}", self.places))
    }
}

/// The digits of a decimal with commas between thousands.
pub(super) fn grouped(decimal: &str) -> String {
    let (sign, digits) = decimal
        .strip_prefix('-')
        .map_or(("", decimal), |digits| ("-", digits));
    let (whole, fraction) = digits
        .split_once('.')
        .map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let mut text = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// A value as it is told where there is no room for all of its digits: three or four that count.
pub(super) fn short(value: f64) -> String {
    let places = match value.abs() {
        size if size == 0.0 || size >= 1_000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        size => (2.0 - size.log10().floor()) as usize,
    };
    let text = format!("{value:.*}", places.min(12));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    grouped(text)
}

/// What durations are told in, by the longest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durations {
    Millis,
    Seconds,
    Minutes,
}

impl Durations {
    /// For durations of at most so many µs.
    pub(super) fn of(most: f64) -> Self {
        match most {
            most if most < 2e6 => Self::Millis,
            most if most < 600e6 => Self::Seconds,
            _ => Self::Minutes,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Minutes => "min",
        }
    }

    /// So many µs in it.
    pub(super) fn of_us(self, us: f64) -> f64 {
        us / match self {
            Self::Millis => 1e3,
            Self::Seconds => 1e6,
            Self::Minutes => 60e6,
        }
    }
}

/// The start of a bucket as tables tell it.
pub(super) fn start(bucket: Bucket, at: i64) -> String {
    match bucket {
        Bucket::Hour | Bucket::Minute => {
            let mut text = format_time(Micros(at.max(0).cast_unsigned())).replace('T', " ");
            text.truncate(16);
            text
        }
        Bucket::Day | Bucket::Week => date(at),
    }
}

/// The same below an axis, without the year, which the axis names.
pub(super) fn mark(bucket: Bucket, at: i64) -> String {
    start(bucket, at).split_off(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_steps_and_room_for_the_most() {
        for (most, labels) in [
            (0.0, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"][..][..]),
            (f64::NAN, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"][..]),
            (3.0, &["0", "1", "2", "3"][..]),
            (0.3, &["0.0", "0.1", "0.2", "0.3"][..]),
            (11.0, &["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"][..]),
            (
                0.011,
                &["0.0000", "0.0025", "0.0050", "0.0075", "0.0100", "0.0125"],
            ),
            (4_800.0, &["0", "1,000", "2,000", "3,000", "4,000", "5,000"][..]),
            (110.0, &["0", "25", "50", "75", "100", "125"][..]),
        ] {
            let axis = Axis::to(most);
            let told: Vec<String> = axis.marks().map(|mark| axis.label(mark)).collect();
            assert_eq!(told, labels, "{most}");
            assert!(most.is_nan() || axis.end >= most, "{most} {axis:?}");
        }
    }

    #[test]
    fn numbers_read() {
        for (value, text) in [
            (0.0, "0"),
            (1_234_567.8, "1,234,568"),
            (123.456, "123.5"),
            (1.5, "1.5"),
            (2.0, "2"),
            (0.012_345, "0.0123"),
            (-1_000.0, "-1,000"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(grouped("1234567.000001"), "1,234,567.000001");
        assert_eq!(Durations::of(1e6), Durations::Millis);
        assert_eq!(Durations::Minutes.of_us(90e6), 1.5);
        assert_eq!(start(Bucket::Hour, 3_600_000_000), "1970-01-01 01:00");
        assert_eq!(mark(Bucket::Day, 0), "01-01");
    }
}
