//! Packed row ids: where a record and its payload stand in their tables.
//!
//! `record.id = epoch_no << 37 | index` and `payload.id = record.id << 2 | fragment`: 24 + 37 + 2 = 63 bits, never
//! negative. Records of an epoch stand side by side and are appended at its right edge, payloads in the same order.

use ruche_domain::limits::FRAGMENTS_PER_RECORD_MAX;
use ruche_domain::numbers::LeafIndex;

/// Bits of the index of a record in its epoch. A file of 4 KiB pages is full (17.6 TB) before 2^37 records of the
/// smallest leaf (over 150 bytes) stand in it.
const INDEX_BITS: u32 = 37;
/// Bits of the number of an epoch in this file.
const EPOCH_BITS: u32 = 24;
/// Bits of the number of a fragment.
const FRAGMENT_BITS: u32 = 2;

const _: () = assert!(
    INDEX_BITS + EPOCH_BITS + FRAGMENT_BITS == 63,
    "an i64 that is never negative"
);
const _: () = assert!(FRAGMENTS_PER_RECORD_MAX <= 1 << FRAGMENT_BITS);

/// Number of an epoch in this file, over all ledgers, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EpochNo(pub i64);

impl EpochNo {
    /// Greatest number whose end, as a payload id, is still an i64.
    pub(crate) const MAX: Self = Self((1 << EPOCH_BITS) - 2);

    /// Id of record 0 of this epoch.
    pub(crate) fn start(self) -> i64 {
        self.0 << INDEX_BITS
    }

    /// The first id behind every record of this epoch.
    pub(crate) fn end(self) -> i64 {
        (self.0 + 1) << INDEX_BITS
    }
}

/// Primary key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordId(pub i64);

impl RecordId {
    /// The id of a record; `None` for an index that no record can have.
    pub(crate) fn new(epoch: EpochNo, index: LeafIndex) -> Option<Self> {
        let fits = epoch <= EpochNo::MAX && epoch.0 > 0 && index.0 < 1 << INDEX_BITS;
        fits.then(|| Self(epoch.0 << INDEX_BITS | index.0.cast_signed()))
    }

    /// Which epoch.
    pub(crate) fn epoch(self) -> EpochNo {
        EpochNo(self.0 >> INDEX_BITS)
    }

    /// Which record of it.
    pub(crate) fn index(self) -> LeafIndex {
        LeafIndex((self.0 & ((1 << INDEX_BITS) - 1)).cast_unsigned())
    }

    /// Primary key of a payload fragment of this record.
    pub(crate) fn fragment(self, n: usize) -> i64 {
        debug_assert!(n < FRAGMENTS_PER_RECORD_MAX);
        self.0 << FRAGMENT_BITS | n as i64
    }

    /// Record and number of the fragment that has this primary key.
    pub(crate) fn of_fragment(id: i64) -> (Self, usize) {
        (
            Self(id >> FRAGMENT_BITS),
            (id & ((1 << FRAGMENT_BITS) - 1)) as usize,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pack_and_unpack_at_the_ends_of_their_ranges() {
        for epoch in [EpochNo(1), EpochNo(2), EpochNo::MAX] {
            for index in [0, 1, (1 << INDEX_BITS) - 1] {
                let id = RecordId::new(epoch, LeafIndex(index)).unwrap();
                assert_eq!((id.epoch(), id.index()), (epoch, LeafIndex(index)));
                assert!(id.0 < epoch.end());
                assert!(epoch.end() << FRAGMENT_BITS > id.fragment(0));
                for n in 0..FRAGMENTS_PER_RECORD_MAX {
                    assert!(id.fragment(n) > 0);
                    assert_eq!(RecordId::of_fragment(id.fragment(n)), (id, n));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_has_no_id() {
        assert_eq!(RecordId::new(EpochNo(1), LeafIndex(1 << INDEX_BITS)), None);
        assert_eq!(RecordId::new(EpochNo(EpochNo::MAX.0 + 1), LeafIndex(0)), None);
        assert_eq!(RecordId::new(EpochNo(0), LeafIndex(0)), None);
    }
}
