//! A record's proof in one file, `.tlog-proof` (C2SP tlog-proof): with the leaf bytes and a trusted key, anyone can
//! check offline that the record is in the log.

use ruche_domain::numbers::LeafIndex;

use crate::hash::{Hash, leaf_hash};
use crate::note::{VerifiedSignature, VerifierKey, decode_base64, encode_base64};
use crate::policy::{Policy, PolicyError, PolicyVerdict};
use crate::proof::{PROOF_HASHES_MAX, ProofInvalid, verify_inclusion};
use crate::tree_head::{SignedTreeHead, TreeHeadError, decode_hash, parse_decimal};

/// First line of the file.
const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// Longest file that is read: a note of the greatest length, and as much again for the rest.
pub const TLOG_PROOF_BYTES_MAX: usize = 2 * crate::note::NOTE_BYTES_MAX;

/// The content of a `.tlog-proof` file. Nothing in it is believed before [`TlogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Bytes that nobody signs. They can help to find the record; they MUST NOT be trusted.
    pub extra: Option<Vec<u8>>,
    /// Index of the record.
    pub index: LeafIndex,
    /// Inclusion proof, the sibling of the leaf first.
    pub hashes: Vec<Hash>,
    /// The tree head that the proof leads to.
    pub tree_head: SignedTreeHead,
}

/// Why a file is not a proof, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Longer than [`TLOG_PROOF_BYTES_MAX`].
    #[error("the proof has {0} bytes, at most 2097152 are read")]
    TooLong(usize),
    /// The file does not have the form of C2SP tlog-proof.
    #[error("line {line} of the proof is malformed: {expected} expected")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The tree head is malformed or not to be believed.
    #[error("the tree head of the proof is refused")]
    TreeHead(#[from] TreeHeadError),
    /// The tree head does not satisfy the policy.
    #[error("the tree head of the proof is refused")]
    Policy(#[from] PolicyError),
    /// The proof does not lead from the leaf to the root.
    #[error("the record is not proved to be in the log")]
    Inclusion(#[from] ProofInvalid),
}

impl TlogProof {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{MAGIC}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", encode_base64(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&encode_base64(hash));
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.tree_head.as_bytes());
        bytes
    }

    /// Reads a file. What is accepted is written back byte for byte.
    ///
    /// # Errors
    /// When it does not have exactly the form of C2SP tlog-proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > TLOG_PROOF_BYTES_MAX {
            return Err(TlogProofError::TooLong(bytes.len()));
        }
        let mut lines = Lines {
            rest: bytes,
            number: 0,
        };
        if lines.next() != Some(MAGIC) {
            return Err(lines.expected("c2sp.org/tlog-proof@v1"));
        }
        let mut line = lines.next();
        let mut extra = None;
        if let Some(encoded) = line.and_then(|line| line.strip_prefix("extra ")) {
            extra = Some(decode_base64(encoded).ok_or_else(|| lines.expected("extra <base64>"))?);
            line = lines.next();
        }
        let index = line
            .and_then(|line| line.strip_prefix("index "))
            .and_then(parse_decimal)
            .ok_or_else(|| lines.expected("index <decimal>"))?;
        let mut hashes = Vec::new();
        loop {
            match lines.next() {
                Some("") => break,
                Some(line) if hashes.len() < PROOF_HASHES_MAX => {
                    hashes.push(decode_hash(line).ok_or_else(|| lines.expected("a hash in base64"))?);
                }
                _ => return Err(lines.expected("an empty line")),
            }
        }
        let tree_head = SignedTreeHead::parse(lines.rest)?;
        Ok(Self {
            extra,
            index: LeafIndex(index),
            hashes,
            tree_head,
        })
    }

    /// Checks that the log of one of the `trusted` keys contains the record with these leaf bytes at
    /// [`TlogProof::index`], and returns who has signed the tree head. The caller decides whether it is the
    /// right log: the origin is in the tree head.
    ///
    /// # Errors
    /// When the tree head is not signed by its log, or the proof does not lead from the leaf to its root.
    pub fn verify<'k>(
        &self,
        leaf: &[u8],
        trusted: &'k [VerifierKey],
    ) -> Result<Vec<VerifiedSignature<'k>>, TlogProofError> {
        let verified = self.tree_head.verify(trusted)?;
        self.verify_leaf(leaf)?;
        Ok(verified)
    }

    /// The same with a policy that says which logs and how many witnesses.
    ///
    /// # Errors
    /// When the tree head does not satisfy the policy, or the proof does not lead from the leaf to its root.
    pub fn verify_with_policy<'p>(
        &self,
        leaf: &[u8],
        policy: &'p Policy,
    ) -> Result<PolicyVerdict<'p>, TlogProofError> {
        let verdict = policy.evaluate(&self.tree_head)?;
        self.verify_leaf(leaf)?;
        Ok(verdict)
    }

    fn verify_leaf(&self, leaf: &[u8]) -> Result<(), ProofInvalid> {
        verify_inclusion(
            &leaf_hash(leaf),
            self.index,
            &self.tree_head.head().tree_root(),
            &self.hashes,
        )
    }
}

/// Complete lines from the front of a file.
struct Lines<'b> {
    rest: &'b [u8],
    number: usize,
}

impl<'b> Lines<'b> {
    /// The next line without its newline; `None` when it is not complete or not UTF-8.
    fn next(&mut self) -> Option<&'b str> {
        self.number += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&self.rest[..end]).ok()?;
        self.rest = &self.rest[end + 1..];
        Some(line)
    }

    fn expected(&self, expected: &'static str) -> TlogProofError {
        TlogProofError::Line {
            line: self.number,
            expected,
        }
    }
}

#[cfg(test)]
mod tests;
