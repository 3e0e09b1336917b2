//! Sealing: from appended records to a signed tree head, so that a crash at any line leaves no fork.
//!
//! Three stores are involved, and they are trusted differently:
//! - the event store holds the records. Who can write to it can lose them, and is caught by any tree head outside;
//! - the tree store holds tiles and a copy of the last tree head. All of it is derived; it may be deleted;
//! - the **tree head store** holds the last tree head of each origin and is never restored from a backup. Who can
//!   write to it can make the ledger sign twice, so it lives apart from the data.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Epoch, LeafIndex, TreeSize};

use crate::hash::Hash;
use crate::note::NoteSigner;
use crate::right_edge::{HashTile, RightEdge, partial_tiles};
use crate::store::{EpochInfo, EventStore, StoreError};
use crate::tree::TreeRoot;
use crate::tree_head::{SignedTreeHead, TreeHead, TreeHeadError};

/// Tiles and tree heads of epochs: derived data, kept beside the records.
#[async_trait]
pub trait TreeStore: Send + Sync {
    /// Leaf hashes of an epoch from `from` on, at most `limit`, computed from the stored leaves.
    async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError>;

    /// A hash tile as it was last stored; it may be wider than the last signed tree head asks for.
    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError>;

    /// The stored copy of the last signed tree head of an epoch.
    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError>;

    /// Stores tiles, each replacing what is stored of it, durably and all or none.
    async fn put_tiles(&self, ledger: LedgerId, epoch: Epoch, tiles: Vec<HashTile>)
    -> Result<(), StoreError>;

    /// Stores the copy of the last signed tree head.
    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError>;
}

/// Why the tree head store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeHeadStoreError {
    /// Another tree head than the expected one is stored. Somebody else sealed; look again.
    #[error("another tree head was stored meanwhile")]
    Swapped,
    /// The store cannot be read or written.
    #[error("the tree head store is not available: {0}")]
    Unavailable(String),
}

/// The last signed tree head of each origin. Not restored with the database: it remembers what was promised.
#[async_trait]
pub trait TreeHeadStore: Send + Sync {
    /// The last tree head of an origin.
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError>;

    /// Stores `new` durably if the stored one is still `expected`, byte for byte. Never goes back to a smaller size.
    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError>;
}

/// Gives the signing key of an origin. Implemented where the master seed is.
pub trait LogKeys: Send + Sync {
    /// The signer whose name is `origin`.
    fn signer(&self, origin: &str) -> NoteSigner;
}

/// Why a ledger was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The tree head store has promised more records than the event store has: the database was restored or lost
    /// its end. Signing would fork the log. `ruche ledger new-epoch` opens a new epoch and names the lost range.
    #[error(
        "the database holds {stored} records of {origin}, but a tree head over {promised} was already signed: it was \
         restored from a backup or lost its end; nothing is signed for this origin any more. \
         `ruche ledger new-epoch` opens a new epoch that names the lost records"
    )]
    Behind {
        /// Which log.
        origin: String,
        /// Records in the event store.
        stored: u64,
        /// Records under the last signed tree head.
        promised: u64,
    },
    /// The records under the last signed tree head are not the ones that were signed.
    #[error(
        "the first {size} records of {origin} do not give the root that was signed; nothing is signed any more. \
         Run `ruche-verify` on an export to find the place"
    )]
    Contradiction {
        /// Which log.
        origin: String,
        /// Size of the last signed tree head.
        size: u64,
    },
    /// The stored tree head is not signed by this deployment's key: wrong keys folder.
    #[error("the last tree head of {origin} is not signed by the key that the master seed gives: {source}")]
    ForeignKey {
        /// Which log.
        origin: String,
        /// What is wrong with the signature.
        source: TreeHeadError,
    },
    /// The tree head could not be made.
    #[error("the tree head cannot be signed: {0}")]
    Sign(TreeHeadError),
    /// The event or tree store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree head store failed, or somebody else sealed first.
    #[error(transparent)]
    TreeHeads(#[from] TreeHeadStoreError),
}

/// Seals ledgers. Any number of sealers may run; compare-and-swap decides.
pub struct Sealer {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// Tiles and copies.
    pub trees: Arc<dyn TreeStore>,
    /// What was promised.
    pub heads: Arc<dyn TreeHeadStore>,
    /// Signing keys.
    pub keys: Arc<dyn LogKeys>,
}

impl Sealer {
    /// Seals all records that the open epoch has now. Returns the tree head that covers them, freshly signed or not;
    /// `None` if there is no such ledger.
    ///
    /// # Errors
    /// See [`SealError`]. After an error nothing was promised that a later call contradicts.
    pub async fn seal(&self, ledger: LedgerId) -> Result<Option<SignedTreeHead>, SealError> {
        match self.events.epochs(ledger).await?.pop() {
            Some(epoch) => self.seal_epoch(ledger, &epoch).await.map(Some),
            None => Ok(None),
        }
    }

    /// Seals one epoch up to the size given in `epoch`. Start-up calls this for every epoch before anything else:
    /// it finishes what a crash interrupted, with the same steps as normal operation.
    ///
    /// # Errors
    /// See [`SealError`].
    pub async fn seal_epoch(&self, ledger: LedgerId, epoch: &EpochInfo) -> Result<SignedTreeHead, SealError> {
        let origin = &epoch.origin;
        let signer = self.keys.signer(origin);
        let last = self.heads.latest(origin).await?;
        let signed = last.as_ref().map_or(TreeSize(0), |last| last.head().size);
        if signed > epoch.size {
            return Err(SealError::Behind {
                origin: origin.clone(),
                stored: epoch.size.0,
                promised: signed.0,
            });
        }
        if let Some(last) = &last {
            let key = std::slice::from_ref(signer.verifier());
            last.verify(key).map_err(|source| SealError::ForeignKey {
                origin: origin.clone(),
                source,
            })?;
        }
        let mut edge = self.edge(ledger, epoch, last.as_ref()).await?;
        if let Some(last) = &last
            && signed == epoch.size
        {
            // A crash between the swap and this copy leaves the copy older than the promise; it is put right here.
            self.publish(ledger, epoch.epoch, last).await?;
            return Ok(last.clone());
        }
        self.extend(ledger, epoch, &mut edge).await?;
        // Here the tiles are durable and nobody has been promised anything about them: a crash costs nothing.
        let root = edge.root().ok_or_else(|| contradiction(epoch, edge.size()))?;
        let head = TreeHead::new(
            origin,
            TreeRoot {
                size: edge.size(),
                root,
            },
        );
        let new = SignedTreeHead::sign(head, &signer).map_err(SealError::Sign)?;
        self.heads.compare_and_swap(origin, last.as_ref(), &new).await?;
        // Here the promise is made. A crash before the copy is stored is healed by the next call.
        self.publish(ledger, epoch.epoch, &new).await?;
        Ok(new)
    }

    async fn publish(&self, ledger: LedgerId, epoch: Epoch, head: &SignedTreeHead) -> Result<(), SealError> {
        if self.trees.tree_head(ledger, epoch).await?.as_ref() != Some(head) {
            self.trees.put_tree_head(ledger, epoch, head).await?;
        }
        Ok(())
    }

    /// The right edge under the last signed tree head, proven against its root. Rebuilt from the leaves if tiles are
    /// missing or wrong: tiles are derived and may be lost.
    async fn edge(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        last: Option<&SignedTreeHead>,
    ) -> Result<RightEdge, SealError> {
        let Some(last) = last else {
            return Ok(RightEdge::new());
        };
        let (size, root) = (last.head().size, last.head().root);
        if let Some(edge) = self.stored_edge(ledger, epoch.epoch, size).await?
            && edge.root() == Some(root)
        {
            return Ok(edge);
        }
        let mut edge = RightEdge::new();
        self.extend(
            ledger,
            &EpochInfo {
                size,
                ..epoch.clone()
            },
            &mut edge,
        )
        .await?;
        if edge.root() != Some(root) {
            return Err(contradiction(epoch, size));
        }
        Ok(edge)
    }

    async fn stored_edge(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        size: TreeSize,
    ) -> Result<Option<RightEdge>, SealError> {
        let mut tiles = Vec::new();
        for partial in partial_tiles(size) {
            let tile = self
                .trees
                .hash_tile(ledger, epoch, partial.level, partial.index)
                .await?;
            let Some(mut tile) = tile.filter(|tile| tile.hashes.len() >= partial.width) else {
                return Ok(None);
            };
            tile.hashes.truncate(partial.width);
            tiles.push(tile);
        }
        Ok(Some(RightEdge::from_partial_tiles(size, tiles)))
    }

    /// Folds the leaves behind the edge, up to the size of `epoch`, into tiles and stores these.
    async fn extend(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        edge: &mut RightEdge,
    ) -> Result<(), SealError> {
        while edge.size() < epoch.size {
            let missing = epoch.size.0 - edge.size().0;
            let limit = usize::try_from(missing)
                .unwrap_or(usize::MAX)
                .min(16 * READ_RECORDS_MAX);
            let from = edge.size().next_index();
            let hashes = self.trees.leaf_hashes(ledger, epoch.epoch, from, limit).await?;
            if hashes.is_empty() {
                return Err(contradiction(epoch, epoch.size));
            }
            let mut tiles = Vec::new();
            for hash in hashes {
                edge.append(hash, |tile| tiles.push(tile));
            }
            tiles.extend(edge.tiles());
            self.trees.put_tiles(ledger, epoch.epoch, tiles).await?;
        }
        Ok(())
    }
}

fn contradiction(epoch: &EpochInfo, size: TreeSize) -> SealError {
    SealError::Contradiction {
        origin: epoch.origin.clone(),
        size: size.0,
    }
}
