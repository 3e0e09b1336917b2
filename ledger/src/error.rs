//! Errors of the ledger: few kinds, each telling the caller what to do.

use crate::cbor::CborError;

/// What is wrong with a request or with stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The request is larger than Ruche takes. Split it.
    #[error("{what} has {value} {unit}, at most {limit} are taken")]
    LimitExceeded {
        /// Which quantity.
        what: &'static str,
        /// What was given.
        value: u64,
        /// What is taken.
        limit: u64,
        /// Unit of both.
        unit: &'static str,
    },
    /// The request contradicts itself. Correct it.
    #[error("{0}")]
    Invalid(String),
    /// Bytes are not a leaf of a known format version.
    #[error("not a leaf: {0}")]
    Leaf(#[from] LeafError),
}

impl LedgerError {
    pub(crate) fn limit(what: &'static str, value: usize, limit: usize, unit: &'static str) -> Self {
        Self::LimitExceeded {
            what,
            value: value as u64,
            limit: limit as u64,
            unit,
        }
    }
}

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Longer than any leaf.
    #[error("{0} bytes, a leaf has at most 1024")]
    TooLong(usize),
    /// Not in deterministic CBOR.
    #[error("field {field}: {source}")]
    Cbor {
        /// Name of the field as in docs/formats/record.md.
        field: &'static str,
        /// What is wrong.
        source: CborError,
    },
    /// A format version that this program does not know. Use a newer one.
    #[error("format version {0} is not known here")]
    Version(u64),
    /// A field has a value that the format does not allow.
    #[error("field {field}: {reason}")]
    Field {
        /// Name of the field as in docs/formats/record.md.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Encoding the decoded leaf again gives other bytes.
    #[error("not in canonical form")]
    NotCanonical,
}
