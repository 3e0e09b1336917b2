//! The text of an API key, and where requests carry it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ruche_domain::ids::ApiKeyId;
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "ruche_";
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// Length of every key, in bytes.
const LENGTH: usize = PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES;

/// A key as its holder presents it. Does not print its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Which key it claims to be.
    pub key_id: ApiKeyId,
    secret: [u8; SECRET_BYTES],
}

impl Credential {
    /// A key of these bytes.
    pub fn new(key_id: ApiKeyId, secret: [u8; SECRET_BYTES]) -> Self {
        Self { key_id, secret }
    }

    /// Reads `ruche_<32 hex>_<64 hex>`, lower case only: a key has one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            key_id: ApiKeyId::from_bytes(bytes_of(id)?),
            secret: bytes_of(secret)?,
        })
    }

    /// SHA-256 of the secret: all that is stored of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The text that its holder keeps. Shown once.
    pub fn plaintext(&self) -> String {
        format!(
            "{PREFIX}{}_{}",
            self.key_id.0.as_simple(),
            hex::encode(self.secret)
        )
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.key_id)
    }
}

fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The key of a request: `Bearer <key>`, or the password of `Basic`. Nothing if there is none or more than one.
pub fn from_headers(headers: &HeaderMap) -> Option<Credential> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Credential::parse(rest);
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (_user, password) = pair.split_once(':')?;
        return Credential::parse(password);
    }
    None
}
