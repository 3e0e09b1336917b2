//! Reading an export: files as they are, nothing believed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ruche_domain::numbers::{Epoch, TreeSize};
use ruche_ledger::note::NOTE_BYTES_MAX;

use crate::archive::ArchiveError;
use crate::layout::{
    CHECKPOINT, Inventory, KEY, MANIFEST, Shelf, Slot, epoch_folder, epoch_of_folder, is_absent,
};

/// Longest manifest that is read, bytes: room for a hundred thousand epochs.
pub const MANIFEST_BYTES_MAX: u64 = 32 << 20;
/// Longest hash tile, bytes.
const HASH_TILE_BYTES_MAX: u64 = 256 * 32;
/// Longest entry bundle, bytes: 256 entries of the greatest length, and one more to see that there is more.
const ENTRIES_BYTES_MAX: u64 = 257 * (2 + 65_535);

/// Why an export cannot be read. What is there and wrong is not an error but a finding.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no export in this place.
    #[error("{} is not an export: it has no {MANIFEST}", path.display())]
    NotAnExport {
        /// The place.
        path: PathBuf,
    },
    /// An archive that was brought cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file or folder is there and cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An export.
#[derive(Debug)]
pub struct BundleReader {
    folder: PathBuf,
    epochs: Vec<Epoch>,
}

impl BundleReader {
    /// The export in `folder`.
    ///
    /// # Errors
    /// When there is none, or the folder cannot be listed.
    pub fn open(folder: &Path) -> Result<Self, ReadError> {
        let fail = |source| ReadError::Io {
            path: folder.to_owned(),
            source,
        };
        let mut epochs = Vec::new();
        let mut has_manifest = false;
        for entry in fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            has_manifest |= name == MANIFEST;
            let epoch = name.to_str().and_then(epoch_of_folder);
            // Through links as well: where an auditor put the files is the auditor's affair.
            epochs.extend(epoch.filter(|_| entry.path().is_dir()));
        }
        if !has_manifest {
            return Err(ReadError::NotAnExport {
                path: folder.to_owned(),
            });
        }
        epochs.sort_unstable();
        Ok(Self {
            folder: folder.to_owned(),
            epochs,
        })
    }

    /// Epochs that have a folder, in order.
    #[must_use]
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// Bytes of the manifest; `None` if it is not a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest(&self) -> Result<Option<Vec<u8>>, ReadError> {
        small_file(&self.folder.join(MANIFEST), MANIFEST_BYTES_MAX)
    }

    /// The folder of an epoch.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn epoch(&self, epoch: Epoch) -> Result<EpochReader, ReadError> {
        let folder = self.folder.join(epoch_folder(epoch));
        let inventory = Inventory::take(&folder).map_err(|source| ReadError::Io {
            path: folder.clone(),
            source,
        })?;
        Ok(EpochReader {
            epoch,
            folder,
            inventory,
        })
    }
}

/// One epoch of an export.
#[derive(Debug)]
pub struct EpochReader {
    epoch: Epoch,
    folder: PathBuf,
    inventory: Inventory,
}

impl EpochReader {
    /// Its number.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which bundles and tiles there are.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Bytes of the signed tree head; `None` if it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, ReadError> {
        small_file(&self.folder.join(CHECKPOINT), NOTE_BYTES_MAX as u64 + 1)
    }

    /// Bytes of the verifier key; `None` if it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn key(&self) -> Result<Option<Vec<u8>>, ReadError> {
        small_file(&self.folder.join(KEY), 4_096)
    }

    /// Reads a hash tile or entry bundle into `bytes`; false if it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, slot: Slot, bytes: &mut Vec<u8>) -> Result<bool, ReadError> {
        let bytes_max = match slot.shelf {
            Shelf::Hashes(_) => HASH_TILE_BYTES_MAX + 1,
            Shelf::Entries | Shelf::Payload => ENTRIES_BYTES_MAX,
        };
        read_file(&self.folder.join(slot.path()), bytes_max, bytes)
    }

    /// Opens a payload bundle; `None` if it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub fn payload(&self, slot: Slot) -> Result<Option<File>, ReadError> {
        open_file(&self.folder.join(slot.path()))
    }

    /// The slot in which the entries numbered `index` × 256 and on stand: the one that a tree of `size` leaves asks
    /// for, or else the widest there is.
    #[must_use]
    pub fn find(&self, shelf: Shelf, index: u64, size: TreeSize) -> Option<Slot> {
        let asked = shelf.slot(index, size).filter(|slot| self.inventory.has(*slot));
        asked.or_else(|| self.inventory.widest(shelf, index))
    }

    /// The error for a file that broke off while it was read.
    pub(crate) fn broken(&self, slot: Slot, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.folder.join(slot.path()),
            source,
        }
    }
}

/// The entries in the bytes of a bundle, and what is left behind the last whole one.
#[derive(Debug)]
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some(entry)
    }
}

fn small_file(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let mut bytes = Vec::new();
    Ok(read_file(path, bytes_max, &mut bytes)?.then_some(bytes))
}

/// Reads up to `bytes_max` bytes of a file into `bytes`.
fn read_file(path: &Path, bytes_max: u64, bytes: &mut Vec<u8>) -> Result<bool, ReadError> {
    bytes.clear();
    let Some(file) = open_file(path)? else {
        return Ok(false);
    };
    let fail = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    file.take(bytes_max).read_to_end(bytes).map_err(fail)?;
    Ok(true)
}

fn open_file(path: &Path) -> Result<Option<File>, ReadError> {
    let fail = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    // A pipe or device in the place of a file would never end.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fail(error)),
    }
    File::open(path).map(Some).map_err(fail)
}
