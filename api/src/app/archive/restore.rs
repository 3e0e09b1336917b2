//! Putting payloads back: each one checked against its leaf, all of them before the first is written.

use std::path::Path;

use ruche_domain::limits::APPEND_BYTES_MAX;
use ruche_domain::numbers::LeafIndex;
use ruche_ledger::archive::{ArchivedRange, Attach};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{Record, StoreError};
use ruche_ledger_bundle::Archive;

use super::{App, AppError, ArchiveStep, Steps, Taken, WIDTH, hold, place};

impl App {
    /// Puts the payloads of the archive in `folder` back into the store, whatever is noted of it there. `None` if the store
    /// does not lack them and notes nothing: there is nothing to do then, as after a run that was done.
    ///
    /// # Errors
    /// See [`AppError`]. Nothing is written from an archive of another ledger, or one that is not what it was.
    pub async fn restore_archive(&self, folder: &Path, step: Steps<'_>) -> Result<Option<Taken>, AppError> {
        let archive = Archive::open(folder)?;
        let (ledger, all) = (archive.manifest().ledger, archive.range());
        let epochs = self.events.epochs(ledger).await?;
        let origin = epochs
            .iter()
            .find(|info| info.epoch == all.epoch)
            .map(|info| &info.origin);
        if origin != Some(&archive.manifest().origin) {
            return Err(AppError::ArchiveRefused(format!(
                "{} is of the log {}, which is not in this store",
                folder.display(),
                archive.manifest().origin
            )));
        }
        let _held = hold(
            folder
                .parent()
                .filter(|root| !root.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?;
        let noted = self.archived(ledger).await?;
        let noted = noted
            .into_iter()
            .find(|range| (range.epoch, range.from) == (all.epoch, all.from));
        if let Some(noted) = &noted {
            archive.must_be(ledger, noted)?;
        }
        let mut lacks = false;
        for number in all.from.0 / WIDTH..all.to.0 / WIDTH {
            lacks |= !self.missing(&archive, &all, number).await?.0.is_empty();
            step(ArchiveStep::Verified(WIDTH))?;
        }
        if noted.is_none() && !lacks {
            return Ok(None);
        }
        let mut fragments = 0;
        for number in all.from.0 / WIDTH..all.to.0 / WIDTH {
            let (missing, there) = self.missing(&archive, &all, number).await?;
            if noted.as_ref().is_some_and(|noted| number * WIDTH < noted.to.0) {
                fragments += there + missing.len() as u64;
            }
            let (mut piece, mut bytes) = (Vec::new(), 0);
            for payload in missing {
                bytes += payload.bytes.len();
                piece.push(payload);
                if bytes >= APPEND_BYTES_MAX {
                    let piece = std::mem::take(&mut piece);
                    self.engine.archives.attach(ledger, all.epoch, piece).await?;
                    bytes = 0;
                }
            }
            if !piece.is_empty() {
                self.engine.archives.attach(ledger, all.epoch, piece).await?;
            }
            step(ArchiveStep::Moved(WIDTH))?;
        }
        if let Some(noted) = noted {
            // A crash before this line leaves the payloads in both places, and the next run has nothing left to put back.
            self.engine.archives.forget(ledger, &noted, fragments).await?;
        }
        Ok(Some(Taken::of(&archive)))
    }

    /// What the store lacks of a bundle and the archive has, and how many fragments it does not lack.
    async fn missing(
        &self,
        archive: &Archive,
        range: &ArchivedRange,
        number: u64,
    ) -> Result<(Vec<Attach>, u64), AppError> {
        let first = place(range, LeafIndex(number * WIDTH));
        let records = self.bundle_of(archive.manifest().ledger, first).await?;
        let (mut missing, mut there) = (Vec::new(), 0);
        for (record, archived) in records.iter().zip(archive.bundle(number)?) {
            there += record.payload.iter().filter_map(StoredFragment::bytes).count() as u64;
            missing.extend(of_record(record, archived, range)?);
        }
        Ok((missing, there))
    }
}

fn of_record(
    record: &Record,
    archived: Vec<StoredFragment>,
    range: &ArchivedRange,
) -> Result<Vec<Attach>, StoreError> {
    let broken = |reason: &str| StoreError::Corrupt {
        place: format!("archive {}, record {}", range.archive, record.position),
        reason: reason.to_owned(),
    };
    if archived.len() != record.payload.len() {
        return Err(broken("it has other fragments than the leaf commits to"));
    }
    let mut missing = Vec::new();
    let both = record.leaf.payload.iter().zip(&record.payload).zip(archived);
    for (fragment, ((commitment, stored), archived)) in (0..).zip(both) {
        let StoredFragment::Present { opening, bytes } = archived else {
            continue;
        };
        if !commitment.opens(&opening, &bytes) {
            return Err(broken("a fragment does not open its commitment"));
        }
        if stored.bytes().is_none() {
            missing.push(Attach {
                index: record.position.index,
                fragment,
                opening,
                bytes,
            });
        }
    }
    Ok(missing)
}
