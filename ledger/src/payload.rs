//! Payloads: the bytes that say what happened, stored beside the leaf and committed in it.
//!
//! A leaf lives for ever and holds no personal data; a payload can be erased. The leaf keeps a commitment that lets
//! anyone who still has payload and opening check them, and tells nothing to anyone who has not: the opening is 32
//! random bytes, so a short message cannot be guessed from the tree.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use ruche_domain::limits::{FRAGMENTS_PER_RECORD_MAX, MEDIA_TYPE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use ruche_domain::ports::Random;
use sha2::Sha256;

use crate::archive::ArchivedRange;
use crate::error::LedgerError;

/// Media type of event payloads.
pub const JSON: &str = "application/json";

/// How a fragment is committed. The number stands in the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// 0: HMAC-SHA-256 of the stored bytes, keyed with the opening.
    Plain = 0,
    /// 1: reserved for ciphertext under a single-use key of the data subject (design §3, "Erasure").
    Encrypted = 1,
}

impl Algorithm {
    /// The algorithm of a stored number.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Plain),
            1 => Some(Self::Encrypted),
            _ => None,
        }
    }
}

/// What a leaf says of one payload fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commitment {
    /// How the fragment is committed.
    pub algorithm: Algorithm,
    /// Media type of the plain bytes.
    pub media_type: String,
    /// Length of the stored bytes.
    pub stored_length: u64,
    /// Algorithm 0: HMAC-SHA-256(opening, stored bytes). Algorithm 1: SHA-256 of the ciphertext.
    pub commitment: [u8; 32],
    /// Algorithm 1: which subject key.
    pub key_reference: Option<[u8; 16]>,
    /// Algorithm 1: salt of the key derivation.
    pub salt: Option<[u8; 32]>,
    /// Algorithm 1: commits to the key, so that one ciphertext cannot open to two texts.
    pub key_commitment: Option<[u8; 32]>,
}

impl Commitment {
    /// Whether `bytes` are what was committed, given the opening. Algorithm 1 is reserved and never matches.
    pub fn opens(&self, opening: &[u8; 32], bytes: &[u8]) -> bool {
        self.algorithm == Algorithm::Plain
            && bytes.len() as u64 == self.stored_length
            && commit(opening, bytes) == self.commitment
    }
}

/// HMAC-SHA-256 of the stored bytes under the opening (algorithm 0).
pub fn commit(opening: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(opening).expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// A fragment ready to be stored: its commitment for the leaf, opening and bytes for the payload table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Goes into the leaf.
    pub commitment: Commitment,
    /// Stored, exported and deleted together with the bytes.
    pub opening: [u8; 32],
    /// Exactly as received. Shared: an engine keeps requests until their commit is known.
    pub bytes: Bytes,
}

impl Fragment {
    /// Commits to `bytes` under a fresh opening. Done in the caller's task, before the writer sees the event.
    ///
    /// # Errors
    /// `LedgerError::LimitExceeded` when bytes or media type are longer than a record may hold.
    pub fn plain(random: &dyn Random, media_type: &str, bytes: Vec<u8>) -> Result<Self, LedgerError> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(LedgerError::limit(
                "payload",
                bytes.len(),
                PAYLOAD_BYTES_MAX,
                "bytes",
            ));
        }
        if media_type.len() > MEDIA_TYPE_BYTES_MAX {
            return Err(LedgerError::limit(
                "media type",
                media_type.len(),
                MEDIA_TYPE_BYTES_MAX,
                "bytes",
            ));
        }
        let mut opening = [0u8; 32];
        random.fill(&mut opening);
        let commitment = Commitment {
            algorithm: Algorithm::Plain,
            media_type: media_type.to_owned(),
            stored_length: bytes.len() as u64,
            commitment: commit(&opening, &bytes),
            key_reference: None,
            salt: None,
            key_commitment: None,
        };
        Ok(Self {
            commitment,
            opening,
            bytes: bytes.into(),
        })
    }
}

/// A payload fragment as read back: present with its opening, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredFragment {
    /// Bytes and opening are there.
    Present {
        /// Key of the commitment.
        opening: [u8; 32],
        /// Bytes as received.
        bytes: Vec<u8>,
    },
    /// The eraser deleted bytes and opening, or they were lost; the leaf still stands.
    Missing,
    /// Bytes and opening are in an archive ([`crate::archive`]), and nobody had the archive at hand.
    Archived(Arc<ArchivedRange>),
}

impl StoredFragment {
    /// The bytes, if they are there.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Present { bytes, .. } => Some(bytes),
            Self::Missing | Self::Archived(_) => None,
        }
    }

    /// The archive that has them, if they are there.
    pub fn archived_in(&self) -> Option<&ArchivedRange> {
        match self {
            Self::Archived(range) => Some(range),
            Self::Present { .. } | Self::Missing => None,
        }
    }
}

/// Refuses more fragments than the stored form has room for.
pub(crate) fn check_count(count: usize) -> Result<(), LedgerError> {
    if count > FRAGMENTS_PER_RECORD_MAX {
        return Err(LedgerError::limit(
            "payload fragments",
            count,
            FRAGMENTS_PER_RECORD_MAX,
            "fragments",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    /// RFC 4231 test case 2, with the key padded to 32 bytes as HMAC itself pads it.
    #[test]
    fn the_commitment_is_hmac_sha_256() {
        let mut key = [0u8; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex::encode(commit(&key, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_fragment_opens_only_with_its_own_bytes_and_opening() {
        let f = Fragment::plain(&Fixed, JSON, b"{}".to_vec()).unwrap();
        assert!(f.commitment.opens(&[7; 32], b"{}"));
        assert!(!f.commitment.opens(&[7; 32], b"{ }"));
        assert!(!f.commitment.opens(&[8; 32], b"{}"));
    }

    #[test]
    fn too_large_a_payload_is_refused() {
        let err = Fragment::plain(&Fixed, JSON, vec![b' '; PAYLOAD_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "payload has 1048577 bytes, at most 1048576 are taken"
        );
    }
}
