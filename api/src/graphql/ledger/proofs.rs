//! Proofs made from the stored tiles. Each is checked against the signed root before it leaves: tiles are derived data,
//! and a wrong proof would look like a forged ledger.

use std::collections::HashMap;

use async_graphql::{Result, SimpleObject};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_ledger::hash::Hash as TreeHash;
use ruche_ledger::proof::{self, ProofRequestError};
use ruche_ledger::right_edge::{HashTile, RightEdge, partial_tiles};
use ruche_ledger::tile::{TileId, TileKind, TileReadError, TileReader, TileSource, encode_hashes};
use ruche_ledger::tlog_proof::TlogProof;
use ruche_ledger::tree::TreeRoot;

use super::super::errors::{fault, of_refusal, of_store};
use super::super::scalars::{Hash, Long, PositionScalar};
use super::{TreeHead, epoch_and_head, read, require_within, tree_size};
use crate::error_codes as code;
use crate::http::Refusal;
use crate::services::Services;

/// Tiles that one proof needs at most: two per level of the tree.
const TILES_PER_PROOF_MAX: usize = 32;

/// Proof that a record is in the ledger (RFC 9162 §2.1.3).
#[derive(SimpleObject)]
pub(in crate::graphql) struct InclusionProof {
    /// The record.
    position: PositionScalar,
    /// Hash of its leaf.
    leaf_hash: Hash,
    /// Records in the tree that the proof is of.
    tree_size: Long,
    /// Root of that tree.
    root_hash: Hash,
    /// The path, the sibling of the leaf first.
    hashes: Vec<Hash>,
    /// The last tree head of the epoch. It signs `rootHash` if it has the size `treeSize`.
    tree_head: TreeHead,
    /// The proof as a file (C2SP tlog-proof) that `ruche-verify --proof` and other tools check; given for the size of
    /// the tree head.
    tlog_proof: Option<String>,
}

/// Proof that a later tree holds all records of an earlier one, unchanged (RFC 9162 §2.1.4).
#[derive(SimpleObject)]
pub(in crate::graphql) struct ConsistencyProof {
    /// Epoch whose log both trees are of.
    epoch: u32,
    /// Records in the earlier tree.
    from_size: Long,
    /// Its root.
    from_root_hash: Hash,
    /// Records in the later tree.
    to_size: Long,
    /// Its root.
    to_root_hash: Hash,
    /// The proof.
    hashes: Vec<Hash>,
    /// The last tree head of the epoch.
    tree_head: TreeHead,
}

/// The proof that a record is in the tree of a size; the size of the last tree head if none is named.
pub(in crate::graphql) async fn inclusion(
    services: &Services,
    ledger: LedgerId,
    position: Position,
    size: Option<Long>,
) -> Result<InclusionProof> {
    let (info, head) = epoch_and_head(services, ledger, position.epoch).await?;
    if position.index.0 >= info.size.0 {
        return Err(fault(code::NOT_FOUND, "the ledger has no such record"));
    }
    let size = tree_size(size, &head)?;
    require_within(position.index, size)?;
    let record = read(services, ledger, position, 1).await?.into_iter().next();
    let record = record.ok_or_else(|| fault(code::NOT_FOUND, "the ledger has no such record"))?;
    let leaf_hash = record.stored_leaf_hash();
    let root = root_at(services, ledger, position.epoch, size).await?;
    let hashes = from_tiles(services, ledger, position.epoch, size, |reader| {
        proof::inclusion_proof(reader, position.index, size)
    })
    .await?;
    let tree = TreeRoot { size, root };
    if proof::verify_inclusion(&leaf_hash, position.index, &tree, &hashes).is_err() {
        return Err(damaged(position.epoch));
    }
    let file = (size == head.head().size).then(|| TlogProof {
        extra: None,
        index: position.index,
        hashes: hashes.clone(),
        tree_head: head.clone(),
    });
    Ok(InclusionProof {
        position: PositionScalar(position),
        leaf_hash: Hash(leaf_hash.0),
        tree_size: Long::count(size.0),
        root_hash: Hash(root.0),
        hashes: wire(&hashes),
        tree_head: TreeHead::from(&head),
        tlog_proof: file.and_then(|proof| String::from_utf8(proof.encode()).ok()),
    })
}

/// The proof that the tree of one size begins with the records of a smaller one.
pub(in crate::graphql) async fn consistency(
    services: &Services,
    ledger: LedgerId,
    epoch: Epoch,
    from: Long,
    to: Option<Long>,
) -> Result<ConsistencyProof> {
    let (_, head) = epoch_and_head(services, ledger, epoch).await?;
    let new = tree_size(to, &head)?;
    let old = tree_size(Some(from), &head)?;
    if old > new {
        return Err(fault(
            code::INVALID_ARGUMENT,
            "`fromSize` is larger than `toSize`",
        ));
    }
    let roots = (
        TreeRoot {
            size: old,
            root: root_at(services, ledger, epoch, old).await?,
        },
        TreeRoot {
            size: new,
            root: root_at(services, ledger, epoch, new).await?,
        },
    );
    let hashes = from_tiles(services, ledger, epoch, new, |reader| {
        proof::consistency_proof(reader, old, new)
    })
    .await?;
    if proof::verify_consistency(&roots.0, &roots.1, &hashes).is_err() {
        return Err(damaged(epoch));
    }
    Ok(ConsistencyProof {
        epoch: epoch.0,
        from_size: Long::count(old.0),
        from_root_hash: Hash(roots.0.root.0),
        to_size: Long::count(new.0),
        to_root_hash: Hash(roots.1.root.0),
        hashes: wire(&hashes),
        tree_head: TreeHead::from(&head),
    })
}

fn wire(hashes: &[TreeHash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

fn damaged(epoch: Epoch) -> async_graphql::Error {
    tracing::error!(%epoch, "the stored tiles do not give the proof that they should; they are rebuilt when sealing");
    of_refusal(Refusal::internal())
}

/// Root of the tree of a size, from its partial tiles.
async fn root_at(services: &Services, ledger: LedgerId, epoch: Epoch, size: TreeSize) -> Result<TreeHash> {
    let mut tiles = Vec::new();
    for partial in partial_tiles(size) {
        let tile = services
            .trees
            .hash_tile(ledger, epoch, partial.level, partial.index)
            .await;
        let tile = tile.map_err(|error| of_store(&error))?;
        let mut tile = tile
            .filter(|tile| tile.hashes.len() >= partial.width)
            .ok_or_else(|| damaged(epoch))?;
        tile.hashes.truncate(partial.width);
        tiles.push(tile);
    }
    RightEdge::from_partial_tiles(size, tiles)
        .root()
        .ok_or_else(|| damaged(epoch))
}

/// A tile that has to be fetched before the proof can be made.
struct Missing;

/// Tiles that were fetched so far.
struct Fetched<'t>(&'t HashMap<TileId, Vec<u8>>);

impl TileSource for Fetched<'_> {
    type Error = Missing;

    fn tile(&mut self, tile: &TileId) -> Result<Vec<u8>, Missing> {
        self.0.get(tile).cloned().ok_or(Missing)
    }
}

type MakeResult = std::result::Result<Vec<TreeHash>, ProofRequestError<TileReadError<Missing>>>;

/// Makes a proof: asks which tile is missing, fetches it, and asks again, until none is. Making is cheap; a store that
/// answers later is not held up by code that cannot wait.
async fn from_tiles(
    services: &Services,
    ledger: LedgerId,
    epoch: Epoch,
    size: TreeSize,
    make: impl Fn(&mut TileReader<Fetched<'_>>) -> MakeResult,
) -> Result<Vec<TreeHash>> {
    let mut tiles = HashMap::new();
    for _ in 0..=TILES_PER_PROOF_MAX {
        let missing = match make(&mut TileReader::new(Fetched(&tiles), size)) {
            Ok(hashes) => return Ok(hashes),
            Err(ProofRequestError::Node(TileReadError::Source { tile, .. })) => tile,
            Err(_) => return Err(damaged(epoch)),
        };
        let bytes = fetch(services, ledger, epoch, &missing).await?;
        tiles.insert(missing, bytes.ok_or_else(|| damaged(epoch))?);
    }
    Err(damaged(epoch))
}

async fn fetch(
    services: &Services,
    ledger: LedgerId,
    epoch: Epoch,
    tile: &TileId,
) -> Result<Option<Vec<u8>>> {
    let TileKind::Hashes { level } = tile.kind() else {
        return Ok(None);
    };
    let stored: Option<HashTile> = services
        .trees
        .hash_tile(ledger, epoch, level, tile.index())
        .await
        .map_err(|error| of_store(&error))?;
    Ok(stored.and_then(|tile| encode_hashes(&tile.hashes).ok()))
}
