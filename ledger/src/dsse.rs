//! DSSE envelopes: bytes that somebody signed, with the type that says how to read them.
//!
//! What is signed is the pre-authentication encoding of type and bytes (secure-systems-lab/dsse, `protocol.md`), so
//! that no reader can take one kind of document for another. An [`Envelope`] does not give its bytes away: only
//! [`Envelope::verify`] does, under a key that the reader trusts already. The key id in it is a hint and nothing more.
//!
//! Signatures are Ed25519, checked with `verify_strict`. One envelope has one signature: several people who agree sign
//! several envelopes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use ruche_domain::limits::{DSSE_ENVELOPE_BYTES_MAX, DSSE_PAYLOAD_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::hash::Hash;

/// Bytes of the DER form of an Ed25519 public key (RFC 8410 §4) in front of the key itself.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Bytes of a key hint: a SHA-256 in hexadecimal digits.
const KEY_HINT_BYTES_MAX: usize = 64;
/// Bytes of a payload type.
const PAYLOAD_TYPE_BYTES_MAX: usize = 128;

/// Why an envelope, or what is signed in it, is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// Longer than is ever looked at.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// What is taken.
        limit: usize,
    },
    /// Not an envelope.
    #[error("not a DSSE envelope: {0}")]
    Malformed(&'static str),
    /// It says that it is another kind of document.
    #[error("the payload has another type")]
    OtherType,
    /// The signature does not verify under the key.
    #[error("the signature does not verify")]
    Signature,
    /// The bytes are no point of the curve, or one in another spelling than its own, or of small order.
    #[error("not a public key of Ed25519 that can be trusted")]
    Key,
}

/// The public half of a person's key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// The private half of a person's key. It is wiped from memory when this is dropped and never printed.
pub struct PrivateKey(SigningKey);

/// A signed document that was not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    key_hint: Option<String>,
    signature: [u8; 64],
}

/// The JSON form (secure-systems-lab/dsse, `envelope.md`).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

/// What is signed: type and bytes, each behind its length (DSSE "PAE").
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl PublicKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`DsseError::Key`] for bytes that are no key, for a second spelling of one, and for a weak one, under which
    /// signatures over anything verify.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, DsseError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| DsseError::Key)?;
        // Decompression takes y + p for y. One key would then have two ids.
        if key.to_edwards().compress().as_bytes() != bytes || key.is_weak() {
            return Err(DsseError::Key);
        }
        Ok(Self(key))
    }

    /// A key from 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// As for [`PublicKey::from_bytes`].
    pub fn from_hex(text: &str) -> Result<Self, DsseError> {
        let Hash(bytes) = text.parse().map_err(|_| DsseError::Key)?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The 32 bytes as hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// What the key is called: SHA-256 of its SubjectPublicKeyInfo in DER, as hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let spki = [&SPKI_PREFIX[..], self.0.as_bytes()].concat();
        Hash::sha256(&spki).to_string()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PublicKey({})", self.to_hex())
    }
}

impl PrivateKey {
    /// The key that a seed (an RFC 8032 private key) makes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a document.
    ///
    /// # Errors
    /// [`DsseError::TooLong`] for one that no reader would look at.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Envelope, DsseError> {
        if payload.len() > DSSE_PAYLOAD_BYTES_MAX {
            return Err(DsseError::TooLong {
                limit: DSSE_PAYLOAD_BYTES_MAX,
            });
        }
        let signature = self.0.sign(&pre_authentication_encoding(payload_type, payload));
        Ok(Envelope {
            payload_type: payload_type.to_owned(),
            payload: payload.to_vec(),
            key_hint: Some(self.public().id()),
            signature: signature.to_bytes(),
        })
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PrivateKey(of {})", self.public().id())
    }
}

impl Envelope {
    /// Reads the JSON form. Nothing in it is believed yet, and the payload is not looked into.
    ///
    /// # Errors
    /// [`DsseError::TooLong`] before anything is read, else [`DsseError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, DsseError> {
        if text.len() > DSSE_ENVELOPE_BYTES_MAX {
            return Err(DsseError::TooLong {
                limit: DSSE_ENVELOPE_BYTES_MAX,
            });
        }
        let wire: Wire = serde_json::from_str(text).map_err(|_| DsseError::Malformed("its JSON"))?;
        let [signature] = &wire.signatures[..] else {
            return Err(DsseError::Malformed("it needs one signature"));
        };
        let hint_bytes = signature.keyid.as_ref().map_or(0, String::len);
        if hint_bytes > KEY_HINT_BYTES_MAX || wire.payload_type.len() > PAYLOAD_TYPE_BYTES_MAX {
            return Err(DsseError::Malformed("a name in it is too long"));
        }
        let payload = decode(&wire.payload).ok_or(DsseError::Malformed("base64 of the payload"))?;
        if payload.len() > DSSE_PAYLOAD_BYTES_MAX {
            return Err(DsseError::TooLong {
                limit: DSSE_PAYLOAD_BYTES_MAX,
            });
        }
        let bytes = decode(&signature.sig).and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            payload_type: wire.payload_type,
            payload,
            key_hint: signature.keyid.clone(),
            signature: bytes.ok_or(DsseError::Malformed("base64 of a signature of 64 bytes"))?,
        })
    }

    /// The id of the key that is said to have signed. Only good for finding a key to try.
    #[must_use]
    pub fn key_hint(&self) -> Option<&str> {
        self.key_hint.as_deref()
    }

    /// The bytes that were signed, once it is clear that this key signed them as this type.
    ///
    /// # Errors
    /// [`DsseError::Signature`], or [`DsseError::OtherType`] for a document that was signed as something else.
    pub fn verify(&self, key: &PublicKey, payload_type: &str) -> Result<&[u8], DsseError> {
        let signed = pre_authentication_encoding(&self.payload_type, &self.payload);
        let signature = Signature::from_bytes(&self.signature);
        // Strict only: what is accepted here is less than other verifiers accept, and is frozen by tests.
        key.0
            .verify_strict(&signed, &signature)
            .map_err(|_| DsseError::Signature)?;
        if self.payload_type != payload_type {
            return Err(DsseError::OtherType);
        }
        Ok(&self.payload)
    }

    /// The JSON form.
    ///
    /// # Panics
    /// Never: strings always have a JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        let wire = Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: vec![WireSignature {
                keyid: self.key_hint.clone(),
                sig: STANDARD.encode(self.signature),
            }],
        };
        serde_json::to_string(&wire).expect("strings have a JSON form")
    }
}

impl std::fmt::Debug for Envelope {
    /// Without the payload: nobody is to look at it before it is verified.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Envelope({}, {:?})", self.payload_type, self.key_hint)
    }
}

/// Both alphabets, as the protocol demands of readers.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests;
