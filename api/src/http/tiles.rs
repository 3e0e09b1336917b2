//! The auditors' files of a ledger, as C2SP tlog-tiles serves them: `/ledgers/<origin>/checkpoint` and
//! `/ledgers/<origin>/tile/…`. The origin has slashes in it, so the path is taken apart from its end.
//!
//! Tiles are answered up to the last signed tree head only: what is not under a tree head can be proven to nobody.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::store::EpochInfo;
use ruche_ledger::tile::{TILE_WIDTH, TileId, TileKind, encode_entries, encode_hashes};
use ruche_ledger::tree_head::SignedTreeHead;

use super::{Caller, Edge, Refusal};
use crate::auth::Role;
use crate::services::Services;

/// A full tile never changes; `private`, because it is one tenant's.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
const FRESH: &str = "private, no-cache";

/// What a path below `/ledgers/` names.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Checkpoint,
    Tile(TileId),
}

/// Takes a path apart: the origin, and what of it.
fn parse(path: &str) -> Option<(&str, Wanted)> {
    if let Some(origin) = path.strip_suffix("/checkpoint") {
        return Some((origin, Wanted::Checkpoint));
    }
    // An origin could itself contain `/tile/`; the last one from which a tile's path parses is meant.
    let (at, _) = path.rmatch_indices("/tile/").next()?;
    let tile = path[at + 1..].parse().ok()?;
    Some((&path[..at], Wanted::Tile(tile)))
}

/// Answers a checkpoint or a tile of one of the caller's own ledgers. Those of others look as if there were none.
pub async fn serve(
    State(edge): State<Edge>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    caller.require(&[Role::Auditor, Role::Reader])?;
    let absent = || Refusal::not_found("there is no such ledger, tree head or tile");
    let (origin, wanted) = parse(&path).ok_or_else(absent)?;
    let ledger = caller.principal.ledger();
    let epoch = epoch_of(&edge.services, ledger, origin)
        .await?
        .ok_or_else(absent)?;
    let head = edge.services.trees.tree_head(ledger, epoch.epoch).await;
    let head = head
        .map_err(|error| Refusal::of_store(&error))?
        .ok_or_else(absent)?;
    match wanted {
        Wanted::Checkpoint => Ok(file(head.as_bytes().to_vec(), "text/plain; charset=utf-8", FRESH)),
        Wanted::Tile(tile) => {
            let bytes = tile_bytes(&edge.services, ledger, &epoch, &head, tile).await?;
            // A partial tile of a given width does not change either: the width is part of its name.
            Ok(file(
                bytes.ok_or_else(absent)?,
                "application/octet-stream",
                IMMUTABLE,
            ))
        }
    }
}

async fn epoch_of(services: &Services, ledger: LedgerId, origin: &str) -> Result<Option<EpochInfo>, Refusal> {
    let epochs = services.events.epochs(ledger).await;
    let epochs = epochs.map_err(|error| Refusal::of_store(&error))?;
    Ok(epochs.into_iter().find(|epoch| epoch.origin == origin))
}

async fn tile_bytes(
    services: &Services,
    ledger: LedgerId,
    epoch: &EpochInfo,
    head: &SignedTreeHead,
    tile: TileId,
) -> Result<Option<Vec<u8>>, Refusal> {
    if !tile.is_within(head.head().size) {
        return Ok(None);
    }
    let width = usize::from(tile.width());
    match tile.kind() {
        TileKind::Hashes { level } => {
            let stored = services
                .trees
                .hash_tile(ledger, epoch.epoch, level, tile.index())
                .await;
            let stored = stored.map_err(|error| Refusal::of_store(&error))?;
            // The stored tile may be wider than what is asked for; its beginning is the narrower one.
            let hashes = stored.as_ref().and_then(|tile| tile.hashes.get(..width));
            Ok(hashes.and_then(|hashes| encode_hashes(hashes).ok()))
        }
        TileKind::Entries => {
            let leaves = leaves(
                services,
                ledger,
                epoch,
                tile.index() * u64::from(TILE_WIDTH),
                width,
            )
            .await?;
            Ok(encode_entries(&leaves).ok().filter(|_| leaves.len() == width))
        }
    }
}

/// Leaf bytes of `count` records of an epoch from `first` on. One read may end early, so several may be needed.
async fn leaves(
    services: &Services,
    ledger: LedgerId,
    epoch: &EpochInfo,
    first: u64,
    count: usize,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut leaves = Vec::with_capacity(count);
    while leaves.len() < count {
        let from = Position {
            epoch: epoch.epoch,
            index: LeafIndex(first + leaves.len() as u64),
        };
        let limit = (count - leaves.len()).min(READ_RECORDS_MAX);
        let read = services.stored.read_ledger(ledger, from, limit).await;
        let read = read.map_err(|error| Refusal::of_store(&error))?;
        let before = leaves.len();
        let of_epoch = read
            .into_iter()
            .take_while(|record| record.position.epoch == epoch.epoch);
        leaves.extend(of_epoch.map(|record| record.leaf_bytes));
        if leaves.len() == before {
            break;
        }
    }
    Ok(leaves)
}

fn file(bytes: Vec<u8>, media_type: &'static str, cache: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_origin_and_what_of_it() {
        let tile = |path: &str| Wanted::Tile(path.parse().unwrap());
        let origin = "audit.example.com/abc/e1";
        assert_eq!(
            parse(&format!("{origin}/checkpoint")),
            Some((origin, Wanted::Checkpoint))
        );
        for path in ["tile/0/000", "tile/0/x001/067.p/8", "tile/entries/000.p/3"] {
            assert_eq!(parse(&format!("{origin}/{path}")), Some((origin, tile(path))));
        }
        for bad in [
            "",
            "checkpoint",
            "a/b/e1",
            "a/tile/0/1",
            "a/tile/0/000.p/256",
            "a/tile/0/000/../checkpoints",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
