//! Tiles and entry bundles: the tree as files that never change (C2SP tlog-tiles).
//!
//! A hash tile of level l holds up to 256 hashes, each over 256^l leaves; an entry bundle holds the leaves
//! themselves, up to 256 of them. Only the rightmost tile of a level can be partial, and a partial tile is never
//! hashed into the level above. From the tiles of a size any proof up to that size can be made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ruche_domain::numbers::TreeSize;

use crate::hash::{HASH_BYTES, Hash, node_hash};
use crate::proof::NodeReader;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Levels of the tree in one tile: 2^8 = [`TILE_WIDTH`].
const TILE_HEIGHT: u8 = 8;
/// Highest tile level a path may name (C2SP tlog-tiles); the trees we make end at level 7.
const TILE_LEVEL_MAX: u8 = 63;
/// Longest entry: bundles carry the length in two bytes.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Tiles a [`TileReader`] keeps: a proof needs at most two per level.
const READER_TILES_MAX: usize = 64;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of the tree, each over 256^level leaves.
    Hashes {
        /// 0 for leaf hashes.
        level: u8,
    },
    /// The leaves.
    Entries,
}

/// Coordinates of a tile. Prints as its path, `tile/0/x001/x234/067.p/8`, and parses from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// The coordinates or the path name no tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct TilePathInvalid;

impl TileId {
    /// The tile number `index` of its kind, with `width` hashes or entries (1 to 256).
    ///
    /// # Errors
    /// When the width is not in that range or the level is above 63.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Result<Self, TilePathInvalid> {
        let level_known = match kind {
            TileKind::Hashes { level } => level <= TILE_LEVEL_MAX,
            TileKind::Entries => true,
        };
        if level_known && (1..=TILE_WIDTH).contains(&width) {
            Ok(Self { kind, index, width })
        } else {
            Err(TilePathInvalid)
        }
    }

    /// What the tile holds.
    #[must_use]
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Number of the tile, from 0, among those of its kind.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it: 256 if it is full.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it is full, and so never replaced by a wider one.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The same tile when it will be full. A client may ask for it where a partial one is gone.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: TILE_WIDTH,
            ..self
        }
    }

    /// Whether a log of `size` leaves has this tile, in this or a greater width.
    #[must_use]
    pub fn is_within(&self, size: TreeSize) -> bool {
        let level = match self.kind {
            TileKind::Hashes { level } => level,
            TileKind::Entries => 0,
        };
        self.index
            .checked_mul(u64::from(TILE_WIDTH))
            .and_then(|start| start.checked_add(u64::from(self.width)))
            .is_some_and(|end| end <= hashes_at(size.0, level))
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(out, "tile/{level}/")?,
            TileKind::Entries => out.write_str("tile/entries/")?,
        }
        // A u64 has at most seven groups of three digits.
        for power in (1..7).rev() {
            let above = self.index / 1000_u64.pow(power);
            if above > 0 {
                write!(out, "x{:03}/", above % 1000)?;
            }
        }
        write!(out, "{:03}", self.index % 1000)?;
        if self.is_full() {
            Ok(())
        } else {
            write!(out, ".p/{}", self.width)
        }
    }
}

impl FromStr for TileId {
    type Err = TilePathInvalid;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let rest = path.strip_prefix("tile/").ok_or(TilePathInvalid)?;
        let (kind, rest) = rest.split_once('/').ok_or(TilePathInvalid)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes {
                level: level.parse().map_err(|_| TilePathInvalid)?,
            },
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().map_err(|_| TilePathInvalid)?),
            None => (rest, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in groups.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 {
                return Err(TilePathInvalid);
            }
            let group: u64 = digits.parse().map_err(|_| TilePathInvalid)?;
            index = index
                .checked_mul(1000)
                .and_then(|index| index.checked_add(group))
                .ok_or(TilePathInvalid)?;
        }
        let tile = Self::new(kind, index, width)?;
        // Signs, extra zeros, a missing or misplaced x, `.p/256`: none of them prints back.
        if tile.to_string() == path {
            Ok(tile)
        } else {
            Err(TilePathInvalid)
        }
    }
}

/// Nodes that tiles of `level` hold in a tree of `size` leaves: ⌊size / 256^level⌋.
fn hashes_at(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(TILE_HEIGHT) * u32::from(level))
        .unwrap_or(0)
}

/// Hash tiles that a log of `new` leaves has and one of `old` leaves has not: level by level, left to right.
/// With `old` 0 these are all the hash tiles of the log.
pub fn hash_tiles(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    (0..TILE_HEIGHT).flat_map(move |level| tiles_of_kind(TileKind::Hashes { level }, level, old, new))
}

/// Entry bundles that a log of `new` leaves has and one of `old` leaves has not, left to right.
pub fn entry_tiles(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    tiles_of_kind(TileKind::Entries, 0, old, new)
}

fn tiles_of_kind(kind: TileKind, level: u8, old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    let width = u64::from(TILE_WIDTH);
    let (had, has) = (hashes_at(old.0, level), hashes_at(new.0, level));
    let first = had / width;
    // With nothing new at this level the range is empty, and so is the partial tile.
    let end = if has > had { has.div_ceil(width) } else { first };
    (first..end).map(move |index| {
        let wide = (has - index * width).min(width);
        TileId {
            kind,
            index,
            width: u16::try_from(wide).expect("at most 256"),
        }
    })
}

/// Bytes that should be a tile are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A hash tile is 32 bytes for each hash.
    #[error("{found} bytes do not hold exactly {width} hashes")]
    HashesLength {
        /// Hashes there should be.
        width: u16,
        /// Bytes there are.
        found: usize,
    },
    /// An entry is longer than two bytes can say.
    #[error("an entry of {0} bytes, at most 65535 fit a bundle")]
    EntryTooLong(usize),
    /// The bundle ends within an entry, or before the last one.
    #[error("the bundle ends before entry {0} does")]
    EntryCut(u16),
    /// Bytes follow the last entry.
    #[error("{0} bytes follow the last entry")]
    EntriesTrailing(usize),
    /// More than 256 hashes or entries, or none.
    #[error("{0} hashes or entries do not make a tile")]
    Width(usize),
}

/// Bytes of a hash tile.
///
/// # Errors
/// When there are no hashes, or more than 256.
pub fn encode_hashes(hashes: &[Hash]) -> Result<Vec<u8>, TileError> {
    checked_width(hashes.len())?;
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

/// The `width` hashes of a hash tile.
///
/// # Errors
/// When the bytes are not exactly that many hashes.
pub fn decode_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() || chunks.len() != usize::from(width) {
        return Err(TileError::HashesLength {
            width,
            found: bytes.len(),
        });
    }
    Ok(chunks.iter().copied().map(Hash).collect())
}

/// Bytes of an entry bundle: each leaf behind its length in two bytes, big-endian.
///
/// # Errors
/// When there are no entries, more than 256, or one of more than [`ENTRY_BYTES_MAX`] bytes.
pub fn encode_entries<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    checked_width(entries.len())?;
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| 2 + entry.as_ref().len()).sum());
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong(entry.len()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The `width` entries of a bundle, without copying them.
///
/// # Errors
/// When the bytes are not exactly that many entries.
pub fn decode_entries(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(width.into());
    for number in 0..width {
        let cut = TileError::EntryCut(number);
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
        let (entry, after) = after
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or(cut)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(TileError::EntriesTrailing(rest.len()))
    }
}

fn checked_width(count: usize) -> Result<u16, TileError> {
    u16::try_from(count)
        .ok()
        .filter(|width| (1..=TILE_WIDTH).contains(width))
        .ok_or(TileError::Width(count))
}

/// Root of the perfect subtree of 2^`height` hashes that begins at `first` in a tile.
fn tile_node(hashes: &[Hash], height: u8, first: usize) -> Hash {
    if height == 0 {
        return hashes[first];
    }
    let half = 1 << (height - 1);
    node_hash(
        &tile_node(hashes, height - 1, first),
        &tile_node(hashes, height - 1, first + half),
    )
}

mod read;

pub use read::{TileReadError, TileReader, TileSource};

#[cfg(test)]
mod tests;
