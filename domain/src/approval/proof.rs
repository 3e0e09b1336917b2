//! Proof that whoever registers a key holds its private half.

use serde::{Deserialize, Serialize};

use super::statement::{StatementError, check_text};
use crate::ids::TenantId;
use crate::limits::{DSSE_PAYLOAD_BYTES_MAX, EXTERNAL_ID_BYTES_MAX};
use crate::measures::Digest;

/// The type under which possession of a key is signed.
pub const POSSESSION_TYPE: &str = "application/vnd.ruche.reviewer-key.v1+json";

/// Version of the form.
const VERSION: u32 = 1;

/// What a reviewer signs with a new key: that it is this person's, for this tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPossession {
    /// Version of this form.
    v: u32,
    /// The tenant that is to trust the key.
    pub tenant: TenantId,
    /// Who holds it.
    pub reviewer: String,
    /// The 32 bytes of the public key, as hexadecimal digits.
    pub public_key: Digest,
}

impl KeyPossession {
    /// What is to be signed.
    ///
    /// # Errors
    /// [`StatementError::Text`].
    pub fn new(tenant: TenantId, reviewer: &str, public_key: [u8; 32]) -> Result<Self, StatementError> {
        check_text("reviewer", reviewer, EXTERNAL_ID_BYTES_MAX)?;
        Ok(Self {
            v: VERSION,
            tenant,
            reviewer: reviewer.to_owned(),
            public_key: Digest(public_key),
        })
    }

    /// The bytes to sign.
    ///
    /// # Panics
    /// Never: all fields have a JSON form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers have a JSON form")
    }

    /// Reads signed bytes. Only called on bytes whose signature was verified under the key itself.
    ///
    /// # Errors
    /// As [`StatementError`] says.
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
        check_text("reviewer", &read.reviewer, EXTERNAL_ID_BYTES_MAX)?;
        Ok(read)
    }
}
