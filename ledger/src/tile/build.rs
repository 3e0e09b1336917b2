//! From leaf hashes to hash tiles.

use super::*;

/// Makes the hash tiles of a log while its leaf hashes pass by in order.
///
/// Holds at most 256 hashes per level, whatever the size of the log: an export of any length runs in constant
/// memory.
#[derive(Debug, Clone, Default)]
pub struct TileBuilder {
    /// For each tile level, the hashes of the tile that is being filled (0 to 255 of them).
    open: Vec<Vec<Hash>>,
    /// Leaf hashes taken.
    size: u64,
}

impl TileBuilder {
    /// A builder that has seen no leaf.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            open: Vec::new(),
            size: 0,
        }
    }

    /// Number of leaf hashes taken so far.
    #[must_use]
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Takes the next leaf hash and hands every tile that it fills to `full`, lowest level first.
    ///
    /// # Errors
    /// What `full` returns. The builder is then unusable: the hash may or may not have been taken.
    pub fn append<E>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(TileId, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut node = leaf;
        self.size += 1;
        for level in 0..TILE_HEIGHT {
            if self.open.len() <= level.into() {
                self.open.push(Vec::with_capacity(TILE_WIDTH.into()));
            }
            let tile = &mut self.open[usize::from(level)];
            tile.push(node);
            if tile.len() < TILE_WIDTH.into() {
                return Ok(());
            }
            let index = hashes_at(self.size, level + 1) - 1;
            full(
                TileId {
                    kind: TileKind::Hashes { level },
                    index,
                    width: TILE_WIDTH,
                },
                tile,
            )?;
            node = tile_node(tile, TILE_HEIGHT, 0);
            tile.clear();
        }
        Ok(())
    }

    /// The partial tiles of the log as it stands, lowest level first.
    pub fn partial(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        (0..TILE_HEIGHT)
            .zip(&self.open)
            .filter(|(_, tile)| !tile.is_empty())
            .map(|(level, tile)| {
                let width = u16::try_from(tile.len()).expect("an open tile has at most 255 hashes");
                let index = hashes_at(self.size, level) / u64::from(TILE_WIDTH);
                (
                    TileId {
                        kind: TileKind::Hashes { level },
                        index,
                        width,
                    },
                    tile.as_slice(),
                )
            })
    }
}
