//! Tables of prices, and what tokens cost by them: exact, in integers.
//!
//! A table is a JSON object: by model, prices of a million tokens as decimal text, and their currency.
//! `{"gpt-large": {"input": "2.50", "output": "10.00", "cache_read": "1.25", "currency": "USD"}}`. Tokens of a cache cost as
//! much as others where `cache_read` or `cache_creation` is not given. A model that is not there, or whose prices cannot be
//! read, has no price, which is not one of zero.

use std::collections::HashMap;

use ruche_domain::measures::{Amount, Currency};
use serde_json::Value;

use super::query::Exact;

/// Decimal places of a price of a million tokens.
const PRICE_PLACES: usize = 12;
/// Decimal places of what tokens cost: those, and six for the million.
pub(super) const COST_PLACES: usize = PRICE_PLACES + 6;
/// Most digits before the point of a price: with as many tokens as a column holds, the product fits 128 bits.
const PRICE_UNITS_DIGITS_MAX: usize = 7;

/// Prices of a million tokens of a model, in units of 10^-12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) currency: String,
    input: i128,
    output: i128,
    cache_read: i128,
    cache_creation: i128,
}

/// Tokens by what they are charged as.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charged {
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) cache_read: i64,
    pub(super) cache_creation: i64,
}

impl Price {
    fn read(value: &Value) -> Option<Self> {
        let currency: Currency = value["currency"].as_str()?.parse().ok()?;
        let input = price(&value["input"])?;
        let or_input = |value: &Value| match value {
            Value::Null => Some(input),
            told => price(told),
        };
        Some(Self {
            currency: currency.to_string(),
            input,
            output: price(&value["output"])?,
            cache_read: or_input(&value["cache_read"])?,
            cache_creation: or_input(&value["cache_creation"])?,
        })
    }

    /// What tokens cost, in units of 10^-18.
    pub(super) fn of(&self, tokens: Charged) -> Exact {
        let parts = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_creation, self.cache_creation),
        ];
        let cost = parts
            .iter()
            .map(|(tokens, price)| i128::from(*tokens) * price)
            .sum();
        Exact {
            units: cost,
            places: COST_PLACES,
        }
    }
}

/// The prices of a table, by model.
pub(super) fn read(table: &str) -> HashMap<String, Price> {
    let Ok(Value::Object(models)) = serde_json::from_str(table) else {
        return HashMap::new();
    };
    let priced = models.into_iter();
    priced
        .filter_map(|(model, value)| Some((crate::bounds::name(&model).into_owned(), Price::read(&value)?)))
        .collect()
}

/// A price in units of 10^-12: decimal text, or a whole number. A fraction as a number has been rounded by somebody.
fn price(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64()?.to_string(),
        _ => return None,
    };
    let amount: Amount = text.parse().ok()?;
    let (whole, fraction) = amount.as_str().split_once('.').unwrap_or((amount.as_str(), ""));
    let fraction = fraction.trim_end_matches('0');
    let fits =
        !whole.starts_with('-') && whole.len() <= PRICE_UNITS_DIGITS_MAX && fraction.len() <= PRICE_PLACES;
    fits.then(|| format!("{whole}{fraction:0<PRICE_PLACES$}").parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(table: &str, tokens: Charged) -> Option<(String, String)> {
        let prices = read(table);
        let price = prices.get("m")?;
        Some((price.of(tokens).to_string(), price.currency.clone()))
    }

    #[test]
    fn tokens_cost_what_the_table_says_to_the_last_digit() {
        let tokens = Charged {
            input: 1_000,
            output: 7,
            cache_read: 3,
            cache_creation: 1,
        };
        let told = cost(
            r#"{"m": {"input": "2.5", "output": "10.000001", "currency": "EUR"}}"#,
            tokens,
        );
        assert_eq!(told, Some(("0.002580000007".to_owned(), "EUR".to_owned())));
        let cached = r#"{"m": {"input": 2, "output": "0", "cache_read": "0.1", "cache_creation": "3", "currency": "USD"}}"#;
        assert_eq!(
            cost(cached, tokens).map(|told| told.0),
            Some("0.0020033".to_owned())
        );
    }

    #[test]
    fn a_price_that_cannot_be_read_is_none() {
        for table in [
            "[]",
            r#"{"m": {}}"#,
            r#"{"m": {"input": 2.5, "output": "1", "currency": "USD"}}"#,
            r#"{"m": {"input": "-1", "output": "1", "currency": "USD"}}"#,
            r#"{"m": {"input": "1", "output": "1", "currency": "usd"}}"#,
            r#"{"m": {"input": "1", "currency": "USD"}}"#,
            r#"{"m": {"input": "1", "output": "1", "cache_read": true, "currency": "USD"}}"#,
            r#"{"m": {"input": "12345678", "output": "1", "currency": "USD"}}"#,
        ] {
            assert_eq!(cost(table, Charged::default()), None, "{table}");
        }
    }
}
