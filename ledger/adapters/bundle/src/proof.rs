//! Verifying one record with its `.tlog-proof`, without the export.

use std::time::Instant;

use ruche_ledger::error::LeafError;
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::proof::verify_inclusion;
use ruche_ledger::tlog_proof::{TlogProof, TlogProofError};
use ruche_ledger::verify::{Finding, FindingKind, Findings};

use crate::report::{EpochReport, Report};
use crate::trust::Trust;

/// Why there is nothing to verify: a file is another one than it should be. That is no finding about a ledger.
#[derive(Debug, thiserror::Error)]
pub enum ProofInputError {
    /// The file does not have the form of C2SP tlog-proof.
    #[error("not a proof")]
    Proof(#[source] TlogProofError),
    /// The bytes are no leaf, and no log is proved to hold them.
    #[error("not a leaf")]
    Leaf(#[source] LeafError),
}

/// Verifies that the log which signed the tree head in `proof` holds the record with these leaf bytes, at the place
/// the leaf names. The payload is not part of it.
///
/// # Errors
/// [`ProofInputError`] when a file cannot be read as what it is given for. Bytes that the log is proved to hold and
/// that are no leaf are a finding instead.
pub fn verify_proof(proof: &[u8], leaf: &[u8], trust: &Trust) -> Result<Report, ProofInputError> {
    let started = Instant::now();
    let mut findings = Findings::keeping(100);
    let mut found = |kind, reason: String| findings.push(Finding::of_ledger(kind, reason));
    let proof = TlogProof::parse(proof).map_err(ProofInputError::Proof)?;
    let head = proof.tree_head.head();
    let key = match trust.check(&proof.tree_head) {
        Ok(key) => Some(key.to_string()),
        Err((kind, reason)) => {
            found(kind, reason);
            None
        }
    };
    let included = verify_inclusion(&leaf_hash(leaf), proof.index, &head.tree_root(), &proof.hashes);
    match (Leaf::decode(leaf), &included) {
        (Err(error), Err(_)) => return Err(ProofInputError::Leaf(error)),
        (Err(error), Ok(_)) => found(FindingKind::LeafMalformed, error.to_string()),
        (Ok(leaf), _) => {
            if leaf.origin != head.origin {
                found(
                    FindingKind::ForeignRecord,
                    format!("the leaf is one of {}", leaf.origin),
                );
            }
            if leaf.index != proof.index {
                let reason = format!(
                    "the leaf is record {}, the proof is of {}",
                    leaf.index, proof.index
                );
                found(FindingKind::RecordOutOfPlace, reason);
            }
        }
    }
    if let Err(error) = included {
        found(FindingKind::RootMismatch, error.to_string());
    }
    let log = EpochReport {
        epoch: None,
        origin: head.origin.clone(),
        size: head.size,
        root: Some(head.root),
        records: 1,
        authenticated_by: key,
    };
    Ok(Report::new(
        findings,
        None,
        vec![log],
        started.elapsed().as_secs_f64(),
    ))
}
