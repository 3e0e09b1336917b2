//! Verifying an export from one end to the other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_ledger::note::{VerifierKey, VerifierKeyError};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::verify::{Finding, FindingKind, Findings, RecordChecker, TrustedReviewers};

use crate::layout::{CHECKPOINT, KEY, MANIFEST, Manifest};
use crate::opening::{EpochEnd, Facts, Opening, PreviousFacts};
use crate::reader::{BundleReader, EpochReader, ReadError};
use crate::report::{Asserted, EpochReport, NotOver, NotRun, Report};
use crate::trust::{Trust, named, signed_by};

mod archives;
mod epoch;

use archives::Archives;
use epoch::EpochRun;

/// How many records there must be at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLeast {
    /// In the whole ledger.
    Ledger(u64),
    /// In one epoch.
    Epoch(Epoch, u64),
}

/// What else the auditor knows and wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Findings that are kept; all are counted.
    pub findings_max: usize,
    /// Tree heads that the auditor kept from earlier: the export must extend each.
    pub known_heads: Vec<SignedTreeHead>,
    /// Sizes that the auditor knows from elsewhere.
    pub at_least: Vec<AtLeast>,
    /// Folders of archives, or folders of such folders.
    pub archives: Vec<PathBuf>,
    /// Keys of reviewers that the auditor trusts. Without them nobody vouches for any.
    pub reviewers: Option<TrustedReviewers>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            findings_max: 100,
            known_heads: Vec::new(),
            at_least: Vec::new(),
            archives: Vec::new(),
            reviewers: None,
        }
    }
}

/// How far the verifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records read so far.
    pub records: u64,
    /// Records that the bundles claim to hold.
    pub records_total: u64,
}

/// Verifies the export in `folder`. `progress` is called every 256 records.
///
/// Memory: at most 39 bytes per record, and 59 while a table grows, for what may not repeat (see
/// `ruche_ledger::verify`; 60 MiB were measured for a million records, all in all), 16 bytes per tile file,
/// one entry bundle, and the longest payload fragment. Nothing that an export claims makes it larger than the files.
///
/// # Errors
/// When there is no export or its files cannot be read. What is wrong with them is in the report.
pub fn verify_bundle(
    folder: &Path,
    trust: &Trust,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReadError> {
    let started = Instant::now();
    let reader = BundleReader::open(folder)?;
    let mut findings = Findings::keeping(options.findings_max);
    let manifest = read_manifest(&reader, &mut findings)?;
    let mut epochs = Vec::new();
    for epoch in reader.epochs() {
        epochs.push(Prepared::read(
            &reader,
            *epoch,
            manifest.as_ref(),
            trust,
            &mut findings,
        )?);
    }
    check_list(&epochs, manifest.as_ref(), &mut findings);
    check_keys(&epochs, trust, &mut findings);
    let mut archives = Archives::open(&options.archives)?;
    archives.leave_aside(
        epochs
            .iter()
            .map(|epoch| (&epoch.files, epoch.origin.as_str(), epoch.size)),
    )?;
    let mut run = Run {
        epochs: &epochs,
        trust,
        options,
        checker: RecordChecker::new(),
        archives,
        done: Vec::new(),
        findings,
    };
    if let Some(trusted) = &options.reviewers {
        run.checker.trust_reviewers(trusted.clone());
    }
    run.all(progress)?;
    let Run {
        done,
        mut findings,
        checker,
        archives,
        ..
    } = run;
    let (not_run, not_over) = negatives(&checker, options.findings_max);
    let asserted = asserted(&checker, options.findings_max);
    let reviewers = checker.reviewers();
    check_known_heads(&epochs, &done, trust, options, &mut findings);
    let reports: Vec<EpochReport> = epochs
        .iter()
        .zip(&done)
        .map(|(epoch, done)| epoch.report(done))
        .collect();
    check_at_least(&reports, options, &mut findings);
    let ledger = manifest.map(|manifest| manifest.ledger);
    let seconds = started.elapsed().as_secs_f64();
    Ok(Report {
        not_run,
        not_over,
        asserted,
        reviewers,
        archives_not_told: archives.into_not_told(),
        ..Report::new(findings, ledger, reports, seconds)
    })
}

/// What did not happen, as far as the records go; `kept_max` of each are named.
fn negatives(checker: &RecordChecker, kept_max: usize) -> (NotRun, NotOver) {
    let mut calls = checker.proposed_and_not_run();
    let kept: Vec<_> = calls.by_ref().take(kept_max).collect();
    let not_run = NotRun {
        total: (kept.len() + calls.count()) as u64,
        calls: kept,
    };
    let mut turns = checker.turns_not_over();
    let total = turns.len() as u64;
    turns.truncate(kept_max);
    (not_run, NotOver { total, turns })
}

/// What rests on the word of a person; `kept_max` of it are named.
fn asserted(checker: &RecordChecker, kept_max: usize) -> Asserted {
    let all = checker.outcomes_asserted();
    Asserted {
        total: all.len() as u64,
        outcomes: all.iter().take(kept_max).copied().collect(),
    }
}

/// An epoch before its records are read.
struct Prepared {
    epoch: Epoch,
    files: EpochReader,
    head: Option<SignedTreeHead>,
    /// Of the tree head; without one, of the manifest or of the files.
    size: TreeSize,
    origin: String,
    opening: Opening,
    /// The key that signed the tree head.
    key: Option<VerifierKey>,
    /// Whether the auditor brought it.
    is_authenticated: bool,
}

use epoch::EpochRoots as Done;

impl Prepared {
    fn read(
        reader: &BundleReader,
        epoch: Epoch,
        manifest: Option<&Manifest>,
        trust: &Trust,
        findings: &mut Findings,
    ) -> Result<Self, ReadError> {
        let files = reader.epoch(epoch)?;
        let head = read_head(&files, findings)?;
        let listed = manifest.and_then(|manifest| manifest.epoch(epoch));
        let (origin, size) = match (&head, listed) {
            (Some(head), _) => (head.head().origin.clone(), head.head().size),
            (None, Some(listed)) => (listed.origin.clone(), listed.size),
            (None, None) => (String::new(), TreeSize(files.inventory().entries_end())),
        };
        let opening = Opening::read(&files, size)?;
        let mut prepared = Self {
            epoch,
            files,
            head,
            size,
            origin,
            opening,
            key: None,
            is_authenticated: false,
        };
        prepared.authenticate(trust, findings)?;
        prepared
            .opening
            .check(epoch, &prepared.origin, prepared.key.as_ref(), findings);
        Ok(prepared)
    }

    /// Finds out who signed the tree head. Without a key of the auditor's, the key in the export stands in.
    fn authenticate(&mut self, trust: &Trust, findings: &mut Findings) -> Result<(), ReadError> {
        let Some(head) = &self.head else { return Ok(()) };
        let signed = if trust.is_nobody() {
            let Some(key) = read_key(&self.files, findings)? else {
                return Ok(());
            };
            match signed_by(head, std::slice::from_ref(&key)) {
                Ok(_) => Ok(key),
                Err((FindingKind::TreeHeadUntrusted, _)) if key.name() != self.origin => {
                    let reason = format!("{KEY} is the key of {}", key.name());
                    Err((FindingKind::OriginMismatch, reason))
                }
                Err((FindingKind::TreeHeadUntrusted, _)) => Err((
                    FindingKind::TreeHeadSignatureInvalid,
                    format!("it is not signed by {KEY}"),
                )),
                Err(named) => Err(named),
            }
        } else {
            trust.check(head).cloned()
        };
        match signed {
            Ok(key) => {
                self.key = Some(key);
                self.is_authenticated = !trust.is_nobody();
            }
            Err((kind, reason)) => findings.push(Finding::of_epoch(kind, self.epoch, reason)),
        }
        Ok(())
    }

    fn report(&self, done: &Done) -> EpochReport {
        EpochReport {
            epoch: Some(self.epoch),
            origin: self.origin.clone(),
            size: self.size,
            root: done.root,
            records: done.records,
            authenticated_by: self
                .key
                .as_ref()
                .filter(|_| self.is_authenticated)
                .map(ToString::to_string),
        }
    }
}

fn read_head(files: &EpochReader, findings: &mut Findings) -> Result<Option<SignedTreeHead>, ReadError> {
    let (kind, reason) = match files.checkpoint()?.map(|bytes| SignedTreeHead::parse(&bytes)) {
        Some(Ok(head)) if head.head().extension_lines.is_empty() => return Ok(Some(head)),
        Some(Ok(_)) => (
            FindingKind::TreeHeadMalformed,
            "it has extension lines".to_owned(),
        ),
        Some(Err(error)) => named(&error),
        None => (
            FindingKind::TreeHeadMalformed,
            format!("there is no {CHECKPOINT}"),
        ),
    };
    findings.push(Finding::of_epoch(kind, files.epoch(), reason));
    Ok(None)
}

/// The key that comes with the export.
fn read_key(files: &EpochReader, findings: &mut Findings) -> Result<Option<VerifierKey>, ReadError> {
    let Some(bytes) = files.key()? else {
        findings.push(Finding::of_epoch(
            FindingKind::FileMissing,
            files.epoch(),
            KEY.to_owned(),
        ));
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    match text.strip_suffix('\n').unwrap_or(text).parse() {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            let error: VerifierKeyError = error;
            let reason = format!("{KEY}: {error}");
            findings.push(Finding::of_epoch(
                FindingKind::FileMalformed,
                files.epoch(),
                reason,
            ));
            Ok(None)
        }
    }
}

fn read_manifest(reader: &BundleReader, findings: &mut Findings) -> Result<Option<Manifest>, ReadError> {
    let parsed = match reader.manifest()? {
        None => Err("is not a file".to_owned()),
        Some(bytes) => serde_json::from_slice::<Manifest>(&bytes).map_err(|error| error.to_string()),
    };
    let manifest = parsed.and_then(|manifest| manifest.fault().map_or(Ok(manifest), Err));
    Ok(manifest.map_err(|reason| manifest_says(findings, reason)).ok())
}

fn manifest_says(findings: &mut Findings, reason: String) {
    findings.push(Finding::of_ledger(
        FindingKind::ManifestMismatch,
        format!("{MANIFEST}: {reason}"),
    ));
}

/// Whether the epochs that are there are all there should be.
fn check_list(epochs: &[Prepared], manifest: Option<&Manifest>, findings: &mut Findings) {
    let mut expected = Epoch::FIRST;
    for prepared in epochs {
        // What a restore lost whole is not there to be looked for; `RECORDS_LOST` says so.
        let lost = prepared.opening.previous().and_then(PreviousFacts::lost);
        if let Some((from, to)) = lost
            && from <= Position::new(expected.0, 0)
        {
            expected = expected.max(Epoch(to.epoch.0.saturating_add(1)));
        }
        if prepared.epoch > expected {
            let reason = match prepared.epoch.0 - 1 {
                last if last == expected.0 => format!("epoch {last} is not there"),
                last => format!("epochs {expected} to {last} are not there"),
            };
            findings.push(Finding::of_epoch(FindingKind::EpochMissing, expected, reason));
        }
        expected = Epoch(prepared.epoch.0.saturating_add(1));
    }
    let Some(manifest) = manifest else { return };
    for prepared in epochs {
        let said = manifest
            .epoch(prepared.epoch)
            .map(|listed| (listed.origin.as_str(), listed.size));
        if said != Some((prepared.origin.as_str(), prepared.size)) && prepared.head.is_some() {
            manifest_says(
                findings,
                format!("says otherwise of epoch {} than its checkpoint", prepared.epoch),
            );
        }
        let stream = prepared.opening.stream;
        if stream.is_some_and(|stream| stream.category.name() != "ledger" || stream.id != manifest.ledger.0) {
            manifest_says(
                findings,
                format!("names another ledger than record {}:0", prepared.epoch),
            );
        }
    }
    for listed in manifest.epochs.iter().filter(|listed| listed.epoch >= expected) {
        manifest_says(
            findings,
            format!("lists epoch {}, which is not there", listed.epoch),
        );
    }
}

/// Whether the last epoch that the auditor has a key of is there. Each epoch has a key of its own, so the key tells that
/// the epoch was opened.
fn check_keys(epochs: &[Prepared], trust: &Trust, findings: &mut Findings) {
    let Some((last, (stem, number))) = epochs
        .last()
        .and_then(|last| Some((last, stem_of(&last.origin)?)))
    else {
        return;
    };
    let of_this_ledger = trust.log_keys().iter().filter_map(|key| stem_of(key.name()));
    let known = of_this_ledger
        .filter_map(|(of, number)| (of == stem).then_some(number))
        .max();
    if let Some(known) = known.filter(|known| *known > number) {
        let reason = format!(
            "there is a key of epoch {known}, the last one here is {}",
            last.epoch
        );
        findings.push(Finding::of_epoch(
            FindingKind::EpochMissing,
            last.epoch.next(),
            reason,
        ));
    }
}

/// An origin without its epoch, and the epoch.
fn stem_of(origin: &str) -> Option<(&str, u32)> {
    let (stem, epoch) = origin.rsplit_once("/e")?;
    Some((stem, epoch.parse().ok()?))
}

/// The walk through all epochs.
struct Run<'a> {
    epochs: &'a [Prepared],
    trust: &'a Trust,
    options: &'a Options,
    checker: RecordChecker,
    archives: Archives,
    done: Vec<Done>,
    findings: Findings,
}

impl Run<'_> {
    fn all(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), ReadError> {
        let claimed = |prepared: &Prepared| prepared.size.0.min(prepared.files.inventory().entries_end());
        let records_total = self.epochs.iter().map(claimed).fold(0, u64::saturating_add);
        let mut before = Epoch(0);
        for (number, prepared) in self.epochs.iter().enumerate() {
            let is_lost = prepared
                .opening
                .previous()
                .is_some_and(|previous| previous.lost().is_some());
            if prepared.epoch.0 != before.0 + 1 || is_lost {
                self.checker.skip_epoch();
            }
            before = prepared.epoch;
            let earlier: u64 = self.done.iter().map(|done| done.records).sum();
            let mut on_progress = |records| {
                progress(Progress {
                    records: earlier + records,
                    records_total,
                })
            };
            let run = EpochRun::new(
                &prepared.files,
                prepared.size,
                self.watched(number),
                &mut self.archives,
                &mut self.checker,
                &mut self.findings,
            );
            let done = run.all(&prepared.origin, &mut on_progress)?;
            self.check_root(prepared, &done);
            self.done.push(done);
            self.check_link(number);
        }
        self.archives.end(&mut self.checker, &mut self.findings);
        self.checker.end(&mut self.findings);
        Ok(())
    }

    /// Sizes of this epoch at which somebody asks for the root.
    fn watched(&self, number: usize) -> Vec<u64> {
        let prepared = &self.epochs[number];
        let known = self.options.known_heads.iter().map(SignedTreeHead::head);
        let known = known
            .filter(|head| head.origin == prepared.origin)
            .map(|head| head.size.0);
        let next = self
            .epochs
            .get(number + 1)
            .and_then(|next| next.opening.previous());
        known.chain(next.map(|previous| previous.tree_size.0)).collect()
    }

    fn check_root(&mut self, prepared: &Prepared, done: &Done) {
        let Some(head) = &prepared.head else { return };
        if let Some(root) = done.root
            && root != head.head().root
        {
            let reason = format!("the leaves give {root}, the tree head says {}", head.head().root);
            self.findings.push(Finding::of_epoch(
                FindingKind::RootMismatch,
                prepared.epoch,
                reason,
            ));
        }
        if prepared.size.0 == 0 {
            let reason = "the epoch has no records".to_owned();
            self.findings.push(Finding::of_epoch(
                FindingKind::OpeningRecordWrong,
                prepared.epoch,
                reason,
            ));
        }
    }

    /// Whether an epoch goes on where the one before it ended.
    fn check_link(&mut self, number: usize) {
        let prepared = &self.epochs[number];
        let end = number.checked_sub(1).map(|before| EpochEnd {
            epoch: self.epochs[before].epoch,
            origin: &self.epochs[before].origin,
            size: self.epochs[before].size,
            key: self.epochs[before].key.as_ref(),
            roots: &self.done[before].roots,
        });
        let is_next = |end: &EpochEnd<'_>| prepared.epoch.0 == end.epoch.0 + 1;
        let Some(previous) = prepared.opening.previous() else {
            // Whoever takes the payload of record 0 away takes the proof of the link away.
            let is_record_0 =
                prepared.opening.stream.is_some() || !matches!(prepared.opening.facts, Facts::Unknown);
            if end.as_ref().is_some_and(is_next) && is_record_0 {
                let reason = "record 0 does not say what was before".to_owned();
                self.findings.push(Finding::at(
                    FindingKind::EpochLinkBroken,
                    prepared.epoch,
                    0,
                    reason,
                ));
            }
            return;
        };
        previous.check_loss(prepared.epoch, end.as_ref(), &mut self.findings);
        match end {
            Some(end) if is_next(&end) || previous.origin == end.origin => {
                previous.check(prepared.epoch, &end, &mut self.findings);
            }
            _ if previous.lost().is_some() => {
                let key = self.trust.key_named(&previous.origin);
                previous.check_tree_head(prepared.epoch, key, &mut self.findings);
            }
            // Of an epoch that is not there nothing can be compared; that it is not there is said already.
            _ => {}
        }
    }
}

/// Whether the export extends what the auditor knew before.
fn check_known_heads(
    epochs: &[Prepared],
    done: &[Done],
    trust: &Trust,
    options: &Options,
    findings: &mut Findings,
) {
    for known in &options.known_heads {
        let head = known.head();
        let mut with_roots = epochs.iter().zip(done);
        let found = with_roots.find(|(epoch, _)| epoch.origin == head.origin);
        // Without a key of the auditor's, the key in the export stands in, as it does for its tree heads.
        let by_log = match found {
            Some((epoch, _)) if trust.is_nobody() => signed_by(known, epoch.key.as_slice()).map(drop),
            None if trust.is_nobody() => Ok(()),
            _ => trust.check_log(known).map(drop),
        };
        if let Err((_, reason)) = by_log {
            findings.push(Finding::of_ledger(FindingKind::KnownHeadUnrelated, reason));
            continue;
        }
        let Some((prepared, done)) = found else {
            let reason = format!("no epoch here is {}", head.origin);
            findings.push(Finding::of_ledger(FindingKind::KnownHeadUnrelated, reason));
            continue;
        };
        let reason = match done.roots.get(&head.size.0) {
            Some(root) if *root == head.root => continue,
            Some(_) => format!("the first {} records have another root", head.size),
            None if head.size > prepared.size => {
                format!("there were {} records, there are {}", head.size, prepared.size)
            }
            None => format!("the first {} records could not be read", head.size),
        };
        findings.push(Finding::of_epoch(
            FindingKind::InconsistentWithKnownHead,
            prepared.epoch,
            reason,
        ));
    }
}

fn check_at_least(reports: &[EpochReport], options: &Options, findings: &mut Findings) {
    for at_least in &options.at_least {
        let (epoch, expected) = match *at_least {
            AtLeast::Ledger(records) => (None, records),
            AtLeast::Epoch(epoch, records) => (Some(epoch), records),
        };
        let counted = reports
            .iter()
            .filter(|report| epoch.is_none() || report.epoch == epoch);
        let records: u64 = counted.map(|report| report.records).sum();
        if records < expected {
            let detail = format!("{records} records, at least {expected} are expected");
            findings.push(Finding {
                kind: FindingKind::SmallerThanExpected,
                epoch,
                index: None,
                detail,
            });
        }
    }
}
