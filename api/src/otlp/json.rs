//! What the JSON encoding of OTLP does otherwise: ids in hex, 64-bit numbers as text or number, one member for the
//! kind of a value. Unknown members are passed over, as the specification asks.

use base64::Engine as _;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::wire::{AnyValue, Value};

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Number {
    Int(i64),
    Unsigned(u64),
    Text(String),
}

/// An id in hex. What is no hex is no id: it is left empty, and the span is refused for it alone.
pub fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    // One byte is no length of an id, and tells it from an id that is absent.
    Ok(hex::decode(&text).unwrap_or_else(|_| vec![0]))
}

/// A 64-bit number.
pub fn u64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Unsigned(number)) => Ok(number),
        Some(Number::Int(number)) => u64::try_from(number).map_err(D::Error::custom),
        Some(Number::Text(text)) => text.parse().map_err(D::Error::custom),
    }
}

fn i64(number: Number) -> Result<i64, String> {
    match number {
        Number::Int(number) => Ok(number),
        Number::Unsigned(number) => i64::try_from(number).map_err(|error| error.to_string()),
        Number::Text(text) => text
            .parse()
            .map_err(|_| "an intValue that is no 64-bit number".to_owned()),
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = AnyValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value: an object with one member such as stringValue")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut value = None;
        while let Some(name) = map.next_key::<String>()? {
            let read = match name.as_str() {
                "stringValue" => map.next_value::<Option<String>>()?.map(Value::Text),
                "boolValue" => map.next_value::<Option<bool>>()?.map(Value::Bool),
                "intValue" => {
                    let number = map.next_value::<Option<Number>>()?.map(i64);
                    number.transpose().map_err(A::Error::custom)?.map(Value::Int)
                }
                "doubleValue" => map.next_value::<Option<Double>>()?.map(|n| Value::Double(n.0)),
                "arrayValue" => map.next_value::<Option<_>>()?.map(Value::Array),
                "kvlistValue" => map.next_value::<Option<_>>()?.map(Value::Map),
                "bytesValue" => {
                    let text = map.next_value::<Option<String>>()?;
                    let bytes = text.map(|text| base64::engine::general_purpose::STANDARD.decode(text));
                    bytes.transpose().map_err(A::Error::custom)?.map(Value::Bytes)
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            value = read.or(value);
        }
        Ok(AnyValue { value })
    }
}

/// A number, or `NaN` and the infinities in words.
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}
