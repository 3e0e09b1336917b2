//! Archives: payload bundles of a range of records in a folder of their own (`docs/formats/bundle.md`, "Archives").
//!
//! An archive is written beside its place, flushed file by file, and gets its name with one rename: a crash leaves no half of
//! one. It is known by the SHA-256 of its `index`, which has that of each bundle: whoever knows the one knows all of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{ARCHIVE_RECORDS_MAX, FRAGMENTS_PER_RECORD_MAX};
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::archive::ArchivedRange;
use ruche_ledger::hash::{HASH_BYTES, Hash};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::tile::TILE_WIDTH;
use serde::{Deserialize, Serialize};

use crate::layout::{CHECKPOINT, MANIFEST, Shelf, Slot, epoch_folder, is_absent};

mod files;

/// What the manifest of an archive says it is.
pub const ARCHIVE_FORMAT: &str = "ruche-archive";
/// Its version.
pub const ARCHIVE_VERSION: u32 = 1;
/// Name of the file with the hashes of the bundles.
pub const INDEX: &str = "index";
/// Bytes of the index for each bundle: its SHA-256, and how many fragments each of its records has.
const INDEX_BYTES: usize = HASH_BYTES + TILE_WIDTH as usize;
/// Longest manifest that is read, bytes.
const MANIFEST_BYTES_MAX: u64 = 65_536;
/// Records of a bundle.
const WIDTH: u64 = TILE_WIDTH as u64;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no archive in this place.
    #[error("{} is not an archive: it has no {MANIFEST}", path.display())]
    NotThere {
        /// The place.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{} is not what was archived: {reason}", path.display())]
    Broken {
        /// The archive or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What an archive says of itself. Not signed: the ledger says which digest the archive has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveManifest {
    /// [`ARCHIVE_FORMAT`].
    pub format: String,
    /// [`ARCHIVE_VERSION`].
    pub version: u32,
    /// Which ledger.
    pub ledger: LedgerId,
    /// Which epoch of it.
    pub epoch: Epoch,
    /// Origin of the epoch.
    pub origin: String,
    /// First record, a multiple of 256.
    pub from: LeafIndex,
    /// The record behind the last one, a multiple of 256.
    pub to: LeafIndex,
    /// Fragments in it.
    pub payloads: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// SHA-256 of the index.
    pub digest: String,
}

impl ArchiveManifest {
    fn fault(&self) -> Option<&'static str> {
        let is_whole = |index: LeafIndex| index.0.is_multiple_of(WIDTH);
        if (self.format.as_str(), self.version) != (ARCHIVE_FORMAT, ARCHIVE_VERSION) {
            return Some("its format is not known here");
        }
        let length = self.to.0.checked_sub(self.from.0);
        let fits = length.is_some_and(|length| (1..=ARCHIVE_RECORDS_MAX).contains(&length));
        (!fits || !is_whole(self.from) || !is_whole(self.to)).then_some("its range is none")
    }
}

/// Name of the archive of a range: nobody else's, and the same each time.
#[must_use]
pub fn archive_name(ledger: LedgerId, epoch: Epoch, from: LeafIndex, to: LeafIndex) -> String {
    format!("{}-e{epoch}-{from}-{to}", ledger.0.as_simple())
}

/// Writes an archive: one bundle after the other, then [`ArchiveWriter::finish`].
#[derive(Debug)]
pub struct ArchiveWriter {
    target: PathBuf,
    partial: PathBuf,
    manifest: ArchiveManifest,
    /// Number of the next bundle.
    next: u64,
    index: Vec<u8>,
}

impl ArchiveWriter {
    /// Begins the archive `name` below `root`. What a process left there that died is removed: the caller is alone there.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn create(
        root: &Path,
        ledger: LedgerId,
        (epoch, origin): (Epoch, &str),
        (from, to): (LeafIndex, LeafIndex),
    ) -> Result<Self, ArchiveError> {
        let name = archive_name(ledger, epoch, from, to);
        let partial = root.join(format!("{name}.partial"));
        match fs::remove_dir_all(&partial) {
            Err(error) if !is_absent(&error) => return Err(at(&partial)(error)),
            _ => {}
        }
        fs::create_dir_all(&partial).map_err(at(&partial))?;
        let manifest = ArchiveManifest {
            format: ARCHIVE_FORMAT.to_owned(),
            version: ARCHIVE_VERSION,
            ledger,
            epoch,
            origin: origin.to_owned(),
            from,
            to,
            payloads: 0,
            bytes: 0,
            digest: String::new(),
        };
        Ok(Self {
            target: root.join(name),
            partial,
            next: from.0 / WIDTH,
            manifest,
            index: Vec::new(),
        })
    }

    /// Writes the next bundle: for each of its 256 records a fragment for each commitment in the leaf; one that is `Missing`
    /// is not in the archive.
    ///
    /// # Errors
    /// When it is no bundle or cannot be written.
    pub fn bundle(&mut self, records: &[Vec<StoredFragment>]) -> Result<(), ArchiveError> {
        let path = self.partial.join(bundle_path(self.manifest.epoch, self.next));
        let broken = |reason: &str| ArchiveError::Broken {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        if records.len() as u64 != WIDTH {
            return Err(broken("a bundle has 256 records"));
        }
        let (mut bundle, mut counts) = (Vec::new(), Vec::new());
        for fragments in records {
            counts.push(u8::try_from(fragments.len()).map_err(|_| broken("a record has fewer fragments"))?);
            for fragment in fragments {
                match fragment {
                    StoredFragment::Present { opening, bytes } => {
                        let length =
                            u32::try_from(bytes.len()).map_err(|_| broken("a fragment is shorter"))?;
                        bundle.push(1);
                        bundle.extend_from_slice(opening);
                        bundle.extend_from_slice(&length.to_be_bytes());
                        bundle.extend_from_slice(bytes);
                        self.manifest.payloads += 1;
                        self.manifest.bytes += u64::from(length);
                    }
                    StoredFragment::Missing | StoredFragment::Archived(_) => bundle.push(0),
                }
            }
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        write_through(&path, &bundle)?;
        self.index.extend_from_slice(Hash::sha256(&bundle).as_ref());
        self.index.extend_from_slice(&counts);
        self.next += 1;
        Ok(())
    }

    /// Whether nothing has been written that an archive is for: no payload.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.manifest.payloads == 0
    }

    /// Removes what was written, which never had the name of an archive.
    ///
    /// # Errors
    /// When it cannot be removed; the next run for the same range removes it.
    pub fn give_up(self) -> Result<(), ArchiveError> {
        fs::remove_dir_all(&self.partial).map_err(at(&self.partial))
    }

    /// Writes the index, the tree head that covers the range and the manifest, flushes all of it, and gives the archive its
    /// name.
    ///
    /// # Errors
    /// When bundles are missing or something cannot be written.
    pub fn finish(mut self, tree_head: &[u8]) -> Result<Archive, ArchiveError> {
        if self.next * WIDTH != self.manifest.to.0 {
            return Err(ArchiveError::Broken {
                path: self.partial,
                reason: "not all of its bundles were written".to_owned(),
            });
        }
        self.manifest.digest = Hash::sha256(&self.index).to_string();
        write_through(&self.partial.join(INDEX), &self.index)?;
        write_through(&self.partial.join(CHECKPOINT), tree_head)?;
        let mut text = serde_json::to_vec_pretty(&self.manifest).expect("a manifest is plain JSON");
        text.push(b'\n');
        write_through(&self.partial.join(MANIFEST), &text)?;
        flush_folders(&self.partial)?;
        // A crash before this line leaves a folder that is removed the next time, after it the whole archive.
        fs::rename(&self.partial, &self.target).map_err(at(&self.target))?;
        if let Some(root) = self.target.parent() {
            flush(root)?;
        }
        Archive::open(&self.target)
    }
}

/// An archive that is there. Its index is what its manifest says; a bundle is checked when it is read.
#[derive(Clone, Debug)]
pub struct Archive {
    folder: PathBuf,
    manifest: ArchiveManifest,
    digest: Hash,
    index: Vec<u8>,
}

impl Archive {
    /// Opens the archive in `folder`.
    ///
    /// # Errors
    /// `NotThere`; `Broken` if manifest and index do not agree.
    pub fn open(folder: &Path) -> Result<Self, ArchiveError> {
        let broken = |reason: String| ArchiveError::Broken {
            path: folder.to_owned(),
            reason,
        };
        let path = folder.join(MANIFEST);
        let text = match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= MANIFEST_BYTES_MAX => {
                fs::read(&path).map_err(at(&path))?
            }
            Ok(_) => return Err(broken(format!("{MANIFEST} is none"))),
            Err(error) if is_absent(&error) => {
                return Err(ArchiveError::NotThere {
                    path: folder.to_owned(),
                });
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let manifest: ArchiveManifest =
            serde_json::from_slice(&text).map_err(|error| broken(format!("{MANIFEST}: {error}")))?;
        if let Some(fault) = manifest.fault() {
            return Err(broken(format!("{MANIFEST}: {fault}")));
        }
        let path = folder.join(INDEX);
        let bundles = (manifest.to.0 - manifest.from.0) / WIDTH;
        let length = fs::metadata(&path).map_err(at(&path))?.len();
        if length != bundles * INDEX_BYTES as u64 {
            return Err(broken(format!(
                "{INDEX} has {length} bytes, of {bundles} bundles"
            )));
        }
        let index = fs::read(&path).map_err(at(&path))?;
        let digest = Hash::sha256(&index);
        if digest.to_string() != manifest.digest {
            return Err(broken(format!("{INDEX} is not the one of {MANIFEST}")));
        }
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            digest,
            index,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn manifest(&self) -> &ArchiveManifest {
        &self.manifest
    }

    /// The range of all of it, as a store notes it.
    #[must_use]
    pub fn range(&self) -> ArchivedRange {
        let ArchiveManifest {
            ledger,
            epoch,
            from,
            to,
            ..
        } = self.manifest;
        ArchivedRange {
            epoch,
            from,
            to,
            archive: archive_name(ledger, epoch, from, to),
            digest: self.digest,
        }
    }

    /// Refuses it where it is not the one that a store or a ledger speaks of.
    ///
    /// # Errors
    /// `Broken`.
    pub fn must_be(&self, ledger: LedgerId, noted: &ArchivedRange) -> Result<(), ArchiveError> {
        let range = self.range();
        let is_that = self.manifest.ledger == ledger
            && (range.epoch, range.from, &range.archive) == (noted.epoch, noted.from, &noted.archive)
            && range.to >= noted.to
            && range.digest == noted.digest;
        match is_that {
            true => Ok(()),
            false => Err(ArchiveError::Broken {
                path: self.folder.clone(),
                reason: format!(
                    "its digest is {}, that of {} is {}",
                    range.digest, noted.archive, noted.digest
                ),
            }),
        }
    }

    /// Flushes all of it to the disk once more: each file, its folders, and those that it is in. Whoever takes away the other
    /// copy has to know that this one survives a power cut, whichever process wrote it and made the folders.
    ///
    /// # Errors
    /// When a file is missing or cannot be flushed.
    pub fn flush(&self) -> Result<(), ArchiveError> {
        let bundles = self.manifest.from.0 / WIDTH..self.manifest.to.0 / WIDTH;
        let bundles = bundles.map(|number| bundle_path(self.manifest.epoch, number));
        for path in [INDEX, CHECKPOINT, MANIFEST]
            .map(PathBuf::from)
            .into_iter()
            .chain(bundles)
        {
            flush(&self.folder.join(path))?;
        }
        flush_folders(&self.folder)?;
        let whole = fs::canonicalize(&self.folder).map_err(at(&self.folder))?;
        for parent in whole.ancestors().skip(1) {
            match flush(parent) {
                // Who may not read a folder did not make it, nor what it is in.
                Err(ArchiveError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                    break;
                }
                flushed => flushed?,
            }
        }
        Ok(())
    }

    /// The fragments of the 256 records of a bundle, by its number in the epoch. The bytes are those that were archived.
    ///
    /// # Errors
    /// `Broken` if they are not, or the archive has no such bundle.
    pub fn bundle(&self, number: u64) -> Result<Vec<Vec<StoredFragment>>, ArchiveError> {
        let path = self.folder.join(bundle_path(self.manifest.epoch, number));
        let broken = |reason: &str| ArchiveError::Broken {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        let place = number.checked_sub(self.manifest.from.0 / WIDTH);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let entry = place.and_then(|place| self.index.chunks_exact(INDEX_BYTES).nth(place));
        let (digest, counts) = entry
            .map(|entry| entry.split_at(HASH_BYTES))
            .ok_or_else(|| broken("it is not of the range of the archive"))?;
        let bytes = match fs::read(&path) {
            Err(error) if is_absent(&error) => return Err(broken("it is missing")),
            read => read.map_err(at(&path))?,
        };
        if Hash::sha256(&bytes).as_ref() != digest {
            return Err(broken("its bytes are not those that were archived"));
        }
        let mut rest = &bytes[..];
        let records = counts.iter().map(|count| {
            let count = usize::from(*count);
            let fragments = (0..count).map(|_| take_fragment(&mut rest));
            let fragments =
                (count <= FRAGMENTS_PER_RECORD_MAX).then(|| fragments.collect::<Option<Vec<_>>>());
            fragments
                .flatten()
                .ok_or_else(|| broken("a fragment of it cannot be read"))
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        match rest.is_empty() {
            true => Ok(records),
            false => Err(broken("it goes on behind the last fragment")),
        }
    }
}

/// The next fragment of a payload bundle.
fn take_fragment(rest: &mut &[u8]) -> Option<StoredFragment> {
    let (mark, behind) = rest.split_first()?;
    *rest = behind;
    if *mark == 0 {
        return Some(StoredFragment::Missing);
    }
    let (opening, behind) = behind.split_first_chunk::<32>()?;
    let (length, behind) = behind.split_first_chunk::<4>()?;
    let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = behind;
    (*mark == 1).then(|| StoredFragment::Present {
        opening: *opening,
        bytes: bytes.to_vec(),
    })
}

/// Where a bundle is, below the folder of the archive: as in an export.
fn bundle_path(epoch: Epoch, number: u64) -> PathBuf {
    let slot = Slot {
        shelf: Shelf::Payload,
        index: number,
        width: TILE_WIDTH,
    };
    Path::new(&epoch_folder(epoch)).join(slot.path())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { path, source }
}

/// Writes a file and flushes it to the disk.
fn write_through(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(at(path))
}

/// Flushes a folder, or a file.
fn flush(path: &Path) -> Result<(), ArchiveError> {
    // The parent of a bare name is the empty path.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(at(path))
}

/// Flushes the entries of a folder and of all below it.
fn flush_folders(folder: &Path) -> Result<(), ArchiveError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        if entry.file_type().map_err(at(&entry.path()))?.is_dir() {
            flush_folders(&entry.path())?;
        }
    }
    flush(folder)
}

#[cfg(test)]
mod tests;
