//! Signed notes (C2SP signed-note v1.0.0): text, an empty line, signature lines.
//!
//! A note is read strictly and believed only when a key that the reader already trusts has signed it. A key that
//! comes inside the thing it signs is no key at all.
//!
//! A signature by a trusted key that does not verify rejects the whole note: the line may be an accident, but it
//! may also be an attack on readers who know fewer keys.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

mod key;
mod signer;

pub use key::{SignatureKind, VerifierKey, VerifierKeyError};
pub use signer::{NoteSigner, SignerError};

/// Longest note that is read.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signature lines a note may have; C2SP asks for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;
/// Longest key name. C2SP sets no limit; names are origins, which are shorter.
pub const KEY_NAME_BYTES_MAX: usize = 512;

/// Bytes of a key id in front of the signature.
const KEY_ID_BYTES: usize = 4;

/// One signature line: who claims to have signed, and the signature bytes. Nothing in it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NoteSignature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// Name of the key that claims to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of that key: the first four bytes of a hash of name and key.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature, without the key id. For a cosignature: eight bytes of time, then the signature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The line as it stands in a note, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let payload = [&self.key_id.to_be_bytes(), self.bytes.as_slice()].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(payload))
    }

    /// Reads one line, without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, payload) = line.strip_prefix("— ")?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let payload = decode_base64(payload)?;
        let (key_id, bytes) = payload.split_first_chunk::<KEY_ID_BYTES>()?;
        if bytes.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*key_id),
            bytes: bytes.to_vec(),
        })
    }
}

/// A well-formed note of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why bytes are not a note, or not one to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES_MAX`].
    #[error("the note has {0} bytes, at most 1048576 are read")]
    TooLong(usize),
    /// More lines than [`NOTE_SIGNATURES_MAX`].
    #[error("the note has more than 64 signatures")]
    TooManySignatures,
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// A control character other than newline.
    #[error("the note holds a control character")]
    ControlCharacter,
    /// No empty line between text and signatures, or no newline at the end.
    #[error("the note has no text, empty line and signature lines")]
    NoSignatureBlock,
    /// A signature line is not one.
    #[error("signature line {0} is malformed")]
    SignatureLine(usize),
    /// The text does not end with a newline.
    #[error("the text does not end with a newline")]
    TextUnterminated,
    /// No signature by any of the trusted keys.
    #[error("no trusted key has signed the note")]
    NoTrustedSignature,
    /// A signature by a trusted key does not verify.
    #[error("the signature of {name} does not verify")]
    SignatureInvalid {
        /// Name of the key.
        name: String,
    },
    /// Two different trusted keys have the same name and id.
    #[error("two trusted keys are named {name} with the same id")]
    KeysAmbiguous {
        /// The name.
        name: String,
    },
}

/// A signature that was checked with a trusted key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSignature<'k> {
    /// The trusted key.
    pub key: &'k VerifierKey,
    /// When the cosigner says it saw the tree head, in seconds since 1970. `None` for a plain signature.
    pub cosigned_at_s: Option<u64>,
}

impl Note {
    /// Puts signatures under a text.
    ///
    /// # Errors
    /// When the text holds control characters or does not end in a newline, there are no signatures or too many,
    /// or the note becomes too long.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::TextUnterminated);
        }
        if signatures.is_empty() {
            return Err(NoteError::NoSignatureBlock);
        }
        if signatures.len() > NOTE_SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        let note = Self { text, signatures };
        let length = note.to_text().len();
        if length > NOTE_BYTES_MAX {
            Err(NoteError::TooLong(length))
        } else {
            Ok(note)
        }
    }

    /// Reads a note. What is accepted prints back byte for byte.
    ///
    /// # Errors
    /// When the bytes are not a well-formed note within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)?;
        check_characters(whole)?;
        // The text may hold empty lines; signature lines cannot, so the last one divides.
        let divide = whole.rfind("\n\n").ok_or(NoteError::NoSignatureBlock)?;
        let (text, block) = (&whole[..=divide], &whole[divide + 2..]);
        let block = block.strip_suffix('\n').ok_or(NoteError::NoSignatureBlock)?;
        let mut signatures = Vec::new();
        for line in block.split('\n') {
            if signatures.len() == NOTE_SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            let malformed = NoteError::SignatureLine(signatures.len() + 1);
            signatures.push(NoteSignature::parse(line).ok_or(malformed)?);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The signed text, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in their order. Nothing in them is checked.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note as it is stored and sent.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut whole = self.text.clone();
        whole.push('\n');
        for signature in &self.signatures {
            whole
                .write_str(&signature.to_line())
                .expect("writing to a String cannot fail");
        }
        whole
    }

    /// Checks the note with the keys the caller trusts and returns who has signed, each key once, in the order of
    /// the lines. Lines by other keys are passed over, even if name or id (but not both) belong to a trusted key.
    ///
    /// # Errors
    /// When no trusted key has signed, or any line by a trusted key does not verify, a repeated line included.
    pub fn verify<'k>(&self, trusted: &'k [VerifierKey]) -> Result<Vec<VerifiedSignature<'k>>, NoteError> {
        let mut verified: Vec<VerifiedSignature<'k>> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = find_key(trusted, signature)? else {
                continue;
            };
            let checked = key
                .verify(&self.text, signature)
                .ok_or_else(|| NoteError::SignatureInvalid {
                    name: signature.name.clone(),
                })?;
            if !verified.iter().any(|earlier| earlier.key == key) {
                verified.push(checked);
            }
        }
        if verified.is_empty() {
            Err(NoteError::NoTrustedSignature)
        } else {
            Ok(verified)
        }
    }
}

/// The trusted key of a line, if there is one.
fn find_key<'k>(
    trusted: &'k [VerifierKey],
    signature: &NoteSignature,
) -> Result<Option<&'k VerifierKey>, NoteError> {
    let mut matching = trusted
        .iter()
        .filter(|key| key.name() == signature.name && key.key_id() == signature.key_id);
    let found = matching.next();
    match matching.find(|key| Some(*key) != found) {
        None => Ok(found),
        Some(key) => Err(NoteError::KeysAmbiguous {
            name: key.name().to_owned(),
        }),
    }
}

/// Refuses ASCII control characters other than newline (C2SP signed-note, "Format").
fn check_characters(text: &str) -> Result<(), NoteError> {
    let bad = text.bytes().any(|byte| byte < 0x20 && byte != b'\n');
    if bad {
        Err(NoteError::ControlCharacter)
    } else {
        Ok(())
    }
}

/// Whether `name` can be a key name: not empty, no Unicode space, no plus, no control character.
pub(crate) fn is_key_name(name: &str) -> bool {
    (1..=KEY_NAME_BYTES_MAX).contains(&name.len())
        && !name
            .chars()
            .any(|character| character.is_whitespace() || character < ' ' || character == '+')
}

/// Reads standard, padded base64 in its only spelling: leftover bits must be zero.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Writes standard, padded base64.
pub(crate) fn encode_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
