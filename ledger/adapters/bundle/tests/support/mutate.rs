//! Mutations that need no key: what a thief, a bad disk or a careless copy can do to an export.

use std::fs;
use std::path::PathBuf;

use ruche_domain::numbers::Epoch;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::testing::SeededRandom;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::verify::FindingKind::{self, *};
use ruche_ledger_bundle::layout::{Manifest, epoch_folder};

use super::good::{Export, Shape, Stored, export};
use super::{below, files, one_of};

/// An export that is being mutated.
pub struct Work {
    pub export: Export,
    pub folder: PathBuf,
    pub random: SeededRandom,
}

/// What the verifier must say.
#[derive(Debug)]
pub struct Expected {
    /// At least one of these findings.
    pub any_of: Vec<FindingKind>,
    pub exit_code: u8,
    /// A tree head that the auditor kept, without which nothing can be found.
    pub since: Option<SignedTreeHead>,
    /// A size that the auditor knows, without which nothing can be found.
    pub at_least: Option<u64>,
}

/// Tampering that is found in the export alone.
pub fn tampered(any_of: &[FindingKind]) -> Option<Expected> {
    Some(Expected {
        any_of: any_of.to_vec(),
        exit_code: 2,
        since: None,
        at_least: None,
    })
}

/// Writes a mutated export into the folder; `None` if this export has no place for the mutation.
pub type Mutation = fn(&mut Work) -> Option<Expected>;

/// All that need no key.
pub const ALL: &[(&str, Mutation)] = &[
    ("leaf_byte", leaf_byte),
    ("entry_length_byte", entry_length_byte),
    ("tile_byte", tile_byte),
    ("payload_byte", payload_byte),
    ("checkpoint_byte", checkpoint_byte),
    ("first_dropped", |work| dropped(work, Which::First)),
    ("middle_dropped", |work| dropped(work, Which::Middle)),
    ("last_dropped", |work| dropped(work, Which::Last)),
    ("first_cut", |work| cut(work, Which::First)),
    ("middle_cut", |work| cut(work, Which::Middle)),
    ("last_cut", |work| cut(work, Which::Last)),
    ("swapped", swapped),
    ("transplanted", transplanted),
    ("foreign_inserted", foreign_inserted),
    ("repeated", repeated),
    ("truncated_file", truncated_file),
    ("deleted_file", deleted_file),
    ("extra_entry", extra_entry),
    ("older_checkpoint", older_checkpoint),
    ("payloads_exchanged", payloads_exchanged),
    ("payload_missing", payload_missing),
    ("signed_by_another_key", signed_by_another_key),
    ("first_epoch_deleted", first_epoch_deleted),
    ("last_epoch_deleted", last_epoch_deleted),
    ("manifest_size", |work| {
        manifest(work, |manifest| manifest.epochs[0].size.0 += 1)
    }),
    ("manifest_origin", |work| {
        manifest(work, |manifest| manifest.epochs[0].origin.push('x'))
    }),
    ("manifest_ledger", |work| {
        manifest(work, |manifest| manifest.ledger.0 = uuid::Uuid::from_u128(1))
    }),
    ("manifest_version", |work| {
        manifest(work, |manifest| manifest.version = 2)
    }),
];

#[derive(Clone, Copy)]
enum Which {
    First,
    Middle,
    Last,
}

impl Work {
    /// An epoch with at least so many records.
    fn epoch_with(&self, records: usize) -> Option<usize> {
        let epochs = 0..self.export.epochs.len();
        let large: Vec<_> = epochs
            .filter(|epoch| self.export.epochs[*epoch].records.len() >= records)
            .collect();
        one_of(&self.random, &large)
    }

    pub fn write(&self) {
        self.export.write(&self.folder);
    }

    /// Changes a byte of a file with `part` in its path.
    fn flip(&self, part: &str) -> Option<PathBuf> {
        let path = one_of(&self.random, &files::with(&self.folder, part))?;
        let length = fs::metadata(&path).expect("a file").len() as usize;
        files::flip(&path, below(&self.random, length), &self.random);
        Some(path)
    }

    fn pick(&self, which: Which, records: usize) -> usize {
        match which {
            Which::First => 0,
            Which::Middle => 1 + below(&self.random, records - 2),
            Which::Last => records - 1,
        }
    }

    /// A record of another tenant.
    fn foreign(&self) -> Stored {
        let other = export(
            self.random.next(),
            Shape {
                epochs: 1,
                appends: 20,
                events_max: 3,
            },
        );
        one_of(&self.random, &other.epochs[0].records).expect("there are records")
    }
}

fn leaf_byte(work: &mut Work) -> Option<Expected> {
    work.write();
    let path = one_of(&work.random, &files::with(&work.folder, "entries"))?;
    let (start, end) = one_of(&work.random, &files::entries(&fs::read(&path).expect("a bundle")))?;
    files::flip(&path, start + below(&work.random, end - start), &work.random);
    tampered(&[TileMismatch])
}

fn entry_length_byte(work: &mut Work) -> Option<Expected> {
    work.write();
    let path = one_of(&work.random, &files::with(&work.folder, "entries"))?;
    let (start, _) = one_of(&work.random, &files::entries(&fs::read(&path).expect("a bundle")))?;
    files::flip(&path, start - 1 - below(&work.random, 2), &work.random);
    tampered(&[FileMalformed, LeafMalformed])
}

fn tile_byte(work: &mut Work) -> Option<Expected> {
    work.write();
    let level = work.flip(one_of(&work.random, &["tile/0/", "tile/1/"])?);
    level.or_else(|| work.flip("tile/0/"))?;
    tampered(&[TileMismatch])
}

fn payload_byte(work: &mut Work) -> Option<Expected> {
    work.write();
    work.flip("payload/")?;
    tampered(&[PayloadMismatch, PayloadMalformed])
}

fn checkpoint_byte(work: &mut Work) -> Option<Expected> {
    work.write();
    work.flip("checkpoint")?;
    tampered(&[TreeHeadMalformed, TreeHeadSignatureInvalid, TreeHeadUntrusted])
}

/// The record is gone, and all files are made new around the hole.
fn dropped(work: &mut Work, which: Which) -> Option<Expected> {
    let epoch = work.epoch_with(3)?;
    let records = work.export.epochs[epoch].records.len();
    let at = work.pick(which, records);
    work.export.epochs[epoch].records.remove(at);
    work.write();
    tampered(&[named(which)])
}

/// The record is gone from the entry bundle only.
fn cut(work: &mut Work, which: Which) -> Option<Expected> {
    let epoch = work.epoch_with(3)?;
    let records = work.export.epochs[epoch].records.len();
    let at = work.pick(which, records);
    work.write();
    let bundles = format!(
        "{}/tile/entries/{:03}",
        epoch_folder(Epoch(epoch as u32 + 1)),
        at / 256
    );
    files::cut(&files::with(&work.folder, &bundles)[0], at % 256);
    tampered(&[named(which)])
}

const fn named(which: Which) -> FindingKind {
    match which {
        Which::First => FirstRecordMissing,
        Which::Middle => RecordMissing,
        Which::Last => TailMissing,
    }
}

fn swapped(work: &mut Work) -> Option<Expected> {
    let epoch = work.epoch_with(2)?;
    let records = &mut work.export.epochs[epoch].records;
    let one = below(&work.random, records.len());
    let other = (one + 1 + below(&work.random, records.len() - 1)) % records.len();
    records.swap(one, other);
    work.write();
    tampered(&[RecordsSwapped])
}

fn transplanted(work: &mut Work) -> Option<Expected> {
    let epoch = work.epoch_with(1)?;
    let foreign = work.foreign();
    let records = &mut work.export.epochs[epoch].records;
    let at = below(&work.random, records.len());
    records[at] = foreign;
    work.write();
    tampered(&[ForeignRecord])
}

fn foreign_inserted(work: &mut Work) -> Option<Expected> {
    let epoch = work.epoch_with(2)?;
    let foreign = work.foreign();
    let records = &mut work.export.epochs[epoch].records;
    let at = below(&work.random, records.len());
    records.insert(at, foreign);
    work.write();
    tampered(&[ForeignRecord])
}

fn repeated(work: &mut Work) -> Option<Expected> {
    let epoch = work.epoch_with(3)?;
    let records = &mut work.export.epochs[epoch].records;
    let from = below(&work.random, records.len() - 2);
    let at = from + 1 + below(&work.random, records.len() - from - 1);
    records.insert(at, records[from].clone());
    work.write();
    tampered(&[EventIdRepeated])
}

fn truncated_file(work: &mut Work) -> Option<Expected> {
    work.write();
    // The key in the export is not looked at where the auditor brings one.
    let mut paths = files::with(&work.folder, "");
    paths.retain(|path| !path.ends_with("key.vkey"));
    let path = one_of(&work.random, &paths)?;
    let bytes = fs::read(&path).expect("a file");
    fs::write(&path, &bytes[..below(&work.random, bytes.len() - 1)]).expect("writable");
    tampered(&[
        FileMalformed,
        // Cut where an entry ends.
        TailMissing,
        PayloadMalformed,
        TreeHeadMalformed,
        TreeHeadUntrusted,
        TreeHeadSignatureInvalid,
        ManifestMismatch,
    ])
}

fn deleted_file(work: &mut Work) -> Option<Expected> {
    work.write();
    // Without its manifest it is not an export.
    let mut paths = files::all(&work.folder);
    paths.retain(|path| !path.ends_with("key.vkey") && !path.ends_with("manifest.json"));
    fs::remove_file(one_of(&work.random, &paths)?).expect("removable");
    tampered(&[FileMissing, TreeHeadMalformed])
}

fn extra_entry(work: &mut Work) -> Option<Expected> {
    work.write();
    let path = one_of(&work.random, &files::with(&work.folder, "entries"))?;
    let mut bytes = fs::read(&path).expect("a bundle");
    let (start, end) = one_of(&work.random, &files::entries(&bytes))?;
    bytes.extend_from_within(start - 2..end);
    fs::write(&path, bytes).expect("writable");
    tampered(&[FileMalformed, SurplusRecords])
}

/// The checkpoint and the manifest of an earlier day, over the files of today.
fn older_checkpoint(work: &mut Work) -> Option<Expected> {
    let epochs = work.export.epochs.iter().filter(|epoch| {
        epoch
            .earlier
            .iter()
            .any(|old| old.head().size < epoch.head.head().size)
    });
    let epoch = one_of(&work.random, &epochs.map(|epoch| epoch.epoch).collect::<Vec<_>>())?;
    let of = &work.export.epochs[epoch.0 as usize - 1];
    let older: Vec<_> = of
        .earlier
        .iter()
        .filter(|old| old.head().size < of.head.head().size)
        .cloned()
        .collect();
    let head = one_of(&work.random, &older)?;
    work.write();
    fs::write(
        work.folder.join(epoch_folder(epoch)).join("checkpoint"),
        head.as_bytes(),
    )
    .expect("writable");
    manifest_file(work, |manifest| {
        manifest.epochs[epoch.0 as usize - 1].size = head.head().size
    });
    tampered(&[SurplusRecords])
}

fn payloads_exchanged(work: &mut Work) -> Option<Expected> {
    let records = &mut work.export.epochs.iter_mut().next()?.records;
    let full: Vec<_> = (1..records.len())
        .filter(|at| records[*at].payload.len() == 1)
        .collect();
    let (one, other) = (one_of(&work.random, &full)?, one_of(&work.random, &full)?);
    let (a, b) = (records[one].payload.clone(), records[other].payload.clone());
    if a == b {
        return None;
    }
    (records[one].payload, records[other].payload) = (b, a);
    work.write();
    tampered(&[PayloadMismatch])
}

fn payload_missing(work: &mut Work) -> Option<Expected> {
    let epoch = work.epoch_with(2)?;
    let records = &mut work.export.epochs[epoch].records;
    let full: Vec<_> = (1..records.len())
        .filter(|at| !records[*at].payload.is_empty())
        .collect();
    let at = one_of(&work.random, &full)?;
    let fragment = below(&work.random, records[at].payload.len());
    records[at].payload[fragment] = StoredFragment::Missing;
    work.write();
    Some(Expected {
        exit_code: 3,
        ..tampered(&[PayloadMissing])?
    })
}

/// The whole tree is signed again by somebody who calls himself the log.
fn signed_by_another_key(work: &mut Work) -> Option<Expected> {
    let thief = MasterSeed::from_slice(&[0xee; 32]).expect("32 bytes");
    let epoch = work.epoch_with(1)?;
    let head = work.export.epochs[epoch].head.head().clone();
    let signer = thief.log_signer(&head.origin).expect("an origin");
    work.export.epochs[epoch].head = SignedTreeHead::sign(head, &signer).expect("his own key");
    work.write();
    let key = work
        .folder
        .join(epoch_folder(Epoch(epoch as u32 + 1)))
        .join("key.vkey");
    fs::write(key, format!("{}\n", signer.verifier())).expect("writable");
    tampered(&[TreeHeadUntrusted])
}

fn first_epoch_deleted(work: &mut Work) -> Option<Expected> {
    (work.export.epochs.len() > 1).then_some(())?;
    work.write();
    fs::remove_dir_all(work.folder.join("e1")).expect("removable");
    tampered(&[EpochMissing])
}

fn last_epoch_deleted(work: &mut Work) -> Option<Expected> {
    (work.export.epochs.len() > 1).then_some(())?;
    work.write();
    let last = work.export.epochs.last()?.epoch;
    fs::remove_dir_all(work.folder.join(epoch_folder(last))).expect("removable");
    tampered(&[ManifestMismatch])
}

fn manifest(work: &mut Work, change: fn(&mut Manifest)) -> Option<Expected> {
    work.write();
    manifest_file(work, change);
    tampered(&[ManifestMismatch])
}

fn manifest_file(work: &Work, change: impl FnOnce(&mut Manifest)) {
    let path = work.folder.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("a manifest");
    change(&mut manifest);
    fs::write(path, serde_json::to_vec(&manifest).expect("JSON")).expect("writable");
}
