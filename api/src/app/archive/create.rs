//! Taking payloads out: written, verified, told, and only then taken out.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ruche_domain::envelope::{ACFEvent, Actor, Classification, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::InfraPayloadsArchived;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{ARCHIVE_RECORDS_MAX, DETACH_RECORDS_MAX};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_domain::ports::event_id;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::archive::{ArchivedRange, Detach, may_leave};
use ruche_ledger::hash::Hash;
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::payload::{Fragment, JSON, StoredFragment};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EpochInfo, PreparedEvent, Record, StoreError};
use ruche_ledger::tree::TreeRoot;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_bundle::{Archive, ArchiveError, ArchiveWriter};

use super::at_rest::AtRest;
use super::in_tree::Tree;
use super::{App, AppError, ArchiveStep, Steps, Taken, WIDTH, among_others, hold, place};

impl App {
    /// Takes payloads of sealed records before a position out of a ledger, into archives below `root`. Those of streams that
    /// decisions look at stay, those of streams that go on at or behind the position, and those of lanes in which something
    /// is open. What an earlier run left undone is finished first. Each archive is in `done` once all of it is, whatever becomes
    /// of the next.
    ///
    /// # Errors
    /// See [`AppError`]. Nothing is lost, whatever it is: a payload is in the store, or in an archive that was verified.
    pub async fn archive(
        &self,
        ledger: LedgerId,
        before: Position,
        root: &Path,
        step: Steps<'_>,
        done: &mut Vec<Taken>,
    ) -> Result<(), AppError> {
        if self
            .restored
            .iter()
            .any(|(end, opened)| end.ledger == ledger && opened.is_err())
        {
            let reason = "a restore of this ledger is not finished; nothing is archived before it is";
            return Err(AppError::ArchiveRefused(reason.to_owned()));
        }
        // A ledger that is behind its promises is not made smaller.
        among_others(|| self.sealer.may_go_on(ledger)).await?;
        let _held = hold(root)?;
        let before = self.taken_in(ledger, before).await?;
        for epoch in self.events.epochs(ledger).await? {
            let Some(head) = self.trees.tree_head(ledger, epoch.epoch).await? else {
                continue;
            };
            self.verifier_key(&epoch, &head)?;
            let sealed = head.head().size.0;
            let end = match epoch.epoch.cmp(&before.epoch) {
                std::cmp::Ordering::Less => sealed,
                std::cmp::Ordering::Equal => sealed.min(before.index.0),
                std::cmp::Ordering::Greater => 0,
            };
            let work = Work {
                app: self,
                ledger,
                epoch: &epoch,
                head: &head,
                before,
                root,
                step,
            };
            work.up_to(end / WIDTH * WIDTH, done).await?;
        }
        Ok(())
    }

    /// The position before which every read model has taken in what is to be archived: it could never go on where payloads
    /// in front of it are gone. One that is paused or parked holds the rest back.
    async fn taken_in(&self, ledger: LedgerId, before: Position) -> Result<Position, AppError> {
        let (mut lowest, _) = self.lowest(ledger).await?;
        if lowest < before {
            self.catch_up(ledger).await?;
            let projection;
            (lowest, projection) = self.lowest(ledger).await?;
            let end = self.events.head(ledger).await?;
            let end = end.and_then(|head| head.last_position()).map(Position::next);
            if end.is_some_and(|end| lowest < before.min(end)) {
                tracing::warn!(%ledger, projection, position = %lowest,
                    "a read model stands here, so payloads from here on stay in the store");
            }
        }
        Ok(before.min(lowest))
    }

    /// Where the read model stands that has taken in the least: its next position, and its name.
    async fn lowest(&self, ledger: LedgerId) -> Result<(Position, &'static str), AppError> {
        let mut all = Vec::new();
        for projection in ruche_projections::projection::all() {
            let status = self.runner.store().status(ledger, projection.name()).await?;
            let next = status.checkpoint.position.map_or(Position::START, Position::next);
            all.push((next, projection.name()));
        }
        Ok(all.into_iter().min().unwrap_or((Position::START, "")))
    }
}

/// What is done in one epoch.
struct Work<'a> {
    app: &'a App,
    ledger: LedgerId,
    epoch: &'a EpochInfo,
    head: &'a SignedTreeHead,
    before: Position,
    root: &'a Path,
    step: Steps<'a>,
}

impl Work<'_> {
    async fn up_to(&self, end: u64, done: &mut Vec<Taken>) -> Result<(), AppError> {
        let noted = self.app.archived(self.ledger).await?;
        let noted: Vec<_> = noted
            .into_iter()
            .filter(|range| range.epoch == self.epoch.epoch)
            .collect();
        for range in noted.iter().filter(|range| range.to < end_of(range)) {
            let archive = Archive::open(&self.root.join(&range.archive)).map_err(|error| {
                AppError::ArchiveRefused(format!(
                    "payloads for the archive {} were taken out only in part; name the folder that it is in: {}",
                    range.archive,
                    crate::error::chain(&error)
                ))
            })?;
            archive.must_be(self.ledger, range)?;
            done.push(self.take_out(&archive, range.to).await?);
        }
        let mut from = 0;
        while from < end {
            if let Some(range) = noted.iter().find(|range| range.from.0 == from) {
                from = end_of(range).0.max(range.to.0);
                continue;
            }
            let others = noted
                .iter()
                .map(|range| range.from.0)
                .filter(|other| *other > from);
            let to = others
                .min()
                .unwrap_or(end)
                .min(end)
                .min(from + ARCHIVE_RECORDS_MAX);
            let archive = match self.left_behind(LeafIndex(from), LeafIndex(to))? {
                Some(archive) => Some(archive),
                None => self.write(LeafIndex(from), LeafIndex(to)).await?,
            };
            let Some(archive) = archive else {
                // Nothing that may leave is there: a later run looks again.
                from = to;
                continue;
            };
            from = archive.range().to.0;
            done.push(self.take_out(&archive, archive.range().from).await?);
        }
        Ok(())
    }

    /// An archive that begins here and was written by a run that got no further, or was put back.
    fn left_behind(&self, from: LeafIndex, to: LeafIndex) -> Result<Option<Archive>, AppError> {
        let begin = format!("{}-e{}-{from}-", self.ledger.0.as_simple(), self.epoch.epoch);
        let io = |source| ArchiveError::Io {
            path: self.root.to_owned(),
            source,
        };
        for entry in fs::read_dir(self.root).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let is_ours = name.to_str().is_some_and(|name| {
                name.strip_prefix(&begin)
                    .is_some_and(|end| end.parse::<u64>().is_ok())
            });
            if !is_ours {
                continue;
            }
            let archive = Archive::open(&entry.path())?;
            let range = archive.range();
            if name != *range.archive {
                // Behind this range the run would begin at a place where it was before.
                return Err(AppError::ArchiveRefused(format!(
                    "{} is a copy of the archive {}: take it out of this folder",
                    entry.path().display(),
                    range.archive
                )));
            }
            if range.to <= to {
                return Ok(Some(archive));
            }
        }
        Ok(None)
    }

    /// Writes an archive of a range, of records that are proven to be those under the tree head. One in which nothing leaves
    /// gets no name, so that a run that dies here leaves nothing to go on with.
    async fn write(&self, from: LeafIndex, to: LeafIndex) -> Result<Option<Archive>, AppError> {
        let epoch = (self.epoch.epoch, self.epoch.origin.as_str());
        let mut writer = ArchiveWriter::create(self.root, self.ledger, epoch, (from, to))?;
        let head = self.head.head();
        let mut tree = Tree {
            trees: &*self.app.trees,
            ledger: self.ledger,
            epoch: self.epoch.epoch,
            root: TreeRoot {
                size: head.size,
                root: head.root,
            },
            nodes: HashMap::new(),
        };
        let mut at_rest = self.at_rest();
        for number in from.0 / WIDTH..to.0 / WIDTH {
            let records = self.records(number).await?;
            let hashes: Vec<Hash> = records.iter().map(Record::leaf_hash).collect();
            if !tree.has(number, &hashes).await? {
                return Err(StoreError::Corrupt {
                    place: format!(
                        "records {} to {}",
                        records[0].position,
                        records[hashes.len() - 1].position
                    ),
                    reason: "they are not proven to be those under the last tree head".to_owned(),
                }
                .into());
            }
            let mut bundle = Vec::with_capacity(records.len());
            for record in records {
                let stream = record.leaf.event.stream;
                let leaves = may_leave(stream.category) && at_rest.has(stream).await?;
                bundle.push(match leaves {
                    true => record.payload,
                    false => vec![StoredFragment::Missing; record.payload.len()],
                });
            }
            writer.bundle(&bundle)?;
            (self.step)(ArchiveStep::Written(WIDTH))?;
        }
        if writer.is_empty() {
            writer.give_up()?;
            return Ok(None);
        }
        let archive = writer.finish(self.head.as_bytes())?;
        (self.step)(ArchiveStep::Named)?;
        Ok(Some(archive))
    }

    /// What is at rest from now on is found out anew.
    fn at_rest(&self) -> AtRest<'_> {
        AtRest::new(self.app, self.ledger, self.before, self.root)
    }

    async fn records(&self, number: u64) -> Result<Vec<Record>, AppError> {
        let first = Position {
            epoch: self.epoch.epoch,
            index: LeafIndex(number * WIDTH),
        };
        self.app.bundle_of(self.ledger, first).await
    }

    /// Verifies an archive, says in the ledger that it is one, and takes its payloads out of the store, from a record on.
    async fn take_out(&self, archive: &Archive, from: LeafIndex) -> Result<Taken, AppError> {
        let range = archive.range();
        let mut leaving = Vec::new();
        for number in from.0 / WIDTH..range.to.0 / WIDTH {
            let records = self.records(number).await?;
            for (record, archived) in records.iter().zip(archive.bundle(number)?) {
                if is_whole(record, &archived, &range)? {
                    leaving.push((record.position.index, record.leaf.event.stream));
                }
            }
            (self.step)(ArchiveStep::Verified(WIDTH))?;
        }
        // Another process may have written it and died before its name, or that of a folder around it, was on the disk.
        let flushed = archive.clone();
        tokio::task::spawn_blocking(move || flushed.flush())
            .await
            .map_err(|error| StoreError::Unavailable {
                reason: format!("flushing an archive: {error}"),
            })??;
        self.tell(archive).await?;
        // An auditor who finds a payload missing finds, under a signed tree head, where it is.
        among_others(|| self.app.sealer.seal(self.ledger)).await?;
        (self.step)(ArchiveStep::Told)?;
        let mut leaving = leaving.into_iter().peekable();
        let mut begin = from.0;
        while begin < range.to.0 {
            let end = LeafIndex((begin + DETACH_RECORDS_MAX).min(range.to.0));
            // The archive may be older than what people have said since: a conversation that goes on again stays.
            let (mut at_rest, mut records) = (self.at_rest(), Vec::new());
            while let Some((index, stream)) = leaving.next_if(|(index, _)| *index < end) {
                if at_rest.has(stream).await? {
                    records.push(index);
                }
            }
            let range = ArchivedRange {
                to: end,
                ..range.clone()
            };
            // A crash before this line leaves the piece in the store, after it in the archive alone.
            self.app
                .engine
                .archives
                .detach(self.ledger, Detach { range, records })
                .await?;
            (self.step)(ArchiveStep::Moved(end.0 - begin))?;
            begin = end.0;
        }
        Ok(Taken::of(archive))
    }

    /// Appends the fact, once for each archive.
    async fn tell(&self, archive: &Archive) -> Result<(), AppError> {
        let (range, app) = (archive.range(), self.app);
        let last = place(&range, LeafIndex(range.to.0 - 1));
        let said = AgentEvent::from(InfraPayloadsArchived::new(
            range.archive.clone(),
            Digest(range.digest.0),
            place(&range, range.from),
            last,
            archive.manifest().payloads,
            archive.manifest().bytes,
        ));
        let mut event = ACFEvent::new(
            event_id(&*app.clock, &*app.random),
            StreamId::new(Category::Ledger, self.ledger.0),
            said.event_type(),
            said.schema_version(),
            app.clock.now(),
            Actor::SYSTEM,
        );
        event.provenance = Provenance::Attested;
        event.classification = Classification::Internal;
        let payload = Fragment::plain(&*app.random, JSON, said.to_payload()).map_err(StoreError::from)?;
        let prepared = PreparedEvent {
            event,
            payload: vec![payload],
        };
        // The name is that of a range, and says nothing of anybody.
        let key = format!("ruche/archive/v1\0{}\0{}", range.archive, range.digest);
        let claim = KeyClaim {
            layer: KeyLayer::Api,
            key: Hash::sha256(key.as_bytes()).0,
            request: range.digest.0,
        };
        let request =
            AppendRequest::new(Vec::new(), vec![prepared], vec![claim]).map_err(StoreError::from)?;
        match app.events.append(self.ledger, request).await? {
            AppendOutcome::Appended { .. } => Ok(()),
            AppendOutcome::Unknown | AppendOutcome::Conflict { .. } | AppendOutcome::KeyMismatch { .. } => {
                let reason = "it is not known whether the ledger says what is archived; nothing was taken out, run it again";
                Err(AppError::ArchiveRefused(reason.to_owned()))
            }
        }
    }
}

/// Where the whole archive ends of which a range is noted: its name says it.
fn end_of(range: &ArchivedRange) -> LeafIndex {
    let end = range
        .archive
        .rsplit_once('-')
        .and_then(|(_, end)| end.parse().ok());
    LeafIndex(end.unwrap_or(range.to.0))
}

/// Whether the archive has the payload of a record: all of it that the store has, each fragment opening its commitment.
fn is_whole(record: &Record, archived: &[StoredFragment], range: &ArchivedRange) -> Result<bool, StoreError> {
    let broken = |reason: &str| StoreError::Corrupt {
        place: format!("archive {}, record {}", range.archive, record.position),
        reason: reason.to_owned(),
    };
    if archived.len() != record.payload.len() {
        return Err(broken("it has other fragments than the leaf commits to"));
    }
    let mut is_there = false;
    for (commitment, fragment) in record.leaf.payload.iter().zip(archived) {
        if let StoredFragment::Present { opening, bytes } = fragment {
            is_there = true;
            if !commitment.opens(opening, bytes) {
                return Err(broken("a fragment does not open its commitment"));
            }
        }
    }
    let lacks = |(stored, archived): (&StoredFragment, &StoredFragment)| {
        stored.bytes().is_some() && archived.bytes().is_none()
    };
    if is_there && record.payload.iter().zip(archived).any(lacks) {
        return Err(broken("a fragment that the store has is not in it"));
    }
    Ok(is_there)
}
