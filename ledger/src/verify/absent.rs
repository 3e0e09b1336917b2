//! Payloads that are not there: told apart, once the whole ledger was read, by what it says of archives.

use ruche_domain::event::AgentEvent;
use ruche_domain::numbers::{Position, SchemaVersion};

use super::finding::{Finding, FindingKind, Findings};
use crate::archive::ARCHIVED_EVENT;
use crate::hash::Hash;

/// What the ledger tells of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveTold {
    /// Its name.
    pub archive: String,
    /// SHA-256 that it is known by.
    pub digest: Hash,
    /// First record of its range.
    pub from: Position,
    /// Last record of its range.
    pub to: Position,
}

impl ArchiveTold {
    /// What the payload of an [`ARCHIVED_EVENT`] tells; `None` if it cannot be read.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        match AgentEvent::from_payload(ARCHIVED_EVENT, SchemaVersion(1), payload) {
            Ok(AgentEvent::InfraPayloadsArchived(said)) => Some(Self {
                archive: said.archive,
                digest: Hash(said.digest.0),
                from: said.from,
                to: said.to,
            }),
            _ => None,
        }
    }
}

/// Fragments that are not there and may be archived, in order, and the archives that were told of.
#[derive(Debug, Default)]
pub(super) struct Absent {
    fragments: Vec<(Position, u8)>,
    archives: Vec<ArchiveTold>,
    /// Names and digests of archives in which all fragments were looked for.
    searched: Vec<(String, Hash)>,
}

impl Absent {
    /// A fragment is not there.
    pub(super) fn fragment(&mut self, of: Position, number: usize) {
        self.fragments.push((of, u8::try_from(number).unwrap_or(u8::MAX)));
    }

    /// Takes the payload of a record that tells of an archive. One that cannot be read explains nothing.
    pub(super) fn told(&mut self, payload: &[u8]) {
        self.archives.extend(ArchiveTold::read(payload));
    }

    /// An archive was brought and read: what it does not have, it does not explain.
    pub(super) fn searched(&mut self, archive: String, digest: Hash) {
        self.searched.push((archive, digest));
    }

    pub(super) fn archives(&self) -> &[ArchiveTold] {
        &self.archives
    }

    /// Says of each fragment whether an archive explains it: one finding for each archive, and one for each other fragment.
    pub(super) fn judge(mut self, findings: &mut Findings) {
        let searched = &self.searched;
        let is_searched = |told: &ArchiveTold| {
            searched
                .iter()
                .any(|(archive, digest)| (archive, digest) == (&told.archive, &told.digest))
        };
        self.archives.retain(|told| !is_searched(told));
        self.archives.sort_by_key(|told| told.from);
        let mut explained: Vec<(u64, Option<Position>)> = vec![(0, None); self.archives.len()];
        for (position, number) in self.fragments {
            // Of several that cover it the one that begins last; ranges lie apart but for those that were begun again.
            let behind = self.archives.partition_point(|told| told.from <= position);
            let covers = |told: &ArchiveTold| told.to >= position && told.to.epoch == told.from.epoch;
            match self.archives[..behind].iter().rposition(covers) {
                Some(at) => {
                    explained[at].0 += 1;
                    explained[at].1.get_or_insert(position);
                }
                None => findings.push(Finding::at(
                    FindingKind::PayloadMissing,
                    position.epoch,
                    position.index.0,
                    format!("payload fragment {number} is not there"),
                )),
            }
        }
        for (told, (fragments, first)) in self.archives.iter().zip(explained) {
            let Some(first) = first else { continue };
            let detail = format!(
                "{fragments} fragments of records up to {} are in the archive {} (SHA-256 {}); bring it with --archive",
                told.to, told.archive, told.digest
            );
            findings.push(Finding::at(
                FindingKind::PayloadArchived,
                first.epoch,
                first.index.0,
                detail,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use ruche_domain::events::infra::InfraPayloadsArchived;
    use ruche_domain::measures::Digest;

    use super::*;

    fn told(archive: &str, from: Position, to: Position) -> Vec<u8> {
        let said = InfraPayloadsArchived::new(archive.to_owned(), Digest([5; 32]), from, to, 1, 1);
        AgentEvent::from(said).to_payload()
    }

    /// Kinds and places of what is found where fragments of these records are not there.
    fn found(archives: &[Vec<u8>], missing: &[(u32, u64)]) -> Vec<(FindingKind, String, String)> {
        let (mut absent, mut findings) = (Absent::default(), Findings::keeping(100));
        for (epoch, index) in missing {
            absent.fragment(Position::new(*epoch, *index), 0);
        }
        archives.iter().for_each(|payload| absent.told(payload));
        absent.judge(&mut findings);
        let kept = findings.kept().iter();
        kept.map(|found| (found.kind, found.place(), found.detail.clone()))
            .collect()
    }

    #[test]
    fn what_an_archive_explains_is_one_finding_and_what_none_explains_is_missing() {
        let at = Position::new;
        let archives = [
            told("b", at(1, 512), at(1, 767)),
            told("a", at(1, 0), at(1, 255)),
            told("a, begun again", at(1, 0), at(1, 511)),
            told("over two epochs", at(1, 768), at(2, 9)),
            b"{}".to_vec(),
        ];
        let missing = [(1, 3), (1, 255), (1, 256), (1, 600), (1, 768), (2, 3)];
        let found = found(&archives, &missing);
        let kinds: Vec<_> = found
            .iter()
            .map(|(kind, place, _)| (*kind, place.as_str()))
            .collect();
        let expected = [
            (FindingKind::PayloadMissing, "1:768"),
            (FindingKind::PayloadMissing, "2:3"),
            (FindingKind::PayloadArchived, "1:3"),
            (FindingKind::PayloadArchived, "1:600"),
        ];
        assert_eq!(kinds, expected);
        assert!(
            found[2].2.starts_with("3 fragments of records up to 1:511"),
            "{}",
            found[2].2
        );
    }

    #[test]
    fn an_archive_that_was_looked_into_explains_nothing_and_another_one_of_its_range_does() {
        let at = Position::new;
        let judged = |archives: &[&str]| {
            let (mut absent, mut findings) = (Absent::default(), Findings::keeping(100));
            absent.fragment(at(1, 3), 0);
            for archive in archives {
                absent.told(&told(archive, at(1, 0), at(1, 255)));
            }
            absent.searched("a".to_owned(), Hash([5; 32]));
            absent.judge(&mut findings);
            findings.kept().iter().map(|found| found.kind).collect::<Vec<_>>()
        };
        assert_eq!(judged(&["a"]), [FindingKind::PayloadMissing]);
        assert_eq!(judged(&["a", "b"]), [FindingKind::PayloadArchived]);
    }

    #[test]
    fn without_an_archive_nothing_is_explained() {
        assert_eq!(found(&[], &[(1, 3)])[0].0, FindingKind::PayloadMissing);
        assert_eq!(
            found(&[told("a", Position::new(1, 0), Position::new(1, 9))], &[]),
            []
        );
    }
}
