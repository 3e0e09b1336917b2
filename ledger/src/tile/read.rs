//! From tiles to the nodes of the tree.

use super::*;

/// Where tiles come from: a directory, a server, a table.
pub trait TileSource {
    /// Why a tile cannot be had.
    type Error;

    /// Bytes of the hash tile `tile`.
    ///
    /// Implementations MAY answer with a wider version of the tile: a partial tile may be gone once the full one
    /// exists. Callers MUST NOT take the answer for true before a proof made from it is checked.
    ///
    /// # Errors
    /// When the tile cannot be read.
    fn tile(&mut self, tile: &TileId) -> Result<Vec<u8>, Self::Error>;
}

/// Why a node cannot be had from tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError<E> {
    /// The source failed.
    #[error("{tile} could not be read")]
    Source {
        /// Tile that was asked for.
        tile: TileId,
        /// What the source says.
        #[source]
        source: E,
    },
    /// The source's bytes are not that tile.
    #[error("{tile} is damaged")]
    Damaged {
        /// Tile that was asked for.
        tile: TileId,
        /// What is wrong with the bytes.
        #[source]
        source: TileError,
    },
    /// The node is not in a tree of this size.
    #[error("node {index} of level {level} is not in a tree of {size} leaves")]
    Outside {
        /// Level that was asked for.
        level: u8,
        /// Index that was asked for.
        index: u64,
        /// Size of the tree.
        size: TreeSize,
    },
}

/// Reads the nodes of a tree of known size from its tiles, keeping the last few tiles in memory.
#[derive(Debug)]
pub struct TileReader<S> {
    source: S,
    size: TreeSize,
    read: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<S: TileSource> TileReader<S> {
    /// A reader of the tree of `size` leaves. Use a size for which a tree head was published: the source need
    /// not have the partial tiles of any other.
    pub const fn new(source: S, size: TreeSize) -> Self {
        Self {
            source,
            size,
            read: BTreeMap::new(),
        }
    }

    /// The hashes of tile `index` of `level`, from memory or from the source.
    fn hashes(&mut self, tile: TileId, level: u8) -> Result<&[Hash], TileReadError<S::Error>> {
        let key = (level, tile.index);
        if !self.read.contains_key(&key) {
            let bytes = self
                .source
                .tile(&tile)
                .map_err(|source| TileReadError::Source { tile, source })?;
            let wanted = usize::from(tile.width) * HASH_BYTES;
            let whole =
                bytes.len().is_multiple_of(HASH_BYTES) && bytes.len() <= usize::from(TILE_WIDTH) * HASH_BYTES;
            let hashes = bytes
                .get(..wanted)
                .filter(|_| whole)
                .ok_or(TileError::HashesLength {
                    width: tile.width,
                    found: bytes.len(),
                })
                .and_then(|bytes| decode_hashes(bytes, tile.width))
                .map_err(|source| TileReadError::Damaged { tile, source })?;
            if self.read.len() >= READER_TILES_MAX {
                self.read.clear();
            }
            self.read.insert(key, hashes);
        }
        Ok(&self.read[&key])
    }
}

impl<S: TileSource> NodeReader for TileReader<S> {
    type Error = TileReadError<S::Error>;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let outside = TileReadError::Outside {
            level,
            index,
            size: self.size,
        };
        let in_tree = index
            .checked_add(1)
            .and_then(|end| end.checked_mul(1_u64.checked_shl(level.into())?))
            .is_some_and(|end| end <= self.size.0);
        if !in_tree {
            return Err(outside);
        }
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let tile_index = index >> (TILE_HEIGHT - height);
        let start = tile_index * u64::from(TILE_WIDTH);
        let width = (hashes_at(self.size.0, tile_level) - start).min(TILE_WIDTH.into());
        let width = u16::try_from(width).expect("at most 256");
        let tile = TileId {
            kind: TileKind::Hashes { level: tile_level },
            index: tile_index,
            width,
        };
        let first = usize::try_from((index << height) - start).expect("at most 255");
        Ok(tile_node(self.hashes(tile, tile_level)?, height, first))
    }
}
