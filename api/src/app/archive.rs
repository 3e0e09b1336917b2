//! Payloads that leave the store for an archive, and come back (`ruche_ledger::archive`).
//!
//! # What a crash leaves
//!
//! | killed | what is there | the next run |
//! | --- | --- | --- |
//! | while the archive is written | a folder `….partial`; the store has everything | begins that archive again |
//! | before the ledger says so | the archive; the store has everything | verifies the archive, goes on with it |
//! | before the first payload is taken out | the same, and the fact in the ledger | the same; the fact is not said twice |
//! | between two pieces | payloads of the first pieces are in the archive alone, and the store says so | goes on behind them |
//! | while payloads are put back | those that were are in both places | puts the others back |

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_ledger::archive::{ArchivedRange, ArchivesAtHand, Bundle};
use ruche_ledger::seal::{SealError, TreeHeadStoreError};
use ruche_ledger::store::{Record, StoreError};
use ruche_ledger::tile::TILE_WIDTH;
use ruche_ledger_bundle::{Archive, ArchiveError};

use super::{App, AppError};

mod at_rest;
#[cfg(test)]
mod at_hand_tests;
mod create;
mod in_tree;
mod restore;

/// Records of a bundle.
const WIDTH: u64 = TILE_WIDTH as u64;
/// Times that a race to sign a tree head may be lost to other nodes, one after the other. Each pauses behind a tree head that
/// it signed, so two or three in a row are seldom.
const SEAL_RACES_MAX: u32 = 16;
/// Archives that are kept open: each holds its index, some 1.2 MB for the longest one.
const OPEN_ARCHIVES_MAX: usize = 16;
/// File whose lock keeps two processes out of one folder of archives.
const LOCK_FILE: &str = ".lock";

/// How far a run has come. It may be given up behind any of them, and the next run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveStep {
    /// So many more records are in the archive that is being written.
    Written(u64),
    /// The archive has its name.
    Named,
    /// So many more records of it were read back and compared.
    Verified(u64),
    /// The ledger says what is archived, under a signed tree head.
    Told,
    /// The payloads of so many more records are out of the store, or back in it.
    Moved(u64),
}

/// What has been told of each step. An error gives the run up.
pub type Steps<'s> = &'s dyn Fn(ArchiveStep) -> Result<(), AppError>;

/// An archive that payloads were taken out for, or put back from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The archive and its range.
    pub range: ArchivedRange,
    /// Fragments in it.
    pub payloads: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

impl Taken {
    fn of(archive: &Archive) -> Self {
        Self {
            range: archive.range(),
            payloads: archive.manifest().payloads,
            bytes: archive.manifest().bytes,
        }
    }
}

/// Opens the archive in a folder.
///
/// # Errors
/// When there is none, or it is not whole.
pub fn open_archive(folder: &Path) -> Result<Archive, AppError> {
    Ok(Archive::open(folder)?)
}

impl App {
    /// What is archived of a ledger.
    ///
    /// # Errors
    /// When the store cannot say.
    pub async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, AppError> {
        Ok(self.engine.archives.archived(ledger).await?)
    }

    /// How many archives a ledger has, and those that are not at hand.
    ///
    /// # Errors
    /// When the store cannot say, or an archive is not the one that was noted.
    pub async fn archives_not_at_hand(
        &self,
        ledger: LedgerId,
    ) -> Result<(usize, Vec<ArchivedRange>), AppError> {
        let all = self.archived(ledger).await?;
        let mut missing = Vec::new();
        for range in &all {
            let is_here = match &self.at_hand {
                Some(at_hand) => at_hand.is_here(ledger, range)?,
                None => false,
            };
            if !is_here {
                missing.push(range.clone());
            }
        }
        Ok((all.len(), missing))
    }

    /// Reads all archives of a ledger that are at hand. How many it has, and those that are not at hand.
    ///
    /// # Errors
    /// As [`App::archives_not_at_hand`]; when an archive is not what it was.
    pub async fn check_archives(&self, ledger: LedgerId) -> Result<(usize, Vec<ArchivedRange>), AppError> {
        let found = self.archives_not_at_hand(ledger).await?;
        if let Some(at_hand) = self.at_hand.clone() {
            for range in self.archived(ledger).await? {
                let at_hand = at_hand.clone();
                let checked = tokio::task::spawn_blocking(move || at_hand.check(ledger, &range)).await;
                checked.map_err(|error| StoreError::Unavailable {
                    reason: format!("reading an archive: {error}"),
                })??;
            }
        }
        Ok(found)
    }

    /// Refuses where payloads of any ledger are in an archive that is not at hand.
    pub(super) async fn archives_must_be_at_hand(&self) -> Result<(), AppError> {
        for ledger in self.events.ledgers().await? {
            if let Some(range) = self.archives_not_at_hand(ledger).await?.1.into_iter().next() {
                return Err(StoreError::Archived {
                    position: place(&range, range.from),
                    archive: range.archive,
                }
                .into());
            }
        }
        Ok(())
    }

    /// The 256 records of a bundle as they are stored, archives left aside.
    async fn bundle_of(&self, ledger: LedgerId, first: Position) -> Result<Vec<Record>, AppError> {
        let mut records: Vec<Record> = Vec::with_capacity(usize::from(TILE_WIDTH));
        while records.len() < usize::from(TILE_WIDTH) {
            let from = records.last().map_or(first, |last| last.position.next());
            let wanted = usize::from(TILE_WIDTH) - records.len();
            let page = self.unfilled.read_ledger(ledger, from, wanted).await?;
            let page = page
                .into_iter()
                .take_while(|record| record.position.epoch == first.epoch);
            let before = records.len();
            records.extend(page);
            if records.len() == before {
                let place = format!("record {from}");
                let reason = "it is under a tree head and not there".to_owned();
                return Err(StoreError::Corrupt { place, reason }.into());
            }
        }
        Ok(records)
    }
}

/// Seals beside nodes that do: one that was first may have signed before the last record was there, so it is asked again
/// until what is there is under a tree head.
async fn among_others<T, F>(mut seal: impl FnMut() -> F) -> Result<T, SealError>
where
    F: Future<Output = Result<T, SealError>>,
{
    for _ in 1..SEAL_RACES_MAX {
        match seal().await {
            Err(SealError::TreeHeads(TreeHeadStoreError::Swapped)) => {}
            other => return other,
        }
    }
    seal().await
}

/// Holds a folder of archives for this process.
fn hold(root: &Path) -> Result<File, AppError> {
    let path = root.join(LOCK_FILE);
    let io = |source| ArchiveError::Io {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(root).map_err(io)?;
    let file = File::create(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AppError::ArchiveRefused(format!(
            "another process archives into {}, or restores from it: wait until it is done",
            root.display()
        ))),
        Err(TryLockError::Error(source)) => Err(io(source).into()),
    }
}

/// The position of a record of an epoch.
fn place(range: &ArchivedRange, index: LeafIndex) -> Position {
    Position {
        epoch: range.epoch,
        index,
    }
}

/// The folder of archives that the settings name.
pub(super) struct ArchiveDir {
    root: PathBuf,
    open: Mutex<HashMap<String, Arc<Archive>>>,
}

impl ArchiveDir {
    /// What is at hand in a folder.
    pub(super) fn at_hand(root: &Path) -> Arc<dyn ArchivesAtHand> {
        Arc::new(Self {
            root: root.to_owned(),
            open: Mutex::default(),
        })
    }

    /// The archive that was noted; `None` if it is not here.
    fn archive(&self, ledger: LedgerId, range: &ArchivedRange) -> Result<Option<Arc<Archive>>, StoreError> {
        // Each change is one statement, so a panic of another holder changes nothing.
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open().get(&range.archive).cloned();
        // One that is not what is noted was put back and made anew, maybe: the folder is looked at again.
        let known = known.filter(|archive| archive.must_be(ledger, range).is_ok());
        let archive = match known {
            Some(archive) => return Ok(Some(archive)),
            None => match Archive::open(&self.root.join(&range.archive)) {
                Ok(archive) => Arc::new(archive),
                Err(ArchiveError::NotThere { .. }) => return Ok(None),
                Err(error) => return Err(of_archive(range, error)),
            },
        };
        archive
            .must_be(ledger, range)
            .map_err(|error| of_archive(range, error))?;
        let mut open = open();
        if open.len() >= OPEN_ARCHIVES_MAX {
            open.clear();
        }
        open.insert(range.archive.clone(), archive.clone());
        Ok(Some(archive))
    }
}

impl ArchiveDir {
    /// What was found in an archive. Where it is not what it was, the folder may be another one by now; it is looked at again.
    fn found<T>(&self, range: &ArchivedRange, found: Result<T, ArchiveError>) -> Result<T, StoreError> {
        found.map_err(|error| {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(&range.archive);
            of_archive(range, error)
        })
    }
}

impl ArchivesAtHand for ArchiveDir {
    fn bundle(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        number: u64,
    ) -> Result<Option<Bundle>, StoreError> {
        let Some(archive) = self.archive(ledger, range)? else {
            return Ok(None);
        };
        self.found(range, archive.bundle(number)).map(Some)
    }

    fn bundle_bytes(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        number: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Some(archive) = self.archive(ledger, range)? else {
            return Ok(None);
        };
        self.found(range, archive.bundle_bytes(number)).map(Some)
    }

    fn is_here(&self, ledger: LedgerId, range: &ArchivedRange) -> Result<bool, StoreError> {
        match self.archive(ledger, range)? {
            Some(archive) => self.found(range, archive.must_be_whole()).map(|()| true),
            None => Ok(false),
        }
    }

    fn check(&self, ledger: LedgerId, range: &ArchivedRange) -> Result<(), StoreError> {
        match self.archive(ledger, range)? {
            Some(archive) => self.found(range, archive.check()),
            None => Ok(()),
        }
    }
}

/// What an archive that cannot be used means to who reads from the store.
fn of_archive(range: &ArchivedRange, error: ArchiveError) -> StoreError {
    let reason = crate::error::chain(&error);
    match error {
        ArchiveError::Io { .. } => StoreError::Unavailable { reason },
        ArchiveError::Broken { .. } | ArchiveError::NotThere { .. } => StoreError::Corrupt {
            place: format!("archive {}", range.archive),
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ruche_domain::numbers::Epoch;
    use ruche_ledger::payload::StoredFragment;
    use ruche_ledger_bundle::ArchiveWriter;
    use uuid::Uuid;

    use super::*;

    /// An archive of one bundle with one payload, in the place of the one that is there.
    fn written(root: &Path, ledger: LedgerId, opening: u8) -> ArchivedRange {
        let range = (LeafIndex(0), LeafIndex(WIDTH));
        let mut writer =
            ArchiveWriter::create(root, ledger, (Epoch(1), "example.org/e1"), range).expect("a folder");
        let mut bundle = vec![vec![StoredFragment::Missing]; usize::from(TILE_WIDTH)];
        bundle[0] = vec![StoredFragment::Present {
            opening: [opening; 32],
            bytes: b"{}".to_vec(),
        }];
        writer.bundle(&bundle).expect("a bundle");
        writer.finish(b"a tree head").expect("an archive").range()
    }

    #[test]
    fn an_archive_that_was_made_anew_is_opened_anew() {
        let root = tempfile::tempdir().expect("a folder");
        let ledger = LedgerId(Uuid::from_u128(7));
        let at_hand = ArchiveDir::at_hand(root.path());
        let first = written(root.path(), ledger, 1);
        assert_eq!(at_hand.is_here(ledger, &first), Ok(true));

        // Put back, removed, and made once more, while this node has the first one open.
        fs::remove_dir_all(root.path().join(&first.archive)).expect("it is removed");
        let second = written(root.path(), ledger, 2);
        assert_eq!(first.archive, second.archive);
        assert_ne!(first.digest, second.digest);
        assert_eq!(at_hand.is_here(ledger, &second), Ok(true));
        let bundle = at_hand.bundle(ledger, &second, 0).expect("it can be read");
        let fragment = bundle.expect("it is here")[0][0].clone();
        assert!(matches!(fragment, StoredFragment::Present { opening, .. } if opening == [2; 32]));
        // What is neither in memory nor in the folder is still said.
        let gone = at_hand.is_here(ledger, &first);
        assert!(matches!(gone, Err(StoreError::Corrupt { .. })), "{gone:?}");
    }

    #[tokio::test]
    async fn a_race_to_sign_that_was_lost_is_run_again_and_not_for_ever() {
        let swapped = || SealError::TreeHeads(TreeHeadStoreError::Swapped);
        let (seen, lost) = (Cell::new(0), Cell::new(3));
        let seal = || async {
            seen.set(seen.get() + 1);
            match seen.get() <= lost.get() {
                true => Err(swapped()),
                false => Ok("sealed"),
            }
        };
        assert_eq!(among_others(seal).await.expect("a tree head"), "sealed");
        assert_eq!(seen.replace(0), 4);
        lost.set(u32::MAX);
        let error = among_others(seal).await.expect_err("an end");
        assert!(matches!(error, SealError::TreeHeads(TreeHeadStoreError::Swapped)));
        assert_eq!(seen.get(), SEAL_RACES_MAX);

        seen.set(0);
        let refused = among_others(|| async {
            seen.set(seen.get() + 1);
            let gone = TreeHeadStoreError::Unavailable("gone".to_owned());
            Err::<(), _>(SealError::TreeHeads(gone))
        });
        assert!(refused.await.is_err());
        assert_eq!(seen.get(), 1, "nothing else is tried again");
    }
}
