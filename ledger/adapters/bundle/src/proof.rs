//! Verifying one record with its `.tlog-proof`, without the export.

use std::time::Instant;

use ruche_ledger::hash::leaf_hash;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::proof::verify_inclusion;
use ruche_ledger::tlog_proof::{TlogProof, TlogProofError};
use ruche_ledger::verify::{Finding, FindingKind, Findings};

use crate::report::{EpochReport, Report};
use crate::trust::{Trust, named};

/// Verifies that the log which signed the tree head in `proof` holds the record with these leaf bytes, at the place
/// the leaf names. The payload is not part of it.
#[must_use]
pub fn verify_proof(proof: &[u8], leaf: &[u8], trust: &Trust) -> Report {
    let started = Instant::now();
    let mut findings = Findings::keeping(100);
    let mut found = |kind, reason: String| findings.push(Finding::of_ledger(kind, reason));
    let mut epochs = Vec::new();
    match TlogProof::parse(proof) {
        Err(TlogProofError::TreeHead(error)) => {
            let (kind, reason) = named(&error);
            found(kind, reason);
        }
        Err(error) => found(FindingKind::FileMalformed, error.to_string()),
        Ok(proof) => {
            let head = proof.tree_head.head();
            let key = match trust.check(&proof.tree_head) {
                Ok(key) => Some(key.to_string()),
                Err((kind, reason)) => {
                    found(kind, reason);
                    None
                }
            };
            let tree = head.tree_root();
            if let Err(error) = verify_inclusion(&leaf_hash(leaf), proof.index, &tree, &proof.hashes) {
                found(FindingKind::RootMismatch, error.to_string());
            }
            match Leaf::decode(leaf) {
                Err(error) => found(FindingKind::LeafMalformed, error.to_string()),
                Ok(leaf) => {
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
            epochs.push(EpochReport {
                // The number of the epoch is the last part of an origin by custom only; the report says the origin.
                epoch: ruche_domain::numbers::Epoch(0),
                origin: head.origin.clone(),
                size: head.size,
                root: Some(head.root),
                records: 1,
                authenticated_by: key,
            });
        }
    }
    Report::new(findings, None, epochs, started.elapsed().as_secs_f64())
}
