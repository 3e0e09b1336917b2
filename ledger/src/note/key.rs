//! Verifier keys: whom a reader trusts, as a line of text.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};

use super::{NoteSignature, VerifiedSignature, decode_base64, encode_base64, is_key_name};
use crate::hash::Hash;

/// What a key signs and how (the signature type byte of C2SP signed-note).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// 0x01: Ed25519 over the text. Logs sign their tree heads so.
    Ed25519,
    /// 0x04: Ed25519 over a time and the text (C2SP tlog-cosignature v1). Witnesses sign so.
    CosignatureV1,
}

impl SignatureKind {
    /// The byte that stands for the kind in keys and key ids.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }
}

/// A public key with its name: prints as, and parses from, a C2SP "vkey", `name+hash+base64`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key_id: u32,
    kind: SignatureKind,
    key: VerifyingKey,
}

/// Why a text is not the key of somebody to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Not `name+8 hexadecimal digits+base64`.
    #[error("a verifier key reads name+hash+base64")]
    Format,
    /// The name is empty, too long, or holds a space, a plus or a control character.
    #[error("the key name is not allowed")]
    Name,
    /// A signature type that is not supported here.
    #[error("signature type {0:#04x} is not supported")]
    Kind(u8),
    /// The bytes are no point of the curve, or one in another spelling than its own.
    #[error("the key is not an Ed25519 public key")]
    Point,
    /// A key of small order verifies signatures over anything.
    #[error("the key is weak")]
    Weak,
    /// The id in the text is not that of name and key.
    #[error("the key id does not belong to this name and key")]
    KeyId,
}

impl VerifierKey {
    /// The verifier key of `name` with this Ed25519 public key.
    ///
    /// # Errors
    /// When the name cannot be a key name, or the key is not a point in canonical form, or it is weak.
    pub fn new(name: &str, kind: SignatureKind, public_key: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        if !is_key_name(name) {
            return Err(VerifierKeyError::Name);
        }
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| VerifierKeyError::Point)?;
        // Decompression takes y + p for y. One key would then have two names for the same signatures.
        if key.to_edwards().compress().as_bytes() != public_key {
            return Err(VerifierKeyError::Point);
        }
        if key.is_weak() {
            return Err(VerifierKeyError::Weak);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: key_id(name, kind, public_key),
            kind,
            key,
        })
    }

    /// Name of the key: for a log, its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256(name || 0x0A || type || public key), the first four bytes, big-endian.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    /// What the key signs and how.
    #[must_use]
    pub const fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The 32 bytes of the Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Checks one signature line over `text`; `None` when it does not verify.
    pub(super) fn verify(&self, text: &str, signature: &NoteSignature) -> Option<VerifiedSignature<'_>> {
        match self.kind {
            SignatureKind::Ed25519 => {
                self.verify_bytes(text.as_bytes(), signature.bytes())?;
                Some(VerifiedSignature {
                    key: self,
                    cosigned_at_s: None,
                })
            }
            SignatureKind::CosignatureV1 => {
                let (time, bytes) = signature.bytes().split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                self.verify_bytes(&cosigned_message(time, text)?, bytes)?;
                Some(VerifiedSignature {
                    key: self,
                    cosigned_at_s: Some(time),
                })
            }
        }
    }

    /// `verify_strict` only: what it accepts is frozen by a test, and is less than other verifiers accept.
    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let signature = Signature::from_slice(signature).ok()?;
        self.key.verify_strict(message, &signature).ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.byte()][..], self.public_key()].concat();
        write!(out, "{}+{:08x}+{}", self.name, self.key_id, encode_base64(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError::Format)?;
        let (id, key) = rest.split_once('+').ok_or(VerifierKeyError::Format)?;
        let key = decode_base64(key).ok_or(VerifierKeyError::Format)?;
        let (kind, key) = key.split_first().ok_or(VerifierKeyError::Format)?;
        let kind = match kind {
            0x01 => SignatureKind::Ed25519,
            0x04 => SignatureKind::CosignatureV1,
            other => return Err(VerifierKeyError::Kind(*other)),
        };
        let key: &[u8; 32] = key.try_into().map_err(|_| VerifierKeyError::Format)?;
        let parsed = Self::new(name, kind, key)?;
        if id == format!("{:08x}", parsed.key_id) {
            Ok(parsed)
        } else {
            Err(VerifierKeyError::KeyId)
        }
    }
}

/// Id of a key (C2SP signed-note, "Signatures").
fn key_id(name: &str, kind: SignatureKind, public_key: &[u8; 32]) -> u32 {
    let preimage = [name.as_bytes(), b"\n", &[kind.byte()], public_key].concat();
    let Hash([a, b, c, d, ..]) = Hash::sha256(&preimage);
    u32::from_be_bytes([a, b, c, d])
}

/// What a witness signs (C2SP tlog-cosignature v1). `None` for a time beyond 2^63 - 1 s.
pub(super) fn cosigned_message(unix_s: u64, text: &str) -> Option<Vec<u8>> {
    i64::try_from(unix_s).ok()?;
    Some(format!("cosignature/v1\ntime {unix_s}\n{text}").into_bytes())
}

#[cfg(test)]
mod tests;
