//! What an archive has on the disk.

use std::fs;
use std::ops::Range;

use super::{Archive, ArchiveError, WIDTH, at, bundle_path};
use crate::layout::is_absent;

impl Archive {
    /// Numbers of its bundles.
    #[must_use]
    pub const fn bundles(&self) -> Range<u64> {
        self.manifest.from.0 / WIDTH..self.manifest.to.0 / WIDTH
    }

    /// Length of the file of a bundle, which is not read.
    ///
    /// # Errors
    /// `Broken` if it is missing.
    pub fn bundle_bytes(&self, number: u64) -> Result<u64, ArchiveError> {
        let path = self.folder.join(bundle_path(self.manifest.epoch, number));
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(found.len()),
            Err(error) if !is_absent(&error) => Err(at(&path)(error)),
            _ => Err(ArchiveError::Broken {
                path,
                reason: "it is missing".to_owned(),
            }),
        }
    }

    /// Whether all of its bundles are there. None is read.
    ///
    /// # Errors
    /// `Broken` if one is missing.
    pub fn must_be_whole(&self) -> Result<(), ArchiveError> {
        self.bundles()
            .try_for_each(|number| self.bundle_bytes(number).map(drop))
    }

    /// Reads all of its bundles.
    ///
    /// # Errors
    /// `Broken` if one is missing, or its bytes are not those that were archived.
    pub fn check(&self) -> Result<(), ArchiveError> {
        self.bundles()
            .try_for_each(|number| self.bundle(number).map(drop))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use ruche_domain::ids::LedgerId;
    use ruche_domain::numbers::{Epoch, LeafIndex};
    use ruche_ledger::payload::StoredFragment;
    use uuid::Uuid;

    use super::*;
    use crate::archive::ArchiveWriter;

    #[test]
    fn a_bundle_that_is_gone_or_changed_is_told() {
        let root = tempfile::tempdir().unwrap();
        let range = (LeafIndex(256), LeafIndex(768));
        let ledger = LedgerId(Uuid::from_u128(1));
        let mut writer = ArchiveWriter::create(root.path(), ledger, (Epoch(1), "origin"), range).unwrap();
        let fragment = StoredFragment::Present {
            opening: [1; 32],
            bytes: b"{}".to_vec(),
        };
        for _ in 0..2 {
            writer.bundle(&vec![vec![fragment.clone()]; 256]).unwrap();
        }
        let archive = writer.finish(b"a tree head").unwrap();
        assert_eq!(archive.bundles(), 1..3);
        archive.must_be_whole().unwrap();
        archive.check().unwrap();
        assert_eq!(archive.bundle_bytes(2).unwrap(), 256 * (1 + 32 + 4 + 2));

        let path = archive.folder.join(bundle_path(Epoch(1), 2));
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        archive.must_be_whole().unwrap();
        assert!(matches!(archive.check(), Err(ArchiveError::Broken { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            archive.must_be_whole(),
            Err(ArchiveError::Broken { .. })
        ));
    }
}
