//! Keys of a ledger, all derived from one master seed.
//!
//! Every node of a deployment is given the same 32 random bytes and derives from them, with HKDF-SHA-256 (RFC 5869,
//! no salt), what it needs. Nothing derived is stored, and one derived key tells nothing about another:
//!
//! | key | info |
//! |---|---|
//! | log signing seed | `ruche/log-key/v1` 0x00 origin |
//! | label in origins, first 16 bytes | `ruche/origin-label/v1` 0x00 ledger id |
//! | reference key | `ruche/reference-key/v1` 0x00 ledger id (16 bytes) |
//! | idempotency key | `ruche/idempotency-key/v1` 0x00 ledger id (16 bytes) |
//! | key of passes, which browsers keep | `ruche/pass-key/v1` 0x00 |
//!
//! Who has the master seed can sign for every log of the deployment.

use std::fmt;

use hkdf::Hkdf;
use ruche_domain::ids::LedgerId;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::note::{NoteSigner, SignatureKind, VerifierKeyError};
use crate::references::{IdempotencyHasher, ReferenceKey};

/// Length of the master seed and of everything derived from it, in bytes.
pub const SEED_BYTES: usize = 32;

/// The secret that all keys of a deployment derive from. Wiped from memory when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterSeed([u8; SEED_BYTES]);

/// Bytes are not a master seed: it is exactly 32 bytes, and not all of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a master seed is 32 bytes from a random source")]
pub struct MasterSeedInvalid;

impl MasterSeed {
    /// The seed in `bytes`, which the caller has drawn from the system's random source or read from its file.
    ///
    /// # Errors
    /// When there are not 32 bytes, or all of them are zero: a file that was made but never written.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, MasterSeedInvalid> {
        let bytes: [u8; SEED_BYTES] = bytes.try_into().map_err(|_| MasterSeedInvalid)?;
        if bytes == [0; SEED_BYTES] {
            Err(MasterSeedInvalid)
        } else {
            Ok(Self(bytes))
        }
    }

    /// The bytes, for the file that keeps them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SEED_BYTES] {
        &self.0
    }

    /// Ed25519 seed (RFC 8032 private key) of the log named `origin`.
    #[must_use]
    pub fn log_signing_seed(&self, origin: &str) -> Zeroizing<[u8; SEED_BYTES]> {
        self.derive(b"ruche/log-key/v1", origin.as_bytes())
    }

    /// The signer of the log named `origin`.
    ///
    /// # Errors
    /// When the origin cannot be the name of a key.
    pub fn log_signer(&self, origin: &str) -> Result<NoteSigner, VerifierKeyError> {
        NoteSigner::from_seed(origin, SignatureKind::Ed25519, &self.log_signing_seed(origin))
    }

    /// Opaque label of a ledger in its origins. Derived and not drawn, so that a ledger whose database is lost finds
    /// again what it promised.
    #[must_use]
    pub fn origin_label(&self, ledger: LedgerId) -> [u8; 16] {
        let mut label = [0; 16];
        label.copy_from_slice(&self.derive(b"ruche/origin-label/v1", ledger.as_bytes())[..16]);
        label
    }

    /// Key that turns clients' own ids in a ledger into references.
    #[must_use]
    pub fn reference_key(&self, ledger: LedgerId) -> ReferenceKey {
        ReferenceKey::new(*self.derive(b"ruche/reference-key/v1", ledger.as_bytes()))
    }

    /// Hasher of the idempotency keys and requests of a ledger.
    #[must_use]
    pub fn idempotency_hasher(&self, ledger: LedgerId) -> IdempotencyHasher {
        IdempotencyHasher::new(*self.derive(b"ruche/idempotency-key/v1", ledger.as_bytes()))
    }

    /// Key of the passes that browsers of people are given; the same on every node.
    #[must_use]
    pub fn pass_key(&self) -> Zeroizing<[u8; SEED_BYTES]> {
        self.derive(b"ruche/pass-key/v1", b"")
    }

    fn derive(&self, label: &[u8], subject: &[u8]) -> Zeroizing<[u8; SEED_BYTES]> {
        let mut derived = Zeroizing::new([0; SEED_BYTES]);
        // No label holds a zero byte, so that label and subject cannot run into each other.
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&[label, b"\0", subject], derived.as_mut())
            .expect("HKDF-SHA-256 gives up to 8160 bytes");
        derived
    }
}

impl fmt::Debug for MasterSeed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MasterSeed(secret)")
    }
}

#[cfg(test)]
mod tests;
