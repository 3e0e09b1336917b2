//! The statement that a reviewer signs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DomainError;
use crate::events::ApprovalDecision;
use crate::ids::ApprovalId;
use crate::limits::{DSSE_PAYLOAD_BYTES_MAX, EXTERNAL_ID_BYTES_MAX, ORIGIN_BYTES_MAX, VOTE_REASON_BYTES_MAX};
use crate::measures::Digest;
use crate::numbers::{Micros, Position};

/// The type under which a vote is signed.
pub const STATEMENT_TYPE: &str = "application/vnd.ruche.approval.v1+json";

/// Version of the statement.
const VERSION: u32 = 1;

/// A number that is used once: 16 bytes, 32 lower-case hexadecimal digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 16]);

/// What a request for approval is, as its record says. A vote is about exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// Origin of the epoch that holds the record.
    pub ledger: String,
    /// The request.
    pub approval_id: ApprovalId,
    /// Where `approval.requested` stands.
    pub position: Position,
    /// Hash of its leaf. It covers all that the record says, and nobody knew it before the request was made.
    pub leaf_hash: Digest,
    /// SHA-256 of the canonical action.
    pub action_digest: Digest,
    /// SHA-256 of what the reviewer is shown.
    pub view_digest: Digest,
    /// SHA-256 of the policy bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<Digest>,
    /// SHA-256 of the effective configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<Digest>,
    /// Made for the request, used up by the vote that decides it.
    pub nonce: Nonce,
    /// From when on it is void; µs since 1970 UTC.
    pub expires_at: Micros,
}

/// What a reviewer signs: one decision of one person on one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Version of this form.
    v: u32,
    /// What it is about.
    pub request: RequestFacts,
    /// Who decides, as the reviewer's key is registered.
    pub reviewer: String,
    /// Id of the key that signs.
    pub key_id: String,
    /// The decision.
    pub decision: ApprovalDecision,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why bytes are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Longer than is ever looked at.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not of the form.
    #[error("not of the form: {0}")]
    Form(String),
    /// A version that is not known here.
    #[error("version {0} is not known")]
    Version(u32),
    /// The same could be said in other bytes: spaces, another order, a field twice.
    #[error("not in the one spelling that a statement has")]
    Spelling,
    /// A text in it is empty, too long or has control characters.
    #[error("{0} is empty, too long or has control characters")]
    Text(&'static str),
}

impl Statement {
    /// A statement, with its texts checked.
    ///
    /// # Errors
    /// [`StatementError::Text`].
    pub fn new(
        request: RequestFacts,
        reviewer: &str,
        key_id: &str,
        decision: ApprovalDecision,
        reason: Option<&str>,
    ) -> Result<Self, StatementError> {
        let statement = Self {
            v: VERSION,
            request,
            reviewer: reviewer.to_owned(),
            key_id: key_id.to_owned(),
            decision,
            reason: reason.map(str::to_owned),
        };
        statement.check()?;
        Ok(statement)
    }

    /// The bytes to show and to sign: JSON without spaces, fields in the order in which they stand here.
    ///
    /// # Panics
    /// Never: all fields have a JSON form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers have a JSON form")
    }

    /// Reads signed bytes. Only called on bytes whose signature was verified.
    ///
    /// # Errors
    /// As [`StatementError`] says. What is read writes the same bytes again, so nothing in them went unread.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > DSSE_PAYLOAD_BYTES_MAX {
            return Err(StatementError::TooLong(DSSE_PAYLOAD_BYTES_MAX));
        }
        let read: Self = serde_json::from_slice(bytes).map_err(|e| StatementError::Form(e.to_string()))?;
        if read.v != VERSION {
            return Err(StatementError::Version(read.v));
        }
        if read.to_bytes() != bytes {
            return Err(StatementError::Spelling);
        }
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), StatementError> {
        check_text("ledger", &self.request.ledger, ORIGIN_BYTES_MAX)?;
        check_text("reviewer", &self.reviewer, EXTERNAL_ID_BYTES_MAX)?;
        check_text("key_id", &self.key_id, EXTERNAL_ID_BYTES_MAX)?;
        let reason = self.reason.as_deref();
        reason.map_or(Ok(()), |reason| {
            check_text("reason", reason, VOTE_REASON_BYTES_MAX)
        })
    }
}

pub(super) fn check_text(name: &'static str, text: &str, bytes_max: usize) -> Result<(), StatementError> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(StatementError::Text(name));
    }
    Ok(())
}

impl RequestFacts {
    /// Names of the fields in which two differ, in the order of the statement.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("ledger", self.ledger == other.ledger),
            ("approval_id", self.approval_id == other.approval_id),
            ("position", self.position == other.position),
            ("leaf_hash", self.leaf_hash == other.leaf_hash),
            ("action_digest", self.action_digest == other.action_digest),
            ("view_digest", self.view_digest == other.view_digest),
            ("policy_digest", self.policy_digest == other.policy_digest),
            ("config_digest", self.config_digest == other.config_digest),
            ("nonce", self.nonce == other.nonce),
            ("expires_at", self.expires_at == other.expires_at),
        ];
        let differing = all.into_iter().filter(|(_, same)| !same);
        differing.map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = DomainError;

    /// Strict: exactly 32 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bad = || DomainError::NotAWord {
            kind: "nonce (32 lower-case hex digits)",
            text: text.to_owned(),
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(bad());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| bad())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
