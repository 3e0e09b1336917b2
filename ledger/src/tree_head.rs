//! Tree heads: what a log says of itself, signed (C2SP tlog-checkpoint v1.0.0).
//!
//! The C2SP name is "checkpoint"; here that word is kept for a projection's position, and the thing is called a
//! tree head, as in RFC 9162.

use ruche_domain::numbers::TreeSize;

use crate::hash::Hash;
use crate::note::{
    Note, NoteError, NoteSigner, SignatureKind, SignerError, VerifiedSignature, VerifierKey, decode_base64,
    encode_base64,
};
use crate::tree::{TREE_SIZE_MAX, TreeRoot};

/// The statement "the log named `origin` has `size` records, and their root is `root`". Not signed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    /// Name of the log.
    pub origin: String,
    /// Number of records.
    pub size: TreeSize,
    /// Root over them.
    pub root: Hash,
    /// Further lines, kept as they are and given no meaning. Ruche writes none: nobody can audit them.
    pub extension_lines: Vec<String>,
}

/// Why a text is not a tree head, or not one to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeHeadError {
    /// Fewer than three lines, an empty one among them, or no newline at the end.
    #[error("a tree head has three or more lines, none of them empty")]
    Lines,
    /// The size is not a decimal number in its only spelling, or is beyond [`TREE_SIZE_MAX`].
    #[error("the size is not a number of records")]
    Size,
    /// The root is not 32 bytes in base64.
    #[error("the root is not 32 bytes in base64")]
    Root,
    /// A tree without records has one root.
    #[error("the root of the empty tree is another")]
    EmptyRoot,
    /// The origin is empty, or it or an extension line holds a control character.
    #[error("the origin or an extension line cannot stand in a tree head")]
    Text,
    /// The signed note around it is malformed or not to be believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Trusted keys have signed it, but not the key of the log it speaks of.
    #[error("no trusted key of the log {origin} has signed its tree head")]
    NotSignedByLog {
        /// Origin that the tree head names.
        origin: String,
    },
    /// A log signs only its own tree heads.
    #[error("the key {key} does not sign for the log {origin}")]
    ForeignOrigin {
        /// Name of the key.
        key: String,
        /// Origin of the tree head.
        origin: String,
    },
    /// The signer cannot make such a signature.
    #[error("the tree head cannot be signed")]
    Signer(#[from] SignerError),
}

impl TreeHead {
    /// The tree head of `origin` at this size and root, without extension lines.
    #[must_use]
    pub fn new(origin: &str, tree: TreeRoot) -> Self {
        Self {
            origin: origin.to_owned(),
            size: tree.size,
            root: tree.root,
            extension_lines: Vec::new(),
        }
    }

    /// Size and root, as proofs want them.
    #[must_use]
    pub const fn tree_root(&self) -> TreeRoot {
        TreeRoot {
            size: self.size,
            root: self.root,
        }
    }

    /// Reads the text of a tree head. What is accepted prints back byte for byte.
    ///
    /// # Errors
    /// When it is not exactly the form of C2SP tlog-checkpoint.
    pub fn parse(text: &str) -> Result<Self, TreeHeadError> {
        let mut lines = text.strip_suffix('\n').ok_or(TreeHeadError::Lines)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(TreeHeadError::Lines);
        };
        let head = Self {
            origin: origin.to_owned(),
            size: TreeSize(parse_decimal(size).ok_or(TreeHeadError::Size)?),
            root: decode_hash(root).ok_or(TreeHeadError::Root)?,
            extension_lines: lines.map(str::to_owned).collect(),
        };
        head.check()?;
        Ok(head)
    }

    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, encode_base64(self.root));
        for line in &self.extension_lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Refuses what could not be read back, or no log may say.
    fn check(&self) -> Result<(), TreeHeadError> {
        let mut lines = self.extension_lines.iter().chain([&self.origin]);
        if lines.clone().any(String::is_empty) {
            return Err(TreeHeadError::Lines);
        }
        if lines.any(|line| line.bytes().any(|byte| byte < 0x20)) {
            return Err(TreeHeadError::Text);
        }
        if self.size.0 > TREE_SIZE_MAX {
            return Err(TreeHeadError::Size);
        }
        if self.size.0 == 0 && self.root != Hash::EMPTY_ROOT {
            return Err(TreeHeadError::EmptyRoot);
        }
        Ok(())
    }
}

/// A tree head with its signature lines, kept byte for byte as it was signed or received.
///
/// Having one means that it is well formed. Only [`SignedTreeHead::verify`] says whether to believe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTreeHead {
    bytes: Vec<u8>,
    note: Note,
    head: TreeHead,
}

impl SignedTreeHead {
    /// Signs `head` with the key of its log.
    ///
    /// A log MUST NOT sign two tree heads that contradict each other. Whoever calls this has compared `head` with
    /// the last one signed, and has made sure that nobody else signs meanwhile.
    ///
    /// # Errors
    /// When the key is named otherwise than the origin, is a witness key, or the head could not be read back.
    pub fn sign(head: TreeHead, signer: &NoteSigner) -> Result<Self, TreeHeadError> {
        head.check()?;
        if signer.verifier().name() != head.origin {
            return Err(TreeHeadError::ForeignOrigin {
                key: signer.verifier().name().to_owned(),
                origin: head.origin,
            });
        }
        let text = head.to_text();
        let signature = signer.sign(&text)?;
        let note = Note::new(text, vec![signature])?;
        Ok(Self {
            bytes: note.to_text().into_bytes(),
            note,
            head,
        })
    }

    /// Reads a signed tree head. Nothing is verified.
    ///
    /// # Errors
    /// When the bytes are not a well-formed note, or its text is not a tree head.
    pub fn parse(bytes: &[u8]) -> Result<Self, TreeHeadError> {
        let note = Note::parse(bytes)?;
        let head = TreeHead::parse(note.text())?;
        Ok(Self {
            bytes: bytes.to_vec(),
            note,
            head,
        })
    }

    /// The same tree head with further signature lines, as witnesses return them.
    ///
    /// # Errors
    /// When there would be too many lines.
    pub fn with_signatures(
        &self,
        more: impl IntoIterator<Item = crate::note::NoteSignature>,
    ) -> Result<Self, TreeHeadError> {
        let mut signatures = self.note.signatures().to_vec();
        for signature in more {
            if !signatures.contains(&signature) {
                signatures.push(signature);
            }
        }
        let note = Note::new(self.note.text().to_owned(), signatures)?;
        Ok(Self {
            bytes: note.to_text().into_bytes(),
            note,
            head: self.head.clone(),
        })
    }

    /// The signed note, byte for byte: what is stored, served and exported.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The note.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// What the note claims.
    #[must_use]
    pub const fn head(&self) -> &TreeHead {
        &self.head
    }

    /// Checks the signatures with the keys the caller trusts, and returns those that verified.
    ///
    /// The log itself must have signed: a trusted key of kind [`SignatureKind::Ed25519`] whose name is the
    /// origin. Witnesses alone do not make a tree head, and the key of one log does not speak for another.
    ///
    /// # Errors
    /// When it has not, or any line by a trusted key does not verify.
    pub fn verify<'k>(
        &self,
        trusted: &'k [VerifierKey],
    ) -> Result<Vec<VerifiedSignature<'k>>, TreeHeadError> {
        let verified = self.note.verify(trusted)?;
        let by_log = verified.iter().any(|signature| {
            signature.key.kind() == SignatureKind::Ed25519 && signature.key.name() == self.head.origin
        });
        if by_log {
            Ok(verified)
        } else {
            Err(TreeHeadError::NotSignedByLog {
                origin: self.head.origin.clone(),
            })
        }
    }
}

/// A decimal number in its only spelling: no sign, no leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A hash in canonical base64.
pub(crate) fn decode_hash(text: &str) -> Option<Hash> {
    Hash::from_slice(&decode_base64(text)?)
}

#[cfg(test)]
mod tests;
