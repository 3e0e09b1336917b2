//! Numbers with a meaning: index, count and version are different types, with the only legal arithmetic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DomainError;

/// Number of an epoch of a ledger, from 1. Exactly one epoch of a ledger is open.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The first epoch of every ledger.
    pub const FIRST: Self = Self(1);

    /// The epoch that follows.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Index of a record in its epoch: dense, from 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct LeafIndex(pub u64);

/// Count of records of an epoch; the index of the next record.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct TreeSize(pub u64);

impl TreeSize {
    /// Index that the next record will get.
    pub fn next_index(self) -> LeafIndex {
        LeafIndex(self.0)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Version of a stream: the 0-based number of its last event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct StreamVersion(pub u64);

impl StreamVersion {
    /// Version of the first event of a stream.
    pub const FIRST: Self = Self(0);

    /// The version that follows.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for StreamVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Version of the schema of an event type, from 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct SchemaVersion(pub u32);

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z. Times before 1970 do not occur in agent records.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// Whole milliseconds since 1970.
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// RFC 3339, UTC, whole seconds; what is beyond them is left out.
    pub fn to_rfc3339(self) -> String {
        let seconds = self.0 / 1_000_000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Year, month and day of a day since 1970-01-01 (proleptic Gregorian; Howard Hinnant's civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (
        era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day_of_year - (153 * shifted + 2) / 5 + 1,
    )
}

/// Place of a record in its ledger. Ordered by epoch, then index; printed `epoch:index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Epoch of the ledger.
    pub epoch: Epoch,
    /// Index in the epoch.
    pub index: LeafIndex,
}

impl Position {
    /// The first record a ledger can have.
    pub const START: Self = Self {
        epoch: Epoch::FIRST,
        index: LeafIndex(0),
    };

    /// A position from its two numbers.
    pub fn new(epoch: u32, index: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            index: LeafIndex(index),
        }
    }

    /// The place right behind this one in the same epoch.
    pub fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            index: LeafIndex(self.index.0 + 1),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.index)
    }
}

impl FromStr for Position {
    type Err = DomainError;

    /// Reads `epoch:index`, decimal, without signs or leading zeros; epochs count from 1.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bad = || DomainError::NotAPosition {
            text: text.to_owned(),
        };
        let (epoch, index) = text.split_once(':').ok_or_else(bad)?;
        let position = Self::new(
            epoch.parse().map_err(|_| bad())?,
            index.parse().map_err(|_| bad())?,
        );
        // What prints differently was not written by us: "+1:0", "01:0" and "0:0" are refused.
        if position.epoch.0 == 0 || position.to_string() != text {
            return Err(bad());
        }
        Ok(position)
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Position {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[1-9][0-9]{0,8}:(0|[1-9][0-9]{0,18})$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_print_and_parse_and_sort() {
        let p: Position = "2:17".parse().unwrap();
        assert_eq!(p, Position::new(2, 17));
        assert_eq!(p.to_string(), "2:17");
        assert!(Position::new(1, 1_000_000) < Position::new(2, 0));
        for bad in [
            "",
            "1",
            "1:",
            ":1",
            "0:1",
            "01:1",
            "1:+1",
            "1:1:1",
            "1: 1",
            "1:18446744073709551616",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad} was accepted");
        }
    }
}
