//! Money without floats: a decimal kept exactly, added up exactly.
//!
//! Providers bill fractions such as `0.0035475000000000003`, which no single 64-bit column holds. Two do: whole
//! billionths (`nanos`) and the rest in units of 10^-27, from 0 up to but not including one billionth. A value has one
//! such form, so equal sums are equal rows, and any engine can add and carry with integers alone.

use std::fmt;

use ruche_domain::measures::Amount;

use crate::bounds::AMOUNT_UNITS_MAX;
use crate::projection::PoisonReason;

/// Decimal places that are kept.
const PLACES: usize = 27;
/// Units of one billionth.
const REST: i128 = 1_000_000_000_000_000_000;
/// Units of one of the currency.
const UNIT: i128 = REST * 1_000_000_000;

/// An exact sum of money in units of 10^-27, without its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i128);

impl Money {
    /// The sum that the decimal text says; nothing where that cannot be held exactly: more than 27 decimal places, or
    /// more than [`AMOUNT_UNITS_MAX`].
    pub fn of(amount: &Amount) -> Option<Self> {
        let text = amount.as_str();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // Zeros behind the last place that says something do not count.
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > PLACES {
            return None;
        }
        let units: i128 = format!("{whole}{fraction:0<PLACES$}").parse().ok()?;
        let fits = units <= i128::from(AMOUNT_UNITS_MAX) * UNIT;
        fits.then_some(Self(if negative { -units } else { units }))
    }

    /// The sum of two.
    ///
    /// # Errors
    /// It does not fit.
    pub fn plus(self, other: Self) -> Result<Self, PoisonReason> {
        let sum = self.0.checked_add(other.0);
        sum.map(Self).ok_or(PoisonReason::TooLarge("an amount"))
    }

    /// The two columns: billionths, and the rest in units of 10^-27, never negative.
    ///
    /// # Errors
    /// The billionths do not fit.
    pub fn columns(self) -> Result<(i64, i64), PoisonReason> {
        let nanos =
            i64::try_from(self.0.div_euclid(REST)).map_err(|_| PoisonReason::TooLarge("an amount"))?;
        let rest = i64::try_from(self.0.rem_euclid(REST)).expect("a rest is below 10^18");
        Ok((nanos, rest))
    }

    /// The sum of many rows: their billionths, and their rests split at 10^-18 so that neither sum can overflow.
    pub fn of_sums(nanos: i64, rests_high: i64, rests_low: i64) -> Self {
        let rest = i128::from(rests_high) * 1_000_000_000 + i128::from(rests_low);
        Self(i128::from(nanos) * REST + rest)
    }

    /// The sum that two columns hold.
    pub fn of_columns(nanos: i64, rest: i64) -> Self {
        Self(i128::from(nanos) * REST + i128::from(rest))
    }
}

impl fmt::Display for Money {
    /// Decimal text without needless zeros; reads back as the same sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = format!("{:0>28}", self.0.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len() - PLACES);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Option<Money> {
        Money::of(&text.parse().unwrap())
    }

    #[test]
    fn amounts_are_kept_exactly() {
        for text in [
            "0",
            "-1",
            "0.0035475000000000003",
            "9000",
            "-9000",
            "-0.000000000000000000000000001",
        ] {
            let money = money(text).unwrap();
            assert_eq!(money.to_string(), text);
            let (nanos, rest) = money.columns().unwrap();
            assert!((0..1_000_000_000_000_000_000).contains(&rest));
            assert_eq!(Money::of_columns(nanos, rest), money);
        }
        assert_eq!(money("12.50").unwrap().to_string(), "12.5");
    }

    #[test]
    fn sums_carry() {
        let a = money("0.0000000009999999")
            .unwrap()
            .plus(money("0.0000000000000001").unwrap());
        assert_eq!(a.unwrap().to_string(), "0.000000001");
        assert_eq!(
            money("0.1")
                .unwrap()
                .plus(money("-0.3").unwrap())
                .unwrap()
                .to_string(),
            "-0.2"
        );
    }

    #[test]
    fn what_does_not_fit_is_unknown_and_not_rounded() {
        for text in [
            "0.0000000000000000000000000001",
            "9000.000000000000000000000000001",
            "-9001",
            "10000000000",
            "9999999999999999999999999999999999999999",
        ] {
            assert!(money(text).is_none(), "{text}");
        }
        assert!(money("0.00000000000000000000000000100000").is_some());
    }
}
