//! Money without floats: a decimal kept exactly, added up exactly.
//!
//! Providers bill fractions such as `0.0035475000000000003`, and in some currencies billions; no 64-bit column holds
//! both. Three do: whole units, billionths (`nanos`, from 0 up to but not including one unit) and the rest in units of
//! 10^-27, from 0 up to but not including one billionth. A value has one such form, so equal sums are equal rows, and any
//! engine can add and carry with integers alone.

use std::fmt;

use ruche_domain::measures::Amount;

use crate::bounds::AMOUNT_UNITS_MAX;
use crate::projection::PoisonReason;

/// Decimal places that are kept.
const PLACES: usize = 27;
/// Decimal places of a billionth.
const NANO_PLACES: usize = 9;
/// Units of the rest in one billionth.
const REST: i64 = 1_000_000_000_000_000_000;
/// Billionths of one of the currency.
const NANOS: i128 = 1_000_000_000;

/// An exact sum of money, without its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// Billionths, rounded down.
    nanos: i128,
    /// The rest in units of 10^-27, from 0 up to but not including one billionth.
    rest: i64,
}

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
        let fraction = format!("{fraction:0<PLACES$}");
        let (nanos, rest) = fraction.split_at(NANO_PLACES);
        let money = Self {
            nanos: format!("{whole}{nanos}").parse().ok()?,
            rest: rest.parse().ok()?,
        };
        let most = Self {
            nanos: i128::from(AMOUNT_UNITS_MAX) * NANOS,
            rest: 0,
        };
        let signed = if negative { money.negative() } else { money };
        (money <= most).then_some(signed)
    }

    /// The same sum below zero.
    fn negative(self) -> Self {
        if self.rest == 0 {
            return Self {
                nanos: -self.nanos,
                rest: 0,
            };
        }
        Self {
            nanos: -self.nanos - 1,
            rest: REST - self.rest,
        }
    }

    /// The sum of two.
    ///
    /// # Errors
    /// It does not fit.
    pub fn plus(self, other: Self) -> Result<Self, PoisonReason> {
        // Both rests are below 10^18, so their sum fits and carries at most one.
        let rest = self.rest + other.rest;
        let nanos = self.nanos.checked_add(other.nanos);
        let nanos = nanos.and_then(|nanos| nanos.checked_add(i128::from(rest / REST)));
        Ok(Self {
            nanos: nanos.ok_or(PoisonReason::TooLarge("an amount"))?,
            rest: rest % REST,
        })
    }

    /// The three columns: whole units, then billionths and the rest in units of 10^-27, neither of them negative.
    ///
    /// # Errors
    /// The whole units do not fit.
    pub fn columns(self) -> Result<(i64, i64, i64), PoisonReason> {
        let units = i64::try_from(self.nanos.div_euclid(NANOS));
        let units = units.map_err(|_| PoisonReason::TooLarge("an amount"))?;
        let nanos = i64::try_from(self.nanos.rem_euclid(NANOS)).expect("billionths are below 10^9");
        Ok((units, nanos, self.rest))
    }

    /// The sum of many rows: their units and billionths, and their rests split at 10^-18 so that no sum can overflow.
    pub fn of_sums(units: i64, nanos: i64, rests_high: i64, rests_low: i64) -> Self {
        let rest = i128::from(rests_high) * 1_000_000_000 + i128::from(rests_low);
        let carried = rest.div_euclid(i128::from(REST));
        let rest = i64::try_from(rest.rem_euclid(i128::from(REST))).expect("a rest is below 10^18");
        Self {
            nanos: i128::from(units) * NANOS + i128::from(nanos) + carried,
            rest,
        }
    }

    /// The sum in units of 10^-27, if there are not too many of them.
    pub fn scaled(self) -> Option<i128> {
        self.nanos
            .checked_mul(i128::from(REST))?
            .checked_add(i128::from(self.rest))
    }

    /// The sum that three columns hold.
    pub fn of_columns(units: i64, nanos: i64, rest: i64) -> Self {
        Self {
            nanos: i128::from(units) * NANOS + i128::from(nanos),
            rest,
        }
    }
}

impl fmt::Display for Money {
    /// Decimal text without needless zeros; reads back as the same sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, money) = if self.nanos < 0 {
            ("-", self.negative())
        } else {
            ("", *self)
        };
        let (whole, nanos) = (money.nanos / NANOS, money.nanos % NANOS);
        let fraction = format!("{nanos:0>9}{:0>18}", money.rest);
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
            "10000",
            "-9000",
            "9000000000000",
            "-9000000000000",
            "9000000000.0000000000000000000000001",
            "-0.5",
            "-1.000000000000000000000000001",
            "-0.000000000000000000000000001",
        ] {
            let money = money(text).unwrap();
            assert_eq!(money.to_string(), text);
            let (units, nanos, rest) = money.columns().unwrap();
            assert!((0..1_000_000_000).contains(&nanos));
            assert!((0..1_000_000_000_000_000_000).contains(&rest));
            assert_eq!(Money::of_columns(units, nanos, rest), money);
            let (high, low) = (rest / 1_000_000_000, rest % 1_000_000_000);
            assert_eq!(Money::of_sums(units, nanos, high, low), money);
            assert_eq!(money.negative().negative(), money);
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
            "9000000000000.00000000000000000000000001",
            "-9000000000001",
            "10000000000000",
            "9999999999999999999999999999999999999999",
        ] {
            assert!(money(text).is_none(), "{text}");
        }
        assert!(money("0.00000000000000000000000000100000").is_some());
    }
}
