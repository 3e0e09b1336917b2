//! Whom an auditor believes: trust policies (C2SP tlog-policy).
//!
//! A policy lists logs, witnesses and a quorum, the rule for how many witnesses must have cosigned a tree head.
//! The auditor brings it; one that comes inside an export says only whom the exporter believes.

use crate::note::{SignatureKind, VerifiedSignature, VerifierKey};
use crate::tree_head::{SignedTreeHead, TreeHeadError};

mod parse;

pub use parse::{PolicyLineProblem, PolicyParseError};

/// Longest policy that is read, in bytes.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Most logs, most witnesses and most groups of a policy; C2SP asks for at least 32 of each.
pub const POLICY_ITEMS_MAX: usize = 256;

/// A trust policy. Read one with [`Policy::parse`].
#[derive(Debug, Clone)]
pub struct Policy {
    /// Keys of the logs, then of the witnesses: one slice to check a note with.
    keys: Vec<VerifierKey>,
    log_count: usize,
    log_urls: Vec<Option<Vec<u8>>>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None` stands for `quorum none`.
    quorum: Option<Member>,
}

/// A witness; its key stands in [`Policy::keys`] behind those of the logs, in the same order.
#[derive(Debug, Clone)]
struct Witness {
    name: Vec<u8>,
    url: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Group {
    name: Vec<u8>,
    /// Members that must have witnessed.
    threshold: usize,
    members: Vec<Member>,
}

/// A witness or group by its number. A group's members have smaller numbers than the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// What satisfied the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVerdict<'p> {
    /// The log that signed.
    pub log: &'p VerifierKey,
    /// The witnesses that cosigned, those beyond the quorum included.
    pub cosignatures: Vec<VerifiedSignature<'p>>,
}

/// Why a tree head does not satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The tree head is not signed by a log of the policy, or holds a bad signature.
    #[error(transparent)]
    TreeHead(#[from] TreeHeadError),
    /// The log has signed, but too few witnesses.
    #[error("the cosignatures of {cosigned} witnesses do not make the quorum")]
    QuorumMissed {
        /// Witnesses of the policy that cosigned.
        cosigned: usize,
    },
}

impl Policy {
    /// Keys of the logs, in the order of the file.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.keys[..self.log_count]
    }

    /// Keys of the witnesses, in the order of the file.
    #[must_use]
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.keys[self.log_count..]
    }

    /// The URL beside a log or witness, if the file has one. Its bytes are not interpreted.
    #[must_use]
    pub fn url_of(&self, key: &VerifierKey) -> Option<&[u8]> {
        let number = self.keys.iter().position(|candidate| candidate == key)?;
        match number.checked_sub(self.log_count) {
            None => self.log_urls[number].as_deref(),
            Some(witness) => self.witnesses[witness].url.as_deref(),
        }
    }

    /// The same policy with one more log: C2SP lets a policy without logs stand where the log is known from
    /// elsewhere.
    #[must_use]
    pub fn with_log(mut self, log: VerifierKey) -> Self {
        if !self.logs().contains(&log) {
            self.keys.insert(self.log_count, log);
            self.log_urls.push(None);
            self.log_count += 1;
        }
        self
    }

    /// Checks a tree head: signed by a log of this policy, cosigned by a quorum of its witnesses.
    ///
    /// # Errors
    /// When it is not, or any line by a key of this policy does not verify.
    pub fn evaluate(&self, tree_head: &SignedTreeHead) -> Result<PolicyVerdict<'_>, PolicyError> {
        let verified = tree_head.verify(&self.keys)?;
        let not_signed = || TreeHeadError::NotSignedByLog {
            origin: tree_head.head().origin.clone(),
        };
        let log = self
            .logs()
            .iter()
            .find(|log| {
                log.name() == tree_head.head().origin
                    && verified.iter().any(|signature| signature.key == *log)
            })
            .ok_or_else(not_signed)?;
        let cosignatures: Vec<_> = verified
            .into_iter()
            .filter(|signature| signature.key.kind() == SignatureKind::CosignatureV1)
            .collect();
        if self.is_quorum(&cosignatures) {
            Ok(PolicyVerdict { log, cosignatures })
        } else {
            Err(PolicyError::QuorumMissed {
                cosigned: cosignatures.len(),
            })
        }
    }

    fn is_quorum(&self, cosignatures: &[VerifiedSignature<'_>]) -> bool {
        let Some(quorum) = self.quorum else { return true };
        let by_witness: Vec<bool> = self
            .witnesses()
            .iter()
            .map(|witness| cosignatures.iter().any(|signature| signature.key == witness))
            .collect();
        let mut by_group = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let witnessed = group
                .members
                .iter()
                .filter(|member| has_witnessed(**member, &by_witness, &by_group))
                .count();
            by_group.push(witnessed >= group.threshold);
        }
        has_witnessed(quorum, &by_witness, &by_group)
    }
}

fn has_witnessed(member: Member, by_witness: &[bool], by_group: &[bool]) -> bool {
    match member {
        Member::Witness(number) => by_witness[number],
        Member::Group(number) => by_group[number],
    }
}

#[cfg(test)]
mod tests;
