//! Bundles of the archives that are at hand, read in bounded memory.
//!
//! One archived record is read with the 255 others of its bundle. Who reads next usually wants the same bundle, so some are kept;
//! and how many bytes of them are read at the same time is bounded, whoever asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_ledger::archive::{ArchivedRange, ArchivesAtHand, Bundle};
use ruche_ledger::hash::Hash;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::{
    ARCHIVE_BUNDLES_KEPT_BYTES_MAX, ARCHIVE_READ_BYTES_MAX, ARCHIVE_READ_RETRY_AFTER_MS,
    ARCHIVE_READ_WAIT_MAX,
};

const KIB: usize = 1_024;

/// Reads bundles for all who read from the store of a process.
pub struct ArchivedBundles {
    at_hand: Arc<dyn ArchivesAtHand>,
    /// Room in memory, in KiB.
    room: Arc<Semaphore>,
    room_kib: usize,
    wait: Duration,
    kept: Mutex<Kept>,
}

/// A bundle, and its room for as long as it is used.
pub struct Lent {
    bundle: Arc<Bundle>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Lent {
    /// Fragments of its records.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

/// Which bundle: the digest of an archive is that of all of its bundles.
type Key = (LedgerId, Hash, u64);

/// Bundles that were read last, oldest first.
#[derive(Default)]
struct Kept {
    bundles: VecDeque<(Key, Arc<Bundle>, usize)>,
    bytes: usize,
}

impl Kept {
    fn get(&self, key: &Key) -> Option<Arc<Bundle>> {
        let found = self.bundles.iter().find(|(of, ..)| of == key);
        found.map(|(_, bundle, _)| Arc::clone(bundle))
    }

    fn keep(&mut self, key: Key, bundle: &Arc<Bundle>) {
        let bytes = bytes_of(bundle);
        if bytes > ARCHIVE_BUNDLES_KEPT_BYTES_MAX || self.get(&key).is_some() {
            return;
        }
        self.bytes += bytes;
        self.bundles.push_back((key, Arc::clone(bundle), bytes));
        while self.bytes > ARCHIVE_BUNDLES_KEPT_BYTES_MAX
            && let Some((.., bytes)) = self.bundles.pop_front()
        {
            self.bytes -= bytes;
        }
    }
}

/// Bytes of a bundle in memory.
fn bytes_of(bundle: &Bundle) -> usize {
    let fragment = |fragment: &StoredFragment| match fragment {
        StoredFragment::Present { bytes, .. } => bytes.len() + size_of::<StoredFragment>(),
        StoredFragment::Missing | StoredFragment::Archived(_) => size_of::<StoredFragment>(),
    };
    let record = |fragments: &Vec<StoredFragment>| {
        size_of::<Vec<StoredFragment>>() + fragments.iter().map(fragment).sum::<usize>()
    };
    bundle.iter().map(record).sum()
}

impl ArchivedBundles {
    /// Of the archives that are at hand.
    pub fn of(at_hand: Arc<dyn ArchivesAtHand>) -> Arc<Self> {
        Arc::new(Self::with_room(
            at_hand,
            ARCHIVE_READ_BYTES_MAX,
            ARCHIVE_READ_WAIT_MAX,
        ))
    }

    fn with_room(at_hand: Arc<dyn ArchivesAtHand>, bytes: usize, wait: Duration) -> Self {
        let room_kib = bytes / KIB;
        Self {
            at_hand,
            room: Arc::new(Semaphore::new(room_kib)),
            room_kib,
            wait,
            kept: Mutex::default(),
        }
    }

    /// A bundle, by its number in the epoch; `None` if its archive is not at hand.
    ///
    /// # Errors
    /// `Overloaded` if others read too much for too long; `Corrupt` if the archive is not what it was.
    pub async fn bundle(
        &self,
        ledger: LedgerId,
        range: &Arc<ArchivedRange>,
        number: u64,
    ) -> Result<Option<Lent>, StoreError> {
        let key = (ledger, range.digest, number);
        let lent = |bundle| Lent { bundle, _room: None };
        if let Some(bundle) = self.kept().get(&key) {
            return Ok(Some(lent(bundle)));
        }
        let (at_hand, of) = (self.at_hand.clone(), range.clone());
        let Some(bytes) = blocking(move || at_hand.bundle_bytes(ledger, &of, number)).await? else {
            return Ok(None);
        };
        let room = self.room(bytes).await?;
        // Whoever had the room before may have read the same one.
        if let Some(bundle) = self.kept().get(&key) {
            return Ok(Some(lent(bundle)));
        }
        let (at_hand, of) = (self.at_hand.clone(), range.clone());
        // The room goes along: who asked may be gone before the bytes are.
        let read = blocking(move || Ok((at_hand.bundle(ledger, &of, number)?, room)));
        let (Some(bundle), room) = read.await? else {
            return Ok(None);
        };
        let bundle = Arc::new(bundle);
        self.kept().keep(key, &bundle);
        Ok(Some(Lent {
            bundle,
            _room: Some(room),
        }))
    }

    /// Room for a file of so many bytes and for what is made of it. One that is larger than all of the room takes all of it.
    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, StoreError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(2);
        let kib = bytes.div_ceil(KIB).clamp(1, self.room_kib);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        match timeout(self.wait, self.room.clone().acquire_many_owned(kib)).await {
            Ok(room) => room.map_err(|error| StoreError::Unavailable {
                reason: format!("reading an archive: {error}"),
            }),
            Err(_) => Err(StoreError::Overloaded {
                retry_after_ms: ARCHIVE_READ_RETRY_AFTER_MS,
            }),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in there panics; what is kept would be whole all the same.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what waits for a disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Unavailable {
        reason: format!("reading an archive: {error}"),
    })?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ruche_domain::numbers::{Epoch, LeafIndex};
    use uuid::Uuid;

    use super::*;

    /// An archive whose bundles are of one size, and how many of them were read.
    struct OfBytes(usize, AtomicUsize);

    impl ArchivesAtHand for OfBytes {
        fn bundle(&self, _: LedgerId, _: &ArchivedRange, _: u64) -> Result<Option<Bundle>, StoreError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let fragment = StoredFragment::Present {
                opening: [0; 32],
                bytes: vec![0; self.0],
            };
            Ok(Some(vec![vec![fragment]]))
        }

        fn bundle_bytes(&self, _: LedgerId, _: &ArchivedRange, _: u64) -> Result<Option<u64>, StoreError> {
            Ok(Some(self.0 as u64))
        }

        fn is_here(&self, _: LedgerId, _: &ArchivedRange) -> Result<bool, StoreError> {
            Ok(true)
        }

        fn check(&self, _: LedgerId, _: &ArchivedRange) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Bundles of so many bytes, with room for one of 64 KiB.
    fn bundles(bytes: usize) -> (ArchivedBundles, Arc<OfBytes>) {
        let at_hand = Arc::new(OfBytes(bytes, AtomicUsize::new(0)));
        let wait = Duration::from_millis(20);
        (
            ArchivedBundles::with_room(at_hand.clone(), 2 * 65_536, wait),
            at_hand,
        )
    }

    async fn ask(of: &ArchivedBundles, number: u64) -> Result<Option<Lent>, StoreError> {
        let range = ArchivedRange {
            epoch: Epoch(1),
            from: LeafIndex(0),
            to: LeafIndex(1 << 20),
            archive: "one".to_owned(),
            digest: Hash([5; 32]),
        };
        of.bundle(LedgerId(Uuid::from_u128(1)), &Arc::new(range), number)
            .await
    }

    #[tokio::test]
    async fn a_bundle_is_read_once_for_all_who_ask() {
        let (bundles, at_hand) = bundles(65_536);
        for _ in 0..60 {
            assert!(ask(&bundles, 1).await.expect("a bundle").is_some());
        }
        assert_eq!(at_hand.1.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_is_refused_until_there_is() {
        // Larger than all of the room: read alone.
        for bytes in [65_536, 1_000_000] {
            let (bundles, _) = bundles(bytes);
            let first = ask(&bundles, 1).await.expect("a bundle");
            let second = ask(&bundles, 2).await.err();
            assert!(
                matches!(second, Some(StoreError::Overloaded { .. })),
                "{second:?}"
            );
            drop(first);
            assert!(ask(&bundles, 2).await.expect("a bundle").is_some());
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let third = ARCHIVE_BUNDLES_KEPT_BYTES_MAX / 3;
        let (bundles, at_hand) = bundles(third);
        for number in [1, 2, 3, 3, 2, 1] {
            assert!(ask(&bundles, number).await.expect("a bundle").is_some());
        }
        assert!(bundles.kept().bytes <= ARCHIVE_BUNDLES_KEPT_BYTES_MAX);
        assert_eq!(
            at_hand.1.load(Ordering::SeqCst),
            4,
            "two fit, and the first one went"
        );
    }
}
