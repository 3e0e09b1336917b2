//! Writing a ledger to a directory that auditors read.

use std::path::Path;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::note::VerifierKey;
use ruche_ledger::seal::SealError;
use ruche_ledger::store::EpochInfo;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_bundle::BundleWriter;

use super::{App, AppError};

impl App {
    /// Writes a ledger to a directory, sealed up to now. Returns how many records it has. `progress` is told of each
    /// page: records written, records in all.
    ///
    /// # Errors
    /// See [`AppError`]. Then the directory is not there.
    pub async fn export(
        &self,
        ledger: LedgerId,
        target: &Path,
        progress: impl Fn(u64, u64),
    ) -> Result<u64, AppError> {
        // A ledger that cannot be sealed any more is exported under its last tree head: the verifier says the rest.
        let sealed = self.sealer.seal(ledger).await;
        let epochs = self.events.epochs(ledger).await?;
        if epochs.is_empty() {
            return Err(AppError::NoLedger);
        }
        let (mut written, total) = (0, epochs.iter().map(|e| e.size.0).sum());
        let mut writer = BundleWriter::create(target, ledger)?;
        for epoch in &epochs {
            let head = self.trees.tree_head(ledger, epoch.epoch).await?;
            let Some(head) = head else {
                return Err(sealed.err().map_or(AppError::NoLedger, AppError::Seal));
            };
            let key = self.verifier_key(epoch, &head)?;
            writer.begin_epoch(epoch.epoch, &head, &key)?;
            let mut next = Position {
                epoch: epoch.epoch,
                index: LeafIndex(0),
            };
            while next.index.0 < head.head().size.0 {
                let records = self.events.read_ledger(ledger, next, READ_RECORDS_MAX).await?;
                let of_epoch = records.iter().take_while(|r| {
                    r.position.epoch == epoch.epoch && r.position.index.0 < head.head().size.0
                });
                let before = next;
                for record in of_epoch {
                    writer.record(&record.leaf_bytes, &record.payload)?;
                    next = record.position.next();
                    written += 1;
                }
                progress(written, total);
                if next == before {
                    break;
                }
            }
            writer.end_epoch()?;
        }
        writer.finish()?;
        Ok(written)
    }

    /// The key that verifies the tree heads of an epoch, `head` among them. A key of another seed is never handed out.
    ///
    /// # Errors
    /// `Seal(ForeignKey)` if the head is not signed by it.
    pub fn verifier_key(&self, epoch: &EpochInfo, head: &SignedTreeHead) -> Result<VerifierKey, AppError> {
        let key = self.sealer.keys.signer(&epoch.origin).verifier().clone();
        match head.verify(std::slice::from_ref(&key)) {
            Ok(_) => Ok(key),
            Err(source) => Err(SealError::ForeignKey {
                origin: epoch.origin.clone(),
                source,
            }
            .into()),
        }
    }
}
