//! Signing notes.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::key::cosigned_message;
use super::{NoteSignature, SignatureKind, VerifierKey, VerifierKeyError};

/// A named Ed25519 private key. The key is wiped from memory when this is dropped and never printed.
pub struct NoteSigner {
    verifier: VerifierKey,
    key: SigningKey,
}

/// Why a signature cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// A log key was asked to cosign, or a witness key to sign as a log.
    #[error("this key does not make that kind of signature")]
    Kind,
    /// Times go up to 2^63 - 1 seconds.
    #[error("the time {0} s is out of range")]
    Time(u64),
}

impl NoteSigner {
    /// The signer that `seed` (an RFC 8032 private key) makes under `name`.
    ///
    /// The key of a witness MUST NOT be used under two names: a cosignature does not say who made it.
    ///
    /// # Errors
    /// When the name cannot be a key name.
    pub fn from_seed(name: &str, kind: SignatureKind, seed: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, kind, key.verifying_key().as_bytes())?;
        Ok(Self { verifier, key })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs `text`, which includes its final newline, as a log does (type 0x01).
    ///
    /// # Errors
    /// When this is the key of a witness.
    pub fn sign(&self, text: &str) -> Result<NoteSignature, SignerError> {
        match self.verifier.kind() {
            SignatureKind::Ed25519 => Ok(self.line(self.key.sign(text.as_bytes()).to_bytes().to_vec())),
            SignatureKind::CosignatureV1 => Err(SignerError::Kind),
        }
    }

    /// Signs `text` with a time in seconds since 1970, as a witness does (type 0x04).
    ///
    /// # Errors
    /// When this is the key of a log, or the time is beyond 2^63 - 1 s.
    pub fn cosign(&self, text: &str, unix_s: u64) -> Result<NoteSignature, SignerError> {
        match self.verifier.kind() {
            SignatureKind::Ed25519 => Err(SignerError::Kind),
            SignatureKind::CosignatureV1 => {
                let message = cosigned_message(unix_s, text).ok_or(SignerError::Time(unix_s))?;
                let signature = self.key.sign(&message).to_bytes();
                Ok(self.line([&unix_s.to_be_bytes()[..], &signature].concat()))
            }
        }
    }

    fn line(&self, bytes: Vec<u8>) -> NoteSignature {
        NoteSignature {
            name: self.verifier.name().to_owned(),
            key_id: self.verifier.key_id(),
            bytes,
        }
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NoteSigner({})", self.verifier)
    }
}
