//! Values with rules of their own. Each type here is the wire form of one; the domain's types are made from them by
//! hand.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::strict_json::CONVENIENCE_INTEGER_MAX;

use super::time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PositionScalar(pub Position);

/// Place of a record in its ledger, `epoch:index`; the index is dense from 0 within an epoch.
#[Scalar(name = "Position")]
impl ScalarType for PositionScalar {
    fn parse(value: Value) -> InputValueResult<Self> {
        match text(value)?.parse() {
            Ok(position) => Ok(Self(position)),
            Err(_) => Err(InputValueError::custom(
                "a position is `epoch:index`, such as 1:42",
            )),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Long(pub i64);

impl Long {
    /// A count. Nothing that is counted here reaches 2^63.
    pub(super) fn count(value: u64) -> Self {
        Self(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// A whole number from -2^63 to 2^63-1, as a decimal string.
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        let parsed = match &value {
            // As a literal in a document or a variable it may be a number as well.
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text
                .parse()
                .ok()
                .filter(|parsed: &i64| parsed.to_string() == *text),
            _ => None,
        };
        parsed
            .map(Self)
            .ok_or_else(|| InputValueError::custom("a Long is a whole number in decimal digits"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(pub [u8; 32]);

/// A SHA-256 hash: 64 lower-case hex digits.
#[Scalar(name = "Hash")]
impl ScalarType for Hash {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = text(value)?;
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(&text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            _ => Err(InputValueError::custom("a hash has 64 lower-case hex digits")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(hex::encode(self.0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime(pub Micros);

/// A time: RFC 3339, UTC, microseconds. Other offsets are read and turned into UTC.
#[Scalar(
    name = "DateTime",
    specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339"
)]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = text(value)?;
        time::parse(&text).map(Self).ok_or_else(|| {
            InputValueError::custom("a time is RFC 3339 from 1970 on, such as 2026-01-31T12:00:00.000000Z")
        })
    }

    fn to_value(&self) -> Value {
        Value::String(time::format(self.0))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Json(pub serde_json::Value);

/// A JSON value. As an input it is stored as our serialisation; integers beyond ±2^53 and names that stand twice are
/// refused, because clients' libraries change them silently. `JsonText` takes those.
#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        let json = value.into_json().map_err(InputValueError::custom)?;
        match inexact(&json) {
            None => Ok(Self(json)),
            Some(number) => Err(InputValueError::custom(format!(
                "the integer {number} is beyond 2^53: send the payload as text, or the number as a string"
            ))),
        }
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// A number in the value that a client's number type would not keep.
fn inexact(value: &serde_json::Value) -> Option<&serde_json::Number> {
    match value {
        serde_json::Value::Number(number) => {
            let exact = match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(positive), _, _) => positive <= CONVENIENCE_INTEGER_MAX,
                (None, Some(negative), _) => negative.unsigned_abs() <= CONVENIENCE_INTEGER_MAX,
                // An integer literal beyond 64 bits arrives here as a fraction without fraction.
                (None, None, Some(float)) => {
                    float.fract() != 0.0 || float.abs() <= CONVENIENCE_INTEGER_MAX as f64
                }
                (None, None, None) => false,
            };
            (!exact).then_some(number)
        }
        serde_json::Value::Array(items) => items.iter().find_map(inexact),
        serde_json::Value::Object(members) => members.values().find_map(inexact),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonText(pub String);

/// JSON as text. Its UTF-8 bytes are stored and committed exactly as they are, and given back so.
#[Scalar(name = "JsonText")]
impl ScalarType for JsonText {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(text(value)?))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ErrorCode(pub &'static str);

/// Stable code of an error or refusal, in capitals; each has a page in `docs/errors/`.
#[Scalar(name = "ErrorCode")]
impl ScalarType for ErrorCode {
    fn parse(_: Value) -> InputValueResult<Self> {
        Err(InputValueError::custom("codes are only given, never taken"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_owned())
    }
}

fn text<T: async_graphql::InputType>(value: Value) -> Result<String, InputValueError<T>> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(InputValueError::expected_type(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_clients_change_are_refused_in_json() {
        let parse = |value| Json::parse(Value::from_json(value).unwrap());
        assert!(
            parse(json!({"a": [9_007_199_254_740_992_u64, -9_007_199_254_740_992_i64, 0.5, 1e-9]})).is_ok()
        );
        for bad in [
            json!(9_007_199_254_740_993_u64),
            json!({"a": [-9_007_199_254_740_993_i64]}),
            json!(1e30),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn longs_and_hashes_have_one_spelling() {
        assert_eq!(Long::parse(Value::String("-5".into())).unwrap(), Long(-5));
        assert_eq!(Long::parse(Value::from(7)).unwrap(), Long(7));
        for bad in ["", "1.0", "01", "+1", "9223372036854775808"] {
            assert!(Long::parse(Value::String(bad.into())).is_err(), "{bad}");
        }
        assert!(Hash::parse(Value::String("AB".repeat(32))).is_err());
        assert_eq!(
            Hash::parse(Value::String("ab".repeat(32))).unwrap(),
            Hash([0xab; 32])
        );
    }
}
