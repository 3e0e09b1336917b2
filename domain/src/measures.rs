//! Values inside payloads that have rules of their own: digests, money, token counts, finite numbers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::DomainError;
use crate::payload::payloads;

/// A SHA-256 digest; 64 lower-case hex digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A sum of money without its currency: decimal text such as `0.0035475`, at most 40 bytes. Never a float.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Amount(String);

/// A currency: three upper-case letters (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(String);

/// A finite number. NaN and infinity have no JSON form.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Finite(f64);

/// A number from 0 to 1: a probability, a confidence, an EHI.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

/// Bytes of decimal text of an amount.
const AMOUNT_BYTES_MAX: usize = 40;
const AMOUNT_PATTERN: &str = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$";

payloads! {
    /// Tokens of model calls. Absent means unknown, which is not zero.
    pub struct Usage {
        /// Tokens read by the model, cached ones among them.
        pub input: Option<u64>,
        /// Tokens written by the model, reasoning among them.
        pub output: Option<u64>,
        /// Part of `input` that was read from a cache.
        pub cache_read: Option<u64>,
        /// Part of `input` that was written to a cache.
        pub cache_creation: Option<u64>,
        /// Part of `output` that was reasoning.
        pub reasoning: Option<u64>,
    }

    /// What something cost.
    pub struct Cost {
        /// Decimal text; never a float.
        pub amount: Amount,
        /// ISO 4217 code.
        pub currency: Currency,
        /// SHA-256 of the price table that the amount was computed from.
        pub price_table_digest: Option<Digest>,
    }

    /// Bytes kept apart from the payload, named by their digest.
    pub struct BlobRef {
        /// SHA-256 of the bytes.
        pub digest: Digest,
        /// Media type of the bytes.
        pub media_type: Option<String>,
        /// Length in bytes.
        pub bytes: Option<u64>,
        /// Id of the key that the bytes are encrypted under.
        pub key_id: Option<String>,
    }
}

impl Eq for Finite {}
impl Eq for Ratio {}

impl Finite {
    /// A number, unless it is NaN or infinite.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Ratio {
    /// A number, if it is from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Amount {
    /// The decimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Currency {
    /// The three letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DomainError;

    /// Strict: exactly 64 lower-case hex digits, so a digest has one spelling.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let bytes = text.as_bytes();
        let digits: Option<Vec<u8>> = bytes.iter().copied().map(nibble).collect();
        match digits {
            Some(digits) if digits.len() == 64 => Ok(Self(std::array::from_fn(|i| {
                digits[2 * i] << 4 | digits[2 * i + 1]
            }))),
            _ => Err(not_a("digest (64 lower-case hex digits)", text)),
        }
    }
}

impl FromStr for Amount {
    type Err = DomainError;

    /// Reads `-?(0|[1-9][0-9]*)(\.[0-9]+)?` of at most 40 bytes. Trailing zeros are kept: they are what was billed.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if text.len() > AMOUNT_BYTES_MAX || !digits(whole) || !digits(fraction) || leading_zero {
            return Err(not_a("decimal amount", text));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Currency {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        if text.len() != 3 || !text.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(not_a("currency (three upper-case letters)", text));
        }
        Ok(Self(text.to_owned()))
    }
}

fn not_a(kind: &'static str, text: &str) -> DomainError {
    DomainError::NotAWord {
        kind,
        text: text.to_owned(),
    }
}

macro_rules! text_form {
    ($($name:ident: $schema:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

text_form! {
    Digest: json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    Amount: json_schema!({ "type": "string", "pattern": AMOUNT_PATTERN, "maxLength": AMOUNT_BYTES_MAX });
    Currency: json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" });
}

macro_rules! number_form {
    ($($name:ident, $what:literal: $schema:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_f64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(f64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(concat!("not ", $what)))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

number_form! {
    Finite, "a finite number": json_schema!({ "type": "number" });
    Ratio, "a number from 0 to 1": json_schema!({ "type": "number", "minimum": 0, "maximum": 1 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimal_text() {
        for good in ["0", "-1", "0.0035475000000000003", "12.50", "1000000"] {
            assert_eq!(good.parse::<Amount>().unwrap().as_str(), good);
        }
        let long = "1".repeat(41);
        for bad in [
            "", "-", ".5", "5.", "01", "1e3", "+1", "1,0", "NaN", " 1", "--1", "1.2.3", &long,
        ] {
            assert!(bad.parse::<Amount>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn digests_have_one_spelling() {
        let text = "ea1402bc4f27311c55d06e318cef7d22ed1f33431a33ada16db71c4177283103";
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        for bad in [
            "",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}0"),
            &text.replace('e', "é"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn numbers_without_a_json_form_cannot_be_made() {
        assert!(Finite::new(f64::NAN).is_none());
        assert!(Finite::new(f64::INFINITY).is_none());
        assert!(Ratio::new(1.000_001).is_none());
        assert!(Ratio::new(-0.1).is_none());
        assert!(serde_json::from_str::<Ratio>("1.5").is_err());
        assert_eq!(serde_json::from_str::<Ratio>("1").unwrap().get(), 1.0);
    }

    #[test]
    fn unknown_usage_is_left_out_and_never_zero() {
        let usage = Usage {
            input: Some(3),
            ..Usage::default()
        };
        assert_eq!(serde_json::to_string(&usage).unwrap(), r#"{"input":3}"#);
        let null: Usage = serde_json::from_str(r#"{"input":null}"#).unwrap();
        assert_eq!(null, Usage::default());
    }
}
