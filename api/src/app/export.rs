//! Writing a ledger to a directory that auditors read.

use std::path::Path;

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::archive::ArchivedRange;
use ruche_ledger::note::VerifierKey;
use ruche_ledger::seal::SealError;
use ruche_ledger::store::EpochInfo;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_bundle::BundleWriter;

use super::{App, AppError};

#[cfg(test)]
mod tests;

/// Times that an export is begun which payloads leave the store of.
const EXPORT_TRIES_MAX: usize = 3;

/// Whether it is the same archive. How much of it is taken out does not count: the ledger told of all of it before.
fn is_same(known: &ArchivedRange, range: &ArchivedRange) -> bool {
    (known.epoch, known.from, &known.archive, known.digest)
        == (range.epoch, range.from, &range.archive, range.digest)
}

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
        for _ in 0..EXPORT_TRIES_MAX {
            let before = self.archived(ledger).await?;
            let (writer, written) = self.written(ledger, target, &progress).await?;
            // Payloads that left meanwhile are told of behind the tree head of this export: a verifier would miss them.
            let is_known = |range: &ArchivedRange| before.iter().any(|known| is_same(known, range));
            if self.archived(ledger).await?.iter().all(is_known) {
                writer.finish()?;
                return Ok(written);
            }
        }
        Err(AppError::ArchiveRefused(
            "payloads of this ledger were archived while it was exported: export it once more when that is done".to_owned(),
        ))
    }

    /// Writes all of an export but the manifest.
    async fn written(
        &self,
        ledger: LedgerId,
        target: &Path,
        progress: &impl Fn(u64, u64),
    ) -> Result<(BundleWriter, u64), AppError> {
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
                let records = self.stored.read_ledger(ledger, next, READ_RECORDS_MAX).await?;
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
        Ok((writer, written))
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
