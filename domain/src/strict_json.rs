//! Reads payload bytes at the edge and refuses what two readers could understand differently.
//!
//! Payload bytes are stored and committed as received, so whatever enters must mean the same to every later reader.
//! Refused: text that is not UTF-8, NUL, lone surrogates, two members of one name, numbers that do not survive the
//! common number types, nesting and size beyond the limits, anything after the value. Each refusal says why, where
//! (RFC 6901 pointer) and at which byte.
//!
//! What is accepted is read exactly as `serde_json` reads it; a property test holds the two against each other. The
//! scanner is our own because `serde_json` keeps the last of two equal names and rounds numbers without a word.
//! Nesting is at most [`JSON_DEPTH_MAX`], which bounds the recursion.

mod number;
mod scan;

use std::fmt;

use serde_json::Value;

use crate::limits::{JSON_DEPTH_MAX, JSON_NUMBER_BYTES_MAX};
use scan::{Path, Scanner};

/// Largest integer of the convenience form: beyond ±2^53 a JavaScript client has already rounded.
pub const CONVENIENCE_INTEGER_MAX: u64 = 1 << 53;

/// Who wrote the text, and so which numbers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The exact bytes of the client: integers of the ranges of `i64` and `u64`.
    Exact,
    /// The convenience form (GraphQL `json`), which came through the client's number type: integers up to ±2^53.
    Convenience,
}

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonFaultKind {
    /// There is nothing but white space.
    Empty,
    /// Longer than the limit of the caller.
    TooLarge,
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    TooDeep,
    /// Not UTF-8.
    InvalidUtf8,
    /// U+0000, raw or escaped. Databases and C programs cut texts there.
    Nul,
    /// Half of a surrogate pair in an escape; not a character.
    LoneSurrogate,
    /// A name that the object already has, after unescaping.
    DuplicateKey,
    /// An integer beyond the range of the profile.
    IntegerOutOfRange,
    /// A fraction or power that no `f64` stands for exactly enough to be written back.
    NumberNotExact,
    /// More than [`JSON_NUMBER_BYTES_MAX`] bytes of number.
    NumberTooLong,
    /// Something follows the value.
    TrailingData,
    /// Not JSON (RFC 8259).
    Syntax,
}

/// A refusal: what, where, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// Why.
    pub kind: JsonFaultKind,
    /// JSON pointer (RFC 6901) to the innermost value that is at fault; empty for the whole text.
    pub pointer: String,
    /// Offset of the fault, bytes from the start.
    pub offset: usize,
}

impl JsonFaultKind {
    /// What is wrong, as the end of a sentence.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "there is no value",
            Self::TooLarge => "the text is longer than the limit",
            Self::TooDeep => "nested deeper than 64 levels",
            Self::InvalidUtf8 => "not UTF-8",
            Self::Nul => "U+0000 is not allowed",
            Self::LoneSurrogate => "a lone surrogate is not a character",
            Self::DuplicateKey => "the object has this name twice",
            Self::IntegerOutOfRange => "integer out of range: send it as a string",
            Self::NumberNotExact => "number would be rounded: send it as a string",
            Self::NumberTooLong => "number longer than 64 bytes: send it as a string",
            Self::TrailingData => "something follows the value",
            Self::Syntax => "not JSON",
        }
    }
}

// The texts above name the limits.
const _: () = assert!(JSON_DEPTH_MAX == 64 && JSON_NUMBER_BYTES_MAX == 64);

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {:?} (byte {})",
            self.kind.reason(),
            self.pointer,
            self.offset
        )
    }
}

impl std::error::Error for JsonFault {}

/// Reads one JSON value of at most `bytes_max` bytes.
///
/// If several things are wrong, the first in the text is reported; size is looked at before anything else.
pub fn read(bytes: &[u8], bytes_max: usize, profile: Profile) -> Result<Value, JsonFault> {
    if bytes.len() > bytes_max {
        let pointer = String::new();
        return Err(JsonFault {
            kind: JsonFaultKind::TooLarge,
            pointer,
            offset: bytes_max,
        });
    }
    // The part before invalid UTF-8 is read all the same: the fault needs its pointer, and an earlier one goes first.
    let (text, truncated) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            (
                std::str::from_utf8(valid).expect("valid up to here, says the error"),
                true,
            )
        }
    };
    Scanner::new(text, truncated, profile)
        .document()
        .map_err(|path: Box<Path>| path.into_fault())
}

/// A name as a token of a JSON pointer (RFC 6901 §3).
pub fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
