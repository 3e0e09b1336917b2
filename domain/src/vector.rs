//! A vector that stands for a text: what a model made of it. Ruche makes none; it keeps what it is told and compares.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{VECTOR_NUMBERS_MAX, VECTOR_TEXT_BYTES_MAX};

/// Bytes of one number.
const NUMBER_BYTES: usize = size_of::<f32>();

/// From 1 to 4,096 numbers, all of them finite and not all of them zero. In JSON: base64 (RFC 4648 §4, with its padding) of
/// the numbers as 32-bit floats, the lowest byte first. A vector has one spelling.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Vector(Vec<u8>);

/// Why bytes or a text are no vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAVector {
    /// The text is longer than any vector.
    #[error(
        "a vector is base64 of at most {VECTOR_TEXT_BYTES_MAX} characters ({VECTOR_NUMBERS_MAX} numbers); this has {0}"
    )]
    TooLong(usize),
    /// The text is not base64, or not in its one spelling.
    #[error("a vector is base64 with its padding (RFC 4648 §4): {0}")]
    NotBase64(String),
    /// The bytes are not four for each number.
    #[error("a vector has four bytes for each number, and these are {0}")]
    Halved(usize),
    /// There is no number.
    #[error("a vector has at least one number")]
    Empty,
    /// There are too many numbers.
    #[error("a vector has at most {VECTOR_NUMBERS_MAX} numbers; this has {0}")]
    TooMany(usize),
    /// One of them is infinite or none.
    #[error("number {0} of the vector (from 0) is not finite")]
    NotFinite(usize),
    /// It has no direction.
    #[error("all numbers of the vector are zero: it has no direction")]
    AllZero,
}

impl Vector {
    /// The vector with these numbers.
    ///
    /// # Errors
    /// They are none of a vector; so below.
    pub fn new(numbers: &[f32]) -> Result<Self, NotAVector> {
        Self::from_bytes(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    /// The vector whose numbers have these bytes.
    ///
    /// # Errors
    /// Those of [`Vector::new`], or the bytes are not four for each number.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, NotAVector> {
        if !bytes.len().is_multiple_of(NUMBER_BYTES) {
            return Err(NotAVector::Halved(bytes.len()));
        }
        match bytes.len() / NUMBER_BYTES {
            0 => return Err(NotAVector::Empty),
            numbers if numbers > VECTOR_NUMBERS_MAX => return Err(NotAVector::TooMany(numbers)),
            _ => {}
        }
        if let Some(at) = numbers_of(&bytes).position(|number| !number.is_finite()) {
            return Err(NotAVector::NotFinite(at));
        }
        if numbers_of(&bytes).all(|number| number == 0.0) {
            return Err(NotAVector::AllZero);
        }
        Ok(Self(bytes))
    }

    /// The bytes of its numbers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.0.len() / NUMBER_BYTES
    }

    /// Its numbers.
    pub fn numbers(&self) -> impl Iterator<Item = f32> + '_ {
        numbers_of(&self.0)
    }
}

/// The numbers that stand in bytes; what is left behind the last whole one is not looked at.
pub fn numbers_of(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
    numbers.iter().map(|number| f32::from_le_bytes(*number))
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Vector {
    /// Its length: its numbers say nothing to people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({} numbers)", self.count())
    }
}

impl FromStr for Vector {
    type Err = NotAVector;

    fn from_str(text: &str) -> Result<Self, NotAVector> {
        if text.len() > VECTOR_TEXT_BYTES_MAX {
            return Err(NotAVector::TooLong(text.len()));
        }
        let bytes = STANDARD.decode(text);
        Self::from_bytes(bytes.map_err(|error| NotAVector::NotBase64(error.to_string()))?)
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Vector {
    fn schema_name() -> Cow<'static, str> {
        "Vector".into()
    }

    /// That it is base64 is all that a schema says of it: the rest is for the reader, who says what is wrong in a few words.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vector_has_one_spelling() {
        // 1.0, -2.0 and 0.0, the lowest byte first.
        let text = "AACAPwAAAMAAAAAA";
        let vector: Vector = text.parse().unwrap();
        assert_eq!(vector.numbers().collect::<Vec<_>>(), [1.0, -2.0, 0.0]);
        assert_eq!((vector.count(), vector.to_string().as_str()), (3, text));
        assert_eq!(Vector::new(&[1.0, -2.0, 0.0]), Ok(vector));
        assert_eq!(Vector::new(&[1.0]).unwrap().to_string(), "AACAPw==");
        // Without padding, with bits behind the end, of the other alphabet, with a line end.
        for bad in ["AACAPw", "AACAPx==", "AACA_w==", "AACAPw==\n", "AACAPw=", "é"] {
            let error = bad.parse::<Vector>().unwrap_err();
            assert!(matches!(error, NotAVector::NotBase64(_)), "{bad}: {error:?}");
        }
    }

    #[test]
    fn what_is_no_vector_says_why() {
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let floats = |numbers: &[f32]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            text(&bytes)
        };
        for (text, expected) in [
            (String::new(), NotAVector::Empty),
            (text(&[1, 2, 3, 4, 5]), NotAVector::Halved(5)),
            (floats(&[1.0, f32::NAN]), NotAVector::NotFinite(1)),
            (floats(&[f32::NEG_INFINITY]), NotAVector::NotFinite(0)),
            (floats(&[0.0, -0.0]), NotAVector::AllZero),
            (
                floats(&[1.0; VECTOR_NUMBERS_MAX + 1]),
                NotAVector::TooLong(21_852),
            ),
        ] {
            assert_eq!(text.parse::<Vector>(), Err(expected));
        }
        assert_eq!(
            Vector::new(&[1.0; VECTOR_NUMBERS_MAX + 1]),
            Err(NotAVector::TooMany(VECTOR_NUMBERS_MAX + 1))
        );
        let most = Vector::new(&[1.0; VECTOR_NUMBERS_MAX]).unwrap().to_string();
        assert_eq!(most.len(), VECTOR_TEXT_BYTES_MAX);
        assert_eq!(most.parse::<Vector>().unwrap().count(), VECTOR_NUMBERS_MAX);
    }

    proptest! {
        /// Whatever the numbers, the text gives them back bit by bit or there is none.
        #[test]
        fn numbers_come_back_as_they_were(numbers in proptest::collection::vec(any::<f32>(), 0..40)) {
            let is_vector = numbers.iter().all(|number| number.is_finite()) && numbers.iter().any(|number| *number != 0.0);
            match Vector::new(&numbers) {
                Ok(vector) => {
                    prop_assert!(is_vector);
                    let back: Vector = vector.to_string().parse().unwrap();
                    let bits = |number: f32| number.to_bits();
                    prop_assert_eq!(
                        back.numbers().map(bits).collect::<Vec<_>>(),
                        numbers.into_iter().map(bits).collect::<Vec<_>>()
                    );
                }
                Err(_) => prop_assert!(!is_vector),
            }
        }

        /// No text is more than refused, and what is taken is spelled the same again.
        #[test]
        fn a_text_is_refused_or_spelled_the_same(text in "[A-Za-z0-9+/]{0,40}={0,3}|.{0,12}") {
            if let Ok(vector) = text.parse::<Vector>() {
                prop_assert_eq!(vector.to_string(), text);
            }
        }
    }
}
