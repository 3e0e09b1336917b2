//! Archives that the auditor brought: where payloads are that are not in the export.
//!
//! Only those that the ledger tells of are used. What it tells is gone through before the records are ([`ArchivesTold`]), and
//! held against what the checked records tell in the end. Archives of other ledgers are left aside, since several share a folder.

use std::fs;
use std::path::{Path, PathBuf};

use ruche_domain::numbers::{Epoch, TreeSize};
use ruche_domain::stream::Category;
use ruche_ledger::archive::{ARCHIVED_EVENT, Bundle};
use ruche_ledger::leaf::Leaf;
use ruche_ledger::tile::TILE_WIDTH;
use ruche_ledger::verify::{ArchiveTold, Finding, FindingKind, Findings, RecordChecker};

use crate::archive::{Archive, ArchiveError};
use crate::layout::{MANIFEST, Shelf, Slot};
use crate::payload_stream::{Fragment, PayloadStream};
use crate::reader::{Entries, EpochReader, ReadError};

/// All of them.
#[derive(Default)]
pub struct Archives {
    brought: Vec<Brought>,
    /// Names of those of this ledger that it does not tell of.
    not_told: Vec<String>,
}

/// One that is used.
struct Brought {
    archive: Archive,
    /// Whether some of it could not be read.
    is_broken: bool,
}

impl Archives {
    /// Opens archives, and those in folders of archives.
    pub fn open(folders: &[PathBuf]) -> Result<Self, ReadError> {
        let mut archives = Vec::new();
        for folder in folders {
            if folder.join(MANIFEST).exists() {
                archives.push(Archive::open(folder)?);
                continue;
            }
            let before = archives.len();
            for inside in below(folder)? {
                archives.push(Archive::open(&inside)?);
            }
            if archives.len() == before {
                let path = folder.clone();
                return Err(ArchiveError::NotThere { path }.into());
            }
        }
        let brought = archives.into_iter().map(|archive| Brought {
            archive,
            is_broken: false,
        });
        Ok(Self {
            brought: brought.collect(),
            not_told: Vec::new(),
        })
    }

    /// Leaves those aside that are of none of these epochs, or of which none of them tells.
    pub fn leave_aside<'e>(
        &mut self,
        epochs: impl Iterator<Item = (&'e EpochReader, &'e str, TreeSize)>,
    ) -> Result<(), ReadError> {
        let epochs: Vec<_> = epochs.collect();
        self.brought.retain(|Brought { archive, .. }| {
            let manifest = archive.manifest();
            let is_of = |(files, origin, _): &(&EpochReader, &str, TreeSize)| {
                (files.epoch(), *origin) == (manifest.epoch, manifest.origin.as_str())
            };
            epochs.iter().any(is_of)
        });
        if self.brought.is_empty() {
            return Ok(());
        }
        let mut told = ArchivesTold::default();
        for (files, _, size) in epochs {
            told.add(files, size)?;
        }
        let not_told = self
            .brought
            .extract_if(.., |brought| !is_told(&brought.archive, &told.0))
            .map(|brought| brought.archive.range().archive);
        self.not_told.extend(not_told);
        Ok(())
    }

    /// Names of archives of this ledger that were not used, since it does not tell of them.
    pub fn into_not_told(self) -> Vec<String> {
        self.not_told
    }

    /// The fragments of the records of a bundle, from each archive of this epoch that covers it.
    pub fn bundles(&mut self, epoch: Epoch, origin: &str, number: u64) -> Vec<Result<Bundle, ArchiveError>> {
        let first = number * u64::from(TILE_WIDTH);
        let mut bundles = Vec::new();
        for Brought { archive, is_broken } in &mut self.brought {
            let manifest = archive.manifest();
            let is_of = manifest.epoch == epoch && manifest.origin == origin;
            if is_of && (manifest.from.0..manifest.to.0).contains(&first) {
                let bundle = archive.bundle(number);
                *is_broken |= bundle.is_err();
                bundles.push(bundle);
            }
        }
        bundles
    }

    /// Tells the checker which archives were looked into. What is in one of which no checked record tells was chosen by
    /// somebody else.
    pub fn end(&self, checker: &mut RecordChecker, findings: &mut Findings) {
        for Brought { archive, is_broken } in &self.brought {
            let range = archive.range();
            if !is_told(archive, checker.archives()) {
                let reason = format!(
                    "the ledger tells of no archive {} with SHA-256 {}",
                    range.archive, range.digest
                );
                let kind = FindingKind::PayloadMismatch;
                findings.push(Finding::of_epoch(kind, range.epoch, reason));
            } else if !is_broken {
                checker.archive_searched(range.archive, range.digest);
            }
        }
    }
}

fn is_told(archive: &Archive, told: &[ArchiveTold]) -> bool {
    let range = archive.range();
    told.iter()
        .any(|told| told.archive == range.archive && told.digest == range.digest)
}

/// What records tell of archives, before the records are checked.
#[derive(Default)]
struct ArchivesTold(Vec<ArchiveTold>);

impl ArchivesTold {
    /// Looks for such records in an epoch.
    fn add(&mut self, files: &EpochReader, size: TreeSize) -> Result<(), ReadError> {
        let (mut entries, mut before) = (Vec::new(), None);
        for slot in files.inventory().on(Shelf::Entries) {
            if before.replace(slot.index) == Some(slot.index) {
                continue;
            }
            let slot = files.find(Shelf::Entries, slot.index, size).unwrap_or(*slot);
            files.read(slot, &mut entries)?;
            let name = ARCHIVED_EVENT.as_bytes();
            if entries.windows(name.len()).any(|bytes| bytes == name) {
                self.add_bundle(files, slot, &entries)?;
            }
        }
        Ok(())
    }

    fn add_bundle(&mut self, files: &EpochReader, entries: Slot, bytes: &[u8]) -> Result<(), ReadError> {
        let slot = Slot {
            shelf: Shelf::Payload,
            ..entries
        };
        let fail = |source| files.broken(slot, source);
        let Some(file) = files.payload(slot)? else {
            return Ok(());
        };
        let mut payload = PayloadStream::new(file, Vec::new()).map_err(fail)?;
        // Behind what is no leaf, fragments cannot be told apart.
        for leaf in Entries(bytes).map_while(|entry| Leaf::decode(entry).ok()) {
            let tells =
                leaf.event.stream.category == Category::Ledger && leaf.event.event_type == ARCHIVED_EVENT;
            for (number, committed) in leaf.payload.iter().enumerate() {
                match payload.next_fragment().map_err(fail)? {
                    Fragment::Present { opening, bytes }
                        if tells && number == 0 && committed.opens(opening, bytes) =>
                    {
                        self.0.extend(ArchiveTold::read(bytes));
                    }
                    Fragment::Present { .. } | Fragment::Missing => {}
                    Fragment::Malformed => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

/// Folders in a folder that are archives.
fn below(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let fail = |source| ReadError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        // One that is being written has another name, and no manifest until it is whole.
        if path.join(MANIFEST).exists() && path.extension().is_none() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
