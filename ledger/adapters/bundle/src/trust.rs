//! Whom the auditor believes.

use ruche_ledger::note::{NoteError, SignatureKind, VerifierKey};
use ruche_ledger::policy::{Policy, PolicyError};
use ruche_ledger::tree_head::{SignedTreeHead, TreeHeadError};

use ruche_ledger::verify::FindingKind;

/// Keys and policy that the auditor brought. Nothing in an export can add to it.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<VerifierKey>,
    policy: Option<Policy>,
}

impl Trust {
    /// Nobody: the best that can be said is that an export agrees with itself.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The logs with these keys.
    #[must_use]
    pub const fn keys(keys: Vec<VerifierKey>) -> Self {
        Self { keys, policy: None }
    }

    /// The logs of this policy and those with these keys, each with the policy's quorum of witnesses.
    #[must_use]
    pub fn policy(policy: Policy, keys: &[VerifierKey]) -> Self {
        let policy = keys
            .iter()
            .fold(policy, |policy, key| policy.with_log(key.clone()));
        Self {
            keys: policy.logs().to_vec(),
            policy: Some(policy),
        }
    }

    /// Whether nobody is believed.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of the logs that are believed.
    #[must_use]
    pub fn log_keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The key that is believed of the log with this origin.
    pub(crate) fn key_named(&self, origin: &str) -> Option<&VerifierKey> {
        let is_log = |key: &&VerifierKey| key.kind() == SignatureKind::Ed25519 && key.name() == origin;
        self.keys.iter().find(is_log)
    }

    /// Whether the head is one to believe, and by whose key.
    pub(crate) fn check(&self, head: &SignedTreeHead) -> Result<&VerifierKey, (FindingKind, String)> {
        let Some(policy) = &self.policy else {
            return self.check_log(head);
        };
        match policy.evaluate(head) {
            Ok(verdict) => Ok(verdict.log),
            Err(PolicyError::TreeHead(TreeHeadError::NotSignedByLog { .. })) => self.check_log(head),
            Err(PolicyError::TreeHead(error)) => Err(named(&error)),
            Err(error @ PolicyError::QuorumMissed { .. }) => {
                Err((FindingKind::TreeHeadUntrusted, error.to_string()))
            }
        }
    }

    /// Whether the log has signed the head, whatever witnesses say.
    pub(crate) fn check_log(&self, head: &SignedTreeHead) -> Result<&VerifierKey, (FindingKind, String)> {
        signed_by(head, &self.keys)
    }
}

/// The one of the `keys` that signed the head of its own log.
pub(crate) fn signed_by<'k>(
    head: &SignedTreeHead,
    keys: &'k [VerifierKey],
) -> Result<&'k VerifierKey, (FindingKind, String)> {
    let verified = head.note().verify(keys).map_err(|error| named(&error.into()))?;
    let mut by_logs = verified
        .iter()
        .filter(|signature| signature.key.kind() == SignatureKind::Ed25519);
    let origin = &head.head().origin;
    match (
        by_logs.clone().find(|signature| signature.key.name() == origin),
        by_logs.next(),
    ) {
        (Some(signature), _) => Ok(signature.key),
        (None, Some(other)) => {
            let reason = format!("the key of {} signed a tree head of {origin}", other.key.name());
            Err((FindingKind::OriginMismatch, reason))
        }
        (None, None) => Err((
            FindingKind::TreeHeadUntrusted,
            "only witnesses signed it".to_owned(),
        )),
    }
}

/// The finding that says why a tree head is not believed.
pub(crate) fn named(error: &TreeHeadError) -> (FindingKind, String) {
    let kind = match error {
        TreeHeadError::Note(NoteError::SignatureInvalid { .. }) => FindingKind::TreeHeadSignatureInvalid,
        TreeHeadError::Note(NoteError::NoTrustedSignature | NoteError::KeysAmbiguous { .. })
        | TreeHeadError::NotSignedByLog { .. }
        | TreeHeadError::ForeignOrigin { .. } => FindingKind::TreeHeadUntrusted,
        TreeHeadError::Note(_)
        | TreeHeadError::Lines
        | TreeHeadError::Size
        | TreeHeadError::Root
        | TreeHeadError::EmptyRoot
        | TreeHeadError::Text
        | TreeHeadError::Signer(_) => FindingKind::TreeHeadMalformed,
    };
    (kind, error.to_string())
}
