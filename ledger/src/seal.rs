//! Sealing: from appended records to a signed tree head, so that a crash at any line leaves no fork.
//!
//! Three stores are involved, and they are trusted differently:
//! - the event store holds the records. Who can write to it can lose them, and is caught by any tree head outside;
//! - the tree store holds tiles and a copy of the last tree head. All of it is derived; it may be deleted;
//! - the **tree head store** holds the last tree head of each origin and is never restored from a backup. Who can
//!   write to it can make the ledger sign twice, so it lives apart from the data.
//!
//! Nothing is signed behind a promise, but for one thing: what is left of an epoch that never goes on (`Sealer::seal_end`).

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

    /// Stores tiles durably and all or none, each replacing what is stored of it unless that is wider.
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
    /// The last tree head of an origin. What is given stays: it is acted on and published, so a store that could see a row
    /// and lose it yet waits until it cannot.
    async fn latest(&self, origin: &str) -> Result<Option<SignedTreeHead>, TreeHeadStoreError>;

    /// Origins of all tree heads, in no order: what was promised, whatever became of the database.
    async fn origins(&self) -> Result<Vec<String>, TreeHeadStoreError>;

    /// Stores `new` durably if the stored one is still `expected`, byte for byte. Never goes back to a smaller size. After
    /// `Unavailable` it may be stored, now or later, and nothing is promised before `latest` gives it.
    async fn compare_and_swap(
        &self,
        origin: &str,
        expected: Option<&SignedTreeHead>,
        new: &SignedTreeHead,
    ) -> Result<(), TreeHeadStoreError>;
}

/// Gives what derives from the master seed. Implemented where the seed is.
pub trait LogKeys: Send + Sync {
    /// The signer whose name is `origin`.
    fn signer(&self, origin: &str) -> NoteSigner;

    /// The opaque label of a ledger in its origins: the same each time, so that a ledger whose database is lost is known
    /// by what it promised.
    fn label(&self, ledger: LedgerId) -> [u8; 16];
}

/// Why a ledger was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The tree head store has promised more records than the event store has: the database was restored or lost
    /// its end. Signing would fork the log. `ruche ledger new-epoch --restored` opens a new epoch and names the
    /// lost range.
    #[error(
        "the database holds {stored} records of {origin}, but a tree head over {promised} was already signed: it was \
         restored from a backup or lost its end; nothing is signed for this origin any more. \
         `ruche ledger new-epoch --restored` opens a new epoch that names the lost records"
    )]
    Behind {
        /// Which log.
        origin: String,
        /// Records in the event store.
        stored: u64,
        /// Records under the last signed tree head.
        promised: u64,
    },
    /// A later epoch of this ledger has signed tree heads and is not in the database: it was restored from a backup
    /// that is older than the epoch. Signing would give one place two histories.
    #[error(
        "{origin} was closed and its next epoch has signed tree heads, but the database does not hold that epoch: it \
         was restored from an older backup; nothing is signed for this ledger any more. \
         `ruche ledger new-epoch --restored` opens a new epoch that names the lost records"
    )]
    Superseded {
        /// The epoch that was closed.
        origin: String,
    },
    /// The database holds a later tree head than the tree head store: the keys folder is an old copy, and what was
    /// promised since is not known there.
    #[error(
        "the database holds a tree head of {origin} over {copied} records, the tree head store knows only {kept}: the \
         keys folder is an old copy; nothing is signed for this origin any more. Put the newest copy of the keys \
         folder back, or open a new epoch with `ruche ledger new-epoch --restored`"
    )]
    PromisesLost {
        /// Which log.
        origin: String,
        /// Records under the copy in the database.
        copied: u64,
        /// Records under the last tree head that the store has; 0 if it has none.
        kept: u64,
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

/// An epoch that agrees with its last promise.
struct Standing {
    epoch: EpochInfo,
    signer: NoteSigner,
    last: Option<SignedTreeHead>,
    /// Up to the last promise.
    edge: RightEdge,
}

impl SealError {
    /// Whether appends have to stop as well: what is appended now could never be proven, or would take the place of
    /// records that were promised. Only an operator can go on, with a new epoch.
    pub fn halts_appends(&self) -> bool {
        match self {
            Self::Behind { .. }
            | Self::Superseded { .. }
            | Self::PromisesLost { .. }
            | Self::Contradiction { .. }
            | Self::ForeignKey { .. } => true,
            Self::Sign(_) | Self::Store(_) | Self::TreeHeads(_) => false,
        }
    }
}

impl Sealer {
    /// Seals all records that the open epoch has now. Returns the tree head that covers them, freshly signed or not;
    /// `None` if there is no such ledger. Start-up calls this before anything else: it finishes what a crash
    /// interrupted, with the same steps as normal operation.
    ///
    /// # Errors
    /// See [`SealError`]. After an error nothing was promised that a later call contradicts.
    pub async fn seal(&self, ledger: LedgerId) -> Result<Option<SignedTreeHead>, SealError> {
        match self.events.epochs(ledger).await?.pop() {
            Some(epoch) => self.seal_epoch(ledger, epoch.epoch).await.map(Some),
            None => Ok(None),
        }
    }

    /// Seals all records that one epoch has now.
    ///
    /// # Errors
    /// See [`SealError`].
    pub async fn seal_epoch(&self, ledger: LedgerId, epoch: Epoch) -> Result<SignedTreeHead, SealError> {
        let Standing {
            epoch,
            signer,
            last,
            mut edge,
        } = self.standing(ledger, epoch).await?;
        let origin = epoch.origin.clone();
        if let Some(last) = &last
            && last.head().size == epoch.size
        {
            // A crash between the swap and this copy leaves the copy older than the promise; it is put right here.
            self.publish(ledger, epoch.epoch, last).await?;
            return Ok(last.clone());
        }
        if self.heads.latest(&next_origin(&origin)).await?.is_some() {
            return Err(SealError::Superseded { origin });
        }
        let new = self.sign(ledger, &epoch, &signer, &mut edge).await?;
        self.heads.compare_and_swap(&origin, last.as_ref(), &new).await?;
        // Here the promise is made. A crash before the copy is stored is healed by the next call.
        self.publish(ledger, epoch.epoch, &new).await?;
        Ok(new)
    }

    /// Signs what the store has of an epoch that never goes on: it lost its end, or the promises of it were lost. A head
    /// over all that is left makes the records behind the last copied head provable, too; a backup made between two
    /// tree heads has such records. It is a smaller head of the history that was promised, so it contradicts no promise
    /// as long as the store holds that history. The tree head store keeps the larger promise.
    ///
    /// Only for a caller that opens the next epoch and names there what is lost. Gives the last head of the epoch that there
    /// is: a copy of another seed's stays the last.
    ///
    /// # Errors
    /// As sealing: the copied head must be over these records.
    pub(crate) async fn seal_end(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
    ) -> Result<Option<SignedTreeHead>, SealError> {
        let epoch = self.epoch_info(ledger, epoch).await?;
        let signer = self.keys.signer(&epoch.origin);
        let copy = self.trees.tree_head(ledger, epoch.epoch).await?;
        let copied = copy.as_ref().map_or(TreeSize(0), |copy| copy.head().size);
        if copied >= epoch.size {
            return Ok(copy);
        }
        if let Some(copy) = &copy {
            // The master seed was lost, and with it all that could be signed for this origin.
            if copy.verify(std::slice::from_ref(signer.verifier())).is_err() {
                return Ok(Some(copy.clone()));
            }
        }
        let mut edge = self.edge(ledger, &epoch, copy.as_ref()).await?;
        let end = self.sign(ledger, &epoch, &signer, &mut edge).await?;
        self.publish(ledger, epoch.epoch, &end).await?;
        Ok(Some(end))
    }

    /// A tree head over all records of an epoch, whose tiles are stored first.
    async fn sign(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        signer: &NoteSigner,
        edge: &mut RightEdge,
    ) -> Result<SignedTreeHead, SealError> {
        self.extend(ledger, epoch, edge).await?;
        // Here the tiles are durable and nobody has been promised anything about them: a crash costs nothing.
        let root = edge.root().ok_or_else(|| contradiction(epoch, edge.size()))?;
        let root = TreeRoot {
            size: edge.size(),
            root,
        };
        SignedTreeHead::sign(TreeHead::new(&epoch.origin, root), signer).map_err(SealError::Sign)
    }

    /// What has to be known before appends are taken: that the open epoch may go on. Signs nothing new by itself.
    ///
    /// # Errors
    /// As sealing; an open epoch whose successor was promised is refused even if nothing is left to sign.
    pub async fn may_go_on(&self, ledger: LedgerId) -> Result<(), SealError> {
        let Some(open) = self.events.epochs(ledger).await?.pop() else {
            return Ok(());
        };
        self.seal_epoch(ledger, open.epoch).await?;
        if self.heads.latest(&next_origin(&open.origin)).await?.is_some() {
            return Err(SealError::Superseded { origin: open.origin });
        }
        Ok(())
    }

    /// Whether what is stored of an epoch agrees with what was promised of it, as sealing asks, but nothing is signed.
    /// Returns the last promise; `None` if nothing was promised yet.
    ///
    /// # Errors
    /// As sealing.
    pub async fn check_epoch(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
    ) -> Result<Option<SignedTreeHead>, SealError> {
        Ok(self.standing(ledger, epoch).await?.last)
    }

    /// As [`Sealer::may_go_on`], but nothing is signed: for who only wants to know.
    ///
    /// # Errors
    /// As sealing.
    pub async fn check_open_epoch(&self, ledger: LedgerId) -> Result<(), SealError> {
        let Some(open) = self.events.epochs(ledger).await?.pop() else {
            return Ok(());
        };
        self.standing(ledger, open.epoch).await?;
        if self.heads.latest(&next_origin(&open.origin)).await?.is_some() {
            return Err(SealError::Superseded { origin: open.origin });
        }
        Ok(())
    }

    /// Compares an epoch with what was promised of it.
    async fn standing(&self, ledger: LedgerId, epoch: Epoch) -> Result<Standing, SealError> {
        let origin = self.epoch_info(ledger, epoch).await?.origin;
        let signer = self.keys.signer(&origin);
        let last = self.heads.latest(&origin).await?;
        // The size is read after the promise: records are only added, so it is smaller only if records were lost.
        let epoch = self.epoch_info(ledger, epoch).await?;
        let signed = last.as_ref().map_or(TreeSize(0), |last| last.head().size);
        if let Some(last) = &last {
            let key = std::slice::from_ref(signer.verifier());
            last.verify(key).map_err(|source| SealError::ForeignKey {
                origin: origin.clone(),
                source,
            })?;
        }
        if signed > epoch.size {
            return Err(SealError::Behind {
                origin,
                stored: epoch.size.0,
                promised: signed.0,
            });
        }
        self.check_copy(ledger, &epoch, last.as_ref()).await?;
        let edge = self.edge(ledger, &epoch, last.as_ref()).await?;
        Ok(Standing {
            epoch,
            signer,
            last,
            edge,
        })
    }

    async fn epoch_info(&self, ledger: LedgerId, epoch: Epoch) -> Result<EpochInfo, SealError> {
        let found = self
            .events
            .epochs(ledger)
            .await?
            .into_iter()
            .find(|info| info.epoch == epoch);
        Ok(found.ok_or(StoreError::NoSuchLedger)?)
    }

    /// The copy beside the records is never ahead of the promise: it is written behind it.
    async fn check_copy(
        &self,
        ledger: LedgerId,
        epoch: &EpochInfo,
        last: Option<&SignedTreeHead>,
    ) -> Result<(), SealError> {
        let kept = last.map_or(0, |last| last.head().size.0);
        let copied = self
            .trees
            .tree_head(ledger, epoch.epoch)
            .await?
            .map_or(0, |copy| copy.head().size.0);
        // Another sealer may have promised and copied since `last` was read: only what is still ahead counts.
        if copied > kept {
            let now = self
                .heads
                .latest(&epoch.origin)
                .await?
                .map_or(0, |last| last.head().size.0);
            if copied > now {
                return Err(SealError::PromisesLost {
                    origin: epoch.origin.clone(),
                    copied,
                    kept: now,
                });
            }
        }
        Ok(())
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

/// Origin of the epoch behind the one with this origin.
pub(crate) fn next_origin(origin: &str) -> String {
    let (stem, epoch) = origin.rsplit_once("/e").unwrap_or((origin, "0"));
    format!("{stem}/e{}", epoch.parse::<u64>().unwrap_or(0).saturating_add(1))
}

fn contradiction(epoch: &EpochInfo, size: TreeSize) -> SealError {
    SealError::Contradiction {
        origin: epoch.origin.clone(),
        size: size.0,
    }
}

#[cfg(test)]
mod tests;
