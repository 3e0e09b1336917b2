//! The 32-byte hash and the two ways RFC 6962 makes one.
//!
//! A leaf and an inner node are hashed under different prefixes (0x00 and 0x01), so that nobody can pass
//! an inner node off as a record.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Length of a hash in bytes.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 value: of a leaf, of an inner node, or a root.
///
/// Prints as 64 lower hexadecimal digits and parses from nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// Root of the tree without leaves: SHA-256 of nothing (RFC 6962 §2.1).
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// The hash standing in `bytes`; `None` unless they are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// SHA-256 of `bytes` without any prefix: for digests of documents, never for nodes of the tree.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; HASH_BYTES]> for Hash {
    fn from(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 2 * HASH_BYTES];
        hex::encode_to_slice(self.0, &mut text).expect("64 digits fit 32 bytes");
        out.pad(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not 64 lower hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct HashTextInvalid;

impl FromStr for Hash {
    type Err = HashTextInvalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(HashTextInvalid);
        }
        let mut bytes = [0_u8; HASH_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashTextInvalid)?;
        Ok(Self(bytes))
    }
}

/// Hash of a record's leaf bytes: SHA-256(0x00 || leaf) (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0x00]);
    hasher.update(leaf);
    Hash(hasher.finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // One update with all 65 bytes: three small ones cost measurably more.
    let mut input = [0x01_u8; 1 + 2 * HASH_BYTES];
    input[1..1 + HASH_BYTES].copy_from_slice(&left.0);
    input[1 + HASH_BYTES..].copy_from_slice(&right.0);
    Hash(Sha256::digest(input).into())
}

#[cfg(test)]
mod tests;
