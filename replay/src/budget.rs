//! How much one replay may read, and for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use ruche_ledger::store::Record;

use crate::error::ReplayError;

/// Bytes that a record takes in memory beside its leaf and its payload, about.
const RECORD_BYTES: u64 = 512;

/// How much a replay may do. Whoever replays for others bounds it: a ledger has no end. Time is told by whoever made the
/// budget, since nothing here knows a clock.
pub struct Budget {
    records: u64,
    bytes: u64,
    is_over: Box<dyn Fn() -> bool + Send + Sync>,
    records_read: AtomicU64,
    bytes_read: AtomicU64,
}

impl Budget {
    /// As much as it takes.
    pub fn unbounded() -> Self {
        Self::new(u64::MAX, u64::MAX, || false)
    }

    /// So many records and bytes, as long as `is_over` says no.
    pub fn new(records: u64, bytes: u64, is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            records,
            bytes,
            is_over: Box::new(is_over),
            records_read: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
        }
    }

    /// Counts what was read. Looked at between pages, so a replay goes over it by a page at most.
    pub(crate) fn spend(&self, records: &[Record]) {
        let bytes_of = |record: &Record| {
            let payload = record.payload_bytes().map_or(0, <[u8]>::len);
            RECORD_BYTES + record.leaf_bytes.len() as u64 + payload as u64
        };
        let bytes: u64 = records.iter().map(bytes_of).sum();
        self.records_read
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts leaves that were read without their payloads.
    pub(crate) fn spend_leaves(&self, leaves: usize) {
        self.records_read.fetch_add(leaves as u64, Ordering::Relaxed);
        self.bytes_read
            .fetch_add(leaves as u64 * RECORD_BYTES, Ordering::Relaxed);
    }

    /// Records that may still be read in one page.
    pub(crate) fn page(&self, most: usize) -> usize {
        let left = self
            .records
            .saturating_sub(self.records_read.load(Ordering::Relaxed));
        usize::try_from(left).unwrap_or(most).clamp(1, most)
    }

    /// Whether nothing more may be read.
    pub fn is_spent(&self) -> bool {
        self.records_read.load(Ordering::Relaxed) >= self.records
            || self.bytes_read.load(Ordering::Relaxed) >= self.bytes
            || self.is_over()
    }

    /// Whether there is no time left.
    pub(crate) fn is_over(&self) -> bool {
        (self.is_over)()
    }

    /// Counts a page, for a replay that has to see all of it.
    ///
    /// # Errors
    /// `OutOfBudget` where more would have to be read.
    pub(crate) fn go_on(&self, records: &[Record]) -> Result<(), ReplayError> {
        self.spend(records);
        match records.last() {
            Some(last) if self.is_spent() => Err(ReplayError::OutOfBudget {
                at: last.position.next(),
            }),
            _ => Ok(()),
        }
    }
}
