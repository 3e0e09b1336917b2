//! Numbers: the grammar of RFC 8259 §6, and whether the value survives.

use serde_json::Number;

use super::{CONVENIENCE_INTEGER_MAX, JsonFaultKind, Profile};
use crate::limits::JSON_NUMBER_BYTES_MAX;

/// Decimal digits that every `f64` in the normal range holds (`DBL_DIG`): two decimals of that many digits are never
/// one `f64`, so the shortest form of what is read is what was written.
const DIGITS_ALWAYS_EXACT: usize = 15;
/// Powers of ten of `0.digits` well inside the normal range.
const NORMAL_RANGE: std::ops::Range<i64> = -290..290;

/// Whether a byte can be part of a number.
pub(super) fn belongs(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// A number as text, taken apart.
struct Parts<'a> {
    whole: &'a str,
    fraction: &'a str,
    exponent: &'a str,
    is_integer: bool,
}

/// Reads a run of number bytes.
pub(super) fn read(text: &str, profile: Profile) -> Result<Number, JsonFaultKind> {
    let parts = split(text).ok_or(JsonFaultKind::Syntax)?;
    if text.len() > JSON_NUMBER_BYTES_MAX {
        return Err(JsonFaultKind::NumberTooLong);
    }
    // serde_json reads `-0` as the float, because no integer type has it.
    if parts.is_integer && text != "-0" {
        integer(text, profile)
    } else {
        float(text, &parts)
    }
}

fn split(text: &str) -> Option<Parts<'_>> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let exponent_digits = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    let fine =
        digits(whole) && !leading_zero && fraction.is_none_or(digits) && exponent_digits.is_none_or(digits);
    fine.then_some(Parts {
        whole,
        fraction: fraction.unwrap_or_default(),
        exponent: exponent.unwrap_or("0"),
        is_integer: fraction.is_none() && exponent.is_none(),
    })
}

fn integer(text: &str, profile: Profile) -> Result<Number, JsonFaultKind> {
    let number = match text.strip_prefix('-') {
        None => text.parse::<u64>().ok().map(|value| (Number::from(value), value)),
        Some(_) => text
            .parse::<i64>()
            .ok()
            .map(|value| (Number::from(value), value.unsigned_abs())),
    };
    let (number, magnitude) = number.ok_or(JsonFaultKind::IntegerOutOfRange)?;
    if profile == Profile::Convenience && magnitude > CONVENIENCE_INTEGER_MAX {
        return Err(JsonFaultKind::IntegerOutOfRange);
    }
    Ok(number)
}

fn float(text: &str, parts: &Parts<'_>) -> Result<Number, JsonFaultKind> {
    let value: f64 = text.parse().map_err(|_| JsonFaultKind::Syntax)?;
    let number = Number::from_f64(value).ok_or(JsonFaultKind::NumberNotExact)?;
    let written = Decimal::of(parts).ok_or(JsonFaultKind::NumberNotExact)?;
    let always = written.digits.len() <= DIGITS_ALWAYS_EXACT && NORMAL_RANGE.contains(&written.exponent);
    if always || written_back(&number) == Some(written) {
        Ok(number)
    } else {
        Err(JsonFaultKind::NumberNotExact)
    }
}

/// What `serde_json` writes for a float: the shortest decimal that reads back as it, the even one of two equally near
/// ones (ECMAScript and Python write the same; Rust's own formatter takes the upper one).
fn written_back(number: &Number) -> Option<Decimal> {
    Decimal::of(&split(&number.to_string())?)
}

/// The magnitude of a decimal number in one spelling: `0.digits × 10^exponent`, digits without zeros at either end.
#[derive(PartialEq)]
struct Decimal {
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` for an exponent beyond anything that an `f64` has, unless the number is zero all the same.
    fn of(parts: &Parts<'_>) -> Option<Self> {
        let mut digits = String::with_capacity(parts.whole.len() + parts.fraction.len());
        digits.push_str(parts.whole);
        digits.push_str(parts.fraction);
        let leading = digits.len() - digits.trim_start_matches('0').len();
        let significant = digits.trim_matches('0');
        if significant.is_empty() {
            return Some(Self {
                digits: String::new(),
                exponent: 0,
            });
        }
        // At most 64 bytes of number, so the sums cannot overflow once the exponent is small.
        let exponent: i64 = parts
            .exponent
            .parse()
            .ok()
            .filter(|power: &i64| power.abs() < 100_000)?;
        let point = parts.whole.len() as i64 - leading as i64;
        Some(Self {
            digits: significant.to_owned(),
            exponent: exponent + point,
        })
    }
}
