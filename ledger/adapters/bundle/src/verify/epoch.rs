//! The records, tiles and payloads of one epoch.

use std::collections::BTreeMap;

use ruche_domain::numbers::TreeSize;
use ruche_ledger::archive::Bundle;
use ruche_ledger::hash::{HASH_BYTES, Hash};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::right_edge::{HashTile, RightEdge};
use ruche_ledger::tile::TILE_WIDTH;
use ruche_ledger::verify::{Finding, FindingKind, Findings, FragmentFound, RecordChecker};

use super::archives::Archives;
use crate::archive::ArchiveError;
use crate::layout::{Shelf, Slot};
use crate::payload_stream::{Fragment, PayloadStream};
use crate::reader::{Entries, EpochReader, ReadError};

/// What the leaves of an epoch give.
#[derive(Clone, Debug, Default)]
pub struct EpochRoots {
    /// Records that were read.
    pub records: u64,
    /// Root over all of them; `None` if some could not be read or there are not as many as the tree head says.
    pub root: Option<Hash>,
    /// Roots at the sizes that were asked for.
    pub roots: BTreeMap<u64, Hash>,
}

/// One walk through an epoch.
pub struct EpochRun<'a> {
    files: &'a EpochReader,
    size: TreeSize,
    watched: Vec<u64>,
    archives: &'a mut Archives,
    origin: String,
    checker: &'a mut RecordChecker,
    findings: &'a mut Findings,
    edge: RightEdge,
    /// Whether every entry so far was read, in bundles of the right length. If not, the tree cannot be known.
    is_tree_known: bool,
    done: EpochRoots,
    /// The entry bundle that is being read.
    entries: Vec<u8>,
    /// The tile that is being compared.
    tile: Vec<u8>,
    /// Buffer of the payload stream between bundles.
    payload: Vec<u8>,
}

impl<'a> EpochRun<'a> {
    /// Of the epoch in `files`, with `size` records. The roots at the sizes `watched` are kept.
    pub fn new(
        files: &'a EpochReader,
        size: TreeSize,
        watched: Vec<u64>,
        archives: &'a mut Archives,
        checker: &'a mut RecordChecker,
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            files,
            size,
            watched,
            archives,
            origin: String::new(),
            checker,
            findings,
            edge: RightEdge::new(),
            is_tree_known: true,
            done: EpochRoots::default(),
            entries: Vec::new(),
            tile: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Walks through it. `progress` gets the number of records read.
    pub fn all(mut self, origin: &str, progress: &mut dyn FnMut(u64)) -> Result<EpochRoots, ReadError> {
        self.check_files();
        self.checker.begin_epoch(self.files.epoch(), origin, self.size);
        origin.clone_into(&mut self.origin);
        self.watch();
        let width = u64::from(TILE_WIDTH);
        let bundles = self.size.0.div_ceil(width);
        let mut next = 0;
        let files = self.files;
        let mut slots = files.inventory().on(Shelf::Entries).iter().peekable();
        // Over the files that are there, so that no claimed size makes the walk longer.
        while let Some(slot) = slots.next() {
            // The widest of a number is the last of it.
            if slots.peek().is_some_and(|after| after.index == slot.index) || slot.index >= bundles {
                continue;
            }
            if slot.index > next {
                self.is_tree_known = false;
                self.checker
                    .skip_records((slot.index - next) * width, self.findings);
            }
            next = slot.index + 1;
            let found = files.find(Shelf::Entries, slot.index, self.size).unwrap_or(*slot);
            self.bundle(found)?;
            progress(self.done.records);
        }
        self.checker.end_epoch(self.findings);
        self.end()?;
        Ok(self.done)
    }

    /// Reports bundles and tiles that the size asks for and are not there, and those that it does not ask for.
    fn check_files(&mut self) {
        let files = self.files;
        for shelf in Shelf::all() {
            let asked = shelf.items(self.size).div_ceil(TILE_WIDTH.into());
            let mut next = 0;
            for slot in files.inventory().on(shelf) {
                if shelf.slot(slot.index, self.size) == Some(*slot) {
                    self.report_missing(shelf, next, slot.index);
                    next = slot.index + 1;
                } else if !self.stands_in(*slot) {
                    self.report_stray(*slot);
                }
            }
            self.report_missing(shelf, next, asked);
        }
    }

    /// Whether this bundle is read in the place of one that is not there, which is reported.
    fn stands_in(&self, slot: Slot) -> bool {
        let is_asked = slot.shelf.slot(slot.index, self.size).is_some();
        is_asked
            && slot.end() <= self.size.0
            && self.files.find(slot.shelf, slot.index, self.size) == Some(slot)
    }

    fn report_stray(&mut self, slot: Slot) {
        let (kind, index) = match slot.shelf {
            Shelf::Entries => (FindingKind::SurplusRecords, self.size.0),
            Shelf::Payload | Shelf::Hashes(_) => (FindingKind::FileMalformed, slot.start()),
        };
        let reason = format!("{} is not a file of {} records", slot.path(), self.size);
        self.found(kind, index, reason);
    }

    /// Reports those numbered `first` to `end` - 1 as one finding.
    fn report_missing(&mut self, shelf: Shelf, first: u64, end: u64) {
        let Some(slot) = shelf.slot(first, self.size).filter(|_| first < end) else {
            return;
        };
        let reason = match end - first {
            1 => slot.path(),
            count => format!("{} and {} behind it", slot.path(), count - 1),
        };
        self.findings.push(Finding::of_epoch(
            FindingKind::FileMissing,
            self.files.epoch(),
            reason,
        ));
    }

    /// Reads an entry bundle and the payload bundle beside it.
    fn bundle(&mut self, slot: Slot) -> Result<(), ReadError> {
        let mut entries = std::mem::take(&mut self.entries);
        self.files.read(slot, &mut entries)?;
        let mut counted = Entries(&entries);
        let count = counted.by_ref().count();
        let is_whole = count == usize::from(slot.width) && counted.0.is_empty();
        // Of the last bundle the checker says which records are missing, and whether there are more.
        let is_last = slot.end() >= self.size.0;
        if !counted.0.is_empty() || !is_whole && !is_last {
            let reason = format!(
                "{} holds {count} entries and {} bytes more",
                slot.path(),
                counted.0.len()
            );
            self.found(FindingKind::FileMalformed, slot.start(), reason);
        } else if count > usize::from(slot.width) {
            let reason = format!("{} holds {count} entries", slot.path());
            self.found(FindingKind::SurplusRecords, slot.end(), reason);
        }
        // A tree over a bundle of another length says nothing about the tiles behind it.
        let asked = Shelf::Entries.slot(slot.index, self.size).map(|slot| slot.width);
        self.is_tree_known &= count == usize::from(asked.unwrap_or(0));
        let mut payload = self.open_payload(slot, is_whole)?;
        for entry in Entries(&entries) {
            self.record(entry, &mut payload)?;
        }
        self.close_payload(payload, slot);
        self.entries = entries;
        Ok(())
    }

    fn record(&mut self, entry: &[u8], payload: &mut Payload) -> Result<(), ReadError> {
        let checked = self.checker.leaf(entry, self.findings);
        self.done.records += 1;
        match checked.fragments {
            Some(fragments) => payload.fragments(fragments, self)?,
            // How many fragments there are is not known, so those behind cannot be told apart.
            None => payload.give_up(),
        }
        let mut full = Vec::new();
        self.edge.append(checked.hash, |tile| full.push(tile));
        for tile in &full {
            self.compare(tile)?;
        }
        self.watch();
        Ok(())
    }

    /// Keeps the root if somebody asks for it at this size.
    fn watch(&mut self) {
        let TreeSize(size) = self.edge.size();
        if self.is_tree_known
            && self.watched.contains(&size)
            && let Some(root) = self.edge.root()
        {
            self.done.roots.insert(size, root);
        }
    }

    /// Compares a tile that the leaves give with the one in the export.
    fn compare(&mut self, tile: &HashTile) -> Result<(), ReadError> {
        let shelf = Shelf::Hashes(tile.level);
        let width = u16::try_from(tile.hashes.len()).expect("a tile has at most 256 hashes");
        let slot = Slot {
            shelf,
            index: tile.index,
            width,
        };
        // That it is not there was reported when the files were counted.
        if !self.is_tree_known || !self.files.inventory().has(slot) {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.tile);
        self.files.read(slot, &mut bytes)?;
        let (found, rest) = bytes.as_chunks::<HASH_BYTES>();
        let leaves = 1_u64.checked_shl(8 * u32::from(tile.level)).unwrap_or(0);
        let index = |number: usize| slot.start().saturating_add(number as u64).saturating_mul(leaves);
        if found.len() != tile.hashes.len() || !rest.is_empty() {
            let reason = format!("{} has {} bytes", slot.path(), bytes.len());
            self.found(FindingKind::FileMalformed, index(0), reason);
        } else if let Some(number) = found
            .iter()
            .zip(&tile.hashes)
            .position(|(found, given)| *found != given.0)
        {
            let reason = format!("hash {number} of {}", slot.path());
            self.found(FindingKind::TileMismatch, index(number), reason);
        }
        self.tile = bytes;
        Ok(())
    }

    /// The root, if every record was read.
    fn end(&mut self) -> Result<(), ReadError> {
        if self.is_tree_known && self.edge.size() == self.size {
            for tile in self.edge.tiles() {
                self.compare(&tile)?;
            }
            self.done.root = self.edge.root();
        }
        Ok(())
    }

    fn open_payload(&mut self, entries: Slot, is_whole: bool) -> Result<Payload, ReadError> {
        let slot = Slot {
            shelf: Shelf::Payload,
            ..entries
        };
        let mut payload = Payload {
            slot,
            stream: None,
            record: 0,
            archived: Vec::new(),
        };
        // Beside a bundle that lost entries the fragments cannot be told apart.
        if is_whole && let Some(file) = self.files.payload(slot)? {
            let stream = PayloadStream::new(file, std::mem::take(&mut self.payload));
            payload.stream = Some(stream.map_err(|source| self.files.broken(slot, source))?);
        }
        for archived in self
            .archives
            .bundles(self.files.epoch(), &self.origin, slot.index)
        {
            match archived {
                Ok(archived) => payload.archived.push(archived),
                Err(ArchiveError::Io { path, source }) => return Err(ReadError::Io { path, source }),
                Err(error) => self.found(FindingKind::PayloadMismatch, slot.start(), error.to_string()),
            }
        }
        Ok(payload)
    }

    fn close_payload(&mut self, payload: Payload, slot: Slot) {
        if let Some(stream) = payload.stream {
            if !stream.is_at_end() {
                let path = payload.slot.path();
                let reason = format!("{path} goes on behind the last fragment");
                self.found(FindingKind::PayloadMalformed, slot.start(), reason);
            }
            self.payload = stream.into_buffer();
        }
    }

    fn found(&mut self, kind: FindingKind, index: u64, detail: String) {
        self.findings
            .push(Finding::at(kind, self.files.epoch(), index, detail));
    }
}

/// The payload bundle beside an entry bundle.
struct Payload {
    slot: Slot,
    /// `None` once the fragments cannot be read or told apart.
    stream: Option<PayloadStream>,
    /// Which record of the bundle is next.
    record: usize,
    /// What each archive has of the bundle.
    archived: Vec<Bundle>,
}

impl Payload {
    /// Checks the fragments of the leaf that was read last.
    fn fragments(&mut self, count: usize, run: &mut EpochRun<'_>) -> Result<(), ReadError> {
        let record = self.record;
        self.record += 1;
        for number in 0..count {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let fragment = stream
                .next_fragment()
                .map_err(|source| run.files.broken(self.slot, source))?;
            match fragment {
                Fragment::Present { opening, bytes } => {
                    run.checker
                        .fragment(FragmentFound::Present { opening, bytes }, run.findings);
                }
                Fragment::Missing => {
                    let mut archived =
                        self.archived
                            .iter()
                            .filter_map(|bundle| match bundle.get(record)?.get(number)? {
                                StoredFragment::Present { opening, bytes } => {
                                    Some(FragmentFound::Present { opening, bytes })
                                }
                                StoredFragment::Missing | StoredFragment::Archived(_) => None,
                            });
                    let found = archived.next().filter(|_| run.checker.may_be_archived());
                    run.checker
                        .fragment(found.unwrap_or(FragmentFound::Missing), run.findings);
                }
                Fragment::Malformed => {
                    let reason = format!("{}, fragment {number}", self.slot.path());
                    let at = run.checker.at();
                    run.found(FindingKind::PayloadMalformed, at, reason);
                    self.give_up();
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.stream = None;
    }
}
