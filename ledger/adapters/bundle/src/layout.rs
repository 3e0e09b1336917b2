//! Where things stand in an export (`docs/formats/bundle.md`): paths, and the manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, TreeSize};
use ruche_ledger::tile::{TILE_WIDTH, TileId, TileKind};
use serde::{Deserialize, Serialize};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Name of a signed tree head in the folder of its epoch.
pub const CHECKPOINT: &str = "checkpoint";
/// Name of the verifier key in the folder of its epoch.
pub const KEY: &str = "key.vkey";
/// `format` of the manifest.
pub const FORMAT: &str = "ruche-export";
/// `version` of the manifest.
pub const VERSION: u32 = 1;
/// Levels of hash tiles that a tree can have.
pub const TILE_LEVELS: u8 = 8;

/// Folder of an epoch.
#[must_use]
pub fn epoch_folder(epoch: Epoch) -> String {
    format!("e{epoch}")
}

/// The epoch of a folder; `None` for every other name.
#[must_use]
pub fn epoch_of_folder(name: &str) -> Option<Epoch> {
    let epoch = Epoch(name.strip_prefix('e')?.parse().ok()?);
    (epoch.0 > 0 && epoch_folder(epoch) == name).then_some(epoch)
}

/// Which kind of file of an epoch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Hash tiles of a level.
    Hashes(u8),
    /// Entry bundles.
    Entries,
    /// Payload bundles.
    Payload,
}

impl Shelf {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Entries, Self::Payload]
            .into_iter()
            .chain((0..TILE_LEVELS).map(Self::Hashes))
    }

    /// Folder below the epoch's.
    #[must_use]
    pub fn folder(self) -> String {
        match self {
            Self::Hashes(level) => format!("tile/{level}"),
            Self::Entries => "tile/entries".to_owned(),
            Self::Payload => "payload".to_owned(),
        }
    }

    /// How many items a tree of this size has on the shelf.
    #[must_use]
    pub fn items(self, size: TreeSize) -> u64 {
        match self {
            Self::Hashes(level) => size.0 >> (8 * u32::from(level)),
            Self::Entries | Self::Payload => size.0,
        }
    }

    /// The bundle or tile number `index` of a tree of this size; `None` if it has none of that number.
    #[must_use]
    pub fn slot(self, index: u64, size: TreeSize) -> Option<Slot> {
        let width = self
            .items(size)
            .checked_sub(index.checked_mul(TILE_WIDTH.into())?)?;
        let width = u16::try_from(width).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        (width > 0).then_some(Slot {
            shelf: self,
            index,
            width,
        })
    }
}

/// A bundle or tile: where it stands and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// On which shelf.
    pub shelf: Shelf,
    /// Its number there, from 0.
    pub index: u64,
    /// Items in it, 1 to 256.
    pub width: u16,
}

impl Slot {
    /// Path below the epoch's folder.
    #[must_use]
    pub fn path(self) -> String {
        let entries = TileId::new(TileKind::Entries, self.index, self.width)
            .expect("widths are 1 to 256")
            .to_string();
        let number = entries
            .strip_prefix("tile/entries/")
            .expect("that is how the path of an entry bundle starts");
        format!("{}/{number}", self.shelf.folder())
    }

    /// The slot that a path below the folder of `shelf` names; `None` if it names none.
    #[must_use]
    pub fn parse(shelf: Shelf, number: &str) -> Option<Self> {
        let tile: TileId = format!("tile/entries/{number}").parse().ok()?;
        Some(Self {
            shelf,
            index: tile.index(),
            width: tile.width(),
        })
    }

    /// Index of its first item.
    #[must_use]
    pub fn start(self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH.into())
    }

    /// Index behind its last item.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start().saturating_add(self.width.into())
    }
}

/// What is in an export. Not signed; nothing is believed because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Which ledger.
    pub ledger: LedgerId,
    /// Its epochs, from 1, without a hole.
    pub epochs: Vec<ManifestEpoch>,
}

/// One epoch of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEpoch {
    /// Its number.
    pub epoch: Epoch,
    /// Its origin.
    pub origin: String,
    /// Size of its tree head.
    pub size: TreeSize,
}

impl Manifest {
    /// The manifest of these epochs.
    #[must_use]
    pub fn new(ledger: LedgerId, epochs: Vec<ManifestEpoch>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            ledger,
            epochs,
        }
    }

    /// What is wrong with it by itself, if anything. Holes between epochs are a matter of the epochs.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if (self.format.as_str(), self.version) != (FORMAT, VERSION) {
            return Some(format!(
                "format {} version {} is not known here",
                self.format, self.version
            ));
        }
        let is_in_order = self.epochs.is_sorted_by(|one, next| one.epoch < next.epoch);
        let is_from_one = self.epochs.first().is_some_and(|first| first.epoch.0 > 0);
        (!is_in_order || !is_from_one).then(|| "its epochs are not in order".to_owned())
    }

    /// What it says of an epoch.
    #[must_use]
    pub fn epoch(&self, epoch: Epoch) -> Option<&ManifestEpoch> {
        self.epochs.iter().find(|listed| listed.epoch == epoch)
    }
}

/// Which bundles and tiles of an epoch are there, by number and width. 16 bytes for each.
#[derive(Clone, Debug, Default)]
pub struct Inventory(BTreeMap<Shelf, Vec<Slot>>);

impl Inventory {
    /// What stands in the folder of an epoch. Files with other names are passed over.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn take(folder: &Path) -> std::io::Result<Self> {
        let mut found = BTreeMap::new();
        for shelf in Shelf::all() {
            let mut slots = Vec::new();
            list(&folder.join(shelf.folder()), "", &mut |number| {
                slots.extend(Slot::parse(shelf, number))
            })?;
            slots.sort_unstable();
            found.insert(shelf, slots);
        }
        Ok(Self(found))
    }

    /// What stands on a shelf, by number, then width.
    #[must_use]
    pub fn on(&self, shelf: Shelf) -> &[Slot] {
        self.0.get(&shelf).map_or(&[], Vec::as_slice)
    }

    /// The widest one of a number.
    #[must_use]
    pub fn widest(&self, shelf: Shelf, index: u64) -> Option<Slot> {
        let slots = self.on(shelf);
        let end = slots.partition_point(|slot| slot.index <= index);
        slots[..end].last().copied().filter(|slot| slot.index == index)
    }

    /// Whether exactly this one is there.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        self.on(slot.shelf).binary_search(&slot).is_ok()
    }

    /// Index behind the last entry that any bundle claims to hold.
    #[must_use]
    pub fn entries_end(&self) -> u64 {
        self.on(Shelf::Entries).last().map_or(0, |slot| slot.end())
    }
}

/// Deepest folder below a shelf: seven groups of digits and `.p`.
const FOLDERS_DEEP_MAX: usize = 8;

/// Names every file below `folder`, relative to it.
fn list(folder: &Path, prefix: &str, found: &mut impl FnMut(&str)) -> std::io::Result<()> {
    if prefix.split('/').count() > FOLDERS_DEEP_MAX {
        return Ok(());
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // Names that are not UTF-8 name no tile.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let path: PathBuf = entry.path();
        let name = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            list(&path, &format!("{name}/"), found)?;
        } else {
            found(&name);
        }
    }
    Ok(())
}

/// Whether an error says that there is no such file, and not that it cannot be read.
#[must_use]
pub fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let slot = |shelf, index, width| Slot { shelf, index, width }.path();
        assert_eq!(slot(Shelf::Entries, 5, 256), "tile/entries/005");
        assert_eq!(slot(Shelf::Payload, 1_234_067, 8), "payload/x001/x234/067.p/8");
        assert_eq!(slot(Shelf::Hashes(1), 0, 255), "tile/1/000.p/255");
        assert_eq!(
            Slot::parse(Shelf::Payload, "x001/x234/067.p/8"),
            Some(Slot {
                shelf: Shelf::Payload,
                index: 1_234_067,
                width: 8
            })
        );
        for other in ["5", "005.p/0", "005.p/256", "x005", "README"] {
            assert_eq!(Slot::parse(Shelf::Payload, other), None, "{other}");
        }
    }

    #[test]
    fn slots_follow_from_the_size() {
        let slot = |shelf: Shelf, index| shelf.slot(index, TreeSize(70_000)).map(|slot| slot.width);
        assert_eq!(slot(Shelf::Entries, 272), Some(256));
        assert_eq!(slot(Shelf::Entries, 273), Some(112));
        assert_eq!(slot(Shelf::Entries, 274), None);
        assert_eq!(slot(Shelf::Hashes(1), 1), Some(17));
        assert_eq!(slot(Shelf::Hashes(2), 0), Some(1));
        assert_eq!(slot(Shelf::Hashes(3), 0), None);
        assert_eq!(
            Shelf::Entries.slot(0, TreeSize(256)).map(|slot| slot.width),
            Some(256)
        );
        assert_eq!(Shelf::Entries.slot(1, TreeSize(256)), None);
    }

    #[test]
    fn folders_of_epochs_have_one_spelling() {
        assert_eq!(epoch_of_folder("e12"), Some(Epoch(12)));
        for other in ["e0", "e01", "e", "e+1", "12", "e4294967296"] {
            assert_eq!(epoch_of_folder(other), None, "{other}");
        }
    }
}
