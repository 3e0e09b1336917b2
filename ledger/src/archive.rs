//! Archives: payloads of sealed records that left the store for a folder, and can come back.
//!
//! Leaves, tree, streams and keys stay in the store for ever: they prove order and idempotency, and the constraints that
//! make a fork impossible need them in one table. What is large and cold are payloads. Those of a sealed range can be written
//! to an archive, proven there, and only then be taken out of the store.
//!
//! # The life of an archived payload
//!
//! 1. Its record is under a signed tree head, in a stream that is at rest and that no decision looks at ([`may_leave`]).
//! 2. The archive is written, flushed, and read back: every fragment against the commitment in its leaf.
//! 3. The ledger says so: `infra.payloads_archived`, sealed. From here an auditor knows where the payload has to be.
//! 4. [`ArchiveStore::detach`] takes a piece after the other out of the store. The same transaction notes up to where, so a
//!    payload that is not there and was archived is told apart from one that was erased: [`StoredFragment::Archived`].
//! 5. [`ArchiveStore::attach`] puts payloads back, each checked against its leaf by the caller, and
//!    [`ArchiveStore::forget`] takes the note away once all are there.
//!
//! Ranges begin and end where bundles of 256 records do, so an archive is made of whole payload bundles of an export.

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position};
use ruche_domain::stream::Category;

use crate::error::LedgerError;
use crate::hash::Hash;
use crate::payload::StoredFragment;
use crate::store::{Record, StoreError};

/// Type of the event that says what was archived.
pub const ARCHIVED_EVENT: &str = "infra.payloads_archived";

/// Whether payloads of such streams may leave the store, once the stream is at rest. Decisions look at the others however
/// old they are (keys, tools, configuration, approvals …), and so does the verifier where it judges keys and votes.
#[must_use]
pub const fn may_leave(category: Category) -> bool {
    match category {
        Category::Lane
        | Category::Observed
        | Category::Memory
        | Category::Goal
        | Category::Plan
        | Category::Scenario
        | Category::Artifact
        | Category::State => true,
        Category::Ledger
        | Category::Session
        | Category::Tool
        | Category::Config
        | Category::Schedule
        | Category::Approval
        | Category::Policy
        | Category::Key
        | Category::Access
        | Category::Subject
        | Category::Projection
        | Category::Effect => false,
    }
}

/// Records of an epoch whose payloads are in an archive, save those that stayed in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRange {
    /// Which epoch.
    pub epoch: Epoch,
    /// The first record.
    pub from: LeafIndex,
    /// The record behind the last one.
    pub to: LeafIndex,
    /// Name of the archive: that of its folder.
    pub archive: String,
    /// SHA-256 that the archive is known by: of its index, which has one of each bundle.
    pub digest: Hash,
}

impl ArchivedRange {
    /// Whether a record is in it.
    #[must_use]
    pub fn holds(&self, position: Position) -> bool {
        self.epoch == position.epoch && (self.from..self.to).contains(&position.index)
    }
}

/// One piece that leaves the store: what is known as archived with it, and which records' payloads go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detach {
    /// From where the archive begins to where this piece ends.
    pub range: ArchivedRange,
    /// Records whose fragments go, all of each.
    pub records: Vec<LeafIndex>,
}

/// A fragment that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Of which record.
    pub index: LeafIndex,
    /// Which fragment of it.
    pub fragment: u8,
    /// Key of the commitment.
    pub opening: [u8; 32],
    /// Bytes as they were.
    pub bytes: Vec<u8>,
}

/// What a store does about archives. Implementations MUST make each call one durable transaction. Callers MUST have the
/// payloads verified in the archive before they detach, and against their leaves before they attach.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// What is archived of a ledger, in order.
    async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError>;

    /// Takes payloads out of the store and notes that they are archived. Done again, it changes nothing.
    ///
    /// # Errors
    /// `Refused` if another archive is noted for that place.
    async fn detach(&self, ledger: LedgerId, piece: Detach) -> Result<(), StoreError>;

    /// Puts payloads back. Those that are there stay as they are.
    async fn attach(&self, ledger: LedgerId, epoch: Epoch, payloads: Vec<Attach>) -> Result<(), StoreError>;

    /// Takes the note of an archive away.
    ///
    /// # Errors
    /// `Refused` if the store does not have exactly `fragments` fragments in that range: some are in the archive alone. Also
    /// if another range than this one is noted, as where payloads went on leaving while others were put back.
    async fn forget(&self, ledger: LedgerId, range: &ArchivedRange, fragments: u64)
    -> Result<(), StoreError>;
}

/// Another archive is noted where one was to be.
#[must_use]
pub fn another_archive(range: &ArchivedRange) -> StoreError {
    let reason = format!(
        "records from {}:{} on are archived already, and not in {}",
        range.epoch, range.from, range.archive
    );
    LedgerError::Invalid(reason).into()
}

/// The store lacks payloads of an archive that was to be forgotten.
#[must_use]
pub fn not_all_back(range: &ArchivedRange, found: u64, fragments: u64) -> StoreError {
    let reason = format!(
        "the store has {found} fragments of the range of {}, not {fragments}: run the restore again",
        range.archive
    );
    LedgerError::Invalid(reason).into()
}

/// What is noted of an archive that was to be forgotten is not what was put back.
#[must_use]
pub fn noted_otherwise(range: &ArchivedRange) -> StoreError {
    let reason = format!(
        "what is noted of {} changed while its payloads were put back: run the restore again",
        range.archive
    );
    LedgerError::Invalid(reason).into()
}

/// Says of the fragments of a record that are not there whether they are archived. Of a stream whose payloads never leave
/// none is: what is not there is missing.
pub fn tell_archived(
    position: Position,
    category: Category,
    payload: &mut [StoredFragment],
    ranges: &[Arc<ArchivedRange>],
) {
    if !may_leave(category) {
        return;
    }
    let Some(range) = ranges.iter().find(|range| range.holds(position)) else {
        return;
    };
    let missing = payload
        .iter_mut()
        .filter(|fragment| **fragment == StoredFragment::Missing);
    for fragment in missing {
        *fragment = StoredFragment::Archived(Arc::clone(range));
    }
}

/// Refuses records of which a payload is in an archive that is not at hand.
///
/// # Errors
/// `Archived` naming the first one.
pub fn must_be_here(records: &[Record]) -> Result<(), StoreError> {
    for record in records {
        if let Some(range) = record.archived_in() {
            return Err(StoreError::Archived {
                position: record.position,
                archive: range.archive.clone(),
            });
        }
    }
    Ok(())
}

/// Where archives are at hand. Reading may block on a disk.
pub trait ArchivesAtHand: Send + Sync {
    /// The fragments of the 256 records of a bundle, by its number in the epoch, as they were archived; `None` if the archive
    /// is not here.
    ///
    /// # Errors
    /// `Corrupt` if the archive is not the one that was noted, or not what it was.
    fn bundle(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        number: u64,
    ) -> Result<Option<Bundle>, StoreError>;

    /// How many bytes that bundle takes on the disk; `None` if the archive is not here. Reads none of them.
    ///
    /// # Errors
    /// As [`ArchivesAtHand::bundle`].
    fn bundle_bytes(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        number: u64,
    ) -> Result<Option<u64>, StoreError>;

    /// Whether an archive is here with all of its bundles, and the one that was noted. Reads no bundle.
    ///
    /// # Errors
    /// As [`ArchivesAtHand::bundle`]; so, too, if a bundle of it is missing.
    fn is_here(&self, ledger: LedgerId, range: &ArchivedRange) -> Result<bool, StoreError>;

    /// Reads all of an archive, if it is here, and holds it against what was archived.
    ///
    /// # Errors
    /// As [`ArchivesAtHand::bundle`].
    fn check(&self, ledger: LedgerId, range: &ArchivedRange) -> Result<(), StoreError>;
}

/// Fragments of the records of a bundle.
pub type Bundle = Vec<Vec<StoredFragment>>;
