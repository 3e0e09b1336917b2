//! Writing an export.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, TreeSize};
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::note::VerifierKey;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::right_edge::{HashTile, RightEdge};
use ruche_ledger::tile::{ENTRY_BYTES_MAX, TILE_WIDTH};
use ruche_ledger::tree_head::{SignedTreeHead, TreeHead};

use crate::layout::{CHECKPOINT, KEY, MANIFEST, Manifest, ManifestEpoch, Shelf, Slot, epoch_folder};

/// Why an export was not written. What was written so far is removed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The target is there and not an empty directory.
    #[error("{} is not an empty directory; export to a new one", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// Another export is being written beside the target, or was and did not end.
    #[error("{} is there: another export is being written, or one was cut off; then remove it and export again", path.display())]
    Unfinished {
        /// The folder beside the target.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("{} could not be written", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Epochs come in order.
    #[error("epoch {found} cannot follow epoch {last}")]
    EpochOrder {
        /// The epoch before, 0 if there is none.
        last: u32,
        /// The one that was begun.
        found: u32,
    },
    /// The tree head covers fewer records than were fed.
    #[error("the tree head of epoch {epoch} covers {size} records, one more was written")]
    TooManyRecords {
        /// Which epoch.
        epoch: Epoch,
        /// Size of its tree head.
        size: u64,
    },
    /// A leaf or fragment is longer than its length field can say.
    #[error("record {epoch}:{index} has {bytes} bytes where fewer fit")]
    TooLong {
        /// Which epoch.
        epoch: Epoch,
        /// Which record.
        index: u64,
        /// Length of the leaf or fragment.
        bytes: usize,
    },
}

/// What became of an epoch. An export is also written of a ledger that is damaged, so that the verifier can say where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochWritten {
    /// Which epoch.
    pub epoch: Epoch,
    /// Records written.
    pub records: u64,
    /// Whether they are the records under the tree head: as many, with its root.
    pub fits_tree_head: bool,
}

/// Writes an export: for each epoch, in order, [`BundleWriter::begin_epoch`], its records, [`BundleWriter::end_epoch`];
/// then [`BundleWriter::finish`].
///
/// Everything goes to a folder beside the target, named `<target>.partial`, which becomes the target with one rename
/// in `finish`. If the process dies before, the target is not there, and the folder beside it has no manifest. Memory:
/// one entry bundle and the open tiles, however long the ledger is; payloads are not held.
#[derive(Debug)]
pub struct BundleWriter {
    target: PathBuf,
    /// The folder that is written to; `None` once it is the target.
    partial: Option<PathBuf>,
    ledger: LedgerId,
    epochs: Vec<ManifestEpoch>,
    open: Option<OpenEpoch>,
}

#[derive(Debug)]
struct OpenEpoch {
    epoch: Epoch,
    folder: PathBuf,
    head: TreeHead,
    edge: RightEdge,
    /// Entries of the bundle that is being filled, as they will stand in it.
    entries: Vec<u8>,
    /// The payload bundle beside it, under a name that no reader looks at until it has its width.
    payload: Option<BufWriter<File>>,
}

/// Name of a payload bundle whose width is not known yet.
const OPEN_PAYLOAD: &str = "payload.open";

impl BundleWriter {
    /// Starts the export of `ledger` to `target`, which must not be there or be an empty directory.
    ///
    /// # Errors
    /// When it is something else, or nothing can be written beside it.
    pub fn create(target: &Path, ledger: LedgerId) -> Result<Self, WriteError> {
        if let Some(mut entries) = read_dir_if_there(target)?
            && entries.next().is_some()
        {
            return Err(WriteError::NotEmpty {
                path: target.to_owned(),
            });
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = target.with_file_name(name);
        if let Some(parent) = partial.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        // A folder left by a process that died is not taken over: another process may still be writing to it.
        match fs::create_dir(&partial) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Unfinished { path: partial });
            }
            Err(error) => return Err(at(&partial)(error)),
        }
        Ok(Self {
            target: target.to_owned(),
            partial: Some(partial),
            ledger,
            epochs: Vec::new(),
            open: None,
        })
    }

    /// Starts an epoch with its signed tree head and the key that signed it. A number that was lost in a restore is
    /// left out; the verifier reports it.
    ///
    /// # Errors
    /// When the epoch does not come behind the one before, or files cannot be written.
    ///
    /// # Panics
    /// When the epoch before was not ended.
    pub fn begin_epoch(
        &mut self,
        epoch: Epoch,
        tree_head: &SignedTreeHead,
        key: &VerifierKey,
    ) -> Result<(), WriteError> {
        assert!(self.open.is_none(), "an epoch ends before the next one begins");
        let last = self.epochs.last().map_or(0, |listed| listed.epoch.0);
        if epoch.0 <= last {
            return Err(WriteError::EpochOrder { last, found: epoch.0 });
        }
        let folder = self.partial().join(epoch_folder(epoch));
        fs::create_dir(&folder).map_err(at(&folder))?;
        write(&folder.join(CHECKPOINT), tree_head.as_bytes())?;
        write(&folder.join(KEY), format!("{key}\n").as_bytes())?;
        let head = tree_head.head().clone();
        self.epochs.push(ManifestEpoch {
            epoch,
            origin: head.origin.clone(),
            size: head.size,
        });
        self.open = Some(OpenEpoch {
            epoch,
            folder,
            head,
            edge: RightEdge::new(),
            entries: Vec::new(),
            payload: None,
        });
        Ok(())
    }

    /// Writes the next record of the epoch: its leaf bytes, and a fragment for each commitment in the leaf.
    ///
    /// # Errors
    /// When the tree head does not cover it, something is too long, or files cannot be written.
    ///
    /// # Panics
    /// When no epoch was begun.
    pub fn record(&mut self, leaf: &[u8], fragments: &[StoredFragment]) -> Result<(), WriteError> {
        self.open
            .as_mut()
            .expect("a record belongs to an epoch")
            .record(leaf, fragments)
    }

    /// Ends the epoch. Fewer records than the tree head covers are written as they are; the verifier says what that
    /// means.
    ///
    /// # Errors
    /// When files cannot be written.
    ///
    /// # Panics
    /// When no epoch was begun.
    pub fn end_epoch(&mut self) -> Result<EpochWritten, WriteError> {
        self.open
            .take()
            .expect("an epoch ends once, after it began")
            .end()
    }

    /// Writes the manifest and gives the export its name. Files are not forced to the disk one by one; after a power
    /// cut, verify the export or write it again.
    ///
    /// # Errors
    /// When files cannot be written or renamed.
    ///
    /// # Panics
    /// When the last epoch was not ended.
    pub fn finish(mut self) -> Result<PathBuf, WriteError> {
        assert!(self.open.is_none(), "the last epoch was ended");
        let manifest = Manifest::new(self.ledger, std::mem::take(&mut self.epochs));
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain JSON");
        text.push(b'\n');
        let path = self.partial().join(MANIFEST);
        write(&path, &text)?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))?;
        // Here the export is whole, under a name that nobody looks for.
        if self.target.exists() {
            fs::remove_dir(&self.target).map_err(at(&self.target))?;
        }
        fs::rename(self.partial(), &self.target).map_err(at(&self.target))?;
        self.partial = None;
        Ok(self.target.clone())
    }

    fn partial(&self) -> &Path {
        self.partial
            .as_deref()
            .expect("only finish takes it, and finish is last")
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Best effort: what stays behind has no manifest and is refused as a target.
            let _ = fs::remove_dir_all(partial);
        }
    }
}

impl OpenEpoch {
    fn record(&mut self, leaf: &[u8], fragments: &[StoredFragment]) -> Result<(), WriteError> {
        let index = self.edge.size().0;
        if index >= self.head.size.0 {
            return Err(WriteError::TooManyRecords {
                epoch: self.epoch,
                size: self.head.size.0,
            });
        }
        let epoch = self.epoch;
        let too_long = |bytes| WriteError::TooLong { epoch, index, bytes };
        if leaf.len() > ENTRY_BYTES_MAX {
            return Err(too_long(leaf.len()));
        }
        let length = u16::try_from(leaf.len()).map_err(|_| too_long(leaf.len()))?;
        self.entries.extend_from_slice(&length.to_be_bytes());
        self.entries.extend_from_slice(leaf);
        for fragment in fragments {
            let StoredFragment::Present { opening, bytes } = fragment else {
                self.write_payload(&[&[0]])?;
                continue;
            };
            let length = u32::try_from(bytes.len()).map_err(|_| too_long(bytes.len()))?;
            self.write_payload(&[&[1], opening, &length.to_be_bytes(), bytes])?;
        }
        let mut full = Vec::new();
        self.edge.append(leaf_hash(leaf), |tile| full.push(tile));
        if !full.is_empty() {
            self.close_bundle(index / u64::from(TILE_WIDTH), TILE_WIDTH)?;
        }
        full.iter().try_for_each(|tile| self.write_tile(tile))
    }

    fn write_payload(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        let path = self.folder.join(OPEN_PAYLOAD);
        let file = match &mut self.payload {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&path).map_err(at(&path))?)),
        };
        parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .map_err(at(&path))
    }

    /// Gives the entries and payloads so far their place.
    fn close_bundle(&mut self, index: u64, width: u16) -> Result<(), WriteError> {
        write(
            &self.path(Slot {
                shelf: Shelf::Entries,
                index,
                width,
            }),
            &self.entries,
        )?;
        self.entries.clear();
        // Creates the file where no record of the bundle has a payload.
        self.write_payload(&[])?;
        let open = self.folder.join(OPEN_PAYLOAD);
        let file = self.payload.take().expect("created above");
        file.into_inner().map_err(|error| at(&open)(error.into_error()))?;
        let path = self.path(Slot {
            shelf: Shelf::Payload,
            index,
            width,
        });
        create_parent(&path)?;
        fs::rename(&open, &path).map_err(at(&path))
    }

    fn write_tile(&self, tile: &HashTile) -> Result<(), WriteError> {
        let width = u16::try_from(tile.hashes.len()).expect("a tile has at most 256 hashes");
        let bytes: Vec<u8> = tile.hashes.iter().flat_map(|hash| hash.0).collect();
        write(
            &self.path(Slot {
                shelf: Shelf::Hashes(tile.level),
                index: tile.index,
                width,
            }),
            &bytes,
        )
    }

    fn end(mut self) -> Result<EpochWritten, WriteError> {
        let TreeSize(records) = self.edge.size();
        let width = u16::try_from(records % u64::from(TILE_WIDTH)).expect("less than 256");
        if width > 0 {
            self.close_bundle(records / u64::from(TILE_WIDTH), width)?;
        }
        self.edge
            .tiles()
            .iter()
            .try_for_each(|tile| self.write_tile(tile))?;
        let fits_tree_head = self.edge.size() == self.head.size && self.edge.root() == Some(self.head.root);
        Ok(EpochWritten {
            epoch: self.epoch,
            records,
            fits_tree_head,
        })
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.path())
    }
}

/// Names the file in an I/O error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}

fn read_dir_if_there(path: &Path) -> Result<Option<fs::ReadDir>, WriteError> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(WriteError::NotEmpty {
            path: path.to_owned(),
        }),
        Err(error) => Err(at(path)(error)),
    }
}

fn create_parent(path: &Path) -> Result<(), WriteError> {
    let parent = path.parent().expect("the path is below the target");
    fs::create_dir_all(parent).map_err(at(parent))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    create_parent(path)?;
    fs::write(path, bytes).map_err(at(path))
}
