//! What was promised, compared with what the store has: ledgers that are gone, and the name that was chosen.

use ruche_ledger::seal::TreeHeadStore;
use ruche_ledger::store::EventStore;

use super::AppError;

/// What is wrong with a ledger that is lost, and what to do.
pub const LOST: &str = "tree heads of it were signed, and the database does not hold it; restore a backup that has it, or \
                        open a new epoch that names the loss with `ruche ledger new-epoch --restored`";
/// Name of a deployment that was given none.
const UNNAMED: &str = "unnamed.ruche.example";

/// Origins of which tree heads were signed and whose ledger the store does not have in any epoch, one for each ledger:
/// its last one. The database was lost, or was restored from a backup that is older than the ledger.
///
/// # Errors
/// If the tree heads or the store cannot be read.
pub async fn lost_ledgers(
    events: &dyn EventStore,
    heads: &dyn TreeHeadStore,
) -> Result<Vec<String>, AppError> {
    let stored = stored_origins(events).await?;
    let mut lost: Vec<String> = Vec::new();
    for origin in heads.origins().await? {
        if stored.iter().any(|stored| stem(stored) == stem(&origin)) {
            continue;
        }
        match lost.iter_mut().find(|known| stem(known) == stem(&origin)) {
            Some(known) if epoch(known) < epoch(&origin) => *known = origin,
            Some(_) => {}
            None => lost.push(origin),
        }
    }
    lost.sort();
    Ok(lost)
}

/// The name of the deployment: the one in the origins that are there or were promised, else the one that was given.
///
/// # Errors
/// `Deployment` if another name was given than was chosen; others if the tree heads or the store cannot be read.
pub(super) async fn deployment(
    given: Option<&str>,
    events: &dyn EventStore,
    heads: &dyn TreeHeadStore,
) -> Result<String, AppError> {
    let mut chosen: Vec<String> = stored_origins(events).await?;
    if chosen.is_empty() {
        chosen = heads.origins().await?;
    }
    let mut names = chosen
        .iter()
        .filter_map(|origin| origin.split_once('/').map(|(name, _)| name));
    match (given, names.next()) {
        (Some(given), Some(first)) if given != first && !names.any(|name| name == given) => {
            Err(AppError::Deployment {
                chosen: first.to_owned(),
                given: given.to_owned(),
            })
        }
        (Some(given), _) => Ok(given.to_owned()),
        (None, Some(first)) => Ok(first.to_owned()),
        (None, None) => Ok(UNNAMED.to_owned()),
    }
}

async fn stored_origins(events: &dyn EventStore) -> Result<Vec<String>, AppError> {
    let mut origins = Vec::new();
    for ledger in events.ledgers().await? {
        origins.extend(events.epochs(ledger).await?.into_iter().map(|epoch| epoch.origin));
    }
    Ok(origins)
}

/// An origin without its epoch: the same for all epochs of a ledger.
fn stem(origin: &str) -> &str {
    origin.rsplit_once("/e").map_or(origin, |(stem, _)| stem)
}

fn epoch(origin: &str) -> u32 {
    let number = origin
        .rsplit_once("/e")
        .and_then(|(_, number)| number.parse().ok());
    number.unwrap_or(0)
}
